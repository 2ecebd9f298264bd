"""A worker process as a Ray actor. Ray imports this file at the priority of those that serve: it imports little."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from server.cluster.worker_process import WorkerProcess
from server.rtc.bench.machine_cost import MachineCost
from server.settings import Settings

if TYPE_CHECKING:
    from engine.protocols import Engine


class RayWorker(WorkerProcess):
    """A worker that is found by its node's address; on the front's own machine only the front can reach it."""

    def __init__(
        self,
        settings: Settings,
        secret: str,
        local: bool,
        make: "Callable[[str], Engine] | None",
        cost: MachineCost | None,
    ) -> None:
        import ray

        super().__init__(settings, secret, "127.0.0.1" if local else ray.util.get_node_ip_address(), make, cost)
