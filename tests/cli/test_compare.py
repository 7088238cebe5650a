from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.conftest import Refusal
from crnn_captcha.cli.compare import compare
from crnn_captcha.metrics import Interval


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(compare, [str(argument) for argument in arguments])


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command hands to `training.compare`, which isn't called."""
    from crnn_captcha import training
    from crnn_captcha.training.comparison import Row

    given: dict[str, Any] = {}

    def record(data: Path, out: Path, variants: tuple[str, ...], **options: Any) -> Any:
        given.update(data=data, out=out, variants=variants, **options)
        interval = Interval(0.25, 0.75)
        row = Row(variants[0], 0.5, interval, 0.625, 0.125, 0, 0, 1.0, 3, 20.0, 1.0, 1234)
        return training.Comparison((row,), 8, 20.0, interrupted=data == Path("stop"))

    monkeypatch.setattr(training, "compare", record)
    return given


def test_the_options_of_the_contract(compared: dict[str, Any], tmp_path: Path) -> None:
    result = run(
        "classic", "standard seed=2", "--data", "data.zip", "--minutes", "2.5", "--out", tmp_path,
        "--resume", "--set", "data.batch_size=4", "--set", "model.units=[8]",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert compared == {
        "variants": ("classic", "standard seed=2"),
        "data": Path("data.zip"),
        "minutes": 2.5,
        "out": tmp_path,
        "resume": True,
        "settings": ("data.batch_size=4", "model.units=[8]"),
        "skip_broken": False,
    }


def test_what_is_left_out_is_the_default(compared: dict[str, Any]) -> None:
    assert run("classic", "--data", "data.zip", "--minutes", "1").exit_code == 0
    assert compared["out"] == Path("runs/comparison")
    assert (compared["resume"], compared["settings"]) == (False, ())


@pytest.mark.parametrize("minutes", ["nan", "inf", "0"])
def test_minutes_are_a_number_above_0(minutes: str) -> None:
    result = run("classic", "--data", "data.zip", "--minutes", minutes)
    assert result.exit_code == 2
    assert "Invalid value for '--minutes'" in result.stderr


@pytest.mark.usefixtures("compared")
def test_people_get_a_table_and_where_the_rest_is(tmp_path: Path) -> None:
    result = run("classic", "--data", "data.zip", "--minutes", "1", "--out", tmp_path)
    head, _, row = result.stdout.splitlines()
    assert head.startswith("| configuration | exact match | 95 % interval |")
    assert row.startswith("| `classic` | 50.0% | 25.0% to 75.0% | 62.5% | 12.5% |")
    assert result.stderr == f"Runs, table and curves: {tmp_path}\n"


@pytest.mark.usefixtures("compared")
@pytest.mark.parametrize("data", ["data.zip", "stop"])
def test_json_is_one_object_and_nothing_else(data: str) -> None:
    result = run("classic", "--data", data, "--minutes", "1", "--json")
    found = json.loads(result.stdout)
    assert (found["images"], found["interrupted"]) == (8, data == "stop")
    (row,) = found["rows"]
    assert (row["variant"], row["exact_match"], row["p_value"]) == ("classic", 0.5, 1.0)
    assert row["interval"] == {"low": 0.25, "high": 0.75}


@pytest.mark.usefixtures("compared")
def test_a_stopped_comparison_exits_with_1() -> None:
    result = run("classic", "standard", "--data", "stop", "--minutes", "1")
    assert result.exit_code == 1
    assert "| `classic` | 50.0% |" in result.stdout  # what is known so far
    assert result.stderr == "Stopped. Go on by the same command with --resume.\n"


def test_help_teaches() -> None:
    text = " ".join(run("--help").output.split())
    for option in ("PRESET...", "--data", "--minutes", "--out", "--resume", "--set", "--json"):
        assert option in text
    for lesson in (
        "A PRESET may have settings after it, in quotes",
        "the test split is never read",
        "reads right that the first doesn't (+) and the reverse (-)",
        "how likely such a difference is by chance (p)",
        "crnn-captcha compare classic medium --data captchas.zip --minutes 10",
        '"medium model.neck=attention"',
        "Go on: what is done isn't trained again.",
    ):
        assert lesson in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best"], "A preset is one of classic, small, medium, standard. Received: 'best'."),
        (["classic", "classic"], "Configurations to compare differ. Received twice: classic."),
        (
            ["classic", "classic data.split_seed=1"],
            "Configurations to compare have the same validation images.",
        ),
        (["classic seed='1"], "A configuration to compare is a preset, and settings parted by"),
        (
            ["classic", "--set", "batch_size=3"],
            "A setting has the form section.key=value, with a key of",
        ),
        (
            ["classic training.epochs=3"],
            "The minutes of the comparison decide about training.epochs.",
        ),
        (["classic"], "There is no data at 'data.zip'."),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    from crnn_captcha.training import budget, comparison

    monkeypatch.setattr(
        budget,
        "in_own_process",
        lambda function, *given, **options: function(*given, **options),
    )
    monkeypatch.setattr(comparison, "say", lambda text: None)  # which of them is at its turn
    options = ["--data", "data.zip", "--minutes", "1", "--out", "out"]
    assert refusal("compare", *options, *arguments).startswith(message)


@pytest.mark.usefixtures("compared")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "data.zip", "--minutes", "1"], "Missing argument 'PRESET...'"),
        (["classic", "--minutes", "1"], "Missing option '--data'"),
        (["classic", "--data", "data.zip"], "Missing option '--minutes'"),
        (["classic", "--data", "data.zip", "--minutes", "0"], "0.0 is not in the range x>0"),
        (["classic", "--data", "data.zip", "--minutes", "x"], "'x' is not a valid float"),
    ],
)
def test_what_is_missing_or_out_of_range_exits_with_2(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
