from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha import windows
from crnn_captcha.windows import available_cores, in_windows, side_by_side

# ---- Windows


@given(st.lists(st.integers()), st.integers(1, 9))
def test_windows_hold_everything_in_order(items: list[int], size: int) -> None:
    found = list(in_windows(items, size))
    assert [item for window in found for item in window] == items
    assert all(len(window) == size for window in found[:-1])
    assert all(found)


@pytest.mark.parametrize(
    "large",
    [bytes(windows.MAX_WINDOW_BYTES // 2), np.zeros(windows.MAX_WINDOW_BYTES // 2, np.uint8)],
    ids=["file", "array"],
)
def test_large_items_fill_a_window_sooner(large: object) -> None:
    items = [large, b"small", large, b"small", "path"]
    assert [len(window) for window in in_windows(items, 64)] == [3, 2]


# ---- Side by side


def test_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 4, 5}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert available_cores() == 2
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert available_cores() == 1


def squares(window: list[int]) -> list[int]:
    return [item * item for item in window]


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_results_come_in_order(threads: int, count: int) -> None:
    found = side_by_side(squares, in_windows(range(count), 3), threads)
    assert list(found) == [item * item for item in range(count)]


def test_one_thread_is_the_callers() -> None:
    def where(window: list[int]) -> list[threading.Thread]:
        return [threading.current_thread()] * len(window)

    assert set(side_by_side(where, in_windows(range(5), 2), 1)) == {threading.current_thread()}


def test_so_many_windows_are_read_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=30)  # breaks if fewer than three come

    def meet(window: list[int]) -> list[int]:
        together.wait()
        return window

    assert list(side_by_side(meet, in_windows(range(6), 1), 3)) == [*range(6)]


@pytest.mark.parametrize("threads", [1, 2])
def test_few_windows_are_taken_ahead(threads: int) -> None:
    taken: list[int] = []

    def endless() -> Iterator[list[int]]:
        while True:
            taken.append(len(taken))
            yield [taken[-1]]

    results = side_by_side(squares, endless(), threads)
    for asked in range(1, 20):
        next(results)
        assert asked <= len(taken) <= asked + threads + 2
    del results


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_in_its_turn_and_ends_the_threads(threads: int) -> None:
    def read(window: list[int]) -> list[int]:
        return [6 // item for item in window]

    results = side_by_side(read, iter([[1], [2], [0], [3]]), threads)
    assert [next(results), next(results)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not [t for t in threading.enumerate() if t.name.startswith("reading")]
