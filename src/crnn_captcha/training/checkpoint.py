"""Checkpoints that training goes on from exactly, even after a kill in the middle of a write.

A checkpoint is one NumPy archive: the arrays in order, and a JSON document with their number. It
is data only; loading one runs no code.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import RunError
from crnn_captcha.files import replacing

KEPT = 2  # the newest, and the one before it in case the newest is damaged


@dataclass(frozen=True)
class Checkpoint:
    """What training goes on from.

    Attributes:
        arrays: all variables, in an order that the training knows.
        state: what else it has to know, as JSON takes it.
    """

    arrays: Sequence[NDArray[Any]]
    state: dict[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, whole or not at all, and removes all but the last `KEPT`.

    Args:
        folder: made if missing.
        step: training steps so far; names the file.
        checkpoint: what to write.

    Raises:
        OSError: if it can't be written; older checkpoints are then kept.
    """
    document = {"arrays": len(checkpoint.arrays), "state": checkpoint.state}
    state = np.frombuffer(json.dumps(document).encode(), np.uint8)
    arrays = {f"array_{i}": array for i, array in enumerate(checkpoint.arrays)}
    with replacing(folder / f"step-{step:09d}.npz") as path, path.open("wb") as file:
        np.savez(file, allow_pickle=False, state=state, **arrays)
    half_written = folder.glob(".*-step-*.npz")  # by a process that was killed
    for old in (*_newest_first(folder)[KEPT:], *half_written):
        old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where there never was one.

    A damaged one is passed over with a warning, and set aside once an older one is found whole:
    what can't be read today may be read tomorrow.

    Raises:
        RunError: if there are checkpoints, and all are damaged.
        OSError: if one can't be opened.
    """
    paths = _newest_first(folder)
    for i, path in enumerate(paths):
        with path.open("rb") as file:
            try:
                checkpoint = _load(file)
            except Exception as error:  # a flipped bit in a zip shows as nearly any of them
                warnings.warn(
                    f"The checkpoint {path} is damaged ({error}); the one before it is tried.",
                    stacklevel=2,
                )
                continue
        for damaged in paths[:i]:  # they would count among those that are kept
            damaged.replace(damaged.with_name(f"damaged-{damaged.name}"))
        return checkpoint
    if paths:
        raise RunError(
            f"All checkpoints in {folder} are damaged. The best model so far is untouched; "
            "train again into another folder."
        )
    return None


def peek_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None; changes nothing: it may be another's run."""
    for path in _newest_first(folder):
        with contextlib.suppress(Exception), path.open("rb") as file:  # or it was just removed
            return _load(file)
    return None


def _load(file: BinaryIO) -> Checkpoint:
    with np.load(file, allow_pickle=False) as archive:
        document = json.loads(archive["state"].tobytes())
        arrays = [archive[f"array_{i}"] for i in range(document["arrays"])]
    return Checkpoint(arrays, document["state"])


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.npz"), reverse=True)
