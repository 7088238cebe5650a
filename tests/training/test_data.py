"""The Keras data set passes batches on as they are, whichever worker makes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeConfig

from crnn_captcha.batches import Batches
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import open_dataset
from crnn_captcha.training.data import CaptchaDataGenerator
from crnn_captcha.training.losses import ctc_loss
from crnn_captcha.training.model import make_networks

IN_PROCESSES = """
import multiprocessing
import sys

import keras

from crnn_captcha.batches import Batches
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import open_dataset
from crnn_captcha.preprocessing import Pipeline, Stage
from crnn_captcha.training import CaptchaDataGenerator, ctc_loss


def main():
    multiprocessing.set_start_method("spawn")
    dataset = open_dataset(sys.argv[1])
    pipeline = Pipeline((Stage("grayscale"), Stage("resize_height", {"height": 16})),
                        fixed_width=64)
    batches = Batches(dataset, dataset.samples("train"), pipeline, Charset("01ab"),
                      batch_size=16, seed=4, cache_bytes=10**6)
    losses = [fit(batches, processes) for processes in (True, False)]
    print("the same loss:", losses[0] == losses[1] > 0)


def fit(batches, processes):
    keras.utils.set_random_seed(1)
    images = keras.Input((64, 16, 1))
    x = keras.layers.Reshape((32, 32))(images)
    model = keras.Model(images, keras.layers.Dense(5)(x))
    model.compile(optimizer="sgd", loss=ctc_loss)
    data = CaptchaDataGenerator(batches, workers=2, use_multiprocessing=processes)
    return model.fit(data, shuffle=False, verbose=0).history["loss"][0]


if __name__ == "__main__":
    main()
"""


@pytest.fixture(scope="module")
def batches(captchas: Path, quick_config: MakeConfig) -> Batches:
    dataset = open_dataset(captchas)
    config = quick_config()
    return Batches(
        dataset,
        dataset.samples("train"),
        config.pipeline,
        Charset("01ab"),
        batch_size=10,
        seed=4,
        cache_bytes=10**6,
    )


def test_batches_are_passed_on(batches: Batches) -> None:
    data = CaptchaDataGenerator(batches, epoch=3)
    assert len(data) == len(batches) == 5
    for index in range(len(data)):
        images, labels = data[index]
        expected_images, expected_labels = batches.make(3, index)
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_each_epoch_has_its_own_order(batches: Batches) -> None:
    data = CaptchaDataGenerator(batches)
    first = data[0][1]
    data.on_epoch_end()
    assert data.epoch == 1
    np.testing.assert_array_equal(data[0][1], batches.make(1, 0)[1])
    assert not np.array_equal(data[0][1], first)


def test_the_global_random_state_is_left_alone(batches: Batches) -> None:
    np.random.seed(0)  # noqa: NPY002
    before = [
        labels.tolist() for _, labels in map(CaptchaDataGenerator(batches).__getitem__, (0, 1))
    ]
    np.random.seed(1)  # noqa: NPY002
    again = [
        labels.tolist() for _, labels in map(CaptchaDataGenerator(batches).__getitem__, (0, 1))
    ]
    assert before == again


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_sees_whole_epochs_each_in_its_own_order(batches: Batches, workers: int) -> None:
    seen: list[list[list[int]]] = []

    def spy(y_true: Any, y_pred: Any) -> Any:
        seen.append(np.asarray(y_true).astype(int).tolist())
        return keras.ops.mean(y_pred)

    images = keras.Input((None, 16, 1))
    model = keras.Model(images, keras.layers.Dense(1)(images))
    model.compile(optimizer="sgd", loss=spy, run_eagerly=True)
    data = CaptchaDataGenerator(batches, workers=workers)
    model.fit(data, epochs=3, shuffle=False, verbose=0)
    # Keras ends an epoch before the first one, when it has looked at a batch's shape.
    first = data.epoch - 3
    wanted = [batches.make(first + i, j)[1].tolist() for i in range(3) for j in range(len(batches))]
    assert seen == wanted


def test_a_network_learns_from_it(batches: Batches, quick_config: MakeConfig) -> None:
    keras.utils.set_random_seed(1)
    learner = make_networks(quick_config(), 5).learner
    learner.compile(optimizer="adam", loss=ctc_loss)
    data = CaptchaDataGenerator(batches)
    losses = learner.fit(data, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.slow
def test_fit_takes_it_with_processes(captchas: Path, tmp_path: Path) -> None:
    script = tmp_path / "in_processes.py"
    script.write_text(IN_PROCESSES)
    done = subprocess.run(
        [sys.executable, script, captchas], capture_output=True, text=True, timeout=120, check=False
    )
    assert "the same loss: True" in done.stdout, done.stderr
