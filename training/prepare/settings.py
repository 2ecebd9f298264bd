"""PrepareSettings holds the settings of `relight data prepare`; they identify the data, so the index contains them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """Holds the settings, whose defaults are the paper's: 512², 16 frames at sample rate 4.

    Raises DataError on a value out of range.
    """

    size: int = 512  # px, side of the crop
    frames: int = 16  # a sample
    rate: int = 4  # every rate-th frame of the footage
    min_face_px: float = 48.0  # width of a face in the footage
    quality: str = "auto"  # auto, basic or faster-vqa
    threshold: float | None = None  # of the quality; None: the score's own
    max_clips: int = 0  # of one source; 0: as many as there are
    jpeg_quality: int = 95  # of the frames; 0: png
    shard_bytes: int = 256 * 2**20
    deca: Path | None = None  # folder with DECA and FLAME; None: MediaPipe's mesh
    u2net: Path | None = None  # u2net_human_seg.pth; None: MediaPipe's matte
    weights: tuple[Path, ...] = ()  # folders with FasterVQA's files
    models: Path | None = None  # folder with MediaPipe's models

    def __post_init__(self) -> None:
        for name, low, high in (
            ("size", 64, 1024),
            ("frames", 2, 256),
            ("rate", 1, 100),
            ("min_face_px", 12, 4096),
            ("jpeg_quality", 0, 100),
            ("max_clips", 0, 10**9),
            ("shard_bytes", 2**16, 2**40),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise DataError(f"{name} is {value}", f"give a value in {low}…{high}")
        if self.size % 8:
            raise DataError(f"size is {self.size}", "a latent is an eighth of it: give a multiple of 8")
        if self.quality not in ("auto", "basic", "faster-vqa"):
            raise DataError(f"quality {self.quality!r} is unknown", "one of auto, basic, faster-vqa")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise DataError(f"threshold is {self.threshold}", "give a value in 0…1")

    def identity(self) -> dict[str, Any]:
        """Returns the settings that decide the bytes of the data, as JSON.

        Folders of this machine are only recorded as given or not.
        """
        out = asdict(self)
        out["deca"], out["u2net"] = self.deca is not None, self.u2net is not None
        del out["weights"], out["models"]
        return out
