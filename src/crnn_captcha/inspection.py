"""What a data set holds: every image decoded once, and what is then known about it.

    dataset ─ files' bytes ─ container, size, fingerprint ─ same and alike images ─ facts

Nothing is judged here: `checks` says what is wrong with it. Of each image about a kilobyte is kept
while all are looked at, and less than half of that afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from crnn_captcha import duplicates
from crnn_captcha.containers import Container, describe
from crnn_captcha.dataset import SPLITS, BadLabel, BrokenImage, Dataset, Sample, Split
from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.fingerprints import (
    CELL_COLUMNS,
    CELL_ROWS,
    HASH_BITS,
    Fingerprint,
    fingerprint,
)
from crnn_captcha.images import decode_image
from crnn_captcha.pipelines import DEFAULT_PIPELINE, PIPELINES, Fit, fit
from crnn_captcha.preprocessing import Pipeline
from crnn_captcha.progress import progress_bar
from crnn_captcha.windows import available_cores, in_windows, side_by_side

MAX_THREADS = 8  # each opens the zip once for itself
WINDOW = 32  # images that a thread looks at, one after the other

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known about an image that can be read.

    Attributes:
        sample: its name and label.
        split: where it stands.
        width: in pixels.
        height: in pixels.
        container: what its file holds beside the pixels.
        digest: equal for two images exactly when their pixels are.
        empty: whether all of it is of one colour.
        fit: how it fits the pipeline.
    """

    sample: Sample
    split: Split
    width: int
    height: int
    container: Container
    digest: bytes
    empty: bool
    fit: Fit


@dataclass(frozen=True)
class Facts:
    """What is known about a data set.

    Attributes:
        samples: all with a good label, readable or not, by split.
        images: those that can be read, in the order of the splits.
        broken: those that can't.
        bad_labels: the images that stand in no split, as their labels break the rule.
        same: groups of images whose pixels are equal, whatever the file around them.
        alike: groups of images that look the same, of which at least two have other pixels; each
            looks the same as some other of its group.
        alike_of_one_label: the same among the images of each label by themselves.
        time_steps: how many the network has for any image; None: as many as presets have for it.
    """

    samples: Mapping[Split, tuple[Sample, ...]]
    images: tuple[ImageFacts, ...]
    broken: tuple[BrokenImage, ...]
    bad_labels: tuple[BadLabel, ...]
    same: tuple[tuple[ImageFacts, ...], ...]
    alike: tuple[tuple[ImageFacts, ...], ...]
    alike_of_one_label: tuple[tuple[ImageFacts, ...], ...]
    time_steps: int | None

    @cached_property
    def characters(self) -> Mapping[Split, Mapping[str, int]]:
        """How often each character stands in the labels of each split, sorted by character."""
        return {
            split: dict(sorted(Counter("".join(s.label for s in samples)).items()))
            for split, samples in self.samples.items()
        }

    @cached_property
    def lengths(self) -> Mapping[Split, Mapping[int, int]]:
        """How many labels of each length each split has, from short to long."""
        return {
            split: dict(sorted(Counter(len(s.label) for s in samples).items()))
            for split, samples in self.samples.items()
        }


def inspect(
    dataset: Dataset,
    *,
    time_steps: int | None = None,
    pipeline: Pipeline = PIPELINES[DEFAULT_PIPELINE],
    progress: bool = False,
) -> Facts:
    """Decodes every image of every split once, several at a time.

    Args:
        dataset: the data.
        time_steps: how many the network has for any image. None: as many as presets have for it.
        pipeline: what images would be prepared by.
        progress: whether to show a progress bar on standard error, if that is a terminal.

    Raises:
        PreprocessingError: if the pipeline can't take a colour image.
    """

    def look(_: Sample, data: bytes) -> _Seen:
        image = decode_image(data)
        height, width, _ = image.shape
        return _Seen(width, height, describe(data), fingerprint(image), fit(pipeline, image))

    located = [(split, sample) for split in SPLITS for sample in dataset.splits[split]]
    looked = visit(dataset, [sample for _, sample in located], look, progress=progress)
    images, fingerprints = [], []
    for (split, sample), seen in zip(located, looked, strict=True):
        if not isinstance(seen, BrokenImage):
            images.append(_facts(sample, split, seen))
            fingerprints.append(seen.fingerprint)
    same = duplicates.same([image.digest for image in images])
    alike = _alike(fingerprints, same)
    return Facts(
        samples=dataset.splits,
        images=tuple(images),
        broken=tuple(seen for seen in looked if isinstance(seen, BrokenImage)),
        bad_labels=dataset.bad_labels,
        same=_groups(images, same),
        alike=_groups(images, alike),
        alike_of_one_label=_groups(images, _of_one_label(images, fingerprints, alike)),
        time_steps=time_steps,
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a decoded image until all are."""

    width: int
    height: int
    container: Container
    fingerprint: Fingerprint
    fit: Fit


def _facts(sample: Sample, split: Split, seen: _Seen) -> ImageFacts:
    return ImageFacts(
        sample,
        split,
        seen.width,
        seen.height,
        seen.container,
        seen.fingerprint.digest,
        seen.fingerprint.empty,
        seen.fit,
    )


def _groups(
    images: Sequence[ImageFacts], groups: Iterable[Sequence[int]]
) -> tuple[tuple[ImageFacts, ...], ...]:
    return tuple(tuple(images[position] for position in group) for group in groups)


def _alike(fingerprints: Sequence[Fingerprint], same: Sequence[Sequence[int]]) -> list[list[int]]:
    """Of images that are the same one is compared, and stands for all of them."""
    copies = {group[0]: group for group in same}
    left_out = {position for group in same for position in group[1:]}
    compared = [
        position
        for position, seen in enumerate(fingerprints)
        if position not in left_out and not seen.empty
    ]
    return [
        sorted(copy for i in group for copy in copies.get(i, [i]))
        for group in _compared(fingerprints, compared)
    ]


def _of_one_label(
    images: Sequence[ImageFacts], fingerprints: Sequence[Fingerprint], alike: list[list[int]]
) -> Iterator[list[int]]:
    """The same within each label: two images may look the same through one of another label."""
    for group in alike:
        for label in sorted({images[i].sample.label for i in group}):
            own = [i for i in group if images[i].sample.label == label]
            if len(own) < 2:
                continue
            for found in [own] if own == group else _compared(fingerprints, own):
                if len({images[i].digest for i in found}) > 1:
                    yield found


def _compared(fingerprints: Sequence[Fingerprint], positions: Sequence[int]) -> list[list[int]]:
    """The positions of images that look the same."""
    cells = b"".join(fingerprints[position].cells for position in positions)
    bits = b"".join(fingerprints[position].bits for position in positions)
    groups = duplicates.alike(
        np.frombuffer(cells, np.uint8).reshape(-1, CELL_ROWS, CELL_COLUMNS),
        np.frombuffer(bits, np.uint8).reshape(-1, HASH_BITS // 8),
    )
    return [[positions[i] for i in group] for group in groups]


def visit(
    dataset: Dataset,
    samples: Sequence[Sample],
    look: Callable[[Sample, bytes], T],
    *,
    progress: bool = False,
) -> tuple[T | BrokenImage, ...]:
    """Looks at the file of each sample, several at a time.

    Args:
        dataset: the data.
        samples: of it.
        look: takes a sample and the bytes of its file; called by several threads.
        progress: whether to show a progress bar on standard error, if that is a terminal.

    Returns:
        What `look` makes of each, in the order of `samples`, or why it can't be read.
    """

    def look_at(sample: Sample) -> T | BrokenImage:
        try:
            return look(sample, dataset.read(sample))
        except (DatasetError, ImageError) as error:
            return BrokenImage(sample.name, str(error))

    def look_at_all(window: list[Sample]) -> list[T | BrokenImage]:
        return [look_at(sample) for sample in window]

    threads = min(available_cores(), MAX_THREADS)
    found = []
    with progress_bar(len(samples), "decoding", "image", shown=None if progress else False) as bar:
        for seen in side_by_side(look_at_all, in_windows(samples, WINDOW), threads):
            found.append(seen)
            bar.update()
    return tuple(found)
