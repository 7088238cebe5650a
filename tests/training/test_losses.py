"""The CTC loss is the sum over all paths, with the blank as class 0, and never infinitely steep."""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK
from crnn_captcha.decoding import ctc_log_likelihood, log_softmax
from crnn_captcha.training.losses import ctc_loss

LABELS = {
    "one": [1],
    "two": [1, 2],
    "repeated": [2, 2],
    "repeated among others": [1, 1, 2],
    "as long as the time steps": [1, 2, 1, 2, 1],
    "as long as repeats allow": [1, 1, 2, 2],  # needs 6
}


def _logits(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def _brute_force(logits: NDArray[np.float32], label: list[int]) -> float:
    """Sums the probabilities of all paths of one image that spell the label."""
    log_probabilities = log_softmax(logits).astype(float)
    total = 0.0
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c != BLANK] == label:
            total += math.exp(sum(row[c] for row, c in zip(log_probabilities, path, strict=True)))
    return -math.log(total)


def _padded(*labels: list[int]) -> NDArray[np.int32]:
    width = max(map(len, labels), default=1) or 1
    return np.array([label + [BLANK] * (width - len(label)) for label in labels], np.int32)


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS.keys())
def test_the_loss_is_the_sum_over_all_paths(label: list[int]) -> None:
    logits = _logits(1, 1, 6, 3)
    loss = float(np.asarray(ctc_loss(_padded(label), logits))[0])
    assert loss == pytest.approx(_brute_force(logits[0], label), rel=1e-5)


def test_the_loss_is_what_decoding_calls_the_likelihood() -> None:
    labels = list(LABELS.values())
    logits = _logits(2, len(labels), 9, 5)
    losses = np.asarray(ctc_loss(_padded(*labels), logits))
    ids = [np.array(label, np.int64) for label in labels]
    np.testing.assert_allclose(losses, -ctc_log_likelihood(log_softmax(logits), ids), rtol=1e-4)


def test_padding_of_labels_does_not_count() -> None:
    logits = _logits(3, 1, 6, 4)
    short, long = (np.asarray(ctc_loss(_padded([1, 3], [1] * n)[:1], logits)) for n in (2, 5))
    np.testing.assert_allclose(short, long, rtol=1e-6)


def test_reading_blank_where_nothing_stands_costs_nothing() -> None:
    path = [1, BLANK, 1, 2, BLANK, BLANK]  # spells 1 1 2
    logits = np.where(np.eye(4)[path], 30, 0).astype(np.float32)[None]
    assert float(np.asarray(ctc_loss(_padded([1, 1, 2]), logits))[0]) == pytest.approx(0, abs=1e-4)
    last = np.roll(logits, 1, axis=2)  # the same path if the blank were another class
    assert float(np.asarray(ctc_loss(_padded([1, 1, 2]), last))[0]) > 30


def _gradient(labels: NDArray[np.int32], logits: Any) -> tuple[Any, Any]:
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = ctc_loss(labels, logits)
    return losses, tape.gradient(losses, logits)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4], ids=["unsure", "sure", "very sure"])
def test_gradients_are_finite(scale: float) -> None:
    labels = _padded(*LABELS.values())
    logits = tf.constant(_logits(4, len(labels), 6, 3) * scale)
    losses, gradient = _gradient(labels, logits)
    assert np.isfinite(losses).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_summed_in_full(dtype: str) -> None:
    labels = _padded([1, 2, 2, 1], [2])
    logits = tf.cast(_logits(5, 2, 60, 3), dtype)
    losses, gradient = _gradient(labels, logits)
    assert losses.dtype == tf.float32
    np.testing.assert_allclose(losses, ctc_loss(labels, tf.cast(logits, "float32")), rtol=1e-5)
    assert np.isfinite(tf.cast(gradient, "float32")).all()


def test_a_step_along_the_gradient_lowers_the_loss() -> None:
    labels = _padded([1, 2], [2, 2])
    logits = tf.constant(_logits(6, 2, 8, 3))
    losses, gradient = _gradient(labels, logits)
    lower = ctc_loss(labels, logits - 0.1 * gradient)
    assert (np.asarray(lower) < np.asarray(losses)).all()


def test_keras_knows_the_loss_by_its_name() -> None:
    assert keras.saving.get_registered_object("crnn_captcha>ctc_loss") is ctc_loss
