"""Workers as Ray actors: on this machine, or spread over the nodes of a cluster.

Each worker takes a whole GPU where there are any, else CORES cores, so that Ray places as many on a node as it carries.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from engine.protocols import Engine
from server.cluster.launcher import Launched, cpu_of
from server.cluster.ray_worker import RayWorker
from server.errors import WorkersUnavailable
from server.rtc.bench.machine_cost import MachineCost, available_cores
from server.settings import Settings

logger = logging.getLogger(__name__)

CORES = 2  # of one worker without a GPU: the engine's thread, and codecs beside it
OBJECT_STORE_BYTES = 80 * 2**20  # the least that Ray takes; nothing of ours goes through it
LAUNCH_LIMIT_S = 120.0
INSTALL = "pip install -e '.[cluster]'"


class RayLauncher:
    """Starts workers by Ray. `settings.workers` says how many and where."""

    def __init__(self, settings: Settings, secret: str, make: Callable[[str], Engine] | None = None) -> None:
        """Joins the cluster, or starts Ray on this machine. Raises WorkersUnavailable, also without Ray."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not (settings.workers or "").startswith("ray://"):
            os.environ["RAY_AUTH_MODE"] = "token"  # Ray listens at this machine's own address, too
        os.environ.setdefault("RAY_worker_niceness", "0")  # 15 is for batch work: these send pictures in time
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's next default, which it warns of
        try:
            import ray
        except ImportError as error:
            raise WorkersUnavailable("Ray is not installed, and --workers needs it", INSTALL) from error
        self._ray: Any = ray
        logging.getLogger("ray").setLevel(logging.ERROR)
        self._settings = self._shared = settings
        self._secret = secret
        self._make = make
        self._gpus = 0.0
        # On a thread of its own: in the main one Ray would take the signals that end the server. The thread stays:
        # Linux ends what Ray has started together with the thread that started it (PR_SET_PDEATHSIG).
        self._thread = ThreadPoolExecutor(1, "relight-ray")
        self.count = self._thread.submit(self._start).result()

    @property
    def one_machine(self) -> bool:
        return not (self._settings.workers or "").startswith("ray://")

    def _start(self) -> int:
        ray, wanted = self._ray, self._settings.workers or "auto"
        local = {
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "configure_logging": False,
        }
        try:
            ray.init(address="local" if self.one_machine else wanted, **(local if self.one_machine else {}))
            resources = ray.cluster_resources()
        except Exception as error:  # Ray's boundary: it raises errors of many kinds
            place = "on this machine" if self.one_machine else wanted
            raise WorkersUnavailable(
                f"Ray cannot be reached or started {place}: {_sentence(error)}", "ray status"
            ) from error
        self._gpus = resources.get("GPU", 0.0)
        count = int(wanted) if wanted.isdecimal() else max(1, int(self._gpus or resources.get("CPU", 1.0) // CORES))
        if self.one_machine and self._settings.cores is None:  # each counts on its share of this machine
            self._shared = self._settings.model_copy(update={"cores": available_cores() / count})
        return count

    def launch(self, number: int, cost: MachineCost | None) -> Launched:
        """Starts worker `number`; returns once it listens. Raises WorkersUnavailable."""
        ray = self._ray
        if not ray.is_initialized():  # else it would start anew, with settings of its own
            raise WorkersUnavailable(f"worker {number} is not started: the server is shutting down", "start it again")
        # A number that was asked for is not held back by cores that Ray does not see free.
        share = (
            {"num_gpus": 1} if self._gpus else {"num_cpus": 0 if (self._settings.workers or "").isdecimal() else CORES}
        )
        spread: dict[str, Any] = {} if self.one_machine else {"scheduling_strategy": "SPREAD"}
        actor_class = ray.remote(RayWorker)
        try:
            actor = actor_class.options(max_restarts=0, **share, **spread).remote(
                self._shared, self._secret, self.one_machine, self._make, cost
            )
            url, process = ray.get(actor.address.remote(), timeout=LAUNCH_LIMIT_S)
        except Exception as error:  # Ray's boundary
            raise WorkersUnavailable(
                f"worker {number} cannot be started: {_sentence(error)}",
                "`ray status` tells whether the cluster has room; relight drain NUMBER --retire needs none",
            ) from error
        cpu_s: Callable[[], float | None] = partial(cpu_of, process) if self.one_machine else (lambda: None)
        return Launched(url, str(process), lambda: self._kill(actor), cpu_s)

    def stop(self) -> None:
        """Ends every worker, and Ray where it was started here."""
        self._ray.shutdown()
        self._thread.shutdown(wait=False)

    def _kill(self, actor: Any) -> None:
        if not self._ray.is_initialized():
            return
        try:
            self._ray.kill(actor, no_restart=True)
        except Exception as error:  # Ray's boundary: it is gone already
            logger.debug("a worker cannot be killed: %r", error)


def _sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
