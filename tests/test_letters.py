from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha.errors import ConfigError
from crnn_captcha.letters import GAPS, LabelledImage, Typesetting, set_anew, split_letters

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


def labelled(label: list[int], **drawing: Any) -> LabelledImage:
    return LabelledImage(drawn(label, **drawing), np.array(label, np.int32))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8),
    st.lists(st.integers(11, 19), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_image_and_label_change_alike(label: list[int], others: list[int], seed: int) -> None:
    widths = tuple(3 + class_id % 4 for class_id in label)
    source, second = labelled(label, widths=widths), labelled(others)
    before = source.image.copy()
    anew = set_anew(source, np.random.default_rng(seed), Typesetting(mix=0.5), second)
    assert anew.image.dtype == np.uint8
    assert anew.label.dtype == np.int32
    assert anew.image.shape[1:] == source.image.shape[1:]
    assert len(anew.image) >= len(source.image)
    assert spelled(anew.image) == anew.label.tolist()
    assert len(anew.label) == len(label)
    assert {*anew.label.tolist()} <= {*label, *others}
    assert (source.image == before).all()
    repeats = (anew.label[1:] == anew.label[:-1]).sum()
    assert repeats <= (source.label[1:] == source.label[:-1]).sum()  # it fits as many time steps


@pytest.mark.parametrize(("mix", "foreign"), [(0.0, (0, 0)), (0.5, (25, 75)), (1.0, (80, 100))])
def test_letters_of_a_second_image_come_into_a_share_of_the_texts(
    mix: float, foreign: tuple[int, int]
) -> None:
    source, second = labelled([1, 2, 3, 4, 5]), labelled([11, 12, 13])
    random = np.random.default_rng(0)
    texts = [set_anew(source, random, Typesetting(mix=mix), second).label for _ in range(100)]
    assert foreign[0] <= sum((text > 10).any() for text in texts) <= foreign[1]
    own = [text for text in texts if (text < 10).all()]
    assert all(sorted(text) == [1, 2, 3, 4, 5] for text in own)


def test_a_second_image_whose_letters_touch_gives_none() -> None:
    source, second = labelled([1, 2, 3]), labelled([11, 12], gap=0)
    random = np.random.default_rng(0)
    for _ in range(20):
        anew = set_anew(source, random, Typesetting(mix=1), second)
        assert sorted(anew.label) == [1, 2, 3]


def test_orders_differ_and_a_seed_repeats_them() -> None:
    source = labelled([1, 2, 3, 4, 5])

    def orders(seed: int) -> list[list[int]]:
        random = np.random.default_rng(seed)
        return [set_anew(source, random, Typesetting()).label.tolist() for _ in range(5)]

    assert orders(0) == orders(0)
    assert len({tuple(order) for order in orders(0)}) > 1


def test_letters_that_only_change_places_keep_their_gaps() -> None:
    source = labelled([1, 2, 3, 4], gap=4, widths=(3, 5, 7, 9))
    for seed in range(10):
        anew = set_anew(source, np.random.default_rng(seed), Typesetting())
        assert anew.image.shape == source.image.shape
        counts = [np.bincount(image[:, 1, 0]).tolist() for image in (anew.image, source.image)]
        assert counts[0] == counts[1]


def test_gaps_differ_and_letters_never_touch() -> None:
    source, random = labelled([1, 2, 3, 4]), np.random.default_rng(0)
    gaps = []
    for _ in range(50):
        empty = ~set_anew(source, random, Typesetting(turn_degrees=1e-9)).image.any(axis=(1, 2))
        edges = np.flatnonzero(np.diff(empty.astype(int)))
        gaps += np.diff(edges)[1::2].tolist()
    assert (min(gaps), max(gaps)) == GAPS
    assert len(gaps) == 150


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_letter_turns_and_stays_whole(channels: int) -> None:
    image = np.zeros((40, 32, channels), np.uint8)
    image[10:18, 2:30] = 200  # a bar of 8 x 28
    source = LabelledImage(image, np.array([1], np.int32))
    random = np.random.default_rng(0)
    sizes, areas = [], []
    for _ in range(50):
        anew = set_anew(source, random, Typesetting(turn_degrees=30)).image
        ink = anew[..., -1] > 100
        along = np.flatnonzero(ink.any(axis=1))
        sizes.append(along[-1] - along[0] + 1)
        areas.append(ink.sum() / (8 * 28))
    assert min(sizes) <= 10
    assert max(sizes) >= 17  # turned by 20 degrees and more
    assert min(areas) > 0.6  # as small as it takes to stay within the height, and no smaller
    assert max(areas) < 1.1


def test_letters_turn_both_ways_each_by_itself() -> None:
    image = np.zeros((60, 32, 1), np.uint8)
    image[10:14, 8:24] = 200
    image[30:34, 8:24] = 200
    source = LabelledImage(image, np.array([1, 2], np.int32))
    random = np.random.default_rng(0)
    slopes = []
    for _ in range(40):
        anew = set_anew(source, random, Typesetting(turn_degrees=30)).image
        for at in split_letters(anew, 2) or []:
            along, across = np.nonzero(anew[at][..., 0] > 100)
            slopes.append(np.polyfit(across, along, 1)[0])
    assert min(slopes) < -0.2
    assert max(slopes) > 0.2
    first, second = np.array(slopes).reshape(-1, 2).T
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5


def test_letters_are_resized_and_shifted() -> None:
    image = np.zeros((40, 32, 1), np.uint8)
    image[10:20, 11:21] = 200
    source = LabelledImage(image, np.array([1], np.int32))
    random = np.random.default_rng(0)
    widths, heights, middles = [], [], []
    for _ in range(60):
        anew = set_anew(source, random, Typesetting(resize=0.3, shift=0.2)).image
        along, across = np.nonzero(anew[..., 0] > 100)
        widths.append(np.ptp(along) + 1)
        heights.append(np.ptp(across) + 1)
        middles.append(across.mean())
    for sizes in (widths, heights):
        assert 6 <= min(sizes) <= 8
        assert 12 <= max(sizes) <= 14
    assert 8 < min(middles) < 11
    assert 20 < max(middles) < 23
    assert abs(np.corrcoef(widths, heights)[0, 1]) < 0.5  # each by itself


def test_what_cant_be_told_apart_stays() -> None:
    source = labelled([1, 2, 3], gap=0)
    assert set_anew(source, np.random.default_rng(0), Typesetting()) is source


def test_a_text_that_always_repeats_more_stays() -> None:
    source, second = labelled([1, 2]), labelled([9, 9, 9])
    random = np.random.default_rng(0)
    for _ in range(40):
        label = set_anew(source, random, Typesetting(mix=1), second).label
        assert label[0] != label[1]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("share", 1.1, "letters.share is 0 to 1."),
        ("mix", -0.1, "letters.mix is 0 to 1."),
        ("resize", 0.95, "letters.resize is 0 to 0.9."),
        ("shift", 2, "letters.shift is 0 to 1."),
        ("turn_degrees", 181, "letters.turn_degrees is 0 to 180."),
    ],
)
def test_values_have_ranges(name: str, value: float, rule: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(rule)):
        Typesetting(**{name: value})
