"""Training leaves a complete run, also when it was told to stop, and refuses what can't be used."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import keras
import numpy as np
import pytest
from conftest import MakeConfig

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import (
    ConfigError,
    DatasetError,
    ExportError,
    FontError,
    LabelError,
    MissingExtraError,
    RunError,
)
from crnn_captcha.evaluation import evaluate
from crnn_captcha.learned import count_seen
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.training import export
from crnn_captcha.training.epochs import TOLD_TO_STOP
from crnn_captcha.training.export import ExportResult
from crnn_captcha.training.loop import TrainingResult, build_networks, train
from crnn_captcha.training.losses import ctc_loss
from crnn_captcha.training.preparation import prepare
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.watch import Watch

ON_TWO_DEVICES = """
import sys

import tensorflow as tf

from crnn_captcha import training
from crnn_captcha.training import loop

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
loop._strategy = lambda: strategy
data, run, *settings = sys.argv[1:]
config = training.make_config("standard", settings)
training.train(data, run, config, progress=False)
print("replicas:", strategy.num_replicas_in_sync)
"""


@pytest.fixture
def full_precision_after() -> Iterator[None]:
    """The policy is global: other tests want the usual one."""
    yield
    keras.config.set_dtype_policy("float32")


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals) -> None:
    after_step = Watch.on_train_batch_end
    steps = 0

    def stop(self: Watch, batch: int, logs: Any = None) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), number)
        after_step(self, batch, logs)

    monkeypatch.setattr(Watch, "on_train_batch_end", stop)


def _batch() -> tuple[Any, Any]:
    """Images, and the class ids of their labels."""
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 16, 3), np.uint8)
    return images, np.array([[1, 2, 0], [4, 4, 3], [1, 0, 0]], np.int32)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("shortcut", [0, 0.3], ids=["one head", "two heads"])
def test_the_loss_is_the_networks_and_a_share_of_the_shortcuts(
    tiny_config: MakeConfig, views: int, shortcut: float
) -> None:
    settings = f"model.ctc_shortcut={shortcut}", f"augmentation={{views={views}, lines=3}}"
    networks = build_networks(tiny_config(*settings, "model.neck=none"), 5, steps_per_epoch=9)
    images, labels = _batch()
    expected = np.mean(ctc_loss(labels, networks.reader(images, training=False)))
    if shortcut:
        logits = np.asarray(networks.learner(images, training=False)[1])
        logits = logits[:, 0] if views > 1 else logits
        expected += shortcut * np.mean(ctc_loss(labels, logits))
    targets = (labels, labels) if shortcut else labels
    loss = networks.learner.test_on_batch(images, targets, return_dict=True)["loss"]
    assert loss == pytest.approx(expected, rel=1e-4)


def test_views_of_one_image_are_to_be_read_alike(tiny_config: MakeConfig) -> None:
    def first_loss(consistency: float) -> float:
        changes = f"augmentation={{views=2, lines=3, consistency={consistency}}}"
        settings = changes, "model.ctc_shortcut=0", "model.neck=none"
        networks = build_networks(tiny_config(*settings), 5, steps_per_epoch=9)
        return float(networks.learner.train_on_batch(*_batch(), return_dict=True)["loss"])

    cost = first_loss(1000.0) - first_loss(0.0)
    assert cost > 1
    assert first_loss(2000.0) - first_loss(0.0) == pytest.approx(2 * cost, rel=1e-2)


def test_a_run_is_complete(tiny_run: Path, captchas: Path) -> None:
    folder = RunFolder(tiny_run)
    for path in (folder.config_file, folder.history_file, folder.best_model, folder.bundle):
        assert path.is_file()
    assert len(list(folder.checkpoints.iterdir())) == 2
    assert (folder.report / "index.html").is_file()
    assert not list(tiny_run.rglob(".*"))  # nothing temporary
    assert len(folder.read_history()) == 3
    config = folder.load_config()
    assert config.data.charset == "01ab"
    assert folder.facts()["data"] == str(captchas)
    assert Recognizer(tiny_run).charset.characters == "01ab"


def test_what_was_measured_is_what_runs(tiny_run: Path, captchas: Path) -> None:
    dataset = open_dataset(captchas)
    result = evaluate(Recognizer(tiny_run), dataset, dataset.samples("validation"))
    best = min(RunFolder(tiny_run).read_history(), key=lambda row: row["val_loss"])
    assert best["val_exact_match"] == result.exact_match
    assert best["val_cer"] == pytest.approx(result.cer)


def test_the_test_split_is_never_touched(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    untestable = tmp_path / "untestable.zip"
    with ZipFile(captchas) as source, ZipFile(untestable, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"no image" if "/test/" in name else source.read(name))
    result = train(untestable, tmp_path / "run", quick_config("training.epochs=1"), progress=False)
    assert result.epochs == 1


@pytest.mark.parametrize(
    ("number", "step", "finished"),
    [(signal.SIGINT, 10, 1), (signal.SIGTERM, 3, 0)],
    ids=["Ctrl-C in the second epoch", "SIGTERM in the first epoch"],
)
def test_a_stopped_training_leaves_a_usable_run_and_goes_on(
    captchas: Path,
    quick_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    step: int,
    finished: int,
) -> None:
    run, config = tmp_path / "run", quick_config()
    with monkeypatch.context() as patch:
        _stop_at(patch, step, number)
        result = train(captchas, run, config, progress=False)
    assert result.interrupted
    assert result.epochs == finished
    assert result.reason == "Stopped as told."
    assert f"crnn-captcha train DATA --out {run} --resume" in result.summary()
    folder = RunFolder(run)
    assert folder.best_model.is_file()
    assert len(folder.read_history()) == finished
    assert folder.history_file.is_file()
    assert Recognizer(run).charset.characters == "01ab"

    again = train(captchas, run, folder.load_config(), resume=True, progress=False)
    assert not again.interrupted
    assert again.epochs == 3
    assert [row["epoch"] for row in folder.read_history()] == [1, 2, 3]


def test_a_training_stopped_in_its_last_step_has_come_to_its_end(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = tmp_path / "run", quick_config("training.epochs=1")
    steps = len(prepare(open_dataset(captchas), config, skip_broken=False, progress=False).learning)
    with monkeypatch.context() as patch:
        _stop_at(patch, steps, signal.SIGINT)
        result = train(captchas, run, config, progress=False)
    assert (result.stopped, result.interrupted) == (True, False)
    assert result.reason == "All 1 epochs are done."
    assert "--resume" not in result.summary()


def test_a_finished_run_resumed_only_writes_its_bundle_again(
    captchas: Path, tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "bundle.onnx").unlink()
    result = train(captchas, run, RunFolder(run).load_config(), resume=True, progress=False)
    assert result.epochs == 3
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 16, 3), np.uint8)
    logits = [Recognizer(path).logits(images) for path in (run, tiny_run)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert (run / "history.csv").read_text() == (tiny_run / "history.csv").read_text()


def test_broken_images_are_refused_or_left_out(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.zip"
    broken = [f"data/main/train/ab-broken{i}.png" for i in range(20)]  # some of them validate
    with ZipFile(captchas) as source, ZipFile(damaged, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
        for name in broken:
            target.writestr(name, b"no image")
    run, config = tmp_path / "run", quick_config("training.epochs=1")
    with pytest.raises(DatasetError, match=r"Received 20 that can't: .*--skip-broken"):
        train(damaged, run, config, progress=False)
    assert not run.exists()
    result = train(damaged, run, config, skip_broken=True, progress=False)
    assert result.skipped == 20
    assert "Broken images that were left out: 20." in result.summary()
    stopped = replace(result, reason=TOLD_TO_STOP)
    assert f"crnn-captcha train DATA --out {run} --resume --skip-broken" in stopped.summary()
    assert export(run, tmp_path / "again.onnx") == ExportResult(1.0)  # leaves them out as well
    validation = open_dataset(damaged, validation_fraction=config.data.validation_fraction)
    learned = RunFolder(run).learned()
    assert learned is not None
    assert (
        count_seen(validation, validation.samples("validation"), learned) == 0
    )  # whose broken ones have the same bytes
    report = (run / "report/evaluation.md").read_text(encoding="utf-8")
    assert "- broken images left out: 20, of train and validation split\n" in report


def test_corrected_labels_are_learned_validated_and_exported(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    dataset = open_dataset(captchas)
    (first, *_), (dropped, *validation) = dataset.samples("train"), dataset.samples("validation")
    corrections = Corrections(
        (
            Correction(first.name, first.label, "change", "zz"),
            Correction(dropped.name, dropped.label, "drop"),
            *(Correction(s.name, s.label, "change", "bb11") for s in validation),
        )
    )
    run, config = tmp_path / "run", quick_config("training.epochs=1")
    result = train(captchas, run, config, corrections=corrections, progress=False)
    folder = RunFolder(run)
    assert folder.load_config().data.charset == "01abz"
    assert folder.own_corrections() == Corrections(
        tuple(sorted(corrections.entries, key=lambda entry: entry.name))
    )
    said = f"Labels, those of validation too, by review: {1 + len(validation)} changed, 1 dropped"
    assert said in result.summary()
    review = f"{1 + len(validation)} changed, 1 dropped, 0 kept"
    assert json.loads((folder.report / "evaluation.json").read_text())["labels by review"] == review
    corrected = corrections.apply(dataset)
    read = evaluate(Recognizer(run), corrected, corrected.samples("validation"))
    assert folder.read_history()[0]["val_cer"] == pytest.approx(read.cer)
    assert export(run, tmp_path / "again.onnx") == ExportResult(1.0)
    metadata = Recognizer(tmp_path / "again.onnx").metadata
    assert metadata == Recognizer(run).metadata
    fit: Any = metadata.training["temperature_fit"]
    assert fit["images"] == len(validation)
    assert metadata.training["corrections"] == corrections.digest

    with pytest.raises(RunError, match="goes on with the corrections that the run"):
        train(captchas, run, folder.load_config(), corrections=Corrections(), resume=True)
    again = train(captchas, run, folder.load_config(), resume=True, progress=False)
    assert again.corrections == folder.own_corrections()


def test_labels_too_long_for_the_time_steps_are_refused_before_anything_is_written(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(LabelError, match=r"Received: data/main/train/.*-\d+\.png \(needs "):
        train(captchas, tmp_path / "run", quick_config("model.filters=[2, 2, 2, 2]"))
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_in_it_is_refused(
    captchas: Path, quick_config: MakeConfig, tiny_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for folder, resume in ((tiny_run, False), (tmp_path, False), (tmp_path, True)):
        with pytest.raises(RunError, match="A new run needs a new or empty folder"):
            train(captchas, folder, quick_config(), resume=resume)


@pytest.mark.skipif(sys.platform == "win32", reason="locks are Unix'")
def test_a_run_that_is_trained_elsewhere_is_left_alone(captchas: Path, tiny_run: Path) -> None:
    folder = RunFolder(tiny_run)
    with folder.held(), pytest.raises(RunError, match="One training at a time"):
        train(captchas, tiny_run, folder.load_config(), resume=True, progress=False)


def test_a_run_does_not_go_on_with_another_configuration(
    captchas: Path, quick_config: MakeConfig, tiny_run: Path
) -> None:
    with pytest.raises(RunError, match=r"--resume goes on with the configuration in .* another\."):
        train(captchas, tiny_run, quick_config(), resume=True, progress=False)


def test_an_unknown_part_is_refused_before_anything_is_written(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="A backbone is one of"):
        train(captchas, tmp_path / "run", quick_config("model.backbone=vit"), progress=False)
    assert not (tmp_path / "run").exists()


def test_sixteen_bits_train(
    captchas: Path, tiny_config: MakeConfig, tmp_path: Path, full_precision_after: None
) -> None:
    config = tiny_config("training.mixed_precision=true", "data.batch_size=8", "training.epochs=2")
    train(captchas, tmp_path / "run", config, progress=False)
    assert keras.config.dtype_policy().compute_dtype == "bfloat16"
    rows = RunFolder(tmp_path / "run").read_history()
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert rows[1]["loss"] < rows[0]["loss"]
    assert export(tmp_path / "run", tmp_path / "again.onnx") == ExportResult(1.0)


def test_logs_for_tensorboard_are_written_where_asked_for(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick_config("training.tensorboard=true", "training.epochs=1")
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(MissingExtraError, match="Writing logs for TensorBoard needs the extra"):
            train(captchas, tmp_path / "run", config, progress=False)
    train(captchas, tmp_path / "run", config, progress=False)
    (log,) = RunFolder(tmp_path / "run").tensorboard.iterdir()
    assert b"val_exact_match" in log.read_bytes()


def test_the_summary_says_what_came_out_and_what_is_next() -> None:
    best = {"epoch": 4.0, "val_exact_match": 0.5, "val_cer": 0.25}
    result = TrainingResult(Path("run"), 7, best, "All 7 epochs are done.", False, 0)
    assert result.summary().splitlines() == [
        "All 7 epochs are done.",
        "Best epoch 4 of 7: reads 50.0% of the validation images exactly, CER 25.0%.",
        f"Look at it: {Path('run/report/index.html')}",
        "Measure it: crnn-captcha evaluate DATA --model run",
        "Read:       crnn-captcha read IMAGE --model run",
    ]
    spaced = replace(result, run=Path("my run"))
    assert "crnn-captcha read IMAGE --model 'my run'" in spaced.summary()


@pytest.mark.slow
def test_several_devices_train_together(
    captchas: Path, tiny_settings: tuple[str, ...], tmp_path: Path
) -> None:
    script = tmp_path / "on_two_devices.py"
    script.write_text(ON_TWO_DEVICES)
    last_of_one = "data.batch_size=48"  # of 49 images
    settings = *tiny_settings, "training.epochs=1", last_of_one, "optimizer.ema_decay=0.9"
    done = subprocess.run(
        [sys.executable, script, captchas, tmp_path / "run", *settings],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "replicas: 2" in done.stdout, done.stderr
    (row,) = RunFolder(tmp_path / "run").read_history()
    assert np.isfinite(list(row.values())).all()
    assert Recognizer(tmp_path / "run").charset.characters == "01ab"


# --- drawn images ---------------------------------------------------------------------------

DRAWN = """
charset = "ab01"
min_length = 2
max_length = 3
[image]
height_px = 32
width_px = [0, 30]
width_per_character_px = 20
[letters]
height_px = 20
"""


@pytest.fixture
def style(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.toml"
    path.write_text(DRAWN, encoding="utf-8")
    return path


def test_drawn_images_alone_make_a_run_that_goes_on_exactly(
    quick_config: MakeConfig, style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick_config(f"data.synthetic={style}:40")  # 5 steps an epoch
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(None, whole, config, progress=False)
    with monkeypatch.context() as patch:
        _stop_at(patch, 7, signal.SIGTERM)  # in the second epoch
        result = train(None, run, config, progress=False)
    assert result.interrupted
    assert f"crnn-captcha train --out {run} --resume" in result.summary()
    folder = RunFolder(run)
    assert folder.facts()["data"] == ""
    train(None, run, folder.load_config(), resume=True, progress=False)
    losses = [[row["loss"] for row in RunFolder(path).read_history()] for path in (whole, run)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3
    assert Recognizer(run).charset.characters == "01ab"
    assert export(run, tmp_path / "again.onnx").agreement == 1  # draws its images again

    calibrated: list[int] = []

    def give_up(graph: bytes, images: list[Any], *others: Any) -> None:
        calibrated.append(len(images))

    module = importlib.import_module("crnn_captcha.training.export")  # a function has its name
    monkeypatch.setattr(module, "quantize", give_up)
    with pytest.raises(ExportError, match="A bundle in 8 bits"):
        export(run, tmp_path / "small.onnx", int8=True)
    assert calibrated == [4]


def test_a_run_does_not_go_on_with_another_style(
    quick_config: MakeConfig, style: Path, tmp_path: Path, captchas: Path
) -> None:
    config = quick_config(f"data.synthetic={style}:8", "training.epochs=1")
    train(captchas, tmp_path / "run", config, progress=False)
    style.write_text(DRAWN.replace("height_px = 20", "height_px = 22"), encoding="utf-8")
    config = RunFolder(tmp_path / "run").load_config()
    with pytest.raises(RunError, match=r"images or labels, another style, or other fonts"):
        train(captchas, tmp_path / "run", config, resume=True, progress=False)


def test_what_is_learned_from_is_said(
    quick_config: MakeConfig,
    style: Path,
    tmp_path: Path,
    captchas: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = quick_config(f"data.synthetic={style}:8", "training.epochs=1")
    train(captchas, tmp_path / "run", config)
    said = capsys.readouterr().err
    assert "49 images and 8 drawn anew in each epoch to learn from, 5 to validate with" in said


def test_fonts_of_the_images_are_recovered_and_drawn_with(
    quick_config: MakeConfig, captchas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crnn_captcha.recovery.LEAST_CHARACTERS", 4)
    config = quick_config("data.synthetic=recovered:8")
    whole, stopped, moved = tmp_path / "whole", tmp_path / "stopped", tmp_path / "moved"
    train(captchas, whole, config, progress=False)
    with monkeypatch.context() as patch:
        _stop_at(patch, 9, signal.SIGTERM)  # in the second epoch
        assert train(captchas, stopped, config, progress=False).interrupted
    assert {path.name for path in RunFolder(stopped).fonts.iterdir()} == {
        "font-001.ttf", "fonts.csv", "fonts.png", "style.toml",
    }  # fmt: skip
    shown = RunFolder(stopped).fonts.joinpath("fonts.csv").read_text()
    dataset = open_dataset(captchas, validation_fraction=config.data.validation_fraction)
    assert all(sample.name in shown for sample in dataset.samples("train"))
    assert not any(sample.name in shown for sample in dataset.samples("validation"))
    stopped.rename(moved)
    begun = RunFolder(moved).load_config()
    assert begun.data.synthetic == "recovered:8"
    assert not train(captchas, moved, begun, resume=True, progress=False).interrupted
    losses = [[row["loss"] for row in RunFolder(path).read_history()] for path in (whole, moved)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3


def test_where_no_font_is_recovered_no_run_begins(
    quick_config: MakeConfig, captchas: Path, tmp_path: Path
) -> None:
    with pytest.raises(FontError, match="those of one font show fewer than 8 characters"):
        train(captchas, tmp_path, quick_config("data.synthetic=recovered:8"), progress=False)
    assert not list(tmp_path.iterdir())
