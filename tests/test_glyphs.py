"""A field of distances gives the letter that the font draws, at any size, and others on purpose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from crnn_captcha import glyphs as glyphs_module
from crnn_captcha.fonts import Font, find_fonts
from crnn_captcha.glyphs import (
    EDGE,
    MASTER_PX,
    Glyph,
    Letter,
    Shape,
    field,
    glyph,
    levels,
    shaped,
    turned,
)

FONT = Font("Aileron", "Regular", None)  # there on every machine
CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _glyph(character: str) -> Glyph:
    return glyph(FONT, character, CHARACTERS)


def _drawn(character: str, shape: Shape) -> Letter:
    letter = shaped(_glyph(character), shape)
    return replace(letter, mask=levels(shape)[letter.mask])


def _ink(letter: Letter) -> NDArray[np.int64]:
    """First and last row and column with ink, seen from where the pen stands."""
    found = [np.flatnonzero(letter.mask.max(axis=axis) > 127) for axis in (1, 0)]
    rows, columns = found[0] + letter.top, found[1] + letter.left
    return np.array([rows[0], rows[-1], columns[0], columns[-1]])


def test_what_a_font_lacks_does_not_count_for_its_size() -> None:
    font = next((font for font in find_fonts(CHARACTERS) if font.family == "Lobster"), None)
    if font is None:
        pytest.skip("the font, whose box for what it lacks is high, isn't installed")
    lacked = "\u6f22"
    assert font.lacking(CHARACTERS + lacked) == lacked
    assert glyph(font, "i", CHARACTERS + lacked).em_px == glyph(font, "i", CHARACTERS).em_px


@pytest.mark.parametrize("character", ["i", "W", "g", "8"])
def test_a_letter_is_what_the_font_draws(character: str) -> None:
    """At the size that fields are made at, over one another, from the same pen."""
    pen = np.array([100, 300])  # column and row, in pixels of the larger image
    canvas = Image.new("L", (400, 400))
    face = FONT.at(_glyph(character).em_px)
    ImageDraw.Draw(canvas).text((pen[0], pen[1]), character, 255, face, anchor="ls")
    expected = np.asarray(canvas.resize((200, 200), Image.Resampling.BOX), np.float64)
    letter = _drawn(character, Shape(1.0))
    mask = np.zeros_like(expected)
    column, row = pen // 2 + (letter.left, letter.top)
    mask[row : row + letter.mask.shape[0], column : column + letter.mask.shape[1]] = letter.mask
    assert np.abs(mask - expected).sum() < 0.12 * expected.sum()


def test_the_tallest_character_is_as_high_as_stated() -> None:
    rises = {character: _glyph(character).rise for character in CHARACTERS}
    assert max(rises.values()) == pytest.approx(MASTER_PX, abs=1)
    assert rises["x"] < 0.9 * MASTER_PX
    assert _glyph("g").drop > 5 > 1 > _glyph("h").drop


@settings(max_examples=25)
@given(st.sampled_from(CHARACTERS), st.floats(0.3, 2), st.floats(0.7, 1.3))
def test_letters_scale_and_stretch_about_the_pen(c: str, scale: float, stretch: float) -> None:
    edges = np.array([0, 1, 0, 1])  # the last pixel ends one further on
    expected = (_ink(_drawn(c, Shape(1.0))) + edges) * scale * np.array([1, 1, stretch, stretch])
    found = _ink(_drawn(c, Shape(scale, stretch))) + edges
    np.testing.assert_allclose(found, expected, atol=2)  # edges fall on whole pixels, in both


def test_the_measures_are_those_of_what_is_drawn() -> None:
    for character in CHARACTERS:
        sign = _glyph(character)
        top, bottom, left, right = _ink(_drawn(character, Shape(1.0)))
        assert (-top, bottom + 1) == pytest.approx((sign.rise, sign.drop), abs=1)
        assert sign.left - 1 <= left < right + 1 <= sign.left + sign.width + 1


def test_a_slant_leaves_the_line_and_moves_the_top() -> None:
    upright, slanted = (_drawn("l", Shape(1.0, slant=slant)) for slant in (0.0, 0.3))

    def middle(letter: Letter, row: int) -> float:
        return float(np.flatnonzero(letter.mask[row - letter.top] > 127).mean() + letter.left)

    assert middle(slanted, -2) == pytest.approx(middle(upright, -2), abs=1)
    assert middle(slanted, -40) - middle(upright, -40) == pytest.approx(0.3 * 40, abs=1)


def test_weight_adds_to_every_edge() -> None:
    thin, plain, bold = (_ink(_drawn("x", Shape(1.0, weight_px=w))) for w in (-1.0, 0.0, 2.0))
    np.testing.assert_allclose(plain - bold, [2, -2, 2, -2], atol=1)
    assert (thin - plain)[[0, 2]].min() >= 0


def test_an_outline_is_hollow() -> None:
    whole, hollow = (_drawn("0", Shape(1.5, outline_px=width)) for width in (0.0, 1.2))
    np.testing.assert_allclose(_ink(hollow), _ink(whole), atol=1)
    assert hollow.mask.sum() < 0.6 * whole.mask.sum()
    deepest = shaped(_glyph("0"), Shape(1.5)).mask.argmax()
    assert [int(letter.mask.flat[deepest]) for letter in (whole, hollow)] == [255, 0]


def test_a_wave_moves_rows_and_keeps_the_ink() -> None:
    wave = Shape(1.0, wave_px=4.0, wave_length_px=30.0)
    straight, bent = _drawn("l", Shape(1.0)), _drawn("l", wave)
    middles = [np.flatnonzero(row > 127).mean() for row in bent.mask if row.max() > 127]
    assert np.ptp(middles) == pytest.approx(8, abs=1.5)
    assert int(bent.mask.sum()) == pytest.approx(int(straight.mask.sum()), rel=0.05)


def test_nothing_is_drawn_where_the_field_ends() -> None:
    assert levels(Shape(0.01, weight_px=5))[0] == 0
    assert (np.diff(levels(Shape(1.0)).astype(int)) >= 0).all()
    assert levels(Shape(1.0))[EDGE] == 128


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("angle", [-30.0, 90.0, 10.0])
def test_turning_keeps_ink_and_middle(angle: float, smooth: bool) -> None:
    letter = _drawn("L", Shape(1.0))
    result = turned(letter, angle, smooth=smooth)
    assert int(result.mask.sum()) == pytest.approx(int(letter.mask.sum()), rel=0.08)
    for old, new, of in ((letter.left, result.left, 1), (letter.top, result.top, 0)):
        middle = old + letter.mask.shape[of] / 2
        assert new + result.mask.shape[of] / 2 == pytest.approx(middle, abs=1)
    if not smooth:  # nothing but the letter's own pixels
        assert set(np.unique(result.mask)) <= set(np.unique(letter.mask))


def test_turning_goes_against_the_clock() -> None:
    """The foot of an L points to the right; turned by a quarter, upwards."""
    rows, columns = np.nonzero(turned(_drawn("L", Shape(1.0)), 90, smooth=True).mask > 127)
    foot = rows[columns > columns.max() - 4]
    assert foot.mean() < rows.mean() + 2
    assert np.ptp(foot) > 20


def test_fields_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = field(_glyph("q"))
    monkeypatch.setattr(glyphs_module, "_depth", None)
    assert field(_glyph("q")) is first
    assert first.half_stroke == pytest.approx(3, abs=2)


def test_a_font_that_hangs_below_the_line_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    class Low:
        def getbbox(self, text: str, anchor: str) -> tuple[float, float, float, float]:
            return 0, 10, 50, 60

    font = Font("Low", "Regular", None)
    monkeypatch.setattr(Font, "at", lambda self, size_px: Low())
    monkeypatch.setattr(Font, "lacking", lambda self, characters: "")
    assert glyphs_module._em_px(font, "low") == 100 * MASTER_PX * 2 // 25
