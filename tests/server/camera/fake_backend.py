"""A virtual camera for the real pyvirtualcam: it keeps what it is sent."""

import numpy as np


class FakeBackend:
    """A backend of the real pyvirtualcam, which keeps what it is sent."""

    sent: list[np.ndarray] = []  # noqa: RUF012 (pyvirtualcam makes the instance; the test reads the class)
    refusal: str | None = None

    def __init__(
        self, *, width: int, height: int, fps: float, fourcc: int, device: str | None, **options: object
    ) -> None:
        if FakeBackend.refusal is not None:
            raise RuntimeError(FakeBackend.refusal)
        self.shape, self.name = (height, width, 3), device or "Fake Camera"

    def close(self) -> None:
        FakeBackend.sent.append(np.empty(0))

    def send(self, frame: np.ndarray) -> None:
        FakeBackend.sent.append(frame.reshape(self.shape).copy())

    def device(self) -> str:
        return self.name

    def native_fourcc(self) -> int | None:
        return None
