"""The command `crnn-captcha`: one thin file per command."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import click

EMPTY = "is empty. Say what, or leave it out."


class Some(click.types.StringParamType):
    """A text that isn't empty, as a variable of the shell is that nobody has set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text that was given."""
        return str(super().convert(value, param, ctx)) or self.fail(EMPTY, param, ctx)


class SomePath(click.Path):
    """A path that isn't empty: `Path("")` would be the folder in which the command runs.

    Args:
        dir_okay: whether it may be a folder that is there.
    """

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(dir_okay=dir_okay, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """The path that was given."""
        if not os.fspath(value):
            self.fail(EMPTY, param, ctx)
        return Path(os.fsdecode(super().convert(value, param, ctx)))


def check_outside(out: Path | None, data: Path | None) -> None:
    """Makes sure that what a command writes isn't taken for images of its data later.

    Raises:
        click.UsageError: if `out` lies in `data`.
    """
    if out and data and data.is_dir() and out.resolve().is_relative_to(data.resolve()):
        raise click.UsageError(
            "What is written has pictures, and lies outside of DATA, whose images they would "
            f"become. Received: '{out}' in '{data}'. Name another folder."
        )


class Real(click.FloatRange):
    """A number of a range. `nan` lies in every range for click, and is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number of what was given."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
