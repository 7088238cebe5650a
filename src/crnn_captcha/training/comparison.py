"""Configurations trained for the same time on the same data, side by side.

All learn from the same part of the train split and are measured on the rest of it, the same
validation images for all. The test split is never read: what is chosen here can still be
measured there.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import ConfigError
from crnn_captcha.evaluation import evaluate
from crnn_captcha.files import write_text
from crnn_captcha.metrics import Interval, sign_test
from crnn_captcha.outcomes import EvaluationResult
from crnn_captcha.progress import say
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.reporting.canvas import save_figure
from crnn_captcha.reporting.figures import comparison_curves
from crnn_captcha.training.budget import (
    check_epochs_left_open,
    check_free,
    check_minutes,
    check_minutes_begun_with,
    epochs_beside,
    train_within,
)
from crnn_captcha.training.config import Config, change, make_config
from crnn_captcha.training.preparation import check_network_fits, cut
from crnn_captcha.training.run import RunFolder

SUMMARY = "comparison.json"


@dataclass(frozen=True)
class Row:
    """What came of one configuration.

    Attributes:
        variant: as it was given: a preset, and settings.
        exact_match: share of the validation images that are read exactly, by the best model.
        interval: where it lies with 95 % confidence for images like these (Wilson).
        merged_exact_match: exact match if look-alikes counted as the same.
        cer: character error rate.
        won: images that are read right here and wrong by the first configuration.
        lost: the reverse.
        p_value: probability of a difference like this or a larger one by chance, if both read
            equally well (two-sided sign test); 1 for the first.
        epochs: that were trained.
        epoch_seconds: median duration of an epoch, its validation too.
        minutes: of the whole training.
        weights: of the network that reads.
    """

    variant: str
    exact_match: float
    interval: Interval
    merged_exact_match: float
    cer: float
    won: int
    lost: int
    p_value: float
    epochs: int
    epoch_seconds: float
    minutes: float
    weights: int


@dataclass(frozen=True)
class Comparison:
    """Rows in the order that was asked for, and whether there are more to come.

    Attributes:
        rows: of what was trained.
        images: validation images that all were measured on.
        minutes: of training that were asked for, for each.
        interrupted: whether not all were trained to their end, so that `--resume` goes on; in
            `comparison.json` also while they are.
    """

    rows: tuple[Row, ...]
    images: int
    minutes: float
    interrupted: bool

    def to_markdown(self) -> str:
        """A table; what it says needs no other context."""
        lines = [
            "| configuration | exact match | 95 % interval | look-alikes merged | CER | "
            "against the first | epochs | seconds an epoch | minutes | weights |",
            "| --- |" + " ---: |" * 9,
        ]
        for i, row in enumerate(self.rows):
            low, high = row.interval.low, row.interval.high
            against = f"+{row.won} -{row.lost} (p = {row.p_value:.2g})" if i else ""
            lines.append(
                f"| `{row.variant}` | {row.exact_match:.1%} | {low:.1%} to {high:.1%} | "
                f"{row.merged_exact_match:.1%} | {row.cer:.1%} | {against} | {row.epochs} | "
                f"{row.epoch_seconds:.1f} | {row.minutes:.1f} | {row.weights:,} |"
            )
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def compare(
    data: str | Path,
    out: str | Path,
    variants: Sequence[str],
    *,
    minutes: float,
    settings: Sequence[str] = (),
    resume: bool = False,
    skip_broken: bool = False,
    progress: bool = True,
) -> Comparison:
    """Trains each configuration for about so many minutes, and measures all on validation.

    The minutes become a whole number of epochs, by steps that are timed beforehand, so that the
    schedule of the learning rate fits and each training can be run again by itself. Those of the
    first are found by the minutes, those of the others by steps that are timed beside its own.

    Args:
        data: zip, folder or CSV.
        out: a folder: gets a run folder for each configuration, `comparison.json`, `.md`, `.png`.
        variants: a preset each, and settings after it as `change` takes them, parted by spaces.
        minutes: of training for each.
        settings: for all of them, before their own.
        resume: go on with a comparison in `out`: what is done isn't trained again.
        skip_broken: leave broken images out instead of refusing to train; validation counts them.
        progress: say on standard error how it goes.

    Raises:
        ConfigError: if there is no variant, or one isn't valid, can't be built, is given twice, not
            comparable or not the one that is to be gone on with; if `minutes` isn't more than 0, or
            others than those that are to be gone on with.
        RunError: if `out` holds something else already, its `comparison.json` can't be read, or the
            process of a training died.
        DatasetError, LabelError: as `train` raises them.
    """
    out = Path(out)
    check_minutes(minutes)
    configs = {variant: parse_variant(variant, settings) for variant in variants}
    _check_comparable(variants, configs)
    check_free(out, "comparison", resume=resume)
    check_minutes_begun_with(out / SUMMARY, "comparison", minutes)
    for config in configs.values():
        check_network_fits(config, num_classes=2)  # refused before hours of others
    results: dict[str, EvaluationResult] = {}
    comparison = Comparison((), 0, minutes, interrupted=True)
    if not (out / SUMMARY).exists():
        open_dataset(data)  # what isn't there is refused before anything is written
        write_text(out / SUMMARY, comparison.to_json())
    first = first_epochs = None
    for variant, config in configs.items():
        if progress:
            say(f"== {variant} ({len(results) + 1} of {len(configs)})")
        folder = RunFolder(out / _folder_name(variant))
        epochs = None
        if first and first_epochs and not folder.exists:
            epochs = epochs_beside(
                data, config, first, first_epochs, skip_broken=skip_broken, progress=progress
            )
        done = train_within(
            data,
            folder,
            config,
            minutes,
            epochs=epochs,
            skip_broken=skip_broken,
            progress=progress,
        )
        if not done:
            return comparison
        if first is None:
            first, first_epochs = config, folder.load_config().training.epochs
        results[variant] = _measure(data, folder, config)
        comparison = _summarise(out, results, minutes, interrupted=len(results) < len(configs))
        if progress:
            say(f"{variant}: {results[variant].exact_match:.1%} exact match on validation.")
    return comparison


def parse_variant(variant: str, settings: Sequence[str] = ()) -> Config:
    """The configuration of `PRESET section.key=value ...`, with `settings` before its own.

    Raises:
        ConfigError: if the preset, a key or a value isn't known, or a quote isn't closed, or what
            the minutes of a comparison decide is set.
    """
    try:
        preset, *own = shlex.split(variant) or [""]
    except ValueError as error:
        raise ConfigError(
            "A configuration to compare is a preset, and settings parted by spaces. "
            f"Received: {variant!r} ({error})."
        ) from error
    check_epochs_left_open([*settings, *own], "comparison")
    return change(make_config(preset, settings), own)


def _check_comparable(variants: Sequence[str], configs: dict[str, Config]) -> None:
    if not variants:
        raise ConfigError("A comparison needs at least one configuration. Received: none.")
    names = [_folder_name(variant) for variant in variants]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"Configurations to compare differ. Received twice: {', '.join(twice)}.")
    splits = {(c.data.validation_fraction, c.data.split_seed) for c in configs.values()}
    if len(splits) > 1:
        raise ConfigError(
            "Configurations to compare have the same validation images. Received: several values "
            "of data.validation_fraction or data.split_seed."
        )


def _folder_name(variant: str) -> str:
    """The variant as far as file names go: `standard-model.neck-attention`."""
    return re.sub(r"[^\w.]+", "-", variant.strip()).strip("-")


def _measure(data: str | Path, folder: RunFolder, config: Config) -> EvaluationResult:
    dataset = open_dataset(data, **cut(config.data))
    return evaluate(Recognizer(folder.bundle), dataset, dataset.samples("validation"))


def _summarise(
    out: Path, results: dict[str, EvaluationResult], minutes: float, *, interrupted: bool
) -> Comparison:
    """Writes what is known so far: a long comparison can be looked at before it ends."""
    first = next(iter(results.values()))
    histories = {}
    rows = []
    for variant, result in results.items():
        folder = RunFolder(out / _folder_name(variant))
        history = histories[variant] = folder.read_history()
        seconds = [row["seconds"] for row in history]
        pairs = [(a.right, b.right) for a, b in zip(first.outcomes, result.outcomes, strict=True)]
        won, lost = pairs.count((False, True)), pairs.count((True, False))
        rows.append(
            Row(
                variant,
                result.exact_match,
                result.interval,
                result.merged_exact_match,
                result.cer,
                won,
                lost,
                sign_test(won, lost),
                len(history),
                float(np.median(seconds)),
                sum(seconds) / 60,
                int(float(folder.facts()["weights"])),
            )
        )
    comparison = Comparison(tuple(rows), first.images, minutes, interrupted)
    write_text(out / SUMMARY, comparison.to_json())
    write_text(out / "comparison.md", comparison.to_markdown())
    save_figure(comparison_curves(histories), out / "comparison.png")
    return comparison
