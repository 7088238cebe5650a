"""What is looked at before training starts: every image and every label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from crnn_captcha.batches import Batches
from crnn_captcha.bundle import MAX_BUNDLE_BYTES, MAX_METADATA_BYTES, BundleMetadata
from crnn_captcha.charset import Charset, required_time_steps
from crnn_captcha.corrections import Corrections
from crnn_captcha.dataset import Dataset, Sample, open_dataset
from crnn_captcha.errors import ConfigError, DatasetError, LabelError
from crnn_captcha.generator import Generator
from crnn_captcha.preprocessing import Pipeline
from crnn_captcha.progress import progress_bar, say
from crnn_captcha.recovery import STYLE_FILE, recover_fonts
from crnn_captcha.style_files import load_style
from crnn_captcha.synthetic import (
    RECOVERED,
    EpochDrawings,
    Mixture,
    parse_synthetic,
    validation_data,
)
from crnn_captcha.training.config import Config, DataConfig
from crnn_captcha.training.layout import layout

BYTES_A_WEIGHT = 4  # float32
# A bundle has its graph, a description of its network and metadata as well.
MOST_WEIGHTS = (MAX_BUNDLE_BYTES - 3 * MAX_METADATA_BYTES) // BYTES_A_WEIGHT
LISTED = 10  # labels that an error shows, of however many
MAX_DRAWN_WIDTH = 4096


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
        width: _time_steps(reader, pipeline, width) for width in np.unique(batches.widths).tolist()
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


def pad_drawn(reader: keras.Model, batches: Batches) -> None:
    """Makes drawn images wide enough: their labels aren't known beforehand.

    Args:
        reader: the network.
        batches: with drawings, or without.

    Raises:
        LabelError: if the network can't spell the longest label that may be drawn.
    """
    if batches.drawings is None:
        return
    needed = 2 * batches.drawings.max_length - 1  # time steps of one character, again and again
    pipeline = batches.pipeline
    width = pipeline.padded_width(needed)
    while (found := _time_steps(reader, pipeline, width)) < needed:
        if pipeline.fixed_width or width > MAX_DRAWN_WIDTH:
            raise LabelError(
                "A label needs a time step for each character, and one between equal neighbours. "
                f"Received: {found} for drawn labels of up to {batches.drawings.max_length} "
                "characters. Draw shorter ones, or choose a preset with more time steps."
            )
        width += pipeline.width_multiple
    batches.pad_drawn(width)


def _time_steps(reader: keras.Model, pipeline: Pipeline, width: int) -> int:
    shape = 1, width, pipeline.height, pipeline.channels
    return int(reader.compute_output_shape(shape)[1])


def check_bundle_fits(charset: Charset, config: Config) -> None:
    """Refuses before training what no bundle could hold after it.

    Raises:
        BundleError: if the charset has characters that can't be printed.
        ConfigError: as `check_network_fits` raises it.
    """
    BundleMetadata(charset, config.pipeline, {})
    check_network_fits(config, charset.num_classes)


def check_network_fits(config: Config, num_classes: int) -> None:
    """Refuses a network that no bundle could hold, without making it.

    Args:
        config: says how it is built.
        num_classes: characters and the blank.

    Raises:
        ConfigError: if it can't be built, or has too many weights.
    """
    weights = sum(math.prod(slot.shape) for slot in layout(config, num_classes).reader)
    if weights > MOST_WEIGHTS:
        raise ConfigError(
            f"A bundle holds at most {MOST_WEIGHTS:,} weights. "
            f"Received: a network of {weights:,}. Lower model.filters or model.units."
        )


def open_data(
    path: str | Path | None, config: DataConfig, corrections: Corrections | None = None
) -> Dataset:
    """The data set at `path`; without one, drawn images to validate with.

    Args:
        path: zip, folder or CSV, or None.
        config: says how to cut validation out, and what is drawn.
        corrections: of the data's labels.

    Raises:
        ConfigError: if there is no path, and nothing is drawn, or there are corrections.
        DatasetError: if the data can't be used, or aren't those of the corrections.
    """
    if path is not None:
        dataset = open_dataset(path, **cut(config))
        return corrections.apply(dataset) if corrections else dataset
    if corrections:
        raise ConfigError(
            "Corrections are of the labels of DATA. Received: corrections, and no DATA. "
            "Name the data that they were made for, or leave --corrections out."
        )
    if not config.synthetic:
        raise ConfigError(
            "Training needs images. Received: no DATA, and nothing to draw. "
            "Name a zip or a folder, or let it draw: --synthetic STYLE:COUNT."
        )
    drawn = parse_synthetic(config.synthetic)
    if any(part.style == RECOVERED for part in drawn):
        raise ConfigError(
            "Fonts are recovered from the images of DATA. Received: no DATA. "
            f"Name a zip or a folder, or another style than '{RECOVERED}'."
        )
    mixture = Mixture(
        tuple(
            (Generator(load_style(x.style)), max(1, round(x.count * config.validation_fraction)))
            for x in drawn
        )
    )
    return validation_data(mixture, ", ".join(part.style for part in drawn), config.split_seed)


def cut(config: DataConfig) -> dict[str, Any]:
    """How `open_dataset` is told to cut the validation split out of train."""
    return {"validation_fraction": config.validation_fraction, "seed": config.split_seed}


@dataclass(frozen=True)
class Prepared:
    """Data whose every image was looked at.

    Attributes:
        charset: of the configuration, or of the labels.
        learning: batches of the train split, and of what is drawn.
        validation: batches of the validation split, always in the same order.
        skipped: broken images that were left out.
    """

    charset: Charset
    learning: Batches
    validation: Batches
    skipped: int


def recover(dataset: Dataset, config: DataConfig, folder: Path, *, progress: bool) -> None:
    """Puts the fonts of the train images into a folder, if it is these that are to be drawn with.

    Args:
        dataset: what to train on; validation images aren't looked at.
        config: says what is drawn.
        folder: new or empty.
        progress: show progress bars on standard error, and what came out.

    Raises:
        DatasetError: if there is nothing to train on.
        FontError: if no font was found.
        MissingExtraError: if the libraries that write fonts aren't installed.
    """
    if RECOVERED not in _styles(config):
        return
    from crnn_captcha import font_files  # needs an extra that other trainings do without

    found = recover_fonts(dataset, dataset.samples("train"), progress=progress)
    font_files.write_fonts(found, folder)
    if progress:
        say(f"{found.summary()} Look at them: {folder / font_files.PICTURE}")


def prepare(
    dataset: Dataset,
    config: Config,
    *,
    fonts: Path | None = None,
    skip_broken: bool,
    progress: bool,
) -> Prepared:
    """Prepares every image of the train and validation splits once.

    Args:
        dataset: what to train on.
        config: says how to prepare, and how much to keep in memory.
        fonts: where `recover` put fonts, if these are to be drawn with.
        skip_broken: leave broken images out.
        progress: show a progress bar on standard error.

    Raises:
        DatasetError: if a split is empty, or images are broken and not to be skipped: names all.
        LabelError: if a label, or what is drawn, has a character that a given charset lacks.
        ConfigError, FontError, MissingExtraError: if what is asked for can't be drawn.
    """
    drawings = _drawings(config, fonts)
    alone = drawings is not None and not dataset.splits["train"]  # nothing else to learn from
    train = () if alone else dataset.samples("train")
    validation = dataset.samples("validation")
    samples = (*train, *validation)
    charset = charset_of(samples, config)
    prepared = Prepared(
        charset,
        _batches(
            dataset, train, config, charset, of=len(samples), seed=config.seed, drawings=drawings
        ),
        _batches(dataset, validation, config, charset, of=len(samples)),
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
    rest = prepare(whole, config, fonts=fonts, skip_broken=False, progress=progress)
    return replace(rest, skipped=len(broken))


def charset_of(samples: Sequence[Sample], config: Config) -> Charset:
    """The characters to learn: those of the configuration, or of the labels and what is drawn.

    Raises:
        ConfigError: if it isn't known what is to be drawn.
    """
    if config.data.charset:
        return Charset(config.data.charset)
    labels = [sample.label for sample in samples]
    for style in _styles(config.data):
        if style != RECOVERED:  # whose characters are those of the labels
            labels.append(load_style(style).charset.characters)
    return Charset.from_labels(labels)


def _batches(
    dataset: Dataset,
    samples: Sequence[Sample],
    config: Config,
    charset: Charset,
    *,
    of: int,
    seed: int | None = None,
    drawings: EpochDrawings | None = None,
) -> Batches:
    validation = seed is None  # padded as reading pads, whatever is learned from
    elsewhere = config.data.processes and not validation  # prepared where a cache isn't shared
    return Batches(
        dataset,
        samples,
        config.pipeline,
        charset,
        batch_size=config.data.batch_size,
        seed=seed,
        like_widths=config.data.like_widths or validation,
        letters=None if validation else config.letters,
        drawings=drawings,
        cache_bytes=0 if elsewhere else config.data.cache_mib * 2**20 * len(samples) // of,
    )


def _drawings(config: Config, fonts: Path | None) -> EpochDrawings | None:
    if not config.data.synthetic:
        return None
    parts = []
    for drawn in parse_synthetic(config.data.synthetic):
        own = fonts / STYLE_FILE if fonts and drawn.style == RECOVERED else None
        parts.append((Generator(load_style(own or drawn.style)), drawn.count))
    return EpochDrawings(Mixture(tuple(parts)), config.seed)


def _styles(config: DataConfig) -> list[str]:
    return [drawn.style for drawn in parse_synthetic(config.synthetic)] if config.synthetic else []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return "; ".join(names[:LISTED]) + more
