"""training.nano makes a packaged folder in one call, in small; a second call repeats nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[train]'")

from safetensors.torch import load_file  # noqa: E402

from lcvd.errors import WeightsError  # noqa: E402
from lcvd.model import load_lcvd  # noqa: E402
from lcvd.weights.convert import verify  # noqa: E402
from lcvd.weights.load import find_weights  # noqa: E402
from lcvd.weights.location import trained_size, weights_folder, weights_manifest  # noqa: E402
from lcvd.weights.tiny import write_tiny  # noqa: E402
from training import nano  # noqa: E402
from training.errors import ConfigError, DataError, TrainingError  # noqa: E402
from training.heads import head_clip  # noqa: E402
from training.loop.train import train  # noqa: E402
from training.vae_train import VaeRun, further  # noqa: E402

CHANGES = (
    "steps=2",
    "data.size=64",
    "data.frames=2",
    "data.synthetic.heads=2",
    "data.synthetic.clip_frames=2",
    "validation.every=0",
    "checkpoint.every=1",
    "checkpoint.export=false",
    "threads=1",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs torch on one thread, so that numbers are equal whatever else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Returns a whole run, and the stages it went through."""
    folder = tmp_path_factory.mktemp("nano")
    return folder, run(folder)


def run(folder: Path, source: nano.NanoSource | None = None) -> list[str]:
    """Returns the stages of one call of `train_nano`."""
    stages: list[str] = []

    def note(stage: str, done: int, of: int, said: str) -> None:
        assert 1 <= done <= of
        if stage not in stages:
            stages.append(stage)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "WARM_STEPS", 2)
        source = source or nano.NanoSource()
        small = {"steps": 2, "batch": 2, "crop": 32}
        vae = (
            VaeRun(folder / "vae", **small) if source.start is None else further(folder / "vae", source.start, **small)
        )
        result = nano.train_nano(folder, CHANGES, vae, on_stage=note, source=source)
    assert result is not None
    assert result.weights == folder / "weights"
    return stages


def test_one_call_makes_a_whole_demonstration(made: tuple[Path, list[str]]) -> None:
    """Every stage ran; the package is in half precision, verified, labelled, loads, and logs lie beside it."""
    folder, stages = made
    assert stages == ["heads", "VAE", "adapters", "LCVD"]
    weights = folder / "weights"
    found = find_weights(weights)
    assert verify(found) == []
    manifest = weights_manifest(weights)
    assert {part["dtypes"][0] for part in manifest["parts"].values()} == {"float16"}
    assert manifest["demonstration"] is True
    assert manifest["live"] == nano.LIVE | {"size": 80}
    assert trained_size(weights) == 64
    assert manifest["training"]["step"] == 2
    assert {path.name for path in weights.iterdir()} >= {"README.md", "config.json", "log.jsonl.gz", "vae-log.jsonl.gz"}
    asked = json.loads((weights / "config.json").read_text())
    assert (asked["steps"], asked["output"], asked["data"]["synthetic"]["cache"]) == (2, "run", "heads")
    assert str(folder) not in (weights / "config.json").read_text()
    assert load_lcvd(weights).vae.config.scaling_factor == 1.0


def test_what_is_done_is_not_done_again(made: tuple[Path, list[str]]) -> None:
    """A second call renders nothing, trains nothing and packs the same tensors."""
    folder, _ = made
    before = {name: part["sha256"] for name, part in weights_manifest(folder / "weights")["parts"].items()}
    kept = {path: path.stat().st_mtime_ns for path in (folder / "heads").iterdir()}
    assert "adapters" not in run(folder)
    assert {path: path.stat().st_mtime_ns for path in (folder / "heads").iterdir()} == kept
    after = {name: part["sha256"] for name, part in weights_manifest(folder / "weights")["parts"].items()}
    assert after == before


def test_weights_are_trained_further(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A further run warms no adapters, keeps the image encoder, begins with the other networks, and says so."""
    start, weights = Path("nano"), tmp_path / "weights"
    assert run(tmp_path, nano.NanoSource(start=start, hint_gain=2.0)) == ["heads", "VAE", "LCVD"]
    assert verify(find_weights(weights)) == []
    old = weights_folder(start)
    for name in ("unet", "adapters", "vae", "image_encoder"):
        before, after = (load_file(each / f"{name}.safetensors") for each in (old, weights))
        gain = {key: 2.0 if key.startswith("light.final_proj.") else 1.0 for key in before}
        changed = max(float((after[key].float() / gain[key] - before[key].float()).abs().max()) for key in before)
        assert (changed == 0) == (name == "image_encoder")
        assert changed < 1e-3 or name == "vae"
    assert sum(key.startswith("light.final_proj.") for key in load_file(weights / "adapters.safetensors")) > 0
    about, manifest = weights_manifest(start), weights_manifest(weights)
    assert manifest["training"]["hint_gain"] == 2.0
    digest = about["parts"]["unet"]["sha256"][:16]
    known = about["training"]
    assert manifest["training"]["before"] == f"{known['step']} steps, {known['data']}; UNet {digest}…"
    written = (weights / "config.json").read_text() + (weights / "README.md").read_text()
    assert str(tmp_path) not in written
    assert str(old) not in written
    with pytest.raises(TrainingError, match=r"begun with other settings: --start"):
        run(tmp_path, nano.NanoSource(start=made[0] / "weights"))


def test_what_a_run_begins_with_is_read_before_anything_is_rendered(tmp_path: Path) -> None:
    """A kit or weights that are not there, weights of another layout and a gain of 0 are told; no folder is made."""
    write_tiny(tmp_path / "tiny")
    for source, error, words in (
        (nano.NanoSource(facekit=tmp_path / "none.npz"), DataError, "--facekit"),
        (nano.NanoSource(start=tmp_path / "none"), WeightsError, "no such folder"),
        (nano.NanoSource(start=tmp_path / "tiny"), WeightsError, "its VAE differs"),
        (nano.NanoSource(hint_gain=float("nan")), ConfigError, "--hint-gain is nan"),
        (nano.NanoSource(hint_gain=0.0), ConfigError, "--hint-gain is 0"),
    ):
        with pytest.raises(error, match=words):
            nano.train_nano(tmp_path / "new", CHANGES, source=source)
    assert not (tmp_path / "new").exists()


def test_the_token_tells_portraits_apart(made: tuple[Path, list[str]]) -> None:
    """The random image encoder gives two heads tokens that differ by about 1 a number."""
    from lcvd.networks.image_encoder import embed_image

    folder, _ = made
    model = load_lcvd(folder / "weights")
    pictures = torch.stack([torch.from_numpy(head_clip(seed, 1, 64).rgb[0]).permute(2, 0, 1) for seed in (0, 1)])
    tokens = embed_image(model.image_encoder, pictures.float() / 127.5 - 1.0)[:, 0]
    assert 0.3 < float((tokens[0] - tokens[1]).abs().mean()) < 4
    assert json.loads((folder / "image_encoder" / "config.json").read_text()) == nano.IMAGE_ENCODER


def test_other_settings_and_other_peoples_folders_are_refused(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """Settings of the first stages may not change between calls, and nothing that lies there already is removed."""
    folder, _ = made
    with pytest.raises(TrainingError, match=r"begun with other settings: seed 0, vae.seed 0"):
        nano.train_nano(folder, (*CHANGES, "seed=3"), VaeRun(folder / "vae", steps=2, batch=2, crop=32, seed=3))
    (tmp_path / "weights").mkdir()
    for resume in (True, False):
        with pytest.raises(TrainingError, match="holds weights, not made by relight nano"):
            nano.train_nano(tmp_path, CHANGES, resume=resume)
    assert (tmp_path / "weights").is_dir()
    for change, field in (
        ('model.vae.path="elsewhere"', "model.vae: relight nano makes its own"),
        ("model.unet.config.cross_attention_dim=64", "cross_attention_dim 32"),
        ('precision="fp16"', "fp16 needs a GPU"),
    ):
        with pytest.raises(ConfigError, match=field):
            nano.train_nano(tmp_path / "new", (*CHANGES, change))
    assert not (tmp_path / "new").exists()


def test_frozen_networks_are_packed_as_they_were_made(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A run in bfloat16 exports VAE and image encoder with every bit they had."""
    folder, _ = made
    config = nano.nano_config(folder, (*CHANGES, 'precision="bf16"', f"output={json.dumps(str(tmp_path))}"))
    result = train(config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update={"export": True})}))
    assert result.weights is not None
    for name, file in (("vae", "diffusion_pytorch_model"), ("image_encoder", "model")):
        wanted, found = (
            load_file(folder / name / f"{file}.safetensors"),
            load_file(result.weights / f"{name}.safetensors"),
        )
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
