"""Learns to read text CAPTCHAs, measures how well it reads, and reads with one small file.

    from crnn_captcha import Recognizer

    reading = Recognizer().read("captcha.png")
    print(reading.text, reading.confidence)

The names below are imported when they are first used, so that importing the package costs
nothing.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crnn_captcha.bundle import Bundle, BundleMetadata, read_bundle, write_bundle
    from crnn_captcha.charset import Charset
    from crnn_captcha.constraints import Constraint
    from crnn_captcha.dataset import Dataset, Sample, open_dataset
    from crnn_captcha.decoding import Alternative, Character, Decoding, Reading
    from crnn_captcha.errors import (
        BundleError,
        CharsetError,
        ConfigError,
        CrnnCaptchaError,
        DatasetError,
        ExportError,
        FontError,
        ImageError,
        LabelError,
        MissingExtraError,
        PreprocessingError,
        RunError,
    )
    from crnn_captcha.evaluation import evaluate
    from crnn_captcha.images import load_image
    from crnn_captcha.outcomes import EvaluationResult
    from crnn_captcha.preprocessing import Pipeline, Stage
    from crnn_captcha.recognizer import Recognizer

    __version__: str

__all__ = [
    "Alternative",
    "Bundle",
    "BundleError",
    "BundleMetadata",
    "Character",
    "Charset",
    "CharsetError",
    "ConfigError",
    "Constraint",
    "CrnnCaptchaError",
    "Dataset",
    "DatasetError",
    "Decoding",
    "EvaluationResult",
    "ExportError",
    "FontError",
    "ImageError",
    "LabelError",
    "MissingExtraError",
    "Pipeline",
    "PreprocessingError",
    "Reading",
    "Recognizer",
    "RunError",
    "Sample",
    "Stage",
    "__version__",
    "evaluate",
    "load_image",
    "open_dataset",
    "read_bundle",
    "write_bundle",
]

_HOMES = MappingProxyType(
    {
        "bundle": ("Bundle", "BundleMetadata", "read_bundle", "write_bundle"),
        "charset": ("Charset",),
        "dataset": ("Dataset", "Sample", "open_dataset"),
        "constraints": ("Constraint",),
        "decoding": ("Alternative", "Character", "Decoding", "Reading"),
        "errors": tuple(name for name in __all__ if name.endswith("Error")),
        "evaluation": ("evaluate",),
        "images": ("load_image",),
        "outcomes": ("EvaluationResult",),
        "preprocessing": ("Pipeline", "Stage"),
        "recognizer": ("Recognizer",),
    }
)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("crnn-captcha")
    else:
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value  # the next access doesn't come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
