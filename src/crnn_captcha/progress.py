"""What is said on standard error while people wait: bars with the time left, and lines."""

from __future__ import annotations

import sys
from typing import Any

LIVELY_S = 0.1  # seconds between two looks of a bar on a terminal
CALM_S = 30.0  # and in a log file, where each look is a line


def progress_bar(
    total: int,
    what: str,
    unit: str,
    *,
    shown: bool | None,
    done: int = 0,
    kept: bool = True,
) -> Any:
    """A bar on standard error: lively on a terminal, a line now and then in a log file.

    Args:
        total: units in all.
        what: stands before the bar.
        unit: that is counted, such as `image`.
        shown: whether to show it; None: on a terminal only.
        done: units that were done before.
        kept: whether it stays when it is closed.

    Returns:
        A bar of tqdm, open. A context manager; `update()` counts a unit, `update(n)` so many.
    """
    from tqdm import tqdm  # not above: it would make every start slower

    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        disable=True if sys.stderr is None else None if shown is None else not shown,
        initial=done,
        leave=kept,
        mininterval=LIVELY_S if sys.stderr and sys.stderr.isatty() else CALM_S,
        file=sys.stderr,
    )


def say(text: str) -> None:
    """Prints a line to standard error, clear of progress bars."""
    from tqdm import tqdm

    if sys.stderr is not None:  # as it is in a window without a console
        tqdm.write(text, file=sys.stderr)
