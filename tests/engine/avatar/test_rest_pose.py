"""The live avatar, driven by somebody who laughs when the call begins."""

import numpy as np
import pytest

from engine.frames import Frame
from engine.protocols import Avatar, StreamConfig
from tests.engine.avatar.synthetic_portrait import avatar_engine, drawn_portrait
from tests.engine.synthetic_person import LEFT
from tests.lcvd.speaking_face import ANNA, lip_gap_cm

FPS, LAUGH_S = 12, 1.0


def laughing_then_calm(t_s: float):
    return ANNA.face(t_s, open_cm=3.0, smile=0.3) if t_s < LAUGH_S else ANNA.face(t_s)


def calm_throughout(t_s: float):
    return ANNA.face(t_s)


def test_the_live_avatar_recovers_within_two_seconds() -> None:
    """The picture two calm seconds after a laugh is that of a call that began calmly; during the laugh it is not."""
    pictures = {}
    for name in ("laughed", "calm"):
        play = calm_throughout if name == "calm" else laughing_then_calm
        stream = avatar_engine(lambda face, play=play: play(face.t_s)).open(
            StreamConfig(LEFT, avatar=Avatar(drawn_portrait()))
        )
        out, gaps = [], []
        for i in range(round((LAUGH_S + 2) * FPS)):
            work = stream.prepare(Frame(i, i / FPS, np.full((240, 320, 3), 120, np.uint8)))
            gaps.append(lip_gap_cm(work.payload.face))
            out.append(stream.render(work)[0].rgb if i in (0, FPS // 2, round((LAUGH_S + 2) * FPS) - 1) else None)
        pictures[name] = (out[FPS // 2], out[-1], gaps)
        stream.close()
    mouth = np.s_[280:400, 190:320]
    laugh, end, gaps = pictures["laughed"]
    calm_then, calm_end, calm_gaps = pictures["calm"]
    assert min(gaps[:FPS]) > 2.5
    assert gaps[-1] == pytest.approx(calm_gaps[-1], abs=0.1)
    off = [np.abs(a[mouth].astype(float) - b[mouth]).mean() for a, b in ((laugh, calm_then), (end, calm_end))]
    assert off[1] < 0.15 * off[0]
