"""`crnn-captcha generate` writes what the generator draws, and says what it did."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner, Result

from crnn_captcha import fonts as fonts_module
from crnn_captcha.cli.generate import CHARSET, MORE_FONTS, generate
from crnn_captcha.dataset import parse_label
from crnn_captcha.drawing import DEFAULT_STYLE
from crnn_captcha.errors import CharsetError, ConfigError, DatasetError, FontError


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(generate, [str(argument) for argument in arguments])


@pytest.fixture
def built_in_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts_module, "_package_files", list)
    monkeypatch.setattr(fonts_module, "_dejavu_files", list)


def test_a_folder_is_written_and_the_next_step_named(tmp_path: Path) -> None:
    out = tmp_path / "my set"
    result = _run(out, "--count", 12, "--seed", 1)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Wrote 12 images (10 train, 2 test) to {out}, drawn with ")
    assert result.stdout.endswith(f"Next: crnn-captcha train '{out}' --out runs/first\n")
    assert result.stdout.count("\n") == 1
    assert len(list(out.glob("data/main/train/*.png"))) == 10
    assert len(list(out.glob("data/main/test/*.png"))) == 2


def test_zip_and_folder_hold_the_same(tmp_path: Path) -> None:
    folder, archive = tmp_path / "set", tmp_path / "set.zip"
    assert _run(folder, "--count", 4).exit_code == 0
    result = _run(folder, "--count", 4, "--zip")
    assert result.exit_code == 0
    assert f"to {archive}, drawn with" in result.stdout
    with ZipFile(archive) as opened:
        assert len(opened.namelist()) == 4
        for name in opened.namelist():
            assert opened.read(name) == (folder / name).read_bytes()


def test_charset_and_lengths_are_kept(tmp_path: Path) -> None:
    lengths = ["--min-length", 2, "--max-length", 3]
    assert _run(tmp_path, "--count", 8, "--charset", "xyz", *lengths).exit_code == 0
    labels = [parse_label(path.name) for path in tmp_path.rglob("*.png")]
    assert len(labels) == 8
    assert all(set(label) <= set("xyz") and 2 <= len(label) <= 3 for label in labels)


def test_the_defaults_are_the_default_style() -> None:
    defaults = {option.name: option.default for option in generate.params}
    assert DEFAULT_STYLE.charset.characters == CHARSET
    assert defaults["charset"] == CHARSET
    assert defaults["min_length"] == DEFAULT_STYLE.min_length
    assert defaults["max_length"] == DEFAULT_STYLE.max_length


def test_the_built_in_font_alone_draws_and_hints_at_more(
    tmp_path: Path, built_in_only: None
) -> None:
    result = _run(tmp_path, "--count", 1)
    assert result.exit_code == 0
    assert "drawn with 1 font (Aileron)" in result.stdout
    assert MORE_FONTS in result.stderr


def test_more_fonts_are_counted_and_bring_no_hint(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    result = _run(tmp_path, "--count", 1, "--fonts", fonts)
    assert result.exit_code == 0
    assert " fonts (DejaVu Sans, " in result.stdout
    assert " more). Next: " in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param(["--charset", ""], CharsetError, "at least one character", id="charset"),
        pytest.param(["--min-length", 9], ConfigError, "Received: 9 to 8", id="lengths"),
        pytest.param(["--fonts", "/no/fonts"], FontError, "no such folder", id="fonts"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: list[object], error: type[Exception], message: str
) -> None:
    result = _run(tmp_path / "out", "--count", 1, *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("kept")
    result = _run(tmp_path, "--count", 1)
    assert isinstance(result.exception, DatasetError)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("arguments", [[], ["--count", 0], ["--count", 1, "--seed", -1]])
def test_wrong_use_exits_with_two(tmp_path: Path, arguments: list[object]) -> None:
    result = _run(tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
