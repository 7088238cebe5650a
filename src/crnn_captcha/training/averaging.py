"""The running mean of the weights, which single steps hardly shake.

weights ─ every tenth step ─ running mean ─ its normalisations measured anew ─ a reader
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

EVERY = 10  # steps: the mean moves slowly, and taking it costs little then
MEASURED_BATCHES = 40  # that means and variances of normalisations are taken of


class RunningMean(keras.callbacks.Callback):
    """An exponential moving average of a network's trainable weights, taken as it learns.

    It begins anew with the first steps, and at first looks back at a tenth of all steps only: what
    was before is soon forgotten.

    Source: Polyak and Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; that
    normalisations are measured anew, Izmailov et al. 2018, "Averaging Weights Leads to Wider
    Optima and Better Generalization", arXiv 1803.05407.

    Args:
        learner: the network that learns, compiled; its weights now are the mean's start.
        decay: share of the mean that a step keeps, in [0, 1); 0 takes no mean.
    """

    def __init__(self, learner: keras.Model, decay: float) -> None:
        super().__init__()
        self.learner = learner
        self.decay = decay
        self._look: Callable[[Any], None] | None = None  # traced when it is first needed
        weights = learner.trainable_variables if decay else []
        self.arrays: list[NDArray[np.float32]] = [np.asarray(weight).copy() for weight in weights]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Lets the mean follow the weights."""
        steps = int(np.asarray(self.learner.optimizer.iterations))
        if not self.decay or (steps > EVERY and steps % EVERY):
            return
        updates = steps // EVERY
        kept = min(self.decay**EVERY, updates / (updates + 9))
        for mean, weight in zip(self.arrays, self.learner.trainable_variables, strict=True):
            mean += (1 - kept) * (np.asarray(weight) - mean)

    @contextlib.contextmanager
    def in_place(self, batches: Iterable[NDArray[Any]]) -> Iterator[None]:
        """Within the block the network has the mean for its weights; after it, its own again.

        Args:
            batches: of images to learn from, (batch, width, height, channels), which
                normalisations are measured by; at least one. Not looked at if no mean is taken.
        """
        if not self.decay:
            yield
            return
        own = [np.asarray(variable).copy() for variable in self.learner.variables]
        try:
            for weight, mean in zip(self.learner.trainable_variables, self.arrays, strict=True):
                weight.assign(mean)
            self._measure(batches)
            yield
        finally:
            for variable, array in zip(self.learner.variables, own, strict=True):
                variable.assign(array)

    def _measure(self, batches: Iterable[NDArray[Any]]) -> None:
        """Sets the means and variances of all batch normalisations to their means over batches."""
        normalisations = _normalisations(self.learner)
        moving = [v for layer in normalisations for v in (layer.moving_mean, layer.moving_variance)]
        self._look = self._look or _looking_at_one(self.learner)
        means = [np.zeros(variable.shape, np.float32) for variable in moving]
        for before, images in enumerate(batches):
            self._look(images)
            for mean, variable in zip(means, moving, strict=True):
                mean += (np.asarray(variable) - mean) / (before + 1)
        for mean, variable in zip(means, moving, strict=True):
            variable.assign(mean)


def _normalisations(learner: keras.Model) -> list[layers.BatchNormalization]:
    return [
        layer for layer in learner._flatten_layers() if isinstance(layer, layers.BatchNormalization)
    ]


def _looking_at_one(learner: keras.Model) -> Callable[[Any], None]:
    """A call after which batch normalisations know the means and variances of its batch alone.

    What they don't need, such as the neck, isn't computed: as a graph that takes a fraction of
    the time.
    """
    signature = tf.TensorSpec((None, *learner.input_shape[1:]), learner.input.dtype)

    @tf.function(input_signature=[signature])
    def look(images: Any) -> None:
        learner(images, training=True)

    normalisations = _normalisations(learner)
    momenta = [layer.momentum for layer in normalisations]
    try:
        for layer in normalisations:
            layer.momentum = 0.0  # nothing of what they knew before is kept
        look.get_concrete_function()  # the graph, to stay so
    finally:
        for layer, momentum in zip(normalisations, momenta, strict=True):
            layer.momentum = momentum
    return lambda images: look(tf.convert_to_tensor(images))
