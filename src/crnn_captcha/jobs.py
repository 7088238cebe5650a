"""Large reading jobs: the images of files, folders and zips become one table of readings.

    names, walked lazily ─ files' bytes ─ Recognizer.read_many ─ rows, appended as they come

Memory doesn't grow with the images that were read, and a job that was stopped, however it was,
goes on behind its last whole row.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

from crnn_captcha import files
from crnn_captcha.decoding import BEST_PATH, Decoding, Reading
from crnn_captcha.errors import ConfigError, DatasetError, ImageError, RunError
from crnn_captcha.images import ImageSource
from crnn_captcha.listing import ListedImage, listed_images
from crnn_captcha.progress import progress_bar
from crnn_captcha.tables import Row, Rows, Table

ROUNDED = 1e-4  # a table's confidences are by no more than this


class Reader(Protocol):
    """What reads: a `Recognizer`, or anything alike."""

    @property
    def digest(self) -> str:
        """Tells its model from all others."""
        ...

    def read_many(
        self,
        images: Iterable[ImageSource | ImageError],
        decoding: Decoding = ...,
        *,
        threads: int | None = None,
    ) -> Iterator[Reading | ImageError]:
        """For each image a reading, or why there is none."""
        ...


@dataclass
class JobResult:
    """What a job has come to.

    Attributes:
        images: rows in the table.
        before: of them, those that were there when the job was gone on with.
        broken: of them, those of images that could not be read.
        uncertain: of them, those below the confidence that was asked for.
    """

    images: int = 0
    before: int = 0
    broken: int = 0
    uncertain: int = 0

    def count(self, row: Row) -> None:
        """Takes in a row."""
        self.images += 1
        self.broken += row.confidence is None
        self.uncertain += row.certain is False


def read_into(
    out: Path,
    images: Sequence[str],
    recognizer: Reader,
    *,
    decoding: Decoding = BEST_PATH,
    threads: int | None = None,
    min_confidence: float | None = None,
    resume: bool = False,
    progress: bool = False,
) -> JobResult:
    """Reads every image into a table with a row each, and goes on where that was stopped.

    The rows stand in the order of the images: as given, within a folder its own files by name and
    then its folders, within a zip by name. Beside the few images under way, memory holds the names
    of one folder at a time, or a zip's directory.

    While it is under way there is `OUT.job` beside the table, with what it reads by; when that is
    gone, the table is complete. A complete one is left as it is: which model read it, it doesn't
    say.

    Args:
        out: CSV, JSON lines or Parquet, by its suffix; see `tables`. A row is in the file about a
            second after it was read; in Parquet at the end, and until then in `OUT.rows.jsonl`.
        images: paths of images, of folders and of zips that hold some, at any depth.
        recognizer: reads them.
        decoding: constraints, for all of them.
        threads: that compute; None leaves it to the recognizer.
        min_confidence: 0 to 1; if it isn't None, the column `certain` says whether a reading's
            confidence is at least this.
        resume: whether to go on with a table at `out`, if there is one.
        progress: whether to show a bar with images a second and the time left on standard error.

    Raises:
        ConfigError: if an option isn't possible, or is another one than the table was begun with.
        DatasetError: if there are no images, or a folder or zip can't be listed or looks hostile.
        RunError: if there is a table already and `resume` is false; or it holds other rows than
            those of the first of these images; or another process writes it.
        MissingExtraError: if it is Parquet and pyarrow isn't installed.
        BundleError: if the model's graph fails on an image.
        OSError: if the table can't be written.
    """
    if min_confidence is not None and not 0 <= min_confidence <= 1:
        raise ConfigError(f"A confidence is 0 to 1. Received: {min_confidence!r}.")
    table = Table(out, with_certain=min_confidence is not None)
    note = out.with_name(f"{out.name}.job")
    noted = _text_of(note)
    begun = table.growing.exists() and noted is not None
    finished = _has_content(out) and not begun
    if not resume and (begun or finished or _has_content(table.growing)):
        raise RunError(
            f"A file of readings is new. Received: '{out}', which exists"
            f"{' and is begun. Go on with it by --resume, or name' if begun else '. Name'} another."
        )
    total = sum(1 for _ in listed_images(images))
    if not total:
        raise DatasetError(
            f"A job reads at least one image. Received: none, in {', '.join(map(repr, images))}."
        )
    if finished:
        return _finished(table, images, note, min_confidence)

    terms = {
        "model": recognizer.digest,
        "decoding": json.loads(json.dumps(asdict(decoding))),
        "min_confidence": min_confidence,
        "images": [*images],
    }
    names = listed_images(images)
    readings = _readings(names, recognizer, decoding, threads)  # refuses at once what it can't do
    with table.opened() as rows:
        # Only now is it certain that no other process changes them.
        there = _has_content(table.growing) or _has_content(out)
        if _text_of(note) != noted or (there and not begun):
            raise RunError(
                f"One process at a time writes a file of readings. Received: '{out}', which "
                "another one has begun or finished meanwhile. Wait for it, or name another file."
            )
        if begun:
            _check_terms(note, terms)
        else:
            files.write_text(note, json.dumps(terms))
        result = _skip(rows, names, table.growing)
        done = result.before
        bar = progress_bar(total, "reading", "image", shown=progress, done=done)
        with bar, closing(readings):
            for path, reading in readings:
                row = _row(path, reading, min_confidence)
                rows.append(row)
                result.count(row)
                bar.update()
    table.finish()
    note.unlink()
    return result


def _text_of(note: Path) -> str | None:
    try:
        return note.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _is_of_another(row: Row, least: float | None) -> bool:
    """Whether the row was marked by another confidence; a table's are rounded."""
    if row.confidence is None or row.certain is None or least is None:
        return False
    return row.certain != (row.confidence >= least) and abs(row.confidence - least) > ROUNDED


def _finished(
    table: Table, images: Sequence[str], note: Path, min_confidence: float | None
) -> JobResult:
    """Nothing is left to read, or it is somewhere else."""
    result = JobResult()
    names = (table.shown(image.path) for image in listed_images(images))
    for row, name in zip_longest(table.finished_rows(), names):
        if row is None or row.path != name:
            raise RunError(
                f"A finished file of readings isn't gone on with. Received: '{table.out}', with "
                f"{repr(row.path) if row else 'nothing'} in row {result.images + 1:,}, and "
                f"{repr(name) if name else 'nothing'} in its place. Read them into another file."
            )
        if _is_of_another(row, min_confidence):
            raise ConfigError(
                "A finished file of readings says what is certain. Received: "
                f"'{table.out}', which was made with another confidence than {min_confidence}: see "
                f"row {result.images + 1:,}. Give that one, or read into another file."
            )
        result.count(row)
    result.before = result.images
    note.unlink(missing_ok=True)  # of a job that was killed when all was done
    return result


def _check_terms(note: Path, terms: Mapping[str, object]) -> None:
    try:
        begun_with = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        begun_with = {}
    if begun_with == terms:
        return
    known = begun_with if isinstance(begun_with, dict) else {}
    other = [name for name, value in terms.items() if known.get(name) != value]
    raise ConfigError(
        f"--resume goes on with what '{note}' says that the job was begun with. Received: other "
        f"{', '.join(other) or 'facts'}. Give the same, or name another file."
    )


def _skip(rows: Rows, names: Iterator[ListedImage], path: Path) -> JobResult:
    """Passes over the images whose rows are there."""
    result = JobResult()
    for row in rows.lines():
        image = next(names, None)
        if image is None or image.path != row.path:
            raise RunError(
                "--resume goes on where the rows are those of the first images. Received: "
                f"'{path}', whose row {result.images + 1:,} is of {row.path!r}, and "
                f"{repr(image.path) if image else 'nothing'} in its place: images came or went. "
                "Read them into another file."
            )
        result.count(row)
    rows.cut()
    result.before = result.images
    return result


def _readings(
    names: Iterator[ListedImage], recognizer: Reader, decoding: Decoding, threads: int | None
) -> Generator[tuple[str, Reading | ImageError]]:
    """The paths of images and what is read from them; none is taken before it is asked for."""
    under_way: deque[str] = deque()

    def sources() -> Iterator[ImageSource | ImageError]:
        for image in names:
            under_way.append(image.path)
            yield image.source()

    readings = recognizer.read_many(sources(), decoding, threads=threads)
    return ((under_way.popleft(), reading) for reading in readings)


def _row(path: str, reading: Reading | ImageError, min_confidence: float | None) -> Row:
    if isinstance(reading, ImageError):
        return Row(path, "", None, " ".join(str(reading).split()))
    certain = None if min_confidence is None else reading.confidence >= min_confidence
    return Row(path, reading.text, reading.confidence, "", certain)
