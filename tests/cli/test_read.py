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

from crnn_captcha.cli.main import cli
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file names")
def test_a_line_stays_one_with_three_columns(bundle_path: Path, save: Save) -> None:
    path = save("tab\there\nand a line.png", "cab")
    result = run(path, "--model", str(bundle_path))
    (line,) = result.stdout.splitlines()
    shown = path.replace("\t", r"\t").replace("\n", r"\n")
    assert line.split("\t")[:2] == [shown, "cab"]


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


# ---- How sure


def test_without_min_confidence_there_is_no_mark(bundle_path: Path, save: Save) -> None:
    paths = [save("a.png", "a"), save("b.png", "b")]
    model = ["--model", str(bundle_path)]
    assert {line.count("\t") for line in run(*paths, *model).stdout.splitlines()} == {2}
    for line in run(*paths, *model, "--json").stdout.splitlines():
        assert list(json.loads(line)) == ["path", "text", "confidence", "characters"]


def test_what_falls_below_is_marked(bundle_path: Path, save: Save) -> None:
    paths = [save("long.png", "abcabcabc"), save("short.png", "a")]
    model = ["--model", str(bundle_path)]
    plain = run(*paths, *model).stdout.splitlines()
    low, high = sorted(float(line.split("\t")[2]) for line in plain)
    assert low < high
    least = ["--min-confidence", str((low + high) / 2)]
    result = run(*paths, *model, *least)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{plain[0]}\t?", f"{plain[1]}\t"]
    lines = run(*paths, *model, *least, "--json").stdout.splitlines()
    assert [json.loads(line)["certain"] for line in lines] == [False, True]
    result = run(*paths, *model, "--min-confidence", "0")
    assert result.stdout.splitlines() == [f"{line}\t" for line in plain]


@pytest.mark.parametrize("value", ["-0.1", "1.5", "high", "nan"])
def test_a_least_confidence_is_0_to_1(value: str) -> None:
    result = run("a.png", "--min-confidence", value)
    assert result.exit_code == 2
    assert value in result.stderr


def test_the_help_says_what_a_confidence_is() -> None:
    assert "calibrated" in run("--help").stdout


# ---- Threads


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_the_lines_dont_depend_on_the_threads(threads: str, bundle_path: Path, save: Save) -> None:
    paths = [save(f"{text}.png", text) for text in ("a", "cab", "bb", "abc", "c")] * 30
    model = ["--model", str(bundle_path)]
    expected = [run(path, *model).stdout for path in paths[:5]] * 30
    result = run(*paths, *model, "--threads", threads)
    assert result.stdout == "".join(expected)


def test_threads_are_at_least_one() -> None:
    assert run("a.png", "--threads", "0").exit_code == 2


# ---- Into a file


@pytest.fixture
def folder(save: Save, tmp_path: Path) -> Path:
    """Three images, one of them in a folder."""
    (tmp_path / "images" / "more").mkdir(parents=True)
    for name, text in [("a.png", "a"), ("cab.png", "cab"), ("more/b.png", "b")]:
        save(f"images/{name}", text)
    return tmp_path / "images"


def test_a_folder_is_read_into_a_file(bundle_path: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "readings.csv"
    result = run(str(folder), "--out", str(out), "--model", str(bundle_path))
    assert result.exit_code == 0
    assert result.stdout == f"{out}: 3 images, 0 broken\n"
    assert "3/3" in result.stderr
    header, *rows = (line.split(",") for line in out.read_text().splitlines())
    assert header == ["path", "text", "confidence", "error"]
    assert [row[:2] for row in rows] == [
        [str(folder / "a.png"), "a"],
        [str(folder / "cab.png"), "cab"],
        [str(folder / "more" / "b.png"), "b"],
    ]


def test_broken_images_are_rows_and_make_it_exit_with_1(
    bundle_path: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "a.png").write_bytes(b"")
    out, missing = tmp_path / "readings.jsonl", str(tmp_path / "missing.png")
    options = ["--out", str(out), "--model", str(bundle_path), "--min-confidence", "0.6"]
    result = run(str(folder), missing, *options)
    assert result.exit_code == 1
    assert result.stdout == f"{out}: 4 images, 2 broken, 0 below a confidence of 0.6\n"
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["certain"] for row in found] == [None, True, True, None]
    assert "empty file" in found[0]["error"]
    assert "No such file" in found[3]["error"]
    again = run(str(folder), missing, *options, "--resume")
    assert again.exit_code == 1
    assert "4 images, 4 of them read before, 2 broken" in again.stdout


def test_ctrl_c_says_how_to_go_on(
    bundle_path: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crnn_captcha.jobs.read_into", stop)
    options = ["--out", str(tmp_path / "r.csv"), "--model", str(bundle_path)]
    result = CliRunner().invoke(cli, ["read", str(folder), *options])
    assert result.exit_code == 1
    assert result.stderr == ("Go on by the same command with --resume.\ncrnn-captcha: stopped.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--resume"], "--resume goes on with the file of --out"),
        (["a.png", "--out", "r.csv", "--json"], "Received: --json"),
        (["a.png", "-", "--out", "r.csv"], "Received: '-'"),
    ],
)
def test_options_that_contradict_each_other(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


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
    heavy |= {"rapidfuzz", "fontTools", "pyarrow", "csv", "zipfile", "concurrent.futures"}
    heavy |= {"crnn_captcha.jobs", "crnn_captcha.sources", "crnn_captcha.dataset"}
    assert not heavy & set(modules.split())


def test_what_is_known_of_the_text_goes_into_the_search(bundle_path: Path, save: Save) -> None:
    model, path = ("--model", str(bundle_path)), save("ab.png", "ab")

    def text(*options: str) -> str:
        result = run(path, *model, *options)
        assert result.exit_code == 0, result.output
        return result.stdout.split("\t")[1]

    assert text() == "ab"
    assert text("--length", "1") in {"a", "b"}
    assert text("--length", "3-4", "--characters", "ab")[:1] == "a"
    assert len(text("--length", "3-4", "--characters", "ab")) in {3, 4}
    assert text("--length", "2-") == "ab"
    assert text("--pattern", "c[ab]") in {"ca", "cb"}
    assert text("--fold-case", "--merge-lookalikes") == "ab"


def test_a_text_that_cant_be_is_empty(bundle_path: Path, save: Save) -> None:
    path = save("ab.png", "ab")
    result = run("--json", path, "--model", str(bundle_path), "--length", "500")
    values = json.loads(result.stdout)
    assert (values["text"], values["confidence"], values["fits"]) == ("", 0.0, False)


def test_lines_of_json_have_the_same_keys(bundle_path: Path, save: Save) -> None:
    paths = save("ab.png", "ab"), save("c.png", "c")
    options = "--json", "--model", str(bundle_path), "--length", "0-9", "--alternatives", "1"
    for line in run(*paths, *options).stdout.splitlines():
        values = json.loads(line)
        keys = {"path", "text", "confidence", "characters", "alternatives"}
        assert set(values) == keys | {"constraint_probability", "fits"}
        assert all(set(c) == {"text", "confidence", "alternatives"} for c in values["characters"])


def test_json_says_more_where_asked(bundle_path: Path, save: Save) -> None:
    path = save("ab.png", "ab")
    options = "--alternatives", "2", "--places"
    values = json.loads(run("--json", path, "--model", str(bundle_path), *options).stdout)
    assert set(values) == {"path", "text", "confidence", "characters", "alternatives"}
    assert [set(other) for other in values["alternatives"]] == [{"text", "probability"}] * 2
    first, second = values["characters"]
    assert set(first) == {"text", "confidence", "columns", "alternatives"}
    assert first["columns"][1] <= second["columns"][0]
    assert first["alternatives"][0]["text"] == "a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", "six"], "--length is a number of characters, or two: 6, or 4-8."),
        (["--length", ""], "Invalid value for '--length': is empty."),
        (["--characters", ""], "Invalid value for '--characters': is empty."),
        (["--pattern", ""], "Invalid value for '--pattern': is empty."),
        (["--model", ""], "Invalid value for '--model': is empty."),
        (["--out", ""], "Invalid value for '--out': is empty."),
        (["--alternatives", "2"], "--alternatives and --places go with --json."),
        (["--places"], "--alternatives and --places go with --json."),
    ],
)
def test_wrong_options_for_the_text_exit_with_2(options: list[str], message: str) -> None:
    result = run("a.png", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
