from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.conftest import Refusal
from crnn_captcha.bundle import read_bundle
from crnn_captcha.cli.export import export
from crnn_captcha.training.export import ExportResult


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


def test_it_says_how_well_the_bundle_agrees_and_what_is_next(
    tiny_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "reader.onnx"
    result = run(tiny_run, "--out", out)
    assert result.exit_code == 0, result.output
    agrees, then = result.output.splitlines()[-2:]
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    assert agrees == f"{out} ({size}) reads as its model on 100.00% of the validation images."
    assert then == f"Read with it: crnn-captcha read IMAGE --model {out}"
    assert read_bundle(out).metadata.charset.characters == "01ab"


def test_it_says_how_much_is_in_8_bits(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "reader.onnx"
    result = run(tiny_run, "--out", out, "--int8")
    assert result.exit_code == 0, result.output
    share, agrees, _ = result.output.splitlines()[-3:]
    assert share == "2 of 2 convolutions are in 8 bits."
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    assert agrees == (
        f"{out} ({size}) reads as the one in 32 bits on 100.00% of the validation images."
    )


def test_moved_data_are_named_with_data(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def record(run: Path, out: Path, **options: object) -> ExportResult:
        given.update(options)
        out.write_bytes(b"")
        return ExportResult(1.0)

    monkeypatch.setattr("crnn_captcha.training.export", record)
    assert run(tiny_run, "--out", tmp_path / "a.onnx", "--data", "moved.zip").exit_code == 0
    assert given["data"] == Path("moved.zip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing", "--out", "out.onnx"], "A run folder holds a config.toml. Received: missing."),
        ([".", "--out", "out.onnx"], "A run folder holds a config.toml. Received: ."),
    ],
)
def test_what_is_no_run_is_one_line_and_exit_2(
    arguments: list[str], message: str, refusal: Refusal
) -> None:
    assert refusal("export", *arguments).startswith(message)


def test_the_file_to_write_must_be_named(tiny_run: Path) -> None:
    result = run(tiny_run)
    assert result.exit_code == 2
    assert "Missing option '--out'" in result.output


def test_a_folder_is_refused_before_the_work(tiny_run: Path, tmp_path: Path) -> None:
    result = run(tiny_run, "--out", tmp_path)
    assert result.exit_code == 2
    assert "is a directory" in result.output


def test_help_teaches() -> None:
    text = run("--help").output
    for part in ("Refuses when", "crnn-captcha export runs/first --out reader.onnx", "--data"):
        assert part in text
