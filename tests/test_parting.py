from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_images import BLACK, RED, paper

from crnn_captcha.parting import (
    GAP,
    MAX_PARTS,
    MAX_RUNS,
    PAPER,
    columns_apart,
    set_apart,
    split_by_colour,
)
from crnn_captcha.preprocessing import Pipeline, Stage
from crnn_captcha.stages import Image, part_letters, scaled_columns

BLUE = (30, 30, 200)
PALE = (235, 250, 240)


def ink_of(image: Image) -> Image:
    ink = (image.min(axis=2) < 250) & (image.max(axis=2) >= 24)
    return np.asarray(ink, np.uint8)


def overlapping(height: int = 40) -> Image:
    """A red bar from column 20 to 40, and a blue one over it from 35 to 60."""
    image = paper(height, 100)
    image[10:30, 20:40] = RED
    image[5:25, 35:60] = BLUE
    return image


def is_colour(image: Image, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((image == np.array(colour, np.uint8)).all(axis=2))


def test_letters_that_overlap_get_columns_of_their_own() -> None:
    image = overlapping()
    apart = part_letters(image)
    reds, blues = (np.flatnonzero(is_colour(apart, c).any(axis=0)) for c in (RED, BLUE))
    assert reds.tolist() == list(range(20, 40))
    assert blues.tolist() == list(range(40 + GAP, 65 + GAP))
    assert (apart[:, 40 : 40 + GAP] == PAPER).all()
    for colour in (RED, BLUE):  # nothing is lost, nothing is new
        assert is_colour(apart, colour).sum() == is_colour(image, colour).sum()
    assert (apart[:, 65 + GAP :] == image[:, 60:]).all()


def test_letters_that_touch_are_set_apart_in_their_order() -> None:
    image = paper(40, 100)
    colours = [RED, BLUE, (0, 160, 0), (200, 100, 0)]
    for i, colour in enumerate(colours):
        image[10:30, 10 + 15 * i : 25 + 15 * i] = colour
    apart = part_letters(image)
    assert apart.shape[1] == 100 + 3 * GAP
    firsts = [int(np.flatnonzero(is_colour(apart, c).any(axis=0))[0]) for c in colours]
    assert firsts == [10 + (15 + GAP) * i for i in range(4)]


def test_letters_of_one_colour_with_another_between_them_are_two() -> None:
    image = paper(40, 100)
    for i, colour in enumerate([RED, BLUE, RED]):
        image[10:30, 10 + 15 * i : 25 + 15 * i] = colour
    apart = part_letters(image)
    assert apart.shape[1] == 100 + 2 * GAP
    reds = np.flatnonzero(is_colour(apart, RED).any(axis=0)).tolist()
    assert reds == [*range(10, 25), *range(40 + 2 * GAP, 55 + 2 * GAP)]


def test_a_letter_in_two_parts_stays_one() -> None:
    image = paper(40, 100)
    image[10:30, 10:16] = image[10:30, 30:36] = RED  # an H whose bar a line hides
    image[18:20, 16:30] = BLACK
    image[10:30, 36:50] = BLUE
    apart = part_letters(image)
    assert apart.shape[1] == 100 + GAP
    reds = np.flatnonzero(is_colour(apart, RED).any(axis=0)).tolist()
    assert reds == [*range(10, 16), *range(30, 36)]


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(paper(40, 60), id="empty"),
        pytest.param(np.zeros((40, 60, 3), np.uint8), id="black"),
        pytest.param(paper(1, 1), id="one pixel"),
    ],
)
def test_without_letters_nothing_changes(image: Image) -> None:
    assert part_letters(image) is image


def test_letters_that_stand_apart_stay() -> None:
    image = paper(40, 100)
    image[10:30, 10:30] = RED
    image[10:30, 31:50] = BLUE
    assert part_letters(image) is image


@pytest.mark.parametrize(("black", "paper_level"), [(0, 256), (256, 0), (0, 0), (256, 256)])
def test_any_idea_of_ink_will_do(black: int, paper_level: int) -> None:
    half = paper(40, 60)
    half[:, 30:] = RED
    for image in (paper(40, 60), half, np.zeros((40, 60, 3), np.uint8)):
        apart = part_letters(image, black=black, paper=paper_level)
        shown = is_colour(apart, RED).sum(), is_colour(apart, BLACK).sum()
        assert shown == (is_colour(image, RED).sum(), is_colour(image, BLACK).sum())


def test_letters_of_one_colour_cannot_be_told_apart() -> None:
    image = paper(40, 100)
    image[10:30, 10:30] = image[5:25, 28:50] = RED
    assert part_letters(image) is image


@pytest.mark.parametrize("colour", [RED, BLUE, PALE, (128, 128, 128)], ids=str)
def test_soft_edges_are_of_their_letter(colour: tuple[int, int, int]) -> None:
    """However thin its strokes: most of its pixels may be mixed with white."""
    image = paper(40, 60)
    shares = np.random.default_rng(0).uniform(0, 1, (30, 20, 1))
    image[5:35, 20:40] = np.rint(PAPER - shares * (PAPER - np.array(colour)))
    assert part_letters(image) is image


def test_scattered_pixels_of_a_colour_go_with_the_letter_around_them() -> None:
    image = paper(40, 100)
    image[10:30, 10:50] = BLUE
    image[12:28:3, 12:48:4] = RED
    assert is_colour(part_letters(image), RED).sum() == is_colour(image, RED).sum()


def test_an_image_without_flat_colours_stays() -> None:
    image = np.random.default_rng(0).integers(30, 250, (40, 90, 3)).astype(np.uint8)
    assert part_letters(image) is image


def test_an_image_of_many_shades_or_runs_is_no_text() -> None:
    random = np.random.default_rng(0)
    photo = random.integers(24, 250, (200, 200, 3)).astype(np.uint8)
    assert part_letters(photo) is photo
    pairs = paper(16, 20 * (MAX_RUNS + 1))
    for left in range(0, pairs.shape[1], 20):
        pairs[:, left : left + 8] = RED
        pairs[:, left + 8 : left + 16] = BLUE
    assert part_letters(pairs) is pairs
    fewer = pairs[:, 20:].copy()
    assert part_letters(fewer).shape[1] == fewer.shape[1] + MAX_RUNS * GAP


def test_many_parts_under_one_bar_stay_together_and_cost_no_memory() -> None:
    combs = paper(10, 8 * 20_000)
    combs[0:2] = BLUE
    combs[6:9, ::8] = combs[6:9, 1::8] = RED
    tracemalloc.start()
    assert part_letters(combs) is combs
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * combs.size
    fewer = combs[:, : 8 * (MAX_PARTS - 1)].copy()  # the bar is a part as well
    assert part_letters(fewer).shape[1] > fewer.shape[1]
    one_more = combs[:, : 8 * MAX_PARTS].copy()
    assert part_letters(one_more) is one_more


def test_a_dot_goes_with_its_letter() -> None:
    image = overlapping()
    image[2:8, 26:34] = RED
    apart = part_letters(image)
    assert is_colour(apart, RED)[2:8, 26:34].all()
    assert np.flatnonzero(is_colour(apart, RED).any(axis=0)).tolist() == list(range(20, 40))


def test_specks_of_a_colour_in_another_letter_do_not_widen_it() -> None:
    image = overlapping()
    image[15, 56:58] = RED
    apart = part_letters(image)
    assert np.flatnonzero(is_colour(apart, RED).any(axis=0)).max() == 40 + GAP + 22
    assert is_colour(apart, RED)[:, :40].any(axis=0).sum() == 20
    assert apart.shape[1] == part_letters(overlapping()).shape[1]


def test_lines_stay_over_each_of_the_letters() -> None:
    image = overlapping()
    image[20] = BLACK
    apart = part_letters(image)
    black = is_colour(apart, BLACK)[20]
    assert black[:40].all()
    assert black[40 + GAP :].all()
    assert not black[40 : 40 + GAP].any()


def test_mixed_colours_go_to_the_nearest_letter() -> None:
    image = overlapping()
    mixed = (125, 30, 115)  # half of each, where one letter lies softly over the other
    image[10:25, 35] = mixed
    apart = part_letters(image)
    assert is_colour(apart, mixed).sum() == 15


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(4, 25), st.integers(0, 25), st.integers(4, 12)),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 2**31),
)
def test_no_ink_is_lost_or_made(boxes: list[tuple[int, int, int, int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    image = paper(40, 90)
    for left, width, top, height in boxes:
        image[top : top + height, left : left + width] = random.integers(24, 250, 3)
    ink = ink_of(image)
    pieces = split_by_colour(image, ink)
    apart = set_apart(image, pieces) if pieces else image
    before, after = (
        np.unique(shown[ink_of(shown) > 0], axis=0, return_counts=True) for shown in (image, apart)
    )
    assert (before[0] == after[0]).all()
    assert (before[1] == after[1]).all()
    columns = np.stack([np.arange(90.0), np.arange(1.0, 91.0)], axis=1)
    assert len(columns_apart(columns, pieces) if pieces else columns) == apart.shape[1]


def test_columns_are_found_again_though_letters_share_them() -> None:
    image = overlapping(80)
    pipeline = Pipeline(
        (Stage("crop_ink"), Stage("part_letters"), Stage("resize_height", {"height": 32}))
    )
    prepared = pipeline(image)  # (width, height, channels)
    columns = pipeline.columns(image)
    assert columns.shape == (len(prepared), 2)
    assert (columns[:, 0] <= columns[:, 1]).all()
    middles = columns.mean(axis=1)
    red, blue = prepared[..., 0] > 150, prepared[..., 2] > 150
    for shown, other, (left, right) in ((red, blue, (20, 40)), (blue, red, (35, 60))):
        own = (shown & ~other).any(axis=1)
        assert own.sum() > 10
        assert (middles[own] > left - 2).all()
        assert (middles[own] < right + 2).all()


def test_scaled_columns_start_before_they_end() -> None:
    columns = np.array([[10.0, 11.0], [11.0, 12.0], [5.0, 6.0], [6.0, 7.0]])
    assert scaled_columns(columns, 2).tolist() == [[10.0, 12.0], [5.0, 7.0]]
    assert scaled_columns(columns, 1).tolist() == [[7.0, 10.0]]


@pytest.mark.parametrize("scaled", range(1, 130))
def test_scaled_columns_keep_to_their_side_of_a_gap(scaled: int) -> None:
    columns = np.stack([np.arange(60), np.arange(1, 61)], axis=1).astype(np.float64)
    columns[30:] += 100  # what was cut out
    spans = scaled_columns(columns, scaled)
    over = (spans[:, 0] < 30) & (spans[:, 1] > 31)
    assert over.sum() == scaled % 2  # the middle one, if there is one
