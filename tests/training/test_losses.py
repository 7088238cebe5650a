"""The CTC loss is the sum over all paths, with the blank as class 0, and never infinitely steep.

Views of one image cost what they cost on average, and more where they are read differently.
"""

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
from crnn_captcha.training.losses import LEAST_LOG_P, ConsistentCTC, ctc_loss

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
    width = max(map(len, labels))
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


def test_what_is_no_number_stays_none() -> None:
    logits = _logits(7, 3, 6, 4)
    logits[1, 2, 3] = np.nan
    losses = np.asarray(ctc_loss(_padded([1], [2], [3]), logits))
    assert np.isfinite(losses).tolist() == [True, False, True]


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


@pytest.mark.parametrize("sure", [100.0, 1e4, 1e6])
def test_what_is_almost_impossible_can_still_be_learned(sure: float) -> None:
    logits = tf.constant(np.array([sure, 0, 0], np.float32) * np.ones([1, 6, 1], np.float32))
    losses, gradient = _gradient(_padded([1, 2]), logits)  # while all is surely read as blank
    # Two characters at their least, at any two of the time steps or over more of them.
    assert -2 * LEAST_LOG_P - math.log(15) - 0.1 < float(losses[0]) <= -2 * LEAST_LOG_P
    assert (np.asarray(gradient)[..., BLANK] > 0.1).all()
    assert (np.asarray(gradient)[..., 1:].sum(axis=-1) < -0.1).all()
    np.testing.assert_allclose(np.sum(gradient, axis=-1), 0, atol=1e-5)
    steps = 2 * sure * gradient
    assert float(ctc_loss(_padded([1, 2]), logits - steps)[0]) < float(losses[0]) - 1


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        pytest.param([[1, 2], []], "Labels length is zero", id="empty"),
        pytest.param([[1], [1, 2] * 3], "Not enough time", id="longer than the time steps"),
    ],
)
@pytest.mark.parametrize("run", [lambda loss: loss, tf.function], ids=["eager", "compiled"])
def test_labels_that_can_not_be_read_are_refused(
    labels: list[list[int]], reason: str, run: Any
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        run(ctc_loss)(_padded(*labels), _logits(7, 2, 5, 3))


def test_keras_knows_the_loss_by_its_name() -> None:
    assert keras.saving.get_registered_object("crnn_captcha>ctc_loss") is ctc_loss


VIEWS = [[1, 2], [2, 2], [1]]  # labels of images that are seen in several views


def _losses(loss: ConsistentCTC, logits: Any) -> NDArray[np.float32]:
    return np.asarray(loss.call(_padded(*VIEWS), logits))


@pytest.mark.parametrize("views", [1, 2, 3])
def test_views_cost_their_mean(views: int) -> None:
    logits = _logits(8, len(VIEWS), views, 6, 4)
    each = [np.asarray(ctc_loss(_padded(*VIEWS), logits[:, view])) for view in range(views)]
    np.testing.assert_allclose(_losses(ConsistentCTC(0), logits), np.mean(each, axis=0), rtol=1e-6)


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("weight", [0.2, 3.0])
def test_reading_views_differently_costs_their_divergence(views: int, weight: float) -> None:
    logits = _logits(9, len(VIEWS), views, 6, 4)
    expected = _losses(ConsistentCTC(0), logits).astype(float)
    log_p = log_softmax(logits).astype(float)
    for image, view in np.ndindex(len(VIEWS), views):
        for learned, taught in zip(log_p[image, view], log_p[image, view - 1], strict=True):
            divergence = sum(math.exp(q) * (q - p) for p, q in zip(learned, taught, strict=True))
            expected[image] += weight / views * divergence
    np.testing.assert_allclose(_losses(ConsistentCTC(weight), logits), expected, rtol=1e-5)


@pytest.mark.parametrize("views", [1, 2, 3])
def test_views_read_alike_cost_nothing_more(views: int) -> None:
    one = _logits(10, len(VIEWS), 1, 6, 4)
    one[..., 0] += np.random.default_rng(11).normal(0, 50, one.shape[:-1])  # some surely blank
    losses = _losses(ConsistentCTC(5.0), np.repeat(one, views, axis=1))
    np.testing.assert_allclose(losses, ctc_loss(_padded(*VIEWS), one[:, 0]), rtol=1e-5)


def _view_gradient(loss: ConsistentCTC, logits: Any) -> NDArray[np.float32]:
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = loss.call(_padded(*VIEWS), logits)
    return np.asarray(tape.gradient(losses, logits))


@pytest.mark.parametrize("views", [2, 3])
def test_a_view_is_drawn_to_its_teacher_which_stays(views: int) -> None:
    weight = 0.7
    logits = tf.constant(_logits(12, len(VIEWS), views, 6, 4))
    gradients = [_view_gradient(ConsistentCTC(w), logits) for w in (weight, 0)]
    p = np.exp(log_softmax(logits.numpy()))
    expected = weight / views * (p - np.roll(p, 1, axis=1))  # none of it by way of the teacher
    np.testing.assert_allclose(gradients[0] - gradients[1], expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4], ids=["unsure", "sure", "very sure"])
def test_losses_of_views_are_finite(scale: float) -> None:
    logits = tf.constant(_logits(13, len(VIEWS), 2, 6, 4) * scale)
    assert np.isfinite(_losses(ConsistentCTC(0.5), logits)).all()
    assert np.isfinite(_view_gradient(ConsistentCTC(0.5), logits)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_views_in_half_precision_are_summed_in_full(dtype: str) -> None:
    logits = tf.cast(_logits(14, len(VIEWS), 2, 60, 4), dtype)
    losses = _losses(ConsistentCTC(0.5), logits)
    assert losses.dtype == np.float32
    full = _losses(ConsistentCTC(0.5), tf.cast(logits, "float32"))
    np.testing.assert_allclose(losses, full, rtol=1e-6)


def test_the_loss_of_views_is_rebuilt_from_its_configuration() -> None:
    loss = ConsistentCTC(0.3, name="views", reduction="sum")
    rebuilt = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(rebuilt) is ConsistentCTC
    assert (rebuilt.weight, rebuilt.name, rebuilt.reduction) == (0.3, "views", "sum")
    logits = _logits(15, len(VIEWS), 2, 6, 4)
    expected = _losses(loss, logits).sum()
    assert float(rebuilt(_padded(*VIEWS), logits)) == pytest.approx(float(expected), rel=1e-5)
