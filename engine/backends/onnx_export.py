"""A network → an ONNX file of static shapes, weights beside it (a UNet of 1.5 G parameters exceeds protobuf's 2 GB).

torch.onnx's dynamo exporter; constants are folded and nothing else: the exporter's own rewriting doubles the time and
gained nothing in onnxruntime, and TensorRT does its own. bf16 needs opset 22, where Conv first allows it.
"""

import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from engine.backends.networks import Network
from engine.errors import EngineUnavailable

OPSET, OPSET_BF16 = 20, 22


def export_onnx(
    network: Network,
    path: Path,
    module: nn.Module | None = None,  # in place of the network's own: the same in FP8
) -> None:
    """Write `path` and `path`.data, and let onnx check them. Raises EngineUnavailable without onnx."""
    try:
        import onnx
        import onnxscript.optimizer
    except ImportError as error:
        raise EngineUnavailable(f"ONNX export: {error}", "pip install -e '.[tensorrt]'") from None
    from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

    from engine.backends.fp8 import onnx_translations

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about torchvision, which nothing here uses
    case = network.cases()[0]
    half = any(value.dtype == torch.bfloat16 for value in case.values())
    module = network.module if module is None else module
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations between torch's own parts
        program = torch.onnx.export(
            module.eval(),
            tuple(case.values()),
            dynamo=True,
            input_names=list(case),
            output_names=[network.output],
            opset_version=OPSET_BF16 if half else OPSET,
            optimize=False,
            verbose=False,
            custom_translation_table=onnx_translations(),
        )
    assert program is not None
    ShapeInferencePass(check_type=False, data_prop=False)(program.model)  # types, without which CastLike stays
    onnxscript.optimizer.fold_constants(
        program.model,
        # Folded, an FP8 weight would be a plain number again (and onnx's reference evaluator reads its bytes wrongly).
        should_fold=lambda node: False if node.op_type in ("QuantizeLinear", "DequantizeLinear") else None,
    )
    RemoveUnusedNodesPass()(program.model)
    program.save(str(path), external_data=True)
    onnx.checker.check_model(str(path))
