"""The pipelines that presets prepare images by, without the training that needs them.

And what a pipeline does to an image's shape, which is known without preparing all of it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from crnn_captcha.preprocessing import Pipeline, Stage
from crnn_captcha.stages import Image, resized_width

CUTTING = ("crop_ink", "part_letters", "narrow_gaps")  # look at pixels to choose a size

PIPELINES: Mapping[str, Pipeline] = MappingProxyType(
    {
        "classic": Pipeline(
            (
                Stage("grayscale"),
                Stage("median_blur", {"size": 3}),
                Stage("clahe", {"clip_limit": 2.0, "tiles": 8}),
                Stage("adaptive_threshold", {"block": 15, "c": 3}),
                Stage("opening", {"size": 2}),
                Stage("resize_height", {"height": 50, "max_width": 495}),
            ),
            fixed_width=495,
        ),
        "standard": Pipeline(
            (
                Stage("crop_ink"),
                Stage("part_letters"),
                Stage("narrow_gaps", {"gap": 6}),
                Stage("add_ink"),
                Stage("resize_height", {"height": 32, "min_width": 64, "max_width": 640}),
                Stage("invert"),
            ),
            width_multiple=16,
        ),
    }
)
"""By the name of the preset that they were made for."""
DEFAULT_PIPELINE = "standard"


@dataclass(frozen=True, slots=True)
class Fit:
    """How an image fits a pipeline.

    Attributes:
        width: that the network sees, padding included, in pixels.
        kept: the share of its width that the image keeps where the pipeline has a limit for it;
            less than 1.0 if letters are squeezed.
    """

    width: int
    kept: float


def fit(pipeline: Pipeline, image: Image) -> Fit:
    """How an image fits a pipeline, without preparing all of it.

    Args:
        pipeline: scales to its height, and squeezes what is then wider than its limit.
        image: RGB uint8 (height, width, 3).

    Raises:
        PreprocessingError: if a stage can't take the image.
    """
    cuts = [i for i, stage in enumerate(pipeline.stages) if stage.name in CUTTING]
    last_cut = max(cuts, default=-1)
    height, width = image.shape[:2]
    kept = 1.0
    for i, stage in enumerate(pipeline.stages):
        if stage.name == "resize_height":
            limits: dict[str, Any] = dict(stage.parameters)
            unlimited = limits | {"max_width": sys.maxsize}
            free = resized_width(width, height, **unlimited)
            width, height = resized_width(width, height, **limits), limits["height"]
            kept *= width / free
        if i <= last_cut:
            image = stage(image)
            height, width = image.shape[:2]
    kept *= min(1.0, (pipeline.fixed_width or width) / width)
    return Fit(pipeline.padded_width(width), float(kept))
