"""A run folder says what was trained, and is only gone on with as what it is."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.errors import ConfigError, DatasetError, RunError
from crnn_captcha.training import run as run_module
from crnn_captcha.training.config import PRESETS, change, make_config
from crnn_captcha.training.run import BASE_DIGEST, HISTORY_COLUMNS, RunFolder, best_row, run_config

ROWS = [
    {"epoch": 1, "val_loss": 3.0, "val_exact_match": 0.1, "val_cer": 0.9},
    {"epoch": 2, "val_loss": 1.0, "val_exact_match": 0.2, "val_cer": 0.8},
    {"epoch": 3, "val_loss": 2.0, "val_exact_match": 0.4, "val_cer": 0.3},
    {"epoch": 4, "val_loss": 1.0, "val_exact_match": 0.4, "val_cer": 0.3},
]


@pytest.fixture
def started(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.start(make_config("classic", ["seed=5"]), Path("data.zip"), weights=1234)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="locks are Unix'")
def test_one_training_at_a_time_goes_on_in_a_folder(started: RunFolder) -> None:
    with (
        started.held(),
        pytest.raises(RunError, match=r"One training at a time.*Received: .*run, where another"),
        started.held(),
    ):
        pytest.fail("both train")  # a file opened twice is as if by two processes
    with started.held():
        assert started.exists


@pytest.mark.parametrize("there", [False, True])
def test_where_no_run_came_of_it_a_folder_is_as_before(there: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "run")
    if there:
        folder.path.mkdir(parents=True)
    with pytest.raises(DatasetError), folder.held():
        folder.fonts.mkdir()
        (folder.fonts / "style.toml").touch()
        folder.corrections.touch()
        raise DatasetError("no data")
    assert folder.path.exists() == there
    assert not there or not any(folder.path.iterdir())


def test_a_folder_that_a_killed_start_has_left_is_new(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    code = """
import os, sys
from pathlib import Path
from crnn_captcha.training.run import RunFolder
folder = RunFolder(Path(sys.argv[1]))
with folder.held():
    folder.check_new()
    folder.fonts.mkdir()
    folder.learned_file.touch()
    for file in (folder.learned_file, folder.config_file):
        file.with_name(f".4711-{file.name}").touch()  # half written
    os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code, str(folder.path)], check=False)
    assert folder.fonts.exists()
    with folder.held():
        folder.check_new()
        assert not folder.fonts.exists()
        folder.start(make_config("classic"), Path("data.zip"), weights=1)
        assert [path.name for path in folder.path.iterdir()] == ["config.toml"]


def test_what_was_in_a_folder_before_stays(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.fonts.mkdir()
    (folder.fonts / "mine.ttf").touch()
    with pytest.raises(RunError, match="new or empty folder"), folder.held():
        folder.check_new()
    assert (folder.fonts / "mine.ttf").exists()


def test_things_lie_where_the_contract_says() -> None:
    folder = RunFolder(Path("run"))
    assert folder.config_file == Path("run/config.toml")
    assert folder.history_file == Path("run/history.csv")
    assert folder.corrections == Path("run/corrections.csv")
    assert folder.best_model == Path("run/models/best_crnn_model.keras")
    assert folder.bundle == Path("run/bundle.onnx")
    assert folder.checkpoints == Path("run/checkpoint")
    assert folder.report == Path("run/report")
    assert folder.tensorboard == Path("run/tensorboard")


def test_a_new_run_may_have_a_missing_or_empty_folder(tmp_path: Path) -> None:
    RunFolder(tmp_path / "missing").check_new()
    RunFolder(tmp_path).check_new()


def test_a_new_run_needs_a_folder_with_nothing_in_it(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for path in (tmp_path, file):
        expected = f"A new run needs a new or empty folder. Received: {path}. Name another folder."
        with pytest.raises(RunError, match=re.escape(expected)):
            RunFolder(path).check_new()


def test_where_a_run_is_the_way_on_is_named(started: RunFolder) -> None:
    with pytest.raises(RunError, match="Go on with the run in it by --resume"):
        started.check_new()


def test_a_started_run_tells_its_configuration_and_facts(started: RunFolder) -> None:
    assert started.exists
    assert started.load_config() == make_config("classic", ["seed=5"])
    facts = started.facts()
    assert facts["data"] == str(Path("data.zip").resolve())
    assert facts["weights"] == "1234"
    for package in ("crnn-captcha", "keras", "tensorflow", "numpy", "opencv-python-headless"):
        assert facts[package] == version(package)
    assert re.fullmatch("[0-9a-f]{40}|unknown", facts["commit"])
    assert {"python", "machine"} <= set(facts)


def test_without_data_none_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start(make_config("classic", ["data.synthetic=plain:9"]), None, weights=1)
    assert folder.facts()["data"] == ""
    assert folder.load_config().data.synthetic == "plain:9"


def test_a_run_tells_what_it_was_started_from(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    config = make_config("classic")
    folder.start(config, Path("data.zip"), weights=1, base=Path("a.onnx"), base_digest="5ca1ab1e")
    assert folder.facts()["base"] == str(Path("a.onnx").resolve())
    assert folder.facts()[BASE_DIGEST] == "5ca1ab1e"
    assert folder.load_config() == config


def test_a_run_from_nothing_says_nothing_of_a_base(started: RunFolder) -> None:
    assert {"base", BASE_DIGEST} & set(started.facts()) == set()


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_module._commit() == "unknown"


def test_outside_of_a_checkout_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert run_module._commit() == "unknown"


def test_no_run_is_an_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert not folder.exists
    for ask in (folder.load_config, folder.facts):
        with pytest.raises(RunError, match=r"A run folder holds a config\.toml\. Received: "):
            ask()


def test_history_survives(started: RunFolder) -> None:
    assert started.read_history() == []
    odd = (1, 0.1 + 0.2, float("inf"), 1e-300, 3, 0, -0.0, 1e300)
    rows = [dict(zip(HISTORY_COLUMNS, values, strict=True)) for values in (odd, odd[::-1])]
    started.write_history(rows)
    assert started.read_history() == rows  # to the last bit
    assert started.history_file.read_text().splitlines()[0] == ",".join(HISTORY_COLUMNS)
    started.write_history([])
    assert started.read_history() == []


@pytest.mark.parametrize("text", ["epoch,loss\n1,none\n", "epoch,loss\n1\n", "epoch\n1,2\n"])
def test_a_history_that_is_no_table_of_numbers_is_an_error(started: RunFolder, text: str) -> None:
    started.history_file.write_text(text)
    with pytest.raises(RunError, match=r"history\.csv isn't a history: "):
        started.read_history()


@pytest.mark.parametrize(
    ("monitor", "epoch"), [("val_loss", 2), ("val_exact_match", 3), ("val_cer", 3)]
)
def test_the_best_epoch_is_the_first_with_the_best_figure(monitor: str, epoch: int) -> None:
    assert best_row(ROWS, monitor)["epoch"] == epoch
    assert best_row([], monitor) == {}


def test_a_new_run_takes_a_preset_and_settings(tmp_path: Path) -> None:
    run = tmp_path / "new"
    for resume in (False, True):  # nothing to go on with is begun anew
        config = run_config(run, preset="classic", settings=["seed=3"], resume=resume)
        assert config == change(PRESETS["classic"], ["seed=3"])
    assert run_config(run, preset=None, settings=[], resume=False) == PRESETS["standard"]


@pytest.mark.parametrize(
    ("preset", "its", "expected"),
    [
        (None, "classic", "classic"),
        ("standard", "classic", "standard"),
        (None, "of their own", "standard"),
    ],
)
def test_a_run_from_a_base_takes_its_preset_unless_told(
    tmp_path: Path, preset: str | None, its: str, expected: str
) -> None:
    base = dataclasses.replace(make_config("classic"), preset=its)
    config = run_config(tmp_path, preset=preset, settings=["seed=3"], resume=False, base=base)
    assert config == make_config(expected, ["seed=3"], base)


@pytest.mark.parametrize(
    ("preset", "settings"),
    [(None, []), ("classic", []), (None, ["seed=5"]), ("classic", ["training.epochs=50"])],
)
def test_a_resumed_run_keeps_its_configuration(
    started: RunFolder, preset: str | None, settings: list[str]
) -> None:
    config = run_config(started.path, preset=preset, settings=settings, resume=True)
    assert config == started.load_config()


@pytest.mark.parametrize(
    ("preset", "settings"), [("standard", []), (None, ["seed=6"]), (None, ["training.epochs=9"])]
)
def test_a_resumed_run_refuses_another_configuration(
    started: RunFolder, preset: str | None, settings: list[str]
) -> None:
    expected = (
        r"--resume goes on with the configuration in .*config\.toml\. Received: other options"
    )
    with pytest.raises(ConfigError, match=expected):
        run_config(started.path, preset=preset, settings=settings, resume=True)


def test_a_resumed_run_may_make_its_batches_otherwise(started: RunFolder) -> None:
    settings = ["data.workers=1", "data.processes=true", "data.timeout_s=7.0", "data.cache_mib=9"]
    config = run_config(started.path, preset=None, settings=settings, resume=True)
    assert config == change(started.load_config(), settings) != started.load_config()


# --- corrections ----------------------------------------------------------------------------

CORRECTIONS = Corrections((Correction("train/ab-0.png", "ab", "change", "ba"),))
OTHERS = Corrections((Correction("train/ab-0.png", "ab", "drop"),))
KEPT = Corrections((Correction("train/ab-0.png", "ab", "keep"),))


@pytest.fixture
def corrected(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "corrected")
    folder.start(make_config("classic"), Path("data.zip"), weights=1, corrections=CORRECTIONS)
    return folder


def test_a_run_keeps_its_corrections(corrected: RunFolder) -> None:
    assert corrected.facts()["corrections"] == CORRECTIONS.digest
    assert corrected.own_corrections() == CORRECTIONS
    assert corrected.own_corrections(CORRECTIONS) == CORRECTIONS


def test_a_run_tells_corrections_base_and_what_is_drawn(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.start(
        make_config("classic", ["data.synthetic=plain:9"]),
        Path("data.zip"),
        weights=1,
        corrections=CORRECTIONS,
        base=Path("a.onnx"),
        base_digest="5ca1ab1e",
    )
    facts = folder.facts()
    assert facts["corrections"] == CORRECTIONS.digest
    assert (facts["base"], facts[BASE_DIGEST]) == (str(Path("a.onnx").resolve()), "5ca1ab1e")
    assert folder.load_config().data.synthetic == "plain:9"
    assert folder.own_corrections() == CORRECTIONS


def test_a_new_run_takes_those_given(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "new").own_corrections(OTHERS) == OTHERS
    assert RunFolder(tmp_path / "new").own_corrections() is None


def test_a_run_without_corrections_has_none(started: RunFolder) -> None:
    assert "corrections" not in started.facts()
    assert started.own_corrections() is None
    assert started.own_corrections(KEPT) is None  # they do nothing
    assert not started.corrections.exists()


@pytest.mark.parametrize(
    ("run", "given", "received"),
    [
        pytest.param("corrected", OTHERS, "Received: others.", id="others"),
        pytest.param("corrected", KEPT, "Received: others.", id="nothing instead of something"),
        pytest.param("started", OTHERS, "Received: some, and it has none.", id="none so far"),
    ],
)
def test_a_run_does_not_go_on_with_other_corrections(
    request: pytest.FixtureRequest, run: str, given: Corrections, received: str
) -> None:
    folder: RunFolder = request.getfixturevalue(run)
    with pytest.raises(RunError, match=received):
        folder.own_corrections(given)


def test_a_runs_own_corrections_are_not_to_be_touched(corrected: RunFolder) -> None:
    OTHERS.write(corrected.corrections)
    with pytest.raises(RunError, match=r"Received: others in .*corrections\.csv\. Put the right"):
        corrected.own_corrections()
    corrected.corrections.unlink()
    with pytest.raises(DatasetError, match="can't be read"):
        corrected.own_corrections()
