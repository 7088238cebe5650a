"""Writing files so that they appear whole or not at all, and by one process at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EBADF)
"""What disks without locks answer, and NFS for folders, which can't be open for writing."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it takes `path`'s place when the block succeeds.

    What was written is synced to disk before it is renamed, so that after a crash or on a
    full disk `path` holds the old content or the new, never a part. If the block raises,
    the temporary file is removed and `path` stays as it was. Missing folders are made.

    Raises:
        OSError: if the folder can't be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def half_written(path: Path) -> list[Path]:
    """What processes that were killed have left beside `path` in place of it."""
    return sorted(path.parent.glob(f".*-{path.name}"))


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path` whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


@contextmanager
def held(what: Path | BinaryIO) -> Iterator[bool]:
    """Holds a file or a folder against other processes, which hold it by this as well.

    It is free again after the block, or when the process is gone, however it went.

    Args:
        what: a folder, or a file that is open for writing: network disks lock no other.

    Yields:
        Whether it is held: False if another process has it. Where there are no locks (Windows,
        some network disks), True.

    Raises:
        OSError: if the folder can't be opened.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    if not isinstance(what, Path):
        yield _lock(fcntl, what.fileno())
        return
    descriptor = os.open(what, os.O_RDONLY)
    try:
        yield _lock(fcntl, descriptor)
    finally:
        os.close(descriptor)


def _lock(fcntl: Any, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True
