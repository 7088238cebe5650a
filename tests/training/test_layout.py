"""What a network's weights will be is known before there are any, and folding can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import MakeConfig
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.errors import ConfigError
from crnn_captcha.training.layout import Slot, layout, slots
from crnn_captcha.training.model import BACKBONES, NECKS, make_networks


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_layout_is_that_of_the_network(tiny_config: MakeConfig, backbone: str, neck: str) -> None:
    filters = [4, 8] if backbone == "vgg" else [4, 6, 8]
    settings = f"model.backbone={backbone}", f"model.filters={filters}", f"model.neck={neck}"
    config = tiny_config(*settings, "augmentation.views=2")
    networks = make_networks(config, 5)
    found = layout(config, 5)
    assert found.reader == slots(networks.reader)
    assert [slot.shape for slot in found.reader] == [w.shape for w in networks.reader.weights]
    kernel, bias = found.shortcut
    assert kernel.shape[-1:] == bias.shape == (5,)
    assert found.weights == networks.learner.count_params()


def test_only_what_stands_straight_before_a_normalisation_is_folded(
    tiny_config: MakeConfig,
) -> None:
    def folded(*settings: str) -> int:
        return sum(slot.gamma >= 0 for slot in layout(tiny_config(*settings), 5).reader)

    # stem, a block of two convolutions and one beside them, the last
    assert folded("model.backbone=resnet", "model.filters=[4, 6, 8]") == 5
    assert folded("model.backbone=vgg") == 0  # pools between the two


def test_there_is_no_shortcut_where_none_is_asked_for(quick_config: MakeConfig) -> None:
    assert layout(quick_config(), 5).shortcut == ()


def test_no_weights_are_made(tiny_config: MakeConfig) -> None:
    config = tiny_config("model.backbone=vgg", "model.filters=[100000, 100000, 8]")
    assert layout(config, 5).weights > 9 * 100_000**2  # 360 GB


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        pytest.param([f"model.filters={[4] * 65}"], "up to 64 layers", id="many filters"),
        pytest.param([f"model.units={[4] * 65}"], "up to 64 layers", id="many units"),
        pytest.param([f"model.filters=[4, {10**6}]"], "up to .* features", id="wide backbone"),
        pytest.param([f"model.units=[{10**12}]"], "up to .* features", id="wide neck"),
        pytest.param(["model.backbone=vit"], "A backbone is one of", id="unknown backbone"),
        pytest.param(
            ["model.backbone=vgg", f"model.filters={[4] * 6}"], "can't take an image", id="too low"
        ),
    ],
)
def test_what_can_not_be_is_refused(
    tiny_config: MakeConfig, settings: list[str], rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule):
        layout(tiny_config(*settings), 5)


def test_whatever_keras_refuses_is_our_error(
    quick_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(*args: object) -> None:
        raise OverflowError("int too large")

    monkeypatch.setattr("crnn_captcha.training.layout.make_networks", overflow)
    with pytest.raises(ConfigError, match="The network can't be built: int too large"):
        layout(quick_config(), 5)


@given(inputs=st.integers(1, 5), units=st.integers(1, 4))
def test_gates_come_in_the_order_of_onnx_and_back(inputs: int, units: int) -> None:
    slot = Slot((inputs, 4 * units), gates=True)
    names = np.repeat(np.array([*"ifco"]).view(np.int32), units)
    array = np.broadcast_to(names, slot.shape).astype(np.float32)
    exported = slot.to_exported(array, [])
    assert exported.shape == slot.exported_shape == (inputs, 4, units)
    assert "".join(map(chr, exported[0, :, 0].astype(int))) == "iofc"
    np.testing.assert_array_equal(slot.from_exported(exported, []), array)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_normalisation_is_folded_and_taken_out_again(seed: int) -> None:
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(3, 3, 2, 4)).astype(np.float32)
    gamma = (random.uniform(0.01, 3, 4) * random.choice([-1, 1], 4)).astype(np.float32)
    arrays = [kernel, gamma, random.uniform(0, 9, 4).astype(np.float32)]
    slot = Slot(kernel.shape, gamma=1, variance=2, epsilon=1e-3)
    exported = slot.to_exported(kernel, arrays)
    np.testing.assert_allclose(
        exported, kernel * gamma / np.sqrt(arrays[2] + 1e-3), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(slot.from_exported(exported, arrays), kernel, rtol=1e-5, atol=1e-6)


def test_what_was_scaled_by_nothing_is_lost() -> None:
    slot = Slot((1, 1, 1, 1), gamma=1, variance=2, epsilon=1e-3)
    arrays = [np.ones(slot.shape, np.float32), np.zeros(1, np.float32), np.ones(1, np.float32)]
    exported = slot.to_exported(arrays[0], arrays)
    assert not np.isfinite(slot.from_exported(exported, arrays)).any()
