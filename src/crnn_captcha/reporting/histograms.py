"""Figures of a data set: how many images, labels and characters of each kind it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from crnn_captcha.dataset import Split
from crnn_captcha.diagnosis import Diagnosis, Spread
from crnn_captcha.reporting.canvas import BLUE, GREEN, ORANGE, new_figure, plain, style
from crnn_captcha.wording import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Mapping[Split, str] = {"train": BLUE, "validation": ORANGE, "test": GREEN}
MOST_BARS = 80  # more can't be told apart
CROWDED = 40  # bars, above which their names are smaller

Value = TypeVar("Value", str, int)


def spread_bars(title: str, unit: str, found: Spread) -> Figure:
    """The histogram of whole numbers, in its own bins.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    figure, (axis,) = new_figure(6.4, 3.8)
    said = f"{title}: {found.minimum:,} to {found.maximum:,}, median {found.median:,g}"
    style(axis, said, unit, "images")
    names = [b.name for b in found.histogram]
    axis.bar(range(len(names)), [b.count for b in found.histogram], 0.9, color=BLUE)
    axis.set_xticks(range(len(names)), names, fontsize=8)
    return figure


def count_bars(title: str, what: str, counts: Mapping[Split, Mapping[Value, int]]) -> Figure:
    """How often each value comes, the splits on top of each other.

    Of more than `MOST_BARS` values, those that are rarest in train are shown.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    values = sorted(set().union(*counts.values()))
    if len(values) > MOST_BARS:
        title = f"{title}, the {MOST_BARS} rarest of {len(values):,} in train"
        values = sorted(values, key=lambda value: counts["train"].get(value, 0))[:MOST_BARS]
    figure, (axis,) = new_figure(6.4, 3.8)
    style(axis, title, what, "in all labels")
    places = range(len(values))
    below = [0] * len(values)
    for split, colour in COLOURS.items():
        if found := counts[split]:
            heights = [found.get(value, 0) for value in values]
            axis.bar(places, heights, 0.8, below, color=colour, label=split)
            below = [sum(pair) for pair in zip(below, heights, strict=True)]
    names = [plain(printable(str(value))) for value in values]
    axis.set_xticks(places, names, fontsize=9 if len(values) <= CROWDED else 5)
    axis.legend(
        frameon=False,
        fontsize=9,
        ncols=len(COLOURS),
        loc="lower right",
        bbox_to_anchor=(1, 1),  # above the bars: each of them may be high
        borderaxespad=0,
    )
    return figure


def diagnosis_figures(diagnosis: Diagnosis) -> dict[str, Figure]:
    """Every figure of a diagnosis that has something to show, by the name of its file.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    figures = {}
    if diagnosis.label_lengths:
        figures["characters"] = count_bars("Characters", "character", diagnosis.characters)
        figures["lengths"] = count_bars("Label lengths", "characters", diagnosis.lengths)
    if diagnosis.widths and diagnosis.heights:
        figures["widths"] = spread_bars("Widths", "px", diagnosis.widths)
        figures["heights"] = spread_bars("Heights", "px", diagnosis.heights)
    return figures
