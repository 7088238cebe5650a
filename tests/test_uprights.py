"""Turned letters find their font, and are turned back."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha.drawing import draw
from crnn_captcha.fonts import Font, find_fonts
from crnn_captcha.styles import ImageStyle, LetterStyle, Range, Style
from crnn_captcha.typefaces import LetterShape, cut_letters, likeness
from crnn_captcha.uprights import KnownLetter, turn_back, turned

BUILT_IN = Font("Aileron", "Regular", None)
CHARACTERS = "abdefghkmnpqrtwxyz"
SIZE_PX = 32


def _style(turn_deg: float) -> Style:
    letters = LetterStyle(
        height_px=Range.of(SIZE_PX), gap_px=Range.of(16), rgb=Range.of(40, 200),
        turned=float(turn_deg > 0), turn_deg=Range.of(turn_deg),
    )  # fmt: skip
    return Style(image=ImageStyle(width_per_character_px=Range.of(70)), letters=letters)


def _letters(label: str, font: Font, turn_deg: float = 0, seed: int = 0) -> list[LetterShape]:
    random = np.random.default_rng(seed)
    return cut_letters(draw(label, _style(turn_deg), random, [font]), label)


def _known(font: Font, characters: str = CHARACTERS) -> dict[str, KnownLetter]:
    halves = filter(None, [characters[:9], characters[9:]])
    letters = [letter for half in halves for letter in _letters(half, font)]
    return {letter.character: KnownLetter(letter, SIZE_PX) for letter in letters}


def _crossed(letter: LetterShape) -> LetterShape:
    """With a line through its middle."""
    hidden = np.zeros(letter.coverage.shape, bool)
    hidden[letter.height // 2] = True
    return replace(letter, coverage=np.where(hidden, 0, letter.coverage), hidden=hidden)


def _alike(one: LetterShape, other: LetterShape) -> float:
    return float(likeness([one], [other])[0, 0])


@pytest.fixture(scope="module")
def serif() -> Font:
    pytest.importorskip("matplotlib")
    fonts = find_fonts("abc")
    return next(f for f in fonts if (f.family, f.style) == ("DejaVu Serif", "Bold"))


def test_a_letter_is_turned_against_the_clock_and_cut_to_its_box() -> None:
    bar: NDArray[np.float32] = np.zeros((20, 12), np.float32)
    bar[:, :4] = 1
    bar[:4] = 1  # an upper left corner
    letter = LetterShape("r", bar, np.zeros(bar.shape, bool), bottom=30)
    quarter = turned(letter, 90)
    assert quarter.coverage.shape == (12, 20)
    assert quarter.bottom == 26  # its middle stays at 20
    np.testing.assert_allclose(quarter.coverage, np.rot90(bar), atol=0.01)
    np.testing.assert_allclose(turned(letter, 0).coverage, bar, atol=0.01)


def test_lines_over_letters_of_a_font_do_not_matter(serif: Font) -> None:
    crossed = {
        c: replace(known, letter=_crossed(known.letter)) for c, known in _known(serif).items()
    }
    images = [_letters("ahkerm", serif, 35, seed) for seed in range(3)]
    found = turn_back(
        [*images, [_crossed(letter) for letter in images[0]]], [_known(BUILT_IN), crossed]
    )
    assert [(upright.image, upright.font) for upright in found] == [(0, 1), (1, 1), (2, 1), (3, 1)]
    for upright in found:
        assert not any(letter.hidden.any() for letter in upright.letters)


def test_turned_letters_find_their_font_and_stand_upright_again(serif: Font) -> None:
    fonts = [_known(BUILT_IN), _known(serif)]
    labels = ["ahkerm", "xbdgpq", "ftwynz"]
    images = [_letters(label, serif, 35, seed) for seed, label in enumerate(labels)]
    found = turn_back(images, fonts)
    assert [(upright.image, upright.font) for upright in found] == [(0, 1), (1, 1), (2, 1)]
    for upright, label in zip(found, labels, strict=True):
        assert "".join(letter.character for letter in upright.letters) == label
        for letter in upright.letters:
            assert letter.turned
            assert _alike(letter, fonts[1][letter.character].letter) > 0.75


def test_a_letter_that_the_font_isnt_known_to_have_is_turned_back_as_others_say(
    serif: Font,
) -> None:
    lacking = {c: letter for c, letter in _known(serif).items() if c != "k"}
    images = [_letters("ahkerm", serif, 35, seed) for seed in range(4)]
    found = turn_back(images, [_known(BUILT_IN), lacking])
    assert [upright.font for upright in found] == [1] * 4
    upright_k = _known(serif)["k"].letter
    recovered = [
        letter for upright in found for letter in upright.letters if letter.character == "k"
    ]
    before = [letter for letters in images for letter in letters if letter.character == "k"]
    gain = [
        _alike(a, upright_k) - _alike(b, upright_k) for a, b in zip(recovered, before, strict=True)
    ]
    assert np.mean(gain) > 0.1


def test_letters_of_no_known_font_stay_out(serif: Font) -> None:
    assert turn_back([_letters("ahkerm", serif, 35)], [_known(BUILT_IN, "abdefghkm")]) == []
    assert turn_back([_letters("ahkerm", serif, 35)], []) == []
    assert turn_back([], [_known(BUILT_IN)]) == []
    assert turn_back([[]], [_known(BUILT_IN)]) == []


def test_sizes_tell_where_shapes_leave_doubt(serif: Font) -> None:
    fonts = [_known(BUILT_IN), _known(serif)]
    narrowed = [_resized(letter, 0.8, 1) for letter in _letters("ahke", serif)]
    assert len(turn_back([narrowed], fonts)) == 1
    larger = [_resized(letter, 1.4, 1.4) for letter in narrowed]
    assert len(turn_back([larger], fonts)) == 1
    of_another_unit = [{c: replace(x, size=x.size * 7) for c, x in font.items()} for font in fonts]
    assert len(turn_back([narrowed], of_another_unit)) == 1
    uneven = [narrowed[0], larger[1], narrowed[2], larger[3]]
    assert turn_back([uneven], fonts) == []


def test_two_letters_tell_no_font(serif: Font) -> None:
    assert turn_back([_letters("ah", serif)], [_known(BUILT_IN), _known(serif)]) == []


def _resized(letter: LetterShape, across: float, up: float) -> LetterShape:
    coverage = np.asarray(cv2.resize(letter.coverage, None, fx=across, fy=up), np.float32)
    return replace(letter, coverage=coverage, hidden=np.zeros(coverage.shape, bool))
