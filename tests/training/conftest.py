"""A network that has learned a handful of images by heart, as small as it can be."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import pytest
from conftest import FONTS, LEARNABLE, MakeConfig
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.drawing import draw
from crnn_captcha.preprocessing import stack
from crnn_captcha.training.config import Config
from crnn_captcha.training.losses import ctc_loss
from crnn_captcha.training.model import Networks, make_networks


@dataclass(frozen=True)
class Overfitted:
    """What was learned by heart, and by whom.

    Attributes:
        config: of the network.
        networks: trained.
        charset: its last character counts: a blank that stood last would swallow it.
        labels: of the images; together they have all characters.
        images: uint8 (batch, width, height, channels).
    """

    config: Config
    networks: Networks
    charset: Charset
    labels: tuple[str, ...]
    images: NDArray[np.uint8]


@pytest.fixture(scope="session")
def overfitted(quick_config: MakeConfig) -> Overfitted:
    config = quick_config("model.filters=[16, 32]", "model.neck=bilstm", "model.units=[16]")
    charset = Charset("01ab")
    labels = ("aa", "b0", "a1b", "00", "1", "ba1")
    random = np.random.default_rng(5)
    prepared = []
    for label in labels:
        prepared.append(config.pipeline(draw(label, LEARNABLE, random, FONTS)))
    images = stack(prepared)
    targets = np.full((len(labels), max(map(len, labels))), BLANK, np.int32)
    for row, label in zip(targets, labels, strict=True):
        row[: len(label)] = charset.encode(label)
    keras.utils.set_random_seed(1)
    networks = make_networks(config, charset.num_classes)
    networks.learner.compile(optimizer=keras.optimizers.Adam(1e-2), loss=ctc_loss)
    for layer in networks.learner.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # the averages that reading uses get there in a tenth of the steps
    for _ in range(200):
        networks.learner.train_on_batch(images, targets)
    return Overfitted(config, networks, charset, labels, images)
