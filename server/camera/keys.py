"""Keys in the terminal: read one by one, without Enter; the terminal is as before afterwards."""

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.camera.control import CameraControl

HELP = "1…9 [ ] light · + - strength · space before/after · m mirror · b background · q quit"
STRENGTH_STEP = 0.1
ESCAPES = {
    "\x1b[C": "]",
    "\x1b[B": "]",
    "\x1b[D": "[",
    "\x1b[A": "[",
    "\x1bOC": "]",
    "\x1bOB": "]",
    "\x1bOD": "[",
    "\x1bOA": "[",
}
POLL_S = 0.2


def keys_of(text: str) -> list[str]:
    """Splits what the terminal sent at once into keys; arrows are [ and ], other escapes nothing."""
    keys = []
    while text:
        arrow = next((escape for escape in ESCAPES if text.startswith(escape)), None)
        if arrow is not None:
            keys.append(ESCAPES[arrow])
            text = text[len(arrow) :]
        elif text[0] == "\x1b":
            break  # an escape sequence of no meaning here, or Escape itself
        else:
            keys.append(text[0])
            text = text[1:]
    return keys


def press(key: str, control: CameraControl, stop: threading.Event) -> None:
    """Does what `key` means; an unknown one does nothing."""
    if key.isdecimal() and key != "0":
        control.choose(int(key) - 1)
        return
    actions: dict[str, Callable[[], None]] = {
        "[": lambda: control.step(-1),
        "]": lambda: control.step(1),
        "+": lambda: control.strengthen(STRENGTH_STEP),
        "=": lambda: control.strengthen(STRENGTH_STEP),
        "-": lambda: control.strengthen(-STRENGTH_STEP),
        " ": control.toggle_before,
        "m": control.toggle_mirror,
        "b": control.next_background,
        "q": stop.set,
    }
    if (action := actions.get(key.lower())) is not None:
        action()


@contextmanager
def listening(control: CameraControl, stop: threading.Event) -> Iterator[bool]:
    """Reads keys on a thread of its own. Gives False, and reads nothing, where standard input is no terminal."""
    if not sys.stdin or not sys.stdin.isatty():
        yield False
        return
    with _unbuffered():
        threading.Thread(target=_read, args=(control, stop), name="relight-keys", daemon=True).start()
        yield True


@contextmanager
def _unbuffered() -> Iterator[None]:
    """Gives keys at once and does not print them; Ctrl-C stays what it is."""
    if os.name == "nt":  # its console gives keys singly by msvcrt
        yield
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _read(control: CameraControl, stop: threading.Event) -> None:
    while not stop.is_set():
        text = _pressed()
        if text is None:
            return
        for key in keys_of(text):
            press(key, control, stop)


def _pressed() -> str | None:
    """Returns what was typed within the next moment, "" for nothing, None at the end of the input."""
    if os.name == "nt":
        import msvcrt
        import time

        if msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
            return str(msvcrt.getwch())  # type: ignore[attr-defined,unused-ignore]
        time.sleep(POLL_S)
        return ""
    if not select.select([sys.stdin], [], [], POLL_S)[0]:
        return ""
    return os.read(sys.stdin.fileno(), 64).decode("utf-8", "ignore") or None
