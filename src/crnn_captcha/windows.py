"""Images in windows that threads read side by side, in order and in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

MAX_WINDOW_BYTES = 32 * 2**20  # of files and arrays that wait: two of the largest files

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """So many items each, in order; fewer where files' bytes or arrays are large.

    Args:
        items: taken as they are needed.
        size: at least 1.
    """
    window: list[Item] = []
    held = 0
    for item in items:
        window.append(item)
        held += len(item) if isinstance(item, bytes) else getattr(item, "nbytes", 0)
        if len(window) == size or held >= MAX_WINDOW_BYTES:
            yield window
            window, held = [], 0
    if window:
        yield window


def available_cores() -> int:
    """Those that this process may run on, which in a container are fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(
    read: Callable[[list[Item]], list[Result]], windows: Iterator[list[Item]], threads: int
) -> Iterator[Result]:
    """What `read` gives for the items of each window, in order.

    Args:
        read: may be called by several threads at the same time.
        windows: taken in the caller's thread, at most `threads + 2` ahead of the results that are
            asked for.
        threads: 1 does everything in the caller's thread.

    Yields:
        The results one by one. What `read` raises is raised here in its turn; then, or when the
        iterator is closed, what is under way comes to its end and the threads do, too.
    """
    if threads == 1:
        for window in windows:
            yield from read(window)
        return
    from concurrent.futures import Future, ThreadPoolExecutor  # one image is read without

    executor = ThreadPoolExecutor(threads, thread_name_prefix="reading")
    ahead: deque[Future[list[Result]]] = deque()
    try:
        for window in windows:
            ahead.append(executor.submit(read, window))
            if len(ahead) > threads + 1:  # one for each thread, and one that waits for the first
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)
