"""A training that is done stays done, if it is the one that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from crnn_captcha.errors import RunError
from crnn_captcha.training.budget import train_within
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.transfer import read_base


def test_a_finished_training_is_not_done_again(captchas: Path, tiny_run: Path) -> None:
    run = RunFolder(tiny_run)
    before = run.bundle.stat().st_mtime_ns
    assert train_within(captchas, run, run.load_config(), 1, skip_broken=False, progress=False)
    assert run.bundle.stat().st_mtime_ns == before


def test_a_finished_training_from_another_start_is_no_such_training(
    captchas: Path, tiny_run: Path
) -> None:
    run = RunFolder(tiny_run)
    with pytest.raises(RunError, match=r"--from .* which is something else"):
        train_within(
            captchas,
            run,
            run.load_config(),
            1,
            base=read_base(tiny_run),
            skip_broken=False,
            progress=False,
        )
