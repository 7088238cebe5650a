"""Figures of trainings and evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from crnn_captcha.confidence import Calibration, RiskCoverage, calibration
from crnn_captcha.metrics import Confusion, wilson_interval
from crnn_captcha.outcomes import COVERAGES, EvaluationResult, LengthResult, Outcome
from crnn_captcha.reporting.canvas import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LINE,
    ORANGE,
    RED,
    new_figure,
    plain,
    say_nothing,
    style,
    whole_numbers,
)
from crnn_captcha.wording import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOP_BARS = 15
TOP_PAIRS = 60  # substitutions in the heat map
BINS = 20  # of the histogram of confidences

HISTORY_COLUMNS = ("epoch", "loss", "val_loss", "val_exact_match", "val_cer", "learning_rate")


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Losses, the validation's exact match and CER, and the learning rate over the epochs.

    Args:
        history: a row for each epoch with `HISTORY_COLUMNS`, as in a run's `history.csv`.

    Raises:
        ValueError: if there is no row, or one lacks a column.
        MissingExtraError: if Matplotlib isn't installed.
    """
    if not history:
        raise ValueError("Training curves need at least one epoch. Received: none.")
    if missing := [name for name in HISTORY_COLUMNS if any(name not in row for row in history)]:
        raise ValueError(
            f"Each row of a history has {', '.join(HISTORY_COLUMNS)}. "
            f"Missing: {', '.join(missing)}."
        )
    column = {name: [row[name] for row in history] for name in HISTORY_COLUMNS}
    epochs, marker = column["epoch"], "o" if len(history) < 30 else None
    figure, axes = new_figure(11, 3.6, columns=3)
    style(axes[0], "Loss", "epoch", "loss per text")
    axes[0].plot(epochs, column["loss"], color=GREY, marker=marker, ms=3, label="training")
    axes[0].plot(epochs, column["val_loss"], color=BLUE, marker=marker, ms=3, label="validation")
    style(axes[1], "Validation", "epoch", "%")
    for name, color, title in (
        ("val_exact_match", GREEN, "exact match"),
        ("val_cer", ORANGE, "CER"),
    ):
        shares = [100 * value for value in column[name]]
        axes[1].plot(epochs, shares, color=color, marker=marker, ms=3, label=title)
    best = max(range(len(history)), key=lambda i: _or_low(column["val_exact_match"][i]))
    share = 100 * column["val_exact_match"][best]
    axes[1].plot([epochs[best]], [share], "*", color=GREEN, ms=11)
    axes[1].set_title(f"Validation: best exact match {share:.1f} %", loc="left", fontsize=11)
    axes[1].set_ylim(0, max(100, *axes[1].get_ylim()))
    style(axes[2], "Learning rate", "epoch", "")
    axes[2].step(epochs, column["learning_rate"], color=BLUE, where="mid")
    axes[2].set_ylim(bottom=0)
    for axis in axes[:2]:
        axis.legend(frameon=False, fontsize=9)
    for axis in axes:
        whole_numbers(axis)
    return figure


def comparison_curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Exact match on validation over the minutes of training, a line for each configuration.

    Args:
        histories: by the configuration's name, a row for each epoch with `val_exact_match` and
            `seconds`.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    figure, (axis,) = new_figure(8, 4.6)
    style(axis, "Exact match on validation", "minutes of training", "%")
    for name, history in histories.items():
        minutes = [seconds / 60 for seconds in accumulate(row["seconds"] for row in history)]
        shares = [100 * row["val_exact_match"] for row in history]
        axis.plot(minutes, shares, marker="o", ms=3, label=plain(name))
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def length_bars(by_length: Sequence[LengthResult]) -> Figure:
    """Exact match by label length, with 95 % intervals.

    Raises:
        ValueError: if there are none.
        MissingExtraError: if Matplotlib isn't installed.
    """
    if not by_length:
        raise ValueError("Bars by label length need at least one length. Received: none.")
    figure, (axis,) = new_figure(6.4, 3.8)
    style(axis, "Exact match by label length (95 % interval)", "characters in the label", "%")
    shares = [100 * row.exact_match for row in by_length]
    lows = [100 * (row.exact_match - row.interval.low) for row in by_length]
    highs = [100 * (row.interval.high - row.exact_match) for row in by_length]
    names = [f"{row.length}\n{row.images:,} images" for row in by_length]
    places = range(len(names))
    axis.bar(places, shares, 0.62, color=BLUE, yerr=(lows, highs), ecolor=INK, capsize=4)
    axis.set_xticks(places, names)
    axis.set_ylim(0, 105)
    for place, share in zip(places, shares, strict=True):
        axis.text(place, 2, f"{share:.0f} %", ha="center", color="white" if share > 9 else INK)
    return figure


def confusion_bars(confusions: Sequence[Confusion]) -> Figure:
    """The costliest confusions: how many texts each alone made wrong, and all its edits.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    rows = confusions[:TOP_BARS][::-1]  # bars are stacked upwards
    figure, (axis,) = new_figure(6.4, 1.4 + 0.26 * max(4, len(rows)))
    style(axis, "Confusions that cost most", "", "")
    axis.grid(visible=False)
    if not rows:
        return say_nothing(figure, axis, "no confusions: every text is right")
    places = range(len(rows))
    axis.barh(places, [row.edits for row in rows], 0.7, color="#f1b9bd", label="edits")
    axis.barh(
        places,
        [row.texts_alone for row in rows],
        0.7,
        color=RED,
        label="texts whose only fault it is",
    )
    axis.set_yticks(places, [plain(describe(row)) for row in rows])
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    whole_numbers(axis)
    return figure


def confusion_map(confusions: Sequence[Confusion]) -> Figure:
    """A heat map of which character was read as which; of the most frequent pairs.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    pairs = sorted((c for c in confusions if c.label and c.text), key=lambda c: -c.edits)
    pairs = pairs[:TOP_PAIRS]
    rows = sorted({c.label for c in pairs})
    columns = sorted({c.text for c in pairs})
    figure, (axis,) = new_figure(6.4, 5.6)
    style(axis, "Which character was read as which", "read", "actual")
    axis.grid(visible=False)
    if not pairs:
        return say_nothing(figure, axis, "no character was read as another")
    counts = [[0] * len(columns) for _ in rows]
    for pair in pairs:
        counts[rows.index(pair.label)][columns.index(pair.text)] = pair.edits
    image = axis.imshow(counts, cmap="Reds", vmin=0, aspect="auto")
    axis.set_xticks(range(len(columns)), [*map(plain, columns)], fontsize=9)
    axis.set_yticks(range(len(rows)), [*map(plain, rows)], fontsize=9)
    most = max(pair.edits for pair in pairs)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            if count:
                color = "white" if count > most / 2 else INK
                axis.text(j, i, str(count), ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=axis, label="edits", shrink=0.8)
    return figure


def confidence_figure(outcomes: Sequence[Outcome]) -> Figure:
    """Confidences of right and wrong texts, and how far they can be taken at their word.

    Broken images have no confidence and aren't in it.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    read = [outcome for outcome in outcomes if not outcome.broken]
    figure, (left, right) = new_figure(9.6, 3.8, columns=2)
    style(left, "Confidence of right and wrong texts", "confidence", "texts")
    style(right, "Can it be taken at its word?", "confidence", "share that is right")
    if not read:
        say_nothing(figure, left, "no image could be read")
        return say_nothing(figure, right, "no image could be read")
    groups = [[o.confidence for o in read if o.right is hit] for hit in (True, False)]
    names = [f"right ({len(groups[0]):,})", f"wrong ({len(groups[1]):,})"]
    edges = [i / BINS for i in range(BINS + 1)]
    left.hist(groups, edges, stacked=True, color=[GREEN, RED], label=names)
    left.legend(frameon=False, fontsize=9)
    _reliability(right, calibration([o.confidence for o in read], [o.right for o in read]))
    for axis in (left, right):
        axis.set_xlim(-0.02, 1.02)
    return figure


def risk_coverage_figure(found: RiskCoverage) -> Figure:
    """How much is right among the surest images, over the share of the images that is read.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    figure, (axis,) = new_figure(6.4, 3.8)
    style(axis, "If only the surest are read", "images read, the surest first (%)", "right (%)")
    coverages = [100 * point.coverage for point in found.points]
    shares = [100 * point.exact_match for point in found.points]
    ideal = [min(100, 100 * shares[-1] / coverage) for coverage in coverages]
    axis.plot(coverages, ideal, "--", color=GREY, lw=1, label="ideal: what is right comes first")
    name = f"measured (area above it {found.area:.4f})"
    axis.plot(coverages, shares, color=BLUE, lw=1.5, label=name)
    marked = [found.at_coverage(share) for share in (*COVERAGES, 1)]
    for point in marked:
        x, y = 100 * point.coverage, 100 * point.exact_match
        axis.plot([x], [y], "o", color=BLUE, ms=5)
        axis.annotate(
            f"{y:.1f}",
            (x, y),
            (-4, -5),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
        )
    axis.set_xlim(0, 103)
    # Whether the very first are right is chance, and must not squeeze the rest.
    settled = [
        share for share, point in zip(shares, found.points, strict=True) if point.coverage > 0.05
    ]
    axis.set_ylim(min(settled) - 8, 102)
    axis.legend(frameon=False, fontsize=9, loc="lower left")
    return figure


def evaluation_figures(result: EvaluationResult) -> dict[str, Figure]:
    """Every figure of an evaluation, by the name of its file without suffix.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    return {
        "by-length": length_bars(result.by_length),
        "confidence": confidence_figure(result.outcomes),
        "risk-coverage": risk_coverage_figure(result.risk_coverage),
        "confusions": confusion_bars(result.confusions),
        "confusion-map": confusion_map(result.confusions),
    }


def _reliability(axis: Axes, found: Calibration) -> None:
    """How often each confidence is right: bins with their 95 % intervals and their counts."""
    bins = [b for b in found.bins if b.count]
    intervals = [wilson_interval(round(b.exact_match * b.count), b.count) for b in bins]
    shares = [b.exact_match for b in bins]
    lows = [share - interval.low for share, interval in zip(shares, intervals, strict=True)]
    highs = [interval.high - share for share, interval in zip(shares, intervals, strict=True)]
    axis.plot([0, 1], [0, 1], "--", color=GREY, lw=1, label="ideal")
    axis.errorbar(
        [b.confidence for b in bins],
        shares,
        (lows, highs),
        color=BLUE,
        ecolor=LINE,
        elinewidth=3,
        marker="o",
        ms=5,
        lw=1,
        label=f"measured (error {100 * found.error:.1f} %)",
    )
    for b in bins:
        middle = (b.low + b.high) / 2
        axis.text(middle, -0.09, f"{b.count:,}", ha="center", fontsize=7, color=GREY)
    axis.set_xlabel("confidence, and the texts in each tenth", color=GREY)
    axis.set_ylim(-0.14, 1.04)
    axis.legend(frameon=False, fontsize=9, loc="upper left")


def _or_low(value: float) -> float:
    return -1.0 if math.isnan(value) else value
