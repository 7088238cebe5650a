from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from cli.conftest import Refusal
from crnn_captcha.cli.check import check
from crnn_captcha.errors import DatasetError, MissingExtraError
from crnn_captcha.suspects import Suspect

DrawImage = Callable[..., NDArray[np.uint8]]


def save(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(check, [str(argument) for argument in arguments])


@pytest.fixture
def good(tmp_path: Path, draw_image: DrawImage) -> Path:
    names = [f"train/{'ab' * (1 + i % 3)}-{i}.png" for i in range(40)]
    for i, name in enumerate([*names, "test/ba-0.png", "test/ba-1.png"]):
        small = cv2.resize(draw_image("abab", i), (60 + i % 3, 12), interpolation=cv2.INTER_AREA)
        save(tmp_path / "good" / name, np.asarray(small, np.uint8))
    return tmp_path / "good"


@pytest.fixture
def bad(good: Path, draw_image: DrawImage) -> Path:
    for i in range(7):
        (good / f"train/ab-broken{i}.png").write_bytes(b"no image")
    (good / "test/ab-copy.png").write_bytes((good / "train/ab-0.png").read_bytes())
    (good / "train/ab-copy.png").write_bytes((good / "train/ab-3.png").read_bytes())
    for i in range(6):
        save(good / f"train/ab-lossy{i}.jpg", draw_image("ab", 100 + i))
    return good


def test_good_data_exits_with_0_and_says_what_is_next(good: Path) -> None:
    result = run(good)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == f"{good}: 42 images (36 train, 4 validation, 2 test)"
    assert lines[2:5] == ["2 characters: ab", "in train: 70 ('a') to 70 ('a')", "formats: 42 PNG"]
    assert "label length: 2 to 6 characters, median 4" in lines
    assert f"          2      16 {'#' * 40}" in lines
    assert "width: 60 to 62 px, median 61" in lines
    assert "height: 12 to 12 px, median 12" in lines
    assert lines[-2:] == ["Fit for training.", f"Next: crnn-captcha train {good} --out RUN"]


def test_bad_data_exits_with_1_and_says_what_to_do(bad: Path) -> None:
    result = run(bad)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[2] == "PROBLEM: images that can't be read (7)"  # before the facts
    assert lines[3].startswith("  'train/ab-broken0.png': ")
    assert lines[8] == "  and 2 more (all of them: --json)"
    assert lines[9] == "  What to do: Replace these files or remove them."
    assert "PROBLEM: images that are in the test split and in another (1)" in lines
    assert "note: images that come more than once (1)" in lines
    listed = ", ".join(f"'train/ab-lossy{i}.jpg'" for i in range(5))
    assert f"  {listed} and 1 more: JPEG, 6 of 50 images" in lines
    assert lines[-1] == (
        "Not fit for training yet: 2 sorts of problems. Mend that, then check again."
    )


def test_json_holds_all_findings(bad: Path) -> None:
    result = run(bad, "--json")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert found["path"] == str(bad)
    assert found["ok"] is False
    assert sum(found["images"].values()) == 57
    kinds = {f["kind"]: (f["spoils"], f["count"]) for f in found["findings"]}
    assert kinds == {
        "unreadable": (True, 7),
        "train_test_overlap": (True, 1),
        "duplicate": (False, 1),
        "lossy": (False, 1),
    }
    assert len(found["findings"][0]["evidence"]) == 7
    assert found["heights"]["minimum"] == 12
    assert set(found["characters"]["train"]) == {"a", "b"}


def test_json_of_good_data(good: Path) -> None:
    result = run(good, "--json")
    assert result.exit_code == 0
    assert json.loads(result.output)["ok"] is True


def test_a_report_has_what_was_found(bad: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = run(bad, "--report", tmp_path / "report")
    assert result.exit_code == 1
    page = tmp_path / "report/index.html"
    assert result.output.endswith(f"Report: {page}\n")
    assert "images that can&#x27;t be read (7)" in page.read_text(encoding="utf-8")
    found = json.loads((tmp_path / "report/check.json").read_text(encoding="utf-8"))
    assert found == json.loads(run(bad, "--json").output)


def test_a_report_that_can_not_be_drawn_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run(tmp_path / "nothing", "--report", tmp_path / "report")
    assert isinstance(result.exception, MissingExtraError)


@pytest.mark.parametrize(
    ("split", "others", "how"),
    [
        ("test", ["train", "validation"], ""),
        ("validation", ["train", "test"], " --split validation"),
    ],
)
def test_data_without_a_train_split_are_fit_for_evaluation(
    tmp_path: Path, draw_image: DrawImage, split: str, others: list[str], how: str
) -> None:
    save(tmp_path / split / "ab-0.png", draw_image("ab", 1))
    result = run(tmp_path)
    assert result.exit_code == 0
    assert f"note: splits without images (2)\n  {others[0]}\n  {others[1]}\n" in result.output
    said = f"Fit for evaluation.\nNext: crnn-captcha evaluate {tmp_path}{how}\n"
    assert result.output.endswith(said)


def test_images_to_train_on_need_some_to_validate_with(
    tmp_path: Path, draw_image: DrawImage
) -> None:
    save(tmp_path / "train/ab-0.png", draw_image("ab", 1))
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "images to train on, and none to validate with (1)\n  1 in train\n" in result.output
    assert "Next: " not in result.output


def test_what_was_found_is_not_lost_with_the_report(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crnn_captcha.reporting.datasheet.write_datasheet", full)
    result = run(good, "--json", "--report", tmp_path / "report")
    assert isinstance(result.exception, OSError)
    assert json.loads(result.stdout)["ok"]


def test_long_labels_of_wide_images_are_no_problem(tmp_path: Path, draw_image: DrawImage) -> None:
    for split in ("train", "validation"):
        save(tmp_path / split / "abcdefghijklmnopqrst-0.png", draw_image("abcdefghijklmnopqrst", 1))
    assert "labels that are too long" not in run(tmp_path).output
    assert "needs 20 time steps of 16" in run(tmp_path, "--time-steps", "16").output


def test_labels_too_long_for_the_time_steps(good: Path) -> None:
    assert run(good, "--time-steps", "6").exit_code == 0
    result = run(good, "--time-steps", "5")
    assert result.exit_code == 1
    assert "'ababab' needs 6 time steps of 5" in result.output


def test_nothing_readable_is_still_reported(tmp_path: Path) -> None:
    (tmp_path / "-1.png").write_bytes(b"no image")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "PROBLEM: images with a bad label (1)" in result.output
    assert "0 characters: none\nformats: none\n" in result.output


def test_data_that_cannot_be_opened_is_an_error_of_ours(tmp_path: Path) -> None:
    result = run(tmp_path / "nothing")
    assert isinstance(result.exception, DatasetError)
    assert "There is no data at" in str(result.exception)


# --- labels ---------------------------------------------------------------------------------

SUSPECT = Suspect("train/ab-0.png", "ab", "ba", 1e-9, 0.9, "other", 6.0)


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command hands to `training.audit_labels`, which isn't called."""
    from crnn_captcha import training

    given: dict[str, Any] = {}

    def record(data: Path, out: Path, config: Any, **options: Any) -> training.Audit:
        given.update(data=data, out=out, config=config, options=options)
        return training.Audit((SUSPECT,), 40, (), interrupted=data == Path("stop"), minutes=1)

    monkeypatch.setattr(training, "audit_labels", record)
    return given


def test_labels_are_audited_as_asked_for(audited: dict[str, Any], tmp_path: Path) -> None:
    result = run(
        "data.zip", "--labels", "--report", tmp_path, "--folds", "3", "--minutes", "0.5",
        "--preset", "small", "--set", "seed=4", "--split", "train", "--skip-broken", "--resume",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (audited["data"], audited["out"]) == (Path("data.zip"), tmp_path)
    assert (audited["config"].preset, audited["config"].seed) == ("small", 4)
    assert audited["options"] == {
        "folds": 3, "minutes": 0.5, "split": "train", "skip_broken": True, "resume": True,
        "base": None,
    }  # fmt: skip
    assert "| train/ab-0.png | ab    | ba   | 90.0 %" in result.stdout
    assert f"Look at them: {tmp_path / 'review.html'}\n" in result.stderr


def test_an_audit_needs_no_options(audited: dict[str, Any]) -> None:
    from crnn_captcha.training import make_config

    result = run("data.zip", "--labels", "--json")
    assert result.exit_code == 0
    (suspect,) = json.loads(result.stdout)["suspects"]
    assert (suspect["name"], suspect["reason"]) == ("train/ab-0.png", "other")
    assert audited["config"] == make_config("medium")
    assert (audited["out"], audited["options"]) == (Path("runs/labels"), {"base": None})


def test_an_audit_can_start_from_a_trained_model(audited: dict[str, Any], tiny_run: Path) -> None:
    from crnn_captcha.training import make_config, read_base

    base = read_base(tiny_run)
    assert run("data.zip", "--labels", "--from", tiny_run, "--set", "seed=4").exit_code == 0
    assert audited["options"]["base"].digest == base.digest
    assert audited["config"] == make_config(None, ["seed=4"], base.config)


def test_a_stopped_audit_exits_with_1(audited: dict[str, Any]) -> None:
    result = run("stop", "--labels")
    assert result.exit_code == 1
    assert "Go on by the same command with --resume." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "3", "--set", "seed=1"], "These are of --labels: --folds, --set. Add"),
        (["--from", "medium"], "These are of --labels: --from. Add"),
        (["--skip-broken"], "These are of --labels: --skip-broken. Add --labels or leave"),
        (["--labels", "--folds", "1"], "1 is not in the range x>=2"),
        (["--labels", "--minutes", "0"], "0.0 is not in the range x>0"),
        (["--labels", "--split", "validation"], "'validation' is not one of"),
        (["--labels", "--time-steps", "9"], "--time-steps isn't of --labels"),
        (["--labels", "--split", "test", "--folds", "3"], "--split test has no --folds"),
        (["--labels", "--minutes", "nan"], "'nan' is not a finite number"),
    ],
)
def test_options_that_do_not_fit_are_wrong_use(
    good: Path, arguments: list[str], message: str
) -> None:
    result = run(good, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "best"],
            "A preset is one of classic, small, medium, standard. Received: 'best'.",
        ),
        (["--set", "sed=1"], "A setting has the form section.key=value"),
        ([], "There is no data at 'data.zip'."),
    ],
)
def test_an_audit_that_cannot_be_is_one_line(
    refusal: Refusal, arguments: list[str], message: str
) -> None:
    assert refusal("check", "data.zip", "--labels", *arguments).startswith(message)
