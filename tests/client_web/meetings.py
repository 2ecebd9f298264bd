"""Starts two meetings that nobody here wrote: a PeerJS call, and the VideoRoom page of Janus."""

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import gettempdir
from threading import Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NPM = ROOT / ".node" / "meetings" / "node_modules"
JANUS_DEMOS = Path("/usr/share/janus/demos")
START_S = 20.0

# The page of a call as PeerJS's own guide has it; the camera is chosen by its label.
CALL_PAGE = """<!doctype html><title>call</title><script src="peerjs.min.js"></script>
<video id="own" muted autoplay playsinline></video><video id="remote" muted autoplay playsinline></video>
<script>
  const show = (id, stream) => { document.getElementById(id).srcObject = stream; };
  window.join = (id, port) => new Promise((done) => {
    window.peer = new Peer(id, { host: "localhost", port, path: "/" });
    peer.on("open", done);
    peer.on("call", (call) => { call.answer(); call.on("stream", (stream) => show("remote", stream)); });
  });
  window.pick = async (kind, label) => (await navigator.mediaDevices.enumerateDevices()).find(
    (device) => device.kind === kind && device.label.startsWith(label))?.deviceId;
  window.start = async (label) => {
    const video = { deviceId: { exact: await pick("videoinput", label) }, width: 640, height: 480 };
    const audio = { deviceId: { exact: await pick("audioinput", label) } };
    window.stream = await navigator.mediaDevices.getUserMedia({ video, audio });
    show("own", stream);
  };
  window.ring = (other) => { window.call = peer.call(other, stream); };
</script>"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing_peerjs() -> str:
    """Says what a PeerJS call lacks here; empty where nothing."""
    if not shutil.which("node"):
        return "node is missing: install Node.js 18 or newer"
    return "" if (NPM / "peer").is_dir() else "peerjs is missing: run `make browser`"


def missing_janus() -> str:
    """Says what Janus's VideoRoom lacks here; empty where nothing."""
    there = shutil.which("janus") and (JANUS_DEMOS / "videoroomtest.html").is_file()
    return "" if there else "janus is missing: run `make browser` as root on Debian"


@contextmanager
def peerjs_call() -> Iterator[tuple[str, int]]:
    """Runs a PeerJS server and serves a page that calls; yields the page's address and the server's port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(NPM / "peerjs" / "dist" / "peerjs.min.js", folder)
        (folder / "index.html").write_text(CALL_PAGE)
        command = ["node", str(NPM / "peer" / "dist" / "bin" / "peerjs.js"), "--port", str(port)]
        with _running(command, f"http://localhost:{port}/"), serve_folder(folder, {}) as page:
            yield f"http://localhost:{page}/", port


@contextmanager
def janus_room() -> Iterator[str]:
    """Runs Janus with Debian's settings on a port of its own, and serves its demos; yields the VideoRoom's address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in Path("/etc/janus").glob("*.jcfg"):
            shutil.copy(path, folder)
        http = folder / "janus.transport.http.jcfg"
        http.write_text(http.read_text().replace("port = 8088", f"port = {port}"))
        for other in ("websockets", "pfunix", "mqtt", "nanomsg", "rabbitmq"):
            (folder / f"janus.transport.{other}.jcfg").unlink(missing_ok=True)
        settings = f'var server = "http://localhost:{port}/janus"; var iceServers = null, token = "", apisecret = "";'
        command = ["janus", "--configs-folder", str(folder), "--debug-level", "3"]
        with (
            _running(command, f"http://localhost:{port}/janus/info"),
            serve_folder(JANUS_DEMOS, {"/settings.js": settings}) as page,
        ):
            yield f"http://localhost:{page}/videoroomtest.html"


@contextmanager
def serve_folder(folder: Path, instead: dict[str, str]) -> Iterator[int]:
    """Serves a folder on a free port, with some files replaced; yields the port."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            text = instead.get(self.path.split("?")[0])
            if text is None:
                return super().do_GET()
            self.send_response(200)
            self.send_header("content-type", "text/javascript")
            self.end_headers()
            self.wfile.write(text.encode())
            return None

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _running(command: list[str], address: str) -> Iterator[None]:
    # Elsewhere than in the checkout: Debian's Janus sometimes leaves a core file when it is stopped.
    process = subprocess.Popen(command, cwd=gettempdir(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {process.returncode}")
            try:
                with urllib.request.urlopen(address, timeout=2):
                    break
            except OSError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{command[0]} does not answer at {address}") from None
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
