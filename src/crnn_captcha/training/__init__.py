"""Training a reader: needs the extra `train` (Keras and TensorFlow).

Importing this package makes Keras know our loss and layers, so that a run's
`models/best_crnn_model.keras` loads with plain `keras.saving.load_model`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator

from crnn_captcha.errors import ConfigError, MissingExtraError

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# These only count before the import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # else only on processors made for networks


@contextlib.contextmanager
def _standard_error_closed() -> Iterator[None]:
    """TensorFlow's start-up chatter goes straight to file descriptor 2, whatever its log level."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


# What the extra `train` brings: looked for now, not after hours of training.
NEEDED = ("keras", "matplotlib", "msgspec", "onnx", "tensorflow", "tf2onnx", "tomli_w")
if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    raise MissingExtraError(f"Training (which lacks {', '.join(missing)})", "train")


def _check_backend(name: str) -> None:
    if name != "tensorflow":
        raise ConfigError(
            f"Training needs Keras on TensorFlow. Received: the backend '{name}'. "
            "Unset KERAS_BACKEND, or set it to tensorflow."
        )


_check_backend(os.environ["KERAS_BACKEND"])  # before Keras looks for that library
with _standard_error_closed():
    import keras
    import tensorflow

    tensorflow.config.list_physical_devices()  # looks for GPUs, and complains of none
_check_backend(keras.backend.backend())  # somebody may have imported Keras before

from crnn_captcha.training.audit import Audit, audit_config, audit_labels
from crnn_captcha.training.comparison import Comparison, compare
from crnn_captcha.training.config import DEFAULT_PRESET, PRESETS, Config, make_config
from crnn_captcha.training.data import CaptchaDataGenerator
from crnn_captcha.training.export import export
from crnn_captcha.training.loop import TrainingResult, train
from crnn_captcha.training.losses import ctc_loss
from crnn_captcha.training.model import Networks, make_networks
from crnn_captcha.training.run import run_config
from crnn_captcha.training.transfer import Base, read_base

__all__ = [
    "DEFAULT_PRESET",
    "PRESETS",
    "Audit",
    "Base",
    "CaptchaDataGenerator",
    "Comparison",
    "Config",
    "Networks",
    "TrainingResult",
    "audit_config",
    "audit_labels",
    "compare",
    "ctc_loss",
    "export",
    "make_config",
    "make_networks",
    "read_base",
    "run_config",
    "train",
]
