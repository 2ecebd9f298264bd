"""This module makes accelerate's Accelerator from a configuration, and checks what the machine lacks for it."""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType

from training.config import TrainConfig
from training.errors import ConfigError, TrainingError


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Makes the Accelerator of one process, or of those that accelerate or torchrun launched.

    Raises TrainingError, ConfigError.
    """
    check_machine(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    return Accelerator(
        cpu=_on_cpu(config),
        mixed_precision=config.precision,
        gradient_accumulation_steps=config.accumulation,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
        **_plugin(config),
    )


def check_machine(config: TrainConfig) -> None:
    """Raises TrainingError or ConfigError where this machine lacks what the configuration asks for."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "device cuda: torch sees no CUDA GPU here", 'set device = "cpu", or install torch for CUDA and its driver'
        )
    cpu = _on_cpu(config)
    if cpu and config.precision == "fp16":
        raise ConfigError("precision fp16 needs a GPU, and training runs on the CPU", 'set precision = "no" or "bf16"')
    strategy = config.distributed.strategy
    if cpu and strategy != "ddp":
        raise ConfigError(f"distributed.strategy {strategy} needs a GPU", 'set distributed.strategy = "ddp"')


def fast_bf16() -> bool:
    """Returns True where this CPU has matrix units for bfloat16 (AMX); on others bfloat16 is slower than float32."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _on_cpu(config: TrainConfig) -> bool:
    return config.device == "cpu" or not torch.cuda.is_available()


def sharded(accelerator: Accelerator) -> bool:
    """Returns True where each process holds only a part of the weights."""
    if accelerator.distributed_type == DistributedType.FSDP:
        return True
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    return plugin is not None and int(plugin.zero_stage) == 3


def _plugin(config: TrainConfig) -> dict[str, Any]:
    options = config.distributed.options
    try:
        if config.distributed.strategy == "fsdp":
            from accelerate.utils import FullyShardedDataParallelPlugin

            return {"fsdp_plugin": FullyShardedDataParallelPlugin(**{"use_orig_params": True, **options})}
        if config.distributed.strategy == "deepspeed":
            import deepspeed  # noqa: F401  accelerate would fail later and less clearly
            from accelerate.utils import DeepSpeedPlugin

            given = {
                "zero_stage": 2,
                "gradient_accumulation_steps": config.accumulation,
                "gradient_clipping": config.optimizer.clip_norm,
            }
            plugin = DeepSpeedPlugin(**{**given, **options})
            # accelerate would read it off a DataLoader, and there is none
            plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = config.batch
            return {"deepspeed_plugin": plugin}
    except ImportError as error:
        raise TrainingError(
            f"distributed.strategy {config.distributed.strategy}: {error}", f"pip install {config.distributed.strategy}"
        ) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"distributed.options: {error}", "docs of accelerate's plugin list them") from None
    return {}
