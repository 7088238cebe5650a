"""What people decided about labels: a CSV beside the data, which itself is never changed.

    filename,label,decision,correction
    train/0024miih-0.png,0024miih,change,0024mijh
    train/aab1-7.png,aab1,drop,
    train/xyz-9.png,xyz,keep,

To take a decision back, remove its row. `crnn-captcha check --labels` makes a page that writes
such a file.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal, get_args

from crnn_captcha.dataset import Dataset, Sample, is_label
from crnn_captcha.errors import DatasetError
from crnn_captcha.files import write_bytes
from crnn_captcha.sources import listed

Decision = Literal["keep", "change", "drop"]
DECISIONS: tuple[Decision, ...] = get_args(Decision)
HEADER = ("filename", "label", "decision", "correction")


@dataclass(frozen=True)
class Correction:
    """What was decided about one label.

    Attributes:
        name: of the image, its path inside the data set.
        label: that it has in the data set.
        decision: keep the label, change it, or drop the image.
        correction: what the image says, for `change`; else ''.

    Raises:
        DatasetError: if the decision is unknown or doesn't go with the correction, or that is no
            label or the same one.
    """

    name: str
    label: str
    decision: Decision
    correction: str = ""

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise self._refused(f"is {', '.join(DECISIONS)}", f"{self.decision!r}")
        if self.decision != "change":
            if self.correction:
                raise self._refused(
                    "other than 'change' has no correction",
                    f"{self.decision!r} with {self.correction!r}",
                )
        elif not is_label(self.correction):
            raise self._refused(
                "to change a label names one that isn't empty, has no white space at its ends and "
                "only characters that can be printed",
                f"{self.correction!r}",
            )
        elif self.correction == self.label:
            raise self._refused("to change a label names another", f"{self.correction!r}")

    def _refused(self, rule: str, received: str) -> DatasetError:
        return DatasetError(
            f"A decision {rule}. Received: {received} for {self.name!r}. Mend that row."
        )


@dataclass(frozen=True)
class Corrections:
    """Decisions about the labels of a data set, at most one for each image.

    Attributes:
        entries: in any order.

    Raises:
        DatasetError: if there are two about one image.
    """

    entries: tuple[Correction, ...] = ()

    def __post_init__(self) -> None:
        counts = Counter(entry.name for entry in self.entries)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise DatasetError(
                "Corrections have at most one row for an image. "
                f"Received: several for {listed(twice)}. Remove all but one."
            )

    @property
    def changed(self) -> dict[str, str]:
        """The new labels by the images' names."""
        return {e.name: e.correction for e in self.entries if e.decision == "change"}

    @property
    def dropped(self) -> frozenset[str]:
        """The names of the images that are left out."""
        return frozenset(e.name for e in self.entries if e.decision == "drop")

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that tell what they do from all else; '' if they do nothing.

        Rows that keep a label count for nothing, and neither does the order.
        """
        effective = [entry for entry in self.entries if entry.decision != "keep"]
        if not effective:
            return ""
        return blake2b(_to_csv(_sorted(effective)), digest_size=16).hexdigest()

    @property
    def summary(self) -> str:
        """What they do, for people."""
        kept = len(self.entries) - len(self.changed) - len(self.dropped)
        return f"{len(self.changed):,} changed, {len(self.dropped):,} dropped, {kept:,} kept"

    def apply(self, dataset: Dataset) -> Dataset:
        """The same data in the same splits, with labels changed and images left out.

        Splits stay as they are, so that figures before and after are of the same images.

        Raises:
            DatasetError: if an image isn't in the data, or has another label there.
        """
        labels = {s.name: s.label for samples in dataset.splits.values() for s in samples}
        if unknown := [entry.name for entry in self.entries if entry.name not in labels]:
            raise DatasetError(
                f"Corrections are of labelled images of the data, here '{dataset.path}'. "
                f"Received: {listed(unknown)}, not among them. Name the data that they were made "
                "for, or remove these rows."
            )
        others = [entry for entry in self.entries if entry.label != labels[entry.name]]
        if others:
            first = others[0]
            raise DatasetError(
                f"A correction names the label that the data have. Received: {first.label!r} for "
                f"{first.name!r}, which has {labels[first.name]!r} ({len(others):,} such rows). "
                "The data changed since: review these again, or remove the rows."
            )
        changed, dropped = self.changed, self.dropped
        splits = {
            split: tuple(
                Sample(s.name, changed.get(s.name, s.label))
                for s in samples
                if s.name not in dropped
            )
            for split, samples in dataset.splits.items()
        }
        return replace(dataset, splits=splits)

    def dropping(self, samples: Iterable[Sample]) -> Corrections:
        """The same, with some more images left out, whatever was decided about them.

        Args:
            samples: with the labels that they have in the data.
        """
        more = {sample.name: Correction(sample.name, sample.label, "drop") for sample in samples}
        kept = (entry for entry in self.entries if entry.name not in more)
        return Corrections((*kept, *more.values()))

    def write(self, path: Path) -> None:
        """Writes the CSV, sorted by name, whole or not at all.

        Raises:
            OSError: if it can't be written.
        """
        write_bytes(path, _to_csv(_sorted(self.entries)))


def read_corrections(path: str | os.PathLike[str]) -> Corrections:
    """The corrections in a CSV.

    Raises:
        DatasetError: if it is no UTF-8 CSV with the header `filename,label,decision,correction`,
            a row has other columns, or breaks a rule of `Correction` or `Corrections`.
    """
    rule = f"Corrections are a CSV with the header {','.join(HEADER)}. Received: '{path}'"
    try:
        text = Path(path).read_bytes().decode("utf-8-sig", _SURROGATES)
        rows = list(_rows(text, rule))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{rule}, which can't be read as UTF-8 CSV: {error}.") from error
    return Corrections(tuple(rows))


def _rows(text: str, rule: str) -> Iterator[Correction]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(rows, [])
    if tuple(header) != HEADER:
        raise DatasetError(f"{rule} with the header {','.join(header)!r}.")
    for row in filter(None, rows):  # a blank line is no row
        if len(row) != len(HEADER):
            raise DatasetError(f"{rule}, whose line {rows.line_num} has {len(row)} columns.")
        name, label, decision, correction = row
        yield Correction(name, label, decision, correction)  # type: ignore[arg-type]


_SURROGATES = "surrogatepass"  # names of files may be no valid Unicode


def _to_csv(entries: Iterable[Correction]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEADER)
    writer.writerows((e.name, e.label, e.decision, e.correction) for e in entries)
    return text.getvalue().encode("utf-8", _SURROGATES)


def _sorted(entries: Iterable[Correction]) -> list[Correction]:
    return sorted(entries, key=lambda entry: entry.name)
