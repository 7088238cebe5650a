"""Convolutions in 8 bits: as many as the texts allow, the noisiest left out first."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from crnn_captcha.bundle import Bundle, BundleMetadata
from crnn_captcha.decoding import greedy_decode
from crnn_captcha.onnx_graph import check_graph
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.training.config import make_config
from crnn_captcha.training.export import to_onnx
from crnn_captcha.training.model import make_networks
from crnn_captcha.training.quantization import quantize
from training.conftest import Overfitted

Images = list[NDArray[np.uint8]]


def in_8_bits(graph: bytes) -> int:
    """Convolutions whose weights come out of 8 bits."""
    model = onnx.load_from_string(graph)
    small = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return sum(node.input[1] in small for node in convolutions)


def quantized_weights(graph: bytes) -> list[NDArray[np.int8]]:
    """Of all convolutions in 8 bits."""
    model = onnx.load_from_string(graph)
    initializers = {one.name: one for one in model.graph.initializer}
    first = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
    }
    weights = [first.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"]
    return [onnx.numpy_helper.to_array(initializers[name]) for name in weights if name]


def scores(
    metadata: BundleMetadata, graph: bytes, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    return Recognizer(Bundle(graph, metadata)).logits(images)


def test_a_graph_in_8_bits_is_smaller_and_reads_the_same(overfitted: Overfitted) -> None:
    metadata = BundleMetadata(overfitted.charset, overfitted.config.pipeline, {})
    graph = to_onnx(overfitted.networks.reader)
    asked = []
    found = quantize(
        graph,
        list(overfitted.images),
        lambda smaller: asked.append(smaller) or 1.0,  # type: ignore[func-returns-value]
        0.99,
        lambda graph, images: scores(metadata, graph, images),
    )
    assert found is not None
    assert asked == [found.graph]
    assert (found.convolutions, found.in_8_bits, found.agreement) == (2, 2, 1.0)
    assert in_8_bits(found.graph) == 2
    assert in_8_bits(graph) == 0
    assert len(found.graph) < len(graph)
    check_graph(found.graph, fixed_width=0, height=16, channels=1, num_classes=5)
    logits = scores(metadata, found.graph, overfitted.images)
    expected = scores(metadata, graph, overfitted.images)
    assert 0 < np.abs(logits - expected).mean() < 0.1 * np.abs(expected).mean()
    texts = [reading.text for reading in greedy_decode(logits, overfitted.charset)]
    assert texts == list(overfitted.labels)
    weights = quantized_weights(found.graph)
    assert {one.dtype for one in weights} == {np.dtype(np.int8)}
    # Two products of 255 and 64 fit into 16 bits, in which processors without VNNI add them.
    assert [int(np.abs(one.astype(int)).max()) for one in weights] == [64, 64]


@pytest.fixture(scope="module")
def deep_graph() -> bytes:
    """Of a network with six convolutions."""
    settings = "model.filters=[4, 4, 4]", "model.neck=none", "augmentation={}"
    return to_onnx(make_networks(make_config("standard", settings), 5).reader)


@pytest.fixture
def images() -> Images:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (width, 32, 4), np.uint8) for width in (48, 64, 64, 80)]


@pytest.mark.parametrize("most", [1, 2, 4])
def test_those_that_change_scores_most_stay_in_32_bits(
    deep_graph: bytes, images: Images, most: int
) -> None:
    total = sum(node.op_type == "Conv" for node in onnx.load_from_string(deep_graph).graph.node)
    assert total > most
    noise = iter([0.0, *(float(i % total) for i in range(3, 3 + total))])  # the exact ones first
    by_order: list[int] = []

    def noisy(graph: bytes, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert batch.shape == (4, 64, 32, 4)  # of the median width
        by_order.append(in_8_bits(graph))
        return np.full((4, 16, 5), next(noise), np.float32)

    found = quantize(
        deep_graph, images, lambda graph: 0.995 if in_8_bits(graph) <= most else 0.5, 0.99, noisy
    )
    assert by_order == [0] + [1] * total
    assert found is not None
    assert (found.convolutions, found.in_8_bits, found.agreement) == (total, most, 0.995)
    convolutions = [n for n in onnx.load_from_string(deep_graph).graph.node if n.op_type == "Conv"]
    quietest = sorted(range(total), key=lambda i: (i + 3) % total)[:most]
    model = onnx.load_from_string(found.graph)
    small = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    chosen = {n.name for n in model.graph.node if n.op_type == "Conv" and n.input[1] in small}
    assert chosen == {convolutions[i].name for i in quietest}
    assert Counter(n.op_type for n in model.graph.node)["Conv"] == total


def test_there_may_be_no_such_graph(deep_graph: bytes, images: Images) -> None:
    def random_scores(graph: bytes, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros((4, 16, 5), np.float32)

    assert quantize(deep_graph, images, lambda graph: 0.9, 0.99, random_scores) is None
