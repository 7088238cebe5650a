"""How long a training will take, measured beforehand."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from crnn_captcha.corrections import Corrections
from crnn_captcha.training.averaging import MEASURED_BATCHES, RunningMean
from crnn_captcha.training.config import Config
from crnn_captcha.training.loop import networks_for
from crnn_captcha.training.model import Networks
from crnn_captcha.training.preparation import Prepared, open_data, prepare, recover
from crnn_captcha.windows import available_cores

MEASURED_STEPS = 24
MEASURED_MEAN = 4  # batches
PASSES = 3
"""The first also traces: once, and again where widths first differ. Of the others the faster one
counts for each step, so that what else the machine does for a moment doesn't."""


def epoch_seconds(
    data: str | Path,
    config: Config,
    *,
    corrections: Corrections | None = None,
    skip_broken: bool = False,
) -> float:
    """How long an epoch of training will take, by steps on batches from all over an epoch.

    Seeds and precision of Keras are set by it: best called in a process of its own.

    Raises:
        DatasetError, LabelError, ConfigError: as `train` raises them.
    """
    dataset = open_data(data, config.data, corrections)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as fonts:  # Windows: still open
        recover(dataset, config.data, Path(fonts), progress=False)
        prepared = prepare(
            dataset, config, fonts=Path(fonts), skip_broken=skip_broken, progress=False
        )
        networks = networks_for(prepared, config)
        decay = config.optimizer.ema_decay
        return _timed(networks, prepared) + (_timed_mean(networks, prepared, decay) if decay else 0)


def _timed(networks: Networks, prepared: Prepared) -> float:
    """Seconds of an epoch's steps and of its validation.

    Batches are made by threads while steps are taken, on the same cores; one of them alone would
    take a batch's time on one core.
    """
    cores = available_cores()
    learning, validation = prepared.learning, prepared.validation
    heads = len(networks.learner.outputs)
    every = max(1, len(learning) // MEASURED_STEPS)
    passes = []
    for _ in range(PASSES):
        seconds = []
        for index in range(0, len(learning), every):
            start = time.perf_counter()
            images, labels = learning.make(0, index)
            made = time.perf_counter()
            networks.learner.train_on_batch(images, [labels] * heads)
            seconds.append(time.perf_counter() - made + (made - start) / cores)
        images, _ = validation.make(0, len(validation) // 2)
        start = time.perf_counter()
        networks.reader.predict_on_batch(images)
        passes.append([*seconds, time.perf_counter() - start])
    *step_seconds, reading_seconds = np.min(passes[1:], axis=0).tolist()
    return float(np.mean(step_seconds)) * len(learning) + reading_seconds * len(validation)


def _timed_mean(networks: Networks, prepared: Prepared, decay: float) -> float:
    """Seconds that it takes, once an epoch, to put the running mean of the weights in place."""
    learning, mean = prepared.learning, RunningMean(networks.learner, decay)
    some = learning.make(0, len(learning) // 2)[0]
    passes = []
    for _ in range(PASSES):
        start = time.perf_counter()
        with mean.in_place([some] * MEASURED_MEAN):
            passes.append(time.perf_counter() - start)
    return min(passes[1:]) / MEASURED_MEAN * min(MEASURED_BATCHES, len(learning))
