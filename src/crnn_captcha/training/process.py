"""A process for each training."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from crnn_captcha.errors import RunError
from crnn_captcha.training.signals import Handler, handling

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_own_process(
    function: Callable[Parameters, Result],
    *arguments: Parameters.args,
    **options: Parameters.kwargs,
) -> Result:
    """Calls a function in a new process: each training starts from the same state of Keras.

    A Ctrl-C is for that process, which stops in an orderly way, and so is SIGTERM; while it still
    starts, either ends it. Outside the main thread, which alone can handle signals, they are left
    alone.

    Args:
        function: of a module's top level, as it is sent there by name.
        *arguments: of the function.
        **options: of the function.

    Returns:
        What it returns.

    Raises:
        RunError: if the process died. What the function raises is raised here.
        KeyboardInterrupt: if it was stopped before it could do so in an orderly way.
    """
    told = False

    def pass_on(number: int, frame: object) -> None:
        nonlocal told
        told = True
        _terminate()

    deaf: dict[signal.Signals, Handler] = {signal.SIGINT: signal.SIG_IGN}
    context = multiprocessing.get_context("spawn")
    try:
        with (
            handling({signal.SIGTERM: pass_on}),
            ProcessPoolExecutor(1, context, _listen) as executor,
        ):
            with handling(deaf):  # the process begins so, and `_listen` ends it
                started = executor.submit(os.getpid)
            try:
                started.result()  # importing TensorFlow takes seconds
            except KeyboardInterrupt:
                _terminate()
                raise
            if told:  # before there was a process to pass it on to
                raise KeyboardInterrupt
            with handling(deaf):  # a terminal tells both
                return executor.submit(function, *arguments, **options).result()
    except BrokenProcessPool as error:
        if told:
            raise KeyboardInterrupt from error
        raise RunError(
            f"The process of a training died ({error}). Is memory short? Go on with --resume."
        ) from error


def _terminate() -> None:
    for process in multiprocessing.active_children():
        process.terminate()


def _listen() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in the parent
