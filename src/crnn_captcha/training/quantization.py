"""A graph's convolutions in 8 bits, as many of them as the texts that are read allow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.preprocessing import pad_width
from crnn_captcha.stages import Image

PERCENTILE = 99.99  # of the values seen that 8 bits span: the last few would cost all precision
CALIBRATION_IMAGES = 128

Agree = Callable[[bytes], float]
Scores = Callable[[bytes, NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Quantized:
    """A graph in which convolutions compute in 8 bits.

    Attributes:
        graph: an ONNX model's bytes.
        convolutions: of the graph.
        in_8_bits: of them those in 8 bits.
        agreement: share of images on which it reads what the graph in 32 bits reads.
    """

    graph: bytes
    convolutions: int
    in_8_bits: int
    agreement: float


def quantize(
    graph: bytes, images: Sequence[Image], agree: Agree, least: float, scores: Scores
) -> Quantized | None:
    """As many of a graph's convolutions in 8 bits as leave what it reads as it is.

    Weights are scaled by output channel, to 7 of the 8 bits so that all processors sum them
    alike; what flows between them by tensor, to what was seen on the images. Where all
    convolutions in 8 bits change too many texts, those that change the scores most stay in 32
    bits: texts near a tie, `o` or `0`, tip over at the least noise.

    Args:
        graph: an ONNX model's bytes, input `images`, output `logits`.
        images: prepared, uint8 (width, height, channels) each, to calibrate with.
        agree: says of a graph on which share of other images it reads as this one.
        least: share that is enough.
        scores: runs a graph on a batch, uint8 (batch, width, height, channels), and returns its
            logits, float32 (batch, time_steps, num_classes).

    Returns:
        The graph, or None if even a single convolution in 8 bits changes too many texts.

    Source: Jacob et al. 2017, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", arXiv 1712.05877; Nagel et al. 2021, "A White Paper on
    Neural Network Quantization", arXiv 2106.08295, section 3 (ranges by percentile, sensitivity
    layer by layer).
    """
    batch, names = _alike(images), _convolutions(graph)

    def attempt(chosen: Sequence[str]) -> Quantized | None:
        smaller = _in_8_bits(graph, batch, chosen)
        agreement = agree(smaller)
        if agreement < least:
            return None
        return Quantized(smaller, len(names), len(chosen), agreement)

    if not names:
        return None
    if found := attempt(names):
        return found
    exact = scores(graph, batch)
    noise = {
        name: float(np.abs(scores(_in_8_bits(graph, batch, [name]), batch) - exact).mean())
        for name in names
    }
    order = sorted(names, key=lambda name: noise[name])
    best, enough, too_many = None, 0, len(order)  # the quietest so many fit, so many don't
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if found := attempt(order[:middle]):
            best, enough = found, middle
        else:
            too_many = middle
    return best


def _alike(images: Sequence[Image]) -> NDArray[np.uint8]:
    """A batch of the median width: histograms of what flows want one shape, and little padding."""
    width = int(np.median([len(image) for image in images]))
    return np.stack([pad_width(image[:width], width) for image in images])


def _convolutions(graph: bytes) -> list[str]:
    import onnx

    return [node.name for node in onnx.load_from_string(graph).graph.node if node.op_type == "Conv"]


class _Batches:
    """Hands images to the calibration, a few at a time."""

    SIZE = 16

    def __init__(self, images: NDArray[np.uint8]) -> None:
        starts = range(0, len(images) - self.SIZE + 1, self.SIZE)  # whole ones: of one shape
        self._parts = iter([images[i : i + self.SIZE] for i in starts or (0,)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next ones by the name of the input, None after the last."""
        part = next(self._parts, None)
        return None if part is None else {"images": part}


def _in_8_bits(graph: bytes, images: NDArray[np.uint8], chosen: Collection[str]) -> bytes:
    """The graph with the chosen convolutions in 8 bits."""
    import onnx
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        reader: Any = _Batches(images)
        quantization.quantize_static(
            onnx.load_from_string(graph),
            path,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=list(chosen),
            per_channel=True,
            reduce_range=True,  # weights in 7 bits: else sums overflow on processors without VNNI
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )
        return path.read_bytes()
