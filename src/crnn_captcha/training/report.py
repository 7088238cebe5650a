"""The pictures that a training leaves."""

from __future__ import annotations

from typing import Any


def write_training_report(*a: Any) -> None:
    pass
