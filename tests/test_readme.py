"""What the README says is true: its commands run, its figures have rows, its files exist."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from crnn_captcha.cli.main import COMMANDS, cli
from crnn_captcha.generator import generate
from crnn_captcha.style_files import load_style, style_names

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)

SMALLER = [  # the same command, with a network that learns nothing in seconds
    *("--epochs", "1"),
    *("--set", "model.filters=[4, 4, 4, 4, 8]"),
    *("--set", "model.units=[8]"),
]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a captcha.png in it, as the working directory."""
    monkeypatch.chdir(tmp_path)
    (image,) = generate(count=1, seed=3)
    Path("captcha.png").write_bytes(image.data)
    return tmp_path


@pytest.mark.slow
def test_the_commands_run_in_the_order_given(newcomer: Path) -> None:
    commands = [
        line
        for language, block in BLOCKS
        if language == "sh"
        for line in block.splitlines()
        if line.startswith("crnn-captcha ")
    ]
    (drawing,) = re.findall(r"`(crnn-captcha generate captchas [^`]+)`", README)
    assert len(commands) == 5
    for line in [drawing.replace("2000", "300"), *commands]:
        _, *arguments = shlex.split(line, comments=True)
        smaller = SMALLER if arguments[0] == "train" else []

        result = CliRunner().invoke(cli, [*arguments, *smaller])

        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    for name in re.findall(r"^\| `([\w./]+)` \| (?!does)", README, flags=re.MULTILINE):
        assert (newcomer / "runs" / "first" / name).exists(), name


def test_the_lines_of_python_read_an_image(
    newcomer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lines,) = [block for language, block in BLOCKS if language == "python" and "print" in block]

    exec(lines, {})

    text, confidence = capsys.readouterr().out.split()
    assert re.fullmatch("[0-9a-z]+", text)
    assert 0 < float(confidence) <= 1


def test_the_lines_of_python_read_under_a_constraint(newcomer: Path) -> None:
    (lines,) = [block for language, block in BLOCKS if language == "python" and "Decoding" in block]
    names: dict[str, Any] = {}

    exec(lines, names)

    reading = names["reading"]
    assert re.fullmatch("[0-9a-z]{4,6}", reading.text)
    assert len(reading.alternatives) == 3
    left, right = reading.characters[0].columns
    assert 0 <= left < right


def test_a_preset_is_made_as_described() -> None:
    from crnn_captcha.training.config import STANDARD

    (lines,) = [block for language, block in BLOCKS if language == "python" and "preset=" in block]
    names = {"dataclasses": dataclasses, "STANDARD": STANDARD}

    exec(lines, names)

    assert names["MINE"].model.units == (256, 256)  # type: ignore[attr-defined]


def test_the_demo_reads_the_bundled_examples(newcomer: Path) -> None:
    result = CliRunner().invoke(cli, ["demo"])

    assert result.exit_code == 0, result.output
    (right,) = re.findall(r"(\d+) of 10 read right", result.output)
    assert int(right) >= 5  # a broken bundle reads none
    assert (newcomer / "showcase.png").stat().st_size > 10_000


def test_every_command_stands_in_the_readme() -> None:
    assert set(re.findall(r"^\| `crnn-captcha (\w+)", README, flags=re.MULTILINE)) == set(COMMANDS)


def test_every_style_stands_in_the_readme() -> None:
    section = README.split("## Images without end")[1].split("\n## ")[0]
    assert [name for name in style_names() if f"`{name}`" not in section] == []


def test_a_style_is_made_as_described(tmp_path: Path) -> None:
    (text,) = [block for language, block in BLOCKS if language == "toml"]
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")

    style = load_style(path)

    assert (style.min_length, style.max_length, style.lines.count.high) == (5, 8, 8)
    assert style.fonts.folders == (str(Path("~/fonts").expanduser()),)


def test_every_figure_has_a_row_in_the_results() -> None:
    section = README.split("## How well it reads")[1].split("\n## ")[0]
    figures = re.findall(r"\d+(?:\.\d+)? (?:%|ms|s|MB)", section)
    assert figures
    assert [f for f in figures if not re.search(rf"(?<![\d.]){re.escape(f)}", RESULTS)] == []


QUANTITIES = (
    "exact match on the test split, all 1,006 images",
    "the same with o/0 and l/1/i merged",
    "CER on the test split",
    "expected calibration error on the test split",
)


@pytest.mark.parametrize("name", ["standard", "medium", "small"])
def test_the_figures_of_a_bundle_are_those_of_its_newest_rows(name: str) -> None:
    whose = rf"^\| the bundle {name}\b[^:|]*: "
    newest = [
        re.findall(rf"{whose}{re.escape(what)} \| ([^|]+) \|", RESULTS, re.MULTILINE)[-1]
        for what in QUANTITIES
    ]
    (row,) = re.findall(rf"^\| `{name}`, on drawn images as well \|(.+)", README, re.MULTILINE)
    exact, merged, cer, *_ = (cell.strip(" *").partition("**")[0] for cell in row.split("|"))
    assert [exact.partition(" (")[0], merged, cer] == newest[:3]
    assert re.search(rf"{newest[3]} for\s+`{name}`", README)


@pytest.mark.parametrize("name", ["standard", "medium", "small"])
def test_the_size_of_a_bundle_is_that_of_its_file(name: str) -> None:
    size = (ROOT / "src" / "crnn_captcha" / "models" / f"{name}.onnx").stat().st_size / 1e6
    rounded = f"{size:.2f}" if size < 2 else f"{size:.1f}"
    assert f"| bundle `{name}` | {rounded} MB |" in README


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^):#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def _modules_with_examples() -> list[str]:
    source = ROOT / "src"
    return [
        ".".join(path.relative_to(source).with_suffix("").parts)
        for path in sorted(source.rglob("*.py"))
        if ">>> " in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("name", _modules_with_examples())
def test_docstring_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
