"""A new network starts with what a trained one knows, of the characters that both have."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeConfig
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha import recognizer as recognizer_module
from crnn_captcha.bundle import Bundle, read_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.errors import BundleError, RunError
from crnn_captcha.training.checkpoint import load_checkpoint
from crnn_captcha.training.config import PRESETS, Config, check_starts_from
from crnn_captcha.training.description import Weights
from crnn_captcha.training.model import Networks, make_networks
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.transfer import (
    LISTED,
    Base,
    Transfer,
    _classes,
    _from_bundle,
    read_base,
    transfer,
)

KNOWN = "01ab"

Heads = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def config(quick_config: MakeConfig) -> Config:
    return quick_config("model.ctc_shortcut=0.3")


@pytest.fixture(scope="module")
def base(config: Config) -> Base:
    """Knows `KNOWN`, by weights that are all different."""
    networks = make_networks(config, len(KNOWN) + 1)
    random = np.random.default_rng(0)
    reader = [random.normal(size=w.shape).astype(np.float32) for w in networks.reader.weights]
    heads = _heads(networks)
    shortcut = [
        random.normal(size=heads[path].shape).astype(np.float32)
        for path in ("shortcut/kernel", "shortcut/bias")
    ]
    return Base(Path("base"), "", config, Charset(KNOWN), Weights(config.model, reader, shortcut))


def _heads(networks: Networks) -> Heads:
    """The weights that score characters, by their paths."""
    heads = ("logits", "shortcut")
    weights = networks.learner.weights
    return {w.path: np.asarray(w).copy() for w in weights if w.path.split("/")[0] in heads}


def _of_base(base: Base) -> Heads:
    """The same of the base."""
    kernel, bias = base.weights.reader[-2:]
    shortcut_kernel, shortcut_bias = base.weights.shortcut
    return {
        "logits/kernel": kernel,
        "logits/bias": bias,
        "shortcut/kernel": shortcut_kernel,
        "shortcut/bias": shortcut_bias,
    }


@pytest.mark.parametrize(
    ("characters", "kept", "from_other_case", "new"),
    [
        pytest.param("01ab", "01ab", "", "", id="the same"),
        pytest.param("ba10", "ba10", "", "", id="in another order"),
        pytest.param("01abxy", "01ab", "", "xy", id="more"),
        pytest.param("x1b", "1b", "", "x", id="some others"),
        pytest.param("a0", "a0", "", "", id="fewer"),
        pytest.param("xyz", "", "", "xyz", id="none of them"),
        pytest.param("ABa", "a", "AB", "", id="the other case"),
        pytest.param("ßaé", "a", "", "ßé", id="no single other case"),
    ],
)
def test_classes_of_shared_characters_are_kept(
    base: Base, config: Config, characters: str, kept: str, from_other_case: str, new: str
) -> None:
    charset = Charset(characters)
    networks = make_networks(config, charset.num_classes)
    initial, expected = _heads(networks), _of_base(base)
    taken = transfer(base, networks, charset)
    assert taken == Transfer(kept, from_other_case, new, shortcut=True)
    heads = _heads(networks)
    assert heads.keys() == expected.keys()
    for path, head in heads.items():
        np.testing.assert_array_equal(head[..., 0], expected[path][..., 0])  # the blank
        for i, character in enumerate(characters, start=1):
            source = KNOWN.find(character if character in kept else character.lower()) + 1
            column = initial[path][..., i] if character in new else expected[path][..., source]
            np.testing.assert_array_equal(head[..., i], column)
    for array, learned in zip(
        networks.reader.get_weights()[:-2], base.weights.reader, strict=False
    ):
        np.testing.assert_array_equal(array, learned)


@given(known=st.integers(1, 5), sources=st.lists(st.integers(-1, 4), min_size=1))
def test_every_class_comes_from_its_source(known: int, sources: list[int]) -> None:
    sources = [min(source, known - 1) for source in sources]
    learned = np.arange(2 * known, dtype=np.float32).reshape(2, known)
    initial = -1 - np.arange(2 * len(sources), dtype=np.float32).reshape(2, len(sources))
    classes = _classes(learned, initial, sources)
    for i, source in enumerate(sources):
        expected = initial[:, i] if source < 0 else learned[:, source]
        np.testing.assert_array_equal(classes[:, i], expected)


@pytest.mark.parametrize(
    ("settings", "known", "expected"),
    [
        pytest.param([], True, True, id="known"),
        pytest.param([], False, False, id="unknown"),
        pytest.param(["model.ctc_shortcut=0"], True, True, id="not wanted"),
        pytest.param(["model.ctc_shortcut=0"], False, True, id="neither"),
        pytest.param(["augmentation={views=2}"], True, True, id="several views"),
    ],
)
def test_a_shortcut_is_taken_over_where_both_have_one(
    base: Base,
    quick_config: MakeConfig,
    settings: list[str],
    known: bool,
    expected: bool,
) -> None:
    config = quick_config("model.ctc_shortcut=0.3", *settings)
    networks = make_networks(config, len(KNOWN) + 1)
    before = _heads(networks)
    if not known:
        base = dataclasses.replace(base, weights=dataclasses.replace(base.weights, shortcut=[]))
    assert transfer(base, networks, base.charset).shortcut is expected
    after = _heads(networks)
    wanted = "model.ctc_shortcut=0" not in settings
    assert ("shortcut/kernel" in after) is wanted
    if wanted:
        kernel = base.weights.shortcut[0] if known else before["shortcut/kernel"]
        np.testing.assert_array_equal(after["shortcut/kernel"], kernel)


@pytest.mark.parametrize(
    ("taken", "summary"),
    [
        (Transfer("01ab", "", "", True), "kept 4 of 4 characters"),
        (Transfer("01", "", "xy", True), "kept 2 of 4 characters; new: x, y"),
        (
            Transfer("a", "AB", "é", False),
            "kept 1 of 4 characters; from their other case: A, B; new: é; "
            "the CTC shortcut starts anew",
        ),
    ],
)
def test_the_summary_names_what_is_new(taken: Transfer, summary: str) -> None:
    assert taken.summary() == summary


def test_of_many_new_characters_some_are_named() -> None:
    many = "".join(map(chr, range(0x4E00, 0x4E00 + LISTED + 5)))
    assert Transfer("", "", many, True).summary().endswith(f", {many[LISTED - 1]} and 5 more")


# --- where a base comes from ----------------------------------------------------------------


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def test_a_run_and_its_bundle_are_the_same_base(tiny_run: Path) -> None:
    folder = RunFolder(tiny_run)
    of_run, of_bundle = read_base(tiny_run), read_base(str(folder.bundle))
    assert (of_run.path, of_bundle.path) == (tiny_run, folder.bundle)
    assert of_run.charset == of_bundle.charset == Charset(KNOWN)
    assert of_run.config.preset == of_bundle.config.preset == "standard"
    check_starts_from(of_run.config, of_bundle.config)
    assert len(of_run.digest) == len(of_bundle.digest) == 32
    assert of_run.digest != of_bundle.digest
    pairs = zip(of_run.weights.reader, of_bundle.weights.reader, strict=True)
    for array, again in pairs:
        np.testing.assert_allclose(array, again, rtol=1e-5, atol=1e-6)
    assert len(of_run.weights.shortcut) == 2
    for array, again in zip(of_run.weights.shortcut, of_bundle.weights.shortcut, strict=True):
        np.testing.assert_array_equal(array, again)


def test_the_shortcut_is_that_of_the_newest_checkpoint(tiny_run: Path) -> None:
    checkpoint = load_checkpoint(RunFolder(tiny_run).checkpoints)
    assert checkpoint is not None
    held = [array for array in checkpoint.arrays if array.shape == (8, 5)]
    kernel, _ = read_base(tiny_run).weights.shortcut
    assert any(np.array_equal(kernel, array) for array in held)


def _remove(folder: RunFolder) -> None:
    shutil.rmtree(folder.checkpoints)


def _of_another_network(folder: RunFolder) -> None:
    for path in folder.checkpoints.iterdir():
        with np.load(path) as archive:
            arrays = dict(archive)
        arrays["array_0"] = np.zeros((2, 2), np.float32)
        with path.open("wb") as file:
            np.savez(file, **arrays)


def _diverged(folder: RunFolder) -> None:
    for path in folder.checkpoints.iterdir():
        with np.load(path) as archive:
            arrays = dict(archive)
        for name, array in arrays.items():
            if array.shape == (8, 5):
                arrays[name] = np.full_like(array, np.nan)
        with path.open("wb") as file:
            np.savez(file, **arrays)


@pytest.mark.parametrize("damage", [_remove, _of_another_network, _diverged])
def test_a_run_does_without_its_shortcut(run: Path, damage: Callable[[RunFolder], None]) -> None:
    damage(RunFolder(run))
    weights = read_base(run).weights
    assert weights.shortcut == []
    assert len(weights.reader) > 0


def test_another_model_has_another_digest(run: Path, tiny_run: Path) -> None:
    before = read_base(run).digest
    assert before == read_base(tiny_run).digest
    model = RunFolder(run).best_model
    model.write_bytes(model.read_bytes().replace(b"keras_version", b"keras_versioN"))
    assert RunFolder(run).best_model.read_bytes() != RunFolder(tiny_run).best_model.read_bytes()
    assert read_base(run).digest != before


def test_a_bundle_in_the_package_has_a_name(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizer_module, "PACKAGED_BUNDLES", tmp_path)
    packaged = shutil.copy(tiny_run / "bundle.onnx", tmp_path / "tiny.onnx")
    assert read_base("tiny").path == packaged
    with pytest.raises(BundleError, match=r"Received: 'other' \(no such file\)"):
        read_base("other")


@pytest.mark.parametrize("preset", ["of their own", ["classic"], None])
def test_a_bundle_of_an_unknown_preset_goes_on_with_the_usual_one(
    tiny_run: Path, tmp_path: Path, preset: object
) -> None:
    base = read_base(tiny_run)
    bundle = read_bundle(tiny_run / "bundle.onnx")
    facts = {"preset": preset, "validation_fraction": 0.25, "split_seed": 4}
    metadata = dataclasses.replace(bundle.metadata, training=facts)
    config = _from_bundle(tmp_path, Bundle(bundle.graph, metadata)).config
    usual = PRESETS["standard"]
    assert config == dataclasses.replace(
        usual,
        pipeline=base.config.pipeline,
        model=base.config.model,
        data=dataclasses.replace(usual.data, validation_fraction=0.25, split_seed=4),
    )


def test_what_is_no_trained_model_is_refused(run: Path, bundle_path: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Received: one without a description"):
        read_base(bundle_path)
    with pytest.raises(BundleError, match=r"gone\.onnx' \(no such file\)"):
        read_base(tmp_path / "gone.onnx")
    with pytest.raises(RunError, match=r"A run folder holds a config\.toml"):
        read_base(tmp_path)
    RunFolder(run).best_model.unlink()
    with pytest.raises(RunError, match="holds no model yet"):
        read_base(run)
