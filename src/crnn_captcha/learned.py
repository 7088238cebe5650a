"""Which images a model has learned from: hashes of their files, kept in its run and its bundle.

Data grow, labels are corrected, files renamed, validation is cut anew: by its bytes an image is
known again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.dataset import Dataset, Sample
from crnn_captcha.errors import DatasetError, ImageError

Learned = NDArray[np.uint32]  # sorted, each once
BYTES = "<u4"  # how one is written
COPIES = 0.01  # of a split's images so many may have a copy in another: data are like that
MOST_IN_TEXT = 100_000  # images; a bundle's metadata may have a megabyte


def learned_from(dataset: Dataset, before: Learned | None = None) -> Learned:
    """What a training learns from; images that can't be read aren't.

    Args:
        dataset: whose train split it is; nothing, if that has no images.
        before: what the model that it starts from has learned from, if that says so.
    """
    hashes = _hashes(dataset, dataset.splits["train"])
    return np.unique(hashes if before is None else np.concatenate([hashes, before]))


def count_seen(dataset: Dataset, samples: Iterable[Sample], learned: Learned) -> int:
    """How many of some images were learned from, copies of such images among them.

    0 where hashes agree no more often than by chance: of a hundred thousand images with as many,
    two do.
    """
    hashes = _hashes(dataset, samples)
    seen = int(np.isin(hashes, learned).sum())
    by_chance = len(hashes) * len(learned) / 2**32
    return seen if seen > by_chance + 4 * by_chance**0.5 else 0


def count_known(dataset: Dataset, samples: Sequence[Sample], learned: Learned) -> int:
    """The same, but 0 where as many may be copies that the data have."""
    seen = count_seen(dataset, samples, learned)
    return seen if seen > COPIES * len(samples) else 0


def to_bytes(learned: Learned) -> bytes:
    """For a run's file, as `from_bytes` reads it."""
    return learned.astype(BYTES).tobytes()


def from_bytes(data: bytes) -> Learned | None:
    """None if it is none."""
    return None if len(data) % 4 else np.frombuffer(data, BYTES).astype(np.uint32)


def to_text(learned: Learned) -> str:
    """For a bundle's metadata, as `from_text` reads it; empty if there are too many."""
    return base64.b64encode(to_bytes(learned)).decode() if len(learned) <= MOST_IN_TEXT else ""


def from_text(text: object) -> Learned | None:
    """None if it is none: a bundle may say anything."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return from_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None


def _hashes(dataset: Dataset, samples: Iterable[Sample]) -> Learned:
    digests = b"".join(blake2b(data, digest_size=4).digest() for data in _files(dataset, samples))
    return np.frombuffer(digests, BYTES).astype(np.uint32)


def _files(dataset: Dataset, samples: Iterable[Sample]) -> Iterator[bytes]:
    for sample in samples:
        try:
            yield dataset.read(sample)
        except (DatasetError, ImageError):  # broken, and refused or left out elsewhere
            continue
