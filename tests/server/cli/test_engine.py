"""`relight engine` on the command line: exit status, the JSON line, the table, what is refused."""

import json
import re
import sys

import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[lcvd]'")
pytest.importorskip("onnx", reason="pip install onnx==1.22.0")
pytest.importorskip("onnxscript", reason="pip install onnxscript")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

from engine.backends.build import TOLERANCES  # noqa: E402
from server.cli.main import main  # noqa: E402
from tests.engine.backends.tiny_plans import SIZE, tiny_folder, tiny_store  # noqa: E402


@pytest.fixture
def plans(tmp_path, monkeypatch):
    """Makes a folder of the tiny model's plans and names it in the environment."""
    store = tiny_store(tmp_path / "plans")
    monkeypatch.setenv("RELIGHT_PLANS", str(store.root))
    monkeypatch.setenv("COLUMNS", "400")
    return store


@pytest.fixture
def run(monkeypatch, capsys):
    """Gives run(words…), which returns (exit status, stdout, stderr)."""

    def call(*words: str):
        monkeypatch.setattr(sys, "argv", ["relight", "engine", *words])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def shape(**more: str) -> list[str]:
    values = {"weights": str(tiny_folder()), "size": str(SIZE), "backend": "onnx", "precision": "fp32", "device": "cpu"}
    return [word for name, value in (values | more).items() for word in (f"--{name}", value)]


def test_build_makes_what_is_missing(plans, run) -> None:
    """Of four plans one is gone: it is built and verified, the others are kept; the last line says all of it."""
    (gone,) = [plan.folder for plan in plans.plans() if plan.key.stem.startswith("shading") and plan.verification]
    plans.remove(gone)
    status, out, err = run("build", *shape())
    assert status == 0
    result = json.loads(out.splitlines()[-1])
    assert [plan["key"]["module"] for plan in result["plans"]] == ["shading", "decoder", "unet", "unet"]
    assert all(plan["verification"]["passed"] for plan in result["plans"])
    assert all(plan["verification"]["max_error"] < 1e-4 for plan in result["plans"])
    assert result["refused"] == ""
    assert gone.is_dir()
    stages = [line for line in err.splitlines() if line.startswith("shading-2x3x64x64-fp32-onnx: ")]
    assert [line.split(": ")[1] for line in stages[:3]] == ["build", "verify", "done"]
    assert err.count(": kept") == 3


def test_a_refused_plan_is_exit_1(plans, run, monkeypatch) -> None:
    """Words on stderr, the reason in the JSON line, nothing in the cache."""
    for folder in plans.folders():
        if folder.name.startswith("shading-2x3x64x64-fp32-onnx"):
            plans.remove(folder)
    monkeypatch.setitem(TOLERANCES, "fp32", (1.5, 0.0))
    status, out, err = run("build", *shape())
    assert status == 1
    assert "differs too much from eager" in json.loads(out.splitlines()[-1])["refused"]
    assert "refused: plan shading" in err
    assert not any(folder.name.startswith("shading-2x3x64x64-fp32-onnx") for folder in plans.folders())


def test_verify_runs_the_plans_again(plans, run) -> None:
    """0 while all is well; 1 with the file's name once one is damaged."""
    status, out, _ = run("verify", *shape(branches="1"))
    assert status == 0
    assert [plan["verification"]["passed"] for plan in json.loads(out.splitlines()[-1])["plans"]] == [True] * 3
    decoder = next(plan.folder for plan in plans.plans() if plan.key.stem.startswith("decoder") and plan.verification)
    (decoder / "plan.onnx.data").write_bytes(b"zero")
    status, out, err = run("verify", *shape(branches="1"))
    assert status == 1
    assert "plan.onnx.data" in json.loads(out.splitlines()[-1])["problem"]
    assert "wrong: plan decoder" in err


def test_list_says_what_fits_and_why_not(plans, run) -> None:
    """Size, age, verification; another version, other weights, a damaged file."""
    good, old, broken = [plan for plan in plans.plans() if plan.verification and plan.key.module != "shading"]
    record = old.folder / "plan.json"
    record.write_text(record.read_text().replace(old.key.runtime_version, "0.1 CPUExecutionProvider"))
    (broken.folder / "plan.onnx").write_bytes(b"")
    status, out, _ = run("list", "--weights", str(tiny_folder()))
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines() if "-fp32-" in line}
    assert rows[good.folder.name].rstrip().endswith("yes")
    assert re.search(r" \d+ min ", rows[good.folder.name])
    assert "runtime_version is '0.1 CPUExecutionProvider'" in rows[old.folder.name]
    assert "sha256 of plan.onnx" in rows[broken.folder.name]
    assert sum(line.rstrip().endswith("export") for line in rows.values()) == 4


def test_clear_deletes_what_is_named_or_does_not_fit(plans, run) -> None:
    """By name, all that mismatch, or all; nothing without a word."""
    good, old, named = [plan for plan in plans.plans() if plan.verification and plan.key.module != "shading"]
    record = old.folder / "plan.json"
    record.write_text(record.read_text().replace(old.key.torch, "1.0"))
    assert run("clear")[0] == 2
    assert run("clear", "no-such-plan")[0] == 2
    assert run("clear", named.folder.name)[0] == 0
    assert run("clear", "--mismatching")[0] == 0
    assert not named.folder.exists()
    assert not old.folder.exists()
    assert good.folder.exists()
    assert run("clear", "--all")[0] == 0
    assert plans.folders() == []
    assert "empty" in run("list")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"backend": "tensorrt"}, "needs the package tensorrt"),
        ({"backend": "eager"}, "builds no plans"),
        ({"branches": "3"}, "branches="),
        ({"branches": "x"}, "invalid literal"),
        ({"precision": "int4"}, "precision='int4'"),
        ({"weights": "/nowhere/at/all"}, "no such folder"),
    ],
)
def test_what_cannot_be_done_is_exit_2(plans, run, monkeypatch, words, said: str) -> None:
    """With what is wrong, and no traceback."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    status, out, err = run("build", *shape(**words))
    assert status == 2
    assert said in " ".join(err.split())
    assert out == ""
