"""The settings of the server: the only reader of the environment (prefix RELIGHT_).

`RELIGHT_PORT=9000 relight serve` and `Settings(port=9000)` say the same. Unknown keyword arguments are errors.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from engine import EngineConfig, PartsName, SurfaceName
from engine.diffusion.config import LcvdConfig
from engine.trackers import TrackerName
from server.logs import LogFormat

_STRINGS = TypeAdapter(list[str])
SELF_SIGNED = "self-signed"
IceServer = dict[str, str | list[str]]  # urls, and for TURN username and credential
MAX_PLACES = 128  # of a server whose places are measured
TRACEBACK = "RELIGHT_TRACEBACK"  # 1: a command shows where an unforeseen error happened


class FrameLimits(NamedTuple):
    """The limits of a picture's size. A picture outside them is not shown, and the participant gets a notice."""

    min_side_px: int
    max_side_px: int
    max_pixels: int


class Settings(BaseSettings):
    """The operator's choices. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(env_prefix="RELIGHT_", extra="forbid", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 admits other machines.")
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port of the page; 0 picks a free one.")
    engine: str = Field(default="ratio", description="Engine a new session starts with (see `relight doctor`).")
    max_sessions: PositiveInt | Literal["auto"] = Field(
        default="auto", description="Participants relit at the same time; auto: as many as this machine holds."
    )
    step_down: bool = Field(
        default=True, description="Make pictures smaller and fewer before anybody has to wait for a place."
    )
    max_waiting: NonNegativeInt = Field(
        default=16, le=1000, description="Participants who may wait for a place; 0: the next one is refused."
    )
    cores: float | None = Field(
        default=None, gt=0, description="Cores that participants can keep busy; default: those this process may use."
    )
    workers: str | None = Field(
        default=None,
        description="Processes that relight: a number, auto, or ray://HOST:PORT of a cluster; none: this one alone.",
    )
    worker_timeout_s: float = Field(
        default=1.0, ge=0.2, le=30, description="A worker that does not answer for so long is ended and replaced."
    )
    drain_s: float = Field(
        default=20.0, ge=0, le=3600, description="Time that participants get to leave a worker that is drained."
    )
    h264_encoder: Literal[
        "auto", "software", "h264_nvenc", "h264_qsv", "h264_amf", "h264_videotoolbox", "h264_v4l2m2m"
    ] = Field(default="auto", description="Encoder of H.264: auto tries the graphics hardware's at the start.")
    max_viewers: NonNegativeInt = Field(default=8, description="Viewers (WHEP) of each participant; 0 admits none.")
    ice_servers: list[IceServer] = Field(
        default_factory=list,
        description='STUN and TURN as JSON: [{"urls": "turn:host", "username": …, "credential": …}].',
    )
    ice_policy: Literal["all", "relay"] = Field(
        default="all", description="relay: pages connect through a TURN server alone, and no address is told to them."
    )
    turn_urls: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses (comma or JSON) of a TURN server that shares `turn_secret`: turn:host:port, turns:…",
    )
    turn_secret: SecretStr | None = Field(
        default=None, min_length=16, description="The TURN server's secret; each user gets a password that expires."
    )
    turn_ttl_s: PositiveInt = Field(
        default=12 * 3600, ge=60, le=7 * 86400, description="Time for which such a password is good."
    )
    allowed_origins: list[str] = Field(
        default_factory=list,
        description="Origins beside our own whose pages may use the server (scheme://host[:port]); * admits all.",
    )
    token: Annotated[list[SecretStr], NoDecode] = Field(
        default_factory=list,
        description="Shared secrets (comma or JSON): with any set, every use of the server needs one of them.",
    )
    secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Key of signed tokens, 32 characters or more; every use of the server then needs a token.",
    )
    private: bool = Field(
        default=False, description="Ask for signed tokens; their key is `secret`, or is made and kept in `state_dir`."
    )
    open: bool = Field(default=False, description="Beyond loopback, admit everyone who reaches the port.")
    tls: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="self-signed, or files of a certificate chain and its key with a comma between (PEM).",
    )
    state_dir: Path | None = Field(
        default=None, description="Folder of the kept key and certificate; default: the user's own."
    )
    models_dir: Path | None = Field(
        default=None, description="Folder with the tracking models; default: found or fetched."
    )
    tracker: TrackerName = Field(
        default="mesh", description="Face tracker of the engines; mediapipe needs its package (`.[mediapipe]`)."
    )
    surface: SurfaceName = Field(
        default="network", description="What the CPU engine takes normals and light from; mesh is the former way."
    )
    parts: PartsName = Field(
        default="network", description="What mends mistakes of the CPU engine's person mask; off leaves them."
    )
    lcvd_weights: str = Field(
        default="lcvd-published", description="Weights of the avatar engine: a folder, or a name known to `weights`."
    )
    lcvd_backend: str = Field(
        default="auto", description="What the avatar engine's networks run on: auto takes the fastest there is."
    )
    plans: Path | None = Field(
        default=None, description="Folder of the avatar's plans (`relight engine build`); default: the user's cache."
    )
    lcvd_size: int | None = Field(
        default=None,
        ge=64,
        le=1024,
        multiple_of=8,
        description="Side of the avatar in px; default: what its weights were trained for, 512 as published.",
    )
    lcvd_decoder: Literal["image", "tiny"] = Field(
        default="image", description="What avatars are decoded with; tiny: TAESD, from `taesd/` beside the weights."
    )
    lcvd_precision: Literal["auto", "fp32", "fp16", "bf16", "fp8"] = Field(
        default="auto", description="Of the avatar engine's networks; fp8 takes plans built for it."
    )
    lcvd_batch: PositiveInt | None = Field(
        default=None, le=8, description="Participants who may share a call; default: 2 on a GPU, 1 on a CPU."
    )
    client_dir: Path = Field(
        default_factory=lambda: Path(__file__).resolve().parent.parent / "client_web", description="The page."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = Field(default="text", description="text, or json: one object a line.")

    max_upload_bytes: PositiveInt = Field(default=24 * 2**20, description="Largest photo or HDRI.")
    upload_timeout_s: float = Field(default=60.0, gt=0, description="Time an upload may take.")
    max_image_pixels: PositiveInt = Field(default=40_000_000, description="Largest photo or HDRI once decoded.")
    max_message_bytes: PositiveInt = Field(default=128 * 1024, description="Largest WebSocket message.")
    messages_per_s: PositiveInt = Field(default=60, description="Sustained rate of messages a session may send.")
    message_burst: PositiveInt = Field(default=240, description="Messages a session may send at once.")
    min_frame_side_px: PositiveInt = 16
    max_frame_side_px: PositiveInt = Field(default=4096, description="Longest side of a picture.")
    max_frame_pixels: PositiveInt = Field(default=8_912_896, description="4096 × 2176.")
    media_timeout_s: PositiveInt = Field(
        default=20, description="A connection without media is closed after this long."
    )
    resume_s: NonNegativeInt = Field(
        default=120, le=3600, description="Time for which a lost participant's choices are kept; 0: not at all."
    )
    idle_timeout_s: NonNegativeInt = Field(
        default=600, description="A WebSocket without connection is closed after this long."
    )
    shutdown_timeout_s: float = Field(default=2.0, gt=0, le=3, description="Time sessions get to end on SIGTERM.")

    @field_validator("token", "tls", "turn_urls", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """Reads JSON or a list with commas. Nothing that is raised here repeats a secret."""
        if not isinstance(given, str):
            return given
        if not given.lstrip().startswith("["):
            return [part.strip() for part in given.split(",") if part.strip()]
        try:
            return _STRINGS.validate_json(given)
        except ValidationError:
            raise ValueError('write it with commas between, or as a JSON list: ["one", "two"]') from None

    @field_validator("token")
    @classmethod
    def _sendable(cls, tokens: list[SecretStr]) -> list[SecretStr]:
        # RFC 6750, section 2.1: what `Authorization: Bearer` can carry. Another one would never match.
        for place, token in enumerate(tokens, 1):
            if not re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*", token.get_secret_value()):
                raise ValueError(f"token {place} is empty or has other characters than letters, digits and -._~+/=")
        return tokens

    @field_validator("workers")
    @classmethod
    def _countable(cls, given: str | None) -> str | None:
        if given and not re.fullmatch(r"auto|[1-9]\d{0,2}|ray://\S+", given):
            raise ValueError("give a number from 1 to 999, auto, or ray://HOST:PORT")
        return given or None

    @field_validator("tls")
    @classmethod
    def _one_or_two(cls, given: list[str]) -> list[str]:
        if given not in ([], [SELF_SIGNED]) and (len(given) != 2 or SELF_SIGNED in given):
            raise ValueError(f"give {SELF_SIGNED}, or the files of a certificate and its key")
        return given

    @model_validator(mode="after")
    def _open_or_not(self) -> "Settings":
        if self.open and self.asks_for_tokens:
            raise ValueError("open admits everyone, while token, secret or private asks for tokens: choose one")
        return self

    @field_validator("turn_urls")
    @classmethod
    def _turn(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not re.fullmatch(r"turns?:[^\s:?/@]+(:\d{1,5})?(\?transport=(udp|tcp))?", url):
                raise ValueError(
                    f"{url!r} is no TURN address: turn:host:3478?transport=udp, turns:host:5349?transport=tcp"
                )
        return urls

    @model_validator(mode="after")
    def _turn_whole(self) -> "Settings":
        if bool(self.turn_urls) != (self.turn_secret is not None):
            given, lacks = ("turn_urls", "turn_secret") if self.turn_urls else ("turn_secret", "turn_urls")
            raise ValueError(f"{given} is set and {lacks} is not: set RELIGHT_{lacks.upper()} too, or neither")
        return self

    @model_validator(mode="after")
    def _relay_possible(self) -> "Settings":
        named = [each.get("urls") or [] for each in self.ice_servers]
        urls = [*self.turn_urls, *(url for each in named for url in ([each] if isinstance(each, str) else each))]
        if self.ice_policy == "relay" and not any(url.startswith(("turn:", "turns:")) for url in urls):
            raise ValueError("ice_policy is relay and no TURN server is named: set RELIGHT_TURN_URLS and its secret")
        return self

    @field_validator("ice_servers")
    @classmethod
    def _usable(cls, servers: list[IceServer]) -> list[IceServer]:
        # Checked at the start: an unusable server would fail every offer, here and in the browser.
        for server in servers:
            urls = server.get("urls") or []
            for url in [urls] if isinstance(urls, str) else urls:
                if not url.startswith(("stun:", "stuns:", "turn:", "turns:")):
                    raise ValueError(f"{url!r} is no stun: or turn: address")
            if not urls or server.keys() - {"urls", "username", "credential"}:
                raise ValueError("each server has urls, and for TURN username and credential; nothing else")
        return servers

    @property
    def asks_for_tokens(self) -> bool:
        """True where every use of the server needs a token: a shared or a signed one."""
        return bool(self.token or self.secret is not None or self.private)

    @property
    def most_places(self) -> int:
        """The number of participants that there are never more of."""
        return MAX_PLACES if self.max_sessions == "auto" else self.max_sessions

    @property
    def max_sockets(self) -> int:
        """The number of WebSockets admitted: more than sessions, since an open page need not be live."""
        return self.most_places * 4 + 8 + self.max_waiting

    def engine_config(self) -> EngineConfig:
        """Returns what engines are made with."""
        lcvd = LcvdConfig(
            weights=self.lcvd_weights,
            backend=self.lcvd_backend,
            size=self.lcvd_size,
            plans=self.plans,
            decoder=self.lcvd_decoder,
            precision=self.lcvd_precision,
            batch=self.lcvd_batch,
        )
        return EngineConfig(self.models_dir, lcvd, self.tracker, self.surface, self.parts)

    @property
    def frame_limits(self) -> FrameLimits:
        return FrameLimits(self.min_frame_side_px, self.max_frame_side_px, self.max_frame_pixels)


def unknown_variables() -> list[str]:
    """Returns variables that look like settings and are none: a misspelt one would be silently ignored."""
    prefix = str(Settings.model_config["env_prefix"])
    known = {f"{prefix}{name}".upper() for name in Settings.model_fields} | {TRACEBACK}
    return sorted(name for name in os.environ if name.upper().startswith(prefix) and name.upper() not in known)
