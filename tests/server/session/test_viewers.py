"""server.session.viewers: a viewing name that follows from its owner's key, and the end of an old one."""

from tests.server.client import Participant, running
from tests.server.players import viewer

KEY, OTHER = "a key of the owner, 1", "a key of the owner, 2"


async def test_a_link_outlives_its_session_and_ends_with_its_key() -> None:
    """The same key gives the same name, the newest session wins it; another key ends the old name and its viewers."""
    async with running() as server, Participant(server.ws) as tab, Participant(server.ws) as reloaded:
        welcome = await tab.wait(type="welcome")
        link = (await tab.ask(type="set_viewing_key", key=KEY))["view"]
        assert link not in (welcome["view"], welcome["session"])
        assert KEY not in link
        assert server.server.find(welcome["view"]) is None
        await tab.offer()
        assert (await reloaded.ask(type="set_viewing_key", key=KEY))["view"] == link
        await reloaded.offer()
        session = server.server.sessions[(await reloaded.wait(type="welcome"))["session"]]
        assert server.server.find(link) is session
        async with viewer(f"{server.http}/whep/{link}") as watching:
            assert (await watching.connect()).status_code == 201
            await watching.until(lambda: watching.pictures, "a picture")
            again = await reloaded.ask(type="set_viewing_key", key=KEY)
            assert again["view"] == link
            assert len(session.viewers) == 1
            renewed = (await reloaded.ask(type="set_viewing_key", key=OTHER))["view"]
            assert renewed != link
            assert len(session.viewers) == 0
            await watching.until(lambda: watching.pc.connectionState in ("closed", "failed"), "the viewer's end")
        async with viewer(f"{server.http}/whep/{renewed}") as after:
            assert (await after.connect()).status_code == 201
