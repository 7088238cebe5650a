"""Letters of prepared images, where gaps tell them apart, are set anew into other texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import ConfigError
from crnn_captcha.preprocessing import BACKGROUND
from crnn_captcha.stages import Image

INK = 40  # of 255: softened edges of letters are no bridge between them
ADDED_INK = 3  # the channel of the stage `add_ink`, which lines aren't in
GAPS = (1, 8)  # between letters set anew, in pixels: most real ones don't touch
ORDERS = 4  # that are tried for one without more repeats


@dataclass(frozen=True)
class Typesetting:
    """How letters of training images are set anew, each time an image is seen.

    Where they only change places, they keep the gaps beside them.

    Attributes:
        share: of the images whose letters change places.
        mix: share of those that take letters of a second image as well.
        turn_degrees: each letter is turned by up to this, either way.
        resize: each letter's width and height change by up to this share, each by itself.
        shift: each letter moves across the text by up to this share of the image's height.

    Raises:
        ConfigError: if a value is out of its range.
    """

    share: float = 0.0
    mix: float = 0.0
    turn_degrees: float = 0.0
    resize: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        for name, below in (("share", 1), ("mix", 1), ("shift", 1), ("resize", 0.9)):
            if not 0 <= getattr(self, name) <= below:
                raise ConfigError(f"letters.{name} is 0 to {below}.")
        if not 0 <= self.turn_degrees <= 180:
            raise ConfigError("letters.turn_degrees is 0 to 180.")

    @property
    def changes_letters(self) -> bool:
        """Whether letters change themselves, not only their places."""
        return bool(self.turn_degrees or self.resize or self.shift)


@dataclass(frozen=True)
class LabelledImage:
    """A prepared image, uint8 (width, height, channels), and its class ids, int32 (length,)."""

    image: Image
    label: NDArray[np.int32]


@dataclass(frozen=True)
class Letter:
    """A piece of an image, uint8 (width, height, channels), and the class id that it shows."""

    piece: Image
    class_id: int


def split_letters(image: Image, count: int) -> list[slice] | None:
    """Columns of each letter, with half of the gaps between it and its neighbours.

    Args:
        image: prepared, uint8 (width, height, channels).
        count: of letters that the image shows.

    Returns:
        Slices along the width that cover the image but for what is empty behind the last letter's
        ink; None where columns with ink don't form just as many runs.
    """
    ink = _ink(image).any(axis=1)  # (width,)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ink, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) != count or not count:
        return None
    cuts = (ends[:-1] + starts[1:]) // 2
    return [slice(*cut) for cut in zip([0, *cuts], [*cuts, ends[-1]], strict=True)]


def set_anew(
    source: LabelledImage,
    random: np.random.Generator,
    typesetting: Typesetting,
    second: LabelledImage | None = None,
) -> LabelledImage:
    """Letters of an image in another order, each changed by itself.

    Few texts make a network learn them by heart: it knows an image by one of its letters, and
    recalls the others. Set anew, and mixed with the letters of another image, each has to be read.

    Args:
        source: the image whose letters are set anew.
        random: chooses order, letters and changes.
        typesetting: how far letters change.
        second: where letters to mix in come from.

    Returns:
        A text of as many letters, in an image that is at least as wide. `source` itself where its
        letters can't be told apart, or no order was found that needs no more time steps.
    """
    letters = _letters(source)
    if letters is None:
        return source
    if second and random.random() < typesetting.mix and (others := _letters(second)):
        for place in np.flatnonzero(random.random(len(letters)) < 0.5):
            letters[place] = others[random.integers(len(others))]
    for _ in range(ORDERS):
        order = random.permutation(len(letters))
        label = np.array([letters[i].class_id for i in order], source.label.dtype)
        if _repeats(label) <= _repeats(source.label):
            pieces, gaps = [letters[i].piece for i in order], np.zeros(len(order), np.int64)
            if typesetting.changes_letters:
                pieces = [_changed(piece, random, typesetting) for piece in pieces]
                gaps = random.integers(*GAPS, len(order), endpoint=True)
            return LabelledImage(_in_line(pieces, gaps, at_least=len(source.image)), label)
    return source


def _letters(source: LabelledImage) -> list[Letter] | None:
    places = split_letters(source.image, len(source.label))
    if places is None:
        return None
    ids = source.label.tolist()
    return [Letter(source.image[at], id_) for at, id_ in zip(places, ids, strict=True)]


def _changed(piece: Image, random: np.random.Generator, typesetting: Typesetting) -> Image:
    """The letter of a piece turned, resized and shifted, in columns that just hold it.

    It is made as small as it takes to stay whole within the image's height.
    """
    ink = _ink(piece)
    along, across = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    size = np.array([along[-1] - along[0] + 1, across[-1] - across[0] + 1], np.float64)
    centre = np.array([along[-1] + along[0], across[-1] + across[0]], np.float64) / 2
    angle = math.radians(random.uniform(-1, 1) * typesetting.turn_degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    matrix = turn * (1 + random.uniform(-1, 1, 2) * typesetting.resize)  # resized, then turned
    height = piece.shape[1]
    if (needed := (np.abs(matrix) @ size)[1]) > height:
        matrix *= height / needed
    width, needed = np.abs(matrix) @ size
    shift = random.uniform(-1, 1) * typesetting.shift * height
    room = (needed - 1) / 2, height - 1 - (needed - 1) / 2
    target = np.array([(math.ceil(width) - 1) / 2, np.clip(centre[1] + shift, *room)])
    # OpenCV's x goes along the second axis: both axes change places in its matrix.
    affine = np.column_stack([matrix[::-1, ::-1], (target - matrix @ centre)[::-1]])
    changed = cv2.warpAffine(piece, affine, (height, math.ceil(width)), flags=cv2.INTER_LINEAR)
    return np.asarray(changed, np.uint8).reshape(math.ceil(width), height, piece.shape[2])


def _in_line(pieces: Sequence[Image], gaps: NDArray[np.int64], at_least: int) -> Image:
    """Pieces one after another, each behind a gap, in an image of a width or wider."""
    ends = np.cumsum(gaps + [len(piece) for piece in pieces])
    image = np.full((max(at_least, int(ends[-1])), *pieces[0].shape[1:]), BACKGROUND, np.uint8)
    for piece, end in zip(pieces, ends, strict=True):
        image[end - len(piece) : end] = piece
    return image


def _ink(image: Image) -> NDArray[np.bool_]:
    """Where letters are: bool (width, height)."""
    shown = image[..., ADDED_INK:] if image.shape[2] > ADDED_INK else image
    return np.asarray((shown > INK).any(axis=2))


def _repeats(label: NDArray[np.int32]) -> int:
    return int(np.count_nonzero(label[1:] == label[:-1]))
