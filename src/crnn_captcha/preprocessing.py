"""Named pipelines of named stages: an image becomes what a network takes.

A pipeline is data: a list of stages with parameters. It travels in a bundle's metadata, so
that reading prepares an image exactly as training did. Adding a stage means writing one
function and entering it in `STAGES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Concatenate

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import PreprocessingError

Image = NDArray[np.uint8]
Parameter = int | float

PAPER = 255  # white, before `invert` or `adaptive_threshold`
BACKGROUND = 0  # what the network sees where nothing stands, and what padding is made of


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
    ink = _is_ink(image, black, paper)
    rows = np.flatnonzero(np.count_nonzero(ink, axis=1) >= pixels)
    columns = np.flatnonzero(np.count_nonzero(ink, axis=0) >= pixels)
    if not rows.size or not columns.size:
        return None
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return slice(top, rows[-1] + 1 + margin), slice(left, columns[-1] + 1 + margin)


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
    return image if kept.all() else image[:, kept]


def _columns_with_ink(image: Image, gap: int, black: int, paper: int) -> NDArray[np.bool_]:
    """Whether a column has ink, or is of what stays of a gap; all, where there is no ink."""
    ink: NDArray[np.bool_] = np.any(_is_ink(image, black, paper), axis=0)  # (width,)
    if not ink.any():
        return ~ink
    columns = np.arange(len(ink))
    before = columns - np.maximum.accumulate(np.where(ink, columns, -gap - 1))
    after = np.minimum.accumulate(np.where(ink, columns, len(ink) + gap)[::-1])[::-1] - columns
    return np.asarray((before <= (gap + 1) // 2) | (after <= gap // 2))


def _is_ink(image: Image, black: int, paper: int) -> NDArray[np.bool_]:
    if image.ndim < 3:
        raise ValueError("ink is told by its colour, and the image has none")
    darkest = cv2.min(cv2.min(image[..., 0], image[..., 1]), image[..., 2])
    brightest = cv2.max(cv2.max(image[..., 0], image[..., 1]), image[..., 2])
    return np.asarray((darkest < paper) & (brightest >= black))


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
    darkest = cv2.min(cv2.min(image[..., 0], image[..., 1]), image[..., 2])
    brightest = cv2.max(cv2.max(image[..., 0], image[..., 1]), image[..., 2])
    distance = np.where(brightest < black, 0, PAPER - darkest).astype(np.uint8)
    full = cv2.dilate(distance, np.ones((reach, reach), np.uint8))
    share = cv2.divide(distance, full, scale=255)  # 0 where `full` is 0
    ink = np.where(full > PAPER - paper, PAPER - share, PAPER).astype(np.uint8)
    return np.dstack([image[..., :3], ink])


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
            opening, invert, crop_ink, narrow_gaps, add_ink, resize_height,
        )
    }
)  # fmt: skip


def _resized(spans: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """What `width` columns come from, that so many with these spans are scaled to."""
    edges = np.linspace(0, len(spans), width + 1)
    first = np.floor(edges[:-1]).astype(int)
    last = np.ceil(edges[1:]).astype(int) - 1
    lengths = spans[:, 1] - spans[:, 0]
    starts = spans[first, 0] + (edges[:-1] - first) * lengths[first]
    ends = spans[last, 0] + (edges[1:] - last) * lengths[last]
    return np.stack([starts, ends], axis=1)


def _crop_moves(spans: NDArray[np.float64], image: Image, **parameters: Any) -> NDArray[np.float64]:
    box = _ink_box(image, **_all_parameters(crop_ink, parameters))
    return spans[box[1]] if box else spans


def _gaps_move(spans: NDArray[np.float64], image: Image, **parameters: Any) -> NDArray[np.float64]:
    return spans[_columns_with_ink(image, **_all_parameters(narrow_gaps, parameters))]


def _resizing_moves(
    spans: NDArray[np.float64], image: Image, **parameters: Any
) -> NDArray[np.float64]:
    return _resized(spans, resize_height(image, **parameters).shape[1])


def _all_parameters(stage: Callable[..., Image], given: Mapping[str, Any]) -> dict[str, Any]:
    known = list(inspect.signature(stage).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in known} | dict(given)


# The stages that columns don't come through in their places, and where they come from.
MOVES: Mapping[str, Callable[..., NDArray[np.float64]]] = MappingProxyType(
    {"crop_ink": _crop_moves, "narrow_gaps": _gaps_move, "resize_height": _resizing_moves}
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


@dataclass(frozen=True)
class Stage:
    """A function of `STAGES` by name, with its parameters.

    Raises:
        PreprocessingError: if there is no such stage or parameter, or a value is no number, not
            whole where the stage counts with it, or outside `LIMITS`.
    """

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in STAGES:
            raise PreprocessingError(
                f"A preprocessing stage is one of {', '.join(STAGES)}. Received: '{self.name}'."
            )
        known = dict(list(inspect.signature(STAGES[self.name]).parameters.items())[1:])
        for name, value in self.parameters.items():
            if name not in known:
                raise PreprocessingError(
                    f"The stage '{self.name}' takes the parameters {list(known)}. "
                    f"Received: '{name}'."
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PreprocessingError(
                    f"A parameter of the stage '{self.name}' is a number. "
                    f"Received: {name}={value!r}."
                )
            low, high = LIMITS[name]
            whole = known[name].annotation == "int"
            if not low <= value <= high or (whole and not isinstance(value, int)):
                raise PreprocessingError(
                    f"'{name}' of the stage '{self.name}' is a {'whole ' if whole else ''}number "
                    f"from {low} to {high}. Received: {value!r}."
                )

    def __call__(self, image: Image) -> Image:
        """The image after this stage.

        Raises:
            PreprocessingError: if the stage can't take such an image or such a value.
        """
        try:
            return STAGES[self.name](image, **self.parameters)
        except (cv2.error, TypeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise PreprocessingError(
                f"The stage '{self.name}' failed on an image of shape {image.shape} with "
                f"{dict(self.parameters)}: {reason}"
            ) from error


@dataclass(frozen=True)
class Pipeline:
    """The stages in order, and the width that their result is padded to.

    Args:
        stages: at least one `resize_height`, whose height the network is built for.
        width_multiple: the width is padded to a multiple of this, in pixels.
        fixed_width: if not 0, the width is padded to exactly this, and squeezed if wider.

    Example:
        >>> pipeline = Pipeline((Stage("invert"), Stage("resize_height", {"height": 32})))
        >>> pipeline(np.zeros((64, 100, 3), np.uint8)).shape  # (width, height, channels)
        (64, 32, 3)

    Raises:
        PreprocessingError: if no stage sets the height for good, or a width is outside its limits.
    """

    stages: tuple[Stage, ...]
    width_multiple: int = 16
    fixed_width: int = 0

    def __post_init__(self) -> None:
        if not any(stage.name == "resize_height" for stage in self.stages):
            raise PreprocessingError("A pipeline needs the stage 'resize_height'.")
        names = [stage.name for stage in self.stages]
        if "crop_ink" in names[len(names) - names[::-1].index("resize_height") :]:
            raise PreprocessingError(
                "The last 'resize_height' sets the height, so 'crop_ink' stands before it. "
                f"Received: {', '.join(names)}."
            )
        if not 1 <= self.height <= 512:
            raise PreprocessingError(f"A height is 1 to 512 pixels. Received: {self.height}.")
        if not 1 <= self.width_multiple <= 1024 or not 0 <= self.fixed_width <= 8192:
            raise PreprocessingError(
                "A pipeline pads to a width_multiple of 1 to 1024 or a fixed_width of up to 8192 "
                f"pixels. Received: {self.width_multiple} and {self.fixed_width}."
            )

    @cached_property
    def height(self) -> int:
        """Height of the result in pixels."""
        heights = [s.parameters.get("height", 0) for s in self.stages if s.name == "resize_height"]
        return int(heights[-1])

    @cached_property
    def channels(self) -> int:
        """1 where a stage turns the image grey, 4 where one adds the ink, else 3."""
        names = {stage.name for stage in self.stages}
        return 1 if "grayscale" in names else 4 if "add_ink" in names else 3

    def __call__(self, image: Image) -> Image:
        """Prepares one image.

        Args:
            image: RGB uint8 (height, width, 3), any size.

        Returns:
            uint8 (width, height, channels), contiguous, `BACKGROUND` where nothing stands.

        Raises:
            PreprocessingError: if a stage can't take the image.
        """
        for stage in self.stages:
            image = stage(image)
        image = image.reshape(*image.shape[:2], self.channels)  # (height, width, channels)
        if self.fixed_width and image.shape[1] > self.fixed_width:
            size = (self.fixed_width, self.height)
            squeezed = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            image = _uint8(squeezed).reshape(self.height, self.fixed_width, self.channels)
        return pad_width(image.transpose(1, 0, 2), self.padded_width(image.shape[1]))

    def columns(self, image: Image) -> NDArray[np.float64]:
        """Where each column of a prepared image comes from.

        Args:
            image: RGB uint8 (height, width, 3), as for a call.

        Returns:
            float64 (padded width, 2): start and end in columns of `image`, whose first goes from
            0 to 1. Padding is where the last column ends.

        Raises:
            PreprocessingError: if a stage can't take the image.
        """
        edges = np.arange(image.shape[1] + 1, dtype=np.float64)
        spans = np.stack([edges[:-1], edges[1:]], axis=1)  # (width, 2)
        for stage in self.stages:
            before, image = image, stage(image)
            if stage.name in MOVES:
                spans = MOVES[stage.name](spans, before, **stage.parameters)
        if self.fixed_width and len(spans) > self.fixed_width:
            spans = _resized(spans, self.fixed_width)
        padding = np.full((self.padded_width(len(spans)) - len(spans), 2), spans[-1, 1])
        return np.concatenate([spans, padding])

    def padded_width(self, width: int) -> int:
        """The width that a result of `width` pixels is padded to."""
        return self.fixed_width or -(-width // self.width_multiple) * self.width_multiple

    def to_json(self) -> dict[str, Any]:
        """A description that `from_json` takes."""
        return {
            "stages": [{"name": s.name, "parameters": dict(s.parameters)} for s in self.stages],
            "width_multiple": self.width_multiple,
            "fixed_width": self.fixed_width,
        }

    @classmethod
    def from_json(cls, description: Any) -> Pipeline:
        """The pipeline of a description by `to_json`.

        Raises:
            PreprocessingError: if the description isn't one.
        """
        try:
            stages = tuple(Stage(s["name"], dict(s["parameters"])) for s in description["stages"])
            widths = description["width_multiple"], description["fixed_width"]
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, PreprocessingError):
                raise
            raise PreprocessingError(
                "A pipeline's description has 'stages' (each with 'name' and 'parameters'), "
                f"'width_multiple' and 'fixed_width'. Received: {description!r}"
            ) from error
        if any(type(width) is not int for width in widths):
            raise PreprocessingError(f"A width is a whole number of pixels. Received: {widths}.")
        return cls(stages, *widths)


def pad_width(image: Image, width: int) -> Image:
    """Pads (width, height, channels) with background at its end to `width` pixels."""
    padded = np.full((width, *image.shape[1:]), BACKGROUND, np.uint8)
    padded[: len(image)] = image
    return padded


def stack(images: Sequence[Image]) -> Image:
    """A batch, padded to its widest image.

    Args:
        images: uint8 (width, height, channels) each, of one height.

    Returns:
        uint8 (batch, width, height, channels).
    """
    width = max(len(image) for image in images)
    return np.stack([pad_width(image, width) for image in images])


def _uint8(array: Any) -> Image:
    return np.asarray(array, np.uint8)
