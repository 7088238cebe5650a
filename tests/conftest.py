"""What several tests read with and learn from.

A network small enough to be written down, for the tests of bundles and of reading; a data set and
configurations small enough to train with in seconds, for the tests of training.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from crnn_captcha.bundle import BundleMetadata, write_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.drawing import draw
from crnn_captcha.fonts import Font
from crnn_captcha.generator import generate, write_zip
from crnn_captcha.preprocessing import Pipeline, Stage
from crnn_captcha.style_files import load_style
from crnn_captcha.styles import ImageStyle, LetterStyle, Range, Style

if TYPE_CHECKING:
    from crnn_captcha.training import Config

# A busy machine is no error in what is tested.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

HEIGHT = 4
INK = {"a": (0, 255, 255), "b": (255, 0, 255), "c": (255, 255, 0)}  # RGB on white

Paint = Callable[..., NDArray[np.uint8]]
DrawImage = Callable[..., NDArray[np.uint8]]
MakeModel = Callable[[], Any]

DEFAULT_LOOK = load_style()


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


@pytest.fixture(scope="session")
def draw_image() -> DrawImage:
    """Draws a label as our generator does, by a seed: RGB uint8 (height, width, 3)."""

    def draw_one(label: str, seed: int, style: Style = DEFAULT_LOOK) -> NDArray[np.uint8]:
        return draw(label, style, np.random.default_rng(seed), FONTS)

    return draw_one


# --- training -------------------------------------------------------------------------------

LEARNABLE = Style(
    charset=Charset("ab01"),
    min_length=2,
    max_length=3,
    image=ImageStyle(Range.of(32), width_px=Range.of(0, 30), width_per_character_px=Range.of(20)),
    letters=LetterStyle(height_px=Range.of(18, 21), shift_x_px=Range.of(-4, 4)),
)
FONTS = (Font("Aileron", "Regular", None),)  # there on every machine

# Everything that `--resume` has to bring back is on: the preset brings like widths, the CTC
# shortcut, dropout, augmentation and the cosine schedule.
TINY = (
    "pipeline.stages=[{name='resize_height', parameters={height=16}}, {name='invert'}]",
    "model.filters=[4, 8]",
    "model.units=[8]",
    "augmentation.shear_degrees=8",
    "augmentation.shrink=0.15",
    "augmentation.weight=0.3",
    "data.batch_size=2",  # 25 steps an epoch
    "training.epochs=3",
    "training.monitor=val_loss",
)
# Nothing random but weights and order, no LSTM to trace: as quick as a training gets.
QUICK = (
    "pipeline.stages=[{name='grayscale'}, {name='resize_height', parameters={height=16}},"
    " {name='invert'}]",
    "pipeline.fixed_width=0",
    "model.filters=[4, 8]",
    "model.neck=none",
    "data.batch_size=8",  # 7 steps an epoch
    "augmentation={}",
    "training.epochs=3",
)

MakeConfig = Callable[..., "Config"]


@pytest.fixture(scope="session")
def captchas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of 60 generated images: 49 to learn from, 5 to validate and 6 to test with."""
    path = tmp_path_factory.mktemp("data") / "captchas.zip"
    return write_zip(path, generate(60, 1, style=LEARNABLE, fonts=FONTS))


@pytest.fixture(scope="session")
def tiny_settings() -> tuple[str, ...]:
    """Settings, as the command line takes them, of a tiny training with all that is random on."""
    return TINY


@pytest.fixture(scope="session")
def tiny_config() -> MakeConfig:
    """Makes the configuration of `tiny_settings`, with more settings on top."""
    from crnn_captcha.training import make_config

    return lambda *settings: make_config("standard", [*TINY, *settings])


@pytest.fixture(scope="session")
def quick_config() -> MakeConfig:
    """Makes the configuration of a training without an LSTM, with more settings on top."""
    from crnn_captcha.training import make_config

    return lambda *settings: make_config("classic", [*QUICK, *settings])


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, captchas: Path) -> Path:
    """The complete folder of an uninterrupted run of `tiny_settings`. Not to be changed.

    By the command line in a process of its own: TensorFlow compiles a CTC loss slightly differently
    where the same process has compiled one for other shapes, which shows in the last bits.
    """
    run = tmp_path_factory.mktemp("runs") / "tiny"
    command = [sys.executable, "-c", "from crnn_captcha.cli.main import main; main()", "train"]
    settings = [part for setting in TINY for part in ("--set", setting)]
    done = subprocess.run(
        [*command, captchas, "--out", run, *settings], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return run
