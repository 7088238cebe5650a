"""Fingerprints -> groups of images that are the same, or look the same.

Not every image is compared with every other one. Those that look the same have hashes that differ
in few bits, so if the bits are cut into bands, some bands are equal: only images with an equal
band are compared. With b bands all pairs share one whose hashes differ in fewer than b bits
(pigeonhole), and so do most of those that differ in a few more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BANDS = 20  # of 240 / 20 = 12 bits, each of them from low to high frequencies
MAX_BITS = 32  # copies differ in fewer, most other images in more: what is left, cells tell
MAX_LEVELS = 40  # of 255, in any cell; copies differ by less, another letter by more
NEIGHBOURS = 64  # in a band, for each image: also 100,000 alike are compared in bounded time
WORD_BITS = 64
CHUNK = 8192  # pairs whose cells are compared at a time

Positions = NDArray[np.int64]


def same(keys: Sequence[Hashable]) -> list[list[int]]:
    """The positions of each key that comes more than once, in the order of their first."""
    groups: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        groups.setdefault(key, []).append(position)
    return [group for group in groups.values() if len(group) > 1]


def alike(cells: NDArray[np.uint8], bits: NDArray[np.uint8]) -> list[list[int]]:
    """Groups of images that look the same: each differs from some other in no cell by much.

    In each band an image is compared with at most `NEIGHBOURS` others, those whose hash is next to
    its own; where more share a band, some pairs are only met in another band, or never.

    Args:
        cells: uint8 (images, `CELL_ROWS`, `CELL_COLUMNS`); images whose cells are all 0 have
            nothing to be compared by and are in no group.
        bits: uint8 (images, `HASH_BITS` // 8), the hash of each.

    Returns:
        Positions, ascending in each group, the groups in the order of their first.
    """
    there = np.flatnonzero(cells.any(axis=(1, 2)))  # (n,)
    cells, unpacked = cells[there], np.unpackbits(bits[there], axis=1)  # (n, HASH_BITS)
    words = _words(bits[there])
    first = np.arange(len(there))  # of the group that each belongs to
    for one, other in _neighbours(unpacked, words):
        apart = first[one] != first[other]
        one, other = one[apart], other[apart]
        close = np.bitwise_count(words[one] ^ words[other]).sum(axis=1) <= MAX_BITS
        one, other = one[close], other[close]
        looks_same = _differences(cells, one, other) <= MAX_LEVELS
        first = _joined(first, one[looks_same], other[looks_same])
    return [there[group].tolist() for group in same(first.tolist())]


def _words(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Packed bits in words, so that they are counted fast: (images, words)."""
    missing = -bits.shape[1] % (WORD_BITS // 8)
    return np.ascontiguousarray(np.pad(bits, ((0, 0), (0, missing)))).view(np.uint64)


def _neighbours(
    unpacked: NDArray[np.uint8], words: NDArray[np.uint64]
) -> Iterator[tuple[Positions, Positions]]:
    """Pairs with an equal band, in heaps: the two positions of each pair, side by side."""
    for band in range(BANDS):
        in_band = unpacked[:, band::BANDS].astype(np.int64)  # (images, 12)
        keys = in_band @ (1 << np.arange(in_band.shape[1]))
        order = np.lexsort((*words.T, keys))  # by band, then by hash
        keys = keys[order]
        for gap in range(1, NEIGHBOURS + 1):
            at = np.flatnonzero(keys[gap:] == keys[:-gap])
            if not at.size:
                break
            yield order[at], order[at + gap]


def _differences(cells: NDArray[np.uint8], one: Positions, other: Positions) -> NDArray[np.uint8]:
    """The largest difference of two cells in the same place, for each pair."""
    largest = np.empty(len(one), np.uint8)
    for start in range(0, len(one), CHUNK):
        some = slice(start, start + CHUNK)
        a, b = cells[one[some]], cells[other[some]]
        largest[some] = (np.maximum(a, b) - np.minimum(a, b)).max(axis=(1, 2))
    return largest


def _joined(first: Positions, one: Positions, other: Positions) -> Positions:
    """`first` after the groups of each pair became one."""
    while (apart := first[one] != first[other]).any():
        one, other = one[apart], other[apart]
        low = np.minimum(first[one], first[other])
        high = np.maximum(first[one], first[other])
        joined = first.copy()
        np.minimum.at(joined, high, low)
        while not np.array_equal(joined, nearer := joined[joined]):
            joined = nearer
        first = joined
    return first
