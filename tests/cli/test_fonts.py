"""`crnn-captcha fonts` writes fonts that can be drawn and trained with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crnn_captcha.cli.fonts import fonts
from crnn_captcha.cli.generate import generate
from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import DatasetError, FontError

STYLE = """
charset = "abdegk"
[lines]
count = [0, 4]
[image]
width_per_character_px = 60
[fonts]
installed = true
[letters]
gap_px = 8
rgb = [40, 200]
"""


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(fonts, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from crnn_captcha import fonts as fonts_module

    monkeypatch.setattr(fonts_module, "_package_files", list)
    monkeypatch.setattr(fonts_module, "_dejavu_files", list)
    (tmp_path / "look.toml").write_text(STYLE + "\n")
    arguments = [str(tmp_path / "data"), "--count", "40", "--style", str(tmp_path / "look.toml")]
    assert CliRunner().invoke(generate, arguments).exit_code == 0
    return tmp_path / "data"


def test_fonts_a_style_a_picture_and_a_table_are_written(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "my fonts"
    for path in sorted((data / "data/main/train").iterdir()):
        path.rename(path.with_name(os.fsdecode(os.fsencode(path.stem) + b"\xff.png")))
    (data / "data/main/train/abd-77.png").write_bytes(b"no image")
    images = len(open_dataset(data).samples("train"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crnn_captcha.recovery.LEAST_CHARACTERS", 4)
        result = _run(data, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Recovered 1 fonts from ")
    assert "abd-77.png" in result.stderr
    assert f"--synthetic '{out}/style.toml:{images}' --out" in result.stdout
    assert b"\xff.png,font-001\n" in (out / "fonts.csv").read_bytes()
    names = {path.name for path in out.iterdir()}
    assert names == {"font-001.ttf", "fonts.png", "fonts.csv", "style.toml"}
    drawn = CliRunner().invoke(
        generate, [str(tmp_path / "more"), "--count", "5", "--style", str(out / "style.toml")]
    )
    assert drawn.exit_code == 0
    assert "drawn with 1 font (font-001 " in drawn.stdout


def test_the_training_that_is_next_cuts_validation_alike(data: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crnn_captcha.recovery.LEAST_CHARACTERS", 4)
        cut = ("--validation-fraction", "0.2", "--split-seed", "5")
        result = _run(data, "--out", tmp_path / "out", *cut)
    assert result.exit_code == 0, result.output
    assert "--set data.validation_fraction=0.2 --set data.split_seed=5 --out" in result.stdout


def test_characters_that_are_too_few_are_named(data: Path, tmp_path: Path) -> None:
    result = _run(data, "--out", tmp_path / "out")
    assert isinstance(result.exception, FontError)
    assert "those of one font show fewer than 8 characters" in str(result.exception)


def test_nothing_is_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    result = _run(data, "--out", tmp_path / "out")
    assert isinstance(result.exception, DatasetError)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_where_no_font_is_found_nothing_is_written(tmp_path: Path) -> None:
    arguments = [str(tmp_path / "few"), "--count", "4"]
    assert CliRunner().invoke(generate, arguments).exit_code == 0
    result = _run(tmp_path / "few", "--out", tmp_path / "out")
    assert isinstance(result.exception, FontError)
    assert not (tmp_path / "out").exists()
