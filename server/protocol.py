"""Parses and writes the control messages of docs/protocol.md: JSON text → validated models → JSON text.

Strict: unknown types, unknown fields, NaN, infinities and out-of-range values are errors (pydantic's ValidationError,
which `server.errors.explain` puts into words). Knows no sockets.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    computed_field,
    field_validator,
    model_validator,
)

from engine.diffusion.latency import QUALITIES
from engine.diffusion.window import STRIDES
from engine.protocols import Prediction
from lcvd.networks.schedule import STEPS
from server.errors import Problem
from server.light_message import STRICT, Adjust, Light, Unit
from server.security.grant import Scope

AvatarMode = Literal["window", "staggered"]
MessageId = Annotated[str, Field(max_length=64)] | int | FiniteFloat


class ClientMessage(BaseModel):
    """The fields that every message may carry, and the scope that a token needs for it."""

    model_config = STRICT
    scope: ClassVar[Scope]

    id: MessageId | None = None


class Offer(ClientMessage):
    scope = "publish"
    type: Literal["offer"]
    sdp: str = Field(min_length=1, max_length=65536)


class IceCandidate(BaseModel):
    """One trickled candidate, as `RTCIceCandidate.toJSON()` writes it; the server needs only the first three."""

    model_config = STRICT

    candidate: str = Field(max_length=1024)
    sdpMid: str | None = Field(default=None, max_length=64)
    sdpMLineIndex: int | None = Field(default=None, ge=0, le=64)
    usernameFragment: str | None = Field(default=None, max_length=256)


class Resume(ClientMessage):
    scope = "publish"
    type: Literal["resume"]
    session: str = Field(min_length=1, max_length=64, description="Name of the session that was lost.")


class Candidate(ClientMessage):
    scope = "publish"
    type: Literal["candidate"]
    candidate: IceCandidate | None


class SetLight(ClientMessage):
    scope = "control"
    type: Literal["set_light"]
    preset: str | None = Field(default=None, min_length=1, max_length=64)
    lighting: Light | None = None
    adjust: Adjust | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "SetLight":
        if (self.preset is None) == (self.lighting is None):
            raise ValueError("give exactly one of preset and lighting")
        return self


class SetStrength(ClientMessage):
    scope = "control"
    type: Literal["set_strength"]
    value: Unit


class SetBackground(ClientMessage):
    scope = "control"
    type: Literal["set_background"]
    mode: Literal["auto", "keep", "dim", "lit"] = Field(description="auto: as the light itself asks for.")
    gain: Annotated[FiniteFloat, Field(ge=0.3, le=1)] = 0.7


class SetEngine(ClientMessage):
    scope = "control"
    type: Literal["set_engine"]
    engine: str = Field(min_length=1, max_length=64)


def _one_of(legal: tuple[int, ...], value: int) -> int:
    """Returns `value` where it is legal, else raises ValueError. Literal would take true for 1."""
    if value not in legal:
        raise ValueError(f"use one of {', '.join(map(str, legal))}")
    return value


class SetAvatar(ClientMessage):
    scope = "control"
    type: Literal["set_avatar"]
    quality: str | None = Field(default=None, max_length=64)
    steps: Annotated[int, AfterValidator(partial(_one_of, STEPS))] | None = None
    omega: Annotated[FiniteFloat, Field(ge=1, le=20)] | None = None
    stride: Annotated[int, AfterValidator(partial(_one_of, STRIDES))] | None = None
    mode: AvatarMode | None = None

    @field_validator("quality")
    @classmethod
    def _known(cls, quality: str | None) -> str | None:
        names = [each.name for each in QUALITIES]
        if quality is not None and quality not in names:
            raise ValueError(f"use one of {', '.join(names)}")
        return quality

    @model_validator(mode="after")
    def _quality_or_fields(self) -> "SetAvatar":
        single = self.steps is not None or self.omega is not None or self.stride is not None
        if self.quality is not None and single:
            raise ValueError("give either quality, or any of steps, omega and stride")
        if self.quality is None and not single and self.mode is None:
            raise ValueError("give quality, or any of steps, omega, stride and mode")
        return self


class SetView(ClientMessage):
    scope = "control"
    type: Literal["set_view"]
    hint: bool = False
    split: Unit | None = None


class SetViewingKey(ClientMessage):
    scope = "control"
    type: Literal["set_viewing_key"]
    key: str = Field(min_length=16, max_length=128, description="A secret of the owner; viewers get its hash as name.")


class Mirror(ClientMessage):
    scope = "control"
    type: Literal["mirror"]
    on: bool


class Pause(ClientMessage):
    scope = "control"
    type: Literal["pause"]
    on: bool


class Ping(ClientMessage):
    scope = "control"
    type: Literal["ping"]
    t: FiniteFloat


AnyClientMessage = Annotated[
    Offer
    | Candidate
    | Resume
    | SetLight
    | SetStrength
    | SetBackground
    | SetEngine
    | SetAvatar
    | SetView
    | SetViewingKey
    | Mirror
    | Pause
    | Ping,
    Field(discriminator="type"),
]
_CLIENT: TypeAdapter[AnyClientMessage] = TypeAdapter(AnyClientMessage)


def parse(text: str) -> AnyClientMessage:
    """Returns one validated message. Raises pydantic's ValidationError."""
    return _CLIENT.validate_json(text)


class Envelope(BaseModel):
    """The fields that an answer to an unreadable message can echo."""

    model_config = ConfigDict(extra="ignore")

    id: MessageId | None = None
    type: str | None = Field(default=None, max_length=64)


def envelope(text: str) -> Envelope:
    """Returns the id and type of a message that did not validate, where they can be read."""
    try:
        return Envelope.model_validate_json(text)
    except ValueError:
        return Envelope()


class EngineChoice(BaseModel):
    """One line of the engine menu."""

    name: str
    title: str
    available: bool
    reason: str = ""
    shows_avatar: bool = False  # in place of the camera; needs a portrait
    has_qualities: bool = False  # it obeys `set_avatar`

    @computed_field
    def needs_portrait(self) -> bool:
        """The former name of `shows_avatar`; the next version sends only that."""
        return self.shows_avatar


class ServerMessage(BaseModel):
    """A message of the server; it is not validated on the way out beyond its types."""

    def text(self) -> str:
        return self.model_dump_json(by_alias=True)


class Welcome(ServerMessage):
    type: Literal["welcome"] = "welcome"
    session: str
    view: str  # the session's viewing name: /whep/{view}; `session` stays a secret of its owner
    version: str
    engines: list[EngineChoice]
    engine: str
    ice_servers: list[dict[str, Any]]
    ice_policy: Literal["all", "relay"] = "all"
    lighting: Light


class Answer(ServerMessage):
    type: Literal["answer"] = "answer"
    id: MessageId | None = None
    of: Literal["offer"] = "offer"
    sdp: str


class Waiting(ServerMessage):
    """The answer to an offer while all places are taken, and what follows unsolicited when it changes."""

    type: Literal["waiting"] = "waiting"
    id: MessageId | None = None
    place: int  # 1: next
    of: int
    estimate_s: int | None  # null: nobody has left yet


class PlaceFree(ServerMessage):
    """A place is held for the session, for ten seconds: it has to offer again."""

    type: Literal["place_free"] = "place_free"


class Ack(ServerMessage):
    type: Literal["ack"] = "ack"
    id: MessageId | None = None
    of: str
    lighting: Light | None = None

    def text(self) -> str:
        return self.model_dump_json(exclude_none=self.lighting is None)


class ResumeAck(ServerMessage):
    """The answer to `resume`."""

    type: Literal["ack"] = "ack"
    id: MessageId | None = None
    of: Literal["resume"] = "resume"
    resumed: Literal[True] = True
    view: str
    lighting: Light
    engine: str
    avatar: bool = Field(description="The server has the portrait still.")


class ViewAck(ServerMessage):
    """The answer to `set_viewing_key`."""

    type: Literal["ack"] = "ack"
    id: MessageId | None = None
    of: Literal["set_viewing_key"] = "set_viewing_key"
    view: str


class Predicted(BaseModel):
    """The predicted cost of an avatar's settings."""

    delay_s: float
    fps: float
    keeps_up: bool

    @classmethod
    def of(cls, prediction: Prediction | None) -> "Predicted | None":
        if prediction is None:
            return None
        return cls(delay_s=round(prediction.delay_s, 3), fps=round(prediction.fps, 2), keeps_up=prediction.keeps_up)


class AvatarAck(ServerMessage):
    """The answer to `set_avatar`; null: nothing was measured yet."""

    type: Literal["ack"] = "ack"
    id: MessageId | None = None
    of: Literal["set_avatar"] = "set_avatar"
    predicted: Predicted | None


class Pong(ServerMessage):
    type: Literal["pong"] = "pong"
    id: MessageId | None = None
    t: float
    server_s: float


class ErrorReply(ServerMessage):
    type: Literal["error"] = "error"
    id: MessageId | None = None
    of: str | None = None
    code: str
    message: str
    hint: str

    @classmethod
    def about(cls, problem: Problem, id: MessageId | None = None, of: str | None = None) -> "ErrorReply":
        return cls(id=id, of=of, code=problem.code, message=problem.message, hint=problem.hint)


class Notice(ServerMessage):
    type: Literal["notice"] = "notice"
    code: str
    message: str
    hint: str = ""


class Latency(BaseModel):
    p50: float
    p95: float


class StageTime(BaseModel):
    p50_ms: float
    p95_ms: float
    p99_ms: float


class EngineState(BaseModel):
    name: str
    state: Literal["warming", "ok", "behind", "failed", "paused"]
    message: str = ""
    showing: str = "camera"


class Sync(BaseModel):
    """Ties one returned picture's RTP timestamp to the moment at which the picture it was made from had arrived."""

    rtp: int  # unsigned, 32 bit
    arrived_s: float  # Unix time of the server, as `pong.server_s`: decoded and handed to the engine
    decode_ms: float  # of these: from the last packet to the decoded picture, lately
    sound_rtp: int | None = None  # of the returned sound that belongs to the picture; None: no sound, or none left yet


class Cap(BaseModel):
    """The size, counted in pixels, and the rate at which everybody's pictures are handled."""

    width: int
    height: int
    fps: float


class Stats(ServerMessage):
    type: Literal["stats"] = "stats"
    fps_in: float
    fps_out: float
    drops: int
    width: int
    height: int
    latency_ms: Latency
    stages: dict[str, StageTime]
    face: Literal["ok", "no_face", "move_closer", "turn_to_camera"]
    engine: EngineState
    sync: Sync | None = None  # null until the first relit or untouched picture has left
    cap: Cap | None = None  # null: their own
