"""`crnn-captcha generate` writes what the generator draws, and says what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from click.testing import CliRunner, Result

from crnn_captcha import fonts as fonts_module
from crnn_captcha import generator as generator_module
from crnn_captcha.cli.generate import MORE_FONTS, generate
from crnn_captcha.dataset import parse_label
from crnn_captcha.errors import CharsetError, ConfigError, DatasetError, FontError
from crnn_captcha.images import load_image
from crnn_captcha.peers import Peer
from crnn_captcha.styles import Style
from crnn_captcha.windows import available_cores


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


def test_a_style_is_chosen_by_name_or_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "plain"\ncharset = "xyz"\n[image]\nheight_px = 48\n')
    for style, height in (("plain", 64), (mine, 48)):
        out = tmp_path / str(height)
        assert _run(out, "--count", 3, "--style", style).exit_code == 0
        images = list(out.rglob("*.png"))
        assert {load_image(path).shape[0] for path in images} == {height}
    assert all(set(parse_label(path.name)) <= set("xyz") for path in images)


def test_other_fonts_are_drawn_with_as_the_style_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Style] = []

    def stop(look: Style) -> None:
        looks.append(look)
        raise ConfigError("Enough was seen.")

    monkeypatch.setattr("crnn_captcha.generator.Generator", stop)
    _run(tmp_path / "out", "--count", 1, "--style", "crowded", "--fonts", tmp_path)
    fonts = looks[0].fonts
    assert (fonts.folders, fonts.installed, fonts.per_letter) == ((str(tmp_path),), False, True)


def test_workers_are_one_a_core_unless_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    draw = generator_module.generate

    def record(*arguments: Any, workers: int, **options: Any) -> Any:
        asked.append(workers)
        return draw(*arguments, **options)

    monkeypatch.setattr(generator_module, "generate", record)
    for out, options in (("a", []), ("b", ["--workers", 3])):
        assert _run(tmp_path / out, "--count", 1, *options).exit_code == 0
    assert asked == [available_cores(), 3]


def test_somebody_elses_generator_may_have_a_font_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(text: str, size: tuple[int, int], font: Path | None) -> Any:
        assert font is None
        return np.zeros((*size[::-1], 3), np.uint8)

    peer = Peer("captcha", "imitate", "captcha.image", (), draw)
    monkeypatch.setattr(generator_module, "find_peer", lambda name: peer)
    result = _run(tmp_path / "out", "--count", 1, "--style", "captcha")
    assert result.exit_code == 0, result.exception
    assert "drawn with the generator's own font" in result.stdout
    assert result.stderr == ""


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
    result = _run(tmp_path / "out", "--count", 1, "--fonts", fonts, "--fonts", tmp_path)
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
        pytest.param(["--style", "pretty"], ConfigError, "A style is one of ", id="style"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    tmp_path: Path, arguments: list[object], error: type[Exception], message: str
) -> None:
    result = _run(tmp_path / "out", "--count", 1, *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_of_fonts_is_not_the_current_one(tmp_path: Path) -> None:
    result = _run(tmp_path / "out", "--count", 1, "--fonts", "")
    assert result.exit_code == 2
    assert "Invalid value for '--fonts': is empty." in result.output


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("kept")
    result = _run(tmp_path, "--count", 1)
    assert isinstance(result.exception, DatasetError)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--count", 0], ["--count", 1, "--seed", -1], ["--count", 1, "--workers", 0]],
)
def test_wrong_use_exits_with_two(tmp_path: Path, arguments: list[object]) -> None:
    result = _run(tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
