from __future__ import annotations

import inspect
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plain_images import BLACK, RED, captcha, paper

from crnn_captcha.errors import PreprocessingError
from crnn_captcha.preprocessing import Pipeline, Stage, pad_width, stack
from crnn_captcha.stages import LIMITS, STAGES, Image, crop_ink, grayscale

RESIZE = Stage("resize_height", {"height": 4})

CLASSIC = Pipeline(  # the reference system, spelled out: DESIGN.md's preset `classic`
    (
        Stage("grayscale"),
        Stage("median_blur", {"size": 3}),
        Stage("clahe", {"clip_limit": 2.0, "tiles": 8}),
        Stage("adaptive_threshold", {"block": 15, "c": 3}),
        Stage("opening", {"size": 2}),
        Stage("resize_height", {"height": 50, "max_width": 495}),
    ),
    fixed_width=495,
)
COLOUR = Pipeline(
    (
        Stage("crop_ink"),
        Stage("resize_height", {"height": 32, "min_width": 112, "max_width": 640}),
        Stage("invert"),
    )
)
PIPELINES = pytest.mark.parametrize(
    "pipeline", [pytest.param(CLASSIC, id="classic"), pytest.param(COLOUR, id="colour")]
)


# ---- A stage by name


def test_a_stage_is_its_function_with_its_parameters() -> None:
    image = captcha()
    assert (Stage("crop_ink", {"margin": 5})(image) == crop_ink(image, margin=5)).all()
    assert (Stage("grayscale")(image) == grayscale(image)).all()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sharpen", {}, r"one of grayscale, median_blur, .*\. Received: 'sharpen'"),
        ("median_blur", {"radius": 3}, r"'median_blur' takes .*\['size'\]\. Received: 'radius'"),
        ("grayscale", {"image": 3}, r"takes the parameters \[\]\. Received: 'image'"),
        ("clahe", {"tiles": "8"}, r"'clahe' is a number\. Received: tiles='8'"),
        ("clahe", {"tiles": True}, r"'clahe' is a number\. Received: tiles=True"),
        ("clahe", {"tiles": None}, r"is a number\. Received: tiles=None"),
        ("clahe", {"tiles": 0}, r"'tiles' .*whole number from 1 to 64\. Received: 0"),
        ("clahe", {"clip_limit": float("nan")}, r"is a number from 0 to 255\. Received: nan"),
        ("median_blur", {"size": 3.0}, r"whole number from 1 to 99\. Received: 3\.0"),
        ("opening", {"size": 10**9}, r"from 1 to 99\. Received: 1000000000"),
        ("crop_ink", {"margin": -1}, r"from 0 to 8192\. Received: -1"),
        ("resize_height", {"height": 513}, r"from 1 to 512\. Received: 513"),
        ("resize_height", {"height": float("inf")}, r"from 1 to 512\. Received: inf"),
        ("resize_height", {"min_width": 10**6}, r"from 1 to 8192\. Received: 1000000"),
    ],
)
def test_a_bad_stage_is_refused(name: str, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(PreprocessingError, match=message):
        Stage(name, parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "shape"),
    [
        pytest.param("median_blur", {"size": 4}, (8, 8), id="an even window"),
        pytest.param("adaptive_threshold", {"block": 4}, (8, 8), id="an even block"),
        pytest.param("grayscale", {}, (8, 8), id="grey already"),
        pytest.param("crop_ink", {}, (8, 8), id="no colour to tell ink by"),
        pytest.param("crop_ink", {}, (8, 1), id="no colour in one column"),
        pytest.param("narrow_gaps", {}, (8, 8), id="no colour to tell gaps by"),
        pytest.param("part_letters", {}, (8, 8), id="no colour to tell letters by"),
        pytest.param("add_ink", {}, (8, 8), id="no colour to add to"),
        pytest.param("clahe", {}, (8, 8, 3), id="not grey"),
        pytest.param("adaptive_threshold", {}, (8, 8, 3), id="not grey either"),
        pytest.param("resize_height", {}, (8, 8, 3), id="no height"),
    ],
)
def test_a_stage_that_cannot_take_an_image_says_so_in_one_line(
    name: str, parameters: dict[str, int], shape: tuple[int, ...]
) -> None:
    message = rf"^The stage '{name}' failed on .*{re.escape(str(shape))} with {parameters}: .+$"
    with pytest.raises(PreprocessingError, match=message) as caught:
        Stage(name, parameters)(np.zeros(shape, np.uint8))
    assert "\n" not in str(caught.value)


# ---- Pipelines


def test_classic_shows_the_ink_in_white_and_no_thin_line() -> None:
    image = captcha()
    image[40:42] = 255
    image[70] = BLACK  # one pixel high: the median takes it out
    result = CLASSIC(image)  # (width, height, channels)
    assert result.shape == (495, 50, 1)
    assert result.dtype == np.uint8
    ink = np.argwhere(result[..., 0] > 127)
    scale = 50 / 80
    assert np.abs(ink.min(axis=0) - np.array([100, 20]) * scale).max() <= 2
    assert np.abs(ink.max(axis=0) - np.array([110, 60]) * scale).max() <= 2
    assert not result[round(300 * scale) :].any()  # padding is background


def test_colour_keeps_the_colours_of_the_ink_on_black() -> None:
    image = paper(80, 300)
    image[20:60, 50:130] = RED
    image[20:60, 150:230] = (30, 30, 200)
    result = COLOUR(image)  # the ink's box, 184 x 44 px with its margin, becomes 134 x 32 px
    assert result.shape == (144, 32, 3)
    assert result[30, 16].tolist() == [55, 225, 225]
    assert result[100, 16].tolist() == [225, 225, 55]
    assert not result[67, 16].any()  # paper
    assert not result[134:].any()  # padding


@PIPELINES
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 500), (500, 1), (80, 20_000), (2000, 2000), (2, 3)], ids=str
)
def test_any_size_becomes_what_the_network_takes(pipeline: Pipeline, size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for image in (paper(*size), random.integers(0, 256, (*size, 3), np.uint8)):
        before = image.copy()
        result = pipeline(image)
        width = len(result)
        assert result.shape == (width, pipeline.height, pipeline.channels)
        assert width == 495 if pipeline is CLASSIC else width % 16 == 0 and 112 <= width <= 640
        assert result.dtype == np.uint8
        assert result.flags.c_contiguous
        assert (image == before).all()


@PIPELINES
def test_empty_paper_is_background(pipeline: Pipeline) -> None:
    assert not pipeline(paper(80, 300)).any()


def test_the_result_is_transposed() -> None:
    image = paper(4, 6)
    image[3, 1] = 0
    result = Pipeline((Stage("invert"), RESIZE))(image)  # (width, height, channels)
    assert np.argwhere(result).tolist() == [[1, 3, 0], [1, 3, 1], [1, 3, 2]]


def test_what_is_wider_than_the_fixed_width_is_squeezed() -> None:
    for stages in ((RESIZE, Stage("invert")), (Stage("grayscale"), RESIZE, Stage("invert"))):
        pipeline = Pipeline(stages, fixed_width=10)
        image = paper(4, 40)
        image[:, 20:] = 0
        result = pipeline(image)
        assert result.shape == (10, 4, pipeline.channels)
        assert not result[:5].any()
        assert (result[5:] == 255).all()


@pytest.mark.parametrize(("width", "padded"), [(1, 16), (16, 16), (17, 32), (4096, 4096)])
def test_the_width_is_padded_to_a_multiple(width: int, padded: int) -> None:
    pipeline = Pipeline((RESIZE,), width_multiple=16)
    assert pipeline.padded_width(width) == padded
    assert len(pipeline(paper(4, width))) == padded


@pytest.mark.parametrize(
    "pipeline",
    [
        pytest.param(CLASSIC, id="classic"),
        pytest.param(COLOUR, id="colour"),
        pytest.param(
            Pipeline((Stage("crop_ink"), Stage("narrow_gaps"), *COLOUR.stages)), id="gaps"
        ),
        pytest.param(
            Pipeline((Stage("invert"), Stage("resize_height", {"height": 20})), fixed_width=60),
            id="squeezed",
        ),
    ],
)
def test_columns_are_found_again(pipeline: Pipeline) -> None:
    image = paper(80, 300)
    places = (50, 90, 200)
    for x in places:
        image[20:60, x : x + 20] = RED
    prepared = pipeline(image)
    columns = pipeline.columns(image)
    assert columns.shape == (len(prepared), 2)
    assert (columns[1:, 0] >= columns[:-1, 1] - 1e-9).all()  # in their order, none twice
    assert columns.min() >= 0
    assert columns.max() <= 300
    background = prepared[-1, -1].astype(int)
    ink = (np.abs(prepared.astype(int) - background) > 100).any(axis=(1, 2))
    from_ink = [any(x - 12 < start and end < x + 32 for x in places) for start, end in columns]
    assert ink.sum() > 6
    assert np.array(from_ink)[ink].all()


def test_columns_of_an_image_that_is_scaled() -> None:
    pipeline = Pipeline((Stage("resize_height", {"height": 20}),), width_multiple=4)
    assert pipeline.columns(paper(40, 6)).tolist() == [[0, 2], [2, 4], [4, 6], [6, 6]]
    wider = Pipeline((Stage("resize_height", {"height": 20, "min_width": 8}),), width_multiple=4)
    assert wider.columns(paper(20, 4))[:3].tolist() == [[0, 0.5], [0.5, 1], [1, 1.5]]


def test_height_and_channels() -> None:
    assert (CLASSIC.height, CLASSIC.channels) == (50, 1)
    assert (COLOUR.height, COLOUR.channels) == (32, 3)
    assert Pipeline((Stage("add_ink"), *COLOUR.stages)).channels == 4
    twice = Pipeline((Stage("resize_height", {"height": 64}), RESIZE))
    assert twice.height == twice(paper(10, 10)).shape[1] == 4


@pytest.mark.parametrize(
    ("stages", "widths", "message"),
    [
        pytest.param([], {}, "needs the stage 'resize_height'", id="no stages"),
        pytest.param([Stage("invert")], {}, "needs the stage 'resize_height'", id="no height"),
        pytest.param([Stage("resize_height")], {}, r"1 to 512 pixels\. Received: 0", id="unset"),
        pytest.param(
            [RESIZE, Stage("invert"), Stage("crop_ink")],
            {},
            r"'crop_ink' stands before it\. Received: resize_height, invert, crop_ink",
            id="crops what was resized",
        ),
        pytest.param([RESIZE], {"width_multiple": 0}, r"Received: 0 and 0", id="no multiple"),
        pytest.param([RESIZE], {"width_multiple": 1025}, r"Received: 1025 and 0", id="too much"),
        pytest.param([RESIZE], {"fixed_width": -1}, r"Received: 16 and -1", id="negative"),
        pytest.param([RESIZE], {"fixed_width": 8193}, r"Received: 16 and 8193", id="too wide"),
    ],
)
def test_a_bad_pipeline_is_refused(
    stages: list[Stage], widths: dict[str, int], message: str
) -> None:
    with pytest.raises(PreprocessingError, match=message):
        Pipeline(tuple(stages), **widths)


# ---- As data


def parameters(name: str) -> st.SearchStrategy[dict[str, int | float]]:
    def values(limited: str, whole: bool) -> st.SearchStrategy[int | float]:
        low, high = LIMITS[limited]
        return st.integers(int(low), int(high)) if whole else st.floats(low, high)

    known = list(inspect.signature(STAGES[name]).parameters.items())[1:]
    return st.fixed_dictionaries(
        {}, optional={key: values(key, value.annotation == "int") for key, value in known}
    )


STAGE_DATA = st.sampled_from(sorted(STAGES)).flatmap(
    lambda name: st.builds(Stage, st.just(name), parameters(name))
)
RESIZES = st.builds(
    lambda height, width: Stage("resize_height", {"height": height, "max_width": width}),
    st.integers(1, 64),
    st.integers(1, 200),
)


@settings(deadline=None)  # no claim about speed, on a machine that may be busy
@given(st.lists(STAGE_DATA, max_size=4), RESIZES, st.integers(1, 1024), st.integers(0, 8192))
def test_a_pipeline_survives_json(
    stages: list[Stage], resize: Stage, width_multiple: int, fixed_width: int
) -> None:
    pipeline = Pipeline((*stages, resize), width_multiple, fixed_width)
    described = json.loads(json.dumps(pipeline.to_json(), allow_nan=False))
    assert Pipeline.from_json(described) == pipeline


@settings(max_examples=60)
@given(
    st.lists(STAGE_DATA.filter(lambda s: s.name != "resize_height"), max_size=3),
    RESIZES,
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))),
)
def test_valid_stages_in_any_order_prepare_an_image_or_say_why_not(
    stages: list[Stage], resize: Stage, image: Image
) -> None:
    pipeline = Pipeline((*stages, resize))
    try:
        result = pipeline(image)
    except PreprocessingError:
        return
    assert result.dtype == np.uint8
    assert result.shape[1:] == (pipeline.height, pipeline.channels)


def test_a_description_names_every_value() -> None:
    assert Pipeline((RESIZE,), 8, 24).to_json() == {
        "stages": [{"name": "resize_height", "parameters": {"height": 4}}],
        "width_multiple": 8,
        "fixed_width": 24,
    }


GOOD = {"stages": [{"name": "resize_height", "parameters": {"height": 4}}]}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        pytest.param(None, "description has 'stages' .*Received: None", id="nothing"),
        pytest.param([], "description has 'stages'", id="a list"),
        pytest.param({"stages": []}, "'width_multiple' and 'fixed_width'", id="no widths"),
        pytest.param(GOOD | {"fixed_width": 0}, "'width_multiple' and", id="one width"),
        pytest.param(
            {"stages": [{"name": "invert"}], "width_multiple": 1, "fixed_width": 0},
            "each with 'name' and 'parameters'",
            id="no parameters",
        ),
        pytest.param(
            {"stages": [{"name": "invert", "parameters": "ab"}]},
            "each with 'name' and 'parameters'",
            id="parameters that are none",
        ),
        pytest.param(
            {"stages": [{"name": ["invert"], "parameters": {}}]},
            "each with 'name' and 'parameters'",
            id="a name that is none",
        ),
        pytest.param(
            {"stages": [{"name": "sharpen", "parameters": {}}]},
            "stage is one of .*Received: 'sharpen'",
            id="an unknown stage",
        ),
        pytest.param(
            GOOD | {"width_multiple": 1.5, "fixed_width": 0},
            r"whole number of pixels\. Received: \(1\.5, 0\)",
            id="a broken width",
        ),
        pytest.param(
            GOOD | {"width_multiple": True, "fixed_width": 0},
            r"whole number of pixels\. Received: \(True, 0\)",
            id="a width that is true",
        ),
    ],
)
def test_a_bad_description_is_refused(description: Any, message: str) -> None:
    with pytest.raises(PreprocessingError, match=message):
        Pipeline.from_json(description)


# ---- Padding


def test_pad_width_adds_background_at_the_end() -> None:
    image = np.full((2, 3, 1), 7, np.uint8)  # (width, height, channels)
    padded = pad_width(image, 4)
    assert padded[..., 0].tolist() == [[7] * 3, [7] * 3, [0] * 3, [0] * 3]
    assert (pad_width(image, 2) == image).all()


def test_stack_pads_to_the_widest() -> None:
    images = [np.full((width, 2, 3), width, np.uint8) for width in (1, 3, 2)]
    batch = stack(images)
    assert batch.shape == (3, 3, 2, 3)
    assert batch[:, :, 0, 0].tolist() == [[1, 0, 0], [3, 3, 3], [2, 2, 0]]
