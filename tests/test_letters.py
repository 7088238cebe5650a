from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha.letters import shuffle_letters, split_letters

HEIGHT = 4
Image = NDArray[np.uint8]


def drawn(
    label: list[int], *, gap: int = 3, widths: tuple[int, ...] = (), channels: int = 3
) -> Image:
    """Letter i as a bar of the value 100 + i, with gaps around each, and padding at the end."""
    columns = [0] * gap
    for place, class_id in enumerate(label):
        columns += [100 + class_id] * (widths[place] if widths else 5) + [0] * gap
    columns += [0] * 7
    image = np.zeros((len(columns), HEIGHT, channels), np.uint8)
    image[:, 1:3] = np.array(columns, np.uint8)[:, None, None]
    return image


def spelled(image: Image) -> list[int]:
    """What `drawn` would be called with."""
    values = image[:, 1, -1].astype(int)
    starts = np.flatnonzero(np.diff(np.concatenate([[0], values])) > 0)
    return [int(values[start]) - 100 for start in starts]


def test_letters_are_told_apart_by_gaps() -> None:
    pieces = split_letters(drawn([1, 2, 3], gap=4), 3)
    assert pieces == [slice(0, 11), slice(11, 20), slice(20, 27)]


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_another_number_of_runs_than_letters_is_none(count: int) -> None:
    assert split_letters(drawn([1, 2, 3]), count) is None


def test_an_image_without_ink_has_no_letters() -> None:
    assert split_letters(np.zeros((20, HEIGHT, 3), np.uint8), 2) is None


def test_a_soft_edge_is_no_bridge() -> None:
    image = drawn([1, 2], gap=2)
    image[7:9, 1:3] = 30
    assert split_letters(image, 2) is not None
    image[7:9, 1:3] = 60
    assert split_letters(image, 2) is None


def test_lines_are_no_bridge_where_the_ink_is_by_itself() -> None:
    image = drawn([1, 2, 3], channels=4)
    image[:, 0, :3] = 255  # from edge to edge, in the colours alone
    assert split_letters(image, 3) is not None
    assert split_letters(image[..., :3], 3) is None


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_image_and_label_change_alike(label: list[int], seed: int) -> None:
    widths = tuple(3 + class_id % 4 for class_id in label)
    image = drawn(label, widths=widths)
    ids = np.array(label, np.int32)
    moved, shuffled = shuffle_letters(image, ids, np.random.default_rng(seed))
    assert moved.shape == image.shape
    assert moved.dtype == np.uint8
    assert spelled(moved) == shuffled.tolist()
    assert sorted(shuffled) == sorted(label)
    assert np.bincount(moved[:, 1, 0]).tolist() == np.bincount(image[:, 1, 0]).tolist()
    assert spelled(image) == label  # the image itself is as it was
    repeats = (shuffled[1:] == shuffled[:-1]).sum()
    assert repeats <= (ids[1:] == ids[:-1]).sum()  # it fits as many time steps


def test_orders_differ_and_a_seed_repeats_them() -> None:
    image, label = drawn([1, 2, 3, 4, 5]), np.array([1, 2, 3, 4, 5], np.int32)

    def orders(seed: int) -> list[list[int]]:
        random = np.random.default_rng(seed)
        return [shuffle_letters(image, label, random)[1].tolist() for _ in range(5)]

    assert orders(0) == orders(0)
    assert len({tuple(order) for order in orders(0)}) > 1


def test_what_cant_be_told_apart_stays() -> None:
    image, label = drawn([1, 2, 3], gap=0), np.array([1, 2, 3], np.int32)
    moved, same = shuffle_letters(image, label, np.random.default_rng(0))
    assert moved is image
    assert same is label
