"""Drawn images are a function of seed, epoch and number, and none is drawn for two purposes."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import FONTS, LEARNABLE

from crnn_captcha.charset import Charset
from crnn_captcha.errors import ConfigError, DatasetError
from crnn_captcha.fonts import Font
from crnn_captcha.generator import Generator, generate
from crnn_captcha.images import decode_image
from crnn_captcha.synthetic import (
    EpochDrawings,
    Mixture,
    Synthetic,
    parse_synthetic,
    validation_data,
)

GENERATOR = Generator(LEARNABLE, FONTS)
LONG = replace(LEARNABLE, charset=Charset("xa"), min_length=5, max_length=5)


def of(generator: Generator = GENERATOR, count: int = 10) -> Mixture:
    """One style alone."""
    return Mixture(((generator, count),))


@pytest.mark.parametrize(
    ("text", "style", "count"),
    [("plain:7", "plain", 7), ("C:\\my styles\\a.toml:20000", "C:\\my styles\\a.toml", 20000)],
)
def test_style_and_count_are_read(text: str, style: str, count: int) -> None:
    assert parse_synthetic(text) == (Synthetic(style, count),)


@pytest.mark.parametrize("text", ["plain:7,a, b.toml:20", " plain:7 , a, b.toml:20 "])
def test_several_styles_have_commas_between(text: str) -> None:
    assert parse_synthetic(text) == (Synthetic("plain", 7), Synthetic("a, b.toml", 20))


@pytest.mark.parametrize(
    "text",
    [
        *("", "plain", "plain:", ":7", "plain:0", "plain:-1", "plain:1.5"),
        *(
            "plain:7,",
            ",plain:7",
            "plain:7,b",
            "plain:7,b:0",
            "plain:7,,b:7",
            "plain:" + 5000 * "1",
        ),
    ],
)
def test_what_has_another_form_is_refused(text: str) -> None:
    expected = f"several have commas between them. Received: '{text}'."
    with pytest.raises(ConfigError, match=re.escape(expected)):
        parse_synthetic(text)


def test_each_epoch_has_images_of_its_own_and_always_the_same() -> None:
    drawings, again = (EpochDrawings(of(), seed=3) for _ in range(2))
    seen = set()
    for epoch in (0, 1):
        for number in range(10):
            image, label = drawings.draw(epoch, number)
            same, same_label = pickle.loads(pickle.dumps(again)).draw(epoch, number)
            np.testing.assert_array_equal(image, same)
            assert label == same_label
            seen.add(image.tobytes())
    assert len(seen) == 20
    assert not np.array_equal(EpochDrawings(of(), seed=4).draw(0, 0)[0], image)


def test_what_batches_ask_for_is_the_styles() -> None:
    drawings = EpochDrawings(of(), seed=3)
    assert (drawings.charset, drawings.max_length) == (Charset("ab01"), 3)
    aspects = drawings.aspects(2)
    assert aspects.shape == (10,)
    lengths = [len(drawings.draw(2, number)[1]) for number in range(10)]
    assert np.corrcoef(aspects, lengths)[0, 1] > 0.7


def test_the_fingerprint_tells_what_would_be_drawn() -> None:
    known = EpochDrawings(of(), seed=3).fingerprint
    assert known == EpochDrawings(of(Generator(LEARNABLE, FONTS)), seed=3).fingerprint
    moved = replace(LEARNABLE, fonts=replace(LEARNABLE.fonts, folders=("elsewhere",)))
    assert known == EpochDrawings(of(Generator(moved, FONTS)), seed=3).fingerprint
    others = [
        EpochDrawings(of(count=11), seed=3),
        EpochDrawings(of(), seed=4),
        EpochDrawings(of(Generator(replace(LEARNABLE, max_length=4), FONTS)), seed=3),
        EpochDrawings(of(Generator(LEARNABLE, [replace(FONTS[0], style="Bold")])), seed=3),
    ]
    assert known not in [other.fingerprint for other in others]


def test_the_fingerprint_tells_other_fonts_of_the_same_names(tmp_path: Path) -> None:
    fonts = [Font("recovered", "Regular", tmp_path / f"{name}.ttf") for name in "aab"]
    (tmp_path / "a.ttf").write_bytes(b"a font")
    (tmp_path / "b.ttf").write_bytes(b"another")
    prints = [EpochDrawings(of(Generator(LEARNABLE, [f])), seed=3).fingerprint for f in fonts]
    assert prints[0] == prints[1] != prints[2]


def test_styles_are_drawn_one_after_the_other() -> None:
    mixture = Mixture(((GENERATOR, 3), (Generator(LONG, FONTS), 4)))
    drawings = EpochDrawings(mixture, seed=3)
    assert (drawings.count, drawings.charset, drawings.max_length) == (7, Charset("ab01x"), 5)
    labels = [drawings.draw(1, number)[1] for number in range(7)]
    assert [len(label) == 5 for label in labels] == [False] * 3 + [True] * 4
    assert drawings.aspects(1).argmin() < 3
    alone = EpochDrawings(of(count=3), seed=3)
    assert labels[:3] == [alone.draw(1, number)[1] for number in range(3)]
    data = validation_data(mixture, "both", seed=2)
    assert {len(sample.label) == 5 for sample in data.samples("validation")[3:]} == {True}
    for sample in data.samples("validation"):
        assert data.read(sample)


def test_the_fingerprint_tells_which_style_has_how_many() -> None:
    long = Generator(LONG, FONTS)
    parts = [((GENERATOR, 3), (long, 4)), ((GENERATOR, 4), (long, 3)), ((long, 4), (GENERATOR, 3))]
    assert len({EpochDrawings(Mixture(part), seed=3).fingerprint for part in parts}) == 3


def test_validation_data_are_a_data_set() -> None:
    data = validation_data(of(count=8), "mine.toml", seed=2)
    assert data.path == Path("mine.toml")
    assert data.splits["train"] == data.splits["test"] == ()
    samples = data.samples("validation")
    assert len(samples) == len({sample.name for sample in samples}) == 8
    assert sorted(sample.name for sample in samples) == data.source.names()
    again = validation_data(of(count=8), "mine.toml", seed=2)
    for sample in samples:
        assert sample.name.startswith(f"validation/{sample.label}-")
        assert data.read(sample) == again.read(sample)
    others = validation_data(of(count=8), "mine.toml", seed=3).samples("validation")
    assert [sample.label for sample in samples] != [sample.label for sample in others]


def test_no_image_is_drawn_for_two_purposes() -> None:
    """Not even of one seed, in the first epoch."""
    validation = validation_data(of(count=20), "mine", seed=0)
    samples = validation.samples("validation")
    drawn = [
        {decode_image(validation.read(sample)).tobytes() for sample in samples},
        {EpochDrawings(of(count=20), seed=0).draw(0, number)[0].tobytes() for number in range(20)},
        {decode_image(i.data).tobytes() for i in generate(20, 0, style=LEARNABLE, fonts=FONTS)},
    ]
    assert len(set.union(*drawn)) == 60


@pytest.mark.parametrize("name", ["validation/ab-8.png", "validation/ab-x.png", "ab.png", ""])
def test_a_name_that_was_not_drawn_is_refused(name: str) -> None:
    source = validation_data(of(count=8), "mine", seed=2).source
    expected = f"There is no drawn image of this name. Received: '{name}'."
    with pytest.raises(DatasetError, match=re.escape(expected)):
        source.read(name)
