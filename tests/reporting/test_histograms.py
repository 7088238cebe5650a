from __future__ import annotations

from pathlib import Path

import pytest

from crnn_captcha.diagnosis import Bin, Diagnosis, Spread
from crnn_captcha.reporting.canvas import save_figure
from crnn_captcha.reporting.histograms import (
    MOST_BARS,
    count_bars,
    diagnosis_figures,
    spread_bars,
)

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


def heights(figure: Figure) -> list[float]:
    """Of the bars, from left to right."""
    return [bar.get_height() for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]


SPREAD = Spread(10, 14.5, 29, (Bin(10, 19, 5), Bin(20, 29, 1)))
NOTHING = Diagnosis(
    images={"train": 0, "validation": 0, "test": 0},
    findings=(),
    characters={"train": {}, "validation": {}, "test": {}},
    lengths={"train": {}, "validation": {}, "test": {}},
    formats={},
    label_lengths=None,
    widths=None,
    heights=None,
)


def test_a_spread_has_a_bar_for_each_bin() -> None:
    figure = spread_bars("Widths", "px", SPREAD)
    (axis,) = figure.axes
    assert heights(figure) == [5, 1]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["10-19", "20-29"]
    assert axis.get_title(loc="left") == "Widths: 10 to 29, median 14.5"


def test_counts_of_splits_stand_on_each_other(tmp_path: Path) -> None:
    counts = {"train": {"a": 4, "$": 2}, "validation": {}, "test": {"a": 1, "z": 3}}
    figure = count_bars("Characters", "character", counts)  # type: ignore[arg-type]
    (axis,) = figure.axes
    train, test = axis.containers
    assert [bar.get_height() for bar in train] == [2, 4, 0]
    assert [(bar.get_y(), bar.get_height()) for bar in test] == [(2, 0), (4, 1), (0, 3)]
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["train", "test"]
    save_figure(figure, tmp_path / "characters.png")  # a dollar begins no formula


def test_of_many_values_the_rarest_are_shown() -> None:
    counts = {"train": {i: 1000 - i for i in range(200)}, "validation": {}, "test": {}}
    figure = count_bars("Lengths", "characters", counts)  # type: ignore[arg-type]
    assert heights(figure) == [801 + i for i in range(MOST_BARS)]
    assert figure.axes[0].get_title(loc="left") == "Lengths, the 80 rarest of 200 in train"


def test_what_there_is_has_a_figure() -> None:
    assert diagnosis_figures(NOTHING) == {}
