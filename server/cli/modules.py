"""Joins ES modules into one file, for places in a browser that take one script: each module becomes a function's scope.

Only the forms that our own modules use are known, and every other import or export is an error: named imports from
relative files, and `export` before a declaration.
"""

import re
from pathlib import Path

from server.errors import BadModule

IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
UNKNOWN = re.compile(r"^(?:import|export)\b(?!\().*$", re.MULTILINE)


def join_modules(entry: Path, *, module: bool) -> str:
    """Returns the source of `entry` and of all it imports as one text.

    As a module it exports what `entry` exports; otherwise it is a classic script that leaves no global name. Raises
    BadModule for a form that is not known, a file that is missing, and modules that import each other in a circle.
    """
    order = imported_files(entry)
    names = {path: f"module{index}" for index, path in enumerate(order)}
    body = "\n".join(_scope(path, names) for path in order)
    if not module:
        return f"(() => {{\n{body}\n}})();\n"
    return f"{body}\nexport const {{ {', '.join(_exports(order[-1]))} }} = {names[order[-1]]};\n"


def imported_files(entry: Path) -> list[Path]:
    """Returns `entry` and every file it imports, each behind those it imports itself. Raises as `join_modules`."""
    order: list[Path] = []
    _visit(entry.resolve(), order, [])
    return order


def _visit(path: Path, order: list[Path], above: list[Path]) -> None:
    if path in order:
        return
    if path in above:
        circle = " → ".join(each.name for each in [*above[above.index(path) :], path])
        raise BadModule(f"modules import each other: {circle}", "move what both need into a third file")
    if not path.is_file():
        raise BadModule(
            f"{path} is missing", f"{above[-1].name} imports it" if above else "name a module that is there"
        )
    for _, target in IMPORT.findall(path.read_text(encoding="utf-8")):
        _visit((path.parent / target).resolve(), order, [*above, path])
    order.append(path)


def _scope(path: Path, names: dict[Path, str]) -> str:
    def bind(match: re.Match[str]) -> str:
        bound = re.sub(r"(\w+) as (\w+)", r"\1: \2", match[1].strip())
        return f"const {{ {bound} }} = {names[(path.parent / match[2]).resolve()]};"

    text = EXPORT.sub("", IMPORT.sub(bind, path.read_text(encoding="utf-8")))
    if unknown := UNKNOWN.search(text):
        raise BadModule(
            f"{path.name}: `{unknown[0]}` cannot be joined",
            'use `import { name } from "./file.js";`, and `export` before a function, class or const',
        )
    exported = ", ".join(_exports(path))
    return f"// {path.name}\nconst {names[path]} = (() => {{\n{text}\nreturn {{ {exported} }};\n}})();"


def _exports(path: Path) -> list[str]:
    return [match[1] for match in EXPORT.finditer(path.read_text(encoding="utf-8"))]
