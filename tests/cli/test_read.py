from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from crnn_captcha.cli.read import _sources, read
from crnn_captcha.errors import BundleError
from crnn_captcha.images import MAX_FILE_BYTES

Paint = Callable[..., NDArray[np.uint8]]
Save = Callable[[str, str], str]


@pytest.fixture
def save(tmp_path: Path, paint: Paint) -> Save:
    """Paints a text into a file and gives its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_bytes(cv2.imencode(".png", paint(text)[..., ::-1])[1].tobytes())
        return str(path)

    return write


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(read, arguments, input=stdin)


def test_a_line_for_each_image_in_the_order_given(bundle_path: Path, save: Save) -> None:
    paths = [save("wide.png", "abcabc"), save("a.png", "a"), save("none.png", "")]
    result = run(*paths, "--model", str(bundle_path))
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines] == [[paths[0], "abcabc"], [paths[1], "a"], [paths[2], ""]]
    for *_, confidence in lines:
        assert len(confidence) == len("0.1234")
        assert 0.5 < float(confidence) <= 1


def test_json_gives_an_object_a_line(bundle_path: Path, save: Save) -> None:
    paths = [save("cab.png", "cab"), save("b.png", "b")]
    result = run("--json", *paths, "--model", str(bundle_path))
    assert result.exit_code == 0
    first, second = map(json.loads, result.stdout.splitlines())
    assert set(first) == {"path", "text", "confidence", "characters"}
    assert (first["path"], first["text"]) == (paths[0], "cab")
    assert 0.5 < first["confidence"] <= 1
    assert [character["text"] for character in first["characters"]] == ["c", "a", "b"]
    assert all(0.9 < character["confidence"] <= 1 for character in first["characters"])
    assert (second["path"], second["text"]) == (paths[1], "b")


def test_a_dash_reads_standard_input(bundle_path: Path, save: Save) -> None:
    image, other = save("cab.png", "cab"), save("b.png", "b")
    stdin = Path(image).read_bytes()
    result = run(other, "-", other, "--model", str(bundle_path), stdin=stdin)
    assert result.exit_code == 0
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [
        [other, "b"],
        ["-", "cab"],
        [other, "b"],
    ]


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "crnn-captcha: standard input: An image file must be.*"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_FILE_BYTES), "crnn-captcha: standard input: An image"),
    ],
    ids=["empty", "too large"],
)
def test_bad_standard_input_is_one_line(stdin: bytes, message: str, bundle_path: Path) -> None:
    result = run("-", "--model", str(bundle_path), stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(message.removesuffix(".*"))
    assert len(result.stderr.splitlines()) == 1


def test_closed_standard_input_is_an_empty_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert list(_sources(("a.png", "-"))) == ["a.png", b""]


def test_standard_input_is_one_image(bundle_path: Path) -> None:
    result = run("-", "-", "--model", str(bundle_path))
    assert result.exit_code == 2
    assert "'-' more than once" in result.stderr


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
def test_the_others_are_read_when_one_cant_be(
    flags: list[str], bundle_path: Path, save: Save, tmp_path: Path
) -> None:
    good = [save("a.png", "a"), save("b.png", "b")]
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(good[0]).read_bytes()[:40])
    missing, folder = str(tmp_path / "missing.png"), tmp_path / "folder"
    folder.mkdir()
    bad = [str(broken), missing, str(folder)]
    result = run(good[0], *bad, good[1], "--model", str(bundle_path), *flags)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    errors = result.stderr.splitlines()
    assert len(errors) == 3
    for path, error, reason in zip(
        bad, errors, ["cut short", "No such file", "directory"], strict=True
    ):
        assert error.startswith("crnn-captcha: ")
        assert path in error
        assert reason in error


def test_a_bad_model_is_an_error_of_ours(save: Save, tmp_path: Path) -> None:
    result = run(save("a.png", "a"), "--model", str(tmp_path / "missing.onnx"))
    assert isinstance(result.exception, BundleError)
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [[], ["--unknown", "a.png"]], ids=["none", "unknown"])
def test_wrong_use_exits_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_help_shows_examples() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "crnn-captcha read --json captchas/*.png" in result.stdout


# ---- In a process of its own


COMMAND = [sys.executable, "-c", "from crnn_captcha.cli.read import read; read()"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names elsewhere are text")
def test_a_file_name_need_not_be_text(bundle_path: Path, save: Save) -> None:
    name = save("a.png", "a").encode().replace(b"a.png", b"\xff\xe9.png")
    os.rename(save("a.png", "a"), name)  # noqa: PTH104
    command = [*map(os.fsencode, [*COMMAND, "--model", str(bundle_path)]), name, name + b"?"]
    for language in ("C", "C.UTF-8"):
        result = subprocess.run(command, capture_output=True, env=os.environ | {"LC_ALL": language})
        assert result.returncode == 1
        assert result.stdout.startswith(name + b"\ta\t")
        assert result.stderr.startswith(b"crnn-captcha: An image must be a file")
        assert len(result.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_noise(bundle_path: Path, save: Save) -> None:
    path = save("a.png", "a")
    process = subprocess.Popen(
        [*COMMAND, "--model", str(bundle_path), *[path] * 3000],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(f"{path}\ta\t".encode())
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


def test_reading_imports_nothing_heavy(bundle_path: Path, save: Save) -> None:
    code = """
import sys
from crnn_captcha.cli.main import cli
cli(["read", *sys.argv[1:]], standalone_mode=False)
print(*sys.modules)
"""
    arguments = [save("a.png", "a"), "--model", str(bundle_path)]
    command = [sys.executable, "-c", code, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    line, modules = output.splitlines()
    assert line.split("\t")[1] == "a"
    heavy = {"tensorflow", "keras", "matplotlib", "PIL", "onnx", "torch", "tqdm", "msgspec"}
    assert not (heavy | {"rapidfuzz", "fontTools"}) & set(modules.split())
