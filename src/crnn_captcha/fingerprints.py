"""Images made small enough to be compared by the hundred thousand.

    image ─ contrast to the paper ─ 12 x 48 cells ─ 240 bits

The cells decide whether two images look the same, the bits find the pairs that are worth comparing.
Both are of the whole image: a box around the text, which would bear a wider margin, moves with each
softened pixel at its edge, and cells with it by more than another letter does.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import cv2
import numpy as np
from numpy.typing import NDArray

CELL_ROWS, CELL_COLUMNS = 12, 48
BIT_ROWS, BIT_COLUMNS = 8, 30  # of the cosine transform, its lowest frequencies
HASH_BITS = BIT_ROWS * BIT_COLUMNS  # 8 * 30 = 240
NOISE = 8  # levels; what differs less from the paper is paper


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of an image.

    Attributes:
        digest: equal for two images exactly when their pixels are.
        cells: uint8, `CELL_ROWS` rows of `CELL_COLUMNS`, each the mean contrast to the paper there;
            255 in the strongest. All 0 where nothing stands out in brightness.
        bits: `HASH_BITS` of them, packed: a perceptual hash of the cells.
        empty: whether all is of one colour, give or take `NOISE`.
    """

    digest: bytes
    cells: bytes
    bits: bytes
    empty: bool


def fingerprint(image: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of an image.

    Args:
        image: RGB uint8 (height, width, 3).
    """
    cells = contrast_cells(image)
    width = image.shape[1]
    # The size belongs to the digest: one-coloured images of 2x8 and 4x4 have the same bytes.
    digest = blake2b(image.tobytes(), digest_size=16, salt=b"%d" % width)
    empty = bool(np.ptp(image, axis=(0, 1)).max() <= NOISE)
    return Fingerprint(digest.digest(), cells.tobytes(), hash_bits(cells).tobytes(), empty)


def contrast_cells(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How much stands out from the paper, in each part of an image.

    The paper is the median brightness, and so either white or black may be. Brightness alone
    counts: what was saved as JPEG keeps it better than colours.

    Args:
        image: RGB uint8 (height, width, 3).

    Returns:
        uint8 (`CELL_ROWS`, `CELL_COLUMNS`), scaled so that the strongest is 255; all 0 if nothing
        stands out.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # (height, width)
    counts = np.cumsum(cv2.calcHist([grey], [0], None, [256], [0, 256]))
    paper = int(np.searchsorted(counts, counts[-1] / 2))
    contrast = np.abs(grey.astype(np.float32) - paper)
    contrast = np.maximum(contrast - NOISE, 0)
    cells = cv2.resize(contrast, (CELL_COLUMNS, CELL_ROWS), interpolation=cv2.INTER_AREA)
    strongest = cells.max()
    if strongest == 0:
        return np.zeros((CELL_ROWS, CELL_COLUMNS), np.uint8)
    return np.asarray(np.rint(cells * (255 / strongest)), np.uint8)


def hash_bits(cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Which of the lowest frequencies, of those that change along the text, are above their median.

    Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    section 3.2.1, here of 12 x 48 values instead of a square of 32.

    Args:
        cells: uint8 (`CELL_ROWS`, `CELL_COLUMNS`).

    Returns:
        uint8 (`HASH_BITS` // 8,), the bits packed.
    """
    frequencies = cv2.dct(cells.astype(np.float32))[:BIT_ROWS, 1 : 1 + BIT_COLUMNS]
    return np.packbits(frequencies > np.median(frequencies))
