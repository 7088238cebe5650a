"""An epoch is timed by a few of its steps."""

from __future__ import annotations

from itertools import accumulate, chain
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
from conftest import MakeConfig

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import DatasetError, LabelError
from crnn_captcha.training import timing
from crnn_captcha.training.averaging import MEASURED_BATCHES
from crnn_captcha.training.config import Config
from crnn_captcha.training.preparation import prepare
from crnn_captcha.training.timing import epoch_seconds


def test_images_that_are_dropped_are_not_timed(captchas: Path, quick_config: MakeConfig) -> None:
    samples = open_dataset(captchas).samples("train")
    corrections = Corrections(tuple(Correction(s.name, s.label, "drop") for s in samples))
    with pytest.raises(DatasetError, match="no images in the split 'train'"):
        epoch_seconds(captchas, quick_config(), corrections=corrections)


@pytest.mark.parametrize("make", ["quick_config", "tiny_config"], ids=["one head", "two heads"])
def test_an_epoch_is_measured_by_its_steps_and_its_validation(
    captchas: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, make: str
) -> None:
    config: Config = request.getfixturevalue(make)()
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    steps, validations = len(prepared.learning), len(prepared.validation)
    assert steps < timing.MEASURED_STEPS * 2  # so each step is measured
    # A batch takes one of four cores 1 s, a step 2 s and reading a batch 3 s, but any of them may
    # trace the first time, and later the machine may be busy with something else for a while.
    undisturbed = [2.0] * (steps - 1)
    passes = [100.0] * (steps + 1), [50.0, *undisturbed, 3.0], [*undisturbed, 50.0, 60.0]
    looks: list[float] = []
    for *step_seconds, reading in passes:
        looks += chain.from_iterable((0.0, 1.0, second) for second in step_seconds)
        looks += (0.0, reading)
    clock = accumulate(looks)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(timing, "available_cores", lambda: 4)
    assert epoch_seconds(captchas, config) == pytest.approx(2.25 * steps + 3 * validations)


def test_the_running_mean_takes_its_time(
    captchas: Path, quick_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_timed", lambda networks, prepared: 7.0)
    clock = accumulate([0, 100, 0, 8, 0, 9])  # the first traces, and a later one may be disturbed
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    config = quick_config("optimizer.ema_decay=0.9")
    steps = len(prepare(open_dataset(captchas), config, skip_broken=False, progress=False).learning)
    batches = min(steps, MEASURED_BATCHES)
    expected = 7 + 8 / timing.MEASURED_MEAN * batches
    assert epoch_seconds(captchas, config) == pytest.approx(expected)


def test_a_label_that_is_too_long_is_refused_as_by_a_training(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    with ZipFile(captchas) as archive:
        archive.extractall(folder)
    sample = open_dataset(folder).samples("train")[0]
    image = folder / sample.name
    image.rename(image.with_name(f"{'ab' * 40}-0.png"))
    with pytest.raises(LabelError, match=r"A label needs a time step.*abab-0\.png"):
        epoch_seconds(folder, quick_config())


def test_an_epoch_with_recovered_fonts_is_timed(
    captchas: Path, quick_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crnn_captcha.recovery.LEAST_CHARACTERS", 4)
    assert epoch_seconds(captchas, quick_config("data.synthetic=recovered:8")) > 0
