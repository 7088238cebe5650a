"""What all figures share: colours, axes, and how they are drawn and saved without a window.

Every figure is an object of its own: nothing of Matplotlib's global state is used or changed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crnn_captcha.errors import MissingExtraError
from crnn_captcha.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE = "#2563a8"
ORANGE = "#d9730d"
GREEN = "#15803d"
RED = "#c81e2d"
INK = "#181f2a"
GREY = "#646e7d"
LINE = "#d9dee6"

DPI = 150


def require_matplotlib() -> None:
    """Refuses at once what would fail after minutes of work.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("Drawing figures", "train")


def new_figure(width: float, height: float, *, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, and its axes in a row."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, columns, i + 1) for i in range(columns)]


def style(axis: Axes, title: str, x: str, y: str) -> None:
    """Title, names and looks of an axis."""
    axis.set_title(title, loc="left", fontsize=11, color=INK)
    axis.set_xlabel(x, color=GREY)
    axis.set_ylabel(y, color=GREY)
    axis.grid(axis="y", color=LINE, lw=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors=GREY, labelcolor=INK, length=0)
    axis.spines[:].set_visible(False)
    axis.spines["bottom"].set(visible=True, color=LINE)


def whole_numbers(axis: Axes) -> None:
    """Ticks along the axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def say_nothing(figure: Figure, axis: Axes, why: str) -> Figure:
    """A figure that says why it shows nothing."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.text(0.5, 0.5, why, ha="center", va="center", color=GREY, transform=axis.transAxes)
    return figure


def plain(text: str) -> str:
    """Text that Matplotlib doesn't take for a formula."""
    return text.replace("$", r"\$")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all; the same data makes the same bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def save_figures(figures: Mapping[str, Figure], directory: Path) -> dict[str, bytes]:
    """Writes figures as `NAME.png` into a folder. Returns the files by their names."""
    for name, figure in figures.items():
        save_figure(figure, directory / f"{name}.png")
    return {name: (directory / f"{name}.png").read_bytes() for name in figures}
