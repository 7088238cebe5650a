"""Images that a training draws itself, new ones in each epoch, and those that it is measured on.

Keys end in what images are for, so that no image is drawn for two purposes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import Charset
from crnn_captcha.dataset import Dataset, Sample, Split
from crnn_captcha.drawing import Image
from crnn_captcha.errors import ConfigError, DatasetError
from crnn_captcha.generator import Generator, png_of

TO_LEARN_FROM = 1
TO_VALIDATE_WITH = 2
RECOVERED = "recovered"  # instead of a style: one with the fonts of the images to learn from


@dataclass(frozen=True)
class Synthetic:
    """What is to be drawn: `STYLE:COUNT`.

    Attributes:
        style: a name or a file, as `load_style` takes it, or `RECOVERED`.
        count: images in an epoch.
    """

    style: str
    count: int


def parse_synthetic(text: str) -> Synthetic:
    """What `STYLE:COUNT` says.

    Example:
        >>> parse_synthetic("coloured-lines:20000")
        Synthetic(style='coloured-lines', count=20000)

    Raises:
        ConfigError: if it isn't of that form, or the count isn't a whole number above 0.
    """
    style, _, count = text.rpartition(":")
    if not style or not (count.isascii() and count.isdigit()) or not int(count):
        raise ConfigError(
            "What to draw has the form STYLE:COUNT, with so many images an epoch. "
            f"Received: '{text}'. For example: coloured-lines:20000"
        )
    return Synthetic(style, int(count))


@dataclass(frozen=True, eq=False)
class EpochDrawings:
    """Images to learn from: a function of seed, epoch and number. `batches` mixes them.

    Attributes:
        generator: draws them.
        count: images in an epoch.
        seed: at least 0.
    """

    generator: Generator
    count: int
    seed: int

    @property
    def charset(self) -> Charset:
        """Of their labels."""
        return self.generator.style.charset

    @property
    def max_length(self) -> int:
        """Most characters of a label."""
        return self.generator.style.max_length

    def aspects(self, epoch: int) -> NDArray[np.float64]:
        """About how wide each text of an epoch is for its height, float64 (count,)."""
        keys = (self._key(epoch, number) for number in range(self.count))
        return np.fromiter((self.generator.aspect(*key) for key in keys), np.float64, self.count)

    def draw(self, epoch: int, number: int) -> tuple[Image, str]:
        """An image of an epoch, RGB uint8 (height, width, 3), and its label."""
        drawn = self.generator.draw(*self._key(epoch, number))
        return drawn.image, drawn.label

    @property
    def fingerprint(self) -> str:
        """Tells whether a training that goes on would draw what it drew before."""
        fonts = "\n".join(f"{font.family}\t{font.style}" for font in self.generator.fonts)
        style = self.generator.style
        anywhere = replace(style, fonts=replace(style.fonts, folders=()))  # they may be moved
        what = f"{anywhere!r}\n{self.count}\n{self.seed}\n{fonts}"
        return hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()

    def _key(self, epoch: int, number: int) -> tuple[int, int, int, int]:
        return self.seed, epoch, number, TO_LEARN_FROM


@dataclass(frozen=True)
class DrawnSource:
    """Files of a data set that are drawn when they are read; a name says which one."""

    generator: Generator
    count: int
    seed: int

    def names(self) -> list[str]:
        """The images' names, sorted."""
        return sorted(sample.name for sample in self.samples())

    def samples(self) -> list[Sample]:
        """All images and their labels."""
        keys = ((self.seed, 0, number, TO_VALIDATE_WITH) for number in range(self.count))
        labels = [self.generator.label(*key) for key in keys]
        return [Sample(f"validation/{label}-{i}.png", label) for i, label in enumerate(labels)]

    def read(self, name: str) -> bytes:
        """The PNG file of a name.

        Raises:
            DatasetError: if there is no such image.
        """
        number = name.rpartition("-")[2].removesuffix(".png")
        if not (number.isascii() and number.isdigit()) or int(number) >= self.count:
            raise DatasetError(f"There is no drawn image of this name. Received: '{name}'.")
        return png_of(self.generator.draw(self.seed, 0, int(number), TO_VALIDATE_WITH).image)


def validation_data(generator: Generator, name: str, count: int, seed: int) -> Dataset:
    """Drawn images to validate with, where there is no data set.

    Args:
        generator: draws them.
        name: what the data set is called.
        count: how many.
        seed: at least 0; other than the training's, so that trainings can be compared.
    """
    source = DrawnSource(generator, count, seed)
    splits: dict[Split, tuple[Sample, ...]] = {
        "train": (),
        "validation": tuple(source.samples()),
        "test": (),
    }
    return Dataset(Path(name), splits, (), source)
