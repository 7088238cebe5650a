"""A stream is what `make` makes, in order, whoever makes it; what goes wrong is an error."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_batches import (
    PATIENCE_S,
    Barrier,
    Dying,
    Hanging,
    Meeting,
    assert_equal,
    made,
    make_batches,
    reads,
)

from crnn_captcha import streams as streams_module
from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.streams import WaitingTime


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
@pytest.mark.parametrize("start", [0, 1, 6, 7])
def test_a_stream_is_what_make_makes(workers: int, start: int) -> None:
    batches = make_batches(20, seed=3)
    assert len(batches) == 7
    stream = batches.stream(2, start=start, workers=workers)
    assert_equal(stream, made(make_batches(20, seed=3), 2, start))


def test_a_long_stream_keeps_its_order_and_is_made_only_a_little_ahead() -> None:
    batches = make_batches(300, batch_size=1)
    stream = batches.stream(0, workers=2)
    first = next(stream)
    time.sleep(0.05)
    assert 0 < sum(reads(batches).values()) < 20
    assert_equal([first, *stream], made(batches, 0))


def test_putting_an_epoch_in_order_may_take_longer_than_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = make_batches(20, seed=3)
    make_order = batches._make_order

    def slowly(epoch: int) -> Any:
        time.sleep(PATIENCE_S / 4)
        return make_order(epoch)

    monkeypatch.setattr(batches, "_make_order", slowly)
    expected = made(make_batches(20, seed=3), 2, 0)
    assert_equal(batches.stream(2, timeout_s=PATIENCE_S / 5), expected)


def test_worker_processes_are_given_the_order() -> None:
    batches = make_batches(20, seed=3)
    batches.begin(2)
    assert pickle.loads(pickle.dumps(batches))._order[0] == 2


def test_waiting_without_end_is_allowed() -> None:
    batches = make_batches(20, seed=3)
    assert len(list(batches.stream(0, timeout_s=float("inf")))) == 7


def test_only_a_worker_process_makes_batches_in_a_process() -> None:
    with pytest.raises(DatasetError, match="makes batches after `_start_process`"):
        streams_module._make_in_process(0, 0)


def test_a_stream_left_early_stops_its_workers() -> None:
    batches = make_batches(300, batch_size=1)
    stream = batches.stream(0, workers=2)
    next(stream)
    stream.close()
    deadline = time.monotonic() + PATIENCE_S
    while any(thread.name.startswith("batches") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sum(reads(batches).values()) < 20


def test_threads_read_in_parallel() -> None:
    batches = make_batches(8, source=Barrier, batch_size=1)
    assert len(list(batches.stream(0, workers=2))) == 8
    list(batches.measure(workers=2))


def test_one_thread_alone_does_not() -> None:
    batches = make_batches(2, source=lambda files: Barrier(files, patience_s=0.05), batch_size=1)
    with pytest.raises(threading.BrokenBarrierError):
        list(batches.stream(0, workers=1))


def test_processes_read_in_parallel_what_make_makes(tmp_path: Path) -> None:
    batches = make_batches(
        20, source=lambda files: Meeting(files, place=tmp_path), seed=3, cache_bytes=2**20
    )
    stream = batches.stream(2, start=1, workers=2, processes=True)
    assert_equal(stream, made(make_batches(20, seed=3), 2, 1))
    workers = {int(path.name) for path in tmp_path.iterdir()}
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert not reads(batches)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_broken_image_is_an_error_from_threads(workers: int) -> None:
    stream = make_batches(9, broken=[4]).stream(0, workers=workers)
    next(stream)
    with pytest.raises(ImageError, match="An image file must be one of"):
        next(stream)


def test_a_broken_image_is_an_error_from_processes() -> None:
    stream = make_batches(9, broken=[4]).stream(0, workers=1, processes=True)
    next(stream)
    with pytest.raises(ImageError, match="An image file must be one of"):
        next(stream)


DIED = r"worker process died while making a batch \(.+\)\..*Go on with --resume"


def test_a_worker_process_that_dies_is_an_error() -> None:
    batches = make_batches(3, source=lambda files: Dying(files, at="000.png"))
    with pytest.raises(DatasetError, match=DIED):
        list(batches.stream(0, workers=1, processes=True, timeout_s=PATIENCE_S))


def test_a_worker_process_that_dies_between_two_batches_is_an_error() -> None:
    batches = make_batches(30, source=lambda files: Dying(files, at="002.png"), batch_size=1)
    before = set(multiprocessing.active_children())
    stream = batches.stream(0, workers=1, processes=True, timeout_s=PATIENCE_S)
    next(stream)
    for worker in set(multiprocessing.active_children()) - before:
        worker.join(PATIENCE_S)  # dead before the stream hands in more
    with pytest.raises(DatasetError, match=DIED):
        list(stream)


@pytest.mark.parametrize("processes", [False, True], ids=["threads", "processes"])
def test_no_batch_within_the_time_is_an_error(tmp_path: Path, processes: bool) -> None:
    until = tmp_path / "go"
    batches = make_batches(source=lambda files: Hanging(files, until=until))
    stream = batches.stream(0, workers=1, processes=processes, timeout_s=0.2)
    try:
        with pytest.raises(DatasetError, match=r"No batch came within 0\.2 s\..*--resume"):
            next(stream)
    finally:
        until.touch()  # lets the worker go


# ---- Waiting


def test_waiting_time_passes_batches_on_and_counts_the_seconds() -> None:
    batches = make_batches()

    def slow() -> Any:
        for batch in made(batches, 0):
            time.sleep(0.02)
            yield batch

    waiting = WaitingTime(slow())
    assert_equal(waiting, made(batches, 0))
    assert waiting.seconds >= 0.02 * len(batches)
    assert waiting.error is None


def test_waiting_time_remembers_what_ended_the_batches() -> None:
    waiting = WaitingTime(make_batches(9, broken=[4]).stream(0))
    next(waiting)
    with pytest.raises(ImageError) as caught:
        next(waiting)
    assert waiting.error is caught.value
