"""A zip, a folder or a CSV -> labelled samples in three splits.

    data.zip with train/0024miih-0.png  ->  Sample("train/0024miih-0.png", "0024miih") of train

`sources` finds and reads the files; here they get their labels and splits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from crnn_captcha.errors import DatasetError, LabelError
from crnn_captcha.sources import LAYOUTS, FolderSource, Source, ZipSource, listed, read_csv

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Sample:
    """An image and its label. `name` is its path inside the data set, with '/' throughout."""

    name: str
    label: str


@dataclass(frozen=True)
class BadLabel:
    """An image whose label breaks the rule."""

    name: str
    split: Split
    reason: str


@dataclass(frozen=True)
class BrokenImage:
    """An image that can't be read or decoded."""

    name: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Labelled images in splits. Made by `open_dataset`; may be pickled and shared by threads.

    Attributes:
        path: the zip, folder or CSV, as it was given.
        splits: the samples of each split, sorted by name, validation already cut.
        bad_labels: the images that stand in no split, as their labels break the rule.
    """

    path: Path
    splits: Mapping[Split, tuple[Sample, ...]]
    bad_labels: tuple[BadLabel, ...]
    source: Source

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """The samples of a split, sorted by name.

        Raises:
            LabelError: if there are bad labels in the test split, or in the rest when `split` is
                of the rest. `without` leaves them out, on purpose.
            DatasetError: if the split has no images.
        """
        bad = [b for b in self.bad_labels if (b.split == "test") == (split == "test")]
        if bad:
            raise LabelError(
                f"{len(bad):,} bad labels in '{self.path}', the first: {bad[0].reason} "
                "List all of them: crnn-captcha check."
            )
        if not (found := self.splits.get(split)):
            raise DatasetError(
                f"'{self.path}' has no images in the split '{split}'. It has: {self._counts()}. "
                f"Add them in a folder {split}/ or choose another split."
            )
        return found

    def read(self, sample: Sample) -> bytes:
        """The bytes of the image's file, at most `images.MAX_FILE_BYTES`.

        Raises:
            DatasetError: if it can't be read, or is damaged within the zip.
            ImageError: if the file is too large.
        """
        return self.source.read(sample.name)

    def without(self, names: Iterable[str]) -> Dataset:
        """The same data, in the same splits, without some images.

        Raises:
            DatasetError: if there is no image of such a name.
        """
        left_out = set(names)
        splits = {
            split: tuple(s for s in samples if s.name not in left_out)
            for split, samples in self.splits.items()
        }
        known = {s.name for samples in self.splits.values() for s in samples}
        if unknown := left_out - known - {b.name for b in self.bad_labels}:
            raise DatasetError(
                f"Only images of '{self.path}' can be left out. Received: {listed(unknown)}."
            )
        bad_labels = tuple(b for b in self.bad_labels if b.name not in left_out)
        return replace(self, splits=splits, bad_labels=bad_labels)

    def digest(self, *splits: Split) -> str:
        """32 hexadecimal digits that tell the names and labels of some splits from all others."""
        names = sorted(repr((s.name, s.label)) for split in splits for s in self.splits[split])
        text = "\n".join(names).encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16).hexdigest()

    def _counts(self) -> str:
        counts = [f"{len(samples):,} {split}" for split, samples in self.splits.items() if samples]
        return ", ".join(counts) or "no labelled images"


def open_dataset(
    path: str | os.PathLike[str], *, validation_fraction: float = 0.1, seed: int = 0
) -> Dataset:
    """Lists the images of a zip, folder or CSV and puts them into splits. Reads no image.

    Folders named train, test, and validation or val (the innermost counts) make the splits. With
    a train and no validation folder, validation is cut out of train: seeded, evenly over the
    label lengths, never from test. Without such folders, 80/10/10 are cut by a hash of the file
    name alone, whatever the seed: an image's split never depends on which others there are.

    Args:
        path: a zip, a folder, or a CSV whose filenames are relative to its folder.
        validation_fraction: share of train, in [0, 1), that becomes validation.
        seed: chooses which samples become validation.

    Raises:
        DatasetError: if there is nothing at `path`, it is damaged, looks hostile, or holds no
            images in a layout that is understood.
    """
    if not 0 <= validation_fraction < 1:
        raise DatasetError(
            f"`validation_fraction` lies in [0, 1). Received: {validation_fraction}."
        )
    given = Path(path)
    labels: Mapping[str, str] = {}
    source: Source
    if not given.exists():
        raise DatasetError(
            f"There is no data at '{given}'. {LAYOUTS}; crnn-captcha generate draws some."
        )
    if not given.is_dir() and not given.is_file():
        raise DatasetError(f"{LAYOUTS}. Received: '{given}', which is neither file nor folder.")
    if given.is_dir():
        source = FolderSource(given.absolute())
        names = source.names()
    elif given.suffix.lower() == ".csv":
        source = FolderSource(given.absolute().parent)
        labels = read_csv(given)
        names = sorted(labels)
    else:
        source = ZipSource(given.absolute())
        names = source.names()
    if not names:
        raise DatasetError(f"There are no images in '{given}'. {LAYOUTS}.")
    split_of = _split(names, given)
    splits, bad_labels = _label(split_of, labels)
    if _in_folders(names) and "validation" not in split_of.values():
        splits |= _cut_validation(splits["train"], validation_fraction, seed)
    return Dataset(given, splits, bad_labels, source)


def parse_label(filename: str) -> str:
    """The label in a file name: the stem up to its last '-', or all of it if there is none.

    Example:
        >>> parse_label("data/main/train/0024miih-0.png")
        '0024miih'

    Raises:
        LabelError: if the label is empty, has white space at an end, or a character that can't
            be printed. Everything else is kept as it is, capitals too.
    """
    base = _base(filename)
    stem = base.rpartition(".")[0] if "." in base else base
    return _checked_label(stem.rpartition("-")[0] if "-" in stem else stem, filename)


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def is_label(text: str) -> bool:
    """Whether a text may be a label: not empty, no white space at its ends, all of it printable."""
    return bool(text) and text == text.strip() and text.isprintable()


def fold_of(name: str, folds: int) -> int:
    """Which of `folds` equal parts an image belongs to, from 0.

    By a hash of its file name alone: whatever the folders and the other images, and apart from
    the hash that cuts the splits.
    """
    return _hash(f"fold/{_base(name)}") % folds


def _checked_label(label: str, filename: str) -> str:
    if not is_label(label):
        raise LabelError(
            "A label is not empty, has no white space at its ends and only characters that can be "
            f"printed. Received: {label!r} for {filename!r}. Name the file [label]-[id].png."
        )
    return label


# --- splits ---------------------------------------------------------------------------------


def _folder_split(name: str) -> Split | None:
    folders = reversed(name.split("/")[:-1])
    return next((SPLIT_FOLDERS[f] for f in map(str.lower, folders) if f in SPLIT_FOLDERS), None)


def _in_folders(names: Iterable[str]) -> bool:
    return any(map(_folder_split, names))


def _hash(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")  # a file name may be no valid Unicode
    return int.from_bytes(blake2b(data, digest_size=8).digest())


def _hash_split(name: str) -> Split:
    """80/10/10 by the name without its folders: the same in a zip and unpacked."""
    tenth = _hash(_base(name)) % 10
    return "train" if tenth < 8 else "validation" if tenth == 8 else "test"


def _split(names: Sequence[str], path: Path) -> dict[str, Split]:
    if not _in_folders(names):
        return {name: _hash_split(name) for name in names}
    found = {name: split for name in names if (split := _folder_split(name))}
    if outside := set(names) - found.keys():
        raise DatasetError(
            "Where there are folders train/, validation/ or test/, each image lies in one. "
            f"Received: {listed(outside)} in '{path}'. Move or remove them."
        )
    return found


def _label(
    split_of: Mapping[str, Split], labels: Mapping[str, str]
) -> tuple[dict[Split, tuple[Sample, ...]], tuple[BadLabel, ...]]:
    """Samples per split, and the images whose labels break the rule."""
    samples: dict[Split, list[Sample]] = {split: [] for split in SPLITS}
    bad_labels = []
    for name in sorted(split_of):
        split = split_of[name]
        try:
            label = _checked_label(labels[name], name) if labels else parse_label(name)
            samples[split].append(Sample(name, label))
        except LabelError as error:
            bad_labels.append(BadLabel(name, split, str(error)))
    return {split: tuple(found) for split, found in samples.items()}, tuple(bad_labels)


def _cut_validation(
    train: Sequence[Sample], fraction: float, seed: int
) -> dict[Split, tuple[Sample, ...]]:
    """Every `1 / fraction`-th sample, after ordering by label length and then by a seeded hash."""
    count = int(len(train) * fraction + 0.5)
    if fraction and len(train) > 1:
        count = max(count, 1)
    ordered = sorted(train, key=lambda s: (len(s.label), _hash(f"{seed}/{_base(s.name)}"), s.name))
    chosen = {
        s.name
        for i, s in enumerate(ordered)
        if (i + 1) * count // len(train) > i * count // len(train)
    }
    return {
        "train": tuple(s for s in train if s.name not in chosen),
        "validation": tuple(s for s in train if s.name in chosen),
    }
