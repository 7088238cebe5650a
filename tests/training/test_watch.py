"""After each step: the loss is looked at, a checkpoint written in time, a signal obeyed."""

from __future__ import annotations

import os
import signal
from typing import Any

import keras
import numpy as np
import pytest

from crnn_captcha.errors import RunError
from crnn_captcha.training.watch import State, Watch, stopping_on_signals


def _model() -> keras.Model:
    images = keras.Input((2,))
    model = keras.Model(images, keras.layers.Dense(1)(images))
    model.compile(optimizer="sgd", loss="mse")
    return model


def _watch(state: State, saved: list[int], *, save_every_s: float = 1e9, steps: int = 4) -> Watch:
    return Watch(
        state,
        steps=steps,
        epochs=2,
        save=lambda: saved.append(state.step),
        save_every_s=save_every_s,
        progress=False,
    )


def _fit(watch: Watch, steps: int, model: keras.Model | None = None) -> Any:
    x, y = np.ones([steps, 2], np.float32), np.arange(steps, dtype=np.float32)[:, None]
    learner = model or _model()
    learner.fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[watch])
    return learner


def test_steps_are_counted_and_the_loss_is_remembered() -> None:
    state, saved = State("data"), []  # type: tuple[State, list[int]]
    watch = _watch(state, saved)
    watch.clock = lambda: (2.5, 0.5)
    _fit(watch, 4)
    assert (state.step, state.seconds, state.waited) == (4, 2.5, 0.5)
    assert np.isfinite(state.loss)
    assert state.loss > 0
    assert saved == []


def test_checkpoints_are_written_in_time() -> None:
    saved: list[int] = []
    _fit(_watch(State("data"), saved, save_every_s=1e-9), 4)
    assert saved == [1, 2, 3, 4]  # each after its step was counted


def test_the_mean_loss_of_an_epoch_begun_before_goes_on() -> None:
    keras.utils.set_random_seed(1)
    whole = State("data")
    model = _model()
    weights = model.get_weights()
    _fit(_watch(whole, []), 4, model)

    model.set_weights(weights)
    x, y = np.ones([4, 2], np.float32), np.arange(4, dtype=np.float32)[:, None]
    halved = State("data")
    watch = _watch(halved, [])
    options: dict[str, Any] = {"batch_size": 1, "shuffle": False, "verbose": 0}
    model.fit(x[:2], y[:2], callbacks=[watch], **options)
    model.fit(x[2:], y[2:], callbacks=[watch], **options)
    assert halved.loss == whole.loss


def test_a_loss_that_is_not_finite_ends_it() -> None:
    watch = _watch(State("data", epoch=2), [])
    x, y = np.ones([2, 2], np.float32), np.array([[1], [np.nan]], np.float32)
    expected = r"loss isn't finite any more at step 2 of epoch 3\. The best model so far is kept"
    with pytest.raises(RunError, match=expected):
        _model().fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[watch])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_under_way(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    state, saved = State("data"), []  # type: tuple[State, list[int]]
    watch = _watch(state, saved)

    class Interrupter(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                os.kill(os.getpid(), number)

    x, y = np.ones([4, 2], np.float32), np.ones([4, 1], np.float32)
    model = _model()
    before = signal.getsignal(number)
    with stopping_on_signals(watch):
        assert signal.getsignal(number) != before
        model.fit(x, y, batch_size=1, verbose=0, callbacks=[Interrupter(), watch])
    assert signal.getsignal(number) == before
    assert watch.stopping
    assert state.step == 2
    assert "Stopping after this step" in capsys.readouterr().err


def test_a_second_signal_stops_at_once() -> None:
    watch = _watch(State("data"), [])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stopping_on_signals(watch):
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch.stopping
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("not reached")
    assert signal.getsignal(signal.SIGINT) == before
