"""How a network's weights look in the graph that it is exported as.

The export folds a normalisation into the convolution before it, and has the gates of an LSTM in
another order. Both can be undone, as long as what was folded in is still known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import ConfigError
from crnn_captcha.onnx_graph import shorten
from crnn_captcha.preprocessing import Pipeline
from crnn_captcha.training.config import Config
from crnn_captcha.training.model import SHORTCUT, make_networks

Array = NDArray[np.float32]

MAX_LAYERS = 64  # of a backbone, and of a neck
MAX_FEATURES = 2**28  # of the widest layer at an image's full resolution: 1 GiB
TO_ONNX = (0, 3, 1, 2)  # gates: Keras has input, forget, cell, output
TO_KERAS = (0, 2, 3, 1)  # ONNX has input, output, forget, cell


@dataclass(frozen=True)
class Slot:
    """What there is to know of an array of weights before there is one.

    Attributes:
        shape: of the array.
        gates: whether it holds those of an LSTM: (inputs, 4 * units).
        gamma: for the kernel of a convolution with a normalisation straight after it, which of
            the network's arrays that one's scale is; else -1.
        variance: the same for that one's variance.
        epsilon: what is added to the variance.
    """

    shape: tuple[int, ...]
    gates: bool = False
    gamma: int = -1
    variance: int = -1
    epsilon: float = 0.0

    @property
    def exported_shape(self) -> tuple[int, ...]:
        """Of what `to_exported` gives; an LSTM's gates have an axis of their own."""
        return (self.shape[0], 4, self.shape[1] // 4) if self.gates else self.shape

    def to_exported(self, array: Array, arrays: Sequence[Array]) -> Array:
        """An array as the graph has it, but for the order of its axes.

        Args:
            array: as Keras has it.
            arrays: all of the network's; of these, a normalisation's count.
        """
        if self.gates:
            return array.reshape(self.exported_shape)[:, TO_ONNX]
        return array * self._scale(arrays) if self.gamma >= 0 else array

    def from_exported(self, exported: Array, arrays: Sequence[Array]) -> Array:
        """The inverse of `to_exported`; not finite where a scale is 0."""
        if self.gates:
            return exported[:, TO_KERAS].reshape(self.shape)
        with np.errstate(all="ignore"):
            return exported / self._scale(arrays) if self.gamma >= 0 else exported

    def _scale(self, arrays: Sequence[Array]) -> Array:
        variance = arrays[self.variance] + np.float32(self.epsilon)
        return np.asarray(arrays[self.gamma] / np.sqrt(variance), np.float32)


@dataclass(frozen=True)
class Layout:
    """The arrays of a network.

    Attributes:
        reader: a slot for each of `reader.weights`.
        shortcut: for kernel and bias of the CTC shortcut; empty where there is none.
        weights: numbers in all of them.
    """

    reader: tuple[Slot, ...]
    shortcut: tuple[Slot, ...]
    weights: int


def layout(config: Config, num_classes: int) -> Layout:
    """The arrays that the network of a configuration has, without making them.

    Args:
        config: may come from anybody.
        num_classes: characters and the blank.

    Raises:
        ConfigError: if there can't be such a network, or its layers are too many or too large.
    """
    model = config.model
    width, height, _ = image_shape(config.pipeline)
    features = width * height * max((*model.filters, *model.units))
    if max(len(model.filters), len(model.units)) > MAX_LAYERS or features > MAX_FEATURES:
        raise ConfigError(
            f"A network has up to {MAX_LAYERS} layers in its backbone and in its neck, and "
            f"{MAX_FEATURES:,} features of an image. Received: model.filters of "
            f"{shorten(str([*model.filters]))}, model.units of {shorten(str([*model.units]))}."
        )

    def sketch() -> Layout:
        with keras.StatelessScope(initialize_variables=False):
            networks = make_networks(config, num_classes)
            shapes = {w.path: tuple(w.shape) for w in networks.learner.weights}
            shortcut = tuple(Slot(shapes[path]) for path in SHORTCUT if path in shapes)
            return Layout(slots(networks.reader), shortcut, networks.learner.count_params())

    try:
        # In a thread of its own: Keras remembers by thread what is still to be made.
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(sketch).result()
    except ConfigError:
        raise
    except Exception as error:  # Keras and TensorFlow have no one error for what can't be built
        raise ConfigError(f"The network can't be built: {error}") from error


def image_shape(pipeline: Pipeline) -> tuple[int, int, int]:
    """Width, height and channels of an image that gives any network of ours several time steps."""
    return pipeline.padded_width(8 * pipeline.height), pipeline.height, pipeline.channels


def slots(reader: keras.Model) -> tuple[Slot, ...]:
    """A slot for each of `reader.weights`."""
    found = [
        Slot(tuple(w.shape), gates="/lstm_cell/" in w.path and len(w.shape) == 2)
        for w in reader.weights
    ]
    positions = {id(weight): position for position, weight in enumerate(reader.weights)}
    normalisations = {
        id(layer.input): layer
        for layer in reader.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    for layer in reader.layers:
        after = normalisations.get(id(layer.output))
        if isinstance(layer, keras.layers.Conv2D) and after is not None:
            kernel = positions[id(layer.kernel)]
            found[kernel] = dataclasses.replace(
                found[kernel],
                gamma=positions[id(after.gamma)],
                variance=positions[id(after.moving_variance)],
                epsilon=after.epsilon,
            )
    return tuple(found)
