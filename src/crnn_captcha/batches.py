"""Prepared images and their labels in batches, in an order fixed by a seed.

Nothing here needs Keras: a worker process that makes batches starts in a fraction of the time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.dataset import BrokenImage, Dataset, Sample
from crnn_captcha.errors import CrnnCaptchaError, DatasetError, LabelError
from crnn_captcha.images import decode_image
from crnn_captcha.letters import LabelledImage, Typesetting, set_anew
from crnn_captcha.preprocessing import Pipeline, pad_width, stack
from crnn_captcha.stages import Image
from crnn_captcha.streams import Batch, BatchStream

POOL_BATCHES = 32  # batches whose images are sorted by width together: like widths, still mixed


class Drawings(Protocol):
    """Images that are drawn when they are needed, other ones in each epoch. May be pickled."""

    @property
    def count(self) -> int:
        """Images in an epoch."""
        ...

    @property
    def charset(self) -> Charset:
        """Of their labels."""
        ...

    @property
    def max_length(self) -> int:
        """Most characters of a label."""
        ...

    @property
    def fingerprint(self) -> str:
        """The same for the same images."""
        ...

    def aspects(self, epoch: int) -> NDArray[np.float64]:
        """About how wide each text of an epoch is for its height, (count,)."""
        ...

    def draw(self, epoch: int, number: int) -> tuple[Image, str]:
        """An image of an epoch, RGB uint8 (height, width, 3), and its label."""
        ...


class Batches(BatchStream):
    """Samples of a data set as prepared batches.

    The order is a function of seed and epoch alone, a batch one of seed, epoch and index:
    training can go on from any batch, in any process, and sees what it would have seen.

    Args:
        dataset: where the images are read from.
        samples: what to make batches of, in this order where nothing is shuffled.
        pipeline: prepares the images.
        charset: of the labels.
        batch_size: images in a batch; the last one of an epoch may have fewer.
        seed: of the order; None keeps the order of the samples (for validation).
        like_widths: put images of like widths into one batch, so that little is padding.
        cache_bytes: prepared images are kept up to this size, in each process.
        letters: how letters are set anew, where gaps tell them apart; needs a seed.
        drawings: more images, in batches of their own, mixed with the others; needs a seed. Their
            letters aren't set anew: they are new anyway.

    Raises:
        DatasetError: if there are no samples and no drawings, or drawings but no seed.
        LabelError: if a label has a character that the charset lacks.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        pipeline: Pipeline,
        charset: Charset,
        *,
        batch_size: int = 32,
        seed: int | None = None,
        like_widths: bool = False,
        cache_bytes: int = 0,
        letters: Typesetting | None = None,
        drawings: Drawings | None = None,
    ) -> None:
        if not samples and drawings is None:
            raise DatasetError("Batches need at least one sample. Received: none.")
        if drawings is not None and seed is None:
            raise DatasetError("Images are drawn by a seed. Received: none.")
        self.dataset = dataset
        self.samples = tuple(samples)
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.seed = seed
        self.like_widths = like_widths
        self.letters = letters
        self.drawings = drawings
        self.charset = charset
        self.drawn_width = 0  # drawn images are padded to at least this; see `pad_drawn`
        longest = drawings.max_length if drawings else 0
        self.label_width = max([longest, *(len(sample.label) for sample in samples)])
        self._labels = np.full((len(samples), self.label_width), BLANK, np.int32)
        for row, sample in zip(self._labels, samples, strict=True):
            row[: len(sample.label)] = charset.encode(sample.label)
        self._cache = _Cache(cache_bytes)
        self._widths: NDArray[np.int64] | None = None if samples else np.zeros(0, np.int64)
        self._order: tuple[int, list[NDArray[np.int64]]] | None = None
        self._ordering = threading.Lock()
        if drawings and (unknown := charset.unknown(drawings.charset.characters)):
            raise LabelError(
                f"A charset has all characters that are drawn. Received: '{charset.characters}', "
                f"which lacks '{unknown}'. Train with a charset that has them."
            )

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.seed is None:
            return len(self.order(0))
        counts = len(self.samples), self.drawings.count if self.drawings else 0
        return sum(-(-count // self.batch_size) for count in counts)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ordering": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._ordering = threading.Lock()

    def image(self, position: int) -> Image:
        """The prepared image of the sample at `position`: uint8 (width, height, channels).

        Raises:
            ImageError, DatasetError, PreprocessingError: if it can't be had.
        """
        image = self._cache.get(position)
        if image is None:
            image = self.pipeline(decode_image(self.dataset.read(self.samples[position])))
            self._cache.put(position, image)
        return image

    def measure(self, workers: int = 2) -> Iterator[BrokenImage | None]:
        """Prepares every image once: learns the widths, fills the cache, finds the broken ones.

        Yields one item a sample, in order: None, or what is wrong with it. `like_widths` works
        from when all are measured.
        """
        widths = np.zeros(len(self.samples), np.int64)

        def prepare(position: int) -> BrokenImage | None:
            try:
                widths[position] = len(self.image(position))
            except CrnnCaptchaError as error:
                return BrokenImage(self.samples[position].name, str(error))
            return None

        with ThreadPoolExecutor(max(1, workers)) as executor:
            yield from executor.map(prepare, range(len(self.samples)))
        self._widths, self._order = widths, None

    @property
    def widths(self) -> NDArray[np.int64]:
        """Padded width of each prepared image in pixels, int64 (samples,).

        Raises:
            DatasetError: before `measure` has run through.
        """
        if self._widths is None:
            raise DatasetError("Widths are known after `measure` has run through.")
        return self._widths

    def begin(self, epoch: int) -> None:
        """Puts the epoch in order: with many drawings that takes longer than a batch may."""
        self.order(epoch)

    def order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Positions of the samples in each batch of an epoch; drawings count on from the last."""
        with self._ordering:  # it may take a while: once is enough for all threads
            order = self._order
            if order is None or order[0] != epoch:
                order = self._order = epoch, self._make_order(epoch)
        return order[1]

    def _make_order(self, epoch: int) -> list[NDArray[np.int64]]:
        size = self.batch_size
        positions = np.arange(len(self.samples))
        if self.seed is None:
            return self._in_sequence(positions)
        random = np.random.default_rng([self.seed, epoch])
        positions = random.permutation(positions)
        if not self.like_widths and not self.drawings:
            return [positions[i : i + size] for i in range(0, len(positions), size)]
        widths: NDArray[Any] = self.widths if self.like_widths else np.zeros(len(positions))
        batches = _in_pools(positions, widths, size)
        if self.drawings:
            drawn = np.arange(self.drawings.count)
            widths = self.drawings.aspects(epoch) if self.like_widths else np.zeros(len(drawn))
            batches += [len(positions) + batch for batch in _in_pools(drawn, widths, size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _in_sequence(self, positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Batches of one width each, as reading makes them, or in the samples' own order."""
        groups = [positions]
        if self.like_widths:
            groups = [np.flatnonzero(self.widths == width) for width in np.unique(self.widths)]
        size = self.batch_size
        return [group[i : i + size] for group in groups for i in range(0, len(group), size)]

    def make(self, epoch: int, index: int) -> Batch:
        """One batch.

        Returns:
            Images, uint8 (batch, width, height, channels), and class ids of the labels, padded
            with the blank, int32 (batch, longest label of all samples).
        """
        positions = self.order(epoch)[index]
        if positions[0] >= len(self.samples):
            return self._draw(epoch, positions - len(self.samples))
        images, labels = [self.image(int(p)) for p in positions], self._labels[positions]
        if self.letters and self.seed is not None:
            random = np.random.default_rng([self.seed, epoch, index])
            for i in np.flatnonzero(random.random(len(images)) < self.letters.share):
                source, second = _labelled(images[i], labels[i]), None
                if self.letters.mix:
                    other = int(random.integers(len(self.samples)))
                    second = _labelled(self.image(other), self._labels[other])
                anew = set_anew(source, random, self.letters, second)
                width = self.pipeline.padded_width(len(anew.image))
                if len(anew.image) <= width:
                    images[i] = pad_width(anew.image, width)
                    labels[i, : len(anew.label)] = anew.label
        return stack(images), labels

    def _draw(self, epoch: int, numbers: NDArray[np.int64]) -> Batch:
        """A batch of drawings."""
        assert self.drawings  # noqa: S101 (they are in the order)
        images = []
        labels = np.full((len(numbers), self.label_width), BLANK, np.int32)
        for row, number in zip(labels, numbers, strict=True):
            drawn, label = self.drawings.draw(epoch, int(number))
            image = self.pipeline(drawn)
            images.append(pad_width(image, max(len(image), self.drawn_width)))
            row[: len(label)] = self.charset.encode(label)
        return stack(images), labels

    def pad_drawn(self, width: int) -> None:
        """Pads drawn images to at least `width` pixels, for the time steps that labels need."""
        self.drawn_width = width


def _labelled(image: Image, label: NDArray[np.int32]) -> LabelledImage:
    return LabelledImage(image, label[label != BLANK])


def _in_pools(
    positions: NDArray[np.int64], widths: NDArray[Any], size: int
) -> list[NDArray[np.int64]]:
    """Batches of like widths, out of pools of positions that are taken in their order."""
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(positions), size * POOL_BATCHES):
        pool = positions[start : start + size * POOL_BATCHES]
        pool = pool[np.argsort(widths[pool], kind="stable")]
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return batches


class _Cache:
    """Images by position, up to a size in bytes; what came first stays. A copy starts empty."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._images: dict[int, Image] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[_Cache], tuple[int]]:
        return _Cache, (self.limit,)

    def get(self, position: int) -> Image | None:
        return self._images.get(position)

    def put(self, position: int, image: Image) -> None:
        with self._lock:
            if position not in self._images and image.nbytes <= self._free:
                self._free -= image.nbytes
                self._images[position] = image
