"""A data set's doctor: what would spoil a training, and what is good to know.

dataset ─ every image decoded once ─ facts ─ findings, each with what to do about it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import required_time_steps
from crnn_captcha.dataset import SPLITS, BrokenImage, Dataset, Sample, Split
from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.images import decode_image
from crnn_captcha.progress import progress_bar
from crnn_captcha.windows import available_cores

RARE_BELOW = 5
"""A character seen less often in train is hardly learned."""
HISTOGRAM_BINS = 8
MAX_THREADS = 8  # each opens the zip once for itself

T = TypeVar("T")


@dataclass(frozen=True)
class FindingKind:
    """One sort of finding: whether it would spoil a training, and what to do about it."""

    title: str
    spoils: bool
    advice: str


KINDS: Mapping[str, FindingKind] = {
    "unreadable": FindingKind(
        "images that can't be read", True, "Replace these files or remove them."
    ),
    "bad_label": FindingKind(
        "images with a bad label", True, "Name the files [label]-[id].png or remove them."
    ),
    "train_test_overlap": FindingKind(
        "images that are in the test split and in another",
        True,
        "Remove them from one side, else the test flatters.",
    ),
    "conflicting_labels": FindingKind(
        "images that come with different labels", True, "Keep the right label, remove the other."
    ),
    "label_too_long": FindingKind(
        "labels that are too long for the time steps",
        True,
        "Remove them, or train a preset with more time steps.",
    ),
    "unseen_character": FindingKind(
        "characters that train lacks", True, "Add training images with them."
    ),
    "duplicate": FindingKind(
        "images that come more than once", False, "Keep one of each; copies count double."
    ),
    "rare_character": FindingKind(
        f"characters seen fewer than {RARE_BELOW} times in train",
        False,
        "Add training images with them.",
    ),
    "empty_split": FindingKind(
        "splits without images", False, "Add a folder for them if you want to train or evaluate."
    ),
}


@dataclass(frozen=True)
class Evidence:
    """What one finding is about: the names of the images, or none, and a remark."""

    names: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class Finding:
    """Everything of one kind. `kind` is a key of `KINDS`."""

    kind: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Bin:
    """How many values lie from `lowest` to `highest`, both included."""

    lowest: int
    highest: int
    count: int


@dataclass(frozen=True)
class Spread:
    """Minimum, median, maximum and histogram of whole numbers."""

    minimum: int
    median: float
    maximum: int
    histogram: tuple[Bin, ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        images: how many images with a good label each split has, readable or not.
        findings: in the order of `KINDS`, only kinds that were found.
        characters: how often each character stands in the labels of each split.
        label_lengths: in characters; None when there are no labels.
        widths: in pixels, of the images that can be read; None when there are none.
        heights: likewise.
    """

    images: Mapping[Split, int]
    findings: tuple[Finding, ...]
    characters: Mapping[Split, Mapping[str, int]]
    label_lengths: Spread | None
    widths: Spread | None
    heights: Spread | None

    @property
    def spoiling(self) -> tuple[Finding, ...]:
        """The findings that would spoil a training."""
        return tuple(f for f in self.findings if KINDS[f.kind].spoils)


@dataclass(frozen=True)
class _Facts:
    """What is kept of a decoded image."""

    width: int
    height: int
    digest: bytes


@dataclass(frozen=True)
class _Copy:
    split: Split
    sample: Sample


def inspect(
    dataset: Dataset, *, time_steps: int | None = None, progress: bool = False
) -> Inspection:
    """Decodes every image of every split and looks for what is wrong with the data.

    Two images are the same when their pixels are, whatever the file around them.

    Args:
        dataset: the data.
        time_steps: how many the network has for an image; labels that need more are found.
            None: not looked for.
        progress: whether to show a progress bar on standard error, if that is a terminal.
    """
    located = [(split, sample) for split in SPLITS for sample in dataset.splits[split]]
    looked = _visit(dataset, [sample for _, sample in located], _facts, progress=progress)
    facts = [fact for fact in looked if not isinstance(fact, BrokenImage)]
    copies: dict[bytes, list[_Copy]] = {}
    for (split, sample), fact in zip(located, looked, strict=True):
        if not isinstance(fact, BrokenImage):
            copies.setdefault(fact.digest, []).append(_Copy(split, sample))
    characters: dict[Split, Mapping[str, int]] = {
        split: dict(sorted(Counter("".join(s.label for s in dataset.splits[split])).items()))
        for split in SPLITS
    }
    evidence = {
        "unreadable": [Evidence((b.name,), b.reason) for b in looked if isinstance(b, BrokenImage)],
        "bad_label": [Evidence((bad.name,), bad.reason) for bad in dataset.bad_labels],
        **_repeated(copies.values()),
        "label_too_long": list(_too_long([sample for _, sample in located], time_steps)),
        **_weak_characters(characters),
        "empty_split": [Evidence((), split) for split in SPLITS if not dataset.splits[split]],
    }
    return Inspection(
        images={split: len(dataset.splits[split]) for split in SPLITS},
        findings=tuple(Finding(kind, tuple(evidence[kind])) for kind in KINDS if evidence[kind]),
        characters=characters,
        label_lengths=_spread([len(sample.label) for _, sample in located]),
        widths=_spread([fact.width for fact in facts]),
        heights=_spread([fact.height for fact in facts]),
    )


def _visit(
    dataset: Dataset,
    samples: Sequence[Sample],
    look: Callable[[NDArray[np.uint8]], T],
    *,
    progress: bool,
) -> tuple[T | BrokenImage, ...]:
    """What `look` makes of each image, in the order of `samples`, or why it can't be decoded."""

    def decode_and_look(sample: Sample) -> T | BrokenImage:
        try:
            image = decode_image(dataset.read(sample))
        except (DatasetError, ImageError) as error:
            return BrokenImage(sample.name, str(error))
        return look(image)

    found = []
    with (
        ThreadPoolExecutor(min(available_cores(), MAX_THREADS)) as pool,
        progress_bar(len(samples), "decoding", "image", shown=None if progress else False) as bar,
    ):
        for seen in pool.map(decode_and_look, samples):
            found.append(seen)
            bar.update()
    return tuple(found)


def _facts(image: NDArray[np.uint8]) -> _Facts:
    height, width, _ = image.shape
    # The size belongs to the digest: one-coloured images of 2x8 and 4x4 have the same bytes.
    digest = blake2b(image.tobytes(), digest_size=16, salt=b"%d" % width)
    return _Facts(width, height, digest.digest())


def _repeated(groups: Iterable[Sequence[_Copy]]) -> dict[str, list[Evidence]]:
    """What is wrong with images that come more than once; a group may be wrong in two ways."""
    found: dict[str, list[Evidence]] = {
        "train_test_overlap": [],
        "conflicting_labels": [],
        "duplicate": [],
    }
    for group in groups:
        if len(group) == 1:
            continue
        labels = sorted({copy.sample.label for copy in group})
        in_test = {copy.split == "test" for copy in group}
        splits = sorted({copy.split for copy in group}, key=SPLITS.index)
        evidence = Evidence(
            tuple(copy.sample.name for copy in group),
            f"in {' and '.join(splits)}, labelled {' and '.join(map(repr, labels))}",
        )
        if len(in_test) == 2:
            found["train_test_overlap"].append(evidence)
        if len(labels) > 1:
            found["conflicting_labels"].append(evidence)
        if len(in_test) == len(labels) == 1:
            found["duplicate"].append(evidence)
    return found


def _too_long(samples: Iterable[Sample], time_steps: int | None) -> Iterator[Evidence]:
    if time_steps is None:
        return
    for sample in samples:
        if (required := required_time_steps(sample.label)) > time_steps:
            yield Evidence(
                (sample.name,), f"{sample.label!r} needs {required} time steps of {time_steps}"
            )


def _weak_characters(characters: Mapping[Split, Mapping[str, int]]) -> dict[str, list[Evidence]]:
    """Characters that train lacks or hardly has. Nothing where there is no train split."""
    train = characters["train"]
    others = sorted({*characters["validation"], *characters["test"]} - train.keys())
    return {
        "unseen_character": [
            Evidence((), f"{c!r} ({_where(c, characters)}, never in train)")
            for c in others
            if train
        ],
        "rare_character": [
            Evidence((), f"{c!r} ({count} in train)")
            for c, count in train.items()
            if count < RARE_BELOW
        ],
    }


def _where(character: str, characters: Mapping[Split, Mapping[str, int]]) -> str:
    return ", ".join(
        f"{counts[character]} in {split}"
        for split, counts in characters.items()
        if character in counts
    )


def _spread(values: Sequence[int]) -> Spread | None:
    """Bins of one width, a whole number, so that all of them hold equally many values."""
    if not values:
        return None
    lowest, highest = min(values), max(values)
    bin_width = -(-(highest - lowest + 1) // HISTOGRAM_BINS)
    counts = Counter((value - lowest) // bin_width for value in values)
    bins = tuple(
        Bin(lower, lower + bin_width - 1, counts[i])
        for i, lower in enumerate(range(lowest, highest + 1, bin_width))
    )
    return Spread(lowest, float(median(values)), highest, bins)
