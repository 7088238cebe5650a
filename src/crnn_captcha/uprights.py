"""Turned letters -> the font that they are of, and the letters upright again.

A letter is compared with those of all known fonts, turned by all angles. Letters that a font is
known to have tell which font an image is drawn in; how far another letter is turned is told by
letters of its kind in other fonts.
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
    LIKENESS,
    OF_LIKENESS,
    SEEN,
    LetterShape,
    Table,
    likeness,
    repaired,
)

ANGLES_DEG = tuple(range(-45, 46, 5))
OF_TURNING = -1.0  # evidence for each letter: of many angles, one fits by chance
ENOUGH = 6.0  # evidence in all, for an image to be of a font,
LEAD = 2.0  # more than for any other font,
LEAST_LETTERS = 3  # from so many

Font = Mapping[str, LetterShape]  # by character


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
    evidence = np.zeros((len(images), len(fonts)), np.float32)
    known = np.zeros((len(images), len(fonts)), np.int32)
    angles: dict[tuple[int, int], NDArray[np.int64]] = {}  # of a letter, if of each font
    for character, found in _by_character(images):
        owners = [index for index, font in enumerate(fonts) if character in font]
        if not owners:
            continue
        alike = _likeness_turned(
            [letter for *_, letter in found], [fonts[i][character] for i in owners]
        )
        fitting = alike.argmax(axis=2)  # (letters, owners)
        best = np.take_along_axis(alike, fitting[..., None], axis=2)[..., 0]
        for (image, place, letter), alikes, angle in zip(found, best, fitting, strict=True):
            of_each = np.full(len(fonts), angle[alikes.argmax()])  # in other fonts, as the likest
            of_each[owners] = angle
            angles[image, place] = of_each
            if letter.hidden_share <= HIDDEN:
                evidence[image, owners] += np.interp(alikes, LIKENESS, OF_LIKENESS) + OF_TURNING
                known[image, owners] += 1
    clear = []
    for image, letters in enumerate(images):
        font = int(evidence[image].argmax())
        lead = evidence[image, font] - np.delete(evidence[image], font).max(initial=-np.inf)
        if evidence[image, font] < ENOUGH or lead < LEAD or known[image, font] < LEAST_LETTERS:
            continue
        upright = [
            replace(turned(letter, -ANGLES_DEG[angles[image, place][font]]), turned=True)
            for place, letter in enumerate(letters)
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


def _likeness_turned(letters: Sequence[LetterShape], kinds: Sequence[LetterShape]) -> Table:
    """How alike letters are to those of fonts at all angles, (letters, kinds, angles)."""
    at_angles = [turned(kind, angle) for kind in kinds for angle in ANGLES_DEG]
    return likeness(letters, at_angles).reshape(len(letters), len(kinds), len(ANGLES_DEG))


def _by_character(
    images: Sequence[Sequence[LetterShape]],
) -> Iterator[tuple[str, list[tuple[int, int, LetterShape]]]]:
    """For each character, its letters with the index of their image and their place in it."""
    found: dict[str, list[tuple[int, int, LetterShape]]] = {}
    for image, letters in enumerate(images):
        for place, letter in enumerate(letters):
            found.setdefault(letter.character, []).append((image, place, letter))
    yield from sorted(found.items())
