"""A recognizer reads labelled samples, and how well it did becomes one result.

Nothing is removed, relabelled or merged: every sample counts, and an image that can't be read
counts as wrong. Figures by corrected labels stand beside the raw ones, never alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.outcomes import EvaluationResult, Outcome, summarize
from crnn_captcha.progress import progress_bar
from crnn_captcha.windows import in_windows
from crnn_captcha.wording import markdown_table, percent, percent_range

if TYPE_CHECKING:
    from crnn_captcha.charset import Charset
    from crnn_captcha.corrections import Corrections
    from crnn_captcha.dataset import Sample
    from crnn_captcha.decoding import Reading

BATCH_SIZE = 512  # several windows for each thread


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
        batch_size: images that are read at once, at least 1; fewer where files are large.
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
    files = (_open(dataset, sample) for sample in samples)
    with progress_bar(len(samples), "reading", "image", shown=progress) as bar:
        for batch in in_windows(files, batch_size):
            begun = time.perf_counter()
            opened = [file for file in batch if isinstance(file, bytes)]
            readings = iter([*recognizer.read_many(opened)])
            seconds += time.perf_counter() - begun
            for file in batch:
                found = next(readings) if isinstance(file, bytes) else file
                outcomes.append(_outcome(samples[len(outcomes)], found))
            bar.update(len(batch))
    return summarize(outcomes, charset=recognizer.charset, seconds=seconds)


def correct(
    result: EvaluationResult, corrections: Corrections, charset: Charset
) -> EvaluationResult:
    """The figures of the same readings by corrected labels, without the images that are dropped.

    Args:
        result: by the labels that the data have.
        corrections: of these and of other images of the data.
        charset: the characters that the model knows.

    Raises:
        DatasetError: if all images are dropped.
    """
    changed, dropped = corrections.changed, corrections.dropped
    outcomes = [
        replace(outcome, label=changed.get(outcome.name, outcome.label))
        for outcome in result.outcomes
        if outcome.name not in dropped
    ]
    if not outcomes:
        raise DatasetError(
            f"An evaluation needs images. Received: corrections that drop all {result.images:,}. "
            "Evaluate without them."
        )
    read = sum(not outcome.broken for outcome in outcomes)
    seconds = read / result.images_per_second if read else 0.0  # as if the others were never read
    return summarize(outcomes, charset=charset, seconds=seconds)


def raw_and_corrected(raw: EvaluationResult, corrected: EvaluationResult) -> str:
    """The main figures by both labels, side by side in a Markdown table."""
    results = raw, corrected
    rows = [
        ("exact match", *(percent(r.exact_match) for r in results)),
        ("its 95 % interval", *(percent_range(r.interval) for r in results)),
        ("exact match, look-alikes merged", *(percent(r.merged_exact_match) for r in results)),
        ("CER", *(percent(r.cer) for r in results)),
        ("images", *(f"{r.images:,}" for r in results)),
    ]
    return markdown_table(("figure", "raw labels", "corrected labels"), rows) + "\n"


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
