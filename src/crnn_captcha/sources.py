"""A zip, a folder or a CSV -> the names of its images and their files' bytes.

A zip is read in place, never unpacked, and refused as a whole when an entry looks hostile.
"""

from __future__ import annotations

import csv
import os
import posixpath
import re
import stat
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.images import MAX_FILE_BYTES

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif"})
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
LAYOUTS = (
    "Data is a zip or a folder with images in train/ and test/ at any depth "
    "(data/main/train/[label]-[id].png), or just images, or a CSV with the header filename,label"
)

UTF_8 = 0x800  # the flag of an entry whose name is
MAX_ENTRIES = 2_000_000
MAX_COMPRESSION_RATIO = 200
MIN_BOMB_BYTES = 2**20  # a small entry may shrink well: a blank image does
SHOWN_NAMES = 3

# What zipfile is known to raise on damaged or crafted archives.
_ZIP_ERRORS = (
    BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)


class Source(Protocol):
    """Where a data set's files are. May be pickled and shared by threads."""

    def names(self) -> list[str]:
        """The images' names, sorted, with '/' between folders.

        Raises:
            DatasetError: if they can't be listed, or one looks hostile.
        """
        ...

    def read(self, name: str) -> bytes:
        """The bytes of an image's file, at most `images.MAX_FILE_BYTES`.

        Raises:
            DatasetError: if it can't be read, or is damaged within the zip.
            ImageError: if the file is too large.
        """
        ...


@dataclass(frozen=True)
class FolderSource:
    """Images in a folder. Symbolic links in it are refused: they may lead anywhere."""

    root: Path

    def names(self) -> list[str]:
        """Sorted, relative to the folder.

        Raises:
            DatasetError: if a folder can't be listed, or has links or special files in it.
        """
        return sorted(self.walk())

    def walk(self) -> Iterator[str]:
        """As `names`, but listed as they are asked for: there may be millions.

        Its own images by name, then those of each folder in it.
        """
        waiting = [""]
        while waiting:
            inside = waiting.pop()
            images, folders = self._entries(inside)
            yield from (f"{inside}{name}" for name in images)
            waiting += [f"{inside}{name}/" for name in reversed(folders)]

    def _entries(self, inside: str) -> tuple[list[str], list[str]]:
        """Images and folders in a folder, each sorted, without what is hidden."""
        images, folders = [], []
        try:
            with os.scandir(self.root / inside) as entries:
                for entry in entries:
                    if _is_clutter(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                    elif self._is_ordinary_image(entry):
                        images.append(entry.name)
        except OSError as error:
            raise DatasetError(f"'{self.root / inside}' can't be listed: {error}.") from error
        return sorted(images), sorted(folders)

    def _is_ordinary_image(self, entry: os.DirEntry[str]) -> bool:
        linked_folder = entry.is_symlink() and entry.is_dir()
        if (linked_folder or _is_image(entry.name)) and not entry.is_file(follow_symlinks=False):
            raise DatasetError(
                "A data folder holds ordinary files and folders, no symbolic links. "
                f"Received: {entry.path!r}. Put the files themselves there, or name them in a CSV."
            )
        return _is_image(entry.name)

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            DatasetError: if it can't be read.
            ImageError: if it has more than `images.MAX_FILE_BYTES`.
        """
        try:
            with (self.root / name).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise DatasetError(f"{name!r} can't be read: {error.strerror}.") from error
        if len(data) > MAX_FILE_BYTES:
            raise ImageError(
                f"An image file has at most {MAX_FILE_BYTES:,} bytes. Received: more, in {name!r}."
            )
        return data


def _name(entry: ZipInfo) -> str:
    """Names are UTF-8 also where the zip doesn't say so, as those of Linux' `zip` don't.

    Else they are in the code page of DOS, as the format says, and as Python has read them. (Later
    versions of Python put another name in place of that, where an extra field has one.)
    """
    name = entry.orig_filename.replace(os.sep, "/")
    if entry.flag_bits & UTF_8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


@dataclass(frozen=True)
class ZipSource:
    """Images in a zip: checked once, opened again in each process and thread that reads."""

    path: Path
    _local: threading.local = field(
        default_factory=threading.local, init=False, repr=False, compare=False
    )

    def __reduce__(self) -> tuple[Any, ...]:
        return ZipSource, (self.path,)  # a handle can't travel to another process

    def _archive(self) -> ZipFile:
        if getattr(self._local, "pid", None) != os.getpid():  # a fork would share the position
            self._local.archive = ZipFile(self.path)
            entries = self._local.archive.infolist()
            self._local.by_name = {_name(entry): entry for entry in entries}
            self._local.pid = os.getpid()
        archive: ZipFile = self._local.archive
        return archive

    def names(self) -> list[str]:
        """Sorted.

        Raises:
            DatasetError: if the file is no whole zip, or an entry breaks a rule.
        """
        try:
            entries = self._archive().infolist()
        except _ZIP_ERRORS as error:
            raise DatasetError(
                f"'{self.path}' is not a whole zip ({error}). {LAYOUTS}; if it should be a zip, "
                "get or pack it again."
            ) from error
        if len(entries) > MAX_ENTRIES:
            raise self._refused(f"at most {MAX_ENTRIES:,} entries", f"{len(entries):,}")
        for entry in entries:
            _checked_name(entry.orig_filename, self.path)
        files = [e for e in entries if not _name(e).endswith("/")]
        counts = Counter(posixpath.normpath(_name(e)) for e in files)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise self._refused("each name once", listed(twice))
        for entry in files:
            self._check(entry)
        names = [_name(e) for e in files]
        return sorted(n for n in names if _is_image(n) and not _is_clutter(n))

    def _check(self, entry: ZipInfo) -> None:
        name, size = _name(entry), entry.file_size
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise self._refused("no symbolic links", repr(name))
        if entry.flag_bits & 0x1:
            raise self._refused("no encrypted entries", repr(name))
        if entry.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
            raise self._refused(
                "entries that are stored or deflated", f"{name!r}, method {entry.compress_type}"
            )
        suffix = posixpath.splitext(name)[1].lower()
        if suffix in ARCHIVE_SUFFIXES and not _is_clutter(name):
            raise self._refused("no archives", repr(name))
        if suffix in IMAGE_SUFFIXES and size > MAX_FILE_BYTES:
            raise self._refused(
                f"images of at most {MAX_FILE_BYTES:,} bytes", f"{name!r}, {size:,} bytes"
            )
        if size > max(MIN_BOMB_BYTES, MAX_COMPRESSION_RATIO * entry.compress_size):
            raise self._refused(
                f"entries that shrank at most {MAX_COMPRESSION_RATIO} times",
                f"{name!r}, {size:,} bytes packed in {entry.compress_size:,}",
            )

    def _refused(self, rule: str, received: str) -> DatasetError:
        return DatasetError(
            f"A zip of images holds {rule}. Received: {received} in '{self.path}'. "
            "Pack the images again, or unpack it yourself if you trust it."
        )

    def read(self, name: str) -> bytes:
        """The entry's bytes: no more of them than its header declares, its checksum verified.

        Raises:
            DatasetError: if it can't be read, or is damaged.
        """
        try:
            archive = self._archive()
            entry = self._local.by_name[name]
            size = entry.file_size
            with archive.open(entry) as file:
                data = file.read(MAX_FILE_BYTES + 1)  # the zip may be another one by now
        except _ZIP_ERRORS as error:
            raise DatasetError(f"{name!r} is damaged within the zip: {error}.") from error
        if len(data) != size:
            raise DatasetError(
                f"{name!r} is damaged within the zip: {len(data):,} of {size:,} bytes came."
            )
        return data


def read_csv(path: Path) -> dict[str, str]:
    """Labels by file name, as they stand there. Every file exists, inside the CSV's folder.

    Raises:
        DatasetError: if it is no UTF-8 CSV with the columns filename and label, or names a file
            twice, one that isn't there, is no known image, or lies outside the folder.
    """
    rule = f"A CSV has the header filename,label and a row per image. Received: '{path}'"
    root = path.absolute().parent.resolve()
    labels: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"filename", "label"} <= set(rows.fieldnames or ()):
                raise DatasetError(f"{rule} with the header {rows.fieldnames}.")
            for row in rows:
                name, label = row["filename"], row["label"]
                if None in row or name is None or label is None:
                    raise DatasetError(f"{rule}, whose line {rows.line_num} has other columns.")
                name = posixpath.normpath(_checked_name(name, path))
                if name in labels:
                    raise DatasetError(f"{rule}, which has {name!r} twice. Remove a row.")
                labels[name] = label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{rule}, which can't be read as UTF-8 CSV: {error}.") from error
    if others := [name for name in labels if not _is_image(name)]:
        raise DatasetError(f"{rule}, with files that are no known images: {listed(others)}.")
    if outside := [n for n in labels if not Path(os.path.realpath(root / n)).is_relative_to(root)]:
        raise DatasetError(f"{rule}, with links that leave its folder: {listed(outside)}.")
    if missing := [name for name in labels if not (root / name).is_file()]:
        raise DatasetError(
            f"{rule}, with {len(missing):,} files that don't exist: {listed(missing)}. "
            "File names are relative to the CSV's folder; add the files or remove the rows."
        )
    return labels


def listed(names: Iterable[str]) -> str:
    """The first few names, quoted so that odd characters can't disturb a terminal."""
    ordered = sorted(names)
    rest = f" and {len(ordered) - SHOWN_NAMES:,} more" if len(ordered) > SHOWN_NAMES else ""
    return ", ".join(map(repr, ordered[:SHOWN_NAMES])) + rest


def _checked_name(name: str, path: Path) -> str:
    """`name`, if it can only mean a place inside the data."""
    if (
        not name
        or name.startswith("/")
        or ".." in name.split("/")
        or "\\" in name
        or "\0" in name
        or re.match("[A-Za-z]:", name)
    ):
        raise DatasetError(
            "A name inside the data is relative, with '/' between folders, and has no '..'. "
            f"Received: {name!r} in '{path}'. If it is not yours, don't trust it; "
            "else name the files so."
        )
    return name


def _is_image(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_clutter(name: str) -> bool:
    """Whether a part of the name is hidden or what macOS adds to its zips."""
    return any(
        part == "__MACOSX" or (part.startswith(".") and part not in {".", ".."})
        for part in name.split("/")
    )
