"""Generated images are a function of seed and id, say what their names say, and are kept whole."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crnn_captcha.charset import Charset
from crnn_captcha.dataset import open_dataset, parse_label
from crnn_captcha.drawing import DEFAULT_STYLE, Style
from crnn_captcha.errors import ConfigError, DatasetError, FontError
from crnn_captcha.fonts import Font
from crnn_captcha.generator import GeneratedImage, generate, write_folder, write_zip, zip_path

FONTS = (Font("Aileron", "Regular", None),)  # there on every machine
CHARACTERS = DEFAULT_STYLE.charset.characters
HASH_TEN = """
import hashlib
from crnn_captcha.fonts import Font
from crnn_captcha.generator import generate
images = generate(10, 5, fonts=(Font("Aileron", "Regular", None),))
print(hashlib.sha256(b"".join(image.name.encode() + image.data for image in images)).hexdigest())
"""


def _digest(images: Iterable[GeneratedImage]) -> str:
    return hashlib.sha256(b"".join(i.name.encode() + i.data for i in images)).hexdigest()


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert list(generate(8, 3, fonts=FONTS)) == list(generate(8, 3, fonts=FONTS))
    assert _digest(generate(8, 3, fonts=FONTS)) != _digest(generate(8, 4, fonts=FONTS))


def test_another_process_gives_the_same_bytes() -> None:
    here = _digest(generate(10, 5, fonts=FONTS))
    there = subprocess.run(
        [sys.executable, "-c", HASH_TEN],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_an_image_does_not_depend_on_how_many_are_drawn() -> None:
    assert list(generate(3, 9, fonts=FONTS)) == list(islice(generate(30, 9, fonts=FONTS), 3))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(CHARACTERS + "ABC+"), min_size=1, max_size=12, unique=True),
    st.integers(1, 4),
    st.integers(0, 8),
    st.integers(0, 2**32),
)
def test_labels_keep_to_the_charset_and_the_lengths(
    characters: list[str], min_length: int, more: int, seed: int
) -> None:
    style = Style(Charset("".join(characters)), min_length, min_length + more)
    for image in generate(2, seed, style=style, fonts=FONTS):
        assert not style.charset.unknown(image.label)
        assert min_length <= len(image.label) <= min_length + more
        assert parse_label(image.path) == image.label
        with Image.open(BytesIO(image.data)) as opened:
            assert (opened.mode, opened.format) == ("RGBA", "PNG")
            assert opened.info == {}  # no date, no software
            assert opened.height == 80
            assert 0 <= opened.width - 35 * len(image.label) <= 500


def test_a_hyphen_in_a_label_survives_the_file_name() -> None:
    style = replace(DEFAULT_STYLE, charset=Charset("-"))
    (image,) = generate(1, 0, style=style, fonts=FONTS)
    assert set(image.label) == {"-"}
    assert parse_label(image.name) == image.label


def test_the_default_style_is_as_wide_as_stated_and_uses_every_length_and_character() -> None:
    images = list(generate(120, 0, fonts=FONTS))
    widths = [Image.open(BytesIO(image.data)).width for image in images]
    assert min(widths) >= 140
    assert max(widths) <= 780
    assert {len(image.label) for image in images} == {4, 5, 6, 7, 8}
    assert set("".join(image.label for image in images)) == set(CHARACTERS)


def test_without_fonts_those_that_are_found_are_used() -> None:
    (image,) = generate(1, 0)
    assert np.asarray(Image.open(BytesIO(image.data))).shape[0] == 80


def test_a_charset_that_no_font_has_is_refused_before_anything_is_drawn() -> None:
    style = replace(DEFAULT_STYLE, charset=Charset("a\u0f8b"))
    with pytest.raises(FontError, match="draws every character of"):
        generate(1, 0, style=style)


@pytest.mark.parametrize(("count", "tests"), [(0, 0), (1, 0), (2, 1), (11, 1), (12, 2), (30, 3)])
def test_a_tenth_is_for_testing_and_one_as_soon_as_there_are_two(count: int, tests: int) -> None:
    style = replace(DEFAULT_STYLE, charset=Charset("i"), min_length=1, max_length=1)
    splits = [image.split for image in generate(count, 0, style=style, fonts=FONTS)]
    assert splits.count("test") == tests
    assert splits.count("train") == count - tests


def test_a_folder_and_a_zip_hold_the_same_images_and_open_as_data(tmp_path: Path) -> None:
    images = list(generate(12, 1, fonts=FONTS))
    expected = {image.path: image.data for image in images}
    folder = write_folder(tmp_path / "new" / "set", images)
    archive = write_zip(tmp_path / "new" / "set", images)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in files} == expected
    with ZipFile(archive) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == expected
        assert {entry.date_time for entry in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in opened.infolist()} == {ZIP_STORED}
    for place in (folder, archive):
        dataset = open_dataset(place)
        samples = [s for split in dataset.splits.values() for s in split]
        assert {s.label for s in samples} == {image.label for image in images}
        assert {s.label for s in dataset.samples("test")} == {images[1].label, images[11].label}


def test_the_zip_is_the_same_to_the_byte(tmp_path: Path) -> None:
    first, second = (write_zip(tmp_path / n, generate(5, 2, fonts=FONTS)) for n in ("a", "b.zip"))
    assert (first.name, second.name) == ("a.zip", "b.zip")
    assert first.read_bytes() == second.read_bytes()


def test_an_interrupted_zip_leaves_nothing(tmp_path: Path) -> None:
    def images() -> Iterable[GeneratedImage]:
        yield from generate(2, 0, fonts=FONTS)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_zip(tmp_path / "out.zip", images())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given_path", "path"),
    [("a", "a.zip"), ("a.zip", "a.zip"), ("b/a.ZIP", "b/a.ZIP"), ("a.b/", "a.b.zip")],
)
def test_zip_is_added_to_a_name_that_lacks_it(given_path: str, path: str) -> None:
    assert zip_path(given_path) == Path(path)


@pytest.mark.parametrize("place", ["", ".", "a/.."])
def test_a_zip_needs_a_name(place: str) -> None:
    with pytest.raises(DatasetError, match="needs a file name"):
        zip_path(place)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_text("precious")
    with pytest.raises(DatasetError, match=r"empty folder.*\(not empty\)\. Name another"):
        write_folder(tmp_path, generate(1, 0, fonts=FONTS))
    with pytest.raises(DatasetError, match=r"goes into a folder.*\(a file\)"):
        write_folder(tmp_path / "mine.zip", generate(1, 0, fonts=FONTS))
    with pytest.raises(DatasetError, match=r"a new zip.*\(exists\)\. Name another"):
        write_zip(tmp_path / "mine", generate(1, 0, fonts=FONTS))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    write_folder(tmp_path, generate(1, 0, fonts=FONTS))
    assert len(list(tmp_path.glob("data/main/train/*.png"))) == 1


@pytest.mark.parametrize(("count", "seed"), [(-1, 0), (1, -1)])
def test_negative_counts_and_seeds_are_refused(count: int, seed: int) -> None:
    with pytest.raises(ConfigError, match=rf"at least 0.*count {count} and seed {seed}"):
        generate(count, seed, fonts=FONTS)
