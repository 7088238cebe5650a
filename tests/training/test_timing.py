"""An epoch is timed by a few of its steps."""

from __future__ import annotations

from itertools import accumulate, chain, repeat
from pathlib import Path
from types import SimpleNamespace

import pytest

from crnn_captcha.dataset import open_dataset
from crnn_captcha.training import timing
from crnn_captcha.training.config import Config
from crnn_captcha.training.preparation import prepare
from crnn_captcha.training.timing import WARM_UP_STEPS, epoch_seconds


@pytest.mark.parametrize("make", ["quick_config", "tiny_config"], ids=["one head", "two heads"])
def test_an_epoch_is_measured_by_its_steps_and_its_validation(
    captchas: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, make: str
) -> None:
    config: Config = request.getfixturevalue(make)()
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    steps, validations = len(prepared.learning), len(prepared.validation)
    assert steps < timing.MEASURED_STEPS * 2  # so each step is measured
    # A step takes 2 s and reading a batch 3 s, but the first ones also trace.
    durations = chain(repeat(100.0, WARM_UP_STEPS), repeat(2.0, steps), (100.0, 3.0))
    clock = accumulate(chain.from_iterable((0.0, duration) for duration in durations))
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert epoch_seconds(captchas, config) == pytest.approx(2 * steps + 3 * validations)
