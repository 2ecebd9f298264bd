"""Coming and going: nothing is left behind, and SIGTERM ends everything in time."""

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time

import psutil

from tests.engine.fakes import FakeEngine
from tests.server.client import Participant, running

SERVER = """
import asyncio, sys, uvicorn
from server.http.app import create_app, uvicorn_config
from server.settings import Settings

settings = Settings(engine="passthrough", port=0)
server = uvicorn.Server(uvicorn_config(settings))

async def main():
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving

asyncio.run(main())
"""
CYCLES = 15


OBJECTS_A_CYCLE = 30  # a session left behind would be hundreds


def resources() -> tuple[int, int, int]:
    """Returns threads, open files and objects of this process; what is only garbage does not count."""
    gc.collect()
    return threading.active_count(), psutil.Process().num_fds(), len(gc.get_objects())


async def test_coming_and_going_leaves_nothing_behind() -> None:
    """Every other tab vanishes without a word; after fifteen, threads and sockets are as after three."""
    fake = FakeEngine(add=0)
    async with running(lambda name: fake, engine="ratio", resume_s=0) as server:  # no place is held for who vanished
        counts = []
        for cycle in range(CYCLES):
            tab = await Participant(server.ws).__aenter__()
            await tab.offer()
            await tab.pictures(1)
            if cycle % 2:
                tab.socket.transport.abort()
            await tab.leave()
            await tab.until(lambda: not server.server.sessions, what="the session to end")
            counts.append(resources())
        assert len(server.server.admission) == 0
        assert fake.opened == fake.closed_streams == CYCLES
        # Pools grow to their size at first; then nothing grows.
        assert max(fds for _, fds, _ in counts[-3:]) <= max(fds for _, fds, _ in counts[:3])
        pool = 2 * server.server.settings.max_sessions + 4
        assert not [t.name for t in threading.enumerate() if "decoder" in t.name or "host" in t.name]
        assert counts[-1][0] <= counts[2][0] + pool
        assert counts[-1][2] - counts[4][2] < OBJECTS_A_CYCLE * (CYCLES - 5)
    assert fake.closed


async def test_stopping_with_sessions_open_frees_their_engines() -> None:
    """The server's end closes sockets with 1012, every stream and the engine."""
    fake = FakeEngine(add=0)
    async with running(lambda name: fake, engine="ratio") as server:
        tab = await Participant(server.ws).__aenter__()
        await tab.offer()
        await tab.pictures(1)
    assert (await tab.wait(type="closed"))["code"] == 1012
    assert fake.opened == fake.closed_streams == 1
    assert fake.closed
    assert not server.server.sessions
    await tab.leave()


async def test_a_hanging_engine_does_not_hold_up_the_end() -> None:
    """A render that never returns is left behind; the server still stops within its time."""
    release = threading.Event()
    fake = FakeEngine(on_render=lambda work: release.wait(30))
    try:
        async with running(lambda name: fake, engine="ratio") as server:
            tab = await Participant(server.ws).__aenter__()
            await tab.offer()
            await tab.until(lambda: fake.prepared, what="a frame in the engine")
            then = time.monotonic()
        assert time.monotonic() - then < 10  # 5 s by design; slack for a loaded test machine
        await tab.leave()
    finally:
        release.set()


async def test_sigterm_ends_a_busy_server_in_time() -> None:
    """A real process with a picture flowing exits after SIGTERM, and tells its participant to come back."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        async with Participant(f"ws://127.0.0.1:{port}/ws") as tab:
            await tab.offer()
            await tab.pictures(2)
            then = time.monotonic()
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 10)
            assert time.monotonic() - then < 5  # the promise itself, not a measure of speed
            assert (await tab.wait(type="closed"))["code"] == 1012
    finally:
        process.kill()
        process.communicate()  # closes the pipe, too
