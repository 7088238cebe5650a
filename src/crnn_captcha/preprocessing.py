"""Named pipelines of named stages: an image becomes what a network takes.

A pipeline is data: a list of stages with parameters. It travels in a bundle's metadata, so
that reading prepares an image exactly as training did.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from crnn_captcha.errors import PreprocessingError
from crnn_captcha.stages import LIMITS, MOVES, STAGES, Columns, Image, Parameter, scaled_columns

BACKGROUND = 0  # what the network sees where nothing stands, and what padding is made of


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
            image = squeezed.reshape(self.height, self.fixed_width, self.channels)
        return pad_width(image.transpose(1, 0, 2), self.padded_width(image.shape[1]))

    def columns(self, image: Image) -> Columns:
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
        columns = np.stack([edges[:-1], edges[1:]], axis=1)  # (width, 2)
        for stage in self.stages:
            before, image = image, stage(image)
            if stage.name in MOVES:
                columns = MOVES[stage.name](columns, before, **stage.parameters)
        if self.fixed_width and len(columns) > self.fixed_width:
            columns = scaled_columns(columns, self.fixed_width)
        missing = self.padded_width(len(columns)) - len(columns)
        return np.concatenate([columns, np.full((missing, 2), columns[-1, 1])])

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
