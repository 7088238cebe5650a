"""How many labels that were made wrong on purpose does the audit of labels find?

A share of the labels of train and validation gets wrong, a third each: another character at one
place, a character left out, labels of two images swapped. That is done by corrections in memory;
the data are never changed. Whatever labels are wrong by themselves count as right here.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from measurement import SEED, Figure, argument_parser, positive, report, run

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import Sample, open_dataset
from crnn_captcha.training import PRESETS, audit_config, audit_labels, read_base
from crnn_captcha.training.audit import FOLDS, MINUTES

AIM = 80  # % of the wrong labels are to be
AMONG = 0.05  # in this share of the list
KINDS = ("another character", "one left out", "swapped")


def main() -> None:
    """Makes labels wrong, audits all of them, and looks where in the list the wrong ones are."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--share", type=float, default=0.03, help="of labels (default: 0.03)")
    parser.add_argument("--seed", type=int, default=SEED, help="(default: %(default)s)")
    parser.add_argument("--folds", type=positive, default=FOLDS, help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="a fold (default: 10)")
    parser.add_argument("--from", dest="base", metavar="MODEL", help="that hasn't seen the labels")
    parser.add_argument("--preset", choices=PRESETS, help="(default: MODEL's, or medium)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", metavar="DIR", help="keep runs and page (default: nothing)")
    parser.add_argument("--resume", action="store_true", help="go on with the audit in DIR")
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data)
    samples = (*dataset.samples("train"), *dataset.samples("validation"))
    base = read_base(arguments.base) if arguments.base else None
    config = audit_config(arguments.preset, arguments.settings, base)
    wrong = make_wrong(samples, arguments.share, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        audit = audit_labels(
            arguments.data,
            Path(arguments.out or folder),
            config,
            folds=arguments.folds,
            minutes=arguments.minutes,
            corrections=Corrections(tuple(c for found in wrong.values() for c in found)),
            base=base,
            resume=arguments.resume,
        )
    if audit.interrupted:
        sys.exit("Stopped. The same command goes on with --resume, where --out was given.")
    first = {s.name for s in audit.suspects[: round(AMONG * audit.images)]}
    start = f" from {Path(arguments.base).stem}" if base else ""
    what = (
        f"labels made wrong among the first {AMONG:.0%} of {audit.images}, {arguments.share:.0%} "
        f"wrong, {config.preset}{start}, {arguments.folds} folds of {arguments.minutes:g} min"
    )
    groups = {"all": [c for found in wrong.values() for c in found], **wrong}
    figures = [
        Figure(
            f"{what}: {kind}, {len(found)} of them" + (f" (aim: {AIM})" if kind == "all" else ""),
            [100 * sum(c.name in first for c in found) / len(found)],
            "%",
            1,
        )
        for kind, found in groups.items()
        if found
    ]
    report(figures, as_json=arguments.json)


def make_wrong(samples: Sequence[Sample], share: float, seed: int) -> dict[str, list[Correction]]:
    """Wrong labels for a share of the samples, by kind.

    Args:
        samples: to choose from.
        share: that gets wrong, 0 to 1.
        seed: of the choice; the same gives the same.
    """
    randomness = random.Random(seed)
    characters = sorted(set().union(*(sample.label for sample in samples)))
    chosen = randomness.sample(samples, round(share * len(samples)))
    third = len(chosen) // 3
    changed, shortened, swapped = chosen[:third], chosen[third : 2 * third], chosen[2 * third :]
    pairs = zip(swapped[::2], swapped[1::2], strict=False)
    return {
        KINDS[0]: [_changed(sample, characters, randomness) for sample in changed],
        KINDS[1]: [_shortened(s, randomness) for s in shortened if len(s.label) > 1],
        KINDS[2]: [c for a, b in pairs if a.label != b.label for c in _swapped(a, b)],
    }


def _changed(sample: Sample, characters: Sequence[str], randomness: random.Random) -> Correction:
    label = sample.label
    place = randomness.randrange(len(label))
    other = randomness.choice([c for c in characters if c != label[place]])
    return _wrong(sample, label[:place] + other + label[place + 1 :])


def _shortened(sample: Sample, randomness: random.Random) -> Correction:
    place = randomness.randrange(len(sample.label))
    return _wrong(sample, sample.label[:place] + sample.label[place + 1 :])


def _swapped(first: Sample, second: Sample) -> Iterator[Correction]:
    yield _wrong(first, second.label)
    yield _wrong(second, first.label)


def _wrong(sample: Sample, label: str) -> Correction:
    return Correction(sample.name, sample.label, "change", label)


if __name__ == "__main__":
    run(main, times=False)
