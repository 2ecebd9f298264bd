"""Python source as a tree, for the tests that read the code itself."""

import ast
import gc


def parsed(source: str) -> ast.Module:
    """Returns the tree of `source`. Nothing is collected meanwhile.

    What other tests left may log a traceback as it goes, which parses its line, and Python 3.11 counts the depth
    of both in one place (python/cpython#106905).
    """
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()
