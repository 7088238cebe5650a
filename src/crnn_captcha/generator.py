"""A style and a seed -> labelled images, alone or as a data set in a folder or a zip.

Image i depends on the seed, the style, the fonts and i only: not on how many are drawn, in which
order, nor by how many processes. With the same versions of the libraries its file is the same to
the byte.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.drawing import Image, lay_out, render
from crnn_captcha.errors import ConfigError, DatasetError, FontError
from crnn_captcha.files import replacing, write_bytes
from crnn_captcha.fonts import Font, families, find_fonts
from crnn_captcha.peers import find_peer
from crnn_captcha.style_files import load_style
from crnn_captcha.styles import OWN, Style

FOLDER = "data/main"  # holds train/ and test/
TEST_EVERY = 10  # images 1, 11, 21, ... are for testing: a tenth, and one as soon as there are two
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold; a real one changes the bytes
FILE_MODE = 0o100644 << 16  # a regular file that its owner may write
# Of PNG: flat colours compress better unfiltered, and faster.
PNG_FLAGS = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 3),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE),
)
CHUNK = 64  # images that a worker process draws at a time
MANY = 10 * CHUNK  # fewer are drawn before processes have started
CHUNKS_AHEAD = 4  # for each worker: hides a slow one, holds a few MB
MOST_WORKERS = 61  # Windows waits for no more processes


@dataclass(frozen=True)
class Drawn:
    """What was drawn: RGB uint8 (height, width, 3), and what it says."""

    label: str
    image: Image


@dataclass(frozen=True)
class GeneratedImage:
    """One file of a generated data set.

    Attributes:
        name: ``[label]-[id].png``.
        label: what the image says.
        split: the part of the data set that it belongs to.
        data: the PNG file's bytes, RGB.
    """

    name: str
    label: str
    split: Literal["train", "test"]
    data: bytes

    @property
    def path(self) -> str:
        """The file's place in the data set, for example ``data/main/train/7x2k-0.png``."""
        return f"{FOLDER}/{self.split}/{self.name}"


class Generator:
    """Draws any image of a style. May be pickled, and shared by threads.

    Args:
        style: how images look; None is the default of `load_style`.
        fonts: what to draw with; None is what the style says: its folders' and the installed ones.

    Raises:
        ConfigError: if the style names a generator that isn't known.
        MissingExtraError: if the style names a generator that isn't installed.
        FontError: if no font can draw the charset, or the style's generator can't draw with any.
    """

    def __init__(self, style: Style | None = None, fonts: Sequence[Font] | None = None) -> None:
        self.style = style or load_style()
        self.fonts = tuple(self._fonts() if fonts is None else fonts)
        if self.style.generator != OWN:
            self._keep_files(find_peer(self.style.generator).needs_font)
        self._families = list(families(self.fonts).values())
        self._files = [font.path for font in self.fonts if font.path]  # for peers

    def _keep_files(self, needed: bool) -> None:
        """Of the fonts those that other generators can draw with."""
        found = sum(font.path is not None for font in self.fonts)
        self.fonts = tuple(f for f in self.fonts if f.path and f.path.suffix.lower() == ".ttf")
        if not self.fonts and (found or needed):
            raise FontError(
                f"'{self.style.generator}' draws with .ttf files alone. Received: none among "
                f"{found} font files. Name a folder that has some."
            )

    def draw(self, *key: int) -> Drawn:
        """The image of a key: whole numbers of at least 0, for example a seed and an id."""
        random = np.random.default_rng(key)
        label, by_family = self._label(random)
        style = self.style
        if style.generator == OWN:
            return Drawn(label, render(lay_out(label, style, random, by_family), style, random))
        width = style.image.width_px.draw(random)
        width += len(label) * style.image.width_per_character_px.draw(random)
        size = max(1, round(width)), style.image.height_px.whole(random)
        path = self._files[random.integers(len(self._files))] if self._files else None
        return Drawn(label, find_peer(style.generator)(label, size, path, random))

    def aspect(self, *key: int) -> float:
        """About how wide the text of a key's image is for its height. Draws nothing."""
        random = np.random.default_rng(key)
        label, by_family = self._label(random)
        if self.style.generator != OWN:
            return float(len(label))
        return lay_out(label, self.style, random, by_family).aspect

    def label(self, *key: int) -> str:
        """What the image of a key says. Draws nothing."""
        return self._label(np.random.default_rng(key))[0]

    def _label(self, random: np.random.Generator) -> tuple[str, Sequence[Sequence[Font]]]:
        """A label, and the families that it can be drawn in."""
        by_family: Sequence[Sequence[Font]] = self._families
        characters = self.style.charset.characters
        if self.style.fonts.incomplete:
            family = by_family[int(random.integers(len(by_family)))]
            font = family[int(random.integers(len(family)))]
            by_family = [[font]]
            characters = font.usable(characters)
        length = int(random.integers(self.style.min_length, self.style.max_length, endpoint=True))
        chosen = [characters[i] for i in random.integers(len(characters), size=length)]
        confusable = [c for c in characters if c in self.style.confusable]
        if self.style.confusable_share and confusable:
            others = random.integers(len(confusable), size=length)
            exchanged = random.random(length) < self.style.confusable_share
            chosen = [
                confusable[i] if yes else c
                for c, i, yes in zip(chosen, others, exchanged, strict=True)
            ]
        return "".join(chosen), by_family

    def _fonts(self) -> Sequence[Font]:
        style = self.style
        if style.generator != OWN and not style.fonts.installed and not style.fonts.folders:
            return ()  # that generator's own
        fonts = style.fonts
        return find_fonts(
            style.charset.characters,
            fonts.folders,
            installed=fonts.installed,
            incomplete=fonts.incomplete,
        )


def generate(
    count: int,
    seed: int,
    *,
    style: Style | None = None,
    fonts: Sequence[Font] | None = None,
    workers: int = 1,
) -> Iterator[GeneratedImage]:
    """Draws labelled captchas, one at a time.

    Every tenth image is for testing (1, 11, 21, ...), the others are for training. So both splits
    have images as soon as there are two, and more images move none to the other split.

    Args:
        count: how many; images 0 to ``count - 1``.
        seed: at least 0.
        style: how they look; None is the default of `load_style`.
        fonts: what to draw with; None is what the style says.
        workers: processes that draw; 1 draws in this one. The images are the same.

    Yields:
        The images in the order of their ids.

    Raises:
        ConfigError: if the count or the seed is negative, there is no worker, or the style names a
            generator that isn't known.
        MissingExtraError: if the style names a generator that isn't installed.
        FontError: if no font can draw the charset.
        DatasetError: if a worker process died.
    """
    if count < 0 or seed < 0 or workers < 1:
        raise ConfigError(
            "Count and seed are at least 0, workers at least 1. "
            f"Received: count {count}, seed {seed} and {workers} workers."
        )
    generator = Generator(style, fonts)
    if workers == 1 or count < MANY:
        return (_generate_one(generator, seed, index) for index in range(count))
    return _generate_side_by_side(generator, count, seed, workers)


def png_of(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image, RGB uint8 (height, width, 3)."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), PNG_FLAGS)[1])


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


def _generate_one(generator: Generator, seed: int, index: int) -> GeneratedImage:
    drawn = generator.draw(seed, index)
    split: Literal["train", "test"] = "test" if index % TEST_EVERY == 1 else "train"
    return GeneratedImage(f"{drawn.label}-{index}.png", drawn.label, split, png_of(drawn.image))


def _generate_side_by_side(
    generator: Generator, count: int, seed: int, workers: int
) -> Iterator[GeneratedImage]:
    """Chunks of images by processes of their own, in order, a few ahead of what is asked for."""
    context = multiprocessing.get_context("spawn")
    workers = min(workers, MOST_WORKERS)
    executor = ProcessPoolExecutor(workers, context, _start_process, (generator,))
    ahead: deque[Future[list[GeneratedImage]]] = deque()
    try:
        for start in range(0, count, CHUNK):
            indices = range(start, min(start + CHUNK, count))
            ahead.append(executor.submit(_generate_in_process, seed, indices))
            if len(ahead) > workers * CHUNKS_AHEAD:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    except BrokenExecutor as error:
        raise DatasetError(
            f"A worker process died while drawing ({error}). Is memory short? Use fewer workers."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


_in_process: Generator | None = None  # what this worker process draws with


def _start_process(generator: Generator) -> None:
    global _in_process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the command alone
    cv2.setNumThreads(1)  # the processes share the cores
    _in_process = generator


def _generate_in_process(seed: int, indices: Sequence[int]) -> list[GeneratedImage]:
    if _in_process is None:
        raise DatasetError("A worker process draws after `_start_process`.")
    return [_generate_one(_in_process, seed, index) for index in indices]
