"""The command `crnn-captcha`: one thin file per command."""

from __future__ import annotations

import math
from typing import Any

import click


class Some(click.types.StringParamType):
    """A text that isn't empty, as a variable of the shell is that nobody has set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text that was given."""
        text = str(super().convert(value, param, ctx))
        return text or self.fail("is empty. Leave the option out, or say what.", param, ctx)


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
