"""A style and a seed -> labelled images, alone or as a data set in a folder or a zip.

Image i depends on the seed, the style, the fonts and i only: not on how many are drawn, nor in
which order. With the same versions of the libraries its file is the same to the byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from crnn_captcha.drawing import DEFAULT_STYLE, Style, draw
from crnn_captcha.errors import ConfigError, DatasetError
from crnn_captcha.files import replacing, write_bytes
from crnn_captcha.fonts import Font, find_fonts

FOLDER = "data/main"  # holds train/ and test/
TEST_EVERY = 10  # images 1, 11, 21, ... are for testing: a tenth, and one as soon as there are two
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold; a real one changes the bytes
FILE_MODE = 0o100644 << 16  # a regular file that its owner may write


@dataclass(frozen=True)
class GeneratedImage:
    """One file of a generated data set.

    Attributes:
        name: ``[label]-[id].png``.
        label: what the image says.
        split: the part of the data set that it belongs to.
        data: the PNG file's bytes, RGBA.
    """

    name: str
    label: str
    split: Literal["train", "test"]
    data: bytes

    @property
    def path(self) -> str:
        """The file's place in the data set, for example ``data/main/train/7x2k-0.png``."""
        return f"{FOLDER}/{self.split}/{self.name}"


def generate(
    count: int,
    seed: int,
    *,
    style: Style = DEFAULT_STYLE,
    fonts: Sequence[Font] | None = None,
) -> Iterator[GeneratedImage]:
    """Draws labelled captchas, one at a time.

    Every tenth image is for testing (1, 11, 21, ...), the others are for training. So both splits
    have images as soon as there are two, and more images move none to the other split.

    Args:
        count: how many; images 0 to ``count - 1``.
        seed: at least 0.
        style: how they look.
        fonts: what to draw with; None is `find_fonts` for the style's charset.

    Yields:
        The images in the order of their ids.

    Raises:
        ConfigError: if the count or the seed is negative.
        FontError: if `fonts` is None and none can draw the charset.
    """
    if count < 0 or seed < 0:
        raise ConfigError(
            f"Count and seed are at least 0. Received: count {count} and seed {seed}."
        )
    usable = tuple(fonts) if fonts is not None else find_fonts(style.charset.characters)
    return (_generate_one(index, seed, style, usable) for index in range(count))


def write_folder(out: str | os.PathLike[str], images: Iterable[GeneratedImage]) -> Path:
    """Writes images to ``OUT/data/main/train`` and ``OUT/data/main/test``.

    Each file appears whole or not at all; a run that was interrupted leaves those it has finished.

    Args:
        out: a folder that is empty or isn't there yet.
        images: what to write.

    Returns:
        The folder.

    Raises:
        DatasetError: if `out` is a file, or a folder that isn't empty. Nothing is overwritten.
        OSError: if the folder can't be written to.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"A data set goes into a folder. Received: {folder} (a file).")
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(
            "A data set goes into an empty folder, so that nothing is overwritten. "
            f"Received: {folder} (not empty). Name another folder, or remove this one."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        write_bytes(folder / image.path, image.data)
    return folder


def write_zip(out: str | os.PathLike[str], images: Iterable[GeneratedImage]) -> Path:
    """Writes images to a zip with ``data/main/train`` and ``data/main/test`` in it.

    The zip appears whole or not at all, and is the same to the byte for the same images.

    Args:
        out: the zip's path; ``.zip`` is added if it doesn't end so.
        images: what to write.

    Returns:
        The zip's path.

    Raises:
        DatasetError: if there is such a file already. Nothing is overwritten.
        OSError: if the zip can't be written.
    """
    path = zip_path(out)
    if path.exists():
        raise DatasetError(
            "A data set goes into a new zip, so that nothing is overwritten. "
            f"Received: {path} (exists). Name another file, or remove this one."
        )
    with replacing(path) as temporary, ZipFile(temporary, "w", ZIP_STORED) as archive:
        for image in images:
            entry = ZipInfo(image.path, ZIP_DATE)
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = FILE_MODE
            archive.writestr(entry, image.data)
    return path


def zip_path(out: str | os.PathLike[str]) -> Path:
    """`out` with ``.zip`` added, unless it ends so.

    Raises:
        DatasetError: if `out` has no name, as ``.`` and ``..`` haven't.
    """
    path = Path(out)
    if path.name in ("", ".."):
        raise DatasetError(f"A zip needs a file name. Received: '{out}'.")
    return path if path.suffix.lower() == ".zip" else path.with_name(f"{path.name}.zip")


def _generate_one(index: int, seed: int, style: Style, fonts: Sequence[Font]) -> GeneratedImage:
    rng = np.random.default_rng([seed, index])
    length = int(rng.integers(style.min_length, style.max_length, endpoint=True))
    characters = style.charset.characters
    label = "".join(characters[i] for i in rng.integers(len(characters), size=length))
    buffer = BytesIO()
    draw(label, style, rng, fonts).save(buffer, "PNG", compress_level=6)
    split: Literal["train", "test"] = "test" if index % TEST_EVERY == 1 else "train"
    return GeneratedImage(f"{label}-{index}.png", label, split, buffer.getvalue())
