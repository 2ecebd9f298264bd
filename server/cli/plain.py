"""Prints text that people named, such as paths, as it is: no markup is read in it, and nothing is wrapped."""

from rich.console import Console


def print_plain(console: Console, text: str) -> None:
    """Prints `text` without reading rich's markup: a path may hold brackets, or the :name: of an emoji.

    Nothing is wrapped, since a wrapped path cannot be copied.
    """
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)
