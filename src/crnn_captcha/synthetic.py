"""Images that a training draws itself, new ones in each epoch, and those that it is measured on.

Keys end in what images are for, so that no image is drawn for two purposes.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache
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
ONE_STYLE = re.compile(r"\s*(?P<style>[^\s:,].*?):(?P<count>[0-9]{1,12})\s*(?:,(?=.)|$)")
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


def parse_synthetic(text: str) -> tuple[Synthetic, ...]:
    """What `STYLE:COUNT` says, or several of them with commas between.

    Example:
        >>> parse_synthetic("recovered:15000,coloured-lines:20000")
        (Synthetic(style='recovered', count=15000), Synthetic(style='coloured-lines', count=20000))

    Raises:
        ConfigError: if it isn't of that form, or a count isn't a whole number above 0.
    """
    found, end = [], 0
    while part := ONE_STYLE.match(text, end):
        found.append(Synthetic(part["style"], int(part["count"])))
        end = part.end()
    if not found or end < len(text) or not all(drawn.count for drawn in found):
        raise ConfigError(
            "What to draw has the form STYLE:COUNT, with so many images an epoch; several have "
            f"commas between them. Received: '{text}'. For example: coloured-lines:20000"
        )
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Images of one style or of several, numbered one style after the other.

    Attributes:
        parts: what draws, and how many images; at least one.
    """

    parts: tuple[tuple[Generator, int], ...]

    @property
    def count(self) -> int:
        """Images in all."""
        return sum(count for _, count in self.parts)

    @property
    def charset(self) -> Charset:
        """Of their labels."""
        characters = "".join(generator.style.charset.characters for generator, _ in self.parts)
        return Charset("".join(dict.fromkeys(characters)))

    @property
    def max_length(self) -> int:
        """Most characters of a label."""
        return max(generator.style.max_length for generator, _ in self.parts)

    def of(self, number: int) -> Generator:
        """What draws the image of a number below `count`."""
        ends = np.cumsum([count for _, count in self.parts])
        return self.parts[int(np.searchsorted(ends, number, side="right"))][0]


@dataclass(frozen=True, eq=False)
class EpochDrawings:
    """Images to learn from: a function of seed, epoch and number. `batches` mixes them.

    Attributes:
        mixture: draws them.
        seed: at least 0.
    """

    mixture: Mixture
    seed: int

    @property
    def count(self) -> int:
        """Images in an epoch."""
        return self.mixture.count

    @property
    def charset(self) -> Charset:
        """Of their labels."""
        return self.mixture.charset

    @property
    def max_length(self) -> int:
        """Most characters of a label."""
        return self.mixture.max_length

    def aspects(self, epoch: int) -> NDArray[np.float64]:
        """About how wide each text of an epoch is for its height, float64 (count,)."""
        found = (self.mixture.of(i).aspect(*self._key(epoch, i)) for i in range(self.count))
        return np.fromiter(found, np.float64, self.count)

    def draw(self, epoch: int, number: int) -> tuple[Image, str]:
        """An image of an epoch, RGB uint8 (height, width, 3), and its label."""
        drawn = self.mixture.of(number).draw(*self._key(epoch, number))
        return drawn.image, drawn.label

    @property
    def fingerprint(self) -> str:
        """Tells whether a training that goes on would draw what it drew before."""
        parts = []
        for generator, count in self.mixture.parts:
            fonts = "\n".join(
                f"{font.family}\t{font.style}\t{_content(font.path)}" for font in generator.fonts
            )
            style = generator.style
            anywhere = replace(style, fonts=replace(style.fonts, folders=()))  # they may be moved
            parts.append(f"{anywhere!r}\n{count}\n{self.seed}\n{fonts}")
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def _key(self, epoch: int, number: int) -> tuple[int, int, int, int]:
        return self.seed, epoch, number, TO_LEARN_FROM


@cache  # files with variations hold several fonts
def _content(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else "built in"


@dataclass(frozen=True)
class DrawnSource:
    """Files of a data set that are drawn when they are read; a name says which one."""

    mixture: Mixture
    seed: int

    def names(self) -> list[str]:
        """The images' names, sorted."""
        return sorted(sample.name for sample in self.samples())

    def samples(self) -> list[Sample]:
        """All images and their labels."""
        numbers = range(self.mixture.count)
        labels = [self.mixture.of(number).label(*self._key(number)) for number in numbers]
        return [Sample(f"validation/{label}-{i}.png", label) for i, label in enumerate(labels)]

    def read(self, name: str) -> bytes:
        """The PNG file of a name.

        Raises:
            DatasetError: if there is no such image.
        """
        number = name.rpartition("-")[2].removesuffix(".png")
        if not (number.isascii() and number.isdigit()) or int(number) >= self.mixture.count:
            raise DatasetError(f"There is no drawn image of this name. Received: '{name}'.")
        drawn = self.mixture.of(int(number)).draw(*self._key(int(number)))
        return png_of(drawn.image)

    def _key(self, number: int) -> tuple[int, int, int, int]:
        return self.seed, 0, number, TO_VALIDATE_WITH


def validation_data(mixture: Mixture, name: str, seed: int) -> Dataset:
    """Drawn images to validate with, where there is no data set.

    Args:
        mixture: draws them.
        name: what the data set is called.
        seed: at least 0; other than the training's, so that trainings can be compared.
    """
    source = DrawnSource(mixture, seed)
    splits: dict[Split, tuple[Sample, ...]] = {
        "train": (),
        "validation": tuple(source.samples()),
        "test": (),
    }
    return Dataset(Path(name), splits, (), source)
