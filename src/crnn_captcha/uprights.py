"""Turned letters -> the font that they are of, and the letters upright again.

A letter is compared with those of all known fonts, turned by all angles. Letters that a font is
known to have tell which font an image is drawn in, by their shapes and by how evenly their sizes
differ; how far another letter is turned is told by letters of its kind in other fonts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.typefaces import (
    HIDDEN,
    SEEN,
    LetterShape,
    Table,
    likeness,
    repaired,
)

ANGLES_DEG = tuple(range(-45, 46, 5))

# As in `typefaces`, but for letters at the angle that fits best, against fonts drawn by lot: fitted
# and rounded, on 2,000 turned images of 7,800, whose fonts an earlier version had found.
LIKENESS = (0.65, 0.7, 0.8, 0.86, 0.9, 0.95, 1.0)
OF_LIKENESS = (-4.0, -3.2, -0.6, 1.1, 2.4, 4.0, 5.8)
UNEVENNESS = (0.0, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.13)  # the deviation of log(size / size)
OF_UNEVENNESS = (3.0, 3.0, 2.4, 0.5, -1.5, -3.2, -4.0, -4.5)

DOUBT = 0.7  # of all evidence: letters of fonts in one manner are alike more often than by lot
ANOTHER = 0.2  # how likely it is, before looking, that a font isn't among the known ones
SURE = 0.9  # of a font, for an image to be taken for it,
LEAST_LETTERS = 3  # by so many


@dataclass(frozen=True, eq=False)
class KnownLetter:
    """An upright letter of a font.

    Attributes:
        letter: as it stands in its image.
        size: how large letters of that image are, in any unit that is the same for all letters of
            the font.
    """

    letter: LetterShape
    size: float


Font = Mapping[str, KnownLetter]  # by character


@dataclass(frozen=True, eq=False)
class Upright:
    """An image whose letters were turned back.

    Attributes:
        image: its index.
        font: the index of the font that it is drawn in.
        letters: upright, and marked as turned.
    """

    image: int
    font: int
    letters: list[LetterShape]


def turn_back(images: Sequence[Sequence[LetterShape]], fonts: Sequence[Font]) -> list[Upright]:
    """Finds fonts of images whose letters are turned, each by itself, and turns the letters back.

    Args:
        images: the letters of each.
        fonts: upright letters that each font is known to have.

    Returns:
        The images whose font is clear, in their order.
    """
    if not fonts:
        return []
    evidence, known, size, size2 = (np.zeros((len(images), len(fonts))) for _ in range(4))
    angles: dict[tuple[int, int], NDArray[np.int64]] = {}  # of a letter, if of each font
    for character, found in _by_character(images):
        owners = [index for index, font in enumerate(fonts) if character in font]
        if not owners:
            continue
        alike, sizes = _compared(
            [letter for *_, letter in found], [fonts[i][character] for i in owners]
        )
        fitting = alike.argmax(axis=2)[..., None]  # (letters, owners, 1)
        best, sizes = (np.take_along_axis(x, fitting, axis=2)[..., 0] for x in (alike, sizes))
        for row, (image, place, letter) in enumerate(found):
            of_each = np.full(len(fonts), fitting[row, best[row].argmax(), 0])  # as the likest
            of_each[owners] = fitting[row, :, 0]
            angles[image, place] = of_each
            if letter.hidden_share <= HIDDEN:
                evidence[image, owners] += np.interp(best[row], LIKENESS, OF_LIKENESS)
                known[image, owners] += 1
                size[image, owners] += sizes[row]
                size2[image, owners] += sizes[row] ** 2
    enough = known >= LEAST_LETTERS
    evidence += np.where(enough, _of_sizes(known, size, size2), 0)
    evidence[known == 0] = -np.inf
    chosen = np.where(enough, evidence, -np.inf).argmax(axis=1)
    clear = []
    for image, font in enumerate(chosen.tolist()):
        if not enough[image, font] or _probability(evidence[image], font) < SURE:
            continue
        upright = [
            replace(turned(letter, -ANGLES_DEG[angles[image, place][font]]), turned=True)
            for place, letter in enumerate(images[image])
            if (image, place) in angles
        ]
        clear.append(Upright(image, font, upright))
    return clear


def turned(letter: LetterShape, angle_deg: float) -> LetterShape:
    """The letter turned about its middle, against the clock, and cut to its box again.

    What lines hide is filled in before.
    """
    height, width = letter.coverage.shape
    side = math.ceil(math.hypot(height, width)) + 2
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    drawn = np.asarray(cv2.warpAffine(repaired(letter), matrix, (side, side)), np.float32)
    seen = drawn > SEEN
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if rows.size:  # if not, too faint to be seen between pixels
        drawn = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    bottom = round(letter.bottom + (len(drawn) - letter.height) / 2)
    return replace(letter, coverage=drawn, hidden=np.zeros(drawn.shape, bool), bottom=bottom)


def _of_sizes(
    known: NDArray[np.float64], size: NDArray[np.float64], size2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Evidence from how evenly sizes differ, from their number, sum and sum of squares."""
    count = np.maximum(known, 1)
    uneven = np.sqrt(np.maximum(size2 / count - (size / count) ** 2, 0))
    return np.asarray(np.interp(uneven, UNEVENNESS, OF_UNEVENNESS))


def _probability(evidence: NDArray[np.float64], font: int) -> float:
    """Of a font, among all known ones, which were equally likely, and another."""
    logs = np.append(evidence * DOUBT + np.log((1 - ANOTHER) / len(evidence)), np.log(ANOTHER))
    return float(1 / np.exp(logs - logs[font]).sum())


def _compared(letters: Sequence[LetterShape], kinds: Sequence[KnownLetter]) -> tuple[Table, Table]:
    """How alike letters are to those of fonts at all angles, and how large in the font's unit.

    Returns:
        Likeness and log(size), both float32 (letters, kinds, angles).
    """
    at_angles = [turned(kind.letter, angle) for kind in kinds for angle in ANGLES_DEG]
    shape = len(letters), len(kinds), len(ANGLES_DEG)
    units = np.log([kind.size for kind in kinds])[None, :, None]
    sizes = _log_sizes(letters)[:, None] - _log_sizes(at_angles)[None]
    return likeness(letters, at_angles).reshape(shape), sizes.reshape(shape) + units


def _log_sizes(letters: Sequence[LetterShape]) -> Table:
    """The mean logarithm of both sides, in pixels."""
    sides = np.array([letter.coverage.shape for letter in letters], np.float32)
    return np.asarray(np.log(sides).mean(axis=1), np.float32)


def _by_character(
    images: Sequence[Sequence[LetterShape]],
) -> Iterator[tuple[str, list[tuple[int, int, LetterShape]]]]:
    """For each character, its letters with the index of their image and their place in it."""
    found: dict[str, list[tuple[int, int, LetterShape]]] = {}
    for image, letters in enumerate(images):
        for place, letter in enumerate(letters):
            found.setdefault(letter.character, []).append((image, place, letter))
    yield from sorted(found.items())
