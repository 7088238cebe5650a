"""How many labels does a reader need, and how many does a trained model to start from save?

For each count of labels, networks are trained for the same minutes: from these labels alone, and
from a model that was trained beforehand, on drawn images (`train --synthetic`) or on others. A
tenth of the labels is not learned from, but chooses the epoch. What comes out is measured on the
whole test split, and drawn as a curve.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from measurement import SEED, Figure, argument_parser, positive, report, run

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import Dataset, open_dataset
from crnn_captcha.evaluation import evaluate
from crnn_captcha.outcomes import EvaluationResult
from crnn_captcha.progress import say
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.reporting.canvas import BLUE, GREY, new_figure, save_figure, style
from crnn_captcha.training import DEFAULT_PRESET, PRESETS, make_config
from crnn_captcha.training.budget import train_within
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.transfer import Base, read_base

COUNTS = (250, 500, 1000, 2000, 4000, 8000)
ALONE = "from nothing"


def main() -> None:
    """Trains and measures each point of the curve that is not there yet."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--out", required=True, metavar="DIR", help="runs; finished ones are kept")
    parser.add_argument("--from", dest="base", metavar="MODEL", help="to start from")
    parser.add_argument("--minutes", type=float, default=10, help="a training (default: 10)")
    parser.add_argument("--labels", type=positive, nargs="+", default=COUNTS, metavar="N")
    parser.add_argument("--preset", choices=PRESETS, default=DEFAULT_PRESET)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--picture", metavar="PNG", help="draw the curve")
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data)
    test = dataset.samples("test")
    bases: dict[str, Base | None] = {ALONE: None}
    if arguments.base:
        bases[f"from {Path(arguments.base).stem}"] = read_base(arguments.base)
    results: dict[str, dict[int, EvaluationResult]] = {kind: {} for kind in bases}
    for count in sorted(arguments.labels):
        left_out = keep(dataset, count)
        for kind, base in bases.items():
            say(f"== {count:,} labels, {kind}")
            folder = RunFolder(
                Path(arguments.out, f"{count}-{'alone' if base is None else 'from'}")
            )
            config = make_config(
                arguments.preset, arguments.settings, base.config if base else None
            )
            train_within(
                arguments.data,
                folder,
                config,
                arguments.minutes,
                corrections=left_out,
                base=base,
                skip_broken=False,
                progress=True,
            )
            recognizer = Recognizer(folder.path)
            results[kind][count] = evaluate(recognizer, dataset, test)
    figures = [
        Figure(
            f"exact match on test after {arguments.minutes:g} min with {count:,} labels: {kind}",
            [100 * result.exact_match],
            "%",
            1,
        )
        for kind, by_count in results.items()
        for count, result in by_count.items()
    ]
    if arguments.picture:
        draw(results, arguments.minutes, Path(arguments.picture))
    report(figures, as_json=arguments.json)


def keep(dataset: Dataset, count: int) -> Corrections | None:
    """Leaves out all labels of train and validation but `count`, in both the same share of them.

    Of more labels, all that there were among fewer are kept.
    """
    splits = [dataset.samples(split) for split in ("train", "validation")]
    share = count / sum(map(len, splits))
    if share >= 1:
        return None
    randomness = random.Random(SEED)
    return Corrections(
        tuple(
            Correction(sample.name, sample.label, "drop")
            for samples in splits
            for sample in randomness.sample(samples, len(samples))[
                max(1, round(share * len(samples))) :
            ]
        )
    )


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
    run(main, times=False)
