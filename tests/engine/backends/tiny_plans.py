"""The tiny model's plans for onnxruntime, exported once for all tests that need them; each works on a copy."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

SIZE, FRAMES = 64, 16


@functools.cache
def tiny_folder() -> Path:
    """A tiny model of its own, so that a plan's weights are the same for the whole run."""
    from lcvd.weights.tiny import write_tiny

    root = Path(tempfile.mkdtemp(prefix="relight-tiny-plans-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    write_tiny(root / "tiny", seed=0)
    return root / "tiny"


@functools.cache
def tiny_model():  # -> lcvd.model.LcvdModel
    """It, on the CPU in float32."""
    import torch

    from lcvd.model import load_lcvd

    torch.set_num_threads(1)
    return load_lcvd(tiny_folder())


@functools.cache
def _built() -> Path:
    from engine.backends.build import BuildRequest, build_plans
    from engine.backends.make_runtime import make_runtime
    from engine.backends.plans import PlanStore

    model, store = tiny_model(), PlanStore(tiny_folder().parent / "plans")
    runtime = make_runtime("onnx", model.device, store.root)
    build_plans(model, runtime, store, BuildRequest(SIZE, FRAMES, (1, 2), 1, "fp32"), keep_exports=True)
    return store.root


def tiny_store(target: Path):  # -> engine.backends.plans.PlanStore
    """A copy, with the exports they were built from: unet (1 and 2 rows), decoder, shading."""
    from engine.backends.plans import PlanStore

    shutil.copytree(_built(), target)
    return PlanStore(target)
