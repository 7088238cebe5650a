from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import chain

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from crnn_captcha import duplicates
from crnn_captcha.duplicates import MAX_LEVELS, alike, same
from crnn_captcha.fingerprints import CELL_COLUMNS, CELL_ROWS, contrast_cells, hash_bits
from crnn_captcha.images import decode_image
from crnn_captcha.styles import ImageStyle, LetterStyle, Range, Style

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]

# Every image has the same font, size, colours and places, but for the text: as alike as it gets.
UNIFORM = Style(
    image=ImageStyle(width_px=Range.of(0), width_per_character_px=Range.of(30)),
    letters=LetterStyle(height_px=Range.of(32), gap_px=Range.of(4), rgb=Range.of(0, 60)),
)


def groups_of(images: Sequence[Pixels]) -> list[list[int]]:
    return groups_of_cells(np.stack([contrast_cells(image) for image in images]))


def groups_of_cells(cells: NDArray[np.uint8]) -> list[list[int]]:
    return alike(cells, np.stack([hash_bits(one) for one in cells]))


def encoded(suffix: str, *options: int) -> Change:
    return lambda image: decode_image(
        cv2.imencode(suffix, image[..., ::-1], list(options))[1].tobytes()
    )


def scaled(factor: float, interpolation: int) -> Change:
    return lambda image: np.asarray(
        cv2.resize(image, None, fx=factor, fy=factor, interpolation=interpolation), np.uint8
    )


def with_palette(image: Pixels) -> Pixels:
    file = BytesIO()
    Image.fromarray(image).save(file, "GIF")
    return decode_image(file.getvalue())


def grey(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def paler(image: Pixels) -> Pixels:
    return np.asarray(np.rint(image * 0.8 + 40), np.uint8)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 75), id="JPEG"),
        pytest.param(encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 40), id="bad JPEG"),
        pytest.param(encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 70), id="WebP"),
        pytest.param(with_palette, id="GIF"),
        pytest.param(scaled(0.7, cv2.INTER_AREA), id="smaller"),
        pytest.param(scaled(2, cv2.INTER_CUBIC), id="larger"),
        pytest.param(grey, id="grey"),
        pytest.param(paler, id="paler"),
    ],
)
def test_copies_are_found_among_others(draw_image: Callable[..., Pixels], change: Change) -> None:
    images = [draw_image(label, seed) for seed, label in enumerate(["4h7x", "k2mfw9", "ab", "0oq"])]
    others = [draw_image("4h7x", seed) for seed in range(10, 20)]  # the same text, drawn anew
    copies = [change(image) for image in images]
    first = len(images) + len(others)
    expected = [[i, first + i] for i in range(len(images))]
    assert groups_of([*images, *others, *copies]) == expected


@pytest.mark.parametrize("other", ["abce", "aboe", "aqoe", "1234"], ids=str)
def test_another_letter_is_another_image(draw_image: Callable[..., Pixels], other: str) -> None:
    images = [draw_image(label, 0, UNIFORM) for label in ("abcd", other)]
    assert groups_of([*images, images[0].copy()]) == [[0, 2]]


def test_alike_is_passed_on() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 200, (CELL_ROWS, CELL_COLUMNS)).astype(np.uint8)
    steps = [one, one + np.uint8(30), one + np.uint8(55)]  # the last is too far from the first
    others = rng.integers(0, 255, (2, CELL_ROWS, CELL_COLUMNS)).astype(np.uint8)
    cells = np.stack([steps[2], others[0], steps[0], others[1], steps[1]])
    assert groups_of_cells(cells) == [[0, 2, 4]]
    assert groups_of_cells(cells[:4]) == []


@pytest.mark.parametrize("levels", [MAX_LEVELS, MAX_LEVELS + 1], ids=["alike", "too far"])
def test_the_cell_that_differs_most_decides(levels: int) -> None:
    one = np.random.default_rng(1).integers(0, 200, (CELL_ROWS, CELL_COLUMNS)).astype(np.uint8)
    other = one.copy()
    other[5, 20] += levels
    assert groups_of_cells(np.stack([one, other])) == ([[0, 1]] if levels == MAX_LEVELS else [])


def test_images_without_contrast_are_in_no_group() -> None:
    assert groups_of_cells(np.zeros((3, CELL_ROWS, CELL_COLUMNS), np.uint8)) == []


def test_no_images_are_no_groups() -> None:
    assert same([]) == []
    assert (
        alike(np.zeros((0, CELL_ROWS, CELL_COLUMNS), np.uint8), np.zeros((0, 30), np.uint8)) == []
    )


def test_more_than_the_neighbours_are_grouped_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "NEIGHBOURS", 2)
    monkeypatch.setattr(duplicates, "CHUNK", 3)
    rng = np.random.default_rng(2)
    one = rng.integers(20, 200, (CELL_ROWS, CELL_COLUMNS))
    many = one + rng.integers(-4, 5, (50, CELL_ROWS, CELL_COLUMNS))
    assert groups_of_cells(many.astype(np.uint8)) == [[*range(50)]]


@given(st.lists(st.integers(0, 5)))
def test_same_keys_are_grouped(keys: list[int]) -> None:
    groups = same(keys)
    assert all(len({keys[position] for position in group}) == 1 for group in groups)
    assert sorted(chain.from_iterable(groups)) == [
        i for i, key in enumerate(keys) if keys.count(key) > 1
    ]
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_joining_groups_joins_what_hangs_together(count: int, pairs: list[tuple[int, int]]) -> None:
    pairs = [(a % count, b % count) for a, b in pairs]
    reached = [{i} for i in range(count)]
    for _ in range(count):
        for a, b in pairs:
            reached[a] |= reached[b]
            reached[b] |= reached[a]
    one, other = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    first = duplicates._joined(np.arange(count), one, other)
    assert first.tolist() == [min(group) for group in reached]
