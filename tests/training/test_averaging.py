"""The running mean follows the weights, and stands in for them only where it is asked to."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from crnn_captcha.training.averaging import EVERY, RunningMean
from crnn_captcha.training.normalization import BatchNormalization

SHAPE = (6, 5, 3)  # (width, height, channels)


@pytest.fixture
def learner() -> keras.Model:
    """A convolution and its normalisation, and what a step has to have."""
    keras.utils.set_random_seed(3)
    images = keras.Input(SHAPE)
    features = BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(images))
    features = layers.Dropout(0.5)(features)
    model = keras.Model(images, layers.Dense(1)(layers.GlobalAveragePooling2D()(features)))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    return model


def _images(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.3, 2, (count, *SHAPE)).astype(np.float32)


def _learn(learner: keras.Model, mean: RunningMean, steps: int) -> list[list[NDArray[Any]]]:
    """Returns the trainable weights after each step."""
    weights: list[list[NDArray[Any]]] = []

    def record(batch: int, logs: Any) -> None:
        weights.append([np.asarray(weight).copy() for weight in learner.trainable_variables])

    learner.fit(
        _images(steps),
        np.arange(steps, dtype=np.float32)[:, None],
        batch_size=1,
        shuffle=False,
        verbose=0,
        callbacks=[mean, keras.callbacks.LambdaCallback(on_train_batch_end=record)],
    )
    return weights


def test_it_is_the_moving_average_of_every_tenth_step(learner: keras.Model) -> None:
    decay = 0.99
    mean = RunningMean(learner, decay)
    weights = _learn(learner, mean, 20 * EVERY + 7)
    expected = weights[EVERY - 2]  # the first steps are taken as they are
    for update in range(1, 21):
        kept = min(decay**EVERY, update / (update + 9))
        taken = weights[update * EVERY - 1]
        expected = [kept * e + (1 - kept) * t for e, t in zip(expected, taken, strict=True)]
    for ours, theirs in zip(mean.arrays, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    assert not np.allclose(mean.arrays[0], weights[-1][0], rtol=1e-3)


def test_what_was_before_the_first_steps_is_forgotten(learner: keras.Model) -> None:
    mean = RunningMean(learner, 0.999)
    weights = _learn(learner, mean, 3)
    for ours, theirs in zip(mean.arrays, weights[-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_a_decay_weights_are_as_they_are(learner: keras.Model) -> None:
    mean = RunningMean(learner, 0)
    weights = _learn(learner, mean, EVERY)
    assert mean.arrays == []
    with mean.in_place(iter(())):
        for ours, theirs in zip(learner.trainable_variables, weights[-1], strict=True):
            np.testing.assert_array_equal(np.asarray(ours), theirs)


def test_in_place_normalisations_are_measured_with_the_mean(learner: keras.Model) -> None:
    mean = RunningMean(learner, 0.9)
    _learn(learner, mean, 2 * EVERY)
    batches = [_images(8, seed) for seed in range(1, 5)]
    convolution, normalisation = learner.layers[1:3]
    with mean.in_place(batches):
        for weight, array in zip(learner.trainable_variables, mean.arrays, strict=True):
            np.testing.assert_array_equal(np.asarray(weight), array)
        features = [np.asarray(convolution(batch)) for batch in batches]
        means = np.mean([f.mean((0, 1, 2)) for f in features], axis=0)
        variances = np.mean([f.var((0, 1, 2), ddof=1) for f in features], axis=0)
        np.testing.assert_allclose(
            np.asarray(normalisation.moving_mean), means, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(np.asarray(normalisation.moving_variance), variances, rtol=1e-4)


def test_afterwards_all_is_as_it_was(learner: keras.Model) -> None:
    mean = RunningMean(learner, 0.9)
    _learn(learner, mean, 2 * EVERY)
    before = [np.asarray(variable).copy() for variable in learner.variables]  # random states, too
    momentum = learner.layers[2].momentum
    with pytest.raises(KeyboardInterrupt), mean.in_place([_images(8)]):
        raise KeyboardInterrupt
    assert any(array.dtype.kind in "iu" for array in before)
    for variable, array in zip(learner.variables, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), array)
    assert learner.layers[2].momentum == momentum
