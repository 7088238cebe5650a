"""Fonts are recovered from images that are drawn in them, and can be drawn with."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageFont

from crnn_captcha import recovery
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import BrokenImage, Dataset, Sample, open_dataset
from crnn_captcha.drawing import draw
from crnn_captcha.errors import ConfigError, FontError
from crnn_captcha.files import write_bytes
from crnn_captcha.font_files import font_file, sheet, write_fonts
from crnn_captcha.fonts import Font, find_fonts
from crnn_captcha.generator import Generator, png_of
from crnn_captcha.images import decode_image
from crnn_captcha.recovery import (
    RecoveredFont,
    Recovery,
    recover_fonts,
    recover_glyphs,
    style_file,
    table,
)
from crnn_captcha.style_files import load_style
from crnn_captcha.styles import FontStyle, ImageStyle, LetterStyle, Range, Style
from crnn_captcha.typefaces import LetterShape, cut_letters

CHARACTERS = "abdegkmopqrsxz"
BUILT_IN = Font("Aileron", "Regular", None)
STYLE = Style(
    charset=Charset(CHARACTERS),
    image=ImageStyle(width_per_character_px=Range.of(60)),
    letters=LetterStyle(height_px=Range.of(24, 34), gap_px=Range.of(8), rgb=Range.of(40, 200)),
)


def _image(label: str, seed: int, style: Style = STYLE) -> NDArray[np.uint8]:
    return draw(label, style, np.random.default_rng(seed), [BUILT_IN])


def _labels(count: int, characters: str = CHARACTERS) -> list[str]:
    random = np.random.default_rng(0)
    return ["".join(random.choice(list(characters), 6)) for _ in range(count)]


@pytest.fixture(scope="module")
def letters() -> list[list[LetterShape]]:
    """Of 24 images of the built-in font."""
    return [cut_letters(_image(label, i), label) for i, label in enumerate(_labels(24))]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A data set of one font; a test image and a broken one beside it."""
    folder = tmp_path / "data"
    for i, label in enumerate(_labels(20)):
        split = "test" if i == 0 else "train"
        write_bytes(folder / split / f"{label}-{i}.png", png_of(_image(label, i)))
    write_bytes(folder / "train" / "abd-99.png", b"no image")
    return open_dataset(folder, validation_fraction=0.1)


def _inked(font: ImageFont.FreeTypeFont, character: str) -> NDArray[np.float64]:
    mask = font.getmask(character, mode="L")
    pixels = np.asarray(mask, np.uint8).reshape(mask.size[::-1]) / 255
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_recovered_letters_look_like_those_of_the_font(
    letters: list[list[LetterShape]], tmp_path: Path
) -> None:
    path = tmp_path / "recovered.ttf"
    path.write_bytes(font_file(recover_glyphs(letters), "recovered"))
    recovered, original = Font("recovered", "Regular", path).at(100), BUILT_IN.at(100)
    tall = {name: _inked(font, "d").shape[0] for name, font in (("r", recovered), ("o", original))}
    for character in CHARACTERS:
        ours, its = _inked(recovered, character), _inked(original, character)
        assert ours.shape[0] / tall["r"] == pytest.approx(its.shape[0] / tall["o"], abs=0.05)
        same_size = cv2.resize(ours, its.shape[::-1], interpolation=cv2.INTER_AREA)
        both = np.minimum(same_size, its).sum() / np.maximum(same_size, its).sum()
        assert both > 0.8, character


def test_letters_stand_on_one_line(letters: list[list[LetterShape]], tmp_path: Path) -> None:
    path = tmp_path / "recovered.ttf"
    path.write_bytes(font_file(recover_glyphs(letters), "recovered"))
    font = Font("recovered", "Regular", path).at(100)
    below = {c: font.getbbox(c, anchor="ls")[3] for c in CHARACTERS}
    assert all(abs(below[c]) <= 3 for c in "abdekmorsxz")
    assert all(below[c] > 10 for c in "gpq")


def test_a_hole_stays_a_hole(letters: list[list[LetterShape]], tmp_path: Path) -> None:
    path = tmp_path / "recovered.ttf"
    path.write_bytes(font_file(recover_glyphs(letters), "recovered"))
    ring = _inked(Font("recovered", "Regular", path).at(100), "o")
    height, width = ring.shape
    assert ring[height // 2, width // 2] == 0
    assert ring[height // 2].max() == 1


def test_the_letter_that_no_line_hides_is_taken(letters: list[list[LetterShape]]) -> None:
    clean = next(letter for shapes in letters for letter in shapes if letter.character == "o")
    hidden = np.zeros(clean.coverage.shape, bool)
    hidden[clean.height // 2] = True
    crossed = replace(clean, coverage=np.where(hidden, 0, clean.coverage), hidden=hidden)
    images = [[crossed], [clean], [crossed]]
    assert recover_glyphs(images)["o"].letter is clean


def test_what_a_line_hides_is_filled_in(letters: list[list[LetterShape]], tmp_path: Path) -> None:
    whole = next(letter for shapes in letters for letter in shapes if letter.character == "o")
    hidden = np.zeros(whole.coverage.shape, bool)
    hidden[whole.height // 2] = True
    crossed = replace(whole, coverage=np.where(hidden, 0, whole.coverage), hidden=hidden)
    drawn: list[NDArray[np.float64]] = []
    for letter in (whole, crossed):
        path = tmp_path / f"{len(drawn)}.ttf"
        path.write_bytes(font_file(recover_glyphs([[letter]]), "recovered"))
        drawn.append(_inked(Font("recovered", "Regular", path).at(100), "o"))
    assert drawn[0].shape == drawn[1].shape
    assert np.abs(drawn[0] - drawn[1]).mean() < 0.03


def test_the_same_glyphs_give_the_same_bytes(letters: list[list[LetterShape]]) -> None:
    glyphs = recover_glyphs(letters)
    assert font_file(glyphs, "a") == font_file(dict(reversed(glyphs.items())), "a")


def test_a_sheet_has_a_row_for_each_font(letters: list[list[LetterShape]]) -> None:
    font = font_file(recover_glyphs(letters), "a")
    one, two = (decode_image(sheet(dict.fromkeys(names, font), "ab1")) for names in ("x", "xy"))
    assert 2 * one.shape[0] == two.shape[0]
    column = one.shape[1] - 34
    assert (one[:, column:] == 255).all()  # there is no 1
    assert (one[:, column - 34 : column] < 128).any()


def test_only_the_samples_that_are_given_are_looked_at(dataset: Dataset) -> None:
    train = dataset.samples("train")
    found = recover_fonts(dataset, train)
    assert found.samples == train
    images = {name for font in found.fonts for name in font.images}
    assert images <= {sample.name for sample in train}
    assert len(images) > 10
    assert [broken.name for broken in found.broken] == ["train/abd-99.png"]
    rows = list(csv.DictReader(table(found).splitlines()))
    assert {row["image"] for row in rows} == images
    assert {row["font"] for row in rows} == {font.name for font in found.fonts}


def test_too_few_images_have_no_font(dataset: Dataset) -> None:
    with pytest.raises(FontError, match="at least 4 images"):
        recover_fonts(dataset, dataset.samples("train")[:3])


def test_labels_have_only_characters_that_the_font_has(dataset: Dataset, tmp_path: Path) -> None:
    found = recover_fonts(dataset, dataset.samples("train"))
    found = replace(found, samples=(*found.samples, Sample("short.png", "abd")))
    for font in found.fonts:
        glyphs = {c: glyph for c, glyph in font.glyphs.items() if c not in "bx"}
        write_bytes(tmp_path / "fonts" / f"{font.name}.ttf", font_file(glyphs, font.name))
    (tmp_path / "fonts" / "style.toml").write_text(style_file(found))
    style = load_style(tmp_path / "fonts" / "style.toml")
    assert set(style.charset.characters) == set(CHARACTERS)
    assert (style.min_length, style.max_length) == (3, 6)
    generator = Generator(style)
    assert [font.family for font in generator.fonts] == [font.name for font in found.fonts]
    drawn = [generator.draw(0, i) for i in range(60)]
    assert {len(one.label) for one in drawn} == {3, 4, 5, 6}
    shown = set("".join(one.label for one in drawn))
    assert shown <= set(CHARACTERS) - set("bx")
    assert len(shown) > 8
    for i, one in enumerate(drawn):
        assert generator.label(0, i) == one.label
        assert generator.aspect(0, i) > 0
        assert (one.image < 250).any()


@pytest.mark.parametrize(
    ("labels", "characters", "lengths"),
    [
        (["ab.c", "a b"], "abc", (3, 4)),
        (["x" * 40, "xyz"], "xyz", (3, 32)),
        (["é𝒜b"], "bé𝒜", (3, 3)),
    ],
)
def test_a_style_has_of_the_labels_what_it_can(
    labels: list[str], characters: str, lengths: tuple[int, int], tmp_path: Path
) -> None:
    samples = tuple(Sample(f"{number}.png", label) for number, label in enumerate(labels))
    path = tmp_path / "style.toml"
    font = RecoveredFont("font-001", {}, ("0.png",), (20.0,))
    path.write_text(style_file(Recovery((font,), samples, 0, ())), encoding="utf-8")
    style = load_style(path)
    assert style.charset.characters == characters
    assert (style.min_length, style.max_length) == lengths


def test_a_style_has_no_characters_that_broken_images_alone_have(tmp_path: Path) -> None:
    samples = Sample("0.png", "abc"), Sample("1.png", "abé")
    font = RecoveredFont("font-001", {}, ("0.png",), (20.0,))
    broken = BrokenImage("1.png", "It is cut off.")
    path = tmp_path / "style.toml"
    path.write_text(style_file(Recovery((font,), samples, 0, (broken,))), encoding="utf-8")
    assert load_style(path).charset.characters == "abc"


@pytest.mark.parametrize(("height", "least"), [(4.0, 6.0), (500.0, 400.0), (20.0, 20.0)])
def test_heights_are_those_that_a_style_may_have(
    height: float, least: float, tmp_path: Path
) -> None:
    font = RecoveredFont("font-001", {}, ("0.png",), (height, height))
    path = tmp_path / "style.toml"
    path.write_text(style_file(Recovery((font,), (Sample("0.png", "abc"),), 0, ())))
    drawn = load_style(path).letters.height_px
    assert (drawn.low, drawn.high) == (least, least)


def test_texts_are_drawn_as_high_as_those_of_the_data(dataset: Dataset, tmp_path: Path) -> None:
    found = recover_fonts(dataset, dataset.samples("train"))
    (font,) = found.fonts
    assert len(font.heights_px) == len(font.images)
    heights = np.array(font.heights_px)
    assert STYLE.letters.height_px.low - 2 < heights.min() < 27
    assert 31 < heights.max() < STYLE.letters.height_px.high + 2
    path = tmp_path / "style.toml"
    path.write_text(style_file(found), encoding="utf-8")
    drawn = load_style(path).letters.height_px
    random = np.random.default_rng(0)
    again = np.array([drawn.draw(random) for _ in range(1000)])
    assert again.mean() == pytest.approx(heights.mean(), abs=1.0)
    assert again.min() > heights.min() - 0.5
    assert again.max() < heights.max() + 0.5


def test_of_many_images_of_a_font_some_are_enough(
    letters: list[list[LetterShape]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "MAX_IMAGES_OF_FONT", len(letters) // 2)
    few, some = recover_glyphs(letters), recover_glyphs(letters[::2])
    assert few.keys() == some.keys()
    assert all(few[c].letter is some[c].letter for c in few)


def test_a_font_that_lacks_characters_is_used_only_where_asked_for(
    letters: list[list[LetterShape]], tmp_path: Path
) -> None:
    write_bytes(tmp_path / "some.ttf", font_file(recover_glyphs(letters), "some"))
    with pytest.raises(FontError, match=r"some\.ttf lacks '1'"):
        find_fonts("ab1", tmp_path)
    (font,) = find_fonts("ab1", tmp_path, incomplete=True)
    assert font.family == "some"
    assert font.lacking("ab1") == "1"
    with pytest.raises(FontError, match=r"some\.ttf lacks '123'"):
        find_fonts("123", tmp_path, incomplete=True)


def test_what_a_font_draws_alike_counts_as_lacking_where_that_may_be(
    letters: list[list[LetterShape]], tmp_path: Path
) -> None:
    glyphs = recover_glyphs(letters)
    glyphs["b"] = glyphs["a"]
    write_bytes(tmp_path / "some.ttf", font_file(glyphs, "some"))
    with pytest.raises(FontError, match=r"some\.ttf draws 'ab' alike"):
        find_fonts("abd", tmp_path)
    (font,) = find_fonts("abdeg1", tmp_path, incomplete=True)
    assert font.usable("abdeg1") == "deg"
    style = replace(STYLE, charset=Charset("abdeg1"), fonts=FontStyle(incomplete=True))
    drawn = Generator(style, [font])
    assert {c for key in range(100) for c in drawn.label(key)} == set("deg")
    with pytest.raises(
        FontError, match=r"some character of 'ab1' .*some\.ttf lacks '1' and draws 'ab' alike"
    ):
        find_fonts("ab1", tmp_path, incomplete=True)


def test_fonts_of_two_data_sets_are_drawn_with_together(
    letters: list[list[LetterShape]], tmp_path: Path
) -> None:
    glyphs = recover_glyphs(letters)
    for folder, characters in (("one", "abd"), ("other", "abe")):
        font = RecoveredFont("font-001", {c: glyphs[c] for c in characters}, (), (20.0,))
        write_fonts(Recovery((font,), (Sample("0.png", "ab"),), 1, ()), tmp_path / folder)
    found = find_fonts("abde", [tmp_path / "one", tmp_path / "other"], incomplete=True)
    assert sorted(font.usable("abde") for font in found) == ["abd", "abe"]
    assert all(font.family.startswith("font-001 ") for font in found)


def test_incomplete_fonts_draw_whole_labels() -> None:
    with pytest.raises(ConfigError, match="one font for all of a label"):
        FontStyle(incomplete=True, per_letter=True)
    with pytest.raises(ConfigError, match="generator of this package"):
        Style(generator="captcha", fonts=FontStyle(incomplete=True))


def test_letters_that_one_image_alone_shows_have_its_size(tmp_path: Path) -> None:
    labels = {"abdego": 24, "obadeg": 24, "dkrsxz": 36}  # they share one letter
    images = []
    for label, height in labels.items():
        size = replace(STYLE, letters=replace(STYLE.letters, height_px=Range.of(height)))
        images.append(cut_letters(_image(label, 0, size), label))
    path = tmp_path / "recovered.ttf"
    path.write_bytes(font_file(recover_glyphs(images), "recovered"))
    recovered, original = Font("recovered", "Regular", path).at(100), BUILT_IN.at(100)
    ratios = [_inked(recovered, c).shape[0] / _inked(original, c).shape[0] for c in "abdegkorsxz"]
    assert max(ratios) / min(ratios) < 1.12
