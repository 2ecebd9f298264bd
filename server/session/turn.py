"""The wait of one session for a place: what its participant is told, and when. The clock is injected."""

from collections.abc import Awaitable, Callable

from server.errors import Busy
from server.protocol import Answer, MessageId, PlaceFree, ServerMessage, Waiting
from server.session.admission import Admission, Place

TOLD_EVERY_S = 3.0  # a changed place at most this often


class Turn:
    """Answers an offer, also where there is no place for it, and tells through `send` how the wait goes on."""

    def __init__(
        self, session: str, admission: Admission, send: Callable[[ServerMessage], None], clock: Callable[[], float]
    ) -> None:
        self._session = session
        self._admission = admission
        self._send = send
        self._clock = clock
        self._waits = self._called = False
        self._told: Place | None = None
        self._told_s = 0.0

    async def answer(self, id: MessageId | None, connecting: Awaitable[str]) -> Answer | Waiting:
        """Returns the answer that `connecting` comes to; without a place for it, the place of who waits.

        Raises Busy where as many wait as may, and whatever else `connecting` raises.
        """
        try:
            answer = Answer(id=id, sdp=await connecting)
        except Busy:
            message = self._message(self._admission.wait(self._session))
            self._waits, self._called = True, False
            return message.model_copy(update={"id": id})
        self._waits = False
        return answer

    def update(self) -> bool:
        """Tells of another place, or that it is free now; returns True while the participant waits."""
        if not self._waits:
            return False
        place = self._admission.place(self._session)
        if place is None:
            self._waits = self._admission.holds(self._session)  # False: it did not come in time
            if self._waits and not self._called:
                self._called = True
                self._send(PlaceFree())
        elif place != self._told and self._clock() - self._told_s >= TOLD_EVERY_S:
            self._send(self._message(place))
        return self._waits

    def _message(self, place: Place) -> Waiting:
        self._told, self._told_s = place, self._clock()
        estimate_s = None if place.estimate_s is None else round(place.estimate_s)
        return Waiting(place=place.place, of=place.of, estimate_s=estimate_s)
