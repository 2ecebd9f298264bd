"""`relight extension` writes a folder that a browser can load, and nothing else than it was told."""

import base64
import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli.extension import SOURCE
from server.cli.main import app
from server.cli.modules import join_modules
from server.errors import BadModule
from server.http.origin import EXTENSION_ORIGIN

runner = CliRunner()


def write(folder: Path) -> str:
    result = runner.invoke(app, ["extension", str(folder)])
    assert result.exit_code == 0, result.output
    return result.output


def referred(folder: Path) -> set[str]:
    """Every file that the manifest, the popup and the modules name, relative to the folder."""
    found = set(re.findall(r'"([\w/]+\.(?:js|png|html))"', (folder / "manifest.json").read_text()))
    for page in folder.rglob("*.html"):
        names = re.findall(r'(?:href|src)="([^"#]+)', page.read_text())
        found |= {resolved(page, name, folder) for name in names}
    for script in (path for path in folder.rglob("*.js") if path.name not in ("page.js", "content.js", "session.js")):
        found |= {resolved(script, name, folder) for name in re.findall(r'from "(\.[^"]+)"', script.read_text())}
    return found


def resolved(of: Path, name: str, root: Path) -> str:
    """A browser's reading of a relative address: above the root is the root."""
    parts = list(of.relative_to(root).parent.parts)
    for step in name.split("/"):
        if step == "..":
            parts = parts[:-1]
        elif step != ".":
            parts.append(step)
    return "/".join(parts)


def test_every_file_that_is_named_is_there(tmp_path: Path) -> None:
    """Manifest, popup and modules name no file that was not written, and the .zip holds the same files."""
    write(tmp_path / "out")
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert not referred(tmp_path / "out") - files
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert set(archive.namelist()) == files


def test_the_id_is_the_origin_that_the_server_admits() -> None:
    """Chrome makes the id of the manifest's key: the first 16 bytes of its SHA-256, in the letters a to p."""
    key = base64.b64decode(json.loads((SOURCE / "manifest.json").read_text())["key"])
    name = hashlib.sha256(key).hexdigest()[:32].translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))
    assert f"chrome-extension://{name}" == EXTENSION_ORIGIN


def test_it_asks_for_no_more_than_it_uses() -> None:
    """Storage, and the address of a tab whose popup is open; pages only where a browser gives them a camera."""
    manifest = json.loads((SOURCE / "manifest.json").read_text())
    assert manifest["permissions"] == ["activeTab", "storage"]
    assert not {"host_permissions", "optional_host_permissions", "externally_connectable"} & set(manifest)
    for script in manifest["content_scripts"]:
        assert script["matches"] == ["https://*/*", "http://localhost/*", "http://127.0.0.1/*"]


def test_a_second_time_replaces_the_first(tmp_path: Path) -> None:
    """What an older version left is gone, and the .zip is the same byte for byte."""
    write(tmp_path / "out")
    (tmp_path / "out" / "old.js").touch()
    first = (tmp_path / "out.zip").read_bytes()
    write(tmp_path / "out")
    assert not (tmp_path / "out" / "old.js").exists()
    assert (tmp_path / "out.zip").read_bytes() == first


def test_a_folder_of_something_else_stays(tmp_path: Path) -> None:
    """Exit status 2 in words, and the files are still there."""
    (tmp_path / "mine.txt").write_text("kept")
    for folder in (tmp_path, tmp_path / "mine.txt"):
        result = runner.invoke(app, ["extension", str(folder)])
        assert result.exit_code == 2
        assert "name a" in " ".join(result.output.replace("│", " ").split())
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_modules_keep_their_scopes(tmp_path: Path) -> None:
    """Two modules may use one name for different things, and each is there once though two import it."""
    (tmp_path / "a.js").write_text("const secret = 1;\nexport const a = () => secret;\n")
    (tmp_path / "b.js").write_text(
        'import { a } from "./a.js";\nconst secret = 2;\nexport const b = () => a() + secret;\n'
    )
    (tmp_path / "c.js").write_text(
        'import { a as one } from "./a.js";\nimport { b } from "./b.js";\nexport const c = one() + b();\n'
    )
    text = join_modules(tmp_path / "c.js", module=True)
    assert text.count("secret = 1") == 1
    assert "const { a: one } =" in text
    assert text.rstrip().endswith("export const { c } = module2;")
    assert "export" not in join_modules(tmp_path / "c.js", module=False)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('import thing from "./a.js";', "import thing"),
        ('export * from "./a.js";', "export *"),
        ("export let count = 0;", "export let"),
        ('import { a } from "./gone.js";', "gone.js is missing"),
        ('import { entry } from "./entry.js";', "import each other"),
    ],
)
def test_forms_that_cannot_be_joined_are_errors(tmp_path: Path, source: str, complaint: str) -> None:
    """The message names the form or the file."""
    (tmp_path / "a.js").write_text("export const a = 1;\n")
    (tmp_path / "entry.js").write_text(source + "\n")
    with pytest.raises(BadModule, match=re.escape(complaint)):
        join_modules(tmp_path / "entry.js", module=True)
