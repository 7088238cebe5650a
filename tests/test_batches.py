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
from crnn_captcha.batches import POOL_BATCHES, Batches
from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.dataset import BrokenImage, Dataset, Sample
from crnn_captcha.errors import DatasetError, LabelError
from crnn_captcha.letters import LabelledImage, Typesetting
from crnn_captcha.preprocessing import Pipeline, Stage
from crnn_captcha.streams import Batch

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


# ---- Drawings


@dataclass(frozen=True)
class Stripes:
    """Drawings whose epoch, number and width can be read off them."""

    count: int = 40
    charset: Charset = CHARSET
    max_length: int = 6
    fingerprint: str = "stripes"

    def aspects(self, epoch: int) -> NDArray[np.float64]:
        return np.array([self.width(epoch, number) for number in range(self.count)], np.float64)

    def width(self, epoch: int, number: int) -> int:
        return 1 + (number * 13 + epoch * 5) % 50

    def draw(self, epoch: int, number: int) -> tuple[NDArray[np.uint8], str]:
        image = np.full((4, self.width(epoch, number), 3), 100 + number % 156, np.uint8)
        return image, "cab"[: 1 + number % 3]


def drawn_numbers(batch: Batch) -> list[int]:
    """Which of the stripes are in a batch; none of `make_batches`' first hundred images is."""
    return [value - 100 for value in batch[0][:, 0, 0, 0].tolist() if value >= 100]


def mixed(count: int, seed: int = 3, **options: Any) -> Batches:
    given: dict[str, Any] = {"seed": seed, "drawings": Stripes()} | options
    batches = make_batches(count, **given)
    list(batches.measure())
    return batches


@pytest.mark.parametrize("like_widths", [False, True], ids=["mixed", "like widths"])
def test_drawings_come_in_batches_of_their_own_among_the_others(like_widths: bool) -> None:
    batches = mixed(20, like_widths=like_widths)
    assert len(batches) == 7 + 14
    epoch = made(batches, 2)
    numbers = [drawn_numbers(batch) for batch in epoch]
    assert sorted(number for batch in numbers for number in batch) == list(range(40))
    for (images, labels), drawn in zip(epoch, numbers, strict=True):
        assert len(drawn) in (0, len(images))
        assert labels.shape[1] == 6  # as wide as the longest that may be drawn
        for number, label in zip(drawn, labels, strict=False):
            assert CHARSET.decode(label[label != BLANK]) == Stripes().draw(2, number)[1]
    places = [i for i, drawn in enumerate(numbers) if drawn]
    assert places != list(range(7, 21))  # shuffled with the others
    assert places != [i for i, drawn in enumerate(made(batches, 3)) if drawn_numbers(drawn)]


def test_drawings_are_another_epochs_and_the_same_whenever_they_are_made() -> None:
    batches = mixed(20, like_widths=True)
    expected = made(batches, 1)
    copy = pickle.loads(pickle.dumps(batches))
    assert_equal([copy.make(1, index) for index in reversed(range(len(copy)))], expected[::-1])
    widths = [sorted(batch[0].shape[1] for batch in made(batches, epoch)) for epoch in (1, 2)]
    assert widths[0] != widths[1]


def test_drawings_of_like_widths_are_little_padded() -> None:
    def padding(like_widths: bool) -> float:
        batches = mixed(0, like_widths=like_widths, drawings=Stripes(600), batch_size=8)
        stripes = Stripes(600)
        widths = stripes.aspects(0)
        padded = sum(images.shape[0] * images.shape[1] for images, _ in made(batches, 0))
        return float(padded / widths.sum())

    assert padding(like_widths=True) < 1.1 < 1.4 < padding(like_widths=False)


def test_drawings_alone_are_enough() -> None:
    batches = mixed(0)
    assert len(batches) == 14
    assert batches.label_width == 6
    assert sum(len(drawn_numbers(batch)) for batch in made(batches, 0)) == 40


def test_drawings_are_padded_as_wide_as_it_takes() -> None:
    batches = mixed(20)
    batches.pad_drawn(64)
    for batch in made(batches, 0):
        assert batch[0].shape[1] == (64 if drawn_numbers(batch) else min(batch[0].shape[1], 60))


@pytest.mark.usefixtures("reversing")
def test_letters_of_drawings_stay() -> None:
    batches = mixed(20, letters=Typesetting(1.0))
    for batch in made(batches, 0):
        for number, label in zip(drawn_numbers(batch), batch[1], strict=False):
            assert CHARSET.decode(label[label != BLANK]) == Stripes().draw(0, number)[1]


def test_drawings_need_a_seed() -> None:
    with pytest.raises(DatasetError, match=r"drawn by a seed\. Received: none"):
        make_batches(drawings=Stripes())


def test_drawings_of_characters_beyond_the_charset_are_refused() -> None:
    with pytest.raises(LabelError, match=r"all characters that are drawn.*lacks 'x'"):
        make_batches(seed=1, drawings=Stripes(charset=Charset("abx")))
