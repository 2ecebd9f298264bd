"""The HTTP routes: lights and uploads, ICE servers, health, metrics and the OpenAPI page. Each answer has a model.

`router` is included by `server.http.app.create_app`; a route reaches the application's Server through `TheServer`.
"""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field

from engine.diffusion.latency import QUALITIES
from lcvd.lighting.presets import PRESETS
from server.errors import BadMessage, BadUpload, Busy, NotReady
from server.http import openapi_page, uploads
from server.http.error_body import WRONG_PART, errors
from server.http.scopes import needs
from server.ice_servers import ice_servers
from server.light_message import Light
from server.protocol import AvatarMode
from server.session.avatar_settings import DEFAULT_FPS, AvatarBody, avatar_at, quality_body
from server.session.state import Server


class GalleryLight(BaseModel):
    """One preset of the gallery."""

    name: str
    title: str
    description: str
    lighting: Light


class LightBody(BaseModel):
    """A light made from an upload."""

    lighting: Light


class PhotoLightBody(LightBody):
    """The light of a photo."""

    face: tuple[int, int, int, int] = Field(description="x, y, width, height of the face in px of the photo.")


class PortraitBody(BaseModel):
    """The portrait that the session has from now on."""

    face: tuple[int, int, int, int] = Field(description="x, y, width, height of the face in px of the photo.")


class IceBody(BaseModel):
    """STUN and TURN servers for the browser's RTCPeerConnection."""

    ice_servers: list[dict[str, Any]]
    ice_policy: Literal["all", "relay"] = "all"


class HealthBody(BaseModel):
    """The state of the server."""

    status: str
    sessions: int = 0
    max_sessions: int = 0
    step: int = Field(default=0, description="How far sizes and rates are stepped down: 0 to 3.")
    waiting: int = Field(default=0, description="Participants who wait for a place.")
    engine: str = ""
    places: dict[str, int] = Field(default_factory=dict, description="Participants at 30 pictures a second, by size.")


UPLOAD_ERRORS = errors(
    s400="The form cannot be read.",
    s401="The server asks for a token.",
    s403="The page is of another site.",
    s408="The upload took too long.",
    s413="The file is over the limit.",
    s422="The file is not what it should be.",
    s503="Other uploads are being read, or a model is missing.",
)


GALLERY = [
    GalleryLight(name=p.name, title=p.title, description=p.description, lighting=Light.of(p.lighting)) for p in PRESETS
]

router = APIRouter()


async def server_of(request: Request) -> Server:
    """Returns the Server of the application that answers `request`."""
    server: Server = request.app.state.server
    return server


TheServer = Annotated[Server, Depends(server_of)]


@router.get("/api/lights", tags=["lights"], summary="Gallery", response_description="In gallery order.")
@needs(None)
async def lights() -> list[GalleryLight]:
    """List the presets in gallery order; the first leaves the picture as it is."""
    return GALLERY


@router.post("/api/lights/from-photo", tags=["lights"], summary="Light of a photo", responses=UPLOAD_ERRORS)
@needs("control")
async def from_photo(
    server: TheServer,
    file: Annotated[UploadFile, File(description="JPEG, PNG or WebP with one face")],
) -> PhotoLightBody:
    """Copy the light on the face of a photo."""
    name = file.filename or "photo"
    # Read on the upload thread, one at a time: many uploads at once wait on disk, not in memory.
    found = await server.off_loop(lambda: uploads.light_of_photo(file.file.read(), name, server.settings))
    return PhotoLightBody(lighting=Light.of(found.lighting), face=found.face)


@router.post("/api/lights/from-hdri", tags=["lights"], summary="Light of a panorama", responses=UPLOAD_ERRORS)
@needs("control")
async def from_hdri(
    server: TheServer,
    file: Annotated[UploadFile, File(description=".hdr, .exr, or an equirectangular .jpg or .png")],
) -> LightBody:
    """Turn a panorama into a light."""
    name = file.filename or "panorama"
    found = await server.off_loop(lambda: uploads.light_of_panorama(file.file.read(), name, server.settings))
    return LightBody(lighting=Light.of(found))


@router.post("/api/portrait", tags=["avatar"], summary="Portrait of the avatar", responses=UPLOAD_ERRORS)
@needs("control")
async def portrait(
    server: TheServer,
    file: Annotated[UploadFile, File(description="JPEG, PNG or WebP with one face")],
    session: Annotated[str, Form(description="The session's name, from its welcome.", max_length=64)],
) -> PortraitBody:
    """Give one's session the portrait that the avatar engine animates. Kept in memory, gone with the session."""
    # The name is as secret as the socket: nobody else gets it.
    if session not in server.sessions:
        raise BadUpload("this session does not exist", "open the WebSocket first and send the name of its welcome")
    name = file.filename or "portrait"
    found = await server.off_loop(lambda: uploads.portrait_of(file.file.read(), name, server.settings))
    if (owner := server.sessions.get(session)) is None:
        raise BadUpload("this session has ended", "connect again and send the portrait once more")
    await owner.set_portrait(found.rgb, found.placeholder)
    return PortraitBody(face=found.face)


@router.get(
    "/api/avatar",
    tags=["avatar"],
    summary="Qualities of the avatar",
    responses=errors(s400="The engine has no such mode.", s422=WRONG_PART),
)
@needs(None)
async def avatar(
    server: TheServer,
    fps: Annotated[float, Query(ge=1, le=60, description="Of the camera.", allow_inf_nan=False)] = DEFAULT_FPS,
    mode: Annotated[AvatarMode | None, Query(description="As in set_avatar; none: the engine's own.")] = None,
) -> AvatarBody:
    """List the qualities from the smallest delay to the finest picture, with the delay each would have now."""
    try:
        qualities = [quality_body(each, server.engines.predict(avatar_at(each, mode), fps)) for each in QUALITIES]
    except ValueError as error:  # of an engine that knows what its model can do
        raise BadMessage(str(error), "docs/lcvd.md says what each mode needs") from error
    return AvatarBody(
        qualities=qualities,
        default=server.engines.quality,
        backend=server.engines.backend,
        staggered=await asyncio.to_thread(lambda: server.engines.staggered),
        least_steps=await asyncio.to_thread(lambda: server.engines.least_steps),
    )


@router.get(
    "/api/ice",
    tags=["connection"],
    summary="STUN and TURN",
    responses=errors(s401="The server asks for a token."),
)
@needs("view")
async def ice(server: TheServer) -> IceBody:
    """List the STUN and TURN servers that the browser should use."""
    settings = server.settings
    return IceBody(ice_servers=ice_servers(settings, "http"), ice_policy=settings.ice_policy)


@router.get("/healthz", tags=["health"], summary="Alive")
@needs(None)
async def healthz(server: TheServer) -> HealthBody:
    """Answer while the process is alive."""
    return _health(server)


@router.get("/readyz", tags=["health"], summary="Ready", responses=errors(s503="Not now."))
@needs(None)
async def readyz(server: TheServer) -> HealthBody:
    """Answer 200 while the server is warm and admits another participant."""
    if server.stopping or not server.engines.ready:
        raise NotReady("the engine is not warm", "try again in a few seconds")
    if server.admission.full:
        raise Busy(f"all {server.admission.limit} places are taken", "add a machine, or set RELIGHT_MAX_SESSIONS")
    return _health(server, server.engines.default)


def _health(server: Server, engine: str = "") -> HealthBody:
    admission = server.admission
    return HealthBody(
        status="ok",
        sessions=len(admission),
        max_sessions=admission.limit,
        step=server.places.steps.level,
        waiting=admission.waiting,
        engine=engine,
        places=server.places.table,
    )


@router.get("/metrics", tags=["health"], summary="Metrics", response_class=PlainTextResponse)
@needs(None)
async def metrics(server: TheServer) -> Response:
    """Write the metrics as Prometheus text."""
    return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/docs", include_in_schema=False)
@needs(None)
async def docs(request: Request) -> HTMLResponse:
    """Shows the OpenAPI schema as one page."""
    return HTMLResponse(openapi_page.render(request.app.openapi()))


@router.get("/openapi.json", include_in_schema=False)
@needs(None)
async def openapi(request: Request) -> JSONResponse:
    """Gives the OpenAPI schema for programs."""
    return JSONResponse(request.app.openapi())
