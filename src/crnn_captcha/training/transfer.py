"""A training that starts from a trained model, also for other characters and other images."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.bundle import Bundle, read_bundle
from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.dataset import Dataset, Sample, open_dataset
from crnn_captcha.errors import ConfigError
from crnn_captcha.learned import Learned, count_known, from_text
from crnn_captcha.recognizer import bundle_path
from crnn_captcha.training.config import DEFAULT_PRESET, PRESETS, SEEDS, Config
from crnn_captcha.training.description import Weights, read_weights
from crnn_captcha.training.model import HEAD, SHORTCUT, Networks
from crnn_captcha.training.preparation import cut
from crnn_captcha.training.run import DATA_DIGEST, RunFolder
from crnn_captcha.training.trained import load_networks, load_shortcut

Array = NDArray[np.float32]

LISTED = 40  # characters that are named, of however many


@dataclass(frozen=True)
class Base:
    """A trained model to start from.

    Attributes:
        path: where it was read.
        digest: 32 hexadecimal digits that tell it from all others.
        config: pipeline and model are its own, so is how validation was cut, and preset, where one
            knows it.
        charset: the characters that it reads.
        weights: what it has learned.
        data_digest: tells the data that it has learned from, and validated with, from all others;
            empty if it doesn't say.
        learned: the images that it, and what it was started from, has learned from; None if it
            doesn't say.
    """

    path: Path
    digest: str
    config: Config
    charset: Charset
    weights: Weights
    data_digest: str = ""
    learned: Learned | None = None


@dataclass(frozen=True)
class Transfer:
    """What became of the characters of a new network.

    Attributes:
        kept: those that the base reads, too.
        from_other_case: those that start as what the base knows of the other case.
        new: those that start anew.
        shortcut: whether the CTC shortcut was taken over; also if there is none.
    """

    kept: str
    from_other_case: str
    new: str
    shortcut: bool

    def summary(self) -> str:
        """One line, for people to read."""
        total = len(self.kept) + len(self.from_other_case) + len(self.new)
        parts = [f"kept {len(self.kept)} of {total} characters"]
        if self.from_other_case:
            parts.append(f"from their other case: {_listed(self.from_other_case)}")
        if self.new:
            parts.append(f"new: {_listed(self.new)}")
        if not self.shortcut:
            parts.append("the CTC shortcut starts anew")
        return "; ".join(parts)


def read_base(source: str | Path) -> Base:
    """Reads a trained model to start from.

    Nothing in it is run: networks are built from its configuration, and only numbers are read.

    Args:
        source: a run folder, whose best model counts; a bundle; or the name of one in the package.

    Raises:
        RunError: if the run has no model yet, or it doesn't fit its configuration.
        BundleError: if the bundle can't be used, or doesn't describe its network.
        ConfigError: if the run's configuration isn't valid.
    """
    if (run := Path(source)).is_dir():
        return _from_run(RunFolder(run))
    path = bundle_path(source)
    return _from_bundle(path, read_bundle(path))


def transfer(base: Base, networks: Networks, charset: Charset) -> Transfer:
    """Gives a new network what a trained one has learned.

    Of the layers that score characters, the classes of shared characters and the blank are taken
    over. A character that the base knows in the other case only starts as that; what is new to the
    base keeps what it was initialised with.

    Args:
        base: with the pipeline and network of the new one.
        networks: the new one, is changed.
        charset: its characters.

    Returns:
        What was taken over.
    """
    known = {character: BLANK + 1 + i for i, character in enumerate(base.charset.characters)}
    sources = [BLANK]  # class ids of the base for those of the new network; -1 where it has none
    kept = twins = new = ""
    for character in charset.characters:
        other_case = character.swapcase()
        sources.append(known.get(character, known.get(other_case, -1)))
        if character in known:
            kept += character
        elif other_case in known:
            twins += character
        else:
            new += character
    for variable, array in zip(networks.reader.weights, base.weights.reader, strict=True):
        of_classes = variable.path in HEAD
        variable.assign(_classes(array, np.asarray(variable), sources) if of_classes else array)
    shortcut = {v.path: v for v in networks.learner.weights if v.path in SHORTCUT}
    if base.weights.shortcut:
        for path, array in zip(SHORTCUT, base.weights.shortcut, strict=True):
            if path in shortcut:
                shortcut[path].assign(_classes(array, np.asarray(shortcut[path]), sources))
    return Transfer(kept, twins, new, bool(base.weights.shortcut or not shortcut))


def check_unseen(base: Base, dataset: Dataset) -> None:
    """Makes sure that no validation image is one that the base has learned from.

    Args:
        base: looked at if it says what it has learned from.
        dataset: to start a training with, validation already cut.

    Raises:
        ConfigError: if there is one: validation would show what was learned by heart.
    """
    if base.data_digest != dataset.digest("train", "validation"):
        _check_unseen_files(base, dataset)
        return
    before = open_dataset(dataset.path, **cut(base.config.data))
    unseen, validation = (
        {sample.name for sample in cut_so.samples("validation")}  # labels may have been corrected
        for cut_so in (before, dataset)
    )
    if seen := len(validation - unseen):
        data = base.config.data
        raise ConfigError(
            "A training validates with images that what it starts from hasn't learned from. "
            f"Received: {seen:,} of {len(validation):,} validation images that {base.path} has. "
            f"Cut validation as then: --set data.validation_fraction={data.validation_fraction:g} "
            f"--set data.split_seed={data.split_seed}."
        )
    _check_unseen_files(base, dataset)


def check_unread(
    base: Base, dataset: Dataset, corrected: Dataset, samples: Sequence[Sample]
) -> None:
    """Makes sure that images whose labels are to be doubted aren't what the base has learned from.

    Args:
        base: looked at if it says what it has learned from.
        dataset: that they are in.
        corrected: the same with corrected labels; the base may know it by these.
        samples: of the images.

    Raises:
        ConfigError: if there is one: the base knows its label by heart.
    """
    if base.learned is not None:
        seen = count_known(dataset, samples, base.learned)
    elif base.data_digest in {d.digest("train", "validation") for d in (dataset, corrected)}:
        learned = {s.name for s in (*dataset.splits["train"], *dataset.splits["validation"])}
        seen = sum(sample.name in learned for sample in samples)
    else:
        return
    if seen:
        raise ConfigError(
            "Labels are doubted by networks that haven't learned them. Received: --from "
            f"{base.path}, which has learned from, or been chosen by, {seen:,} of the "
            f"{len(samples):,} images. Leave --from out, or start from a model of other images."
        )


def _check_unseen_files(base: Base, dataset: Dataset) -> None:
    """For data that have changed since or are others, and a base that has learned from more."""
    validation = dataset.samples("validation")
    if base.learned is not None and (seen := count_known(dataset, validation, base.learned)):
        raise ConfigError(
            "A training validates with images that what it starts from hasn't learned from. "
            f"Received: {seen:,} of {len(validation):,} validation images that {base.path} has, "
            "by their files. Put others into a folder validation/ beside train/: then none is cut "
            "out of train."
        )


def _classes(known: Array, initial: Array, sources: Sequence[int]) -> Array:
    """Scores' weights, (..., num_classes): those of `sources` where there are any."""
    ids = np.array(sources)
    return np.where(ids >= 0, known[..., ids], initial)


def _from_run(folder: RunFolder) -> Base:
    config = folder.load_config()
    charset = Charset(config.data.charset)
    networks = load_networks(folder, config, charset)
    shortcut = load_shortcut(folder, networks)
    weights = Weights(config.model, networks.reader.get_weights(), shortcut)
    digest = _digest(folder.best_model.read_bytes())
    data_digest = folder.facts().get(DATA_DIGEST, "")
    return Base(folder.path, digest, config, charset, weights, data_digest, folder.learned())


def _from_bundle(path: Path, bundle: Bundle) -> Base:
    metadata = bundle.metadata
    weights = read_weights(bundle)
    preset = metadata.training.get("preset")  # a bundle may say anything
    known = isinstance(preset, str) and preset in PRESETS
    config = PRESETS[str(preset) if known else DEFAULT_PRESET]
    share, split_seed = metadata.validation_cut
    seed = metadata.training.get("seed")
    config = dataclasses.replace(
        config,
        seed=seed if type(seed) is int and 0 <= seed < SEEDS else config.seed,
        pipeline=metadata.pipeline,
        model=weights.model,
        data=dataclasses.replace(config.data, validation_fraction=share, split_seed=split_seed),
    )
    data_digest = str(metadata.training.get(DATA_DIGEST, ""))
    return Base(
        path,
        _digest(bundle.graph),
        config,
        metadata.charset,
        weights,
        data_digest,
        from_text(metadata.training.get("learned")),
    )


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _listed(characters: str) -> str:
    more = f" and {len(characters) - LISTED} more" if len(characters) > LISTED else ""
    return ", ".join(characters[:LISTED]) + more
