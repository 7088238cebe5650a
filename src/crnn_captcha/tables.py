"""Rows of readings in a file that grows: CSV, JSON lines, or Parquet made of these at the end.

A row is one whole line (in CSV several, where a quoted path has line breaks), appended to what is
there. So a file that was cut off anywhere is whole again without its last, half row.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Protocol

from crnn_captcha import files
from crnn_captcha.errors import ConfigError, MissingExtraError, RunError

COLUMNS = ("path", "text", "confidence", "error")
FLUSH_S = 1.0  # what a kill loses at most
ROW_GROUP = 2**16  # rows of a Parquet file that are in memory at once
ENCODING, ON_OTHER_BYTES = "utf-8", "surrogateescape"  # file names need not be text


@dataclass(frozen=True)
class Row:
    """What came of one image.

    Attributes:
        path: the image's.
        text: what was read; '' if it is broken.
        confidence: 0 to 1; None if it is broken.
        error: why it could not be read; '' if it could.
        certain: whether the confidence is high enough; None if it is broken or nobody asked.
    """

    path: str
    text: str
    confidence: float | None
    error: str
    certain: bool | None = None


class Table:
    """A file of rows to be.

    Attributes:
        out: the file.
        growing: where its rows are while they become more: `out` itself, but for Parquet, which
            can't be gone on with, a file of JSON lines beside it.
        columns: of the file.

    Args:
        out: its suffix is one of `FORMATS`.
        with_certain: whether it has the column `certain`.

    Raises:
        ConfigError: if the suffix is none of them.
        MissingExtraError: if it is Parquet's and pyarrow isn't installed.
    """

    def __init__(self, out: Path, *, with_certain: bool = False) -> None:
        suffix = out.suffix.lower()
        if suffix not in FORMATS:
            raise ConfigError(
                f"A file of readings ends in {', '.join(FORMATS)}. Received: '{out}'. Rename it."
            )
        self._parquet = suffix == ".parquet"
        if self._parquet and importlib.util.find_spec("pyarrow") is None:
            raise MissingExtraError("Writing Parquet", "parquet")
        self.out = out
        self.growing = out.with_name(f"{out.name}.rows.jsonl") if self._parquet else out
        self.columns = (*COLUMNS, "certain") if with_certain else COLUMNS
        self._format = FORMATS[suffix]

    @contextmanager
    def opened(self) -> Iterator[Rows]:
        """The growing file's rows, made if there is none, for this process alone.

        Raises:
            RunError: if another process has it open so.
            OSError: if it can't be opened or written to.
        """
        self.growing.parent.mkdir(parents=True, exist_ok=True)
        with self.growing.open("a+b") as file, files.held(file) as alone:
            if not alone:
                raise RunError(
                    "One process at a time writes a file of readings. Received: "
                    f"'{self.growing}', which another one is writing. Wait for it, or name "
                    "another file."
                )
            rows = Rows(file, self._format, self.columns, self.growing)
            yield rows
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Makes `out` of the growing file, whole or not at all, where they are two."""
        if self._parquet:
            with self.growing.open("rb") as file, files.replacing(self.out) as temporary:
                rows = Rows(file, self._format, self.columns, self.growing)
                _write_parquet(temporary, rows.lines(), self.columns)
            self.growing.unlink()

    def shown(self, path: str) -> str:
        """The path of an image as `out` has it."""
        return _in_utf8(path) if self._parquet else path

    def finished_rows(self) -> Iterator[Row]:
        """The rows of `out`, where it is finished.

        Raises:
            RunError: if it isn't a file of such rows.
        """
        if self._parquet:
            yield from _read_parquet(self.out, self.columns)
        else:
            with self.out.open("rb") as file:
                yield from Rows(file, self._format, self.columns, self.out).lines()


class Rows:
    """The rows of an open file, to be read from its beginning and then added to."""

    def __init__(self, file: BinaryIO, form: Format, columns: tuple[str, ...], path: Path) -> None:
        self._file = file
        self._format = form
        self._columns = columns
        self._path = path
        self._whole = 0  # bytes
        self._flushed = time.monotonic()

    def lines(self) -> Iterator[Row]:
        """The whole rows that are there.

        Raises:
            RunError: if it isn't a file of such rows.
        """
        self._file.seek(0)
        self._whole = 0
        whole = self._format.split(self._file)
        header = self._format.header(self._columns)
        if header and (first := next(whole, None)) is not None:
            if first != header:
                raise self._other(f"it begins with {_shown(first)}")
            self._whole = len(header)
        for line in whole:
            try:
                row = self._format.parse(line, self._columns)
            except (ValueError, TypeError, csv.Error) as error:
                raise self._other(f"it has the row {_shown(line)}") from error
            self._whole += len(line)
            yield row

    def cut(self) -> None:
        """Cuts off what stands behind the rows that `lines` has given: half a row."""
        self._file.truncate(self._whole)
        if not self._whole:
            self._file.write(self._format.header(self._columns))

    def append(self, row: Row) -> None:
        """Adds a row; within `FLUSH_S`, or with the next one after, it is in the file."""
        self._file.write(self._format.line(row, self._columns))
        if time.monotonic() - self._flushed > FLUSH_S:
            self._file.flush()
            self._flushed = time.monotonic()

    def _other(self, received: str) -> RunError:
        return RunError(
            f"Readings are gone on with in a file that has the columns {', '.join(self._columns)}. "
            f"Received: '{self._path}', but {received}. Name another file."
        )


class Format(Protocol):
    """How rows become lines of bytes, and the other way round."""

    def header(self, columns: tuple[str, ...]) -> bytes:
        """What stands before the rows."""
        ...

    def line(self, row: Row, columns: tuple[str, ...]) -> bytes:
        """A row with the end of its line."""
        ...

    def split(self, file: BinaryIO) -> Iterator[bytes]:
        """Each whole line, the header's too."""
        ...

    def parse(self, line: bytes, columns: tuple[str, ...]) -> Row:
        """The row of a line; ValueError, TypeError or csv.Error if it is none."""
        ...


class Csv:
    """RFC 4180 with Unix' line ends: a header, quotes where they are needed."""

    def header(self, columns: tuple[str, ...]) -> bytes:
        """The names of the columns."""
        return ",".join(columns).encode() + b"\n"

    def line(self, row: Row, columns: tuple[str, ...]) -> bytes:
        """The confidence with four decimals, as on the terminal."""
        values = asdict(row) | {
            "confidence": "" if row.confidence is None else f"{row.confidence:.4f}",
            "certain": "" if row.certain is None else str(row.certain).lower(),
        }
        text = ",".join(_quoted(values[column]) for column in columns)
        return text.encode(ENCODING, ON_OTHER_BYTES) + b"\n"

    def split(self, file: BinaryIO) -> Iterator[bytes]:
        """A line ends where all quotes are closed."""
        parts: list[bytes] = []
        quotes = 0
        for line in file:
            parts.append(line)
            quotes += line.count(b'"')
            if not quotes % 2 and line.endswith(b"\n"):
                yield b"".join(parts)
                parts = []

    def parse(self, line: bytes, columns: tuple[str, ...]) -> Row:
        """By Python's own reader."""
        (values,) = csv.reader([line.decode(ENCODING, ON_OTHER_BYTES)], strict=True)
        given = dict(zip(columns, values, strict=True))
        return Row(
            given["path"],
            given["text"],
            float(given["confidence"]) if given["confidence"] else None,
            given["error"],
            {"true": True, "false": False}.get(given.get("certain", "")),
        )


class JsonLines:
    """An object a line, its keys the columns."""

    def header(self, columns: tuple[str, ...]) -> bytes:
        """None."""
        return b""

    def line(self, row: Row, columns: tuple[str, ...]) -> bytes:
        """In ASCII: bytes of a path that aren't text are escaped as lone surrogates."""
        values = asdict(row)
        return json.dumps({column: values[column] for column in columns}).encode() + b"\n"

    def split(self, file: BinaryIO) -> Iterator[bytes]:
        """Every line that has an end."""
        return (line for line in file if line.endswith(b"\n"))

    def parse(self, line: bytes, columns: tuple[str, ...]) -> Row:
        """By Python's own reader."""
        values = json.loads(line)
        if not isinstance(values, dict) or tuple(values) != columns:
            raise ValueError
        return Row(**values)


FORMATS: MappingProxyType[str, Format] = MappingProxyType(
    {".csv": Csv(), ".jsonl": JsonLines(), ".parquet": JsonLines()}
)  # Parquet's rows wait in JSON lines until they are all there


def _quoted(value: str) -> str:
    if any(c in value for c in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


def _shown(line: bytes) -> str:
    return repr(line[:80].decode(ENCODING, "replace"))


def _write_parquet(path: Path, rows: Iterator[Row], columns: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = {"confidence": pyarrow.float64(), "certain": pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        while group := [_to_parquet(row) for row in islice(rows, ROW_GROUP)]:
            writer.write_batch(pyarrow.RecordBatch.from_pylist(group, schema=schema))


def _to_parquet(row: Row) -> dict[str, object]:
    return asdict(row) | {"path": _in_utf8(row.path)}


def _in_utf8(path: str) -> str:
    r"""Parquet knows nothing but text: other bytes of a path become `\xff`."""
    return path.encode(ENCODING, ON_OTHER_BYTES).decode(ENCODING, "backslashreplace")


def _read_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path)
        if (found := tuple(file.schema_arrow.names)) != columns:
            raise TypeError(f"columns {', '.join(found)}")
        for batch in file.iter_batches(ROW_GROUP):
            yield from (Row(**values) for values in batch.to_pylist())
    except (ArrowException, OSError, TypeError) as error:
        raise RunError(
            f"A finished file of readings is Parquet with the columns {', '.join(columns)}. "
            f"Received: '{path}' ({error}). Name another file."
        ) from error
