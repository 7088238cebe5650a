"""Turned letters -> the font that they are of, and the letters upright again.

A letter is compared with those of all known fonts, turned by all angles. Letters that a font is
known to have tell which font an image is drawn in; how far another letter is turned is told by
letters of its kind in other fonts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.typefaces import (
    HIDDEN,
    LIKENESS,
    OF_LIKENESS,
    PROPORTION,
    SEEN,
    Coverage,
    LetterShape,
    Table,
    proportion_of,
    repaired,
    shape_of,
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
        for (image, place, letter), likeness, angle in zip(found, best, fitting, strict=True):
            of_each = np.full(len(fonts), angle[likeness.argmax()])  # in other fonts, as the likest
            of_each[owners] = angle
            angles[image, place] = of_each
            if letter.hidden_share <= HIDDEN:
                evidence[image, owners] += np.interp(likeness, LIKENESS, OF_LIKENESS) + OF_TURNING
                known[image, owners] += 1
    clear = []
    for image, letters in enumerate(images):
        font = int(evidence[image].argmax())
        lead = evidence[image, font] - np.delete(evidence[image], font).max(initial=-np.inf)
        if evidence[image, font] < ENOUGH or lead < LEAD or known[image, font] < LEAST_LETTERS:
            continue
        upright = [
            _turned_back(letter, ANGLES_DEG[angles[image, place][font]])
            for place, letter in enumerate(letters)
            if (image, place) in angles
        ]
        clear.append(Upright(image, font, upright))
    return clear


def turned(coverage: Coverage, angle_deg: float) -> Coverage:
    """A letter turned about its middle, against the clock, cut to its box again."""
    height, width = coverage.shape
    diagonal = int(np.ceil(np.hypot(height, width))) + 2
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1)
    matrix[:, 2] += (diagonal - width) / 2, (diagonal - height) / 2
    drawn = np.asarray(cv2.warpAffine(coverage, matrix, (diagonal, diagonal)), np.float32)
    seen = drawn > SEEN
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return coverage
    return drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _turned_back(letter: LetterShape, angle_deg: float) -> LetterShape:
    """The letter as it was before it was turned by so much about its middle."""
    coverage = turned(repaired(letter), -angle_deg)
    middle = letter.bottom - letter.height / 2
    hidden = np.full(coverage.shape, False)
    bottom = round(middle + len(coverage) / 2)
    return replace(letter, coverage=coverage, hidden=hidden, bottom=bottom, turned=True)


def _likeness_turned(letters: Sequence[LetterShape], kinds: Sequence[LetterShape]) -> Table:
    """How alike letters are to those of fonts at all angles, (letters, kinds, angles)."""
    drawn = [
        replace(kind, coverage=turned(kind.coverage, angle))
        for kind in kinds
        for angle in ANGLES_DEG
    ]
    shapes, others = (np.stack([shape_of(one) for one in some]) for some in (letters, drawn))
    proportions, of_others = (
        np.array([proportion_of(one) for one in some], np.float32) for some in (letters, drawn)
    )
    differences = np.minimum(np.abs(proportions[:, None] - of_others[None]), 1)
    alike = shapes @ others.T - PROPORTION * differences
    return np.asarray(alike.reshape(len(letters), len(kinds), len(ANGLES_DEG)), np.float32)


def _by_character(
    images: Sequence[Sequence[LetterShape]],
) -> Iterator[tuple[str, list[tuple[int, int, LetterShape]]]]:
    """For each character, its letters with the index of their image and their place in it."""
    found: dict[str, list[tuple[int, int, LetterShape]]] = {}
    for image, letters in enumerate(images):
        for place, letter in enumerate(letters):
            found.setdefault(letter.character, []).append((image, place, letter))
    yield from sorted(found.items())
