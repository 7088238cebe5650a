"""The optimizer of a configuration steps as the configuration says."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from crnn_captcha.training.config import OptimizerConfig
from crnn_captcha.training.optimizer import make_optimizer


def _variable(name: str) -> keras.Variable:
    return keras.Variable(np.ones([2], np.float32), name=name)


def test_cosine_warms_up_and_falls_to_nothing() -> None:
    config = OptimizerConfig(schedule="cosine", learning_rate=0.5, warmup=0.1)
    rate = make_optimizer(config, steps=100)._learning_rate
    rates = [float(rate(step)) for step in range(101)]
    assert rates[0] == pytest.approx(0.5 / 25)
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(0.5)
    assert rates[55] == pytest.approx(0.25, rel=0.01)  # half way down
    assert rates[100] == pytest.approx(0, abs=1e-6)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_cosine_may_start_at_the_top() -> None:
    config = OptimizerConfig(schedule="cosine", learning_rate=0.5, warmup=0)
    rate = make_optimizer(config, steps=10)._learning_rate
    assert float(rate(0)) == pytest.approx(0.5)
    assert float(rate(10)) == pytest.approx(0, abs=1e-6)


def test_plateau_can_set_the_rate() -> None:
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.5), steps=10)
    optimizer.learning_rate.assign(0.25)
    assert float(optimizer.learning_rate) == 0.25


def test_weights_decay_but_biases_and_normalisations_do_not() -> None:
    config = OptimizerConfig(name="adamw", learning_rate=0.5, weight_decay=0.1)
    optimizer = make_optimizer(config, steps=10)
    variables = {name: _variable(name) for name in ("kernel", "bias", "gamma", "beta")}
    nothing = np.zeros([2], np.float32)
    optimizer.apply([nothing] * 4, list(variables.values()))
    after = {name: float(np.asarray(variable)[0]) for name, variable in variables.items()}
    assert after == {"kernel": pytest.approx(1 - 0.5 * 0.1), "bias": 1, "gamma": 1, "beta": 1}


def test_adam_decays_nothing() -> None:
    optimizer = make_optimizer(OptimizerConfig(name="adam", weight_decay=0.1), steps=10)
    kernel = _variable("kernel")
    optimizer.apply([np.zeros([2], np.float32)], [kernel])
    np.testing.assert_array_equal(kernel, 1)


@pytest.mark.parametrize(("clip_norm", "expected"), [(0.0, None), (5.0, 5.0)])
def test_the_norm_of_the_whole_gradient_is_clipped(
    clip_norm: float, expected: float | None
) -> None:
    for name in ("adam", "adamw"):
        config = OptimizerConfig(name=name, clip_norm=clip_norm)
        assert make_optimizer(config, steps=10).global_clipnorm == expected
