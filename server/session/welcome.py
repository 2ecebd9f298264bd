"""Makes the first message of a control socket."""

from server import VERSION
from server.ice_servers import ice_servers
from server.light_message import Light
from server.protocol import Welcome
from server.session.engines import Engines
from server.session.requested import Requested
from server.settings import Settings


def welcome(session: str, label: str, view: str, requested: Requested, engines: Engines, settings: Settings) -> Welcome:
    """Returns the welcome of a session with its viewing name; its TURN password is made out to its `label`."""
    return Welcome(
        session=session,
        view=view,
        version=VERSION,
        engines=engines.menu(),
        engine=requested.engine,
        ice_servers=ice_servers(settings, label),
        ice_policy=settings.ice_policy,
        lighting=Light.of(requested.light.lighting),
    )
