"""A network small enough to be written down, for the tests of bundles and of reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from crnn_captcha.bundle import BundleMetadata, write_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.preprocessing import Pipeline, Stage

HEIGHT = 4
INK = {"a": (0, 255, 255), "b": (255, 0, 255), "c": (255, 255, 0)}  # RGB on white

Paint = Callable[..., NDArray[np.uint8]]
MakeModel = Callable[[], Any]


@pytest.fixture
def metadata() -> BundleMetadata:
    """Of the tiny network."""
    pipeline = Pipeline(
        (Stage("invert"), Stage("resize_height", {"height": HEIGHT})), width_multiple=4
    )
    return BundleMetadata(Charset("".join(INK)), pipeline, {"preset": "tiny", "epochs": 1})


@pytest.fixture
def tiny_model() -> MakeModel:
    """Makes the tiny network: a column's mean colour, inverted, scores its character.

    A white column is blank with a probability below 1, so padding lowers the confidence.
    """

    def make() -> Any:
        weights = np.eye(3, 4, 1, np.float32) / 10  # (channels, num_classes)
        bias = np.array([5, 0, 0, 0], np.float32)
        opset = helper.make_opsetid("", 17)
        graph = helper.make_graph(
            [
                helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
                helper.make_node("ReduceMean", ["floats"], ["columns"], axes=[2], keepdims=0),
                helper.make_node("MatMul", ["columns", "weights"], ["scores"]),
                helper.make_node("Add", ["scores", "bias"], ["logits"]),
            ],
            "tiny",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", "w", HEIGHT, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "t", 4])],
            [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
        )
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        onnx.checker.check_model(model)
        return model

    return make


@pytest.fixture
def bundle_path(tmp_path: Path, tiny_model: MakeModel, metadata: BundleMetadata) -> Path:
    """The tiny network's bundle."""
    path = tmp_path / "tiny.onnx"
    write_bundle(path, tiny_model().SerializeToString(), metadata)
    return path


@pytest.fixture
def paint() -> Paint:
    """Draws a text that the tiny network reads: RGB uint8 (height, width, 3)."""

    def draw(text: str, *, column_width: int = 2, height: int = HEIGHT) -> NDArray[np.uint8]:
        white = (255, 255, 255)
        columns = [white] + [colour for c in text for colour in (INK[c], white)]
        row = np.repeat(np.array(columns, np.uint8), column_width, axis=0)  # (width, 3)
        return np.repeat(row[None], height, axis=0)

    return draw
