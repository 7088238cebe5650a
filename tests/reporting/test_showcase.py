from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL.Image import Image

from crnn_captcha.errors import ImageError
from crnn_captcha.images import decode_image
from crnn_captcha.reporting.showcase import (
    COLUMNS,
    FOOTER,
    GAP,
    GREEN,
    HEADER,
    PALE_GREEN,
    PALE_RED,
    RED,
    ROW,
    WIDTH,
    ShowcaseEntry,
    align,
    draw_showcase,
    make_entry,
    network_view,
    png,
)

BLUE = (10, 20, 250)
ORANGE = (250, 120, 10)
TEXTS = st.text("abc", max_size=8)


def entry(label: str = "abc", text: str = "abc", confidence: float = 0.5) -> ShowcaseEntry:
    image = np.full((80, 300, 3), BLUE, np.uint8)
    prepared = np.full((200, 32, 3), ORANGE, np.uint8)  # (width, height, channels)
    return ShowcaseEntry(image, prepared, label, text, confidence)


def row_colors(picture: Image, row: int, left: int, width: int) -> set[tuple[int, int, int]]:
    top = HEADER + row * (ROW + GAP)
    pixels = np.asarray(picture)[top : top + ROW, left : left + width]
    return {tuple(color) for color in pixels.reshape(-1, 3).tolist()}


def column_colors(picture: Image, row: int, name: str) -> set[tuple[int, int, int]]:
    left, width = next((left, width) for heading, left, width in COLUMNS if heading == name)
    return row_colors(picture, row, left, width)


def test_ten_rows_make_a_picture_of_known_size() -> None:
    picture = draw_showcase([entry()] * 10)
    assert picture.mode == "RGB"
    assert picture.size == (WIDTH, HEADER + 10 * ROW + 9 * GAP + FOOTER)


def test_a_right_row_is_green_and_a_wrong_one_red() -> None:
    picture = draw_showcase([entry(), entry(text="axc")], title="Two")
    right, wrong = (row_colors(picture, row, 0, WIDTH) for row in (0, 1))
    assert GREEN in right
    assert not {RED, PALE_RED} & right
    assert RED in wrong


def test_both_images_are_shown_in_their_columns() -> None:
    picture = draw_showcase([entry()])
    assert BLUE in column_colors(picture, 0, "image")
    assert ORANGE in column_colors(picture, 0, "what the network sees")


@pytest.mark.parametrize(
    ("text", "in_actual", "in_read"),
    [
        pytest.param("abc", False, False, id="right: nothing is marked"),
        pytest.param("axc", True, True, id="substitution: marked in both"),
        pytest.param("ac", True, True, id="left out: marked in the label, a gap in the text"),
        pytest.param("abxc", False, True, id="added: marked in the text alone"),
        pytest.param("", True, True, id="nothing was read"),
    ],
)
def test_differing_characters_are_marked(text: str, in_actual: bool, in_read: bool) -> None:
    picture = draw_showcase([entry(text=text)])
    assert (PALE_GREEN in column_colors(picture, 0, "actual")) is in_actual
    assert (PALE_RED in column_colors(picture, 0, "read")) is in_read


def test_the_bar_grows_with_the_confidence() -> None:
    def green(confidence: float) -> int:
        left = COLUMNS[-1][1]
        pixels = np.asarray(draw_showcase([entry(confidence=confidence)]))[HEADER:, left:][:ROW]
        return int((pixels == GREEN).all(axis=2).sum())

    assert green(0.0) < green(0.3) < green(0.9) < green(1.0)


def test_odd_sizes_and_long_texts_still_make_a_picture() -> None:
    tiny = ShowcaseEntry(
        np.zeros((1, 1, 3), np.uint8), np.zeros((900, 1, 1), np.uint8), "ab" * 150, "x" * 40, 1.0
    )
    assert draw_showcase([tiny]).size[0] == WIDTH


def test_an_empty_showcase_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one entry"):
        draw_showcase([])


def test_the_network_view_is_upright() -> None:
    prepared = np.zeros((4, 2, 1), np.uint8)
    prepared[3, 0] = 200  # the last column's upper pixel
    view = network_view(prepared)
    assert view.shape == (2, 4, 3)
    assert view[0, 3].tolist() == [200] * 3
    assert view.sum() == 600


def test_colours_stay_in_the_network_view() -> None:
    prepared = np.random.default_rng(0).integers(0, 256, (5, 3, 3)).astype(np.uint8)
    assert (network_view(prepared)[2, 4] == prepared[4, 2]).all()


@pytest.mark.parametrize(
    ("label", "text", "pairs"),
    [
        pytest.param("ab", "ab", [("a", "a", True), ("b", "b", True)], id="equal"),
        pytest.param("ab", "ax", [("a", "a", True), ("b", "x", False)], id="substitution"),
        pytest.param("ab", "b", [("a", "", False), ("b", "b", True)], id="deletion"),
        pytest.param("ab", "xab", [("", "x", False), ("a", "a", True), ("b", "b", True)], id="in"),
        pytest.param("a", "ax", [("a", "a", True), ("", "x", False)], id="at the end"),
    ],
)
def test_align(label: str, text: str, pairs: list[tuple[str, str, bool]]) -> None:
    assert align(label, text) == pairs


@given(TEXTS, TEXTS)
def test_alignment_keeps_every_character(label: str, text: str) -> None:
    pairs = align(label, text)
    assert "".join(a for a, _, _ in pairs) == label
    assert "".join(b for _, b, _ in pairs) == text
    assert all(ok == (a == b) for a, b, ok in pairs)


def test_png_holds_the_same_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8)
    assert (decode_image(png(image)) == image).all()
    picture = draw_showcase([entry()])
    assert (decode_image(png(picture)) == np.asarray(picture)).all()


def test_make_entry_prepares_the_image() -> None:
    image = np.full((4, 6, 3), BLUE, np.uint8)
    made = make_entry(png(image), lambda rgb: rgb[::-1], label="a", text="b", confidence=0.1)
    assert (made.image == image).all()
    assert made.prepared.shape == (4, 6, 3)
    assert not made.right
    with pytest.raises(ImageError):
        make_entry(b"nothing", lambda rgb: rgb, label="a", text="a", confidence=1.0)
