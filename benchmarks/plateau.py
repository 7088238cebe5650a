"""How long does a training read every image as blank?

CTC begins on a plateau: the network says nothing but the blank, and the loss hardly falls. Every
few steps some validation images are read, until one character in ten is right. All time of the
steps counts, also TensorFlow's tracing and the waiting for data; that of the reading doesn't.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from measurement import Figure, argument_parser, positive, report, run

from crnn_captcha.batches import Batches
from crnn_captcha.charset import BLANK
from crnn_captcha.decoding import greedy_decode
from crnn_captcha.metrics import cer
from crnn_captcha.progress import say
from crnn_captcha.streams import Batch
from crnn_captcha.training import PRESETS, make_config
from crnn_captcha.training.config import Config
from crnn_captcha.training.loop import networks_for
from crnn_captcha.training.model import Networks
from crnn_captcha.training.preparation import Prepared, open_data, prepare

LEFT = 0.9  # CER below which something is read
READ_BATCHES = 4  # of validation, from all over it


@dataclass(frozen=True)
class Left:
    """When the plateau was left."""

    steps: int
    seconds: float


def main() -> None:
    """Trains from nothing with each seed until something is read."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--preset", choices=PRESETS, default="standard", help="(default: standard)")
    parser.add_argument("--seeds", type=positive, default=3, help="trainings (default: 3)")
    parser.add_argument("--every", type=positive, default=10, help="steps, then read (default: 10)")
    parser.add_argument("--limit", type=float, default=15, help="minutes of each (default: 15)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    found = []
    for seed in range(arguments.seeds):
        config = make_config(arguments.preset, [*arguments.settings, f"seed={seed}"])
        left = leave(arguments.data, config, arguments.every, 60 * arguments.limit)
        if left is None:
            sys.exit(f"Seed {seed} is on its plateau still after {arguments.limit:g} minutes.")
        say(f"Seed {seed}: left after {left.steps} steps, {left.seconds / 60:.1f} min.")
        found.append(left)
    what = (
        f"preset {arguments.preset}: training until validation CER is below {100 * LEFT:.0f} %, "
        f"{arguments.seeds} {'seed' if arguments.seeds == 1 else 'seeds'}"
    )
    figures = [
        Figure(what, [left.seconds / 60 for left in found], "min", 1),
        Figure(f"{what}: the steps", [left.steps for left in found], "", 0),
    ]
    report(figures, as_json=arguments.json)


def leave(data: str, config: Config, every: int, limit_s: float) -> Left | None:
    """Trains from nothing until something is read; None if that takes too long."""
    prepared = prepare(open_data(data, config.data), config, skip_broken=False, progress=True)
    networks = networks_for(prepared, config)
    rate = partial(character_error_rate, networks, prepared)
    heads = len(networks.learner.outputs)
    batches = endless(prepared.learning, config.data.workers)
    seconds = 0.0
    step = 0
    while seconds < limit_s:
        start = time.perf_counter()
        images, labels = next(batches)
        networks.learner.train_on_batch(images, [labels] * heads)
        step, seconds = step + 1, seconds + time.perf_counter() - start
        if step % every == 0 and rate() < LEFT:
            return Left(step, seconds)
    return None


def endless(batches: Batches, workers: int) -> Iterator[Batch]:
    """Epoch after epoch, as a training has them."""
    for epoch in itertools.count():
        yield from batches.stream(epoch, workers=workers)


def character_error_rate(networks: Networks, prepared: Prepared) -> float:
    """CER on some batches from all over validation."""
    validation, charset = prepared.validation, prepared.charset
    labels, texts = [], []
    for index in np.linspace(0, len(validation) - 1, READ_BATCHES).astype(int).tolist():
        images, encoded = validation.make(0, index)
        labels += [charset.decode(row[row != BLANK]) for row in encoded]
        logits = networks.reader.predict_on_batch(images)
        texts += [reading.text for reading in greedy_decode(logits, charset)]
    return cer(labels, texts)


if __name__ == "__main__":
    run(main)
