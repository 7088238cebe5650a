from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha import batches as batches_module
from crnn_captcha.batches import POOL_BATCHES, Batch, Batches, WaitingTime
from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.dataset import BrokenImage, Dataset, Sample
from crnn_captcha.errors import DatasetError, ImageError, LabelError
from crnn_captcha.letters import LabelledImage, Typesetting
from crnn_captcha.preprocessing import Pipeline, Stage

CHARSET = Charset("abc")
PIPELINE = Pipeline((Stage("resize_height", {"height": 4}),), width_multiple=1)
PATIENCE_S = 30  # for what should come at once, on a busy machine


def png(width: int, value: int) -> bytes:
    return cv2.imencode(".png", np.full((4, width, 3), value, np.uint8))[1].tobytes()


@dataclass
class Memory:
    """A source that holds its files, and counts what is read."""

    files: Mapping[str, bytes]
    reads: Counter[str] = field(default_factory=Counter)

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        self.reads[name] += 1
        return self.files[name]


@dataclass
class Dying(Memory):
    """Takes the worker process that reads image `at` with it."""

    at: str = ""

    def read(self, name: str) -> bytes:
        assert multiprocessing.parent_process(), "only a worker may die"
        if name == self.at:
            os._exit(1)
        return super().read(name)


@dataclass
class Hanging(Memory):
    """Reads nothing before a file appears."""

    until: Path = Path()

    def read(self, name: str) -> bytes:
        while not self.until.exists():
            time.sleep(0.01)
        return super().read(name)


@dataclass
class Meeting(Memory):
    """Reads nothing before two processes want to read at once; both leave a file."""

    place: Path = Path()

    def read(self, name: str) -> bytes:
        (self.place / str(os.getpid())).touch()
        deadline = time.monotonic() + PATIENCE_S
        while len(list(self.place.iterdir())) < 2:
            assert time.monotonic() < deadline, "no other worker came"
            time.sleep(0.01)
        return super().read(name)


@dataclass
class Barrier(Memory):
    """Reads nothing before two threads are inside `read` at once."""

    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(2)

    def read(self, name: str) -> bytes:
        self.barrier.wait(self.patience_s)
        return super().read(name)


MakeSource = Callable[[Mapping[str, bytes]], Memory]


def make_batches(
    count: int = 20, source: MakeSource = Memory, broken: Iterable[int] = (), **options: Any
) -> Batches:
    """Of images whose width (1 to 60 px) and brightness tell which is which."""
    samples = [Sample(f"{i:03}.png", "abcab"[: 1 + i % 5]) for i in range(count)]
    files = {s.name: png(1 + 7 * i % 60, i % 256) for i, s in enumerate(samples)}
    files |= {samples[i].name: b"no image" for i in broken}
    dataset = Dataset(Path("memory"), {"train": tuple(samples)}, (), source(files))
    return Batches(dataset, samples, PIPELINE, CHARSET, **{"batch_size": 3} | options)


def reads(batches: Batches) -> Counter[str]:
    source = batches.dataset.source
    assert isinstance(source, Memory)
    return source.reads


def positions(order: Iterable[NDArray[np.int64]]) -> list[int]:
    return [int(position) for batch in order for position in batch]


def assert_equal(found: Iterable[Batch], expected: Iterable[Batch]) -> None:
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def made(batches: Batches, epoch: int, start: int = 0) -> list[Batch]:
    return [batches.make(epoch, index) for index in range(start, len(batches))]


# ---- One batch


def test_a_batch_holds_the_prepared_images_and_their_labels() -> None:
    batches = make_batches(5)
    assert len(batches) == 2
    images, labels = batches.make(0, 0)  # widths 1, 8, 15
    assert images.dtype == np.uint8
    assert images.shape == (3, 15, 4, 3)
    assert images[:, :, 0, 0].tolist() == [[0] * 15, [1] * 8 + [0] * 7, [2] * 15]
    assert labels.dtype == np.int32
    assert labels.tolist() == [[1, 0, 0, 0, 0], [1, 2, 0, 0, 0], [1, 2, 3, 0, 0]]
    images, labels = batches.make(0, 1)  # the last one has fewer
    assert len(images) == len(labels) == 2
    assert labels.tolist() == [[1, 2, 3, 1, 0], [1, 2, 3, 1, 2]]


@pytest.fixture
def reversing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letters that change places stand in reverse, and the image is turned over."""

    def reverse(source: LabelledImage, random: np.random.Generator, *_: Any) -> LabelledImage:
        random.random()
        return LabelledImage(source.image[:, ::-1], source.label[::-1])

    monkeypatch.setattr(batches_module, "set_anew", reverse)


@pytest.mark.usefixtures("reversing")
def test_letters_change_places_in_a_share_of_the_images() -> None:
    plain = make_batches(60, seed=3)
    every, none, half = (
        make_batches(60, seed=3, letters=Typesetting(share)) for share in (1.0, 0.0, 0.5)
    )
    assert_equal(made(none, 0), made(plain, 0))
    changed = 0
    for (images, labels), (others, texts), (_, mixed) in zip(
        made(every, 0), made(plain, 0), made(half, 0), strict=True
    ):
        np.testing.assert_array_equal(images, others[:, :, ::-1])
        for label, text, either in zip(labels, texts, mixed, strict=True):
            length = np.count_nonzero(text)
            assert label[:length].tolist() == text[:length][::-1].tolist()
            assert label[length:].tolist() == text[length:].tolist()  # the padding stays behind
            changed += either.tolist() != text.tolist()
    assert 10 < changed < 40  # of 48 that differ in reverse


@pytest.mark.usefixtures("reversing")
def test_who_changes_depends_on_seed_epoch_and_index_alone() -> None:
    first, again = (make_batches(60, seed=3, letters=Typesetting(0.5)) for _ in range(2))
    expected = made(first, 1)
    assert_equal([again.make(1, index) for index in reversed(range(len(again)))], expected[::-1])
    assert_equal(made(first, 1), expected)  # what is kept in memory stays as it was
    labels = [labels.tolist() for _, labels in expected]
    assert labels != [labels.tolist() for _, labels in made(first, 2)]


@pytest.mark.usefixtures("reversing")
def test_without_a_seed_letters_stay() -> None:
    assert_equal(made(make_batches(letters=Typesetting(1.0)), 0), made(make_batches(), 0))


def test_the_padding_of_labels_is_the_blank_and_labels_have_none() -> None:
    batches = make_batches()
    labels = np.concatenate([labels for _, labels in made(batches, 0)])
    lengths = [len(sample.label) for sample in batches.samples]
    assert (labels != BLANK).sum(axis=1).tolist() == lengths
    for row, sample in zip(labels, batches.samples, strict=True):
        assert CHARSET.decode(row[: len(sample.label)]) == sample.label


def test_no_samples_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"at least one sample\. Received: none"):
        make_batches(0)


def test_a_label_beyond_the_charset_is_refused() -> None:
    dataset = make_batches().dataset
    with pytest.raises(LabelError, match=r"charset 'abc'.*Received: 'abx' \(unknown: 'x'\)"):
        Batches(dataset, [Sample("000.png", "abx")], PIPELINE, CHARSET)


# ---- The order


@pytest.mark.parametrize("like_widths", [False, True], ids=["mixed", "like widths"])
def test_the_order_is_a_permutation_made_of_seed_and_epoch(like_widths: bool) -> None:
    def orders(seed: int, epochs: Iterable[int]) -> dict[int, list[int]]:
        batches = make_batches(200, seed=seed, like_widths=like_widths)
        assert all(item is None for item in batches.measure())
        return {epoch: positions(batches.order(epoch)) for epoch in epochs}

    found = orders(1, range(4))
    for order in found.values():
        assert sorted(order) == list(range(200))
    assert len({tuple(order) for order in found.values()}) == 4
    assert orders(1, [3, 0, 2, 3, 1]) == found  # whatever was asked for before
    assert orders(2, range(4)) != found


def test_without_a_seed_the_order_is_the_samples() -> None:
    batches = make_batches(7)
    for epoch in (0, 5):
        assert [batch.tolist() for batch in batches.order(epoch)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_without_a_seed_like_widths_sorts_by_width() -> None:
    batches = make_batches(40, like_widths=True)
    list(batches.measure())
    order = positions(batches.order(0))
    assert order == sorted(range(40), key=lambda i: (batches.widths[i], i))
    assert order == positions(batches.order(1))


def padding_share(batches: Batches, epoch: int) -> float:
    widths = batches.widths
    pixels = [int(widths[batch].max()) * len(batch) for batch in batches.order(epoch)]
    return 1 - int(widths.sum()) / sum(pixels)


def test_like_widths_leave_little_padding_and_stay_mixed() -> None:
    mixed, grouped = (make_batches(600, seed=0, like_widths=like) for like in (False, True))
    for batches in (mixed, grouped):
        list(batches.measure())
    for epoch in (0, 1):
        assert padding_share(mixed, epoch) > 0.2
        assert padding_share(grouped, epoch) < 0.05
    assert 2 * POOL_BATCHES * grouped.batch_size < 600  # several pools
    widest = [int(grouped.widths[batch].max()) for batch in grouped.order(0)]
    rising = np.mean(np.diff(widest) > 0)
    assert 0.3 < rising < 0.7  # narrow and wide batches come in no order
    first, second = ({frozenset(b.tolist()) for b in grouped.order(epoch)} for epoch in (0, 1))
    assert len(first & second) < len(first) / 4  # and with other neighbours in every epoch


def test_epochs_asked_for_at_once_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = make_batches(6, seed=0)
    expected = positions(batches.order(0))
    # Whenever the order is set or looked at, another thread has just set that of epoch 99.
    interrupted = property(lambda self: (99, []), lambda self, order: None)
    monkeypatch.setattr(Batches, "_order", interrupted, raising=False)
    assert positions(batches.order(0)) == expected


# ---- Measuring


def test_measure_learns_the_widths_and_names_the_broken() -> None:
    batches = make_batches(6, broken=[1, 4])
    with pytest.raises(DatasetError, match="known after `measure` has run through"):
        _ = batches.widths
    found = list(batches.measure())
    assert [item and item.name for item in found] == [None, "001.png", None, None, "004.png", None]
    assert isinstance(found[1], BrokenImage)
    assert "An image file must be one of" in found[1].reason
    assert batches.widths.tolist() == [1, 0, 15, 22, 0, 36]


def test_widths_that_were_not_measured_to_the_end_are_not_known() -> None:
    batches = make_batches(6, seed=0, like_widths=True)
    next(batches.measure())
    with pytest.raises(DatasetError, match="known after `measure`"):
        batches.order(0)


def test_measure_fills_the_cache() -> None:
    batches = make_batches(cache_bytes=2**20)
    list(batches.measure(workers=0))
    made(batches, 0)
    assert set(reads(batches).values()) == {1}


# ---- The cache


@pytest.mark.parametrize("limit", [0, 100, 1000, 4000, 2**20])
def test_the_cache_keeps_to_its_limit_and_gives_the_same_images(limit: int) -> None:
    batches = make_batches(40, cache_bytes=limit)
    list(batches.measure(workers=4))
    images = [batches.image(position) for position in range(40)]
    for image, fresh in zip(images, map(make_batches(40).image, range(40)), strict=True):
        np.testing.assert_array_equal(image, fresh)
    kept = [image.nbytes for i, image in enumerate(images) if reads(batches)[f"{i:03}.png"] == 1]
    assert sum(kept) <= limit
    total = sum(image.nbytes for image in images)
    assert len(kept) == 40 if limit > total else sum(kept) > limit - 60 * 4 * 3


def test_an_image_is_kept_once() -> None:
    batches = make_batches(2, cache_bytes=4 * 3 * (1 + 8))  # just both
    prepared = [batches.pipeline(np.zeros((4, 1, 3), np.uint8))] * 5
    for image in prepared:
        batches._cache.put(0, image)  # as threads do that prepare one image at once
    made(batches, 0)
    made(batches, 0)
    assert reads(batches) == Counter({"001.png": 1})


def test_a_pickle_carries_the_widths_but_no_cached_images() -> None:
    batches = make_batches(200, seed=0, like_widths=True, cache_bytes=2**20)
    empty = len(pickle.dumps(batches))
    list(batches.measure())
    copy = pickle.loads(pickle.dumps(batches))
    assert len(pickle.dumps(batches)) < empty + 8 * 200 + 5000  # the widths, and what was read
    assert_equal(made(copy, 3), made(batches, 3))


# ---- Streams


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


def test_only_a_worker_process_makes_batches_in_a_process() -> None:
    with pytest.raises(DatasetError, match="makes batches after `_start_process`"):
        batches_module._make_in_process(0, 0)


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
