"""A bundle's graph becomes the network again that it was, or is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from conftest import MakeConfig

from crnn_captcha.bundle import NETWORK_KEY, Bundle, BundleMetadata
from crnn_captcha.charset import Charset
from crnn_captcha.errors import BundleError
from crnn_captcha.onnx_graph import append_metadata, read_metadata
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.training import description as description_module
from crnn_captcha.training.config import Config
from crnn_captcha.training.description import Weights, describe_network, read_weights
from crnn_captcha.training.export import to_onnx
from crnn_captcha.training.loop import build_networks
from crnn_captcha.training.model import Networks, make_networks

CHARSET = Charset("01ab")
SETTINGS = (
    "model.backbone=resnet_fine",
    "model.filters=[4, 6, 8]",
    "model.dropout=0",
    "augmentation={}",
)
SHORTCUT = [np.arange(40, dtype=np.float32).reshape(8, 5), np.ones(5, np.float32)]

Change = Callable[[dict[str, Any]], object]


def _bundle(config: Config, graph: bytes) -> Bundle:
    return Bundle(graph, BundleMetadata(CHARSET, config.pipeline, {}))


def _at_random(config: Config) -> keras.Model:
    """A reader whose every array is full of different numbers."""
    reader = make_networks(config, CHARSET.num_classes).reader
    random = np.random.default_rng(0)
    for weight in reader.weights:
        low, high = (0.01, 3) if "variance" in weight.path else (-0.4, 0.4)
        weight.assign(random.uniform(low, high, weight.shape))
    return reader


@pytest.fixture(scope="module")
def config(tiny_config: MakeConfig) -> Config:
    return tiny_config(*SETTINGS)


@pytest.fixture(scope="module")
def trained(config: Config) -> Networks:
    """After two steps: normalisations have seen something."""
    networks = build_networks(config, CHARSET.num_classes, steps_per_epoch=2)
    for _ in range(2):
        networks.learner.train_on_batch(*_batch())
    return networks


@pytest.fixture(scope="module")
def described(config: Config, trained: Networks) -> bytes:
    """The graph of `trained`, with its description."""
    reader = trained.reader
    return describe_network(
        to_onnx(reader), reader, Weights(config.model, reader.get_weights(), SHORTCUT)
    )


def _batch() -> tuple[Any, Any]:
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 16, 3), np.uint8)
    labels = np.array([[1, 2, 0], [4, 4, 3], [1, 0, 0]], np.int32)
    return images, (labels, labels)


def test_the_network_is_the_one_that_was_exported(
    config: Config, trained: Networks, described: bytes
) -> None:
    bundle = _bundle(config, described)
    weights = read_weights(bundle)
    assert weights.model == config.model
    again = build_networks(config, CHARSET.num_classes, steps_per_epoch=2)
    again.reader.set_weights(weights.reader)
    images, _ = _batch()
    expected = np.asarray(trained.reader(images, training=False))
    np.testing.assert_allclose(again.reader(images, training=False), expected, atol=1e-5)
    np.testing.assert_allclose(Recognizer(bundle).logits(images), expected, atol=1e-4)
    # In training, normalisations go by the batch: what is only folded would be another network.
    as_trained = np.asarray(trained.reader(images, training=True))
    assert np.abs(as_trained - expected).max() > 0.01
    np.testing.assert_allclose(again.reader(images, training=True), as_trained, atol=1e-4)


def test_the_shortcut_travels_along(config: Config, described: bytes) -> None:
    for array, expected in zip(
        read_weights(_bundle(config, described)).shortcut, SHORTCUT, strict=True
    ):
        np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.parametrize(
    ("backbone", "neck", "width"),
    [("vgg", "attention", 0), ("vgg", "bilstm", 64), ("resnet", "none", 64)],
)
def test_networks_of_all_kinds_are_found_in_their_graphs(
    tiny_config: MakeConfig, backbone: str, neck: str, width: int
) -> None:
    filters = [4, 8] if backbone == "vgg" else [4, 6, 8]
    config = tiny_config(
        f"model.backbone={backbone}", f"model.filters={filters}", f"model.neck={neck}",
        "model.units=[8, 6]", f"pipeline.fixed_width={width}", "model.ctc_shortcut=0",
    )  # fmt: skip
    reader = _at_random(config)
    weights = Weights(config.model, reader.get_weights(), [])
    graph = describe_network(to_onnx(reader), reader, weights)
    entries = json.loads(read_metadata(graph)[NETWORK_KEY])["weights"]
    large = [
        isinstance(e, dict) for w, e in zip(reader.weights, entries, strict=True) if w.ndim > 1
    ]
    assert large
    assert all(large)  # none is written out, which would make bundles twice their size
    again = read_weights(_bundle(config, graph))
    assert again.shortcut == []
    for array, expected in zip(again.reader, weights.reader, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


def test_what_folding_loses_is_written_out(config: Config) -> None:
    reader = _at_random(config)
    gamma = next(weight for weight in reader.weights if weight.path.endswith("gamma"))
    gamma.assign(np.array([1, 0, 1, 1], np.float32))
    weights = Weights(config.model, reader.get_weights(), [])
    again = read_weights(_bundle(config, describe_network(to_onnx(reader), reader, weights)))
    for array, expected in zip(again.reader, weights.reader, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)


def test_of_too_long_a_description_the_shortcut_is_left_out(
    config: Config, trained: Networks, described: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = _without_description(described)
    weights = read_weights(_bundle(config, described))
    whole = read_metadata(described)[NETWORK_KEY]
    monkeypatch.setattr(description_module, "MAX_METADATA_BYTES", len(whole) - 1)
    shorter = describe_network(graph, trained.reader, weights)
    assert not read_weights(_bundle(config, shorter)).shortcut


def test_too_long_a_description_is_left_out(
    config: Config, trained: Networks, described: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = _without_description(described)
    weights = Weights(config.model, trained.reader.get_weights(), [])
    with monkeypatch.context() as patch:
        patch.setattr(description_module, "MAX_METADATA_BYTES", 1000)
        with pytest.warns(UserWarning, match="No training can start from this bundle"):
            assert describe_network(graph, trained.reader, weights) == graph
        with pytest.raises(BundleError, match=r"Received: a description of \d+ bytes"):
            read_weights(_bundle(config, described))
    with pytest.raises(BundleError, match=r"Received: one without a description: .* its run"):
        read_weights(_bundle(config, graph))


# --- from anybody ---------------------------------------------------------------------------


def _without_description(graph: bytes) -> bytes:
    model = onnx.load_from_string(graph)
    del model.metadata_props[:]
    return bytes(model.SerializeToString())


def _changed(described: bytes, change: Change) -> bytes:
    content = json.loads(read_metadata(described)[NETWORK_KEY])
    change(content)
    return append_metadata(_without_description(described), NETWORK_KEY, json.dumps(content))


def _places(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in content["weights"] if isinstance(entry, dict)]


def _first_bytes(content: dict[str, Any]) -> int:
    return [isinstance(entry, str) for entry in content["weights"]].index(True)


def _set_bytes(content: dict[str, Any], value: float, *, more: int = 0) -> None:
    i = _first_bytes(content)
    count = len(base64.b64decode(content["weights"][i])) // 4 + more
    data = np.full(count, value, "<f4").tobytes()
    content["weights"][i] = base64.b64encode(data).decode()


def _lstm(content: dict[str, Any]) -> dict[str, Any]:
    return next(place for place in _places(content) if place["part"] >= 0)


CHANGES: list[tuple[str, Change, str]] = [
    ("later version", lambda c: c.update(version=2), r"of version 1\. Received: '2'\. Upgrade"),
    ("no version", lambda c: c.pop("version"), r"of version 1\. Received: 'None'"),
    ("no weights", lambda c: c.pop("weights"), "missing required field `weights`"),
    ("odd entry", lambda c: c["weights"].append(3), "got `int`"),
    ("no base64", lambda c: c["weights"].append("é"), "Invalid base64"),
    ("no filters", lambda c: c["model"].update(filters=[]), "model.filters is at least 1 each"),
    ("vast filters", lambda c: c["model"].update(filters=[10**18]), "features of an image"),
    ("more filters", lambda c: c["model"].update(filters=[4, 4096, 8]), r"a network of \d{8,} we"),
    ("unknown neck", lambda c: c["model"].update(neck="gru"), "A neck is one of"),
    ("other filters", lambda c: c["model"].update(filters=[4, 7, 8]), r"for \(3, 3, 4, 7\)"),
    ("other layers", lambda c: c["model"].update(neck="none"), r"\d+ arrays for \d+"),
    ("an array less", lambda c: c["weights"].pop(), r"\d+ arrays for \d+"),
    ("half a shortcut", lambda c: c["shortcut"].pop(), "a CTC shortcut of 1 arrays"),
    ("another shortcut", lambda c: c["shortcut"].reverse(), "bytes for an array of shape"),
    ("unknown tensor", lambda c: _places(c)[0].update(tensor="x\x1b"), r"no tensor 'x\\x1b'"),
    ("other tensor", lambda c: _places(c)[0].update(tensor=_places(c)[1]["tensor"]), "of shape"),
    ("part of none", lambda c: _places(c)[0].update(part=99), "no part 99 of"),
    ("other part", lambda c: _lstm(c).update(part=1 - _lstm(c)["part"]), "another network than"),
    ("axes twice", lambda c: _places(c)[0].update(axes=[3, 3, 0, 1]), "of shape"),
    ("turned", lambda c: _places(c)[0].update(axes=[0, 2, 3, 1]), "another network than its graph"),
    ("more bytes", lambda c: _set_bytes(c, 1, more=1), "20 bytes for an array of shape"),
    ("other bytes", lambda c: _set_bytes(c, 9), "another network than its graph computes"),
    ("no number", lambda c: _set_bytes(c, np.nan), "numbers that aren't finite"),
    ("a scale of 0", lambda c: _set_bytes(c, 0), "numbers that aren't finite"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "received"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES]
)
def test_a_description_that_does_not_fit_is_refused(
    config: Config, described: bytes, change: Change, received: str
) -> None:
    with pytest.raises(BundleError, match=received):
        read_weights(_bundle(config, _changed(described, change)))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 10_000, '{"version": NaN}'])
def test_what_is_no_description_is_refused(config: Config, described: bytes, text: str) -> None:
    graph = append_metadata(_without_description(described), NETWORK_KEY, text)
    with pytest.raises(BundleError, match=r"of its network fits its graph\. Received: "):
        read_weights(_bundle(config, graph))


def test_a_tensor_with_more_data_than_it_declares_is_refused(
    config: Config, described: bytes
) -> None:
    model = onnx.load_from_string(described)
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    tensor.raw_data += b"\0" * 4
    with pytest.raises(BundleError, match=r"fits its graph\. Received: "):
        read_weights(_bundle(config, model.SerializeToString()))


def test_reading_does_not_look_at_it(config: Config, described: bytes) -> None:
    images, _ = _batch()
    broken = append_metadata(_without_description(described), NETWORK_KEY, "broken")
    logits = [Recognizer(_bundle(config, graph)).logits(images) for graph in (described, broken)]
    np.testing.assert_array_equal(logits[0], logits[1])
