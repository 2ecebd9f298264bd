"""server.session.admission and turn: who comes when all places are taken waits in order, and is called."""

import pytest

from server.errors import Busy
from server.session.admission import HOLD_S, Admission
from server.session.turn import TOLD_EVERY_S, Turn
from tests.engine.fakes import Clock
from tests.server.client import CameraTrack, Participant, Running, moving_square, running
from tests.server.http.test_app import get
from tests.server.players import publisher


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def admission(clock: Clock) -> Admission:
    """One place, which `a` has; three may wait."""
    admission = Admission(1, 3, clock)
    admission.enter("a")
    return admission


def test_places_are_given_in_the_order_of_arrival(admission: Admission) -> None:
    """Asking again changes nothing; who leaves makes room for the next, whom no newcomer overtakes."""
    assert admission.wait("b")[:2] == (1, 1)
    assert admission.wait("c")[:2] == (2, 2)
    assert admission.wait("b")[:2] == (1, 2)
    admission.leave("a")
    assert admission.holds("b")
    assert admission.place("c") == (1, 1, None)
    assert admission.full
    for newcomer in ("c", "d"):
        with pytest.raises(Busy):
            admission.enter(newcomer)
    admission.enter("b")
    assert (len(admission), admission.waiting) == (1, 1)


def test_the_queue_is_bounded(admission: Admission) -> None:
    """Beyond it there is Busy, as for everyone where nobody may wait."""
    for session in "bcd":
        admission.wait(session)
    with pytest.raises(Busy):
        admission.wait("e")
    admission.leave("c")
    assert admission.wait("e")[:2] == (3, 3)


def test_a_place_that_is_not_taken_in_time_is_the_next_ones(admission: Admission, clock: Clock) -> None:
    """After ten seconds; nobody has to do anything for it."""
    admission.wait("b")
    admission.wait("c")
    admission.leave("a")
    clock.now = HOLD_S - 0.1
    assert admission.holds("b")
    clock.now = HOLD_S
    assert (admission.holds("b"), admission.holds("c")) == (False, True)
    assert admission.place("b") is None


def test_a_place_held_in_vain_is_free(admission: Admission, clock: Clock) -> None:
    """Where nobody else waits, a newcomer gets it."""
    admission.wait("b")
    admission.leave("a")
    clock.now = HOLD_S
    assert not admission.full
    admission.enter("c")


def test_more_places_call_those_who_wait(admission: Admission) -> None:
    """A limit that grows while the server runs helps at once; one that shrinks sends nobody away."""
    admission.wait("b")
    admission.limit = 2
    assert admission.holds("b")
    admission.enter("b")
    admission.limit = 1
    assert (len(admission), admission.full) == (2, True)


def test_the_estimate_follows_from_how_long_participants_stay(clock: Clock) -> None:
    """Two places and stays of two minutes: one is free each minute. A connection that failed counts for nothing."""
    admission = Admission(2, 9, clock)
    admission.enter("a")
    admission.enter("b")
    assert admission.wait("c").estimate_s is None
    admission.leave("b")
    admission.enter("c")
    assert admission.wait("d").estimate_s is None
    clock.now = 120.0
    admission.leave("a")
    admission.enter("d")
    assert admission.wait("e").estimate_s == pytest.approx(60)
    assert admission.wait("f").estimate_s == pytest.approx(120)
    clock.now = 1120.0
    admission.leave("c")  # after 1120 s: a fifth of that counts
    assert admission.place("f") == (1, 1, pytest.approx((120 + 0.2 * 1000) / 2))


def test_who_lost_the_connection_keeps_the_place_for_a_while(admission: Admission, clock: Clock) -> None:
    """Nobody who waits gets it before the time is over, and the heir of the session enters."""
    admission.wait("b")
    assert admission.lose("a")
    admission.leave("a")  # the end of the lost session takes nothing away
    assert not admission.holds("b")
    clock.now = HOLD_S / 2
    admission.hand_over("a", "a2", had_place=True)
    admission.enter("a2")
    assert admission.place("b") == (1, 1, None)


def test_who_comes_back_later_waits_before_those_who_had_no_place(admission: Admission, clock: Clock) -> None:
    """And behind those who came back before; once inside there is no trace of it."""
    for session in "bcd":
        admission.wait(session)
    assert admission.lose("a")
    clock.now = HOLD_S
    assert admission.holds("b")
    admission.enter("b")
    admission.hand_over("a", "a2", had_place=True)
    with pytest.raises(Busy):
        admission.enter("a2")
    assert admission.wait("a2")[:2] == (1, 3)
    admission.lose("b")
    admission.leave("b")
    clock.now = 2 * HOLD_S
    admission.enter("a2")
    admission.hand_over("b", "b2", had_place=True)
    assert admission.wait("b2")[:2] == (1, 3)
    assert admission.place("c") == (2, 3, None)


def test_who_waits_and_loses_the_connection_keeps_the_turn(admission: Admission, clock: Clock) -> None:
    """For ten seconds; then the others move up."""
    admission.wait("b")
    admission.wait("c")
    assert not admission.lose("b")
    admission.hand_over("b", "b2")
    assert admission.place("b2") == (1, 2, None)
    admission.lose("b2")
    clock.now = HOLD_S
    assert admission.place("c") == (1, 1, None)


def test_a_connection_that_ends_by_itself_keeps_the_place(admission: Admission, clock: Clock) -> None:
    """The same session may offer again within the time; later it comes before the others."""
    admission.wait("b")
    admission.hold("a")
    assert (len(admission), admission.holds("b")) == (0, False)
    admission.enter("a")
    admission.hold("a")
    clock.now = HOLD_S
    admission.enter("b")
    admission.wait("c")
    assert admission.wait("a")[:2] == (1, 2)


def test_a_session_that_takes_over_a_living_one_has_its_place(admission: Admission) -> None:
    """The page came back before the server noticed the loss."""
    admission.wait("b")
    admission.hand_over("a", "a2")
    admission.leave("a")
    assert not admission.holds("b")
    admission.enter("a2")


async def test_a_turn_tells_what_changes_and_not_too_often(admission: Admission, clock: Clock) -> None:
    """The place at once in the answer, another one after three seconds at the soonest, the call once and at once."""
    told: list[str] = []
    turn = Turn("c", admission, lambda message: told.append(message.text()), clock)

    async def connect() -> str:
        admission.enter("c")
        return "sdp"

    admission.wait("b")
    assert not turn.update()
    answer = await turn.answer(7, connect())
    assert (answer.type, answer.id, answer.place, answer.of, answer.estimate_s) == ("waiting", 7, 2, 2, None)
    assert turn.update()
    admission.leave("b")
    assert turn.update()
    assert told == []
    clock.now = TOLD_EVERY_S
    assert turn.update()
    assert turn.update()
    assert told == ['{"type":"waiting","id":null,"place":1,"of":1,"estimate_s":null}']
    admission.leave("a")
    assert turn.update()
    assert turn.update()
    assert told[1:] == ['{"type":"place_free"}']
    assert (await turn.answer(8, connect())).type == "answer"
    assert not turn.update()


async def test_a_turn_that_is_missed_is_over(admission: Admission, clock: Clock) -> None:
    """Who was called and did not come is told nothing more, and may offer again."""
    told: list[str] = []
    turn = Turn("b", admission, lambda message: told.append(message.type), clock)

    async def connect() -> str:
        admission.enter("b")
        return "sdp"

    await turn.answer(1, connect())
    admission.leave("a")
    assert turn.update()
    clock.now = HOLD_S
    assert not turn.update()
    assert told == ["place_free"]
    assert (await turn.answer(2, connect())).type == "answer"


async def test_an_offer_too_many_waits_and_is_called() -> None:
    """The socket stays, control messages are answered meanwhile, and the picture comes once a place is free."""
    async with running(max_sessions=1) as server, Participant(server.ws) as first, Participant(server.ws) as second:
        await first.offer()
        await first.pictures(2)
        reply = await second.offer()
        assert (reply["type"], reply["place"], reply["of"], reply["estimate_s"]) == ("waiting", 1, 1, None)
        assert (await second.ask(type="mirror", on=True))["type"] == "ack"
        assert (await get(server.http + "/healthz")).json()["waiting"] == 1
        async with Participant(server.ws) as third:
            reply = await third.offer()
            assert (reply["type"], reply["place"], reply["of"]) == ("waiting", 2, 2)
            await first.leave()
            await second.wait(type="place_free")
            assert (await second.offer())["type"] == "answer"
            await second.pictures(2)
            await third.wait(type="waiting", place=1, of=1)
        await second.until(lambda: server.server.admission.waiting == 0, what="the third to be gone")


async def test_a_full_queue_is_busy() -> None:
    """Beyond `max_waiting` the participant is told and hung up on, as where nobody may wait."""
    async with running(max_sessions=1, max_waiting=1) as server, Participant(server.ws) as first:
        await first.offer()
        async with Participant(server.ws) as second, Participant(server.ws) as third:
            assert (await second.offer())["type"] == "waiting"
            reply = await third.offer()
            assert (reply["type"], reply["code"]) == ("error", "busy")
            assert (await third.wait(type="closed"))["code"] == 1013


async def test_waiting_is_not_idle() -> None:
    """A participant who waits is not hung up on, however long it takes."""
    async with running(max_sessions=1, idle_timeout_s=1) as server, Participant(server.ws) as first:
        await first.offer()
        await first.pictures(1)
        async with Participant(server.ws) as idle, Participant(server.ws) as second:
            assert (await second.offer())["type"] == "waiting"
            assert (await idle.wait(type="closed"))["code"] == 1001
            assert (await second.ask(type="ping", t=1))["type"] == "pong"
            await first.leave()
            await second.wait(type="place_free")


async def lose(tab: Participant, server: Running) -> str:
    """Cuts the socket of a tab; returns the name of the session, which has ended by then."""
    session = (await tab.wait(type="welcome"))["session"]
    tab.socket.transport.abort()
    await tab.until(lambda: session not in server.server.sessions, what="the session to end")
    return session


async def test_a_lost_participant_resumes_before_those_who_wait() -> None:
    """The place is kept, and the next in line goes on waiting."""
    async with running(max_sessions=1) as server, Participant(server.ws) as first, Participant(server.ws) as second:
        await first.offer()
        await first.pictures(2)
        assert (await second.offer())["type"] == "waiting"
        lost = await lose(first, server)
        async with Participant(server.ws) as back:
            assert (await back.ask(type="resume", session=lost))["type"] == "ack"
            assert (await back.offer())["type"] == "answer"
            await back.pictures(2)
        await second.wait(type="place_free")


async def test_a_publisher_does_not_wait() -> None:
    """WHIP knows no queue: 503 with the seconds after which to try again; who waits is not overtaken."""
    async with running(max_sessions=1) as server, Participant(server.ws) as first, Participant(server.ws) as second:
        await first.offer()
        assert (await second.offer())["type"] == "waiting"
        server.server.admission._stay_s = 240.0
        async with publisher(f"{server.http}/whip", CameraTrack(moving_square())) as source:
            answer = await source.connect()
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert answer.headers["retry-after"] == "480"
