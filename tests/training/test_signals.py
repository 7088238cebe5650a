"""Handlers are put back, whatever happens; only the main thread may have any."""

from __future__ import annotations

import signal
import threading

import pytest

from crnn_captcha.training.signals import handling


def test_signals_are_handled_within_the_block_only() -> None:
    handled: list[int] = []
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with handling({signal.SIGINT: lambda *_: handled.append(1), signal.SIGTERM: signal.SIG_IGN}):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert handled == [1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), handling({signal.SIGINT: signal.SIG_IGN}):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) == before


def test_in_another_thread_signals_are_left_alone() -> None:
    handlers = []

    def look() -> None:
        with handling({signal.SIGINT: signal.SIG_IGN}):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
