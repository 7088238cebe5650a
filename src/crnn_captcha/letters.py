"""Letters of prepared images, where gaps tell them apart, change places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.preprocessing import BACKGROUND, Image

INK = 40  # of 255: softened edges of letters are no bridge between them
ADDED_INK = 3  # the channel of the stage `add_ink`, which lines aren't in


def split_letters(image: Image, count: int) -> list[slice] | None:
    """Columns of each letter, with half of the gaps beside it.

    Args:
        image: prepared, uint8 (width, height, channels).
        count: of letters that the image shows.

    Returns:
        Slices along the width that cover the image but for what is empty behind the last letter's
        own half gap; None where columns with ink don't form just as many runs.
    """
    shown = image[..., ADDED_INK:] if image.shape[2] > ADDED_INK else image
    ink = (shown > INK).any(axis=(1, 2))  # (width,)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ink, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if len(starts) != count or not count:
        return None
    cuts = (ends[:-1] + starts[1:]) // 2
    return [slice(*cut) for cut in zip([0, *cuts], [*cuts, ends[-1]], strict=True)]


def shuffle_letters(
    image: Image, label: NDArray[np.int32], random: np.random.Generator
) -> tuple[Image, NDArray[np.int32]]:
    """The same letters in another order: other texts in the same font.

    Few texts make a network learn them by heart, as whole texts; in another order it has to look
    at the letters.

    Args:
        image: prepared, uint8 (width, height, channels).
        label: class ids, (length,).
        random: chooses the order.

    Returns:
        An image of the same size, and its label. Both as they were where the letters can't be told
        apart, or the new label would need more time steps than the old one.
    """
    pieces = split_letters(image, len(label))
    if pieces is None:
        return image, label
    order = random.permutation(len(label))
    shuffled = label[order]
    if _repeats(shuffled) > _repeats(label):  # it would need more time steps
        return image, label
    moved = np.full_like(image, BACKGROUND)
    parts = np.concatenate([image[pieces[i]] for i in order])
    moved[: len(parts)] = parts
    return moved, shuffled


def _repeats(label: NDArray[np.int32]) -> int:
    return int(np.count_nonzero(label[1:] == label[:-1]))
