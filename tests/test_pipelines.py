from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha.pipelines import DEFAULT_PIPELINE, PIPELINES, fit
from crnn_captcha.preprocessing import Pipeline, Stage

Pixels = NDArray[np.uint8]


def image(width: int, height: int = 20, ink: int = 0) -> Pixels:
    """White, with ink over its first columns."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[:, :ink] = (200, 0, 0)
    return pixels


HALF = Stage("resize_height", {"height": 10, "max_width": 50})


@pytest.mark.parametrize(
    ("pipeline", "width", "ink", "kept"),
    [
        pytest.param(Pipeline((HALF,)), 100, 0, 1.0, id="as wide as the limit"),
        pytest.param(Pipeline((HALF,)), 200, 0, 0.5, id="squeezed by a stage"),
        pytest.param(Pipeline((HALF,), fixed_width=40), 80, 0, 1.0, id="as wide as fixed"),
        pytest.param(Pipeline((HALF,), fixed_width=20), 80, 0, 0.5, id="squeezed at the end"),
        pytest.param(Pipeline((HALF,), fixed_width=20), 200, 0, 0.2, id="squeezed twice"),
        pytest.param(
            Pipeline((Stage("crop_ink", {"margin": 0}), HALF)), 200, 100, 1.0, id="cropped first"
        ),
        pytest.param(
            Pipeline((HALF, Stage("narrow_gaps"), HALF)), 200, 200, 0.5, id="cropped behind"
        ),
        pytest.param(
            Pipeline((Stage("resize_height", {"height": 10, "min_width": 64}),)),
            *(20, 0, 1.0),
            id="stretched",
        ),
    ],
)
def test_width_that_is_kept(pipeline: Pipeline, width: int, ink: int, kept: float) -> None:
    assert fit(pipeline, image(width, ink=ink)).kept == pytest.approx(kept)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_keeps_the_shape_of_what_fits(
    name: str, draw_image: Callable[..., Pixels]
) -> None:
    captcha = draw_image("4h7x", 1)
    assert fit(PIPELINES[name], captcha).kept == 1
    assert fit(PIPELINES[name], np.tile(captcha, (1, 12, 1))).kept < 0.5
    assert DEFAULT_PIPELINE in PIPELINES


@pytest.mark.parametrize("name", PIPELINES)
def test_the_width_is_that_of_the_prepared_image(
    name: str, draw_image: Callable[..., Pixels]
) -> None:
    pipeline = PIPELINES[name]
    for text in ("4", "4h7x", "wwwwmmmm"):
        captcha = draw_image(text, 1)
        assert fit(pipeline, captcha).width == pipeline.padded_width(pipeline(captcha).shape[0])
