"""The whole command, as a shell calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crnn_captcha.cli.main import main

RunMain = Callable[..., int]
Refusal = Callable[..., str]


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch) -> RunMain:
    """Gives the exit code of `crnn-captcha` with some arguments."""

    def exit_code(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["crnn-captcha", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        assert isinstance(caught.value.code, int)
        return caught.value.code

    return exit_code


@pytest.fixture
def refusal(
    run_main: RunMain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Refusal:
    """Gives what is wrong with some arguments, which exit with 2 and leave nothing behind.

    It is all that is said, in one line, and no file is written into the folder, an empty one.
    """

    def line(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        assert run_main(*arguments) == 2
        output = capsys.readouterr()
        assert output.out == ""
        (said,) = output.err.splitlines()
        assert said.startswith("crnn-captcha: ")
        assert list(tmp_path.iterdir()) == []
        return said.removeprefix("crnn-captcha: ")

    return line
