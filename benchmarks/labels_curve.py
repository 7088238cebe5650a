"""How many labels does a reader need, and how many does a trained model to start from save?

For each count of labels, networks are trained for the same minutes: from these labels alone, and
from a model that was trained beforehand, on drawn images (`train --synthetic`) or on others. A
tenth of the labels is not learned from, but chooses the epoch. What comes out is measured on the
whole test split, and drawn as a curve.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from measurement import SEED, Figure, argument_parser, positive, report, run

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import Dataset, Sample, open_dataset
from crnn_captcha.errors import ConfigError
from crnn_captcha.evaluation import evaluate
from crnn_captcha.outcomes import EvaluationResult
from crnn_captcha.progress import say
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.reporting.canvas import (
    BLUE,
    GREY,
    new_figure,
    require_matplotlib,
    save_figure,
    style,
)
from crnn_captcha.training import PRESETS, make_config
from crnn_captcha.training.budget import check_epochs_left_open, check_minutes, train_within
from crnn_captcha.training.config import Config, check_starts_from
from crnn_captcha.training.preparation import cut
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.transfer import Base, read_base

COUNTS = (250, 500, 1000, 2000, 4000, 8000)
ALONE = "from nothing"


@dataclass(frozen=True)
class Kind:
    """A way to train: from nothing, or from a trained model."""

    name: str
    config: Config
    base: Base | None = None

    def folder(self, out: str, count: int, minutes: float) -> RunFolder:
        """Of its run with so many labels and minutes."""
        return RunFolder(Path(out, f"{count}-labels-{minutes:g}-min-{self.name.replace(' ', '-')}"))


def main() -> None:
    """Trains and measures each point of the curve that is not there yet."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--out", required=True, metavar="DIR", help="runs; finished ones are kept")
    parser.add_argument("--from", dest="base", metavar="MODEL", help="to start from")
    parser.add_argument("--minutes", type=float, default=10, help="a training (default: 10)")
    parser.add_argument("--labels", type=positive, nargs="+", default=COUNTS, metavar="N")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        help="(default: MODEL's, or standard; the published curve: medium)",
    )
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--picture", metavar="PNG", help="draw the curve")
    arguments = parser.parse_args()
    check_minutes(arguments.minutes)
    if arguments.picture:
        require_matplotlib()
    kinds = make_kinds(arguments.preset, arguments.settings, arguments.base)
    dataset = open_dataset(arguments.data, **cut(kinds[0].config.data))
    test = dataset.samples("test")
    left_out = {count: keep(dataset, count) for count in sorted(arguments.labels)}
    results: dict[str, dict[int, EvaluationResult]] = {kind.name: {} for kind in kinds}
    figures = []
    for (count, corrections), kind in product(left_out.items(), kinds):
        say(f"== {count:,} labels, {kind.name}")
        folder = kind.folder(arguments.out, count, arguments.minutes)
        done = train_within(
            arguments.data,
            folder,
            kind.config,
            arguments.minutes,
            corrections=corrections,
            base=kind.base,
            skip_broken=False,
            progress=True,
        )
        if not done:
            sys.exit("Stopped. The same command goes on.")
        result = results[kind.name][count] = evaluate(Recognizer(folder.path), dataset, test)
        history = folder.read_history()
        what = (
            f"exact match on test with {count:,} labels, {kind.name}, "
            f"{len(history)} epochs in {sum(row['seconds'] for row in history) / 60:.1f} min"
        )
        figures.append(Figure(what, [100 * result.exact_match], "%", 1))
    if arguments.picture:
        draw(results, arguments.minutes, Path(arguments.picture))
    report(figures, as_json=arguments.json)


def make_kinds(preset: str | None, settings: Sequence[str], model: str | None) -> list[Kind]:
    """What is to be compared: the same network from nothing and, if there is one, from a model.

    Raises:
        ConfigError: if the two would have other networks, or settings the epochs.
    """
    check_epochs_left_open(settings, "curve")
    if model is None:
        return [Kind(ALONE, make_config(preset, settings))]
    base = read_base(model)
    config = make_config(preset, settings, base.config)
    alone = make_config(config.preset, settings)
    check_starts_from(alone, base.config)
    return [Kind(ALONE, alone), Kind(f"from {Path(model).stem}", config, base)]


def keep(dataset: Dataset, count: int) -> Corrections | None:
    """Leaves out all labels of train and validation but `count`, in both the same share of them.

    Of more labels, all that there were among fewer are kept.

    Raises:
        ConfigError: if there are fewer than `count`.
    """
    splits = [dataset.samples(split) for split in ("train", "validation")]
    total = sum(map(len, splits))
    if count > total:
        raise ConfigError(f"The data have {total:,} labels to learn from. Received: {count:,}.")
    if count == total:
        return None
    randomness = random.Random(SEED)
    dropped: list[Sample] = []
    for samples in splits:
        kept = max(1, round(count / total * len(samples)))
        dropped += randomness.sample(samples, len(samples))[kept:]
    return Corrections(tuple(Correction(s.name, s.label, "drop") for s in dropped))


def draw(results: Mapping[str, Mapping[int, EvaluationResult]], minutes: float, path: Path) -> None:
    """Draws the curve, with intervals of 95 %."""
    figure, (axis,) = new_figure(7, 4.2)
    title = f"How many labels does a reader need? ({minutes:g} minutes each)"
    style(axis, title, "labels", "exact match on test, %")
    for (kind, by_count), color in zip(results.items(), (GREY, BLUE), strict=False):
        counts = list(by_count)
        found = list(by_count.values())
        shares = [100 * result.exact_match for result in found]
        lows = [100 * (r.exact_match - r.interval.low) for r in found]
        highs = [100 * (r.interval.high - r.exact_match) for r in found]
        axis.errorbar(counts, shares, (lows, highs), color=color, marker="o", capsize=3, label=kind)
    axis.set_xscale("log", base=2)
    ticks = sorted({count for by_count in results.values() for count in by_count})
    axis.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axis.set_ylim(0, 100)
    axis.legend(frameon=False, loc="upper left")
    save_figure(figure, path)


if __name__ == "__main__":
    run(main)
