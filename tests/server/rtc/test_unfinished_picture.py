"""server.rtc.jitter: an unfinished picture is not looked through again at each of its packets, to the same result."""

from typing import Any

from aiortc.rtp import RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from server.rtc.jitter import PromptJitterBuffer


class Thorough(PromptJitterBuffer):
    """Looks through all that it holds at every packet."""

    def _take_complete(self) -> list[tuple[bytes, int]]:
        self._unfinished = 0
        return super()._take_complete()


def packet(number: int, picture: int, marker: bool, key: bool) -> Any:
    """A packet of a picture; `key` begins a key frame of VP8."""
    made: Any = RtpPacket(sequence_number=number % 65536, timestamp=picture * 3000, marker=int(marker))
    made._data = (b"\x10\x02\x00\x9d\x01\x2a" if key else b"\x11\x02\x00") + bytes([number % 251])
    return made


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    begin=st.sampled_from([0, 7, 65530]),
    markers=st.randoms(use_true_random=False),
    swaps=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), max_size=8),
    lost=st.sets(st.integers(0, 60), max_size=3),
)
def test_the_same_pictures_come_out(lengths, begin, markers, swaps, lost) -> None:
    """Whatever is lost, late or repeated, with and without markers, and across the end of the numbers."""
    packets, number = [], begin
    for picture, length in enumerate(lengths):
        for index in range(length):
            last = index == length - 1 and markers.random() < 0.8
            packets.append(packet(number, picture, last, index == 0 and picture % 4 == 0))
            number += 1
    for at, ahead in swaps:
        if at + ahead < len(packets):
            packets[at], packets[at + ahead] = packets[at + ahead], packets[at]
        if at < len(packets):
            packets.insert(at, packets[at])
    came = [each for index, each in enumerate(packets) if index not in lost]
    ours, thorough = (make(capacity=32, is_video=True) for make in (PromptJitterBuffer, Thorough))
    for each in came:
        results = []
        for buffer in (ours, thorough):
            asked, frame = buffer.add(each)
            results.append((asked, None if frame is None else [(one.data, one.timestamp) for one in frame.each()]))
        assert results[0] == results[1]
