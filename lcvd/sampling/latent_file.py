"""The latents of a clip while it is being denoised: this step's x, the next step's x, and the open blends.

Two arrays take turns as source and target of a step, so that a step can be cut off anywhere and taken up at the window
it had reached. With a folder they are memory-mapped files and only some 16 open frames are held: memory is bounded for
any length. `commit` after each window makes that window final.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lcvd.errors import LcvdError, ShapeError


class ClipLatents:
    """Float32 latents [frames, *shape] of a clip at `step`, of which `window` windows are done."""

    def __init__(
        self,
        frames: int,
        shape: tuple[int, int, int],  # 4, h, w
        folder: Path | None = None,
        fingerprint: str = "",  # of all inputs of the result; a run with another one is not resumed
    ) -> None:
        self.frames, self.shape = frames, shape
        self.step = 0
        self.window = 0
        self._folder, self._fingerprint = folder, fingerprint
        self._open: dict[int, tuple[Tensor, Tensor, float]] = {}
        self.resumed = False
        if folder is None:
            self._latents = [torch.zeros(frames, *shape) for _ in range(2)]
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.resumed = self._read_progress()
        self._latents = [self._mapped(folder / f"latents_{index}.f32") for index in range(2)]

    @property
    def x(self) -> Tensor:
        """[frames,4,h,w] source of this step."""
        return self._latents[self.step % 2]

    @property
    def x_next(self) -> Tensor:
        """[frames,4,h,w] target of this step; valid where the frame is final."""
        return self._latents[(self.step + 1) % 2]

    def begin(
        self,
        noise: Tensor,  # [P,4,h,w] repeated with period P over the clip
    ) -> None:
        """Start from noise, unless a folder held a run to resume."""
        if self.resumed:
            return
        if tuple(noise.shape[1:]) != self.shape:
            raise ShapeError(f"noise: expected [P,{','.join(map(str, self.shape))}], got {tuple(noise.shape)}")
        period = noise.shape[0]
        for start in range(0, self.frames, period):
            stop = min(start + period, self.frames)
            self.x[start:stop] = noise[: stop - start]
        self.commit(0)

    def blend(self, window: Sequence[int], v1: Tensor, v2: Tensor, weights: Sequence[float]) -> None:
        """Add one window's predictions [F,4,h,w], times `weights` [F], to the open sums."""
        v1, v2 = v1.float().cpu(), v2.float().cpu()
        for place, (frame, weight) in enumerate(zip(window, weights, strict=True)):
            first, second, total = v1[place] * weight, v2[place] * weight, float(weight)
            if frame in self._open:
                old = self._open[frame]
                first, second, total = old[0] + first, old[1] + second, old[2] + total
            self._open[frame] = (first, second, total)

    def close(self, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return and drop the weighted means (v1, v2) [n,4,h,w] of frames that no later window contains."""
        sums = [self._open.pop(frame) for frame in frames]
        return torch.stack([s[0] / s[2] for s in sums]), torch.stack([s[1] / s[2] for s in sums])

    def end_step(self) -> None:
        """End the step: the target becomes the source."""
        assert not self._open, f"frames {sorted(self._open)} were never closed"
        self.step += 1
        self.commit(0)

    def commit(self, window: int) -> None:
        """Record that `window` windows of this step are final; a resumed run goes on after them."""
        self.window = window
        if self._folder is None:
            return
        frames = sorted(self._open)
        empty = torch.zeros(0, *self.shape)
        tensors = {
            "frames": torch.tensor(frames, dtype=torch.int64),
            "weights": torch.tensor([self._open[f][2] for f in frames], dtype=torch.float64),
            "v1": torch.stack([self._open[f][0] for f in frames]) if frames else empty,
            "v2": torch.stack([self._open[f][1] for f in frames]) if frames else empty,
        }
        about = {"fingerprint": self._about(), "step": str(self.step), "window": str(window)}
        temporary = self._folder / "progress.part"
        save_file(tensors, temporary, about)
        os.replace(temporary, self._folder / "progress.safetensors")

    def _about(self) -> str:
        return f"{self.frames}x{'x'.join(map(str, self.shape))} {self._fingerprint}"

    def _read_progress(self) -> bool:
        assert self._folder is not None
        path = self._folder / "progress.safetensors"
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("frames", "weights", "v1", "v2")}
                step, window = int(about["step"]), int(about["window"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise LcvdError(f"{path}: cannot be read ({error})", "delete the folder to start over") from error
        if about.get("fingerprint") != self._about():
            raise LcvdError(
                f"{self._folder}: holds the progress of another run",
                "use the same clip and settings, name another folder, or delete it to start over",
            )
        self.step, self.window = step, window
        for place, frame in enumerate(tensors["frames"].tolist()):
            self._open[frame] = (tensors["v1"][place], tensors["v2"][place], float(tensors["weights"][place]))
        return True

    def _mapped(self, path: Path) -> Tensor:
        size = (self.frames, *self.shape)
        if not self.resumed:
            return torch.from_numpy(np.memmap(path, np.float32, "w+", shape=size))
        if not path.exists() or path.stat().st_size != 4 * int(np.prod(size)):
            raise LcvdError(f"{path}: is missing or has the wrong size", "delete the folder to start over")
        return torch.from_numpy(np.memmap(path, np.float32, "r+", shape=size))
