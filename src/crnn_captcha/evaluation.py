"""A recognizer reads labelled samples, and how well it did becomes one result.

Nothing is removed, relabelled or merged: every sample counts, and an image that can't be read
counts as wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.outcomes import EvaluationResult, Outcome, summarize
from crnn_captcha.progress import progress_bar

if TYPE_CHECKING:
    from crnn_captcha.charset import Charset
    from crnn_captcha.dataset import Sample
    from crnn_captcha.decoding import Reading

BATCH_SIZE = 512  # several windows for each thread, and few enough to hold in memory


class Reader(Protocol):
    """What reads: a `Recognizer`, or anything alike."""

    @property
    def charset(self) -> Charset:
        """The characters it knows."""
        ...

    def read_many(self, images: Iterable[bytes], /) -> Iterator[Reading | ImageError]:
        """For each file's bytes a reading, or why there is none."""
        ...


class Files(Protocol):
    """Where the images come from: a `Dataset`, or anything alike."""

    def read(self, sample: Sample, /) -> bytes:
        """The bytes of a sample's file."""
        ...


def evaluate(
    recognizer: Reader,
    dataset: Files,
    samples: Sequence[Sample],
    *,
    batch_size: int = BATCH_SIZE,
    progress: bool = False,
) -> EvaluationResult:
    """Reads every sample and compares the texts with the labels.

    Args:
        recognizer: what reads.
        dataset: gives the samples' bytes.
        samples: all that count, such as `dataset.samples("test")`.
        batch_size: images that are read at once, at least 1.
        progress: whether to show a progress bar with the time left on standard error.

    Raises:
        DatasetError: if there are no samples.
        ValueError: if `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` is at least 1. Received: {batch_size}.")
    if not samples:
        raise DatasetError("An evaluation needs at least one sample. Received: none.")
    outcomes: list[Outcome] = []
    seconds = 0.0
    with progress_bar(len(samples), "reading", "image", shown=progress) as bar:
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            files = [_open(dataset, sample) for sample in batch]
            begun = time.perf_counter()
            opened = [file for file in files if isinstance(file, bytes)]
            readings = iter([*recognizer.read_many(opened)])
            seconds += time.perf_counter() - begun
            for sample, file in zip(batch, files, strict=True):
                found = next(readings) if isinstance(file, bytes) else file
                outcomes.append(_outcome(sample, found))
            bar.update(len(batch))
    return summarize(outcomes, charset=recognizer.charset, seconds=seconds)


def _open(dataset: Files, sample: Sample) -> bytes | ImageError | DatasetError:
    """A sample's bytes, or why there are none."""
    try:
        return dataset.read(sample)
    except (ImageError, DatasetError) as error:
        return error


def _outcome(sample: Sample, reading: Reading | ImageError | DatasetError) -> Outcome:
    if isinstance(reading, ImageError | DatasetError):
        return Outcome(sample.name, sample.label, "", 0.0, broken=str(reading))
    return Outcome(sample.name, sample.label, reading.text, reading.confidence)
