"""Labelled images -> groups that are drawn in one font each, told by the shapes of their letters.

    images ─ letters that stand apart ─ pairs of images: how alike are the letters that both have?
           ─ evidence for one font, or for two ─ groups

A generator of text CAPTCHAs has some hundreds of fonts, and meets each of them again and again. In
images of one font, letters of a kind have one shape at any size, one letter is as many times as
high as another, and all stand on one line. Letters that are turned are like no others: their
images stay alone here, and `uprights` takes them up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.letters import split_letters
from crnn_captcha.stages import Image, add_ink, crop_ink, invert, part_letters

Coverage = NDArray[np.float32]  # (height, width), from 0, paper, to 1, ink
Table = NDArray[np.float32]

BLACK = 24  # a pixel whose brightest channel is below this is a line
SEEN = 0.3  # of full ink: what is paler is no part of a letter's box
LEAST_PIXELS = 4  # of a letter
HIDDEN = 0.25  # letters whose box lines hide more of aren't compared
SHAPE_PX = 24  # shapes are compared at this width and height,
REPAIR_PX = 2  # how far around what a line hides ink is looked for
BLUR_PX = 0.8  # blurred by so much, so that half a pixel counts little
PROPORTION = 0.5  # what a difference in log(width / height) takes away from a likeness

# Natural logarithms of how many times as likely something is in images of one font as in images of
# two. Counted on 7,200 labelled images in some hundreds of fonts, those of one font found by an
# earlier pass, and rounded. Between the points along a line.
LIKENESS = (0.5, 0.65, 0.8, 0.86, 0.89, 0.91, 0.93, 0.95, 1.0)
OF_LIKENESS = (-3.5, -3.3, -2.0, -0.2, 1.6, 2.9, 3.8, 4.9, 6.2)
UNEVENNESS = (0.0, 0.015, 0.03, 0.05, 0.1)  # the deviation of log(height / height)
OF_UNEVENNESS = (1.2, 0.8, -0.3, -2.5, -3.7)
UNEVEN_LINE = (0.0, 0.03, 0.06, 0.12, 0.2)  # that of where letters end, in heights of a letter
OF_UNEVEN_LINE = (1.0, 0.5, -0.5, -2.0, -3.0)
MOST_TIMES = 1.75  # as large: what is farther apart in size speaks against one font
OF_OTHER_SIZE = -4.0

ENOUGH = 5.0  # evidence in all, for images or groups to be of one font: there are hundreds
ENOUGH_EACH = 0.6  # and for each pair of letters, on average


@dataclass(frozen=True, eq=False)
class LetterShape:
    """A letter of an image, cut out.

    Attributes:
        character: what it is.
        coverage: how much of each pixel is ink, float32 (height, width), cut to its box.
        hidden: where a line lies over it, bool (height, width).
        bottom: where it ends, in rows of its image.
        turned: whether it was turned in its image, and is upright here.
    """

    character: str
    coverage: Coverage
    hidden: NDArray[np.bool_]
    bottom: int
    turned: bool = False

    @property
    def height(self) -> int:
        """In pixels."""
        return len(self.coverage)

    @property
    def hidden_share(self) -> float:
        """Of its box."""
        return float(self.hidden.mean())


def cut_letters(image: Image, label: str) -> list[LetterShape]:
    """The letters of an image at their own size.

    Args:
        image: RGB uint8 (height, width, 3): coloured letters on white, under near-black lines.
        label: what it says.

    Returns:
        A shape for each character; none where the letters can't be told apart.
    """
    prepared = invert(add_ink(part_letters(crop_ink(image))))  # (height, width, 4)
    places = split_letters(prepared.transpose(1, 0, 2), len(label))
    if places is None:
        return []
    lines = prepared[..., :3].min(axis=2) > 255 - BLACK
    ink = np.asarray(prepared[..., 3] / 255, np.float32)
    shapes = []
    for character, columns in zip(label, places, strict=True):
        seen = ink[:, columns] > SEEN
        rows, inside = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if not rows.size or seen.sum() < LEAST_PIXELS:
            return []
        first = columns.start + inside[0]
        box = slice(rows[0], rows[-1] + 1), slice(first, columns.start + inside[-1] + 1)
        shapes.append(LetterShape(character, ink[box], lines[box], int(rows[-1]) + 1))
    return shapes


def group_by_font(images: Sequence[Sequence[LetterShape]]) -> list[list[int]]:
    """Which images are drawn in the same font.

    Groups grow from pairs: those that most speaks for are put together first, and then count as
    one (agglomerative clustering; what speaks for two groups is the sum over their pairs, divided
    by the root of the number of letters that it rests on).

    Args:
        images: the letters of each. Memory grows with the square of their number: 3.5 GB for
            7,000.

    Returns:
        Groups of indices, the largest first; an image that is like no other is a group of its own.
    """
    evidence, letters = _evidence(images)
    return _grown(evidence, letters)


def likeness(letters: Sequence[LetterShape], others: Sequence[LetterShape] | None = None) -> Table:
    """How alike letters are: the cosine of their shapes, less what their proportions differ.

    Args:
        letters: at least one, of any sizes. Lines over them are no part of their shapes.
        others: to compare them with; None: with each other.

    Returns:
        float32 (letters, others), at most 1.
    """
    shapes, proportions = _shapes(letters)
    their_shapes, their_proportions = (shapes, proportions) if others is None else _shapes(others)
    differences = np.abs(proportions[:, None] - their_proportions[None])
    return np.asarray(shapes @ their_shapes.T - PROPORTION * np.minimum(differences, 1), np.float32)


def _shapes(letters: Sequence[LetterShape]) -> tuple[Table, Table]:
    """Shapes, (letters, features), and log(width / height), (letters,), a pixel added to both."""
    sides = np.array([letter.coverage.shape for letter in letters], np.float32) + 1
    proportions = np.log(sides[:, 1] / sides[:, 0])
    return np.stack([_shape(letter) for letter in letters]), proportions


def _shape(letter: LetterShape) -> Table:
    """A letter's shape whatever its size, float32 (features,) of mean 0 and length 1."""
    size = (SHAPE_PX, SHAPE_PX)
    scaled = cv2.resize(repaired(letter), size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(scaled, (0, 0), BLUR_PX)
    shape = np.asarray(blurred - blurred.mean(), np.float32).ravel()
    return np.asarray(shape / max(float(np.linalg.norm(shape)), 1e-6), np.float32)


def repaired(letter: LetterShape) -> Coverage:
    """A letter's coverage, what a line hides filled in from around it."""
    if not letter.hidden.any():
        return letter.coverage
    levels = np.rint(letter.coverage * 255).astype(np.uint8)
    filled = cv2.inpaint(levels, letter.hidden.astype(np.uint8), REPAIR_PX, cv2.INPAINT_TELEA)
    return np.asarray(filled / 255, np.float32)


def _evidence(images: Sequence[Sequence[LetterShape]]) -> tuple[Table, Table]:
    """Of each pair of images: the evidence for one font, and how many letters it rests on."""
    count = len(images)
    evidence, letters, ratio, ratio2, ends, ends2, products, heights = (
        np.zeros((count, count), np.float32) for _ in range(8)
    )
    for owners, found in _by_character(images):
        pairs = np.ix_(owners, owners)
        evidence[pairs] += np.interp(likeness(found), LIKENESS, OF_LIKENESS)
        letters[pairs] += 1
        height = np.array([letter.height for letter in found], np.float32)
        ratios = np.log(height)[:, None] - np.log(height)[None]
        ratio[pairs] += ratios
        ratio2[pairs] += ratios**2
        bottom = np.array([letter.bottom for letter in found], np.float32)
        ends[pairs] += bottom[:, None]
        ends2[pairs] += bottom[:, None] ** 2
        products[pairs] += bottom[:, None] * bottom[None]
        heights[pairs] += height[:, None]
    shared = np.maximum(letters, 1)
    mean = ratio / shared
    uneven = np.sqrt(np.maximum(ratio2 / shared - mean**2, 0))
    evidence += np.where(letters > 1, np.interp(uneven, UNEVENNESS, OF_UNEVENNESS), 0)
    evidence += np.where((letters > 0) & (np.abs(mean) > np.log(MOST_TIMES)), OF_OTHER_SIZE, 0)
    # Letters end at the same places, once those of one image are scaled to the other's size: the
    # variance over shared letters of the one's ends less the other's.
    scale, other = np.exp(mean), ends.T
    variance = ends2 + scale**2 * ends2.T - 2 * scale * products
    variance -= (ends - scale * other) ** 2 / shared
    uneven = np.sqrt(np.maximum(variance / shared, 0)) * shared / np.maximum(heights, 1)
    evidence += np.where(letters > 1, np.interp(uneven, UNEVEN_LINE, OF_UNEVEN_LINE), 0)
    for table in (evidence, letters):
        np.fill_diagonal(table, 0)
    return evidence, letters


def _by_character(
    images: Sequence[Sequence[LetterShape]],
) -> Iterator[tuple[NDArray[np.int64], list[LetterShape]]]:
    """For each character, the images that have it and the letter of each that is hidden least."""
    found: dict[str, dict[int, LetterShape]] = {}
    for index, shapes in enumerate(images):
        for letter in shapes:
            owned = found.setdefault(letter.character, {})
            best = owned.get(index)
            hidden = letter.hidden_share
            if hidden <= HIDDEN and (best is None or hidden < best.hidden_share):
                owned[index] = letter
    for _, owned in sorted(found.items()):
        if owned:
            yield np.array(list(owned), np.int64), list(owned.values())


def _grown(evidence: Table, letters: Table) -> list[list[int]]:
    """Groups put together by the evidence of all their pairs; both tables are used up."""
    count = len(evidence)
    members: list[list[int]] = [[index] for index in range(count)]
    active = np.ones(count, bool)
    best, partner = np.full(count, -np.inf, np.float32), np.zeros(count, np.int64)

    def gains(group: int) -> Table:
        """How much speaks for putting the group together with each other one."""
        pairs = np.maximum(letters[group], 1)
        fit = active & (evidence[group] > ENOUGH) & (evidence[group] > ENOUGH_EACH * pairs)
        return np.where(fit, evidence[group] / np.sqrt(pairs), -np.inf)

    def choose(group: int) -> None:
        found = gains(group)
        partner[group] = found.argmax()
        best[group] = found[partner[group]]

    for index in range(count):
        choose(index)
    while count and (best > -np.inf).any():
        kept = int(best.argmax())
        joined = int(partner[kept])
        for table in (evidence, letters):
            table[kept] += table[joined]
            table[:, kept] += table[:, joined]
            table[kept, kept] = 0
        members[kept] += members[joined]
        active[joined], best[joined] = False, -np.inf
        choose(kept)
        found = gains(kept)
        were_partners = active & np.isin(partner, (kept, joined))
        were_partners[kept] = False
        for group in np.flatnonzero(were_partners & (found < best)):
            choose(int(group))
        better = (found > best) | (were_partners & (found == best))
        best[better], partner[better] = found[better], kept
    groups = [sorted(members[index]) for index in np.flatnonzero(active)]
    return sorted(groups, key=lambda group: (-len(group), group))
