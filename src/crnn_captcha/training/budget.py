"""A training that fits its minutes, in a process of its own, and goes on where it was stopped."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path

from crnn_captcha.corrections import Corrections
from crnn_captcha.errors import ConfigError, RunError
from crnn_captcha.progress import say
from crnn_captcha.training.config import Config, change
from crnn_captcha.training.loop import train
from crnn_captcha.training.preparation import open_data
from crnn_captcha.training.process import in_own_process
from crnn_captcha.training.run import BASE_DIGEST, RunFolder
from crnn_captcha.training.timing import epoch_seconds
from crnn_captcha.training.transfer import Base

OF_MINUTES = ("training.epochs", "training.patience")  # all of the epochs that they allow


def check_minutes(minutes: float) -> None:
    """Makes sure that a training may take so long.

    Raises:
        ConfigError: if it may not.
    """
    if not 0 < minutes < math.inf:
        raise ConfigError(f"The minutes of a training are more than 0. Received: {minutes}.")


def check_epochs_left_open(settings: Iterable[str], what: str) -> None:
    """Makes sure that nothing is set which the minutes decide.

    Args:
        settings: as `change` takes them.
        what: they are for, such as `comparison`.

    Raises:
        ConfigError: if there is.
    """
    for key in (setting.partition("=")[0].strip() for setting in settings):
        if key in OF_MINUTES:
            raise ConfigError(f"The minutes of the {what} decide about {key}. Leave it out.")


def check_minutes_begun_with(summary: Path, what: str, minutes: float) -> None:
    """Makes sure that several trainings go on with the minutes of those that are done.

    Args:
        summary: JSON of an object with `minutes`; if it isn't there yet, all is well.
        what: it is of, such as `comparison`.
        minutes: of training for each.

    Raises:
        ConfigError: if they were others.
        RunError: if the summary doesn't say.
    """
    if not summary.exists():
        return
    try:
        begun = float(json.loads(summary.read_bytes())["minutes"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            f"The minutes of the {what} in {summary.parent} can't be read from its "
            f"{summary.name}: {error!r}. Use another folder."
        ) from error
    if begun != minutes:
        raise ConfigError(
            f"--resume goes on with {begun:g} minutes for each, as it began. Received: "
            f"{minutes:g}. Give the same, or use another folder."
        )


def check_free(folder: Path, what: str, *, resume: bool) -> None:
    """Makes sure that several runs may be kept in a folder.

    Args:
        folder: of the runs.
        what: they are for, such as `comparison`.
        resume: whether there may be some already.

    Raises:
        RunError: if something else is there.
    """
    if folder.exists() and (not folder.is_dir() or (not resume and any(folder.iterdir()))):
        raise RunError(
            f"A new {what} needs a new or empty folder. Received: {folder}. "
            "Go on with the one in it by --resume, or name another folder."
        )


def epochs_beside(
    data: str | Path,
    config: Config,
    first: Config,
    epochs: int,
    *,
    skip_broken: bool,
    progress: bool,
) -> int:
    """Epochs of one configuration that take as long as those of another.

    Both are timed now, one after the other: a machine's speed drifts from hour to hour. Where
    only the seed differs, there is nothing to time.

    Args:
        data: zip, folder or CSV.
        config: of the training whose epochs are asked for.
        first: of the other one.
        epochs: of that.
        skip_broken: leave broken images out.
        progress: say on standard error what came out.

    Raises:
        DatasetError, LabelError, ConfigError: as `train` raises them.
        RunError: if the process that times them died.
    """
    if dataclasses.replace(config, seed=first.seed) == first:
        return epochs
    seconds, of_first = (
        in_own_process(epoch_seconds, data, each, skip_broken=skip_broken)
        for each in (config, first)
    )
    found = max(1, round(epochs * of_first / seconds))
    if progress:
        say(
            f"An epoch takes about {seconds:.0f} s, one of the first {of_first:.0f} s: {found} of "
            f"them beside its {epochs}."
        )
    return found


def train_within(
    data: str | Path,
    folder: RunFolder,
    config: Config,
    minutes: float,
    *,
    epochs: int | None = None,
    corrections: Corrections | None = None,
    base: Base | None = None,
    skip_broken: bool,
    progress: bool,
) -> bool:
    """Trains for about so many minutes what isn't trained yet.

    Args:
        data: zip, folder or CSV.
        folder: of the run; a run in it is gone on with.
        config: whose epochs don't count.
        minutes: that become epochs, by steps that are timed beforehand.
        epochs: instead of the minutes.
        corrections: of the data's labels.
        base: a trained model to start from.
        skip_broken: leave broken images out.
        progress: say on standard error how it goes.

    Returns:
        Whether it came to its end.

    Raises:
        ConfigError: if the run in the folder has another configuration.
        RunError: if the run in the folder learned from other images or started from something
            else, if the process of the training died, or as `train` raises it.
        DatasetError, LabelError: as `train` raises them.
    """
    if folder.exists:
        config = _begun(folder, config)
        _check_base(folder, base)
    else:
        if epochs is None:
            seconds = in_own_process(
                epoch_seconds, data, config, corrections=corrections, skip_broken=skip_broken
            )
            epochs = max(1, round(60 * minutes / seconds))
            if progress:
                say(f"An epoch takes about {seconds:.0f} s: {epochs} of them.")
        config = change(config, [f"{key}={epochs}" for key in OF_MINUTES])
    if _is_done(folder, config.training.epochs):
        own = folder.own_corrections(corrections)  # refuses others
        folder.check_data(open_data(data, config.data, own).digest("train", "validation"))
        return True
    result = in_own_process(
        train,
        data,
        folder.path,
        config,
        corrections=corrections,
        base=base,
        resume=folder.exists,
        skip_broken=skip_broken,
        progress=progress,
    )
    return not result.stopped


def _is_done(folder: RunFolder, epochs: int) -> bool:
    """Whether all is trained, and bundle and report were written after that.

    What is older than the history comes from an earlier stop.
    """
    written = folder.bundle, folder.report_page
    return (
        all(file.is_file() for file in written)
        and len(folder.read_history()) == epochs
        and all(
            file.stat().st_mtime_ns >= folder.history_file.stat().st_mtime_ns for file in written
        )
    )


def _check_base(folder: RunFolder, base: Base | None) -> None:
    """Makes sure that a run was started from this model, or from nothing."""
    if base is not None:
        folder.check_base(base.path, base.digest)
    elif BASE_DIGEST in folder.facts():
        raise RunError(
            f"--resume goes on from what the run in {folder.path} was started from. Received: "
            "no --from. Give the same one again, or use another folder."
        )


def _begun(folder: RunFolder, config: Config) -> Config:
    """The run's own configuration: its epochs and charset were found when it was started."""
    begun = folder.load_config()
    same = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, charset=config.data.charset or begun.data.charset),
        training=dataclasses.replace(
            config.training, epochs=begun.training.epochs, patience=begun.training.patience
        ),
    )
    if begun != same:
        raise ConfigError(
            f"--resume goes on with the configuration in {folder.config_file}. Received: other "
            "settings. Give the same ones, or use another folder."
        )
    return begun
