"""A drawn image says its label and looks as the style states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha.charset import Charset
from crnn_captcha.drawing import Layout, draw, lay_out, render
from crnn_captcha.errors import LabelError
from crnn_captcha.fonts import Font, find_fonts
from crnn_captcha.style_files import load_style, style_names
from crnn_captcha.styles import OWN, Range, Style

FONTS = (Font("Aileron", "Regular", None),)  # there on every machine
CHARACTERS = Style().charset.characters
OF_OURS = [name for name in style_names() if load_style(name).generator == OWN]


def _style(**tables: dict[str, Any]) -> Style:
    """Black letters on white, wide apart, with what is to be tested."""
    given = {
        "image": {"width_px": Range.of(100), "width_per_character_px": Range.of(40)},
        "letters": {"height_px": Range.of(30), "rgb": Range.of(0), "gap_px": Range.of(10)},
    }
    style = Style()
    for name in given.keys() | tables.keys():
        values = {**given.get(name, {}), **tables.get(name, {})}
        style = replace(style, **{name: replace(getattr(style, name), **values)})
    return style


PLAIN = _style()


def _drawn(label: str, style: Style = PLAIN, seed: int = 0) -> NDArray[np.uint8]:
    return draw(label, style, np.random.default_rng(seed), FONTS)


def _layout(label: str, style: Style = PLAIN, seed: int = 0) -> Layout:
    return lay_out(label, style, np.random.default_rng(seed), [FONTS])


def _ink(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((image < 128).any(axis=-1))  # (height, width)


def _columns(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.flatnonzero(_ink(image).any(axis=0))


def _runs(image: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """First column and the one behind the last, of each run of columns with ink."""
    ink = np.concatenate([[False], _ink(image).any(axis=0), [False]])
    edges = np.flatnonzero(np.diff(ink.astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _colour(image: NDArray[np.uint8]) -> list[int]:
    """The commonest colour that isn't white."""
    colours, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    counts[(colours == 255).all(axis=1)] = 0
    return [int(channel) for channel in colours[counts.argmax()]]


# --- text -----------------------------------------------------------------------------------


def test_every_character_is_drawn_in_its_own_way() -> None:
    drawn = {character: _drawn(character) for character in CHARACTERS}
    assert all(_ink(image).sum() >= 20 for image in drawn.values())
    assert len({image.tobytes() for image in drawn.values()}) == len(CHARACTERS)


def test_another_label_changes_the_ink_and_the_same_one_does_not() -> None:
    assert not np.array_equal(_drawn("abcd"), _drawn("abce"))
    np.testing.assert_array_equal(_drawn("abcd"), _drawn("abcd"))


@pytest.mark.parametrize("label", ["xo", "abcd", "w8w8w8w8"])
def test_every_character_has_a_colour_of_its_own(label: str) -> None:
    style = _style(letters={"rgb": Range.of(10, 120)})
    image = _drawn(label, style, seed=4)
    colours = np.array([_colour(image[:, a:b]) for a, b in _runs(image)])
    assert len(np.unique(colours, axis=0)) == len(label)
    assert 10 <= colours.min() <= colours.max() <= 120


def test_all_characters_can_have_one_colour() -> None:
    style = _style(letters={"rgb": Range.of(10, 100, 200), "one_colour": True})
    image = _drawn("abcd", style)
    assert len({tuple(_colour(image[:, a:b])) for a, b in _runs(image)}) == 1


def test_the_image_is_as_large_as_stated() -> None:
    style = _style(image={"height_px": Range.of(40, 60), "width_px": Range.of(10, 30)})
    for seed in range(20):
        for label in ("ab", "abcd"):
            height, width, channels = _drawn(label, style, seed).shape
            assert 40 <= height <= 60
            assert 10 <= width - 40 * len(label) <= 30
            assert channels == 3


def test_gaps_grow_with_the_image() -> None:
    narrow, wide = (
        _runs(_drawn("hh", _style(image={"width_px": Range.of(px)}, letters={"gap_share": 0.1})))
        for px in (100, 400)
    )
    gaps = [runs[1][0] - runs[0][1] for runs in (narrow, wide)]
    assert gaps[1] - gaps[0] == pytest.approx(30, abs=1)


def test_text_stands_in_the_middle_but_for_the_last_gap_and_the_shift() -> None:
    image = _drawn("hh")
    columns = _columns(image)
    middle = (columns[0] + columns[-1] + 1 + 10) / 2  # a gap of 10 behind the last letter
    assert middle == pytest.approx(image.shape[1] / 2, abs=2)
    shifted = _drawn("hh", _style(letters={"shift_x_px": Range.of(7), "shift_y_px": Range.of(-5)}))
    np.testing.assert_array_equal(shifted[:-5, 7:], image[5:, :-7])


def test_jitter_moves_each_letter_by_itself() -> None:
    style = _style(letters={"jitter_x_px": Range.of(-4, 4), "jitter_y_px": Range.of(-4, 4)})
    tops = {int(np.flatnonzero(_ink(_drawn("hhhh", style))[:, a:b].any(axis=1))[0])
            for a, b in _runs(_drawn("hhhh", style))}  # fmt: skip
    assert len(tops) > 1


def test_letters_differ_in_size_where_asked_to() -> None:
    heights = set()
    image = _drawn("hhhh", _style(letters={"resize": Range.of(0.7, 1.3)}))
    for a, b in _runs(image):
        heights.add(int(_ink(image)[:, a:b].any(axis=1).sum()))
    assert len(heights) > 1


def test_stretch_slant_and_weight_change_all_letters() -> None:
    plain = _drawn("hi")
    stretched = _drawn("hi", _style(letters={"stretch": Range.of(1.5)}))
    assert np.diff(_runs(stretched)[0]) == pytest.approx(1.5 * np.diff(_runs(plain)[0]), abs=2)
    slanted = _drawn("hi", _style(letters={"slant_deg": Range.of(20)}))
    assert np.diff(_runs(slanted)[1]) > np.diff(_runs(plain)[1]) + 6
    bold = _drawn("hi", _style(letters={"weight": Range.of(0.05)}))
    assert _ink(bold).sum() > 1.3 * _ink(plain).sum()
    thin = _drawn("hi", _style(letters={"weight": Range.of(-0.1)}))
    assert 20 < _ink(thin).sum() < _ink(plain).sum()


@pytest.mark.parametrize("smooth", [True, False])
def test_letters_are_turned_in_a_share_of_the_images(smooth: bool) -> None:
    turning = {"turned": 0.5, "turn_deg": Range.of(30), "smooth": smooth}
    style = _style(letters=turning)
    widths = [int(np.diff(_runs(_drawn("i", style, seed))[0])[0]) for seed in range(40)]
    upright = int(np.diff(_runs(_drawn("i"))[0])[0])
    assert 8 <= sum(width <= upright + 1 for width in widths) <= 32
    assert max(widths) > upright + 8


def test_letters_shrink_where_the_text_would_not_fit() -> None:
    crowded = {"width_px": Range.of(0), "width_per_character_px": Range.of(12)}
    layout = _layout("wwwwmmmm", _style(image=crowded))
    assert layout.size[0] == 96
    assert 80 < sum(layout.advances) <= 96


@pytest.mark.parametrize("text", ["gh", "gg", "pq", "hh"])
@pytest.mark.parametrize("overflow_px", [0, 5])
def test_tall_letters_stay_whole(text: str, overflow_px: float) -> None:
    letters = {"height_px": Range.of(400), "overflow_px": overflow_px}
    layout = _layout(text, _style(letters=letters))
    _, height = layout.size
    assert layout.rise + layout.drop == pytest.approx(height + overflow_px)
    line = layout.line(overflow_px)
    assert line - layout.rise >= -overflow_px - 1e-9
    assert line + layout.drop <= height + overflow_px + 1e-9
    rows = np.flatnonzero(_ink(_drawn(text, _style(letters=letters))).any(axis=1))
    assert rows[-1] - rows[0] > 0.9 * height


def test_letters_that_fit_stand_in_the_middle() -> None:
    layout = _layout("gh", _style(letters={"height_px": Range.of(20)}))
    assert layout.line(0) == pytest.approx(layout.size[1] / 2 + 10)


@pytest.mark.parametrize("rgb", [(0, 0, 0), (10.6, 10.7, 11.2)])
def test_three_numbers_that_are_nearly_one_are_a_colour(rgb: tuple[float, ...]) -> None:
    image = _drawn("h", _style(background={"rgb": Range(rgb[0], rgb[2], rgb[1])}))
    assert abs(int(image[0, 0, 0]) - rgb[1]) <= 1


def test_text_may_leave_the_image_as_far_as_allowed() -> None:
    image = {"width_px": Range.of(0), "width_per_character_px": Range.of(16)}
    free = {"height_px": Range.of(40), "gap_px": Range.of(0), "overflow_px": 200}
    layouts = [
        _layout("mmmm", _style(image=image, letters=free | {"overflow_px": px}))
        for px in (0, 20, 200)
    ]
    widths = [sum(layout.advances) for layout in layouts]
    assert widths[:2] == pytest.approx([64, 104], abs=0.1)
    assert widths[2] > 130
    clipped = _ink(_drawn("mmmm", _style(image=image, letters=free)))
    assert clipped[:, 0].any()
    assert clipped[:, -1].any()


@settings(max_examples=40)
@given(st.text(CHARACTERS, min_size=1, max_size=32), st.integers(0, 2**32))
def test_any_label_is_drawn_in_any_style(label: str, seed: int) -> None:
    style = load_style(OF_OURS[seed % len(OF_OURS)])
    label = "".join(c for c in label.upper() if c in style.charset.characters) or "A2"
    if not style.charset.unknown(label.lower()):
        label = label.lower()
    assert _drawn(label, style, seed).std() > 0


def test_the_aspect_says_how_wide_texts_are() -> None:
    style = _style(letters={"gap_px": Range.of(0), "height_px": Range.of(20, 40)})
    for label in ("il1", "agh", "wmwm"):
        ink = _ink(_drawn(label, style))
        width, height = (np.flatnonzero(ink.any(axis=axis)) for axis in (0, 1))
        shape = (np.ptp(width) + 1) / (np.ptp(height) + 1)
        assert _layout(label, style).aspect == pytest.approx(shape, rel=0.35)


def test_a_layout_is_drawn_as_it_was_laid_out() -> None:
    random = np.random.default_rng(3)
    layout = lay_out("abc", PLAIN, random, [FONTS])
    np.testing.assert_array_equal(render(layout, PLAIN, random), _drawn("abc", seed=3))


# --- capitals and fonts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("charset", "label", "shown"),
    [
        pytest.param("abc1", "ab1", "AB1", id="small-letters"),
        pytest.param("abcA", "ab", "ab", id="a-capital-is-another-character"),
        pytest.param("abC", "aC", "aC", id="the-label-has-capitals"),
        pytest.param("123", "12", "12", id="no-letters"),
        pytest.param("ßa", "ßa", "ßa", id="a-capital-of-two-letters"),
    ],
)
def test_capitals_are_shown_only_where_they_cannot_be_mistaken(
    charset: str, label: str, shown: str
) -> None:
    for share, text in ((0.0, label), (1.0, shown)):
        style = replace(PLAIN, charset=Charset(charset), capitals=share)
        assert _layout(label, style).text == text


def test_an_image_has_one_font_or_each_letter_one() -> None:
    fonts = find_fonts(CHARACTERS)
    by_family = [[font] for font in fonts]
    if len(fonts) < 4:
        pytest.skip("more fonts are needed")
    for per_letter in (False, True):
        style = _style(fonts={"per_letter": per_letter})
        layout = lay_out("aaaaaaaa", style, np.random.default_rng(0), by_family)
        assert (len({sign.font for sign in layout.glyphs}) > 1) == per_letter


def test_without_fonts_those_that_are_found_are_used() -> None:
    assert _ink(draw("abc", PLAIN, np.random.default_rng(0))).any()


@pytest.mark.parametrize(
    ("label", "message"),
    [("", "at least one character"), ("ab?", r"only use the characters.*unknown: '\?'")],
)
def test_labels_that_cannot_be_drawn_are_refused(label: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        draw(label, PLAIN, np.random.default_rng(0), FONTS)


# --- background, lines and dots -------------------------------------------------------------


def test_the_background_has_its_colour_or_two() -> None:
    paper = {"rgb": Range.of(200, 250)}
    flat = _drawn("a", _style(background=paper))
    assert (flat[0] == flat[0, 0]).all()
    assert 200 <= flat[0].min() <= flat[0].max() <= 250
    turning = _drawn("a", _style(background={**paper, "gradient": 1.0}))
    assert len(np.unique(turning[0], axis=0)) > 5
    assert (turning[0] == turning[-1]).all()
    assert (np.abs(np.diff(turning[0].astype(int), axis=0)) <= 2).all()


@pytest.mark.parametrize("deviation", [1, 2, 10])
def test_noise_is_as_strong_as_stated(deviation: float) -> None:
    image = _drawn("a", _style(background={"rgb": Range.of(128), "noise": Range.of(deviation)}))
    assert image[:10].std() == pytest.approx(deviation, rel=0.1)
    assert image[:10].mean() == pytest.approx(128, abs=1)


def test_lines_are_black_and_lie_over_or_behind_the_text() -> None:
    letters = {"rgb": Range.of(100)}
    lines = {"count": Range.of(10), "rgb": Range.of(0)}
    bare = _drawn("mmmm", _style(letters=letters))
    over = _drawn("mmmm", _style(letters=letters, lines=lines))
    behind = _drawn("mmmm", _style(letters=letters, lines=lines | {"behind": True}))
    for lined in (over, behind):
        changed = (bare != lined).any(axis=-1)  # (height, width)
        assert changed.sum() > 100
    assert (over[(bare != over).any(axis=-1)] == 0).all()  # hard edges
    solid = (bare == 100).all(axis=-1)
    assert not (over[solid] == 100).all()
    assert (behind[solid] == 100).all()


def test_lines_are_as_many_and_as_wide_as_stated() -> None:
    def ink(**lines: Any) -> int:
        return sum(int(_ink(_drawn("i", _style(lines=lines), seed)).sum()) for seed in range(10))

    none, one, wide = ink(), ink(count=Range.of(1)), ink(count=Range.of(1), width_px=Range.of(3))
    assert none < one < wide
    assert wide - none == pytest.approx(3 * (one - none), rel=0.4)


def test_lines_can_be_soft_and_curved() -> None:
    def grey(**lines: Any) -> NDArray[np.uint8]:
        return _drawn("i", _style(letters={"height_px": Range.of(6)}, lines=lines))[..., 0]

    count = {"count": Range.of(6)}
    hard, soft = (np.unique(grey(**count, smooth=smooth)) for smooth in (False, True))
    assert len(soft) > len(hard) + 10
    straight, curved = grey(**count), grey(**count, curved=1.0)
    assert (straight != curved).any()


@pytest.mark.parametrize(("table", "size"), [("lines", "width_px"), ("dots", "size_px")])
def test_lines_and_dots_have_colours_of_their_own_or_of_letters(table: str, size: str) -> None:
    letters = {"rgb": Range.of(10, 100), "one_colour": True, "height_px": Range.of(6)}
    drawn = {"count": Range.of(20), "rgb": Range.of(200), size: Range.of(2)}
    counts = []
    for like_letters in (False, True):
        style = _style(letters=letters, **{table: {**drawn, "like_letters": like_letters}})
        image = _drawn("i", style)
        counts.append(int((image == 200).all(axis=-1).sum()))
        dark = int((image <= 100).all(axis=-1).sum())
        assert (dark > 40) == like_letters
    assert counts[0] > 40 > counts[1]


def test_dots_are_as_large_as_stated() -> None:
    def ink(size: int) -> int:
        style = _style(dots={"count": Range.of(1), "size_px": Range.of(size), "rgb": Range.of(0)})
        areas = [_ink(_drawn("i", style, seed)).sum() for seed in range(20)]
        return int(max(areas)) - int(_ink(_drawn("i")).sum())

    assert (ink(1), ink(2)) == (1, 4)
    assert 40 < ink(8) < 64
