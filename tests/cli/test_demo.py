from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import crnn_captcha.recognizer
from crnn_captcha.cli import demo as demo_module
from crnn_captcha.cli.demo import demo
from crnn_captcha.decoding import Reading
from crnn_captcha.errors import DatasetError
from crnn_captcha.images import load_image
from crnn_captcha.reporting.showcase import GREEN, RED, WIDTH, Pixels, png


class FakeRecognizer:
    """Reads 'a1' from every image."""

    def pipeline(self, image: Pixels) -> Pixels:
        return image.transpose(1, 0, 2)

    def read(self, images: Sequence[str]) -> list[Reading]:
        return [Reading("a1", 0.875, ()) for _ in images]


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "examples"
    folder.mkdir()
    for name in ("a1-0.png", "b22-1.png"):
        (folder / name).write_bytes(png(np.full((20, 60, 3), 90, np.uint8)))
    monkeypatch.setattr(demo_module, "EXAMPLES", folder)
    monkeypatch.setattr(crnn_captcha.recognizer, "Recognizer", FakeRecognizer)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.usefixtures("examples")
def test_actual_stands_against_read() -> None:
    done = CliRunner().invoke(demo)
    assert done.exit_code == 0
    assert done.stdout == (
        "actual  read    confidence\n"
        "a1      a1           87.5%  ✓\n"
        "b22     a1           87.5%  ✗\n"
        "\n"
        "1 of 2 read right. The picture of it: showcase.png\n"
        "Next, read your own image:   crnn-captcha read captcha.png\n"
        "Or train on your own zip:    crnn-captcha train captchas.zip --out runs/first\n"
    )


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("out", ["showcase.png", "new/picture.PNG"])
def test_the_picture_is_written(out: str) -> None:
    done = CliRunner().invoke(demo, ["--out", out])
    assert f"The picture of it: {out}\n" in done.stdout
    picture = load_image(out)
    assert picture.shape[1] == WIDTH
    for color in (GREEN, RED):  # one is right, one is wrong
        assert (picture == color).all(axis=2).any()


@pytest.mark.usefixtures("examples")
def test_a_terminal_without_ticks_gets_words() -> None:
    done = CliRunner(charset="latin-1").invoke(demo)
    assert done.exit_code == 0
    assert "a1           87.5%  right\n" in done.stdout
    assert "a1           87.5%  WRONG\n" in done.stdout


@pytest.mark.usefixtures("examples")
def test_the_picture_is_a_png() -> None:
    done = CliRunner().invoke(demo, ["--out", "showcase.jpg"])
    assert done.exit_code == 2
    assert "The picture is a PNG. Received: showcase.jpg." in done.stderr


def test_an_installation_without_examples_says_so(examples: Path) -> None:
    for path in examples.iterdir():
        path.unlink()
    done = CliRunner().invoke(demo)
    assert isinstance(done.exception, DatasetError)
    assert "Received: none" in str(done.exception)
