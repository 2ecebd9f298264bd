"""Runs drawn commands of `relight video`, each in a folder of its own; tells which end in neither result nor sentence.

    python -m tests.server.cli.fuzz_video BEGIN END [ENGINE …]

A child process runs them one after the other; one that crashes or hangs ends the child and not the run. A finding is a
traceback, a crash, more than LIMIT_S seconds, a status other than 0, 2 and 3, a status 2 without a sentence, a result
that cannot be read, a source that was changed, or a file left behind.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import select
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from tests.server.cli.odd_files import Case, draw

LIMIT_S = 60.0  # a machine shared by nine; the slowest case takes two seconds alone
ROOT = Path(__file__).resolve().parents[3]


def run_range(begin: int, end: int, engines: tuple[str, ...]) -> tuple[Counter[str], list[str]]:
    """Runs the cases `begin` to `end` - 1; returns how often each status came, and the findings."""
    statuses: Counter[str] = Counter()
    findings: list[str] = []
    number, drawn = begin, -1
    while number < end:
        with tempfile.TemporaryDirectory() as place:
            command = [
                sys.executable,
                "-m",
                "tests.server.cli.fuzz_video",
                "--child",
                place,
                str(number),
                str(end),
                *engines,
            ]
            child = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=ROOT
            )
            assert child.stdout is not None
            while number < end:
                ready, _, _ = select.select([child.stdout], [], [], LIMIT_S)
                line = child.stdout.readline() if ready else b""
                if not line:
                    how = f"crashed ({child.wait()})" if ready else f"took more than {LIMIT_S:.0f} s"
                    if drawn == number:
                        findings.append(f"case {number} {how}")
                    else:
                        statuses[f"not drawn: {how}"] += 1
                    number += 1
                    break
                outcome = json.loads(line)
                if "drawn" in outcome:
                    drawn = number
                    continue
                statuses[str(outcome["status"])] += 1
                if os.environ.get("SAID"):
                    print(number, outcome["status"], outcome.get("said"))
                findings += [f"case {number}: {found}" for found in outcome["findings"]]
                number += 1
            child.kill()
            child.wait()
            child.stdout.close()
    return statuses, findings


def _child(place: Path, begin: int, end: int, engines: tuple[str, ...]) -> None:
    """Runs cases and prints one line of JSON each on the real standard output."""
    os.environ["RELIGHT_TRACEBACK"] = "1"
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for number in range(begin, end):
        folder = place / str(number)
        folder.mkdir()
        os.chdir(folder)
        try:
            case = draw(number, folder, engines)
            print(json.dumps({"drawn": number}), file=report, flush=True)
            outcome = run_case(case, folder)
        except Exception:
            outcome = {"status": "broken", "findings": [f"the generator itself: {traceback.format_exc()}"]}
        os.chdir(place)
        print(json.dumps(outcome), file=report, flush=True)


def run_case(case: Case, folder: Path) -> dict[str, object]:
    """Runs one case in `folder`, which is the working directory; returns its status and its findings."""
    before = {path.name for path in folder.iterdir()}
    content = _digest(case.source)
    status, text = _run(case.words)
    findings = []
    if status not in (0, 2, 3):
        findings.append(f"status {status}")
    if status == 2 and not ("error:" in text or "Usage:" in text):
        findings.append("status 2 without a sentence")
    if _digest(case.source) != content:
        findings.append("the source was changed")
    if status in (0, 3) and (why := _unreadable(case.output)):
        findings.append(f"the result cannot be read: {why}")
    left = {path.name for path in folder.iterdir()} - before - {case.output.name, ".HOME"}
    if left or (
        status == 2 and case.output.name not in before and _exists(case.output) and case.output.parent == folder
    ):
        findings.append(f"left behind: {left or case.output.name}")
    return {
        "status": status,
        "said": " ".join(text.split())[:160],
        "findings": [f"{found}\n  {case.words}\n  {case.story}\n{text[-1500:]}" for found in findings],
    }


def _run(words: list[str]) -> tuple[int | str, str]:
    from server.cli.main import main

    sys.argv = ["relight", *words]
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")  # as Python opens standard error
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
            status: int | str = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else str(ended.code)
        except BaseException:
            status = "traceback"
            err.write(traceback.format_exc())
        err.flush()
        return status, err.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]


def _digest(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else ""


def _exists(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return path.is_file()
    return False


def _unreadable(path: Path) -> str:
    """Returns why the video at `path` has no frame, or times that do not rise; "" where it is well."""
    import av

    try:
        with av.open(str(path.absolute())) as container:
            times = [float(frame.time) for frame in container.decode(video=0)]  # sound is copied with its damage
    except Exception as error:
        return repr(error)
    rising = all(a < b for a, b in itertools.pairwise(times))
    return "" if times and rising else f"times {times[:20]}"


def main() -> int:
    """Runs what the command line asks for; the exit status is the number of findings, at most 100."""
    if sys.argv[1] == "--child":
        _child(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), tuple(sys.argv[5:]))
        return 0
    statuses, findings = run_range(int(sys.argv[1]), int(sys.argv[2]), tuple(sys.argv[3:]) or ("passthrough",))
    for finding in findings:
        print(finding)
    print(f"{sum(statuses.values())} cases, statuses {dict(statuses)}, {len(findings)} findings")
    return min(len(findings), 100)


if __name__ == "__main__":
    raise SystemExit(main())
