"""The seed fixes a training, and one that was killed ends as one that wasn't."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import MakeConfig
from numpy.typing import NDArray

from crnn_captcha.batches import Batches
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import open_dataset
from crnn_captcha.decoding import ctc_log_likelihood, log_softmax
from crnn_captcha.errors import DatasetError, RunError
from crnn_captcha.generator import generate, write_zip
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.streams import Batch
from crnn_captcha.training import loop
from crnn_captcha.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from crnn_captcha.training.config import Config
from crnn_captcha.training.epochs import Epochs, _duration, _in_parts
from crnn_captcha.training.loop import TrainingResult
from crnn_captcha.training.preparation import prepare
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.trained import load_networks

EVERY_STEP = "training.checkpoint_s=0.000001"
PLATEAU = (
    "optimizer.plateau_patience=1", "optimizer.ema_decay=0.95", "training.monitor=val_exact_match",
)  # fmt: skip
COLUMNS = [
    "epoch", "loss", "val_loss", "val_exact_match", "val_cer", "learning_rate", "seconds",
    "waiting_seconds",
]  # fmt: skip

Train = Callable[..., TrainingResult]


class Killed(BaseException):
    """As a kill, it isn't caught by anybody."""


@pytest.fixture
def train(captchas: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Trains without the bundle and the report that come after the last epoch."""
    monkeypatch.setattr(loop, "export", lambda *args, **options: 1.0)
    monkeypatch.setattr(loop, "write_training_report", lambda *args, **options: None)

    def run(path: Path, config: Config, *, data: Path = captchas, **options: Any) -> TrainingResult:
        return loop.train(data, path, config, progress=False, **options)

    return run


@pytest.fixture(scope="module")
def whole(
    captchas: Path, tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of `tiny_settings` in this process that nothing happened to. Not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    _train_only(captchas, run, tiny_config())
    return run


@pytest.fixture(scope="module")
def plateau_config(quick_config: MakeConfig) -> Config:
    """Writes a checkpoint each step, and takes the mean of the weights.

    As nothing is read yet, the learning rate falls each epoch.
    """
    return quick_config(EVERY_STEP, *PLATEAU)


@pytest.fixture(scope="module")
def uninterrupted(
    captchas: Path, plateau_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A run of `plateau_config` that nothing happened to. Not to be changed."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "uninterrupted")
    _train_only(captchas, folder.path, plateau_config)
    return folder


def _train_only(data: Path, run: Path, config: Config) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "export", lambda *args, **options: 1.0)
        patch.setattr(loop, "write_training_report", lambda *args, **options: None)
        loop.train(data, run, config, progress=False)


def _history(run: Path | RunFolder) -> list[Mapping[str, float]]:
    """Rows without what a clock says."""
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    rows = folder.read_history()
    assert all(list(row) == COLUMNS for row in rows)
    return [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in rows]


def _variables(run: Path | RunFolder) -> list[NDArray[Any]]:
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    checkpoint = load_checkpoint(folder.checkpoints)
    assert checkpoint is not None
    return list(checkpoint.arrays)


def _assert_ended_alike(run: Path, other: Path | RunFolder) -> None:
    assert _history(run) == _history(other)
    assert len(_variables(run)) == len(_variables(other))
    for ours, theirs in zip(_variables(run), _variables(other), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


# --- several devices ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "devices", "expected"),
    [
        (4, 2, [0, 1, 2, 3]),
        (1, 2, [0, 0]),
        (5, 4, [0, 1, 2, 3, 4, 0, 1, 2]),
        (2, 8, [0, 1, 0, 1, 0, 1, 0, 1]),
    ],
)
def test_no_device_goes_without_images(count: int, devices: int, expected: list[int]) -> None:
    numbers = np.arange(count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, 3, 2, 1)).astype(np.uint8)
    labels = np.repeat(numbers[:, None], 4, axis=1).astype(np.int32)
    images, labels = _in_parts((images, labels), devices)
    assert images[:, 0, 0, 0].tolist() == labels[:, 0].tolist() == expected
    assert (images == images[:, :1, :1]).all()
    assert (labels == labels[:, :1]).all()


# --- the seed -------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_history(
    train: Train, tiny_config: MakeConfig, whole: Path, tmp_path: Path
) -> None:
    train(tmp_path / "again", tiny_config())
    _assert_ended_alike(tmp_path / "again", whole)


def test_another_seed_gives_another_history(
    train: Train, quick_config: MakeConfig, tmp_path: Path
) -> None:
    histories = []
    for seed in (1, 2):
        train(tmp_path / str(seed), quick_config(f"seed={seed}", "training.epochs=1"))
        histories.append(_history(tmp_path / str(seed)))
    assert histories[0][0]["loss"] != histories[1][0]["loss"]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["data.workers=0"], id="nobody else"),
        pytest.param(["data.workers=3", "data.cache_mib=0"], id="three threads without memory"),
        pytest.param(["data.processes=true"], id="processes", marks=pytest.mark.slow),
    ],
)
def test_who_makes_the_batches_changes_nothing(
    train: Train,
    quick_config: MakeConfig,
    uninterrupted: RunFolder,
    tmp_path: Path,
    settings: list[str],
) -> None:
    train(tmp_path / "run", quick_config(*PLATEAU, *settings))
    _assert_ended_alike(tmp_path / "run", uninterrupted)


# --- going on -------------------------------------------------------------------------------


def _kill_at(monkeypatch: pytest.MonkeyPatch, where: str, count: int, *, after: bool) -> None:
    """Kills the training at the `count`-th call of a method of `Epochs`, before or after it."""
    method = getattr(Epochs, where)
    calls = 0

    def deadly(self: Epochs, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and not after:
            raise Killed
        result = method(self, *args)
        if calls == count:
            raise Killed
        return result

    monkeypatch.setattr(Epochs, where, deadly)


def test_a_killed_training_with_all_that_is_random_ends_as_one_that_was_not(
    train: Train,
    tiny_config: MakeConfig,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, run = tiny_config(EVERY_STEP), tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, "save", 37, after=True)
        train(run, config)
    assert [path.name for path in sorted(RunFolder(run).checkpoints.iterdir())] == [
        "step-000000035.npz",
        "step-000000036.npz",  # of 24 an epoch: the 25th save was of the epoch's end
    ]
    result = train(run, RunFolder(run).load_config(), resume=True)
    assert result.epochs == 3
    _assert_ended_alike(run, whole)


@pytest.mark.parametrize(
    ("where", "count", "after"),
    [
        pytest.param("save", 1, False, id="before the first checkpoint"),
        pytest.param("save", 7, True, id="after the last step of an epoch"),
        pytest.param("_save_model", 1, True, id="before the first row of history"),
        pytest.param("_lower_learning_rate", 1, True, id="after the learning rate fell"),
        pytest.param("_finish_epoch", 2, True, id="before the checkpoint of an epoch's end"),
        pytest.param("save", 24, True, id="after all"),
    ],
)
def test_wherever_it_was_killed_it_ends_alike(
    train: Train,
    plateau_config: Config,
    uninterrupted: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    count: int,
    after: bool,
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, where, count, after=after)
        train(run, plateau_config)
    if where == "save" and after:  # an epoch has 7 steps, and a save after each and at its end
        _, newest = sorted(RunFolder(run).checkpoints.iterdir())
        assert newest.name == f"step-{count - count // 8:09d}.npz"
    result = train(run, RunFolder(run).load_config(), resume=True)
    assert not result.interrupted
    _assert_ended_alike(run, uninterrupted)


@pytest.mark.slow
def test_it_may_be_killed_again_and_again(
    train: Train,
    plateau_config: Config,
    uninterrupted: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, config = tmp_path / "run", plateau_config
    for count in (5, 4, 6):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            _kill_at(patch, "save", count, after=True)
            train(run, config, resume=True)  # begins anew where there is nothing to go on with
        config = RunFolder(run).load_config()
    train(run, config, resume=True)
    _assert_ended_alike(run, uninterrupted)


@pytest.fixture(scope="module")
def killed(
    captchas: Path, plateau_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that was killed in the middle of its second epoch. Not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "killed"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, "save", 11, after=True)
        loop.train(captchas, run, plateau_config, progress=False)
    return run


@pytest.fixture
def halfway(killed: Path, tmp_path: Path) -> RunFolder:
    """A run that was killed in the middle of its second epoch."""
    return RunFolder(shutil.copytree(killed, tmp_path / "halfway"))


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(
    train: Train, halfway: RunFolder, uninterrupted: RunFolder
) -> None:
    newest = max(halfway.checkpoints.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="is damaged"):
        train(halfway.path, halfway.load_config(), resume=True)
    _assert_ended_alike(halfway.path, uninterrupted)


@pytest.mark.filterwarnings("ignore:The checkpoint")
def test_without_any_whole_checkpoint_it_does_not_go_on(train: Train, halfway: RunFolder) -> None:
    for path in halfway.checkpoints.iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"All checkpoints in .* are damaged"):
        train(halfway.path, halfway.load_config(), resume=True)


def test_a_checkpoint_of_another_network_is_refused(train: Train, halfway: RunFolder) -> None:
    checkpoint = load_checkpoint(halfway.checkpoints)
    assert checkpoint is not None
    other = Checkpoint([array.ravel() for array in checkpoint.arrays], checkpoint.state)
    save_checkpoint(halfway.checkpoints, 99, other)
    with pytest.raises(RunError, match="doesn't fit this version's network"):
        train(halfway.path, halfway.load_config(), resume=True)


def test_other_data_are_refused(train: Train, halfway: RunFolder, tmp_path: Path) -> None:
    from conftest import FONTS, LEARNABLE

    other = write_zip(tmp_path / "other.zip", generate(60, 2, style=LEARNABLE, fonts=FONTS))
    with pytest.raises(RunError, match=r"--resume goes on with the data .* Received: other images"):
        train(halfway.path, halfway.load_config(), data=other, resume=True)


def test_the_same_data_may_lie_elsewhere(
    train: Train, halfway: RunFolder, uninterrupted: RunFolder, captchas: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copy(captchas, tmp_path / "moved.zip"))
    train(halfway.path, halfway.load_config(), data=moved, resume=True)
    _assert_ended_alike(halfway.path, uninterrupted)


def test_a_full_disk_leaves_what_there_was(
    train: Train,
    halfway: RunFolder,
    uninterrupted: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {path: path.read_bytes() for path in halfway.path.rglob("*") if path.is_file()}

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(np, "savez", full)
        train(halfway.path, halfway.load_config(), resume=True)
    assert {p: p.read_bytes() for p in halfway.path.rglob("*") if p.is_file()} == before
    train(halfway.path, halfway.load_config(), resume=True)
    _assert_ended_alike(halfway.path, uninterrupted)


# --- epochs ---------------------------------------------------------------------------------


def _script(monkeypatch: pytest.MonkeyPatch, figures: list[tuple[float, float, float]]) -> None:
    remaining = iter(figures)
    monkeypatch.setattr(Epochs, "validate", lambda self: next(remaining))


def test_the_learning_rate_falls_on_a_plateau_and_patience_ends(
    train: Train, quick_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _script(monkeypatch, [(loss, 0, 1) for loss in (3, 2, 2.5, 2, 2.1, 2.2, 2.3)])
    config = quick_config(
        "training.epochs=9", "training.patience=5", "training.monitor=val_loss",
        "optimizer.plateau_patience=2", "optimizer.learning_rate=0.5",
    )  # fmt: skip
    result = train(tmp_path / "run", config)
    assert result.reason == "No better val_loss in 5 epochs."
    assert (result.epochs, result.best["epoch"], result.interrupted) == (7, 2, False)
    rates = [row["learning_rate"] for row in _history(tmp_path / "run")]
    assert rates == [0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize(
    ("monitor", "saved"), [("val_loss", [1, 2, 3]), ("val_exact_match", [1]), ("val_cer", [1, 2])]
)
def test_the_best_model_is_the_best_by_the_monitored_figure(
    train: Train,
    quick_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    monitor: str,
    saved: list[int],
) -> None:
    _script(monkeypatch, [(3, 0.5, 0.9), (2, 0.4, 0.1), (1, 0.5, 0.2)])
    save, epochs = Epochs._save_model, []

    def record(self: Epochs) -> None:
        epochs.append(self.state.epoch)
        save(self)

    monkeypatch.setattr(Epochs, "_save_model", record)
    result = train(tmp_path / "run", quick_config(f"training.monitor={monitor}"))
    assert epochs == saved
    assert result.best["epoch"] == saved[-1]
    assert result.reason == "All 3 epochs are done."


def test_what_is_kept_is_the_mean_of_the_weights(
    train: Train, quick_config: MakeConfig, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    train(folder.path, quick_config("training.epochs=2", "optimizer.ema_decay=0.9"))
    config = folder.load_config()
    reader = load_networks(folder, config, Charset(config.data.charset)).reader
    kept = [np.asarray(weight) for weight in reader.trainable_variables]
    arrays = _variables(folder)
    for ours, mean in zip(kept, arrays[-len(kept) :], strict=True):
        np.testing.assert_array_equal(ours, mean)
    kernel = next(array for array in arrays if array.shape == kept[0].shape)
    assert not np.array_equal(kept[0], kernel)  # where the last steps have led


def test_validation_measures_what_the_bundle_reads(tiny_run: Path, captchas: Path) -> None:
    folder = RunFolder(tiny_run)
    config = folder.load_config()
    validation = prepare(
        open_dataset(captchas), config, skip_broken=False, progress=False
    ).validation
    recognizer = Recognizer(folder.bundle)
    losses: list[float] = []
    for images, labels in validation.stream(0):
        ids = [row[row != 0].astype(np.int64) for row in labels]
        losses += (-ctc_log_likelihood(log_softmax(recognizer.logits(images)), ids)).tolist()
    assert len(losses) == 5
    best = min(row["val_loss"] for row in folder.read_history())
    assert np.mean(losses) == pytest.approx(best, rel=1e-3)


def test_progress_says_how_it_goes_and_how_long_it_takes(
    captchas: Path,
    quick_config: MakeConfig,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loop.train(captchas, tmp_path / "run", quick_config("training.epochs=2"), progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    for text in ("epoch 1/2: loss ", "exact match 0.0%", "min left", "best so far", "epoch 2/2"):
        assert text in said.err


def test_durations_are_for_people() -> None:
    assert [_duration(s) for s in (0, 89, 91, 3569, 3600, 7379)] == [
        "0 min", "1 min", "2 min", "59 min", "1 h 00 min", "2 h 03 min",
    ]  # fmt: skip


# --- errors ---------------------------------------------------------------------------------


def test_what_ends_the_batches_is_what_is_raised(
    train: Train, quick_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Batches.make

    def fail(self: Batches, epoch: int, index: int) -> Batch:
        if (epoch, index) == (1, 2):
            raise DatasetError("The disk is gone.")
        return make(self, epoch, index)

    monkeypatch.setattr(Batches, "make", fail)
    with pytest.raises(DatasetError, match=r"^The disk is gone\.$"):
        train(tmp_path / "run", quick_config())
    assert len(_history(tmp_path / "run")) == 1  # what was reached is kept


def test_what_tensorflow_complains_of_is_raised_as_it_is(
    train: Train, quick_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise tf.errors.InternalError(None, None, "a broken driver")

    monkeypatch.setattr("keras.Model.fit", fail)
    with pytest.raises(tf.errors.InternalError, match="a broken driver"):
        train(tmp_path / "run", quick_config())


@pytest.mark.parametrize(
    "error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "out of memory")]
)
@pytest.mark.parametrize("where", ["keras.Model.fit", f"{Epochs.__module__}.Epochs.validate"])
def test_too_little_memory_is_an_error_that_says_what_to_do(
    where: str,
    error: Exception,
    train: Train,
    quick_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(RunError, match=r"for batches of 16 images.*data\.batch_size=8"):
        train(tmp_path / "run", quick_config("data.batch_size=16"))


def test_a_log_that_cannot_be_written_does_not_end_a_training(
    train: Train, quick_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.summary, "create_file_writer", fail)
    config = quick_config("training.tensorboard=true", "training.epochs=1")
    with pytest.warns(UserWarning, match=r"log wasn't written: No space left on device"):
        assert train(tmp_path / "run", config).epochs == 1


def test_a_signal_that_also_ends_the_workers_stops_the_training(
    train: Train, quick_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Batches.make

    def stop(self: Batches, epoch: int, index: int) -> Batch:
        if (epoch, index) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)  # the main thread takes it
            raise DatasetError("A worker process died.")
        return make(self, epoch, index)

    monkeypatch.setattr(Batches, "make", stop)
    result = train(tmp_path / "run", quick_config())
    assert result.interrupted
    monkeypatch.setattr(Batches, "make", make)
    train(tmp_path / "whole", quick_config())
    train(tmp_path / "run", quick_config(), resume=True)
    _assert_ended_alike(tmp_path / "run", tmp_path / "whole")


def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_do(
    train: Train, quick_config: MakeConfig, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"loss isn't finite any more (at step|in the val)"):
        train(tmp_path / "run", quick_config("optimizer.learning_rate=1e30"))


def test_a_failed_write_leaves_the_best_model_there_was(tiny_run: Path) -> None:
    path = RunFolder(tiny_run).best_model
    before = path.read_bytes()

    def save(to: Path) -> None:
        to.write_bytes(b"half")
        raise OSError("full")

    reader = SimpleNamespace(save=save)
    epochs = SimpleNamespace(folder=RunFolder(tiny_run), networks=SimpleNamespace(reader=reader))
    with pytest.raises(OSError, match="full"):
        Epochs._save_model(epochs)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
