from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np
import pytest
from plain_images import BLACK, RED, captcha, paper

from crnn_captcha.stages import (
    LIMITS,
    PAPER,
    STAGES,
    Image,
    adaptive_threshold,
    add_ink,
    clahe,
    crop_ink,
    grayscale,
    invert,
    median_blur,
    narrow_gaps,
    opening,
    resize_height,
)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (6, 5)])
@pytest.mark.parametrize(("black", "paper"), [(24, 250), (0, 256), (256, 0), (256, 256), (0, 0)])
def test_ink_is_neither_near_black_nor_paper(
    shape: tuple[int, int], black: int, paper: int
) -> None:
    levels = [0, 23, 24, 100, 249, 250, 255]
    images = np.random.default_rng(1).choice(levels, (20, *shape, 3)).astype(np.uint8)
    for image in images:
        ink = (image.min(axis=2) < paper) & (image.max(axis=2) >= black)
        assert crop_ink(image, black=black, paper=paper, pixels=1, margin=0).shape[:2] == (
            tuple(np.ptp(np.argwhere(ink), axis=0) + 1) if ink.any() else shape
        )


def test_grayscale_weighs_the_colours() -> None:
    primaries = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]], np.uint8)
    assert grayscale(primaries).tolist() == [[76, 150, 29, 255]]  # 0.299, 0.587, 0.114


def test_median_blur_takes_out_specks_and_thin_lines_and_keeps_edges() -> None:
    image = np.full((9, 14), 255, np.uint8)
    image[:, 9:] = 0
    clean = image.copy()
    image[2, 2] = 0  # a speck
    image[6, :7] = 0  # a line
    assert (median_blur(image, size=3) == clean).all()
    assert (median_blur(image, size=1) == image).all()


def test_clahe_raises_a_low_contrast() -> None:
    image = np.full((64, 64), 120, np.uint8)
    image[:, ::2] = 130
    flat = clahe(image)
    assert flat[:, ::2].min() - int(flat[:, 1::2].max()) > 10
    stronger = clahe(image, clip_limit=8)
    assert np.ptp(stronger) > np.ptp(flat)


def test_adaptive_threshold_makes_ink_white_under_any_light() -> None:
    light = np.linspace(120, 250, 60).astype(np.uint8)  # brighter and brighter paper
    image = np.tile(light, (30, 1))
    image[10:20, 8:11] -= 60
    image[10:20, 48:51] -= 60  # brighter than the paper at the left
    ink = np.zeros(image.shape, bool)
    ink[10:20, [8, 9, 10, 48, 49, 50]] = True
    result = adaptive_threshold(image, block=15, c=3)
    assert set(np.unique(result)) == {0, 255}
    assert ((result == 255) == ink).all()


def test_adaptive_threshold_lets_c_pass() -> None:
    image = np.full((30, 30), 200, np.uint8)
    image[15, 15] = 190
    assert adaptive_threshold(image, c=3)[15, 15] == 255
    assert not adaptive_threshold(image, c=12).any()


def test_opening_takes_out_what_is_thinner_than_its_square() -> None:
    image = np.zeros((9, 12), np.uint8)
    image[4:7, 6:10] = 255
    clean = image.copy()
    image[1, 1] = 255
    image[:, 3] = 255
    assert (opening(image, size=3) == clean).all()
    assert (opening(image, size=2) == np.roll(clean, (1, 1), (0, 1))).all()  # OpenCV's anchor
    assert not opening(image, size=4).any()
    assert (opening(image, size=1) == image).all()


def test_invert() -> None:
    assert invert(np.array([[0, 100, 255]], np.uint8)).tolist() == [[255, 155, 0]]


def test_crop_ink_cuts_to_the_colour_and_not_to_the_black_lines() -> None:
    cut = crop_ink(captcha(), margin=2)
    assert cut.shape == (44, 14, 3)
    assert (cut == captcha()[18:62, 98:112]).all()


def test_crop_ink_has_no_margin_outside_the_image() -> None:
    image = paper(10, 20)
    image[0:4, 15:20] = RED
    assert (crop_ink(image, margin=3) == image[0:7, 12:20]).all()
    assert (crop_ink(image, margin=0) == image[0:4, 15:20]).all()


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        pytest.param(paper(8, 9), (8, 9, 3), id="white"),
        pytest.param(np.zeros((8, 9, 3), np.uint8), (8, 9, 3), id="black"),
        pytest.param(paper(1, 1), (1, 1, 3), id="one pixel"),
    ],
)
def test_crop_ink_keeps_an_image_without_ink_whole(image: Image, shape: tuple[int, ...]) -> None:
    assert crop_ink(image).shape == shape


def test_crop_ink_leaves_out_rows_and_columns_with_few_ink_pixels() -> None:
    image = paper(20, 20)
    image[8:12, 8:12] = RED
    image[2, 2] = RED  # a coloured speck
    assert crop_ink(image, margin=0).shape == (4, 4, 3)
    assert crop_ink(image, margin=0, pixels=1).shape == (10, 10, 3)


@pytest.mark.parametrize(
    ("colour", "is_ink"),
    [
        pytest.param((23, 23, 23), False, id="just a line"),
        pytest.param((24, 0, 0), True, id="just no line"),
        pytest.param((250, 255, 255), False, id="just paper"),
        pytest.param((249, 255, 255), True, id="just no paper"),
    ],
)
def test_crop_ink_tells_ink_by_its_darkest_and_brightest_channel(
    colour: tuple[int, int, int], is_ink: bool
) -> None:
    image = paper(20, 20)
    image[8:12, 8:12] = colour
    assert (crop_ink(image).shape != image.shape) is is_ink


@pytest.mark.parametrize(
    ("gap", "columns"),
    [
        pytest.param(4, [*range(7), *range(8, 16)], id="even"),
        pytest.param(3, [*range(7), *range(9, 16)], id="odd"),
        pytest.param(0, [*range(5), *range(10, 14)], id="none"),
        pytest.param(500, range(100), id="wider than the image"),
    ],
)
def test_narrow_gaps_keeps_the_ends_of_a_run_without_ink(gap: int, columns: Sequence[int]) -> None:
    image = paper(20, 100)
    image[5:9, 0:5] = image[3:15, 10:14] = RED
    image[::3] = np.where(image[::3] == PAPER, np.array(BLACK, np.uint8), image[::3])  # no ink
    image[..., 0] -= np.arange(100, dtype=np.uint8) // 25  # columns differ
    narrowed = narrow_gaps(image, gap=gap)
    kept = [i for i in range(100) if i in {*columns}]
    assert narrowed.shape[1] == len(kept), narrowed.shape
    assert (narrowed == image[:, kept]).all()


@pytest.mark.parametrize("image", [paper(8, 90), np.zeros((8, 90, 3), np.uint8)])
def test_narrow_gaps_keeps_an_image_without_ink_whole(image: Image) -> None:
    assert narrow_gaps(image) is image


def test_narrow_gaps_leaves_paper_alone_that_is_not_clean() -> None:
    image = np.random.default_rng(0).integers(100, 250, (20, 90, 3), np.uint8)
    assert (narrow_gaps(image, gap=2) == image).all()


def test_add_ink_is_black_on_white_whatever_the_colour() -> None:
    image = paper(20, 120)
    colours = [RED, (240, 255, 238), (25, 25, 25), (255, 255, 0)]
    for i, colour in enumerate(colours):
        image[5:15, 10 + 25 * i : 14 + 25 * i] = colour
    result = add_ink(image)
    assert result.shape == (20, 120, 4)
    assert (result[..., :3] == image).all()
    expected = np.where((image == PAPER).all(axis=2), PAPER, 0)
    assert (result[..., 3] == expected).all()


def test_add_ink_says_how_much_of_a_pixel_is_covered() -> None:
    image = paper(20, 20).astype(float)
    pale = np.array([255, 235, 215])  # its darkest channel is 40 away from white
    for column, share in enumerate([0.25, 1, 0.5]):
        image[5:15, 8 + column] = PAPER - share * (PAPER - pale)
    ink = PAPER - add_ink(image.astype(np.uint8))[10, 8:11, 3].astype(int)
    np.testing.assert_allclose(ink, [0.25 * 255, 255, 0.5 * 255], atol=4)


def test_add_ink_leaves_lines_and_nearly_white_paper_out() -> None:
    image = captcha()
    image[70:75] = 251
    ink = add_ink(image)[..., 3]
    assert (ink[20:40, 100:110] == 0).all()
    assert (ink[40:42] == PAPER).all()
    assert (ink[70:75] == PAPER).all()


@pytest.mark.parametrize(
    ("size", "parameters", "width"),
    [
        pytest.param((80, 200), {"height": 40}, 100, id="smaller"),
        pytest.param((20, 50), {"height": 40}, 100, id="larger"),
        pytest.param((40, 77), {"height": 40}, 77, id="as it is"),
        pytest.param((40, 77), {"height": 40, "min_width": 90}, 90, id="stretched"),
        pytest.param((40, 77), {"height": 40, "max_width": 50}, 50, id="squeezed"),
        pytest.param((80, 20_000), {"height": 40}, 4096, id="bounded"),
        pytest.param((500, 1), {"height": 40}, 1, id="never without a column"),
    ],
)
def test_resize_height_keeps_the_aspect_ratio_within_bounds(
    size: tuple[int, int], parameters: dict[str, int], width: int
) -> None:
    assert resize_height(paper(*size), **parameters).shape == (40, width, 3)


def test_resize_height_averages_what_it_shrinks() -> None:
    image = np.zeros((4, 4), np.uint8)
    image[:, ::2] = 200
    assert resize_height(image, height=2).tolist() == [[100, 100], [100, 100]]


# ---- As data


def test_every_parameter_has_limits_that_its_default_keeps() -> None:
    found = set()
    for function in STAGES.values():
        for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
            found.add(name)
            if parameter.default is not parameter.empty:
                low, high = LIMITS[name]
                assert low <= parameter.default <= high
    assert found == LIMITS.keys()
