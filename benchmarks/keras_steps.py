"""Takes training steps with Keras, as `crnn-captcha train` does; started by training_step.py."""

from __future__ import annotations

import dataclasses
import json
import string
import sys
from pathlib import Path

import numpy as np
from measurement import run
from numpy.typing import NDArray
from workers import serve

from crnn_captcha.charset import Charset
from crnn_captcha.generator import generate
from crnn_captcha.images import decode_image
from crnn_captcha.preprocessing import stack
from crnn_captcha.training.config import AugmentationConfig, Config, make_config
from crnn_captcha.training.loop import build_networks  # the same network, settings and optimizer

CHARSET = Charset(string.digits + string.ascii_lowercase)  # what is drawn
POOL_BATCHES = 8  # the batch is the middle one by width of so many
STEPS_PER_EPOCH = 500


def make_batch(config: Config) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Generated captchas, prepared.

    Returns:
        Images, uint8 (batch, width, height, channels), and class ids of the labels, padded with
        the blank, int32 (batch, longest label).
    """
    size = config.data.batch_size
    drawn = list(generate(size * POOL_BATCHES, config.seed))
    images = [config.pipeline(decode_image(image.data)) for image in drawn]
    order = sorted(range(len(drawn)), key=lambda i: len(images[i]))
    middle = order[(len(order) - size) // 2 :][:size]
    labels = np.zeros((size, max(len(drawn[i].label) for i in middle)), np.int32)
    for row, i in zip(labels, middle, strict=True):
        row[: len(drawn[i].label)] = CHARSET.encode(drawn[i].label)
    return stack([images[i] for i in middle]), labels


def main() -> None:
    """Leaves the batch and a description of the network in a folder, then takes steps."""
    import keras  # here, so that the package, imported above, has silenced their chatter
    import tensorflow as tf

    preset, threads, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    config = dataclasses.replace(make_config(preset), augmentation=AugmentationConfig())
    images, labels = make_batch(config)
    np.savez(folder / "batch.npz", images=images, labels=labels)
    num_classes = CHARSET.num_classes
    description = {
        "model": dataclasses.asdict(config.model),
        "optimizer": dataclasses.asdict(config.optimizer),
        "num_classes": num_classes,
    }
    (folder / "network.json").write_text(json.dumps(description), encoding="utf-8")

    learner = build_networks(config, num_classes, STEPS_PER_EPOCH).learner
    heads = len(learner.outputs)
    targets = labels if heads == 1 else [labels] * heads
    facts = {
        "name": f"Keras {keras.__version__} on TensorFlow {tf.__version__}",
        "weights": sum(int(np.prod(weight.shape)) for weight in learner.trainable_weights),
        "images": images.shape,
    }
    serve(lambda: float(np.ravel(learner.train_on_batch(images, targets))[0]), facts)


if __name__ == "__main__":
    run(main, times=False)
