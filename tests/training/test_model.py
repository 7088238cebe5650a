"""Every backbone goes with every neck and learns; the blank is class 0 from loss to text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import keras
import numpy as np
import pytest
from conftest import MakeConfig
from numpy.typing import NDArray

from crnn_captcha.charset import Charset
from crnn_captcha.checks import CLASSIC_TIME_STEPS, STANDARD_STRIDE
from crnn_captcha.decoding import greedy_decode
from crnn_captcha.errors import ConfigError
from crnn_captcha.metrics import exact_match
from crnn_captcha.training.config import PRESETS, Config, change
from crnn_captcha.training.losses import ConsistentCTC, ctc_loss
from crnn_captcha.training.model import BACKBONES, NECKS, Networks, make_networks
from crnn_captcha.training.preparation import BYTES_A_WEIGHT
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.trained import load_networks
from training.conftest import Overfitted

TIME_STEPS = 40 // 4  # of an image of 40 pixels
FILTERS = {"vgg": [4, 8], "resnet": [4, 6, 6, 6, 8], "resnet_fine": [4, 6, 6, 6, 8]}
LABELS = np.array([[1, 2, 0], [4, 4, 3], [3, 0, 0], [1, 1, 0]], np.int32)


def _images(width: int = 40, seed: int = 0) -> NDArray[np.uint8]:
    """As many as `LABELS`: uint8 (batch, width, height, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (4, width, 16, 3), np.uint8)


def _differences(config: Config) -> NDArray[np.float32]:
    """How much the logits of a time step change with the images' end: (time_steps,)."""
    keras.utils.set_random_seed(3)
    reader = make_networks(config, num_classes=5).reader
    images = _images(width=96)
    others = images.copy()
    others[:, -8:] = 255 - images[:, -8:]
    logits, changed = (np.asarray(reader(either, training=False)) for either in (images, others))
    return np.asarray(np.abs(logits - changed).max(axis=(0, 2)))


@pytest.fixture
def sixteen_bits() -> Iterator[None]:
    """The policy is global: other tests want the usual one."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_learns_with_every_neck(
    tiny_config: MakeConfig, backbone: str, neck: str
) -> None:
    config = tiny_config(
        f"model.backbone={backbone}",
        f"model.neck={neck}",
        f"model.filters={FILTERS[backbone]}",
        f"model.ctc_shortcut={0.3 if backbone == 'resnet' else 0}",
        "augmentation={}",
        "model.dropout=0",
    )
    keras.utils.set_random_seed(2)
    networks = make_networks(config, num_classes=5)
    images = _images()
    logits = networks.reader.predict(images, verbose=0)
    assert logits.shape == (4, TIME_STEPS, 5)
    assert logits.dtype == np.float32

    heads = len(networks.learner.outputs)
    assert heads == (2 if config.model.ctc_shortcut else 1)
    networks.learner.compile(optimizer=keras.optimizers.Adam(1e-2), loss=[ctc_loss] * heads)
    targets = [LABELS] * heads
    losses = [_total(networks.learner.train_on_batch(images, targets)) for _ in range(12)]
    assert losses[-1] < losses[0] / 2
    after = networks.reader.predict(images, verbose=0)
    assert np.abs(after - logits).max() > 0.01  # the reader learned what the learner was taught


def _total(logs: Any) -> float:
    return float(np.ravel(logs)[0])


def _learner_logits(networks: Networks, **options: Any) -> list[NDArray[np.float32]]:
    """Of each head."""
    logits = networks.learner(_images(), **options)
    return [np.asarray(head) for head in (logits if isinstance(logits, list) else [logits])]


@pytest.mark.parametrize("shortcut", [0, 0.3], ids=["one head", "two heads"])
def test_several_views_are_read_as_the_image(tiny_config: MakeConfig, shortcut: float) -> None:
    changes = "augmentation={views=2, lines=4, patches=4}"
    config = tiny_config(f"model.ctc_shortcut={shortcut}", changes)
    networks = make_networks(config, num_classes=5)
    logits = np.asarray(networks.reader(_images(), training=False))
    heads = _learner_logits(networks, training=False)
    assert [head.shape for head in heads] == [(4, 2, *logits.shape[1:])] * (2 if shortcut else 1)
    for view in range(2):
        np.testing.assert_allclose(heads[0][:, view], logits, rtol=1e-4, atol=1e-6)
    for head in _learner_logits(networks, training=True):  # where each view has its own lines
        assert (np.abs(head[:, 0] - head[:, 1]).max(axis=(1, 2)) > 1e-4).any()


@pytest.mark.usefixtures("sixteen_bits")
def test_views_are_told_apart_in_full_precision(tiny_config: MakeConfig) -> None:
    networks = make_networks(tiny_config("augmentation.views=2"), num_classes=5)
    assert {head.dtype for head in networks.learner.outputs} == {"float32"}


@pytest.mark.parametrize("shortcut", [0, 0.3], ids=["one head", "two heads"])
def test_a_learner_of_views_teaches_the_reader(tiny_config: MakeConfig, shortcut: float) -> None:
    changes = "augmentation={views=2, patches=1}"
    settings = f"model.ctc_shortcut={shortcut}", changes, "model.neck=attention", "model.dropout=0"
    keras.utils.set_random_seed(2)
    networks = make_networks(tiny_config(*settings), num_classes=5)
    before = networks.reader.predict(_images(), verbose=0)
    losses = [ConsistentCTC(0.2), ConsistentCTC(0)] if shortcut else ConsistentCTC(0.2)
    networks.learner.compile(optimizer=keras.optimizers.Adam(1e-2), loss=losses)
    targets = [LABELS] * 2 if shortcut else LABELS
    totals = [_total(networks.learner.train_on_batch(_images(), targets)) for _ in range(25)]
    assert totals[-1] < totals[0] / 2
    after = networks.reader.predict(_images(), verbose=0)
    assert np.abs(after - before).max() > 0.01


def test_a_learner_of_views_loads_in_safe_mode(tiny_config: MakeConfig, tmp_path: Path) -> None:
    networks = make_networks(tiny_config("augmentation.views=3"), num_classes=5)
    networks.learner.save(tmp_path / "learner.keras")
    loaded = keras.saving.load_model(tmp_path / "learner.keras", safe_mode=True)
    expected = networks.learner.predict(_images(), verbose=0)
    for head, same in zip(loaded.predict(_images(), verbose=0), expected, strict=True):
        np.testing.assert_array_equal(head, same)


@pytest.mark.parametrize(
    ("neck", "units", "whole"),
    [
        ("bilstm", [8], True),
        ("attention", [8], True),
        ("attention", [8, 6], True),
        ("attention", [2], True),  # fewer than heads of attention
        ("none", [], False),
    ],
)
def test_a_neck_looks_at_the_whole_image(
    tiny_config: MakeConfig, neck: str, units: list[int], whole: bool
) -> None:
    own = f"model.neck={neck}", f"model.units={units}", "model.context=false"
    differences = _differences(tiny_config("model.backbone=vgg", *own))
    assert differences[-1] > 1e-5
    assert (differences[0] > 1e-6) == whole


def test_with_context_each_time_step_knows_the_whole_text(tiny_config: MakeConfig) -> None:
    config = tiny_config("model.backbone=vgg", "model.neck=none", "model.context=true")
    assert _differences(config)[0] > 1e-6


@pytest.mark.parametrize("neck", NECKS)
def test_dropout_is_at_work_in_training_only(tiny_config: MakeConfig, neck: str) -> None:
    def unlike(dropout: float, training: bool) -> bool:
        settings = f"model.neck={neck}", f"model.dropout={dropout}", "augmentation={}"
        reader = make_networks(tiny_config(*settings), num_classes=5).reader
        return not np.array_equal(*(reader(_images(), training=training) for _ in range(2)))

    assert unlike(0.5, training=True)
    assert not unlike(0.5, training=False)
    assert not unlike(0, training=True)


@pytest.mark.usefixtures("sixteen_bits")
def test_lstms_compute_in_full_precision(tiny_config: MakeConfig) -> None:
    reader = make_networks(tiny_config("model.units=[8, 4]"), num_classes=5).reader
    necks = [layer for layer in reader.layers if isinstance(layer, keras.layers.Bidirectional)]
    lstms = [lstm for neck in necks for lstm in (neck.forward_layer, neck.backward_layer)]
    assert len(lstms) == 4
    for layer in (*necks, *lstms, *(lstm.cell for lstm in lstms)):
        assert layer.compute_dtype == "float32"
    assert {neck.output.dtype for neck in necks} == {"float32"}
    others = {type(layer).__name__: layer.compute_dtype for layer in reader.layers}
    assert others["Conv2D"] == others["BatchNormalization"] == "bfloat16"


@pytest.mark.usefixtures("sixteen_bits")
@pytest.mark.parametrize("neck", NECKS)
def test_sixteen_bits_read_almost_the_same(tiny_config: MakeConfig, neck: str) -> None:
    config = tiny_config(f"model.neck={neck}")
    half = make_networks(config, num_classes=5).reader
    keras.config.set_dtype_policy("float32")
    full = make_networks(config, num_classes=5).reader
    full.set_weights(half.get_weights())
    logits, expected = (reader(_images(), training=False) for reader in (half, full))
    assert logits.dtype == np.float32
    assert not np.array_equal(logits, expected)
    np.testing.assert_allclose(logits, expected, atol=0.05)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build(preset: str) -> None:
    config = PRESETS[preset]
    reader = make_networks(config, num_classes=37).reader
    width = config.pipeline.fixed_width or 320
    shape = reader.compute_output_shape(
        (1, width, config.pipeline.height, config.pipeline.channels)
    )
    assert shape[2] == 37
    assert shape[1] >= 15  # eight characters, all the same


def test_the_width_is_free_unless_the_pipeline_fixes_it(tiny_config: MakeConfig) -> None:
    assert make_networks(tiny_config(), 5).reader.input_shape == (None, None, 16, 3)
    fixed = tiny_config("pipeline.fixed_width=64")
    assert make_networks(fixed, 5).reader.input_shape == (None, 64, 16, 3)


def test_the_seed_draws_the_weights(quick_config: MakeConfig) -> None:
    weights = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        weights.append(make_networks(quick_config(), 5).reader.get_weights())
    first, again, other = (np.concatenate([w.ravel() for w in drawn]) for drawn in weights)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_handful_of_images_is_learned_by_heart(overfitted: Overfitted) -> None:
    logits = np.asarray(overfitted.networks.reader(overfitted.images, training=False))
    texts = [reading.text for reading in greedy_decode(logits, overfitted.charset)]
    assert texts == list(overfitted.labels)
    assert exact_match(overfitted.labels, texts) == 1.0
    assert "aa" in texts  # a repeat is kept
    assert set("".join(texts)) == set(overfitted.charset.characters)  # and no character is lost


def test_a_loaded_model_reads_the_same_without_being_told_not_to_train(
    tiny_run: Path, captchas: Path
) -> None:
    reader = keras.saving.load_model(RunFolder(tiny_run).best_model)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 16, 3), np.uint8)
    np.testing.assert_array_equal(reader(images), reader(images))  # no augmentation, no dropout


def test_the_model_file_loads_in_safe_mode_and_reads_as_ours(tiny_run: Path) -> None:
    folder = RunFolder(tiny_run)
    config = folder.load_config()
    loaded = keras.saving.load_model(folder.best_model, safe_mode=True)
    ours = load_networks(folder, config, Charset(config.data.charset)).reader
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 16, 3), np.uint8)
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), ours.predict(images, verbose=0)
    )


def test_the_model_file_holds_no_code(tiny_run: Path) -> None:
    with ZipFile(RunFolder(tiny_run).best_model) as archive:
        assert set(archive.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        text = archive.read("config.json").decode()
    assert "__lambda__" not in text
    layers = list(_layers(json.loads(text)))
    assert {"RandomSlant", "RandomChannelPermutation", "Bidirectional"} <= set(layers)
    assert not {"Lambda", "TorchModuleWrapper", "TFSMLayer"} & set(layers)


def _layers(value: Any) -> Any:
    if isinstance(value, dict):
        if "class_name" in value:
            yield value["class_name"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _layers(part)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.backbone=vit", "A backbone is one of vgg, resnet, resnet_fine. Received: 'vit'."),
        ("model.neck=gru", "A neck is one of bilstm, attention, none. Received: 'gru'."),
    ],
)
def test_unknown_parts_are_refused(tiny_config: MakeConfig, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_networks(tiny_config(setting), 5)


def test_an_image_too_small_for_the_backbone_is_refused() -> None:
    config = change(PRESETS["classic"], ["model.filters=[4, 4, 4, 4, 4, 4]"])
    expected = r"The backbone 'vgg' with filters \[4, .*\] can't take an image of height 50 and"
    with pytest.raises(ConfigError, match=expected):
        make_networks(config, 5)


def test_too_few_filters_for_the_backbone_are_refused(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"The backbone 'resnet_fine' with filters \[4\] can't"):
        make_networks(tiny_config("model.filters=[4]"), 5)


def test_the_small_preset_is_small() -> None:
    reader = make_networks(PRESETS["small"], num_classes=37).reader  # 0 to 9, a to z and the blank
    assert reader.count_params() * BYTES_A_WEIGHT < 2_000_000


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("width", [64, 160, 640])
def test_check_knows_the_time_steps_of_the_presets(preset: str, width: int) -> None:
    config = PRESETS[preset]
    width = config.pipeline.fixed_width or width
    reader = make_networks(config, num_classes=3).reader
    shape = (1, width, config.pipeline.height, config.pipeline.channels)
    known = CLASSIC_TIME_STEPS if preset == "classic" else width // STANDARD_STRIDE
    assert reader.compute_output_shape(shape)[1] == known
