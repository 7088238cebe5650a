"""The fused normalisation is Keras' own in all but speed, also in 16 bits and once saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from crnn_captcha.training.normalization import BatchNormalization

SHAPE = (3, 7, 4, 6)  # (batch, width, height, channels)
COUNT = 3 * 7 * 4  # values of a channel
MOMENTUM = 0.9


def _images(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Each channel has a mean and a variance of its own."""
    random = np.random.default_rng(seed)
    channels = shape[-1]
    means, deviations = random.normal(0, 3, channels), random.uniform(0.5, 2, channels)
    return random.normal(means, deviations, shape).astype(np.float32)


def _layers(dtype: str = "float32") -> tuple[Any, Any]:
    """Ours and Keras', with the same weights."""
    random = np.random.default_rng(1)
    weights = [random.uniform(0.5, 1.5, SHAPE[-1]) for _ in range(4)]
    kinds = BatchNormalization, keras.layers.BatchNormalization
    ours, theirs = (kind(momentum=MOMENTUM, dtype=dtype) for kind in kinds)
    for layer in (ours, theirs):
        layer.build(SHAPE)
        layer.set_weights(weights)
    return ours, theirs


def _array(values: Any) -> NDArray[np.float32]:
    return np.asarray(keras.ops.cast(values, "float32"))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 2**-7), ("mixed_float16", 2**-9)]
)
def test_outputs_in_training_are_those_of_keras(dtype: str, tolerance: float) -> None:
    ours, theirs = (_array(layer(_images(*SHAPE), training=True)) for layer in _layers(dtype))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_gradients_are_those_of_keras(dtype: str) -> None:
    upstream = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    gradients = []
    for layer in _layers(dtype):
        images = tf.constant(_images(*SHAPE))
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = tf.cast(layer(images, training=True), "float32")
            loss = tf.reduce_sum(outputs * upstream)
        gradients.append(tape.gradient(loss, [images, layer.gamma.value, layer.beta.value]))
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("run", [lambda layer: layer, tf.function], ids=["eager", "compiled"])
def test_statistics_move_as_those_of_keras(run: Any) -> None:
    ours, theirs = _layers()
    before = ours.moving_variance.numpy()
    for layer in (ours, theirs):
        run(layer)(_images(*SHAPE), training=True)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    # Keras remembers the variance of the batch, the fused operation that of what it was drawn from.
    steps = [layer.moving_variance.numpy() - MOMENTUM * before for layer in (ours, theirs)]
    np.testing.assert_allclose(steps[0], steps[1] * COUNT / (COUNT - 1), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("training", [False, None])
def test_inference_is_that_of_keras(dtype: str, training: bool | None) -> None:
    ours, theirs = _layers(dtype)
    before = ours.get_weights()
    outputs = [_array(layer(_images(*SHAPE), training=training)) for layer in (ours, theirs)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(ours.get_weights(), before)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    ("dtype", "compute"), [("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")]
)
def test_sixteen_bits_stay_sixteen(dtype: str, compute: str, training: bool) -> None:
    ours, _ = _layers(dtype)
    assert ours(_images(*SHAPE), training=training).dtype == compute


@pytest.mark.parametrize(
    ("dtype", "compute"), [("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")]
)
def test_statistics_are_taken_in_full(dtype: str, compute: str) -> None:
    ours, _ = _layers(dtype)
    before = [np.float64(moving.numpy()) for moving in (ours.moving_mean, ours.moving_variance)]
    # In 16 bits, a sum of so many values would stop growing, or overflow.
    images = 100 + _images(8, 60, 20, SHAPE[-1])
    ours(images, training=True)
    seen = _array(tf.cast(images, compute)).astype(float)
    expected = seen.mean(axis=(0, 1, 2)), seen.var(axis=(0, 1, 2), ddof=1)
    movings = ours.moving_mean, ours.moving_variance
    for moving, old, value in zip(movings, before, expected, strict=True):
        assert moving.dtype == "float32"
        new = MOMENTUM * old + (1 - MOMENTUM) * value
        np.testing.assert_allclose(moving.numpy(), new, rtol=1e-5)


def test_what_is_not_trained_uses_moving_statistics() -> None:
    ours, theirs = _layers()
    before = ours.get_weights()
    ours.trainable = theirs.trainable = False
    outputs = [layer(_images(*SHAPE), training=True) for layer in (ours, theirs)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], ours(_images(*SHAPE), training=False))
    np.testing.assert_array_equal(ours.get_weights(), before)


def _model(kind: Any) -> Any:
    return keras.Sequential([keras.Input(SHAPE[1:]), kind(momentum=MOMENTUM, name="normal")])


def test_a_saved_layer_loads_in_safe_mode_and_goes_on(tmp_path: Path) -> None:
    model = _model(BatchNormalization)
    model(_images(*SHAPE), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.layers[0]) is BatchNormalization
    images = _images(*SHAPE, seed=3)
    np.testing.assert_array_equal(loaded(images), model(images))
    for either in (loaded, model):
        either(images, training=True)
    np.testing.assert_array_equal(loaded.get_weights(), model.get_weights())


def test_weights_that_keras_layer_saved_fit(tmp_path: Path) -> None:
    theirs, ours = _model(keras.layers.BatchNormalization), _model(BatchNormalization)
    images = _images(*SHAPE)
    theirs(images, training=True)
    theirs.save(tmp_path / "model.keras")
    assert not np.array_equal(ours(images), theirs(images))
    ours.load_weights(tmp_path / "model.keras")  # as a run's model is read again
    np.testing.assert_array_equal(ours(images), theirs(images))
