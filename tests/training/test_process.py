"""A process of its own answers, fails and is stopped as a training has to."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import DatasetError, RunError
from crnn_captcha.training import process
from crnn_captcha.training.process import in_own_process

WAIT_S = 120


@pytest.fixture
def light_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that don't import TensorFlow, and stay deaf to Ctrl-C; handlers are put back."""
    monkeypatch.setattr(process, "_listen", os.getpid)
    given = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` ignores it
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    signal.signal(signal.SIGINT, given)


@contextlib.contextmanager
def told_soon(number: signal.Signals) -> Iterator[None]:
    """Sends this process a signal within the block, which has to end long before `WAIT_S`.

    It is sent when a process was started and the signal isn't ignored any longer.
    """
    before = set(multiprocessing.active_children())

    def tell() -> None:
        while time.monotonic() - start < WAIT_S / 2:
            time.sleep(0.01)
            started = set(multiprocessing.active_children()) - before
            if started and signal.getsignal(number) is not signal.SIG_IGN:
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=tell, daemon=True)
    start = time.monotonic()
    thread.start()
    yield
    thread.join()
    assert time.monotonic() - start < WAIT_S / 2


@pytest.mark.usefixtures("light_processes")
def test_a_process_of_its_own_answers() -> None:
    assert in_own_process(os.getpid) != os.getpid()
    assert in_own_process(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


@pytest.mark.usefixtures("light_processes")
def test_it_may_be_started_by_any_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(in_own_process, sorted, [1, 3, 2]).result() == [1, 2, 3]


@pytest.mark.usefixtures("light_processes")
def test_an_error_comes_out_of_the_process_as_it_is() -> None:
    with pytest.raises(DatasetError, match="There is no data at 'nowhere'"):
        in_own_process(open_dataset, "nowhere")


@pytest.mark.usefixtures("light_processes")
def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(RunError, match=r"process of a training died .* Go on with --resume\."):
        in_own_process(os._exit, 9)


@pytest.mark.usefixtures("light_processes")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send Ctrl-C to one process")
def test_ctrl_c_is_not_for_the_process_that_waits() -> None:
    assert in_own_process(os.kill, os.getpid(), signal.SIGINT) is None


@pytest.mark.usefixtures("light_processes")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for a handler")
def test_sigterm_is_passed_on() -> None:
    with told_soon(signal.SIGTERM), pytest.raises(KeyboardInterrupt):  # a training would stop
        in_own_process(time.sleep, WAIT_S)


@pytest.mark.usefixtures("light_processes")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send Ctrl-C to one process")
def test_ctrl_c_ends_a_process_that_still_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_listen", partial(time.sleep, WAIT_S))
    with told_soon(signal.SIGINT), pytest.raises(KeyboardInterrupt):
        in_own_process(os.getpid)


def test_ctrl_c_is_for_the_process_that_trains() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as it begins
    try:
        process._listen()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
