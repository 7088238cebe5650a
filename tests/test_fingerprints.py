from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha.fingerprints import (
    CELL_COLUMNS,
    CELL_ROWS,
    HASH_BITS,
    contrast_cells,
    fingerprint,
    hash_bits,
)

Pixels = NDArray[np.uint8]


def flat(value: int, width: int, height: int) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


def test_equal_pixels_have_equal_digests(draw_image: Callable[..., Pixels]) -> None:
    image = draw_image("ab", 1)
    other = image.copy()
    other[-1, -1, 2] ^= 1
    assert fingerprint(image.copy()) == fingerprint(image)
    assert fingerprint(other).digest != fingerprint(image).digest


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    assert fingerprint(flat(9, 8, 2)).digest != fingerprint(flat(9, 4, 4)).digest


@pytest.mark.parametrize(
    ("levels", "empty"),
    [
        pytest.param([255], True, id="white"),
        pytest.param([0], True, id="black"),
        pytest.param([200, 208], True, id="noise"),
        pytest.param([200, 209], False, id="more than noise"),
    ],
)
def test_one_colour_is_empty(levels: list[int], empty: bool) -> None:
    image = flat(levels[0], 30, 20)
    image[5:9, 4:20, 1] = levels[-1]
    assert fingerprint(image).empty is empty


def test_cells_are_the_contrast_to_the_paper() -> None:
    image = flat(255, 4 * CELL_COLUMNS, 4 * CELL_ROWS)
    image[0:4, 0:4] = 100  # the first cell: 155 levels from the paper, 8 of them noise
    image[8:10, 4:8] = 100  # half of another
    cells = contrast_cells(image)
    assert cells.shape == (CELL_ROWS, CELL_COLUMNS)
    assert (cells[0, 0], cells[2, 1]) == (255, 128)
    assert np.count_nonzero(cells) == 2


def test_paper_may_be_dark(draw_image: Callable[..., Pixels]) -> None:
    image = draw_image("abc", 4)
    assert np.ptp([contrast_cells(image), contrast_cells(255 - image)], axis=0).max() <= 2


def test_colour_without_contrast_in_brightness_leaves_nothing_to_compare() -> None:
    image = flat(0, 60, 20)
    image[:, :] = (150, 100, 100)
    image[5:15, 5:20] = (104, 123, 100)  # as bright
    assert not contrast_cells(image).any()
    assert not fingerprint(image).empty


def test_a_tiny_image_has_cells() -> None:
    image = flat(255, 3, 2)
    image[0, 0] = 0
    assert contrast_cells(image).max() == 255


def test_a_hash_changes_little_with_scale_and_much_with_the_text(
    draw_image: Callable[..., Pixels],
) -> None:
    def bits(image: Pixels) -> NDArray[np.uint8]:
        return np.unpackbits(hash_bits(contrast_cells(image)))

    image = draw_image("4h7x2", 5)
    smaller = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    assert len(bits(image)) == HASH_BITS
    assert bits(image).sum() == HASH_BITS // 2  # cut at the median
    assert np.sum(bits(image) != bits(np.asarray(smaller, np.uint8))) <= HASH_BITS // 10
    assert np.sum(bits(image) != bits(draw_image("4h7x2", 6))) >= HASH_BITS // 5
