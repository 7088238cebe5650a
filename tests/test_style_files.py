"""Styles of the package are valid, files of one's own start from them, and errors say where."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from crnn_captcha.charset import Charset
from crnn_captcha.errors import CharsetError, ConfigError
from crnn_captcha.style_files import DEFAULT, load_style, style_names
from crnn_captcha.styles import Range, Style


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", style_names())
def test_what_the_package_brings_is_valid(name: str) -> None:
    style = load_style(name)
    assert 1 <= style.min_length <= style.max_length


def test_the_default_is_among_them() -> None:
    assert DEFAULT in style_names()
    assert load_style() == load_style(DEFAULT)


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    text = """
charset = "ab"
min_length = 2
max_length = 3
capitals = 1
[image]
height_px = 40
[fonts]
folders = ["fonts", "/elsewhere"]
installed = false
[letters]
height_px = [10, 12.5, 20]
gap_px = [-2, 3]
gap_share = 0.5
smooth = false
"""
    style = load_style(_file(tmp_path, text))
    assert (style.charset, style.min_length, style.max_length) == (Charset("ab"), 2, 3)
    assert style.capitals == 1.0
    assert style.image == replace(Style().image, height_px=Range(40, 40))
    assert style.fonts.folders == (str(tmp_path / "fonts"), str(Path("/elsewhere")))
    assert style.fonts.installed is False
    assert style.letters.height_px == Range(10, 20, 12.5)
    assert style.letters.gap_px == Range(-2, 3)
    assert (style.letters.gap_share, style.letters.smooth) == (0.5, False)
    assert style.lines == Style().lines


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_style(_file(tmp_path, "")) == Style()


def test_a_file_changes_what_it_starts_from(tmp_path: Path) -> None:
    text = 'base = "coloured-lines"\nmax_length = 5\n[lines]\nwidth_px = 2\n'
    style, base = load_style(_file(tmp_path, text)), load_style("coloured-lines")
    changed = replace(base, max_length=5, lines=replace(base.lines, width_px=Range.of(2)))
    assert style == changed


def test_home_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    style = load_style(_file(tmp_path, '[fonts]\nfolders = ["~/fonts"]'))
    assert style.fonts.folders == (str(tmp_path / "me" / "fonts"),)


def test_nobodys_home_has_no_fonts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Received: '~nobody-of-that-name/fonts' in .*\.toml"):
        load_style(_file(tmp_path, '[fonts]\nfolders = ["~nobody-of-that-name/fonts"]'))


def test_an_unknown_style_is_refused_with_all_names() -> None:
    with pytest.raises(ConfigError) as caught:
        load_style("pretty")
    assert str(caught.value).startswith(f"A style is one of {', '.join(style_names())}, or a file")
    assert str(caught.value).endswith("Received: 'pretty'.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lines = ", "A style is valid TOML. Received: "),
        ("min_length = " + 5000 * "1", "A style is valid TOML. Received: "),
        ("min_length = " + 5000 * "[", "A style is valid TOML. Received: "),
        ("capitals = 1" + 400 * "0", "capitals: int too large to convert to float"),
        ("min_length = 0", "isn't valid. Labels have 1 to 32 characters"),
        ("length = 3", "isn't valid. Its keys are charset, min_length, max_length, capitals,"),
        ("[lines]\ncolour = 3", "Its keys are lines.count, lines.width_px, "),
        ("[lines]\ncolour = 3", "Received: lines.colour."),
        ("[lines]\ncount = 'x'", "lines.count is a number, or a list of two or three. Received: "),
        ("[lines]\ncount = [true]", "lines.count is a number, or a list of two or three."),
        ("[lines]\ncount = [2, 1]", "lines.count: The numbers of a range are finite and rise."),
        ("[lines]\ncount = []", "lines.count: A range is a number, "),
        ("[lines]\nsmooth = 1", "lines.smooth is true or false. Received: 1."),
        ("[lines]\ncurved = true", "lines.curved is a number. Received: True."),
        ("[lines]\ncurved = 2", "lines.curved lies between 0 and 1. Received: 2."),
        ("lines = 3", "lines is a table. Received: 3."),
        ("min_length = 4.0", "min_length is a whole number. Received: 4.0."),
        ("charset = 3", "charset is a text. Received: 3."),
        ("generator = 3", "generator is a text. Received: 3."),
        ("[fonts]\nfolders = 'a'", "fonts.folders is a list of texts. Received: 'a'."),
        ("[fonts]\nfolders = [3]", "fonts.folders is a list of texts. Received: [3]."),
        ("base = 'mine'", "The base of a style is one of "),
        ("generator = 'captcha'\n[lines]", "draws by rules of its own. Received: lines."),
        ("base = 'captcha'\ncapitals = 1\n[dots]", "Received: capitals, dots. Leave that out."),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_style(path)
    assert str(path) in str(caught.value)


def test_a_charset_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharsetError, match="holds each character once"):
        load_style(_file(tmp_path, 'charset = "aa"'))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    for name in ("gone.toml", "bytes.toml"):
        with pytest.raises(ConfigError, match=rf"is there, and text in UTF-8\. Received: .*{name}"):
            load_style(tmp_path / name)
