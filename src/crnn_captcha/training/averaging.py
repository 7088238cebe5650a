"""The running mean of the weights, which single steps hardly shake.

weights ─ every tenth step ─ running mean ─ its normalisations measured anew ─ a reader
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
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
            _measure(self.learner, batches)
            yield
        finally:
            for variable, array in zip(self.learner.variables, own, strict=True):
                variable.assign(array)


def _measure(learner: keras.Model, batches: Iterable[NDArray[Any]]) -> None:
    """Sets the means and variances of all batch normalisations to their means over batches."""
    normalisations = [
        layer for layer in learner._flatten_layers() if isinstance(layer, layers.BatchNormalization)
    ]
    momenta = [layer.momentum for layer in normalisations]
    try:
        for before, images in enumerate(batches):
            for layer in normalisations:
                layer.momentum = before / (before + 1)
            learner(images, training=True)
    finally:
        for layer, momentum in zip(normalisations, momenta, strict=True):
            layer.momentum = momentum
