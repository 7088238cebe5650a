"""Prepared images and their labels in batches, made in parallel, in an order fixed by a seed.

Nothing here needs Keras: a worker process that makes batches starts in a fraction of the time.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.dataset import BrokenImage, Dataset, Sample
from crnn_captcha.errors import CrnnCaptchaError, DatasetError
from crnn_captcha.images import decode_image
from crnn_captcha.letters import LabelledImage, Typesetting, set_anew
from crnn_captcha.preprocessing import Pipeline, pad_width, stack
from crnn_captcha.stages import Image

Batch = tuple[NDArray[np.uint8], NDArray[np.int32]]

POOL_BATCHES = 32  # batches whose images are sorted by width together: like widths, still mixed
BATCHES_AHEAD = 4  # for each worker: enough to hide a slow batch


class Batches:
    """Samples of a data set as prepared batches.

    The order is a function of seed and epoch alone, a batch one of seed, epoch and index:
    training can go on from any batch, in any process, and sees what it would have seen.

    Args:
        dataset: where the images are read from.
        samples: what to make batches of, in this order where nothing is shuffled.
        pipeline: prepares the images.
        charset: of the labels.
        batch_size: images in a batch; the last one of an epoch may have fewer.
        seed: of the order; None keeps the order of the samples (for validation).
        like_widths: put images of like widths into one batch, so that little is padding.
        cache_bytes: prepared images are kept up to this size, in each process.
        letters: how letters are set anew, where gaps tell them apart; needs a seed.

    Raises:
        DatasetError: if there are no samples.
        LabelError: if a label has a character that the charset lacks.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        pipeline: Pipeline,
        charset: Charset,
        *,
        batch_size: int = 32,
        seed: int | None = None,
        like_widths: bool = False,
        cache_bytes: int = 0,
        letters: Typesetting | None = None,
    ) -> None:
        if not samples:
            raise DatasetError("Batches need at least one sample. Received: none.")
        self.dataset = dataset
        self.samples = tuple(samples)
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.seed = seed
        self.like_widths = like_widths
        self.letters = letters
        self.label_width = max(len(sample.label) for sample in samples)
        self._labels = np.full((len(samples), self.label_width), BLANK, np.int32)
        for row, sample in zip(self._labels, samples, strict=True):
            row[: len(sample.label)] = charset.encode(sample.label)
        self._cache = _Cache(cache_bytes)
        self._widths: NDArray[np.int64] | None = None
        self._order: tuple[int, list[NDArray[np.int64]]] | None = None

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.order(0)) if self.seed is None else -(-len(self.samples) // self.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_order": None}

    def image(self, position: int) -> Image:
        """The prepared image of the sample at `position`: uint8 (width, height, channels).

        Raises:
            ImageError, DatasetError, PreprocessingError: if it can't be had.
        """
        image = self._cache.get(position)
        if image is None:
            image = self.pipeline(decode_image(self.dataset.read(self.samples[position])))
            self._cache.put(position, image)
        return image

    def measure(self, workers: int = 2) -> Iterator[BrokenImage | None]:
        """Prepares every image once: learns the widths, fills the cache, finds the broken ones.

        Yields one item a sample, in order: None, or what is wrong with it. `like_widths` works
        from when all are measured.
        """
        widths = np.zeros(len(self.samples), np.int64)

        def prepare(position: int) -> BrokenImage | None:
            try:
                widths[position] = len(self.image(position))
            except CrnnCaptchaError as error:
                return BrokenImage(self.samples[position].name, str(error))
            return None

        with ThreadPoolExecutor(max(1, workers)) as executor:
            yield from executor.map(prepare, range(len(self.samples)))
        self._widths, self._order = widths, None

    @property
    def widths(self) -> NDArray[np.int64]:
        """Padded width of each prepared image in pixels, int64 (samples,).

        Raises:
            DatasetError: before `measure` has run through.
        """
        if self._widths is None:
            raise DatasetError("Widths are known after `measure` has run through.")
        return self._widths

    def order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Positions of the samples in each batch of an epoch."""
        order = self._order  # once: a thread of another epoch may set it at any time
        if order is None or order[0] != epoch:
            order = self._order = epoch, self._make_order(epoch)
        return order[1]

    def _make_order(self, epoch: int) -> list[NDArray[np.int64]]:
        size = self.batch_size
        positions = np.arange(len(self.samples))
        if self.seed is None:
            return self._in_sequence(positions)
        random = np.random.default_rng([self.seed, epoch])
        positions = random.permutation(positions)
        if not self.like_widths:
            return [positions[i : i + size] for i in range(0, len(positions), size)]
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(positions), size * POOL_BATCHES):
            pool = positions[start : start + size * POOL_BATCHES]
            pool = pool[np.argsort(self.widths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _in_sequence(self, positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Batches of one width each, as reading makes them, or in the samples' own order."""
        groups = [positions]
        if self.like_widths:
            groups = [np.flatnonzero(self.widths == width) for width in np.unique(self.widths)]
        size = self.batch_size
        return [group[i : i + size] for group in groups for i in range(0, len(group), size)]

    def make(self, epoch: int, index: int) -> Batch:
        """One batch.

        Returns:
            Images, uint8 (batch, width, height, channels), and class ids of the labels, padded
            with the blank, int32 (batch, longest label of all samples).
        """
        positions = self.order(epoch)[index]
        images, labels = [self.image(int(p)) for p in positions], self._labels[positions]
        if self.letters and self.seed is not None:
            random = np.random.default_rng([self.seed, epoch, index])
            for i in np.flatnonzero(random.random(len(images)) < self.letters.share):
                second = self._labelled(int(random.integers(len(self.samples))))
                source = self._labelled(int(positions[i]))
                anew = set_anew(source, random, self.letters, second)
                width = self.pipeline.padded_width(len(anew.image))
                if len(anew.image) <= width:
                    images[i] = pad_width(anew.image, width)
                    labels[i, : len(anew.label)] = anew.label
        return stack(images), labels

    def _labelled(self, position: int) -> LabelledImage:
        label = self._labels[position]
        return LabelledImage(self.image(position), label[label != BLANK])

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
            timeout_s: seconds to wait for a batch before giving up.

        Raises:
            DatasetError: if no batch came within `timeout_s`, or a worker process died.
        """
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
                "Go on with --resume, and fewer data.workers."
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


class _Cache:
    """Images by position, up to a size in bytes; what came first stays. A copy starts empty."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._images: dict[int, Image] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[_Cache], tuple[int]]:
        return _Cache, (self.limit,)

    def get(self, position: int) -> Image | None:
        return self._images.get(position)

    def put(self, position: int, image: Image) -> None:
        with self._lock:
            if position not in self._images and image.nbytes <= self._free:
                self._free -= image.nbytes
                self._images[position] = image


def _result(future: Future[Batch], timeout_s: float) -> Batch:
    try:
        return future.result(timeout_s)
    except FutureTimeoutError:
        raise DatasetError(
            f"No batch came within {timeout_s:g} s. Is the disk hanging? "
            "Go on with --resume, with --set data.processes=false if processes were used."
        ) from None


_in_process: Batches | None = None  # what this worker process makes batches of


def _start_process(batches: Batches) -> None:
    global _in_process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the training alone
    _in_process = batches


def _make_in_process(epoch: int, index: int) -> Batch:
    if _in_process is None:
        raise DatasetError("A worker process makes batches after `_start_process`.")
    return _in_process.make(epoch, index)
