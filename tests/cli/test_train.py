from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.conftest import Refusal
from crnn_captcha.bundle import read_bundle
from crnn_captcha.cli.train import train
from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.errors import ConfigError

STEPS = 25  # of an epoch of `tiny_settings`
IN_THE_SECOND_EPOCH = range(STEPS + 3, STEPS + 13)
WAIT_S = 120


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(train, [str(argument) for argument in arguments])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command hands to `training.train`, which isn't called."""
    from crnn_captcha import training

    given: dict[str, Any] = {}

    def record(data: Path, out: Path, config: Any, **options: Any) -> training.TrainingResult:
        given.update(data=data, out=out, config=config, **options)
        reason = "Stopped as told." if data == Path("stop") else "All 3 epochs are done."
        return training.TrainingResult(out, 3, {}, reason, data == Path("stop"), 0)

    monkeypatch.setattr(training, "train", record)
    return given


def test_the_options_of_the_contract(trained: dict[str, Any], tmp_path: Path) -> None:
    result = run(
        "data.zip", "--out", tmp_path / "run", "--preset", "classic", "--epochs", "3",
        "--seed", "7", "--resume", "--set", "data.batch_size=4", "--set", "model.units=[8]",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "All 3 epochs are done." in result.output
    config = trained["config"]
    assert (trained["data"], trained["out"]) == (Path("data.zip"), tmp_path / "run")
    assert (config.preset, config.seed, config.training.epochs) == ("classic", 7, 3)
    assert (config.data.batch_size, config.model.units) == (4, (8,))
    assert trained["resume"] is True
    assert trained["skip_broken"] is False


def test_what_is_left_out_is_the_default(trained: dict[str, Any], tmp_path: Path) -> None:
    from crnn_captcha.training import DEFAULT_PRESET, PRESETS

    assert run("data.zip", "--out", tmp_path / "run").exit_code == 0
    assert trained["config"] == PRESETS[DEFAULT_PRESET]
    assert trained["resume"] is False
    assert trained["corrections"] is None


def test_what_is_drawn_is_part_of_the_configuration(
    trained: dict[str, Any], tmp_path: Path
) -> None:
    drawing = "--synthetic", "plain:500"
    assert run("data.zip", "--out", tmp_path / "run", *drawing).exit_code == 0
    assert trained["data"] == Path("data.zip")
    assert trained["config"].data.synthetic == "plain:500"
    assert run("--out", tmp_path / "run", *drawing).exit_code == 0
    assert trained["data"] is None
    more = "--synthetic", "captcha:20"
    assert run("data.zip", "--out", tmp_path / "run", *drawing, *more).exit_code == 0
    assert trained["config"].data.synthetic == "plain:500,captcha:20"


def test_a_training_may_start_from_a_trained_model(
    trained: dict[str, Any], tiny_run: Path, tmp_path: Path
) -> None:
    from crnn_captcha.training import make_config, read_base

    given = "--epochs", "5", "--set", "data.batch_size=3"
    for source in (tiny_run, tiny_run / "bundle.onnx"):
        result = run("data.zip", "--out", tmp_path / "run", "--from", source, *given)
        assert result.exit_code == 0, result.output
        base = read_base(source)
        assert trained["base"].digest == base.digest
        settings = ["training.epochs=5", "data.batch_size=3"]
        assert trained["config"] == make_config("standard", settings, base.config)
    assert run("data.zip", "--out", tmp_path / "run").exit_code == 0
    assert trained["base"] is None


def test_a_training_from_a_trained_model_ends_as_any(
    tiny_run: Path, captchas: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    smaller = "--epochs", "1", "--set", "data.batch_size=24", "--set", "augmentation={}"
    result = run(captchas, "--out", out, "--from", tiny_run, *smaller)
    assert result.exit_code == 0, result.output
    assert f"Starts from {tiny_run}: kept 4 of 4 characters. As it is, it reads" in result.output
    assert read_bundle(out / "bundle.onnx").metadata.charset.characters == "01ab"
    again = run(captchas, "--out", out, "--from", tiny_run, *smaller, "--resume")
    assert again.exit_code == 0, again.output


def test_switches(trained: dict[str, Any], tmp_path: Path) -> None:
    switches = "--skip-broken", "--tensorboard", "--mixed-precision"
    assert run("data.zip", "--out", tmp_path / "run", *switches).exit_code == 0
    assert trained["skip_broken"] is True
    assert trained["config"].training.tensorboard is True
    assert trained["config"].training.mixed_precision is True


def test_all_options_go_together(trained: dict[str, Any], tiny_run: Path, tmp_path: Path) -> None:
    corrections = Corrections((Correction("train/ab-0.png", "ab", "drop"),))
    corrections.write(tmp_path / "corrections.csv")
    result = run(
        "data.zip", "--out", tmp_path / "run", "--corrections", tmp_path / "corrections.csv",
        "--from", tiny_run, "--synthetic", "plain:500",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert trained["corrections"] == corrections
    assert trained["base"].path == tiny_run
    assert trained["config"].data.synthetic == "plain:500"


def test_corrections_are_read(trained: dict[str, Any], tmp_path: Path) -> None:
    corrections = Corrections((Correction("train/ab-0.png", "ab", "drop"),))
    corrections.write(tmp_path / "corrections.csv")
    arguments = "--out", tmp_path / "run", "--corrections", tmp_path / "corrections.csv"
    assert run("data.zip", *arguments).exit_code == 0
    assert trained["corrections"] == corrections


def test_an_option_counts_more_than_a_setting(trained: dict[str, Any], tmp_path: Path) -> None:
    run("data.zip", "--out", tmp_path, "--set", "training.epochs=9", "--epochs", "2")
    assert trained["config"].training.epochs == 2


def test_a_stopped_training_exits_with_1(trained: dict[str, Any], tmp_path: Path) -> None:
    result = run("stop", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert f"crnn-captcha train DATA --out {tmp_path / 'run'} --resume" in result.output


def test_help_teaches() -> None:
    text = " ".join(run("--help").output.split())
    options = "--out RUN", "--preset", "--epochs", "--seed", "--resume", "--set"
    for option in (*options, "--from BUNDLE_OR_RUN"):
        assert option in text
    for lesson in (
        "DATA is a zip, a folder or a CSV",
        "before the last '-'",
        "the test split is never touched",
        "Ctrl-C stops after the step under way",
        "crnn-captcha train captchas.zip --out runs/first --resume",
        "--set data.batch_size=64",
        "Drawn images are mixed with DATA's",
        "--synthetic mixes styles",
        "crnn-captcha train --synthetic coloured-lines:20000 --out runs/drawn",
        "with a third of its learning rate",
        "--out runs/others --from runs/first",
    ):
        assert lesson in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "best"],
            "A preset is one of classic, small, medium, standard. Received: 'best'.",
        ),
        (["--set", "batch_size=3"], "A setting has the form section.key=value, with a key of"),
        (["--set", "data.batch_size=0"], "A value in the settings doesn't fit: data.batch_size"),
        (["--seed", "99999999999"], "A value in the settings doesn't fit: seed is 0 to"),
        (["--corrections", "no.csv"], "Corrections are a CSV with the header filename,label,dec"),
        (
            ["--from", "gone.onnx"],
            "A model is a bundle file, a run folder, or the name of a bundle in the package",
        ),
        (["--from", "."], "A run folder holds a config.toml. Received: ."),
        ([], "There is no data at 'data.zip'."),
        (["--synthetic", "plain"], "A value in the settings doesn't fit: What to draw has the"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    arguments: list[str], message: str, refusal: Refusal
) -> None:
    assert refusal("train", "data.zip", "--out", "run", *arguments).startswith(message)


def test_settings_that_contradict_the_trained_model_are_one_line(
    tiny_run: Path, refusal: Refusal
) -> None:
    base = "--from", str(tiny_run), "--set", "model.units=[9]"
    line = refusal("train", "data.zip", "--out", "run", *base)
    assert "has its pipeline and network. Received: another model.units." in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Training needs images. Received: no DATA, and nothing to draw."),
        (["--synthetic", "pretty:9"], "A style is one of captcha, "),
    ],
)
def test_nothing_to_learn_from_is_one_line_and_exit_2(
    arguments: list[str], message: str, refusal: Refusal
) -> None:
    assert refusal("train", "--out", "run", *arguments).startswith(message)


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--seed", "-1"], ["--epochs", "x"]])
def test_values_out_of_range_exit_with_2(arguments: list[str]) -> None:
    assert run("data.zip", "--out", "run", *arguments).exit_code == 2


def test_another_backend_is_refused_before_it_is_looked_for(tmp_path: Path) -> None:
    arguments = "train", "data.zip", "--out", tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", "from crnn_captcha.cli.main import main; main()", *arguments],
        env={**os.environ, "KERAS_BACKEND": "nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "crnn-captcha: Training needs Keras on TensorFlow. Received: the backend 'nowhere'. "
        "Unset KERAS_BACKEND, or set it to tensorflow.\n"
    )


def test_a_resumed_run_refuses_other_options(tiny_run: Path, captchas: Path) -> None:
    for options in (["--seed", "3"], ["--epochs", "9"], ["--preset", "classic"]):
        result = run(captchas, "--out", tiny_run, "--resume", *options)
        assert isinstance(result.exception, ConfigError)
        assert "--resume goes on with the configuration in" in str(result.exception)


# --- in processes of its own ----------------------------------------------------------------


def _start(captchas: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from crnn_captcha.cli.main import main; main()"]
    return subprocess.Popen(
        [*command, "train", captchas, "--out", out, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def _signal_when(
    process: subprocess.Popen[str], out: Path, steps: Sequence[int], number: signal.Signals
) -> str:
    """Sends a signal as soon as there is a checkpoint of one of these steps."""
    deadline = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if any(step in steps for step in _checkpoints(out)):
            process.send_signal(number)
            break
        time.sleep(0.001)
    output, _ = process.communicate(timeout=WAIT_S)
    return output


def _checkpoints(out: Path) -> list[int]:
    paths = (out / "checkpoint").glob("step-*.npz")
    return sorted(int(path.stem.removeprefix("step-")) for path in paths)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_training_that_was_killed_and_stopped_ends_as_one_that_was_not(
    captchas: Path, tiny_settings: tuple[str, ...], tiny_run: Path, tmp_path: Path
) -> None:
    from crnn_captcha.training.checkpoint import load_checkpoint
    from crnn_captcha.training.run import RunFolder

    out = tmp_path / "run"
    settings = [part for s in tiny_settings for part in ("--set", s)]
    settings += ["--set", "training.checkpoint_s=0.001"]

    # Killed in the middle of the second epoch: nothing but what was written is left.
    process = _start(captchas, out, *settings)
    output = _signal_when(process, out, IN_THE_SECOND_EPOCH, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, output
    assert STEPS < _checkpoints(out)[-1] < 2 * STEPS
    assert not (out / "bundle.onnx").exists()

    # Resumed, and told to stop in the middle of the third.
    process = _start(captchas, out, "--resume")
    third = range(2 * STEPS + 3, 2 * STEPS + 13)
    output = _signal_when(process, out, third, signal.SIGTERM)
    assert process.returncode == 1, output
    assert "Stopping after this step, then writing the bundle" in output
    assert f"crnn-captcha train DATA --out {out} --resume" in output
    assert 2 * STEPS < _checkpoints(out)[-1] < 3 * STEPS
    folder = RunFolder(out)
    assert folder.best_model.is_file()
    assert len(folder.read_history()) == 2
    assert read_bundle(folder.bundle).metadata.charset.characters == "01ab"

    # Resumed, and left alone.
    process = _start(captchas, out, "--resume")
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, output
    assert "All 3 epochs are done." in output
    histories = [
        [{k: v for k, v in row.items() if not k.endswith("seconds")} for row in f.read_history()]
        for f in (folder, RunFolder(tiny_run))
    ]
    assert histories[0] == histories[1]
    ours, theirs = load_checkpoint(folder.checkpoints), load_checkpoint(tiny_run / "checkpoint")
    assert ours is not None
    assert theirs is not None
    for array, expected in zip(ours.arrays, theirs.arrays, strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)
