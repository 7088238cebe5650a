from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.conftest import RunMain
from crnn_captcha import errors
from crnn_captcha.cli import main as main_module
from crnn_captcha.cli.main import COMMANDS, cli, main, run
from crnn_captcha.errors import CrnnCaptchaError, DatasetError, MissingExtraError

EVERY_HELP = """
import sys
from crnn_captcha.cli.main import COMMANDS, cli
for command in COMMANDS:
    cli.main([command, "--help"], standalone_mode=False)
heavy = {"keras", "tensorflow", "onnxruntime", "matplotlib", "PIL"} & sys.modules.keys()
sys.exit(f"imported: {heavy}" if heavy else 0)
"""


def raise_in_command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes every command raise `error`."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(main_module._Commands, "get_command", lambda *_: command)


# ---- Help


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_all_commands_in_order(option: str) -> None:
    result = CliRunner().invoke(cli, [option])
    assert result.exit_code == 0
    listed = result.output.partition("\nCommands:\n")[2].splitlines()
    assert "Read an image:          crnn-captcha read captcha.png\n" in result.output
    assert [tuple(line.split(maxsplit=1)) for line in listed] == list(COMMANDS.items())


def test_every_command_has_a_file_and_every_file_a_command() -> None:
    files = {path.stem for path in Path(main_module.__file__).parent.glob("*.py")}
    assert files - {"__init__", "main"} == COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"], prog_name="crnn-captcha")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: crnn-captcha {command} ")
    assert "--help" in result.output
    assert "\\b" not in result.output  # click's mark for lines to keep, when it isn't one


def test_help_imports_nothing_heavy() -> None:
    subprocess.run([sys.executable, "-c", EVERY_HELP], check=True, capture_output=True, timeout=60)


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"crnn-captcha, version {version('crnn-captcha')}\n"


def test_the_installed_script_is_run() -> None:
    (script,) = entry_points(group="console_scripts", name="crnn-captcha")
    assert script.load() is run


# ---- Wrong use


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["raed"], "No such command 'raed'.", id="unknown command"),
        pytest.param(["--nonsense"], "No such option '--nonsense'", id="unknown option"),
        pytest.param(
            ["read"], "Missing argument 'IMAGE...'. See crnn-captcha read --help.", id="argument"
        ),
        pytest.param(["main"], "No such command 'main'.", id="a file that is no command"),
    ],
)
def test_wrong_use_exits_with_2(
    arguments: list[str],
    message: str,
    run_main: RunMain,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert message in line
    assert line.startswith("crnn-captcha: ")


# ---- Errors


ERRORS = [
    kind("What came\n  and what to do.")
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CrnnCaptchaError) and kind is not MissingExtraError
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_ours_is_one_line_and_exit_2(
    error: Exception,
    run_main: RunMain,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raise_in_command(monkeypatch, error)
    assert run_main("read") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "crnn-captcha: What came and what to do.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "images", "--out", "images/runs/first"],
        ["evaluate", "images", "--report", "images"],
        ["check", "images", "--report", "images/report"],
        ["check", "images", "--labels", "--report", "images/report"],
        ["compare", "small", "--data", "images", "--minutes", "1", "--out", "images/runs"],
        ["fonts", "images", "--out", "images/fonts"],
    ],
    ids=" ".join,
)
def test_nothing_is_written_among_the_images(
    arguments: list[str],
    run_main: RunMain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    assert run_main(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("crnn-captcha: What is written has pictures, and lies outside of DATA")
    assert not any((tmp_path / "images").iterdir())


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(
            PermissionError(13, "Permission denied", "out.png"),
            "crnn-captcha: [Errno 13] Permission denied: 'out.png'\n",
            id="of the system",
        ),
        pytest.param(
            MissingExtraError("Training", "train"),
            "crnn-captcha: Training needs the extra 'train'. "
            'Install it: pip install "crnn-captcha[train]"\n',
            id="a missing extra",
        ),
    ],
)
def test_an_os_error_is_one_line_and_exit_2(
    error: OSError,
    line: str,
    run_main: RunMain,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    raise_in_command(monkeypatch, error)
    assert run_main("read") == 2
    assert capsys.readouterr().err == line


def test_ctrl_c_is_one_line_and_exit_1(
    run_main: RunMain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_in_command(monkeypatch, KeyboardInterrupt())
    assert run_main("read") == 1
    assert capsys.readouterr().err.strip() == "crnn-captcha: stopped."


@pytest.mark.parametrize("code", [0, 1])
def test_a_commands_exit_code_is_passed_on(
    code: int, run_main: RunMain, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_in_command(monkeypatch, SystemExit(code))
    assert run_main("read") == code


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_in_command(monkeypatch, ZeroDivisionError())
    monkeypatch.setattr(sys, "argv", ["crnn-captcha", "read"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_an_error_in_a_process_of_its_own_shows_no_traceback(tmp_path: Path) -> None:
    code = "from crnn_captcha.cli.main import main; main()"
    missing = str(tmp_path / "nothing.zip")
    result = subprocess.run(
        [sys.executable, "-c", code, "check", missing], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"crnn-captcha: There is no data at '{missing}'.")
    assert result.stderr.count("\n") == 1


def test_commands_raise_when_called_as_functions(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["check", str(tmp_path / "nothing.zip")])
    assert isinstance(result.exception, DatasetError)


SAYS = """
import subprocess
import sys
from crnn_captcha.cli import main
from crnn_captcha.progress import progress_bar

def say(**_):
    with progress_bar(1, "reading", "image", shown=True) as bar:
        bar.update()
    print("жя")
    child = "import sys; assert sys.stdout and sys.stderr; print('я', file=sys.stderr)"
    subprocess.run([sys.executable, "-c", child], check=True)
    with open(sys.executable, "rb") as file:
        assert file.fileno() > 2

main.cli = say
main.run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of Unix")
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_take_what_is_said(closed: str) -> None:
    command = f'exec "$0" -c "$1" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, SAYS],
        capture_output=True, timeout=60, check=False, env=os.environ | {"PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == ("жя\n" if closed == "2>&-" else "")
    assert b"Traceback" not in done.stderr


def test_what_an_encoding_lacks_is_escaped() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        capture_output=True, timeout=60, check=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert done.stdout.split() == [rb"\u0436\u044f"]


WITH_A_HANGING_WORKER = """
import threading, time
from crnn_captcha.cli import main
from crnn_captcha.errors import DatasetError

def hang(**_):
    threading.Thread(target=time.sleep, args=[60]).start()
    raise DatasetError("No batch came.")

main.cli = hang
main.run()
"""


def test_a_hanging_worker_does_not_keep_the_process() -> None:
    command = [sys.executable, "-c", WITH_A_HANGING_WORKER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == "crnn-captcha: No batch came.\n"
