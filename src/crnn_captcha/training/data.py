"""Batches as a Keras data set."""

from __future__ import annotations

from typing import Any

import keras

from crnn_captcha.batches import Batches
from crnn_captcha.streams import Batch


class CaptchaDataGenerator(keras.utils.PyDataset):
    """Batches for `model.fit`, made by parallel workers.

    The order within an epoch is a function of the seed of `batches` and the epoch; nothing
    depends on a global random state or on which worker makes a batch. Keras' own shuffling
    should stay off (`fit(..., shuffle=False)`).

    `fit` with this class uses Keras' workers. The command `train` streams the same batches
    through `Batches.stream` instead, which can start in the middle of an epoch, starts its
    processes afresh, and gives up with an error when no batch comes.

    Args:
        batches: what to pass on.
        epoch: whose order comes first; each `on_epoch_end` counts on (`fit` calls it once before it
            starts).
        workers: threads or processes that make batches ahead; 1 makes them one by one.
        use_multiprocessing: processes instead of threads, in Python's current start method.

    Example:
        model.fit(CaptchaDataGenerator(batches, workers=2), shuffle=False)
    """

    def __init__(
        self,
        batches: Batches,
        *,
        epoch: int = 0,
        workers: int = 2,
        use_multiprocessing: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=use_multiprocessing, **kwargs)
        self.batches = batches
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        """Images, uint8 (batch, width, height, channels), and labels, int32 (batch, longest)."""
        return self.batches.make(self.epoch, index)

    def on_epoch_end(self) -> None:
        """Goes on to the next epoch's order."""
        self.epoch += 1
