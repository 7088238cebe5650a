from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from crnn_captcha.charset import Charset
from crnn_captcha.confidence import risk_coverage
from crnn_captcha.errors import MissingExtraError
from crnn_captcha.images import load_image
from crnn_captcha.outcomes import EvaluationResult, Outcome, summarize
from crnn_captcha.reporting import figures
from crnn_captcha.reporting.canvas import save_figure

pytest.importorskip("matplotlib")

ROW = {
    "epoch": 1.0,
    "loss": 9.0,
    "val_loss": 8.0,
    "val_exact_match": 0.25,
    "val_cer": 0.5,
    "learning_rate": 1e-3,
    "seconds": 3.0,
}


def result_of(*pairs: tuple[str, str], broken: str = "") -> EvaluationResult:
    outcomes = [Outcome(label, label, text, 0.9, broken) for label, text in pairs]
    return summarize(outcomes, charset=Charset("ab"), seconds=1.0)


MIXED = result_of(("abc", "abc"), ("abcd", "abbd"), ("abcd", "abd"), ("abc", "abbb"))


def texts(axis: object) -> set[str]:
    from matplotlib.text import Text

    return {text.get_text() for text in axis.findobj(Text)}  # type: ignore[attr-defined]


def test_training_curves_show_the_history() -> None:
    history = [
        ROW | {"epoch": i + 1.0, "val_exact_match": x} for i, x in enumerate([0.1, 0.6, 0.4])
    ]
    losses, shares, rates = figures.training_curves(history).axes
    assert [line.get_label() for line in losses.lines] == ["training", "validation"]
    assert list(np.asarray(shares.lines[0].get_ydata())) == [10.0, 60.0, 40.0]
    assert list(np.asarray(shares.lines[1].get_ydata())) == [50.0] * 3
    assert shares.get_title(loc="left") == "Validation: best exact match 60.0 %"
    assert list(np.asarray(rates.lines[0].get_ydata())) == [1e-3] * 3


def test_training_curves_bear_figures_that_are_none(tmp_path: Path) -> None:
    history = [ROW | {"val_exact_match": float("nan"), "val_loss": float("inf")}, ROW]
    figure = figures.training_curves(history)
    assert figure.axes[1].get_title(loc="left") == "Validation: best exact match 25.0 %"
    save_figure(figure, tmp_path / "curves.png")


@pytest.mark.parametrize(
    ("history", "message"),
    [
        pytest.param([], "at least one epoch", id="none"),
        pytest.param(
            [ROW, {"epoch": 2.0, "loss": 1.0, "val_loss": 1.0, "val_cer": 1.0}],
            "Missing: val_exact_match, learning_rate",
            id="columns missing",
        ),
    ],
)
def test_training_curves_refuse(history: list[dict[str, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.training_curves(history)


def test_comparison_curves_run_over_the_minutes(tmp_path: Path) -> None:
    histories = {
        "classic": [{"seconds": 30.0, "val_exact_match": x} for x in (0.0, 0.25, 0.5)],
        "standard model.units=[$8$]": [
            {"seconds": 120.0, "val_exact_match": 0.125},
            {"seconds": 60.0, "val_exact_match": float("nan")},
        ],
    }
    figure = figures.comparison_curves(histories)
    (axis,) = figure.axes
    first, second = axis.lines
    assert list(np.asarray(first.get_xdata())) == [0.5, 1.0, 1.5]
    assert list(np.asarray(first.get_ydata())) == [0.0, 25.0, 50.0]
    assert list(np.asarray(second.get_xdata())) == [2.0, 3.0]
    assert first.get_color() != second.get_color()
    assert {"classic", r"standard model.units=[\$8\$]", "minutes of training"} <= texts(axis)
    assert axis.get_ylim()[0] == 0
    save_figure(figure, tmp_path / "comparison.png")  # a dollar begins no formula
    assert min(load_image(tmp_path / "comparison.png").shape[:2]) > 300


def test_bars_stand_for_the_lengths() -> None:
    (axis,) = figures.length_bars(MIXED.by_length).axes
    assert [bar.get_height() for bar in axis.patches] == [50.0, 0.0]  # type: ignore[attr-defined]
    assert {"3\n2 images", "4\n2 images", "50 %", "0 %"} <= texts(axis)
    with pytest.raises(ValueError, match="at least one length"):
        figures.length_bars([])


def test_confusions_are_named_and_counted() -> None:
    (bars,) = figures.confusion_bars(MIXED.confusions).axes
    assert {"c read as b", "c left out", "b added"} <= texts(bars)
    heat, _ = figures.confusion_map(MIXED.confusions).axes
    assert np.asarray(heat.images[0].get_array()).tolist() == [[2]]
    assert {"c", "b", "2"} <= texts(heat)


def test_many_confusions_are_cut_to_the_costliest() -> None:
    pairs = [("ab", f"a{chr(0x4E00 + i)}") for i in range(100)]
    bars = figures.confusion_bars(result_of(*pairs).confusions)
    assert len(bars.axes[0].get_yticks()) == figures.TOP_BARS


def test_no_confusion_is_said() -> None:
    perfect = result_of(("ab", "ab"))
    assert "no confusions: every text is right" in texts(
        figures.confusion_bars(perfect.confusions).axes[0]
    )
    assert "no character was read as another" in texts(
        figures.confusion_map(perfect.confusions).axes[0]
    )


def test_confidences_are_split_into_right_and_wrong() -> None:
    left, right = figures.confidence_figure(MIXED.outcomes).axes
    assert {"right (1)", "wrong (3)"} <= texts(left)
    assert {"measured (error 65.0 %)", "ideal"} <= texts(right)


def test_a_reliability_diagram_says_how_many_texts_stand_behind_it() -> None:
    outcomes = [
        Outcome(str(i), "ab", "ab" if i % 4 else "aa", 0.75 if i < 1200 else 0.25)
        for i in range(1210)
    ]
    _, right = figures.confidence_figure(outcomes).axes
    (bars,) = right.containers
    line, _, (intervals,) = bars
    assert list(np.asarray(line.get_xdata())) == [0.25, 0.75]
    assert list(np.asarray(line.get_ydata())) == [0.7, 0.75]
    low, high = (segment[:, 1] for segment in intervals.get_segments())
    assert low[1] - low[0] > 0.4 > 0.06 > high[1] - high[0]  # of ten texts, of 1,200 texts
    assert {"10", "1,200", "ideal"} <= texts(right)


def test_a_risk_coverage_curve_goes_down_to_the_exact_match() -> None:
    found = risk_coverage(
        [1 - i / 1000 for i in range(1000)], [i % 4 > 0 or i < 800 for i in range(1000)]
    )
    (axis,) = figures.risk_coverage_figure(found).axes
    ideal, measured, *marks = axis.lines
    assert np.asarray(measured.get_xdata())[[0, -1]].tolist() == [0.1, 100.0]
    assert np.asarray(measured.get_ydata())[[0, -1]] == pytest.approx([100, 95])
    assert (np.asarray(ideal.get_ydata()) >= np.asarray(measured.get_ydata()) - 1e-9).all()
    assert [float(np.asarray(mark.get_xdata())[0]) for mark in marks] == [80, 90, 95, 100]
    assert {"100.0", "97.2", "95.0", f"measured (area above it {found.area:.4f})"} <= texts(axis)


@pytest.mark.parametrize("right", [True, False])
def test_a_risk_coverage_curve_of_one_image(right: bool, tmp_path: Path) -> None:
    figure = figures.risk_coverage_figure(risk_coverage([0.5], [right]))
    save_figure(figure, tmp_path / "curve.png")
    low, high = figure.axes[0].get_ylim()
    assert low < 100 * right < high


def test_without_a_readable_image_there_are_no_confidences() -> None:
    left, _ = figures.confidence_figure(result_of(("ab", ""), broken="bad").outcomes).axes
    assert "no image could be read" in texts(left)


def test_figures_are_written_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        for name, figure in figures.evaluation_figures(MIXED).items():
            save_figure(figure, tmp_path / folder / f"{name}.png")
    written = sorted((tmp_path / "first").iterdir())
    assert len(written) == 5  # no temporary file is left
    for path in written:
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
        image = load_image(path)
        assert min(image.shape[:2]) > 300
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10


def test_a_dollar_is_a_dollar(tmp_path: Path) -> None:
    confusions = result_of(("a$b$", "a$bb")).confusions
    save_figure(figures.confusion_bars(confusions), tmp_path / "bars.png")
    save_figure(figures.confusion_map(confusions), tmp_path / "map.png")


def test_pyplot_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would raise
    figures.evaluation_figures(MIXED)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "crnn-captcha\[train\]"'):
        figures.confusion_bars([])
