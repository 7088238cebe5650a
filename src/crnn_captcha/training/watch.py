"""What happens after each step of an epoch: counting, progress, checkpoints, stopping."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import RunError
from crnn_captcha.progress import progress_bar, say
from crnn_captcha.training.signals import handling


@dataclass
class State:
    """Where a training stands, besides the variables. All of it goes into checkpoints.

    Attributes:
        data: fingerprint of the samples that are learned from.
        epoch: of the next step, from 0.
        step: of the next step, within the epoch.
        seconds: spent on this epoch so far.
        waited: of those, waiting for batches.
        loss: mean over the steps of this epoch so far.
        best: the best monitored figure, turned so that higher is better.
        best_epoch: where it was reached, from 1; 0 before the first.
        stale: epochs since the best one or the last fall of the learning rate.
        history: a row for each finished epoch.
    """

    data: str
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    loss: float = 0.0
    best: float = -math.inf
    best_epoch: int = 0
    stale: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Watch(keras.callbacks.Callback):
    """Keeps `State` up to date while `fit` runs what is left of an epoch.

    Args:
        state: to keep up to date.
        steps: in a whole epoch.
        epochs: in the whole training, for the progress bar.
        save: writes a checkpoint.
        save_every_s: seconds between checkpoints.
        progress: whether to show a progress bar on standard error.
    """

    def __init__(
        self,
        state: State,
        *,
        steps: int,
        epochs: int,
        save: Callable[[], None],
        save_every_s: float,
        progress: bool,
    ) -> None:
        super().__init__()
        self.state = state
        self.stopping = False
        self.clock: Callable[[], tuple[float, float]] = lambda: (state.seconds, state.waited)
        self._steps = steps
        self._epochs = epochs
        self._save = save
        self._save_every_s = save_every_s
        self._progress = progress
        self._saved = time.monotonic()
        self._metrics: list[NDArray[Any]] = []
        self._bar: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Remembers the metrics of an epoch that was begun before: `fit` resets them."""
        begun = self.state.step > 0
        self._metrics = [np.asarray(v) for v in self.model.metrics_variables] if begun else []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the metrics and opens the progress bar."""
        if self._metrics:
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
        self._bar = progress_bar(
            self._steps,
            f"epoch {epoch + 1}/{self._epochs}",
            "step",
            shown=self._progress,
            done=self.state.step,
            kept=False,
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the step; checks the loss; stops, or writes a checkpoint when it is time.

        Raises:
            RunError: if the loss isn't finite.
        """
        state = self.state
        state.step += 1
        state.seconds, state.waited = self.clock()
        state.loss = float(logs["loss"])
        self._bar.set_postfix(loss=f"{state.loss:.3f}", refresh=False)
        self._bar.update()
        if not math.isfinite(state.loss):
            raise diverged(f"at step {state.step} of epoch {state.epoch + 1}")
        if self.stopping:
            self.model.stop_training = True
        elif time.monotonic() - self._saved > self._save_every_s:
            self._save()
            self._saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Closes the progress bar."""
        self._bar.close()


def diverged(where: str) -> RunError:
    """What there is to say when the numbers run away."""
    return RunError(
        f"The loss isn't finite any more {where}. The best model so far is kept. Train with a "
        "lower optimizer.learning_rate, or with optimizer.clip_norm=1."
    )


@contextlib.contextmanager
def stopping_on_signals(watch: Watch) -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM let `watch` stop after the step under way.

    A second one stops at once, by a KeyboardInterrupt. Outside the main thread, which alone can
    handle signals, they are left alone.
    """

    def stop(number: int, frame: object) -> None:
        if watch.stopping:
            raise KeyboardInterrupt
        watch.stopping = True
        say("Stopping after this step, then writing the bundle; once more stops at once.")

    with handling({signal.SIGINT: stop, signal.SIGTERM: stop}):
        yield
