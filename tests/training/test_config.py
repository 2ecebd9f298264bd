"""The configuration has the paper's defaults, strict names, and errors with field, value and legal values."""

from pathlib import Path

import pytest

from tests.training.tiny_run import tiny_table
from training.config import config_from, load_config
from training.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"


def test_the_papers_settings_are_the_defaults() -> None:
    """lcvd.toml holds the figures of the paper and the released code, and leaving them out gives the same."""
    config = load_config(CONFIGS / "lcvd.toml")
    assert (config.data.size, config.data.frames) == (512, 16)
    assert config.steps == 30_000
    assert config.clips_a_step == 8
    assert (config.noise.p_mean, config.noise.p_std) == (0.7, 1.6)
    assert (config.noise.reference_mean, config.noise.reference_std) == (-3.0, 0.5)
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.clip_norm) == ("adamw8bit", 1e-5, 1.0)
    minimal = config_from({"output": "x", "model": {"path": "y"}, "data": {"folders": ["z"]}})
    for section in ("noise", "dropout", "optimizer", "steps", "batch", "accumulation", "region", "parts"):
        assert getattr(minimal, section) == getattr(config, section)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_legal(path: Path) -> None:
    """Every shipped configuration loads."""
    assert load_config(path).steps > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer__lrr": 1}, r"optimizer\.lrr: unknown name; legal here: name, lr, betas"),
        ({"validation__sigmas": [2.0, 2.0]}, r"validation.*sigmas: give at least one number, each once"),
        ({"speed": 1}, r"speed: unknown name; legal here: output, steps"),
        ({"precision": "fp8"}, r"precision is 'fp8': Input should be 'no', 'fp16' or 'bf16'"),
        ({"data__size": 100}, r"data\.size is 100: .*multiple of 8"),
        ({"optimizer__lr": -1.0}, r"optimizer\.lr is -1\.0: Input should be greater than 0"),
        ({"dropout__both": 0.5}, r"dropout: both must not exceed"),
        ({"parts": ["unet", "head"]}, "landmark maps"),
        ({"conditions": ["shading"]}, r"'ref' is trained by condition 'reference'"),
        ({"data__synthetic__clip_frames": 2}, r"clip_frames is 2: at least frames \(4\)"),
        ({"staggered": {"levels": [1.0, 2.0]}}, "smaller than the one before"),
        ({"staggered": {"chunk": 2, "levels": [2.0, 1.0]}}, "4 frames under way; with data.frames 4 at most 2"),
        ({"model": {"source": "fresh"}}, r"needs model\.unet, model\.vae, model\.image_encoder"),
        ({"model": {"source": "svd"}}, r"needs model\.path"),
        ({"data": {}}, r"either folders or \[data\.synthetic\]"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    """The error has field, value and legal values."""
    with pytest.raises(ConfigError, match=said):
        config_from(tiny_table(tmp_path, **change))


def test_overrides_are_toml_values_or_words(tmp_path: Path) -> None:
    """--set reaches into tables; a word without quotes is a string; other shapes are refused."""
    file = tmp_path / "a.toml"
    file.write_text('output = "o"\n[model]\npath = "m"\n[data]\nfolders = ["d"]\n')
    config = load_config(file, ["optimizer.lr=2e-4", "output=runs/b", "parts=['unet']", "ema.decay = 0"])
    assert (config.optimizer.lr, str(config.output), config.parts, config.ema.decay) == (2e-4, "runs/b", ("unet",), 0)
    for bad in ("steps", "=3", "steps.x=3"):
        with pytest.raises(ConfigError):
            load_config(file, ["steps=3", bad])
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")
    file.write_text("a = = 3")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        load_config(file)
