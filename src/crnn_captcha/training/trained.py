"""What a run has learned, read from its files into networks built from its configuration."""

from __future__ import annotations

from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import Charset
from crnn_captcha.errors import RunError
from crnn_captcha.training.checkpoint import peek_checkpoint
from crnn_captcha.training.config import Config
from crnn_captcha.training.model import SHORTCUT, Networks, full_precision, make_networks
from crnn_captcha.training.run import RunFolder


def load_networks(folder: RunFolder, config: Config, charset: Charset) -> Networks:
    """The best model of a run: built from the configuration, only weights read from the file.

    The CTC shortcut isn't part of it, and is as it was before training.

    Raises:
        RunError: if there is none, or it doesn't fit the configuration.
    """
    if not folder.best_model.is_file():
        raise RunError(
            f"{folder.path} holds no model yet. Go on with its training by --resume until the "
            "first epoch is done."
        )
    with full_precision():
        networks = make_networks(config, charset.num_classes)
    try:
        networks.reader.load_weights(folder.best_model)
    except (ValueError, OSError, KeyError, BadZipFile) as error:
        raise RunError(
            f"{folder.best_model} doesn't fit the configuration beside it: {error}"
        ) from error
    return networks


def load_shortcut(folder: RunFolder, networks: Networks) -> list[NDArray[np.float32]]:
    """Kernel and bias of a run's CTC shortcut, from its newest checkpoint.

    Args:
        folder: of the run.
        networks: by `load_networks`.

    Returns:
        Float32 (features, num_classes) and (num_classes,); nothing where there is no shortcut, or
        no checkpoint that fits.
    """
    variables = networks.learner.variables
    paths = [variable.path for variable in variables]
    checkpoint = peek_checkpoint(folder.checkpoints) if SHORTCUT[0] in paths else None
    if checkpoint is None:
        return []
    arrays = checkpoint.arrays[: len(variables)]  # the optimizer's come after them
    if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
        return []
    shortcut = [np.asarray(arrays[paths.index(path)], np.float32) for path in SHORTCUT]
    return shortcut if all(np.isfinite(array).all() for array in shortcut) else []
