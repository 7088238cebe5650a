"""Letters that touch or lie over each other, told apart by their colours, are set apart.

A flat colour mixed with white, as at a letter's soft edge, lies on the line from white to that
colour: pixels of one letter have one direction from white, however pale they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # (height, width, 3)
Ink = NDArray[np.uint8]  # (height, width), 1 where there is ink
Owners = NDArray[np.int32]  # (height, width), the number of the letter that a pixel is of, or 0
Columns = NDArray[np.float64]  # (width, 2)

GAP = 6  # columns of paper between letters set apart
PAPER = 255
LEAST_PIXELS = 12  # of a letter
LEAST_SHARE = 0.02  # of a letter, of the square of the image's height
# What has more isn't a line of text in flat colours, and may take long to look at.
MAX_RUNS = 64  # of columns with letters that touch
MAX_COLOURS = 12  # so many, with those of specks, are too many for letters that touch
MAX_PARTS = 32  # of such a run: each takes a byte for each of the run's pixels
MAX_SHADES = 16_384  # in such a run: 256 for each colour, and what is mixed of two
ROUNDING = 3.0  # how far a pixel lies from its colour's line: as rounded numbers do,
SPREAD = 0.07  # and such a share of its distance from white
WHOLE = 0.3  # a part of a letter as large as this share of the largest is no speck
SPECK = 4  # pixels; fewer are nobody's dot
BESIDE = 0.15  # of the height: how far a dot lies beside its letter


@dataclass(frozen=True, eq=False)
class Piece:
    """Columns of an image that are kept together.

    Attributes:
        first: column.
        end: behind the last column.
        hidden: ink of other letters in these columns, bool (height, end - first); None: nothing.
        apart: whether a gap is set before it.
    """

    first: int
    end: int
    hidden: NDArray[np.bool_] | None = None
    apart: bool = False


class Span(NamedTuple):
    """Columns of a letter: the first, the one behind the last, and their mean by its pixels."""

    first: int
    end: int
    middle: float


def split_by_colour(image: Image, ink: Ink) -> list[Piece]:
    """Finds letters of different colours that share columns or leave none between them.

    Args:
        image: RGB on white.
        ink: where letters are; lines over them are none.

    Returns:
        Pieces of the image in their order, which cover all columns, some of them twice where
        letters share them. Empty where no letters have to be set apart.
    """
    runs = _mixed_runs(image, ink)
    if len(runs) > MAX_RUNS:
        return []
    pieces: list[Piece] = []
    done = 0
    for first, end in runs:
        owners = _owners(image[:, first:end], ink[:, first:end])
        if owners is not None:
            pieces.append(Piece(done, first))
            pieces += _letters(owners, first)
            done = end
    return [*pieces, Piece(done, image.shape[1])] if pieces else []


def set_apart(image: Image, pieces: Sequence[Piece]) -> Image:
    """The pieces side by side, `GAP` columns of paper where they are set apart."""
    paper = np.full((image.shape[0], GAP, image.shape[2]), PAPER, np.uint8)
    shown = []
    for piece in pieces:
        part = image[:, piece.first : piece.end]
        if piece.hidden is not None:
            part = np.where(piece.hidden[..., None], np.uint8(PAPER), part)
        shown += [paper, part] if piece.apart else [part]
    return np.concatenate(shown, axis=1)


def columns_apart(columns: Columns, pieces: Sequence[Piece]) -> Columns:
    """Where the columns of `set_apart` come from, if the image's own come from `columns`.

    A gap comes from where the piece behind it begins.
    """
    parts: list[Columns] = []
    for piece in pieces:
        own = columns[piece.first : piece.end]
        parts += [np.full((GAP, 2), own[0, 0]), own] if piece.apart else [own]
    return np.concatenate(parts)


def _mixed_runs(image: Image, ink: Ink) -> list[tuple[int, int]]:
    """First and end of each run of columns with ink that isn't all of its darkest colour.

    Most runs are one letter, and one look at all of them together takes no longer than at one.
    """
    places = cv2.findNonZero(cv2.transpose(ink))
    if places is None:
        return []
    rows, columns = places.reshape(-1, 2).T  # in the order of columns
    starts = np.flatnonzero(np.diff(columns, prepend=-2) > 1)  # of runs, among the pixels
    sizes = np.diff(starts, append=len(columns))
    from_white = (PAPER - image[rows, columns]).astype(np.float32)  # (pixels, 3)
    distance = np.einsum("pc,pc->p", from_white, from_white)  # squared
    farthest = np.maximum.reduceat(distance, starts)
    seeds = np.flatnonzero(distance == np.repeat(farthest, sizes))
    seeds = seeds[np.searchsorted(seeds, starts)]  # the first of each run
    directions = from_white[seeds] / np.sqrt(np.maximum(farthest, 1))[:, None]
    along = np.einsum("pc,pc->p", from_white, np.repeat(directions, sizes, axis=0))
    others = distance - along**2 > (ROUNDING + SPREAD * along) ** 2
    mixed = np.add.reduceat(others, starts, dtype=np.int64) >= _least(len(ink))
    return [
        (int(columns[start]), int(columns[start + size - 1]) + 1)
        for start, size in zip(starts[mixed], sizes[mixed], strict=True)
    ]


def _least(height: int) -> float:
    """Pixels that a letter has at least."""
    return max(LEAST_PIXELS, LEAST_SHARE * height**2)


def _letters(owners: Owners, first: int) -> Iterator[Piece]:
    """A piece for each letter of a run of columns, which begins at column `first`."""
    found = []
    for number in range(1, int(owners.max()) + 1):
        span = _span(owners == number)
        found.append((span.middle, span.first, span.end, number))
    for place, (_, begin, end, number) in enumerate(sorted(found)):
        inside = owners[:, begin:end]
        others = (inside > 0) & (inside != number)
        yield Piece(first + begin, first + end, others, apart=place > 0)


def _span(shown: NDArray[np.bool_]) -> Span:
    """Where a letter stands, bool (height, width) with at least one pixel."""
    amount = np.count_nonzero(shown, axis=0)  # (width,)
    columns = np.flatnonzero(amount)
    middle = float(np.average(np.arange(len(amount)), weights=amount))
    return Span(int(columns[0]), int(columns[-1]) + 1, middle)


def _owners(image: Image, ink: Ink) -> Owners | None:
    """Which letter each pixel of ink is of, numbered from 1; None unless there are several."""
    least = _least(len(ink))
    places = np.nonzero(ink)
    if len(places[0]) < 2 * least:
        return None
    colour_of_pixel = _colours(image[places], least)
    count = int(colour_of_pixel.max())
    if count < 2:
        return None
    found: list[list[NDArray[np.bool_]]] = []
    room = MAX_PARTS
    for colour in range(1, count + 1):
        shown = np.zeros(ink.shape, np.uint8)
        shown[places] = colour_of_pixel == colour
        parts = _parts(shown, room)
        if not parts:
            return None
        room -= len(parts)
        found.append(parts)
    middles = [_span(part).middle for parts in found for part in parts]
    cores = np.zeros(ink.shape, np.int32)
    number = 0
    for parts in found:
        for letter in _joined(parts, middles):
            if np.count_nonzero(letter) >= least:
                number += 1
                cores[letter] = number
    return _with_rest(cores, ink) if number > 1 else None


def _colours(pixels: NDArray[np.uint8], least: float) -> NDArray[np.int32]:
    """The number of each pixel's colour, counted from 1; 0 where it is none of a letter.

    All are 0 where there are too many.

    Args:
        pixels: RGB (pixels, 3).
        least: pixels that a letter has.

    Returns:
        int32 (pixels,).
    """
    red, green, blue = pixels.astype(np.int32).T
    codes, of_pixel, counts = np.unique(
        red << 16 | green << 8 | blue, return_inverse=True, return_counts=True
    )
    if len(codes) > MAX_SHADES:
        return np.zeros(len(pixels), np.int32)
    from_white = PAPER - np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    from_white = from_white.astype(np.float64)  # (colours, 3)
    distance = np.sqrt((from_white**2).sum(axis=1))
    numbers = np.zeros(len(codes), np.int32)
    left = counts.astype(np.float64)
    number = 0
    for _ in range(MAX_COLOURS):
        if left.sum() < least:
            return numbers[of_pixel]
        seed = int(np.argmax(left * distance))
        along = from_white @ (from_white[seed] / max(distance[seed], 1))
        beside = np.sqrt(np.maximum(distance**2 - along**2, 0))
        fits = (left > 0) & (beside <= ROUNDING + SPREAD * along)
        if left[fits].sum() >= least:
            number += 1
            numbers[fits] = number
        left[fits] = 0
    return np.zeros(len(pixels), np.int32)


def _parts(shown: Ink, room: int) -> list[NDArray[np.bool_]]:
    """A colour's pixels, without specks that lie apart: bool (height, width) for each part.

    Parts come from left to right, with more than a few columns between them. None are given where
    there would be more than `room`, and at least one otherwise.
    """
    joined = cv2.dilate(shown, np.ones((3, 3), np.uint8))
    count, components, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    areas = np.bincount(components[shown > 0], minlength=count)
    lefts = boxes[:, cv2.CC_STAT_LEFT]
    rights = lefts + boxes[:, cv2.CC_STAT_WIDTH]
    reach = max(2.0, BESIDE * len(shown))
    spans: list[tuple[int, int]] = []
    whole = areas >= WHOLE * areas.max()
    for left, right in sorted(zip(lefts[whole].tolist(), rights[whole].tolist(), strict=True)):
        if spans and left <= spans[-1][1] + reach:
            spans[-1] = spans[-1][0], max(right, spans[-1][1])
        else:
            spans.append((left, right))
    if len(spans) > room:
        return []
    parts = []
    for left, right in spans:
        near = (lefts < right + reach) & (rights > left - reach)
        kept = near & (whole | (areas >= SPECK))
        parts.append(np.asarray((shown > 0) & kept[components]))
    return parts


def _joined(
    parts: Sequence[NDArray[np.bool_]], middles: Sequence[float]
) -> list[NDArray[np.bool_]]:
    """Parts of one colour as letters: those with another letter between them are two.

    Args:
        parts: by `_parts`.
        middles: of the parts of all colours.
    """
    letters = [parts[0]]
    for part in parts[1:]:
        end, begin = _span(letters[-1]).end, _span(part).first
        if any(end <= middle < begin for middle in middles):
            letters.append(part)
        else:
            letters[-1] = letters[-1] | part
    return letters


def _with_rest(cores: Owners, ink: Ink) -> Owners:
    """Gives ink that is of no letter, such as mixed colours, to the letter that is nearest."""
    _, nearest = cv2.distanceTransformWithLabels(
        (cores == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    owner[nearest[cores > 0]] = cores[cores > 0]
    return np.where(ink > 0, owner[nearest], 0).astype(np.int32)
