"""A drawn image says its label and looks as the style states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from crnn_captcha.charset import Charset
from crnn_captcha.drawing import DEFAULT_STYLE, LUMA, Style, draw
from crnn_captcha.errors import CharsetError, ConfigError, LabelError
from crnn_captcha.fonts import Font

FONTS = (Font("Aileron", "Regular", None),)  # there on every machine
CHARACTERS = DEFAULT_STYLE.charset.characters
PLAIN = replace(
    DEFAULT_STYLE,
    lines=(0, 0),
    rotated_share=0,
    capitals_share=0,
    outlined_share=0,
    transparent_share=1,
)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)  # (height, width, 4)


def _drawn(label: str, style: Style, seed: int = 0) -> NDArray[np.uint8]:
    return _pixels(draw(label, style, np.random.default_rng(seed), FONTS))


def test_every_character_is_drawn_in_its_own_way() -> None:
    style = replace(PLAIN, extra_width_px=(100, 100), line_height_px=(40, 40))
    drawn = {c: _drawn(c, style) for c in CHARACTERS}
    assert all((pixels[..., 3] == 255).sum() >= 20 for pixels in drawn.values())
    assert len({pixels.tobytes() for pixels in drawn.values()}) == len(CHARACTERS)


@pytest.mark.parametrize("label", ["xo", "abcd", "w8w8w8w8"])
def test_every_character_has_its_place_and_a_legible_colour_of_its_own(label: str) -> None:
    style = replace(PLAIN, overlap_px=0, jitter_px=(0, 0), line_height_px=(40, 40))
    pixels = _drawn(label, style, seed=4)
    solid = pixels[pixels[..., 3] == 255][:, :3]  # (pixels, 3)
    colours, counts = np.unique(solid, axis=0, return_counts=True)
    assert len(colours) == len(label)
    assert counts.min() >= 20
    assert (colours @ LUMA).max() <= style.max_luma


def test_another_label_changes_the_ink_and_the_same_one_does_not() -> None:
    assert not np.array_equal(_drawn("abcd", PLAIN), _drawn("abce", PLAIN))
    np.testing.assert_array_equal(_drawn("abcd", PLAIN), _drawn("abcd", PLAIN))


@settings(max_examples=40, deadline=None)
@given(st.text(CHARACTERS, min_size=1, max_size=32), st.integers(0, 2**32))
def test_the_ink_stays_inside_the_image(label: str, seed: int) -> None:
    style = replace(PLAIN, rotated_share=1, capitals_share=0.5)
    alpha = _drawn(label, style, seed)[..., 3]  # (height, width)
    border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert not border.any()
    assert alpha.any()


def test_crowded_characters_shrink_until_they_fit() -> None:
    style = replace(PLAIN, extra_width_px=(0, 0), line_height_px=(70, 70))
    alpha = _drawn("wwwwmmmm", style)[..., 3]
    columns = np.flatnonzero(alpha.any(axis=0))
    assert columns[0] >= style.margin_px - 2
    assert columns[-1] < alpha.shape[1] - style.margin_px + 2


@pytest.mark.parametrize(("share", "opacity"), [(0, 255), (1, 0)], ids=["white", "transparent"])
def test_the_background_is_white_or_transparent(share: float, opacity: int) -> None:
    corner = _drawn("abcd", replace(PLAIN, transparent_share=share))[0, 0]
    assert corner.tolist() == [255, 255, 255, opacity]


def test_lines_are_black_and_lie_over_the_text() -> None:
    bare = _drawn("abcd", PLAIN)
    lined = _drawn("abcd", replace(PLAIN, lines=(10, 10)))
    changed = (bare != lined).any(axis=-1)  # (height, width)
    assert changed.sum() > 100
    assert (lined[changed] == [0, 0, 0, 255]).all()


def test_rotation_turns_characters_and_outlines_hollow_them() -> None:
    style = replace(PLAIN, line_height_px=(40, 40))
    upright = _drawn("iiii", style)
    turned = _drawn("iiii", replace(style, rotated_share=1))
    hollow = _drawn("iiii", replace(style, outlined_share=1))
    assert not np.array_equal(upright, turned)
    ink = [(pixels[..., 3] > 128).any(axis=0).sum() for pixels in (upright, turned)]
    assert ink[1] > ink[0]  # a leaning i covers more columns
    assert not np.array_equal(upright, hollow)


@pytest.mark.parametrize(
    ("charset", "label", "as_capitals"),
    [
        pytest.param("abc1", "ab1", True, id="small-letters"),
        pytest.param("abcA", "ab", False, id="a-capital-is-another-character"),
        pytest.param("abC", "aC", False, id="the-label-has-capitals"),
        pytest.param("123", "12", False, id="no-letters"),
    ],
)
def test_capitals_are_shown_only_where_they_cannot_be_mistaken(
    charset: str, label: str, as_capitals: bool
) -> None:
    style = replace(PLAIN, charset=Charset(charset))
    as_is, capitals = (_drawn(label, replace(style, capitals_share=share)) for share in (0.0, 1.0))
    assert (not np.array_equal(as_is, capitals)) == as_capitals


def test_without_fonts_those_that_are_found_are_used() -> None:
    assert _pixels(draw("abc", PLAIN, np.random.default_rng(0)))[..., 3].any()


@pytest.mark.parametrize("character", ["/", "\\", ".", " ", ":", "\n", "\x00", "\ud800"])
def test_characters_that_cannot_stand_in_a_file_name_are_refused(character: str) -> None:
    with pytest.raises(CharsetError, match=r"becomes a file name.*unfit.*Leave them out"):
        replace(DEFAULT_STYLE, charset=Charset(f"ab{character}"))


@pytest.mark.parametrize(("least", "most"), [(0, 4), (5, 4), (1, 33), (-1, 2)])
def test_lengths_that_cannot_be_are_refused(least: int, most: int) -> None:
    with pytest.raises(ConfigError, match=rf"1 to 32 characters.*Received: {least} to {most}"):
        replace(DEFAULT_STYLE, min_length=least, max_length=most)


def test_pairs_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`lines` is the lowest and the highest.*3 and 2"):
        replace(DEFAULT_STYLE, lines=(3, 2))


@pytest.mark.parametrize(
    ("label", "message"),
    [("", "at least one character"), ("ab?", r"only use the characters.*unknown: '\?'")],
)
def test_labels_that_cannot_be_drawn_are_refused(label: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        draw(label, DEFAULT_STYLE, np.random.default_rng(0), FONTS)
