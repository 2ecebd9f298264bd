"""Notices to one participant: how often each may be sent, and when a fallback is worth one. The clock is injected."""

from collections.abc import Callable, Mapping

from server.protocol import Notice
from server.settings import FrameLimits

NOTICE_EVERY_S = 5.0  # the same notice at most this often
START_HINT = "run `relight doctor` on the server"
FALLBACK_HINT = "it comes back by itself once it can; run `relight doctor` on the server"


class Notices:
    """Sends notices through `send`: the same code not too often, a fallback once until it is over."""

    def __init__(self, send: Callable[[Notice], None], clock: Callable[[], float]) -> None:
        self._send = send
        self._clock = clock
        self._sent_s: dict[str, float] = {}  # code → when it was last sent
        self._fallback_sent = False

    def send(self, code: str, message: str, hint: str = "") -> None:
        """Sends one notice, unless the same code was sent within the last NOTICE_EVERY_S."""
        now_s = self._clock()
        if now_s - self._sent_s.get(code, float("-inf")) >= NOTICE_EVERY_S:
            self._sent_s[code] = now_s
            self._send(Notice(code=code, message=message, hint=hint))

    def frame_size(self, width: int, height: int, limits: FrameLimits) -> None:
        """Says that pictures of this size cannot be used."""
        self.send(
            "frame_size",
            f"The picture of {width} × {height} cannot be used.",
            f"send sides of {limits.min_side_px} to {limits.max_side_px} px, at most {limits.max_pixels / 1e6:.1f} MP",
        )

    def fallback_at_start(self, reason: str) -> None:
        """Says that another engine runs than the one the operator configured."""
        self._fallback_sent = True
        self.send("fallback", reason, START_HINT)

    def avatar_state(self, engine: Mapping[str, str], degraded_reason: str) -> None:
        """Says once that an avatar's engine does not run and what is shown instead; again after it was well.

        `engine` is `LiveSnapshot.engine`; `degraded_reason` says why the default engine is late, "" where it is not.
        """
        if engine["state"] == "ok":
            self._fallback_sent = False
        late = degraded_reason if engine["state"] == "warming" else ""
        if self._fallback_sent or not (late or engine["state"] == "failed"):
            return
        self._fallback_sent = True
        self.send("fallback", f"{late}. {engine['message']}" if late else engine["message"], FALLBACK_HINT)
