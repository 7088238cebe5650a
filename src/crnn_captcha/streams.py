"""Batches made ahead by parallel workers, in their order.

Nothing here needs Keras: a worker process that makes batches starts in a fraction of the time.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import DatasetError

Batch = tuple[NDArray[np.uint8], NDArray[np.int32]]

BATCHES_AHEAD = 4  # for each worker: enough to hide a slow batch


class BatchStream(ABC):
    """Batches that can each be made by themselves, by epoch and index, in any process."""

    @abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch."""

    @abstractmethod
    def begin(self, epoch: int) -> None:
        """Makes ready what all batches of an epoch need, however long that takes."""

    @abstractmethod
    def make(self, epoch: int, index: int) -> Batch:
        """One batch: images and class ids of their labels."""

    def stream(
        self,
        epoch: int,
        *,
        start: int = 0,
        workers: int = 2,
        processes: bool = False,
        timeout_s: float = 60.0,
    ) -> Generator[Batch, None, None]:
        """The batches of an epoch in order, made ahead by parallel workers.

        Args:
            epoch: its order is taken.
            start: index of the first batch.
            workers: threads or processes; 0 makes batches in the caller's thread.
            processes: use processes, started afresh (`spawn`), instead of threads.
            timeout_s: seconds to wait for a batch before giving up; may be infinite.

        Raises:
            DatasetError: if no batch came within `timeout_s`, or a worker process died.
        """
        self.begin(epoch)
        indices = iter(range(start, len(self)))
        if not workers:
            yield from (self.make(epoch, index) for index in indices)
            return
        executor = self._executor(workers, processes)
        job = _make_in_process if processes else self.make
        try:
            ahead: list[Future[Batch]] = []
            for index in indices:
                ahead.append(executor.submit(job, epoch, index))
                if len(ahead) > workers * BATCHES_AHEAD:
                    yield _result(ahead.pop(0), timeout_s)
            while ahead:
                yield _result(ahead.pop(0), timeout_s)
        except BrokenExecutor as error:  # from a result, or when the next batch is handed in
            raise DatasetError(
                f"A worker process died while making a batch ({error}). Is memory short? "
                "Go on with --resume and fewer of them: --set data.workers=1."
            ) from error
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _executor(self, workers: int, processes: bool) -> Executor:
        if not processes:
            return ThreadPoolExecutor(workers, thread_name_prefix="batches")
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, context, _start_process, (self,))


class WaitingTime:
    """Passes batches on, and counts the seconds that the consumer waits for them."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.batches = batches
        self.seconds = 0.0
        self.error: Exception | None = None  # what ended the batches, if anything did

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        try:
            return next(self.batches)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise
        finally:
            self.seconds += time.perf_counter() - start


def _result(future: Future[Batch], timeout_s: float) -> Batch:
    try:
        return future.result(min(timeout_s, threading.TIMEOUT_MAX))
    except FutureTimeoutError:
        raise DatasetError(
            f"No batch came within {timeout_s:g} s. Is the disk hanging? "
            "Go on with --resume; if processes were used, with --set data.processes=false."
        ) from None


_in_process: BatchStream | None = None  # what this worker process makes batches of


def _start_process(batches: BatchStream) -> None:
    global _in_process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the training alone
    _in_process = batches


def _make_in_process(epoch: int, index: int) -> Batch:
    if _in_process is None:
        raise DatasetError("A worker process makes batches after `_start_process`.")
    return _in_process.make(epoch, index)
