"""A data set's own fonts: letters of images that are drawn in one font -> a font file.

    images of one font ─ their sizes and lines ─ the best letter of each kind ─ its outline ─ .ttf

What was learned to read from 20 images of a font is then learned from as many as are drawn with
it: other texts, sizes, turns, colours and lines. Each character looks as the labels say, also
where a font has a capital, a sign or nothing but a box for it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.dataset import BrokenImage, Dataset, Sample
from crnn_captcha.errors import FontError
from crnn_captcha.images import decode_image
from crnn_captcha.inspection import visit
from crnn_captcha.styles import LETTER_HEIGHTS_PX, MAX_LENGTH, NOT_IN_FILE_NAMES
from crnn_captcha.typefaces import (
    LetterShape,
    cut_letters,
    group_by_font,
    likeness,
)
from crnn_captcha.uprights import KnownLetter, turn_back

MAX_IMAGES_OF_FONT = 200  # that its letters are chosen from: the time grows with the cube
MAX_IMAGES = 10_000  # that are compared with each other: memory grows with the square
LEAST_IMAGES = 4  # of a font; fewer may be alike by chance
LEAST_CHARACTERS = 8
OUTLIER = 0.8  # a letter that is less like others of its kind is turned, or ill cut
ENDS = (0.005, 0.995)  # of the heights of texts: what is beyond was measured wrongly
ROUNDS = 8  # of fitting sizes and lines
ROUNDS_OF_TURNING = 2  # turned letters show more of a font, by which others are told
STYLE_FILE = "style.toml"  # what `style_file` says, in the folder of the fonts
SLIGHT = 0.01  # of the range of heights or places: what is off by less is right
# Letters look as they are recovered: no capitals for small letters, nothing bolder or slanted.
STYLE = """\
# Texts in the fonts of a data set, under the lines and in the colours of the style they start from.
base = "coloured-lines"
charset = {charset}
min_length = {min_length}
max_length = {max_length}
capitals = 0

[fonts]
folders = ["."]
installed = false
incomplete = true

[letters]
height_px = {heights}
stretch = 1
slant_deg = 0
weight = 0

[effects]
outlined = 0
shadowed = 0
boxed = 0
rough = 0
striped = 0
pixelated = 0
wavy = 0
"""


@dataclass(frozen=True, eq=False)
class RecoveredGlyph:
    """The best letter of its kind.

    Attributes:
        letter: as it stands in its image.
        scale: of that image's pixels, if the font's tallest letter is to be 1 above the line.
        drop_px: how far it ends below the line that letters stand on; negative: above it.
    """

    letter: LetterShape
    scale: float
    drop_px: float


@dataclass(frozen=True, eq=False)
class RecoveredFont:
    """A font that several images are drawn in.

    Attributes:
        name: `font-001` is that of most images.
        glyphs: by their character.
        images: names of the images that are drawn in it.
        heights_px: of its tallest letter above the line, in each of them that shows some of these
            glyphs.
    """

    name: str
    glyphs: Mapping[str, RecoveredGlyph]
    images: tuple[str, ...]
    heights_px: tuple[float, ...]


@dataclass(frozen=True)
class Recovery:
    """What was found in a data set.

    Attributes:
        fonts: those of most images first.
        samples: that were looked at.
        apart: how many of them have letters that stand apart.
        broken: images that can't be read.
    """

    fonts: tuple[RecoveredFont, ...]
    samples: tuple[Sample, ...]
    apart: int
    broken: tuple[BrokenImage, ...]

    @property
    def characters(self) -> str:
        """Those that at least one of the fonts has, sorted."""
        return "".join(sorted({c for font in self.fonts for c in font.glyphs}))

    def summary(self) -> str:
        """What came out, for people to read."""
        held = sum(len(font.images) for font in self.fonts)
        mean = sum(len(font.glyphs) for font in self.fonts) / len(self.fonts)
        return (
            f"Recovered {len(self.fonts):,} fonts from {held:,} of {len(self.samples):,} images, "
            f"with {mean:.1f} of {len(self.characters)} characters on average."
        )


def recover_fonts(
    dataset: Dataset, samples: Sequence[Sample], *, progress: bool = False
) -> Recovery:
    """The fonts that labelled images are drawn in.

    Args:
        dataset: the data.
        samples: of it. Of more than `MAX_IMAGES`, every second, third and so on.
        progress: whether to show a progress bar on standard error, if that is a terminal.

    Raises:
        FontError: if no font was found.
    """

    def look(sample: Sample, data: bytes) -> list[LetterShape]:
        return cut_letters(decode_image(data), sample.label)

    samples = samples[:: max(1, math.ceil(len(samples) / MAX_IMAGES))]
    looked = visit(dataset, samples, look, progress=progress)
    found = [
        (sample.name, letters)
        for sample, letters in zip(samples, looked, strict=True)
        if letters and not isinstance(letters, BrokenImage)
    ]
    groups = [g for g in group_by_font([v for _, v in found]) if len(g) >= LEAST_IMAGES]
    members = [[found[index] for index in group] for group in groups]
    held = {index for group in groups for index in group}
    rest = [pair for index, pair in enumerate(found) if index not in held]
    for _ in range(ROUNDS_OF_TURNING):
        known = [_known_letters([letters for _, letters in group]) for group in members]
        uprights = turn_back([letters for _, letters in rest], known)
        for upright in uprights:
            members[upright.font].append((rest[upright.image][0], upright.letters))
        gone = {upright.image for upright in uprights}
        rest = [pair for index, pair in enumerate(rest) if index not in gone]
    fonts: list[RecoveredFont] = []
    for group in sorted(members, key=lambda group: (-len(group), group[0][0])):
        glyphs = recover_glyphs([letters for _, letters in group])
        if len(glyphs) >= LEAST_CHARACTERS:
            names = tuple(name for name, _ in group)
            heights = _heights_px([letters for _, letters in group], glyphs)
            fonts.append(RecoveredFont(f"font-{len(fonts) + 1:03d}", glyphs, names, heights))
    if not fonts:
        most = (
            f"those of one font show fewer than {LEAST_CHARACTERS} characters"
            if members
            else f"no {LEAST_IMAGES} of these are of one font"
        )
        raise FontError(
            f"A font is recovered from at least {LEAST_IMAGES} images whose letters stand apart "
            f"and have flat colours on white, if they show {LEAST_CHARACTERS} of its characters. "
            f"Received: {len(samples):,} images, letters stand apart in {len(found):,}, and {most}."
        )
    broken = tuple(seen for seen in looked if isinstance(seen, BrokenImage))
    return Recovery(tuple(fonts), tuple(samples), len(found), broken)


def _heights_px(
    images: Sequence[Sequence[LetterShape]], glyphs: Mapping[str, RecoveredGlyph]
) -> tuple[float, ...]:
    """How high the font's tallest letter is in each image; each of its letters tells it."""
    shares = {c: glyph.letter.height * glyph.scale for c, glyph in glyphs.items()}
    told = ([x.height / shares[x.character] for x in i if x.character in shares] for i in images)
    return tuple(float(np.median(heights)) for heights in told if heights)


def _known_letters(images: Sequence[Sequence[LetterShape]]) -> dict[str, KnownLetter]:
    glyphs = recover_glyphs(images)
    return {c: KnownLetter(glyph.letter, 1 / glyph.scale) for c, glyph in glyphs.items()}


def recover_glyphs(images: Sequence[Sequence[LetterShape]]) -> dict[str, RecoveredGlyph]:
    """The letters of a font, from images that are drawn in it.

    Of each kind the largest is taken of those that are like the others and that no line hides, one
    that was turned only where there is no other.

    Args:
        images: the letters of each, at least one image with at least one letter. Of more than
            `MAX_IMAGES_OF_FONT`, every second, third and so on.

    Returns:
        A glyph for each character that stands in one of the images.
    """
    images = images[:: math.ceil(len(images) / MAX_IMAGES_OF_FONT)]
    sizes, drops = _fitted(images)
    found: dict[str, list[tuple[int, LetterShape]]] = {}
    for index, shapes in enumerate(images):
        for letter in shapes:
            found.setdefault(letter.character, []).append((index, letter))
    chosen: dict[str, tuple[int, LetterShape]] = {}
    for character, letters in sorted(found.items()):
        typical = _typical([letter for _, letter in letters])
        chosen[character] = max(
            (letters[i] for i in typical),
            key=lambda pair: (
                not pair[1].turned,
                sizes[pair[0]] * (1 - pair[1].hidden_share) ** 3,
            ),
        )
    rises = [
        (letter.height - drops[character] * sizes[index]) / sizes[index]
        for character, (index, letter) in chosen.items()
    ]
    tallest = max(*rises, *(letter.height / sizes[i] / 2 for i, letter in chosen.values()))
    return {
        character: RecoveredGlyph(
            letter, 1 / (tallest * sizes[index]), drops[character] * sizes[index]
        )
        for character, (index, letter) in chosen.items()
    }


def style_file(recovery: Recovery) -> str:
    """A style, as TOML, that draws labels like those of the data with the fonts beside it.

    But for what a style can't have: characters that no file name may have, labels of great length.
    """
    broken = {image.name for image in recovery.broken}
    labels = [sample.label for sample in recovery.samples if sample.name not in broken]
    charset = "".join(sorted(set().union(*labels) - set(NOT_IN_FILE_NAMES)))
    lengths = [min(len(label), MAX_LENGTH) for label in labels]
    return STYLE.format(
        charset=json.dumps(charset, ensure_ascii=False),
        min_length=min(lengths),
        max_length=max(lengths),
        heights=_range_of([height for font in recovery.fonts for height in font.heights_px]),
    )


def _range_of(values: Sequence[float]) -> list[float]:
    """Lowest, likeliest and highest of a triangle with the values' ends and mean.

    What is lower or higher than a style may have counts as its ends.
    """
    possible = np.clip(values, *LETTER_HEIGHTS_PX)
    low, high = np.quantile(possible, ENDS)
    likeliest = np.clip(3 * np.mean(possible) - low - high, low, high)
    return [round(float(value), 1) for value in (low, likeliest, high)]


def table(recovery: Recovery) -> str:
    """Which image is drawn in which font, as CSV with the columns `image` and `font`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "font"))
    writer.writerows(sorted((image, font.name) for font in recovery.fonts for image in font.images))
    return text.getvalue()


def _fitted(
    images: Sequence[Sequence[LetterShape]],
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Sizes of images, and how far below its line a letter of each kind ends at size 1.

    A letter's height is its image's size times one of its kind, and it ends as far below its
    image's line as its kind does, times that size.
    """
    owners, kinds, letters = [], [], []
    characters = sorted({letter.character for shapes in images for letter in shapes})
    for index, shapes in enumerate(images):
        for letter in shapes:
            owners.append(index)
            kinds.append(characters.index(letter.character))
            letters.append(letter)
    image, kind = np.array(owners), np.array(kinds)
    heights = np.log([letter.height for letter in letters])
    of_image, _ = _least_deviations(heights, image, kind, np.ones(len(letters)))
    scale = np.exp(of_image - np.median(of_image))
    bottoms = np.array([letter.bottom for letter in letters], np.float64)
    _, of_kind = _least_deviations(bottoms, image, kind, scale[image])
    drops = of_kind - np.median(of_kind)
    return scale, dict(zip(characters, drops.tolist(), strict=True))


def _least_deviations(
    values: NDArray[np.float64],
    image: NDArray[np.int64],
    kind: NDArray[np.int64],
    factor: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parts of images and of kinds whose sums, those of kinds times a factor, are the values.

    What a few letters say against the others counts little: of least squares, each weighted anew by
    one over how far off it was (Lawson 1961, iteratively reweighted least squares).
    """
    count = int(image.max()) + 1
    places = np.arange(len(values))
    terms = np.zeros((len(values), count + int(kind.max()) + 1))
    terms[places, image] = 1
    terms[places, count + kind] = factor
    weights = np.ones(len(values))
    parts: NDArray[np.float64] = np.zeros(terms.shape[1])
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        found = np.linalg.lstsq(terms * root[:, None], values * root, rcond=None)[0]
        parts = np.asarray(found, np.float64)
        off = np.abs(values - terms @ parts)
        weights = 1 / np.maximum(off, SLIGHT * np.ptp(values) + np.finfo(float).eps)
        weights /= weights.max()
    return parts[:count], parts[count:]


def _typical(letters: Sequence[LetterShape]) -> list[int]:
    """Which letters of a kind are like the one that is most like all others."""
    alike = likeness(letters)
    middle = int(np.median(alike, axis=1).argmax())
    return np.flatnonzero(alike[middle] > OUTLIER).tolist() or [middle]
