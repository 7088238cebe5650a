"""Generated images are a function of seed and id, say what their names say, and are kept whole."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_captcha import generator as generator_module
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import open_dataset, parse_label
from crnn_captcha.errors import ConfigError, DatasetError, FontError, MissingExtraError
from crnn_captcha.fonts import Font
from crnn_captcha.generator import (
    CHUNK,
    GeneratedImage,
    Generator,
    generate,
    png_of,
    write_folder,
    write_zip,
    zip_path,
)
from crnn_captcha.images import decode_image
from crnn_captcha.style_files import load_style
from crnn_captcha.styles import FontStyle, ImageStyle, Range, Style

FONTS = (Font("Aileron", "Regular", None),)  # there on every machine
CHARACTERS = Style().charset.characters
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


def test_labels_of_a_seed_stay_the_same_in_every_version() -> None:
    names = [image.name for image in generate(4, 5, fonts=FONTS)]
    assert names == ["s0tgima-0.png", "rsgv-1.png", "8pf2ljp-2.png", "pa1yn1ed-3.png"]


def test_characters_that_are_confusable_can_be_drawn_more_often() -> None:
    style = replace(Style(), confusable="o0É", confusable_share=0.4)  # no font has an É
    labels = "".join(Generator(style, FONTS).label(3, i) for i in range(1000))
    assert set(labels) == set(CHARACTERS)
    shares = np.array([labels.count(c) for c in CHARACTERS]) / len(labels)
    often = np.array([c in "o0" for c in CHARACTERS])
    np.testing.assert_allclose(shares[often], 0.4 / 2 + 0.6 / 36, atol=0.02)
    np.testing.assert_allclose(shares[~often], 0.6 / 36, atol=0.01)
    usual = [Generator(Style(), FONTS).label(3, i) for i in range(9)]
    for nothing in ({"confusable": "É", "confusable_share": 0.4}, {"confusable": "o0"}):
        same = Generator(replace(Style(), **nothing), FONTS)
        assert [same.label(3, i) for i in range(9)] == usual


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


def test_processes_draw_the_same_images_in_the_same_order() -> None:
    style = replace(Style(), image=ImageStyle(height_px=Range.of(20), width_px=Range.of(0)))
    count = 10 * CHUNK + 1
    images = list(generate(count, 3, style=style, fonts=FONTS, workers=2))
    assert [int(image.name[:-4].rpartition("-")[2]) for image in images] == list(range(count))
    alone = Generator(style, FONTS)
    for index in (0, 1, CHUNK, count - 1):
        assert images[index].data == png_of(alone.draw(3, index).image)


def test_a_worker_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_module, "MANY", 0)
    monkeypatch.setattr(generator_module, "_start_process", os._exit)  # of an exit code: an error
    with pytest.raises(DatasetError, match=r"worker process died while drawing .*fewer workers"):
        list(generate(2, 0, fonts=FONTS, workers=2))


def test_only_a_worker_draws_in_a_process() -> None:
    with pytest.raises(DatasetError, match="draws after `_start_process`"):
        generator_module._generate_in_process(0, [0])


def test_a_worker_draws_what_its_generator_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_module, "_in_process", None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(cv2, "setNumThreads", lambda _: None)
    generator_module._start_process(Generator(None, FONTS))
    images = generator_module._generate_in_process(3, range(2, 4))
    assert images == list(generate(4, 3, fonts=FONTS))[2:]


@settings(max_examples=25)
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
        height, width, _ = decode_image(image.data).shape
        assert height == 80
        assert 0 <= width - 35 * len(image.label) <= 500


def test_a_hyphen_in_a_label_survives_the_file_name() -> None:
    style = Style(charset=Charset("-"))
    (image,) = generate(1, 0, style=style, fonts=FONTS)
    assert set(image.label) == {"-"}
    assert parse_label(image.name) == image.label


def test_the_default_style_is_as_wide_as_stated_and_uses_every_length_and_character() -> None:
    images = list(generate(120, 0, fonts=FONTS))
    widths = [decode_image(image.data).shape[1] for image in images]
    assert min(widths) >= 140
    assert max(widths) <= 780
    assert {len(image.label) for image in images} == {4, 5, 6, 7, 8}
    assert set("".join(image.label for image in images)) == set(CHARACTERS)


def test_a_file_holds_the_image_to_the_pixel() -> None:
    (image,) = generate(1, 7, fonts=FONTS)
    drawn = Generator(None, FONTS).draw(7, 0)
    np.testing.assert_array_equal(decode_image(image.data), drawn.image)
    assert image.label == drawn.label


# --- the generator --------------------------------------------------------------------------


def test_labels_and_aspects_are_known_without_drawing() -> None:
    generator = Generator(None, FONTS)
    for index in range(5):
        drawn = generator.draw(4, index)
        assert generator.label(4, index) == drawn.label
    wide, narrow = (
        Generator(replace(Style(), charset=Charset(characters)), FONTS).aspect(0)
        for characters in ("mw", "il")
    )
    assert wide > 2 * narrow


def test_a_generator_may_be_sent_to_another_process() -> None:
    generator = Generator(None, FONTS)
    copy = pickle.loads(pickle.dumps(generator))
    np.testing.assert_array_equal(copy.draw(1, 2).image, generator.draw(1, 2).image)


def test_fonts_come_from_where_the_style_says(tmp_path: Path) -> None:
    style = replace(Style(), fonts=FontStyle(folders=(str(tmp_path),), installed=False))
    with pytest.raises(
        FontError, match=r"none in .* \(no \.otf, \.ttf, \.woff, \.woff2 file there\)"
    ):
        Generator(style)
    assert Generator().fonts == Generator(load_style()).fonts


def test_a_charset_that_no_font_has_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(FontError, match="draws every character of"):
        generate(1, 0, style=Style(charset=Charset("a\u0f8b")))


@dataclass
class _Peer:
    draw: Callable[..., Any]
    needs_font: bool

    def __call__(self, *arguments: Any) -> Any:
        return self.draw(*arguments)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the generator of somebody else is called with; it draws noise."""
    calls: list[tuple[Any, ...]] = []
    peers: dict[str, _Peer] = {}

    def draw(text: str, size: tuple[int, int], font: Path | None, random: Any) -> Any:
        calls.append((text, size, font))
        return random.integers(256, size=(*size[::-1], 3)).astype(np.uint8)

    for name, needs_font in (("theirs", False), ("fontless", True)):
        monkeypatch.setitem(peers, name, _Peer(draw, needs_font))
    monkeypatch.setattr(generator_module, "find_peer", peers.__getitem__)
    return calls


def test_somebody_elses_generator_gets_text_size_and_font(peer: list[tuple[Any, ...]]) -> None:
    size = ImageStyle(Range.of(50), width_px=Range.of(10), width_per_character_px=Range.of(20))
    style = replace(Style(), generator="theirs", image=size, fonts=FontStyle(installed=False))
    generator = Generator(style)
    drawn = generator.draw(2, 0)
    assert peer == [(drawn.label, (10 + 20 * len(drawn.label), 50), None)]
    np.testing.assert_array_equal(generator.draw(2, 0).image, drawn.image)
    assert generator.aspect(2, 0) == len(drawn.label)


def test_somebody_elses_generator_gets_true_type_fonts(peer: list[tuple[Any, ...]]) -> None:
    paths = [Path("a.ttf"), Path("b.otf"), Path("c.ttf"), None]
    fonts = [Font(f"family {i}", "Regular", path) for i, path in enumerate(paths)]
    generator = Generator(replace(Style(), generator="theirs"), fonts)
    for index in range(20):
        generator.draw(0, index)
    assert {font for _, _, font in peer} == {Path("a.ttf"), Path("c.ttf")}
    assert [font.path for font in generator.fonts] == [Path("a.ttf"), Path("c.ttf")]


@pytest.mark.usefixtures("peer")
def test_somebody_elses_generator_needs_fonts_that_it_can_draw_with() -> None:
    fonts = [Font("web", "Regular", Path("a.woff2")), Font("built in", "Regular", None)]
    with pytest.raises(FontError, match=r"'theirs' draws with \.ttf .* none among 1 font files"):
        Generator(replace(Style(), generator="theirs"), fonts)
    assert Generator(replace(Style(), generator="theirs"), fonts[1:]).fonts == ()  # has its own
    with pytest.raises(FontError, match=r"'fontless' draws with \.ttf .* none among 0 font files"):
        Generator(replace(Style(), generator="fontless"), fonts[1:])


def test_somebody_elses_generator_has_to_be_there() -> None:
    with pytest.raises(ConfigError, match=r"A generator is one of .* Received: 'theirs'"):
        Generator(replace(Style(), generator="theirs"), FONTS)


def test_what_is_missing_is_said_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> SimpleNamespace:
        raise MissingExtraError(f"Drawing as '{name}' does", "imitate")

    monkeypatch.setattr(generator_module, "find_peer", missing)
    with pytest.raises(MissingExtraError, match="'captcha' does needs the extra 'imitate'"):
        generate(1, 0, style=load_style("captcha"))


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "tests"), [(0, 0), (1, 0), (2, 1), (11, 1), (12, 2), (30, 3)])
def test_a_tenth_is_for_testing_and_one_as_soon_as_there_are_two(count: int, tests: int) -> None:
    style = Style(Charset("i"), min_length=1, max_length=1)
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


@pytest.mark.parametrize(("count", "seed", "workers"), [(-1, 0, 1), (1, -1, 1), (1, 1, 0)])
def test_negative_counts_and_seeds_are_refused(count: int, seed: int, workers: int) -> None:
    received = rf"at least 0.*count {count}, seed {seed} and {workers} workers"
    with pytest.raises(ConfigError, match=received):
        generate(count, seed, fonts=FONTS, workers=workers)
