"""The stages of preprocessing: from image to image, each a function with parameters.

Adding one means writing a function and entering it in `STAGES`, what its parameters may be in
`LIMITS`, and where columns come from in `MOVES` if they don't stay in their places.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Concatenate

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.parting import columns_apart, set_apart, split_by_colour

Image = NDArray[np.uint8]
Columns = NDArray[np.float64]  # of an earlier image, where one's columns start and end: (width, 2)
Parameter = int | float

COLOURS = 3  # red, green, blue
PAPER = 255  # white, before `invert` or `adaptive_threshold`


def grayscale(image: Image) -> Image:
    """RGB (height, width, 3) to luminance (height, width), ITU-R BT.601 weights."""
    return _uint8(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def median_blur(image: Image, *, size: int = 3) -> Image:
    """Median of a `size` x `size` pixel window: takes out specks and one-pixel lines."""
    return _uint8(cv2.medianBlur(image, size))


def clahe(image: Image, *, clip_limit: float = 2.0, tiles: int = 8) -> Image:
    """Contrast-limited adaptive histogram equalisation on `tiles` x `tiles` tiles.

    Source: Zuiderveld 1994, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV.
    """
    return _uint8(cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(image))


def adaptive_threshold(image: Image, *, block: int = 15, c: float = 3.0) -> Image:
    """Ink white (255) on black (0): what is darker than its surroundings by more than `c`.

    The surroundings are a Gaussian window of `block` x `block` pixels.
    """
    method, kind = cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY_INV
    return _uint8(cv2.adaptiveThreshold(image, 255, method, kind, block, c))


def opening(image: Image, *, size: int = 2) -> Image:
    """Morphological opening with a `size` x `size` square: takes out thinner white parts.

    An even square moves what is left by a pixel, right and down: that is how OpenCV anchors it.
    """
    return _uint8(cv2.morphologyEx(image, cv2.MORPH_OPEN, np.ones((size, size), np.uint8)))


def invert(image: Image) -> Image:
    """255 minus each value: white paper becomes the black background."""
    return _uint8(cv2.bitwise_not(image))


def crop_ink(
    image: Image, *, black: int = 24, paper: int = 250, pixels: int = 2, margin: int = 2
) -> Image:
    """Cuts an RGB image to the box of its ink, which is neither near black nor white.

    Lines drawn over the text in near black don't count as ink, so they don't widen the box.
    An image without ink by this definition is kept whole.

    Args:
        image: uint8 (height, width, 3).
        black: a pixel whose brightest channel is below this is a line.
        paper: a pixel whose darkest channel is at least this is paper.
        pixels: a row or column with fewer ink pixels is left out at the border.
        margin: pixels kept around the box.
    """
    box = _ink_box(image, black, paper, pixels, margin)
    return image[box] if box else image


def _ink_box(
    image: Image, black: int, paper: int, pixels: int, margin: int
) -> tuple[slice, slice] | None:
    """Rows and columns of the ink; None where there is none."""
    ink = _ink(image, black, paper)
    rows = np.flatnonzero(_sums(ink, axis=1) >= pixels)
    columns = np.flatnonzero(_sums(ink, axis=0) >= pixels)
    if not rows.size or not columns.size:
        return None
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return slice(top, rows[-1] + 1 + margin), slice(left, columns[-1] + 1 + margin)


def part_letters(image: Image, *, black: int = 24, paper: int = 250) -> Image:
    """Sets letters apart that touch or lie over each other, if they have different flat colours.

    Each letter then has columns of its own; lines over it stay. An image gets wider by that. In
    images whose letters stand apart, or aren't of flat colours on clean paper, nothing changes.

    Args:
        image: uint8 (height, width, 3).
        black: a pixel whose brightest channel is below this is a line.
        paper: a pixel whose darkest channel is at least this is paper.
    """
    pieces = split_by_colour(image, _ink(image, black, paper))
    return set_apart(image, pieces) if pieces else image


def narrow_gaps(image: Image, *, gap: int = 6, black: int = 24, paper: int = 250) -> Image:
    """Narrows the gaps between letters: of a run of columns without ink, `gap` pixels stay.

    Most of an image may be such gaps. Without them the network has less to look at, and time
    steps are where the letters are. Images whose paper isn't clean have no gaps, and stay.

    Args:
        image: uint8 (height, width, 3).
        gap: pixels, half of them at each end of the run; at the image's own ends only that half.
        black: a pixel whose brightest channel is below this is a line.
        paper: a pixel whose darkest channel is at least this is paper.
    """
    kept = _columns_with_ink(image, gap, black, paper)
    return image if kept.all() else image.take(np.flatnonzero(kept), axis=1)


def _columns_with_ink(image: Image, gap: int, black: int, paper: int) -> NDArray[np.bool_]:
    """Whether a column has ink, or is of what stays of a gap; all, where there is no ink."""
    ink = _sums(_ink(image, black, paper), axis=0) > 0  # (width,)
    if not ink.any():
        return ~ink
    columns = np.arange(len(ink))
    before = columns - np.maximum.accumulate(np.where(ink, columns, -gap - 1))
    after = np.minimum.accumulate(np.where(ink, columns, len(ink) + gap)[::-1])[::-1] - columns
    return np.asarray((before <= (gap + 1) // 2) | (after <= gap // 2))


def _ink(image: Image, black: int, paper: int) -> Image:
    """1 where there is ink, (height, width)."""
    darkest, brightest = _extremes(cv2.split(image[..., :3]))
    _, no_paper = cv2.threshold(darkest, paper - 1, 1, cv2.THRESH_BINARY_INV)
    _, no_line = cv2.threshold(brightest, black - 1, 1, cv2.THRESH_BINARY)
    return _uint8(cv2.bitwise_and(no_paper, no_line))


def _sums(image: Image, axis: int) -> NDArray[np.int32]:
    """As `image.sum(axis)` of (height, width), but fast."""
    return np.asarray(cv2.reduce(image, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel())


def _extremes(colours: Sequence[Image]) -> tuple[Image, Image]:
    """Each pixel's darkest and brightest of the colours."""
    if len(colours) < COLOURS:
        raise ValueError("ink is told by its colour, and the image has none")
    red, green, blue = colours
    return cv2.min(cv2.min(red, green), blue), cv2.max(cv2.max(red, green), blue)


def add_ink(image: Image, *, black: int = 24, paper: int = 250, reach: int = 9) -> Image:
    """Adds a fourth channel to an RGB image: ink black on white, whatever its colour.

    Pale letters become as dark as strong ones, and lines in near black vanish. How dark a pixel is
    there says how much of it ink covers: its distance from white, as a share of the largest
    distance nearby, which is that of a pixel wholly covered.

    Args:
        image: uint8 (height, width, 3).
        black: a pixel whose brightest channel is below this is a line.
        paper: where all pixels nearby have a darkest channel of at least this, there is no ink.
        reach: pixels that "nearby" spans: a bit more than a stroke.
    """
    colours = cv2.split(image[..., :3])
    darkest, brightest = _extremes(colours)
    distance = cv2.bitwise_not(darkest)
    distance[brightest < black] = 0
    full = cv2.dilate(distance, np.ones((reach, reach), np.uint8))
    share = cv2.divide(distance, full, scale=255)  # 0 where `full` is 0
    share[full <= PAPER - paper] = 0
    return _uint8(cv2.merge([*colours, cv2.bitwise_not(share)]))


def resize_height(image: Image, *, height: int, min_width: int = 1, max_width: int = 4096) -> Image:
    """Scales to `height` pixels with the aspect ratio kept, its width within the bounds.

    An image whose width would be outside the bounds is stretched or squeezed to them.
    """
    width = resized_width(
        image.shape[1], image.shape[0], height=height, min_width=min_width, max_width=max_width
    )
    shrinks = height < image.shape[0]
    return _uint8(
        cv2.resize(
            image, (width, height), interpolation=(cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        )
    )


def resized_width(
    width: int, height_before: int, *, height: int, min_width: int = 1, max_width: int = 4096
) -> int:
    """The width in pixels that `resize_height` gives an image of such a width and height."""
    return min(max(round(width * height / height_before), min_width), max_width)


STAGES: Mapping[str, Callable[Concatenate[Image, ...], Image]] = MappingProxyType(
    {
        stage.__name__: stage
        for stage in (
            grayscale, median_blur, clahe, adaptive_threshold,
            opening, invert, crop_ink, part_letters, narrow_gaps, add_ink, resize_height,
        )
    }
)  # fmt: skip


def scaled_columns(columns: Columns, width: int) -> Columns:
    """Where columns come from, when others are scaled to so many.

    Args:
        columns: where the others come from, float64 (their width, 2).
        width: pixels to scale to.

    Returns:
        float64 (width, 2).
    """
    edges = np.arange(width + 1) * len(columns)  # in parts of a column, `width` of them each
    first = edges[:-1] // width
    last = (edges[1:] - 1) // width
    lengths = columns[:, 1] - columns[:, 0]
    starts = columns[first, 0] + (edges[:-1] / width - first) * lengths[first]
    ends = columns[last, 0] + (edges[1:] / width - last) * lengths[last]
    # Letters that were set apart may share columns: the next one then starts before the last ends.
    return np.sort(np.stack([starts, ends], axis=1), axis=1)


def _crop_moves(columns: Columns, image: Image, **parameters: Any) -> Columns:
    box = _ink_box(image, **_all_parameters(crop_ink, parameters))
    return columns[box[1]] if box else columns


def _parting_moves(columns: Columns, image: Image, **parameters: Any) -> Columns:
    ink = _ink(image, **_all_parameters(part_letters, parameters))
    pieces = split_by_colour(image, ink)
    return columns_apart(columns, pieces) if pieces else columns


def _gaps_move(columns: Columns, image: Image, **parameters: Any) -> Columns:
    return columns[_columns_with_ink(image, **_all_parameters(narrow_gaps, parameters))]


def _resizing_moves(columns: Columns, image: Image, **parameters: Any) -> Columns:
    return scaled_columns(columns, resize_height(image, **parameters).shape[1])


def _all_parameters(stage: Callable[..., Image], given: Mapping[str, Any]) -> dict[str, Any]:
    known = list(inspect.signature(stage).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in known} | dict(given)


# The stages that columns don't come through in their places, and where they come from.
MOVES: Mapping[str, Callable[..., Columns]] = MappingProxyType(
    {
        "crop_ink": _crop_moves,
        "part_letters": _parting_moves,
        "narrow_gaps": _gaps_move,
        "resize_height": _resizing_moves,
    }
)

# What a value may be: a bundle from somebody else must neither crash OpenCV (0 tiles do) nor
# allocate without bound.
LIMITS: Mapping[str, tuple[Parameter, Parameter]] = MappingProxyType(
    {
        "size": (1, 99),
        "clip_limit": (0, 255),
        "tiles": (1, 64),
        "block": (3, 999),
        "c": (-255, 255),
        "black": (0, 256),
        "paper": (0, 256),
        "pixels": (1, 8192),
        "margin": (0, 8192),
        "gap": (0, 8192),
        "reach": (1, 99),
        "height": (1, 512),
        "min_width": (1, 8192),
        "max_width": (1, 8192),
    }
)


def _uint8(array: Any) -> Image:
    return np.asarray(array, np.uint8)
