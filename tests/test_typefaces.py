"""Letters are cut out of images, and images of one font are found by them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha.drawing import draw
from crnn_captcha.fonts import Font, find_fonts
from crnn_captcha.styles import ImageStyle, LetterStyle, LineStyle, Range, Style
from crnn_captcha.typefaces import (
    ENOUGH,
    ENOUGH_EACH,
    LetterShape,
    Table,
    _grown,
    cut_letters,
    group_by_font,
    likeness,
)

UPRIGHT = LetterStyle(height_px=Range.of(22, 34), gap_px=Range.of(6, 12), rgb=Range.of(40, 200))
PLAIN = Style(image=ImageStyle(width_per_character_px=Range.of(60)), letters=UPRIGHT)
BUILT_IN = Font("Aileron", "Regular", None)


@pytest.fixture(scope="module")
def faces() -> list[Font]:
    """Four that differ."""
    pytest.importorskip("matplotlib")
    named = {f"{font.family} {font.style}": font for font in find_fonts("abc")}
    names = ("DejaVu Serif Book", "DejaVu Sans Mono Bold", "DejaVu Sans Bold Oblique")
    return [BUILT_IN, *(named[name] for name in names)]


def _label(random: np.random.Generator, length: int = 6) -> str:
    return "".join(random.choice(list("abcdefghkmnpqrstuvwxyz"), length))


def _drawn(
    font: Font, count: int, seed: int, style: Style = PLAIN
) -> list[tuple[NDArray[np.uint8], str]]:
    random = np.random.default_rng(seed)
    labels = [_label(random) for _ in range(count)]
    return [(draw(label, style, random, [font]), label) for label in labels]


def _cut(images: Sequence[tuple[NDArray[np.uint8], str]]) -> list[list[LetterShape]]:
    return [cut_letters(image, label) for image, label in images]


def test_each_letter_is_cut_to_its_box_at_its_own_size() -> None:
    (image, label), *_ = _drawn(BUILT_IN, 1, seed=0)
    letters = cut_letters(image, label)
    assert "".join(letter.character for letter in letters) == label
    for letter in letters:
        assert letter.coverage.dtype == np.float32
        assert 0 <= letter.coverage.min() <= letter.coverage.max() == 1
        edges = letter.coverage[[0, -1]].max(axis=1), letter.coverage[:, [0, -1]].max(axis=0)
        assert np.min(edges) > 0.3
        assert not letter.hidden.any()
    heights = {letter.character: letter.height for letter in cut_letters(image, label)}
    assert set(heights) == set(label)


def test_a_line_over_a_letter_is_hidden_ink_and_no_ink() -> None:
    (image, label), *_ = _drawn(BUILT_IN, 1, seed=1)
    crossed = cv2.line(image.copy(), (0, 40), (image.shape[1], 40), (0, 0, 0), 1)
    clean, hidden = cut_letters(image, label), cut_letters(crossed, label)
    assert len(hidden) == len(label)
    assert any(letter.hidden.any() for letter in hidden)
    for letter in hidden:
        assert letter.coverage[letter.hidden].max(initial=0) == 0
    assert [letter.height for letter in hidden] == [letter.height for letter in clean]


def test_letters_that_cannot_be_told_apart_are_none() -> None:
    image = np.full((80, 200, 3), 255, np.uint8)
    image[20:60, 50:150] = (200, 30, 30)
    assert cut_letters(image, "ab") == []
    assert len(cut_letters(image, "a")) == 1


def test_a_white_image_has_no_letters() -> None:
    assert cut_letters(np.full((80, 200, 3), 255, np.uint8), "ab") == []


def test_a_letter_is_most_like_itself_at_another_size() -> None:
    by_size = [
        Style(letters=LetterStyle(height_px=Range.of(size), gap_px=Range.of(8)), image=PLAIN.image)
        for size in (24, 36)
    ]
    small, large = (
        cut_letters(draw("abkqrz", style, np.random.default_rng(3), [BUILT_IN]), "abkqrz")
        for style in by_size
    )
    alike = likeness([*small, *large])
    np.testing.assert_allclose(np.diag(alike), 1, atol=1e-5)
    across = alike[:6, 6:]
    assert across.argmax(axis=1).tolist() == list(range(6))
    assert np.diag(across).min() > 0.8
    assert np.diag(across).mean() > 0.93


def test_images_of_one_font_come_together_and_of_others_do_not(faces: list[Font]) -> None:
    lines = LineStyle(count=Range.of(0, 3))
    style = Style(image=PLAIN.image, letters=UPRIGHT, lines=lines)
    images = [pair for i, font in enumerate(faces) for pair in _drawn(font, 14, 10 + i, style)]
    font_of = np.repeat(np.arange(4), 14)
    letters = _cut(images)
    apart = [i for i, found in enumerate(letters) if found]
    assert len(apart) > 50
    groups = group_by_font([letters[i] for i in apart])
    assert sorted(index for group in groups for index in group) == list(range(len(apart)))
    large = [[font_of[apart[i]] for i in group] for group in groups if len(group) >= 4]
    assert all(len(set(fonts)) == 1 for fonts in large)
    assert {fonts[0] for fonts in large} == {0, 1, 2, 3}
    assert sum(map(len, large)) > 0.8 * len(apart)


def test_the_largest_groups_come_first_and_the_same_ones_each_time(faces: list[Font]) -> None:
    images = _cut([*_drawn(faces[0], 5, seed=1), *_drawn(faces[-1], 9, seed=2)])
    groups = group_by_font(images)
    assert [len(group) for group in groups] == sorted(map(len, groups), reverse=True)
    assert groups == group_by_font(images)


def test_turned_letters_are_no_evidence_for_one_font() -> None:
    turned = LetterStyle(
        height_px=UPRIGHT.height_px, gap_px=Range.of(14), rgb=UPRIGHT.rgb,
        turned=1, turn_deg=Range.of(60),
    )  # fmt: skip
    style = Style(image=PLAIN.image, letters=turned)
    groups = group_by_font(_cut(_drawn(BUILT_IN, 10, seed=5, style=style)))
    assert len(groups[0]) <= 2


def test_nothing_makes_no_groups() -> None:
    assert group_by_font([]) == []
    assert group_by_font([[]]) == [[0]]


def _put_together(evidence: Table, letters: Table) -> list[list[int]]:
    """As `_grown`, all pairs looked at again each time."""
    groups = [[index] for index in range(len(evidence))]
    while True:
        best, pair = -np.inf, None
        for a, b in itertools.combinations(range(len(groups)), 2):
            between = np.ix_(groups[a], groups[b])
            told, pairs = evidence[between].sum(), max(letters[between].sum(), 1)
            if told > ENOUGH and told > ENOUGH_EACH * pairs and told / np.sqrt(pairs) > best:
                best, pair = told / np.sqrt(pairs), (a, b)
        if pair is None:
            return sorted((sorted(group) for group in groups), key=lambda g: (-len(g), g))
        groups[pair[0]] += groups.pop(pair[1])


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_those_of_looking_at_all_pairs_each_time(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 25))
    evidence = random.normal(random.uniform(-6, 8), 8, (count, count)).astype(np.float32)
    letters = random.integers(0, 5, (count, count)).astype(np.float32)
    for table in (evidence, letters):
        table += table.T.copy()
        np.fill_diagonal(table, 0)
    expected = _put_together(evidence.astype(np.float64), letters.astype(np.float64))
    assert _grown(evidence, letters) == expected
