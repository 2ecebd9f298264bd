"""The error tree in each package's docstring is the tree of its classes."""

import importlib
import inspect
import re

import pytest

from lcvd.errors import HintedError

LINE = re.compile(r"^(?P<branch>[│├└─ ]*)(?P<name>\w+)(?: \((?P<other>\w+)\))?(?:\s{2,}\S.*)?$")


def told(docstring: str) -> dict[str, set[str]]:
    """Class → its bases, read from a tree of ├── and └──; a name in brackets is a further base."""
    tree: dict[str, set[str]] = {}
    above: list[str] = []
    for line in inspect.cleandoc(docstring).splitlines():
        found = LINE.match(line)
        if found is None or not (found["branch"] or found["other"]):
            continue
        depth = len(found["branch"].rstrip()) // 4 + 1 if found["branch"] else 0
        above[depth:] = [found["name"]]
        bases = {above[depth - 1]} if depth else set()
        tree[found["name"]] = bases | ({found["other"]} if found["other"] else set())
    return tree


@pytest.mark.parametrize("package", ["lcvd", "engine", "server", "training"])
def test_the_tree_of_the_docstring_is_true(package: str) -> None:
    """Every class stands in it under the base it has, and nothing else does."""
    module = importlib.import_module(f"{package}.errors")
    own = {
        name: {base.__name__ for base in value.__bases__}
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, HintedError)
        and value.__module__ == module.__name__
        and value is not HintedError
    }
    assert len(own) > 3
    assert told(module.__doc__ or "") == own


def test_a_tree_that_leaves_a_class_out_is_seen() -> None:
    """The reader itself reads: depth, brackets and remarks."""
    tree = told("""Errors.

    Root (HintedError)
    ├── A (ValueError)   a remark
    │   └── B            deeper
    └── C
    """)
    assert tree == {"Root": {"HintedError"}, "A": {"Root", "ValueError"}, "B": {"A"}, "C": {"Root"}}
