"""What is looked at before training starts: every image and every label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from crnn_captcha.batches import Batches
from crnn_captcha.bundle import MAX_BUNDLE_BYTES, BundleMetadata
from crnn_captcha.charset import Charset, required_time_steps
from crnn_captcha.dataset import Dataset, Sample, Split
from crnn_captcha.errors import ConfigError, DatasetError, LabelError
from crnn_captcha.progress import progress_bar
from crnn_captcha.training.config import Config, DataConfig

BYTES_A_WEIGHT = 4  # float32
LISTED = 10  # labels that an error shows, of however many


def check_labels_fit(reader: keras.Model, batches: Batches) -> None:
    """Refuses labels that no path through the network's time steps can spell.

    Args:
        reader: the network.
        batches: measured.

    Raises:
        LabelError: naming the files, if a label is longer (repeats counted) than its image allows.
    """
    pipeline = batches.pipeline
    time_steps = {
        width: reader.compute_output_shape((1, width, pipeline.height, pipeline.channels))[1]
        for width in np.unique(batches.widths).tolist()
    }
    too_long = [
        f"{sample.name} (needs {required_time_steps(sample.label)}, has {time_steps[int(width)]})"
        for sample, width in zip(batches.samples, batches.widths, strict=True)
        if required_time_steps(sample.label) > time_steps[int(width)]
    ]
    if too_long:
        raise LabelError(
            "A label needs a time step for each character, and one between equal neighbours. "
            f"Received: {_listed(too_long)}. Fix the labels, or choose a preset with more time "
            "steps (wider images or fewer strides)."
        )


def check_bundle_fits(reader: keras.Model, charset: Charset, config: Config) -> None:
    """Refuses before training what no bundle could hold after it.

    Raises:
        BundleError: if the charset has characters that can't be printed.
        ConfigError: if the network has too many weights.
    """
    BundleMetadata(charset, config.pipeline, {})
    weights = reader.count_params()
    if weights * BYTES_A_WEIGHT > MAX_BUNDLE_BYTES:
        raise ConfigError(
            f"A bundle holds at most {MAX_BUNDLE_BYTES // BYTES_A_WEIGHT:,} weights. "
            f"Received: a network of {weights:,}. Lower model.filters or model.units."
        )


def cut(config: DataConfig) -> dict[str, Any]:
    """How `open_dataset` is told to cut the validation split out of train."""
    return {"validation_fraction": config.validation_fraction, "seed": config.split_seed}


@dataclass(frozen=True)
class Prepared:
    """Data whose every image was looked at.

    Attributes:
        charset: of the configuration, or of the labels.
        learning: batches of the train split.
        validation: batches of the validation split, always in the same order.
        skipped: broken images that were left out.
    """

    charset: Charset
    learning: Batches
    validation: Batches
    skipped: int


def prepare(dataset: Dataset, config: Config, *, skip_broken: bool, progress: bool) -> Prepared:
    """Prepares every image of the train and validation splits once.

    Args:
        dataset: what to train on.
        config: says how to prepare, and how much to keep in memory.
        skip_broken: leave broken images out.
        progress: show a progress bar on standard error.

    Raises:
        DatasetError: if a split is empty, or images are broken and not to be skipped: names all.
        LabelError: if a label has a character that a given charset lacks.
    """
    samples = (*dataset.samples("train"), *dataset.samples("validation"))
    charset = Charset(config.data.charset or _characters(samples))
    prepared = Prepared(
        charset,
        _batches(dataset, "train", config, charset, of=len(samples)),
        _batches(dataset, "validation", config, charset, of=len(samples)),
        skipped=0,
    )
    broken = []
    with progress_bar(len(samples), "preparing images", "image", shown=progress, kept=False) as bar:
        for batches in (prepared.learning, prepared.validation):
            for found in batches.measure(config.data.workers):
                bar.update()
                broken += [found] if found else []
    if not broken:
        return prepared
    if not skip_broken:
        raise DatasetError(
            f"Training needs images that can be read. Received {len(broken)} that can't: "
            f"{'; '.join(f'{image.name}: {image.reason}' for image in broken)} "
            "Mend or remove them, or leave them out with --skip-broken."
        )
    whole = dataset.without(image.name for image in broken)
    rest = prepare(whole, config, skip_broken=False, progress=progress)
    return replace(rest, skipped=len(broken))


def _batches(dataset: Dataset, split: Split, config: Config, charset: Charset, of: int) -> Batches:
    samples = dataset.samples(split)
    return Batches(
        dataset,
        samples,
        config.pipeline,
        charset,
        batch_size=config.data.batch_size,
        seed=config.seed if split == "train" else None,
        like_widths=config.data.like_widths,
        letters=config.letters if split == "train" else None,
        cache_bytes=config.data.cache_mib * 2**20 * len(samples) // of,
    )


def _characters(samples: Sequence[Sample]) -> str:
    return Charset.from_labels(sample.label for sample in samples).characters


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return "; ".join(names[:LISTED]) + more
