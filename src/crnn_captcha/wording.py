"""Figures and names in words for people, in Markdown that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn_captcha.metrics import Confusion, Interval


def percent(share: float) -> str:
    """A share for people, such as '61.1 %'."""
    return f"{100 * share:.1f} %"


def percent_range(interval: Interval) -> str:
    """An interval for people, such as '59.7 to 65.6 %'."""
    return f"{100 * interval.low:.1f} to {percent(interval.high)}"


def describe(confusion: Confusion) -> str:
    """A confusion in words, such as 'o read as 0'."""
    if not confusion.text:
        return f"{confusion.label} left out"
    if not confusion.label:
        return f"{confusion.text} added"
    return f"{confusion.label} read as {confusion.text}"


def printable(text: str) -> str:
    """The text with what would move a cursor or break a line shown as '�'.

    File names come from elsewhere and may hold control characters or bytes that aren't UTF-8.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with its columns padded to one width.

    Args:
        header: a cell for each column.
        rows: as many cells each.
    """
    cells = [[printable(cell).replace("|", r"\|") for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True))} |"
        for row in cells
    )
