"""Every exception that the package raises on purpose.

    CrnnCaptchaError
    ├── ImageError         (ValueError)   an image that is broken, unknown or too large
    ├── CharsetError       (ValueError)   a charset that is empty or repeats a character
    ├── LabelError         (ValueError)   a label that breaks a rule
    ├── DatasetError       (ValueError)   a zip, folder or CSV that can't be used as data
    ├── PreprocessingError (ValueError)   an unknown stage or a bad parameter of one
    ├── ConfigError        (ValueError)   an unknown preset, option or value
    ├── FontError          (ValueError)   a font folder without a usable font
    ├── BundleError        (ValueError)   a model file that is broken, unsafe or too new
    ├── ExportError        (ValueError)   a bundle that doesn't read what its model reads
    ├── RunError           (OSError)      a run or table that can't be used or gone on with
    └── MissingExtraError  (OSError)      a part of the package that isn't installed

The command line prints one of these as a single line and exits with 2.
"""

from __future__ import annotations


class CrnnCaptchaError(Exception):
    """Root of all errors that are raised on purpose."""


class ImageError(CrnnCaptchaError, ValueError):
    """An image that is broken, of an unknown format or beyond the limits."""


class CharsetError(CrnnCaptchaError, ValueError):
    """A charset that is empty or holds a character twice."""


class LabelError(CrnnCaptchaError, ValueError):
    """A label that is empty, has unknown characters or is too long for the time steps."""


class DatasetError(CrnnCaptchaError, ValueError):
    """A zip, folder or CSV that can't be used as a data set."""


class PreprocessingError(CrnnCaptchaError, ValueError):
    """An unknown preprocessing stage or a bad parameter of one."""


class ConfigError(CrnnCaptchaError, ValueError):
    """An unknown preset, option or value."""


class FontError(CrnnCaptchaError, ValueError):
    """A font folder without a usable font."""


class BundleError(CrnnCaptchaError, ValueError):
    """A model file that is broken, unsafe or of a newer format."""


class ExportError(CrnnCaptchaError, ValueError):
    """A bundle that doesn't read what the model it was made from reads."""


class RunError(CrnnCaptchaError, OSError):
    """A run folder that can't be used, or not gone on with."""


class MissingExtraError(CrnnCaptchaError, OSError):
    """A part of the package whose optional dependencies aren't installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}'. Install it: pip install \"crnn-captcha[{extra}]\""
        )
        self._given = what, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), self._given  # it may come from a process of its own
