"""Downloads the published weights into the published layout with huggingface_hub: resumed, pinned, only what is used.

Nothing is loaded or run. The caller has shown `LICENCE_NOTICE` and got consent. An interrupted fetch goes on where it
stopped: huggingface_hub keeps what it has under the target folder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lcvd.errors import WeightsError
from lcvd.weights.load import SVD_FOLDER, VAE_FOLDER

LICENCE_NOTICE = """\
These files are not part of relight-live and come under their own licences:
  Relightable-Portrait-Animation (UNet, adapters): derived from Stable Video Diffusion, whose licence binds it.
  stable-video-diffusion-img2vid-xt: Stability AI's licence; commercial use is restricted. Accept it on its page first:
    https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt
  sd-vae-ft-mse: MIT.
  DECA and FLAME (only with --tracker): research use only, no redistribution:
    https://flame.is.tue.mpg.de/modellicense.html"""


@dataclass(frozen=True, slots=True)
class HubRepo:
    """A repository, the files wanted of it, and where in the layout they go."""

    repo_id: str
    folder: str
    patterns: tuple[str, ...]


LCVD_REPO = HubRepo("MartinGuo/Relightable-Portrait-Animation", ".", ("unet.pth", "*_embedder.pth"))
TRACKER_PATTERNS = ("u2net_human_seg.pth", "data/*", "*/u2net_human_seg.pth")
SVD_REPO = HubRepo(
    "stabilityai/stable-video-diffusion-img2vid-xt",
    SVD_FOLDER,
    (
        "scheduler/*.json",
        "feature_extractor/*.json",
        "unet/config.json",
        "image_encoder/config.json",
        "image_encoder/model.fp16.safetensors",
    ),
)
TEMPORAL_PATTERNS = ("vae/config.json", "vae/diffusion_pytorch_model.safetensors")
VAE_REPO = HubRepo(
    "stabilityai/sd-vae-ft-mse", f"{SVD_FOLDER}/{VAE_FOLDER}", ("config.json", "diffusion_pytorch_model.safetensors")
)


class Hub(Protocol):
    """Interface of the one function of huggingface_hub that is used."""

    def snapshot_download(self, repo_id: str, **kwargs: Any) -> str: ...


def fetch(
    folder: Path,
    temporal: bool = False,  # SVD's temporal decoder as well
    tracker: bool = False,  # DECA, FLAME and matting files as the authors ship them
    revisions: Mapping[str, str] | None = None,  # repo_id -> commit, tag or branch
    hub: Hub | None = None,
    on_repo: Callable[[str], None] | None = None,
) -> Path:
    """Download what is missing; returns `folder`. Raises WeightsError with the remedy (login, network, disk)."""
    source = _huggingface_hub() if hub is None else hub
    repos = (LCVD_REPO, SVD_REPO, VAE_REPO)
    pins = dict(revisions or {})
    unknown = set(pins) - {repo.repo_id for repo in repos}
    if unknown:
        raise WeightsError(
            f"revision for {', '.join(sorted(unknown))}: no such repository is fetched",
            f"use {', '.join(repo.repo_id for repo in repos)}",
        )
    for repo in repos:
        patterns = list(repo.patterns)
        if repo is LCVD_REPO and tracker:
            patterns += TRACKER_PATTERNS
        if repo is SVD_REPO and temporal:
            patterns += TEMPORAL_PATTERNS
        if on_repo is not None:
            on_repo(repo.repo_id)
        _download(source, repo, folder / repo.folder, patterns, pins.get(repo.repo_id))
    return folder


def _huggingface_hub() -> Any:
    import huggingface_hub

    return huggingface_hub


def _download(hub: Hub, repo: HubRepo, target: Path, patterns: list[str], revision: str | None) -> None:
    try:
        hub.snapshot_download(repo.repo_id, local_dir=target, allow_patterns=patterns, revision=revision, max_workers=4)
    except _hub_errors() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{repo.repo_id}: {reason}", _remedy(repo, error)) from error


def _hub_errors() -> tuple[type[Exception], ...]:
    """Errors of a download: huggingface_hub's are OSErrors, but those of its HTTP library and of hf_xet are not."""
    from huggingface_hub import errors

    theirs = [getattr(errors, name) for name in ("HTTPError", "XetDownloadError") if hasattr(errors, name)]
    return (OSError, ValueError, RuntimeError, *theirs)


def _remedy(repo: HubRepo, error: Exception) -> str:
    # By name: the classes move between versions of huggingface_hub.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return f"accept the licence at https://huggingface.co/{repo.repo_id}, then: hf auth login"
    if "RevisionNotFoundError" in kinds:
        return "name a commit, tag or branch of that repository with --revision REPO=REVISION"
    if "RepositoryNotFoundError" in kinds:
        return f"see whether https://huggingface.co/{repo.repo_id} still exists; log in with: hf auth login"
    if getattr(error, "errno", None) == 28:
        return "free some disk: the weights take about 9 GB"
    return "run the same command again when the network is back: it goes on where it stopped"
