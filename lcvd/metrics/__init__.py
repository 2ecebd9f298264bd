"""Metrics of a relit clip: the paper's, where their weights are present, and ours, which need none (docs/evaluate.md).

`metrics_for(request)` makes them all, in the order of the table; `lcvd.metrics.evaluation.evaluate` runs them.
Importing this package imports neither torch nor any metric's own package.
"""

from lcvd.metrics.background import BackgroundPsnr
from lcvd.metrics.deca import DecaCodes, DecaLightError, DecaPose
from lcvd.metrics.expression import Expression
from lcvd.metrics.flicker import Flicker
from lcvd.metrics.frechet import Fid, Fvd
from lcvd.metrics.identity import Identity
from lcvd.metrics.image_quality import ImageQuality
from lcvd.metrics.light_error import LightError
from lcvd.metrics.lpips import Lpips
from lcvd.metrics.metric import FramePair, Metric, MetricInfo, Missing, Request, Score
from lcvd.metrics.pose import Pose
from lcvd.metrics.video_quality import VideoQuality

__all__ = ["FramePair", "Metric", "MetricInfo", "Missing", "Request", "Score", "metrics_for"]


def metrics_for(request: Request) -> list[Metric]:
    """Make all metrics: those without weights first, then the paper's columns in the paper's order."""
    codes = DecaCodes(request)  # shared: its network runs once a frame
    return [
        LightError(request),
        Flicker(request),
        BackgroundPsnr(request),
        Pose(request),
        Expression(request),
        DecaLightError(request, codes),
        Identity(request),
        Lpips(request),
        ImageQuality(request),
        VideoQuality(request),
        Fid(request),
        Fvd(request),
        DecaPose(request, codes),
    ]
