"""The command `crnn-captcha`: one thin file per command."""

from __future__ import annotations

import math
from typing import Any

import click


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
