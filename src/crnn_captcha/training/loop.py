"""Training, from data to a complete run folder."""

from __future__ import annotations

import dataclasses
import importlib.util
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from crnn_captcha.batches import Batches
from crnn_captcha.corrections import Corrections
from crnn_captcha.errors import MissingExtraError, RunError
from crnn_captcha.learned import learned_from
from crnn_captcha.progress import say
from crnn_captcha.training import precision
from crnn_captcha.training.config import (
    AugmentationConfig,
    Config,
    check_starts_from,
    train_alike,
)
from crnn_captcha.training.epochs import TOLD_TO_STOP, Epochs
from crnn_captcha.training.export import export
from crnn_captcha.training.losses import ConsistentCTC, ctc_loss
from crnn_captcha.training.model import Networks, make_networks
from crnn_captcha.training.optimizer import make_optimizer
from crnn_captcha.training.preparation import (
    Prepared,
    check_bundle_fits,
    check_labels_fit,
    open_data,
    pad_drawn,
    prepare,
    recover,
)
from crnn_captcha.training.report import write_training_report
from crnn_captcha.training.run import BASE_DIGEST, RunFolder
from crnn_captcha.training.transfer import Base, check_unseen, transfer
from crnn_captcha.wording import printable


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        run: its folder.
        epochs: epochs that were finished.
        best: the history's row of the epoch whose model was kept; empty if none was finished.
        reason: why it ended, for people to read.
        stopped: whether it was told to stop, be it in its last moments.
        skipped: broken images that were left out.
        drawn: whether all images to learn from were drawn, and there is no DATA.
        corrections: of the labels that it learned from and was validated with.
    """

    run: Path
    epochs: int
    best: Mapping[str, float]
    reason: str
    stopped: bool
    skipped: int
    drawn: bool = False
    corrections: Corrections | None = None

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end, and `--resume` would go on."""
        return self.reason == TOLD_TO_STOP

    def summary(self) -> str:
        """What came out and what to do next, for people to read."""
        run = shlex.quote(printable(str(self.run)))
        lines = [self.reason]
        if self.best:
            lines.append(
                f"Best epoch {self.best['epoch']:.0f} of {self.epochs}: reads "
                f"{self.best['val_exact_match']:.1%} of the validation images exactly, "
                f"CER {self.best['val_cer']:.1%}."
            )
        if self.skipped:
            lines.append(f"Broken images that were left out: {self.skipped}.")
        if self.corrections:
            lines.append(f"Labels, those of validation too, by review: {self.corrections.summary}.")
        lines.append(f"Look at it: {printable(str(RunFolder(self.run).report_page))}")
        if self.interrupted:
            data = "" if self.drawn else "DATA "
            skip = " --skip-broken" if self.skipped else ""
            lines.append(f"Go on:      crnn-captcha train {data}--out {run} --resume{skip}")
        lines.append(f"Measure it: crnn-captcha evaluate DATA --model {run}")
        lines.append(f"Read:       crnn-captcha read IMAGE --model {run}")
        return "\n".join(lines)


def train(
    data: str | Path | None,
    run: str | Path,
    config: Config,
    *,
    corrections: Corrections | None = None,
    base: Base | None = None,
    resume: bool = False,
    skip_broken: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Trains on the train split of `data` and leaves a complete run folder.

    A validation split is cut out of the train split; the test split is never touched. Ctrl-C or
    SIGTERM ends the training after the step under way, with the best model, history and bundle
    in place. Sets Keras' global seed and dtype policy, and TensorFlow's determinism.

    Args:
        data: zip, folder or CSV; None learns from and validates with drawn images alone, which
            `data.synthetic` of the configuration asks for.
        run: the run folder: new, empty, or with `resume` one to go on with.
        config: from `make_config` or `run_config`; a resumed run's own, if there is one.
        corrections: of the labels to learn from and to validate with; the run keeps a copy, which
            a resumed run goes on with.
        base: a trained model to start from, by `read_base`. The optimizer starts anew. A resumed
            run doesn't need it any more; given again, it has to be the same.
        resume: go on from the newest checkpoint in `run`; starts anew where there is no run.
        skip_broken: leave broken images out instead of refusing to train.
        progress: print progress, with the time left, to standard error.

    Raises:
        DatasetError: if the data can't be used, hold broken images, or aren't those of the
            corrections.
        LabelError: if a label doesn't fit the charset or the time steps.
        ConfigError: if the network can't be built, is too large for a bundle, or isn't that of
            `base`; if `base` has learned from images to validate with; if there is no data, and
            nothing is to be drawn, or what isn't known, or there are corrections.
        FontError: if no font can draw what is to be drawn, or none is recovered.
        RunError: if `run` can't be used, another process trains in it, data, corrections or `base`
            changed since, or the loss isn't finite.
        MissingExtraError: if logs for TensorBoard are asked for and it isn't installed, or neither
            is the generator that a style names, or what writes recovered fonts.
    """
    folder = RunFolder(Path(run))
    with folder.held():
        return _train(
            None if data is None else Path(data),
            folder,
            config,
            corrections=corrections,
            base=base,
            continued=resume and folder.exists,
            skip_broken=skip_broken,
            progress=progress,
        )


def _train(
    data: Path | None,
    folder: RunFolder,
    config: Config,
    *,
    corrections: Corrections | None,
    base: Base | None,
    continued: bool,
    skip_broken: bool,
    progress: bool,
) -> TrainingResult:
    if not continued:
        folder.check_new()
    if base is not None:
        check_starts_from(config, base.config)
        if continued:
            folder.check_base(base.path, base.digest)
    if config.training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise MissingExtraError("Writing logs for TensorBoard", "tensorboard")
    corrections = folder.own_corrections(corrections)
    dataset = open_data(data, config.data, corrections)
    data_digest = dataset.digest("train", "validation")
    if continued:
        folder.check_data(data_digest)
    else:
        if base is not None and data is not None:
            check_unseen(base, dataset)
        recover(dataset, config.data, folder.fonts, progress=progress)
    prepared = prepare(
        dataset, config, fonts=folder.fonts, skip_broken=skip_broken, progress=progress
    )
    characters = prepared.charset.characters
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, charset=characters))
    if continued and not train_alike(folder.load_config(), config):
        raise RunError(
            f"--resume goes on with the configuration in {folder.config_file}. Received: another. "
            "Give the same options, or train into another folder."
        )
    check_bundle_fits(prepared.charset, config)
    networks = networks_for(prepared, config)
    if not continued:
        known = base.learned if base else None
        folder.start(
            config,
            data,
            weights=networks.reader.count_params(),
            data_digest=data_digest,
            corrections=corrections,
            base=base.path if base else None,
            base_digest=base.digest if base else "",
            learned=learned_from(prepared.learning.dataset, known) if data else known,
        )
    epochs = Epochs(folder, config, networks, prepared, progress=progress)
    goes_on = continued and epochs.restore()
    if progress:
        say(
            f"{_counted(prepared.learning)} to learn from, "
            f"{len(prepared.validation.samples)} to validate with, {len(characters)} characters, "
            f"{networks.reader.count_params():,} weights."
        )
        if advice := precision.advice(config.training.mixed_precision):
            say(advice)
    if not goes_on:
        _start(epochs, base)
    reason, stopped = epochs.run()
    if progress:
        say(f"{reason} Writing bundle and report.")
    export(folder.path, folder.bundle, data=prepared.validation.dataset)
    write_training_report(folder, prepared, progress=progress)
    history, best = epochs.state.history, epochs.state.best_epoch
    row = history[best - 1] if best else {}
    return TrainingResult(
        folder.path,
        len(history),
        row,
        reason,
        stopped,
        prepared.skipped,
        drawn=data is None,
        corrections=corrections,
    )


def _counted(learning: Batches) -> str:
    images, drawings = len(learning.samples), learning.drawings
    if drawings is None:
        return f"{images} images"
    return f"{images} images and {drawings.count} drawn anew in each epoch"


def _start(epochs: Epochs, base: Base | None) -> None:
    """Takes over what a trained model has learned, if there is one to start from."""
    if base is None:
        if BASE_DIGEST in epochs.folder.facts():
            raise RunError(
                f"The run in {epochs.folder.path} was stopped before it had taken over what it was "
                "started from. Say by --from again what that is, or train into another folder."
            )
        return
    taken = transfer(base, epochs.networks, epochs.prepared.charset)
    epochs.save()  # from here on, resuming needs the base no more
    if epochs.progress:
        _, exact_match, cer = epochs.validate()
        say(
            f"Starts from {base.path}: {taken.summary()}. As it is, it reads {exact_match:.1%} of "
            f"the validation images exactly, CER {cer:.1%}."
        )


def networks_for(prepared: Prepared, config: Config) -> Networks:
    """The network that is to learn prepared data, ready for it; pads what is drawn for it.

    Args:
        prepared: data by that configuration.
        config: of the run.

    Raises:
        ConfigError: if the network can't be built.
        LabelError: if a label, or one that may be drawn, doesn't fit its time steps.
    """
    networks = build_networks(config, prepared.charset.num_classes, len(prepared.learning))
    for batches in (prepared.learning, prepared.validation):
        check_labels_fit(networks.reader, batches)
    pad_drawn(networks.reader, prepared.learning)
    return networks


def build_networks(config: Config, num_classes: int, steps_per_epoch: int) -> Networks:
    """The network of a configuration, ready to learn: seeded, compiled, its state made.

    Sets Keras' global seed and dtype policy, and TensorFlow's determinism.

    Args:
        config: of the run.
        num_classes: characters and the blank.
        steps_per_epoch: batches in an epoch, which learning rates are scheduled by.

    Raises:
        ConfigError: if the network can't be built.
    """
    keras.utils.set_random_seed(config.seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    mixed = config.training.mixed_precision
    keras.config.set_dtype_policy(precision.mixed_policy() if mixed else "float32")
    with _strategy().scope():
        networks = make_networks(config, num_classes)
        heads = len(networks.learner.outputs)
        weights = [1.0, config.model.ctc_shortcut][:heads]
        networks.learner.compile(
            optimizer=make_optimizer(config.optimizer, steps_per_epoch * config.training.epochs),
            loss=_losses(config.augmentation)[:heads],
            loss_weights=weights,
            jit_compile=False,  # XLA has no CTC, and compiles anew for each width
        )
        _make_state(networks.learner)
    return networks


def _losses(config: AugmentationConfig) -> list[Any]:
    """Of the network, and of its shortcut."""
    if config.views == 1:
        return [ctc_loss, ctc_loss]
    return [ConsistentCTC(config.consistency), ConsistentCTC(0)]


def _make_state(learner: keras.Model) -> None:
    """Makes the optimizer's state and the running means of the losses: checkpoints hold them.

    Left alone, Keras makes the means within the first step or, with several GPUs, at each call of
    `fit` takes a batch away from training to look whether they are made.
    """
    learner.optimizer.build(learner.trainable_variables)
    outputs = learner.outputs
    several = len(outputs) > 1  # only the structure counts
    learner._compile_loss.build(tuple(outputs) if several else outputs[0], learner.output)
    learner._maybe_symbolic_build = lambda **batch: None


def _strategy() -> tf.distribute.Strategy:
    """All GPUs where there are several; a single one Keras takes by itself."""
    devices = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy() if len(devices) > 1 else tf.distribute.get_strategy()
