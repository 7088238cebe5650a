"""A training that is done stays done, if it is the one that is asked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest

from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import RunError
from crnn_captcha.training import budget
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


def test_a_training_from_a_model_is_not_gone_on_with_from_nothing(
    captchas: Path, tiny_run: Path, tmp_path: Path
) -> None:
    config = RunFolder(tiny_run).load_config()
    run = RunFolder(tmp_path / "run")
    run.start(config, captchas, weights=1, base=Path("a.onnx"), base_digest="5ca1ab1e")
    with pytest.raises(RunError, match="Received: no --from"):
        train_within(captchas, run, config, 1, skip_broken=False, progress=False)


@pytest.mark.parametrize("file", ["bundle.onnx", "report/index.html"])
def test_what_is_from_before_the_last_epoch_is_written_anew(
    file: str, captchas: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(shutil.copytree(tiny_run, tmp_path / "run"))
    os.utime(run.path / file, ns=(0, run.history_file.stat().st_mtime_ns - 1))
    resumed = []

    def record(*_: Any, resume: bool, **__: Any) -> SimpleNamespace:
        resumed.append(resume)
        return SimpleNamespace(stopped=False)

    monkeypatch.setattr(budget, "in_own_process", record)
    assert train_within(captchas, run, run.load_config(), 1, skip_broken=False, progress=False)
    assert resumed == [True]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_finished_training_on_other_images_is_no_such_training(
    split: Any, captchas: Path, tiny_run: Path, tmp_path: Path
) -> None:
    run = RunFolder(shutil.copytree(tiny_run, tmp_path / "run"))
    config = run.load_config()
    data = open_dataset(captchas, validation_fraction=config.data.validation_fraction)
    left_out = data.samples(split)[0]
    other = tmp_path / "other.zip"
    with ZipFile(captchas) as every, ZipFile(other, "w") as most:
        for name in set(every.namelist()) - {left_out.name}:
            most.writestr(name, every.read(name))
    with pytest.raises(RunError, match="other images or labels"):
        train_within(other, run, config, 1, skip_broken=False, progress=False)
