"""What a bundle says about its graph so that a training can start from it.

Where in the graph each large array of weights lies, and beside it what isn't in there any more:
the normalisations, which the export folds away and without which a network that reads alike would
learn from another start, and the CTC shortcut. Reading doesn't look at any of it.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import msgspec
import numpy as np

from crnn_captcha.bundle import MAX_BUNDLE_BYTES, MAX_METADATA_BYTES, NETWORK_KEY, Bundle
from crnn_captcha.errors import BundleError, ConfigError
from crnn_captcha.onnx_graph import append_metadata, read_metadata, shorten
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.training.config import Config, ModelConfig
from crnn_captcha.training.layout import Array, Slot, image_shape, layout, slots
from crnn_captcha.training.model import full_precision, make_networks

VERSION = 1
MAX_WEIGHTS = MAX_BUNDLE_BYTES // 4  # of float32
SAME_WEIGHTS = 1e-4  # of an array's largest number: what float32 makes of folding
SAME_LOGITS = 1e-3


@dataclass(frozen=True)
class Place:
    """Where in a graph an array lies.

    Attributes:
        tensor: name of an initializer.
        axes: of the array, in the order in which they stand there.
        part: along the initializer's first axis, where it holds several arrays; else -1.
    """

    tensor: str
    axes: tuple[int, ...]
    part: int = -1


@dataclass(frozen=True)
class Description:
    """How a graph becomes a network again, as it stands in a bundle.

    Attributes:
        version: of the description.
        model: the network.
        weights: for each of the reader's arrays its place, or its bytes (float32, little endian).
        shortcut: bytes of the CTC shortcut's kernel and bias; empty where they aren't known.
    """

    version: int
    model: ModelConfig
    weights: tuple[Place | bytes, ...]
    shortcut: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Weights:
    """What a network has learned.

    Attributes:
        model: the network.
        reader: float32 arrays, one for each of `reader.weights`.
        shortcut: kernel (features, num_classes) and bias (num_classes,) of the CTC shortcut; empty
            where they aren't known.
    """

    model: ModelConfig
    reader: Sequence[Array]
    shortcut: Sequence[Array]


def describe_network(graph: bytes, reader: keras.Model, weights: Weights) -> bytes:
    """A graph with what a training needs to start from it in its metadata.

    Args:
        graph: an ONNX model's bytes, of `reader` by `to_onnx`.
        reader: says how its weights are laid out.
        weights: its own.

    Returns:
        The graph's bytes with a description; without one, and with a warning, where it would be
        too long.
    """
    tensors = _tensors(graph)
    entries = tuple(
        _find(slot, array, weights.reader, tensors) or _to_bytes(array)
        for slot, array in zip(slots(reader), weights.reader, strict=True)
    )
    shortcut = tuple(_to_bytes(array) for array in weights.shortcut)
    text = _to_json(Description(VERSION, weights.model, entries, shortcut))
    if len(text) > MAX_METADATA_BYTES:  # of thousands of characters: the shortcut is learned anew
        text = _to_json(Description(VERSION, weights.model, entries))
    if len(text) > MAX_METADATA_BYTES:
        warnings.warn(
            "No training can start from this bundle, as its graph holds the weights in an unknown "
            "form. It reads as it should, and a training can start from its run folder.",
            stacklevel=2,
        )
        return graph
    return append_metadata(graph, NETWORK_KEY, text)


def _to_json(description: Description) -> str:
    return msgspec.json.encode(description).decode()


def read_weights(bundle: Bundle) -> Weights:
    """The weights of a bundle's network, checked to compute what its graph does.

    The bundle may come from anybody: nothing is made before all sizes are known to fit.

    Raises:
        BundleError: if the bundle doesn't describe its network, or not rightly.
    """
    entries = read_metadata(bundle.graph)
    if NETWORK_KEY not in entries:
        raise BundleError(
            "A training can start from a bundle that describes its network. Received: one without "
            "a description: in 8 bits, or by an early version. Give its run folder, or a bundle "
            "that is exported from that in 32 bits."
        )
    description = _parse(entries[NETWORK_KEY])
    config = Config("", bundle.metadata.pipeline, model=description.model)
    try:
        expected = layout(config, bundle.metadata.charset.num_classes)
    except ConfigError as error:
        raise _does_not_fit(shorten(str(error))) from error
    if expected.weights > MAX_WEIGHTS:
        raise _does_not_fit(f"a network of {expected.weights} weights")
    if len(description.weights) != len(expected.reader):
        raise _does_not_fit(f"{len(description.weights)} arrays for {len(expected.reader)}")
    if description.shortcut and len(description.shortcut) != len(expected.shortcut):
        raise _does_not_fit(f"a CTC shortcut of {len(description.shortcut)} arrays")
    shortcut = [
        _from_bytes(data, slot)
        for data, slot in zip(description.shortcut, expected.shortcut, strict=False)
    ]
    arrays = _arrays(description.weights, expected.reader, _tensors(bundle.graph))
    if not all(np.isfinite(array).all() for array in (*arrays, *shortcut)):
        raise _does_not_fit("numbers that aren't finite")
    _check_computes_alike(bundle, config, arrays)
    return Weights(description.model, arrays, shortcut)


def _parse(text: str) -> Description:
    if len(text) > MAX_METADATA_BYTES:
        raise _does_not_fit(f"a description of {len(text)} bytes")
    try:
        version = msgspec.json.decode(text, type=dict[str, object]).get("version")
        if version != VERSION:
            raise BundleError(
                f"This version of crnn-captcha starts from descriptions of version {VERSION}. "
                f"Received: {shorten(str(version))}. Upgrade it: pip install --upgrade crnn-captcha"
            )
        return msgspec.json.decode(text, type=Description)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _does_not_fit(shorten(str(error))) from error


def _find(
    slot: Slot, array: Array, arrays: Sequence[Array], tensors: Mapping[str, Array]
) -> Place | None:
    """Where an array lies; None for vectors, which are small, and for what can't be made out."""
    if array.ndim < 2:
        return None
    exported = slot.to_exported(array, arrays)
    for name, tensor in tensors.items():
        joined = enumerate(tensor) if tensor.ndim == 3 else ()  # both directions of an LSTM
        for part, candidate in ((-1, tensor), *joined):
            if candidate.size != exported.size:
                continue
            for axes in itertools.permutations(range(exported.ndim)):
                if not _same(exported.transpose(axes), candidate):
                    continue
                place = Place(name, axes, part)
                found = slot.from_exported(_from_place(place, slot, tensors), arrays)
                return place if _same(found, array) else None  # it isn't if scaled by 0
    return None


def _same(array: Array, other: Array) -> bool:
    limit = SAME_WEIGHTS * np.abs(other).max(initial=0)
    first = np.abs(array.flat[:64] - other.flat[:64])  # mostly, these differ already
    return bool((first <= limit).all() and (np.abs(array.ravel() - other.ravel()) <= limit).all())


def _tensors(graph: bytes) -> dict[str, Array]:
    """The initializers of float32 by their names."""
    import onnx

    model = onnx.load_from_string(graph)
    try:
        return {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT
        }
    except ValueError as error:
        raise _does_not_fit(shorten(str(error))) from error


def _arrays(
    entries: Sequence[Place | bytes], expected: Sequence[Slot], tensors: Mapping[str, Array]
) -> list[Array]:
    """As Keras has them: those by bytes are so already, and tell what others were folded with."""
    pairs = [*zip(entries, expected, strict=True)]
    held = [
        _from_bytes(entry, slot) if isinstance(entry, bytes) else _from_place(entry, slot, tensors)
        for entry, slot in pairs
    ]
    return [
        array if isinstance(entry, bytes) else slot.from_exported(array, held)
        for array, (entry, slot) in zip(held, pairs, strict=True)
    ]


def _from_place(place: Place, slot: Slot, tensors: Mapping[str, Array]) -> Array:
    name, shape = shorten(place.tensor), slot.exported_shape
    if place.tensor not in tensors:
        raise _does_not_fit(f"no tensor {name}")
    tensor = tensors[place.tensor]
    if place.part >= 0:
        if tensor.ndim == 0 or place.part >= len(tensor):
            raise _does_not_fit(f"no part {place.part} of {name}")
        tensor = tensor[place.part]
    if sorted(place.axes) != [*range(len(shape))] or tensor.size != math.prod(shape):
        raise _does_not_fit(f"{name} of shape {tensor.shape} for {shape}")
    stored = tensor.reshape([shape[axis] for axis in place.axes])
    return stored.transpose(np.argsort(place.axes))


def _to_bytes(array: Array) -> bytes:
    return array.astype("<f4").tobytes()


def _from_bytes(data: bytes, slot: Slot) -> Array:
    if len(data) != 4 * math.prod(slot.shape):
        raise _does_not_fit(f"{len(data)} bytes for an array of shape {slot.shape}")
    return np.frombuffer(data, "<f4").reshape(slot.shape).astype(np.float32)


def _check_computes_alike(bundle: Bundle, config: Config, arrays: Sequence[Array]) -> None:
    shape = (1, *image_shape(config.pipeline))
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = Recognizer(bundle, threads=1).logits(image)
    with full_precision():
        reader = make_networks(config, bundle.metadata.charset.num_classes).reader
    reader.set_weights(arrays)
    logits = np.asarray(reader(image, training=False))
    limit = SAME_LOGITS * (1 + np.abs(expected).max())
    if logits.shape != expected.shape or not (np.abs(logits - expected) <= limit).all():
        raise _does_not_fit("another network than its graph computes")


def _does_not_fit(what: str) -> BundleError:
    return BundleError(
        f"A bundle's description of its network fits its graph. Received: {what}. Give the run "
        "folder that it came from, or a file that `crnn-captcha train` or `crnn-captcha export` "
        "wrote."
    )
