from __future__ import annotations

import io
import re
import sys

import pytest

from crnn_captcha.progress import progress_bar, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In place of standard error."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_a_bar_says_what_how_much_and_how_long_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar(3, "reading", "image", shown=True, done=1) as bar:
        bar.update()
        bar.refresh()
        bar.update()
    captured = capsys.readouterr()
    assert captured.out == ""
    *looks, last = captured.err.strip().split("\r")
    assert [re.findall(r"\d/3", look) for look in looks if look] == [["1/3"], ["2/3"]]
    assert re.fullmatch(r"reading: 100%\|\S+\| 3/3 \[\d\d:\d\d<\d\d:\d\d,.*image/s\]", last)


def test_a_log_file_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(500, "reading", "image", shown=True) as bar:
        for _ in range(500):
            bar.update()
    assert re.findall(r"\d+/500", capsys.readouterr().err) == ["0/500", "500/500"]


def test_a_terminal_is_told_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_bar(1, "reading", "image", shown=True) as calm:
        on_a_terminal(monkeypatch)
        with progress_bar(1, "reading", "image", shown=True) as lively:
            assert lively.mininterval < 1 < calm.mininterval


@pytest.mark.parametrize("shown", [False, None], ids=["not asked for", "no terminal"])
def test_a_bar_may_be_silent(shown: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(1, "reading", "image", shown=shown) as bar:
        bar.update()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shown", [True, False, None])
def test_without_standard_error_all_is_silent(
    shown: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar(1, "reading", "image", shown=shown) as bar:
        bar.update()
        assert bar.disable
    say("Nobody hears it.")


def test_a_bar_may_be_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with progress_bar(1, "reading", "image", shown=None) as bar:
        bar.update()
    assert "1/1" in terminal.getvalue()


@pytest.mark.parametrize("kept", [True, False], ids=["stays", "goes"])
def test_a_bar_stays_or_goes(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    with progress_bar(1, "reading", "image", shown=True, kept=kept) as bar:
        bar.update()
    *_, last = terminal.getvalue().rstrip("\r\n").split("\r")
    assert ("1/1" in last) == kept


def test_what_is_said_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("epoch 1")
    assert capsys.readouterr() == ("", "epoch 1\n")
