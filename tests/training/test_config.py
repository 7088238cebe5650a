"""Presets are complete, every value can be set, and what can't be meant is refused."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.errors import ConfigError
from crnn_captcha.pipelines import DEFAULT_PIPELINE, PIPELINES
from crnn_captcha.preprocessing import Pipeline
from crnn_captcha.training.config import (
    CLASSIC,
    DEFAULT_PRESET,
    PRESETS,
    Config,
    change,
    check_starts_from,
    from_toml,
    make_config,
    read_facts,
    to_toml,
)


def test_classic_is_the_reference_system() -> None:
    assert [stage.name for stage in CLASSIC.pipeline.stages] == [
        "grayscale", "median_blur", "clahe", "adaptive_threshold", "opening", "resize_height",
    ]  # fmt: skip
    assert (CLASSIC.pipeline.height, CLASSIC.pipeline.fixed_width) == (50, 495)
    assert (CLASSIC.model.backbone, CLASSIC.model.neck) == ("vgg", "bilstm")
    assert CLASSIC.model.units == (128, 64)
    assert (CLASSIC.optimizer.name, CLASSIC.optimizer.learning_rate) == ("adam", 1e-3)
    assert (CLASSIC.optimizer.plateau_patience, CLASSIC.optimizer.plateau_factor) == (5, 0.5)
    assert (CLASSIC.training.epochs, CLASSIC.training.patience) == (50, 10)
    assert CLASSIC.data.batch_size == 32


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_known_by_its_name(preset: str) -> None:
    assert make_config(preset) == PRESETS[preset]
    assert make_config(preset).preset == preset


def test_without_a_name_the_preset_is_that_of_the_base_or_the_default() -> None:
    assert make_config(None) == PRESETS[DEFAULT_PRESET]
    small = PRESETS["small"]
    assert make_config(None, base=small).preset == "small"
    unknown = dataclasses.replace(small, preset="of somebody else")
    assert make_config(None, base=unknown).preset == DEFAULT_PRESET


@pytest.mark.parametrize(
    ("setting", "section", "key", "value"),
    [
        pytest.param("training.epochs=3", "training", "epochs", 3, id="whole number"),
        pytest.param("data.charset=123", "data", "charset", "123", id="digits as a text"),
        pytest.param("data.charset=0x1f", "data", "charset", "0x1f", id="text like a number"),
        pytest.param("model.dropout=0.25", "model", "dropout", 0.25, id="fraction"),
        pytest.param("model.dropout=0", "model", "dropout", 0.0, id="whole number as fraction"),
        pytest.param("data.like_widths=true", "data", "like_widths", True, id="truth value"),
        pytest.param("model.filters=[4, 8]", "model", "filters", (4, 8), id="list"),
        pytest.param("model.backbone=resnet", "model", "backbone", "resnet", id="bare text"),
        pytest.param('data.charset="0=1"', "data", "charset", "0=1", id="quoted text with ="),
        pytest.param("data.synthetic=plain:9", "data", "synthetic", "plain:9", id="what to draw"),
        pytest.param(" optimizer.name = adamw ", "optimizer", "name", "adamw", id="spaces"),
    ],
)
def test_a_setting_changes_its_value_only(
    setting: str, section: str, key: str, value: object
) -> None:
    changed = change(CLASSIC, [setting])
    assert getattr(getattr(changed, section), key) == value
    assert change(changed, [f"{section}.{key}={_toml(CLASSIC, section, key)}"]) == CLASSIC


def _toml(config: Config, section: str, key: str) -> str:
    value = getattr(getattr(config, section), key)
    return (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).replace("(", "[").lower().replace(")", "]")
    )


def test_the_later_setting_counts() -> None:
    assert change(CLASSIC, ["seed=1", "seed=2"]).seed == 2


def test_a_pipeline_can_be_set() -> None:
    stages = "pipeline.stages=[{name='resize_height', parameters={height=16}}]"
    pipeline = change(CLASSIC, [stages, "pipeline.fixed_width=0"]).pipeline
    assert (pipeline.height, pipeline.channels, pipeline.fixed_width) == (16, 3, 0)


@pytest.mark.parametrize(
    "setting",
    [
        "training.epoch=3",
        "epochs=3",
        "training.epochs",
        "training.epochs.more=3",
        "seed.more.still=3",
        "preset=small",
        "=3",
        "",
    ],
)
def test_a_setting_without_a_key_of_the_configuration_is_refused(setting: str) -> None:
    expected = (
        f"has the form section.key=value.*Received: '{re.escape(setting)}'. Keys: pipeline.stages, "
    )
    with pytest.raises(ConfigError, match=expected):
        change(CLASSIC, [setting])


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("training.epochs=many", "Expected `int`, got `str`"),
        ("data.charset=[1, 2]", "Expected `str`, got `array`"),
        ("training.monitor=accuracy", "Invalid enum value 'accuracy'"),
        ("optimizer.schedule=step", "Invalid enum value 'step'"),
        ("pipeline.stages=[{name='sharpen'}]", "A preprocessing stage is one of"),
        ("pipeline.stages=[]", "A pipeline needs the stage 'resize_height'"),
        ("data.validation_fraction=0", "data.validation_fraction is between 0 and 1"),
        ("data.validation_fraction=1", "data.validation_fraction is between 0 and 1"),
        ("data.synthetic=plain", "What to draw has the form STYLE:COUNT"),
        ("data.batch_size=0", "data.batch_size is at least 1"),
        ("data.workers=-1", "data.workers is at least 0"),
        ("data.timeout_s=0", "data.timeout_s is more than 0"),
        ("data.cache_mib=-1", "data.cache_mib is at least 0"),
        ("model.filters=[]", "model.filters is at least 1 each"),
        ("model.filters=[8, 0]", "model.filters is at least 1 each"),
        ("model.units=[0]", "model.units is at least 1 each"),
        ("model.units=[]", "model.units is at least 1 each"),
        ("model={neck='attention', units=[]}", "model.units is at least 1 each"),
        ("model={neck='none', units=[0]}", "model.units is at least 1 each"),
        ("model.dropout=1", "model.dropout is at least 0 and below 1"),
        ("model.ctc_shortcut=-0.1", "model.ctc_shortcut is at least 0"),
        ("augmentation.zoom=1", "augmentation.zoom is at least 0 and below 1"),
        ("augmentation.translation_x=-0.1", "augmentation.translation_x is at least 0"),
        ("augmentation.shear_degrees=90", "augmentation.shear_degrees is 0 to 90 degrees"),
        ("augmentation.lines=-1", "augmentation.lines is at least 0"),
        ("augmentation.patches=-1", "augmentation.patches is at least 0"),
        ("augmentation.weight=-0.1", "augmentation.weight is 0 to 1"),
        ("augmentation.weight=1.1", "augmentation.weight is 0 to 1"),
        ("augmentation.views=0", "augmentation.views is at least 1"),
        ("augmentation.consistency=-0.1", "augmentation.consistency is at least 0"),
        ("augmentation.consistency=nan", "augmentation.consistency is at least 0"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate is more than 0"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay is at least 0"),
        ("optimizer.clip_norm=-1", "optimizer.clip_norm is at least 0"),
        ("optimizer.plateau_patience=0", "optimizer.plateau_patience is at least 1"),
        ("optimizer.ema_decay=1", "optimizer.ema_decay is at least 0 and below 1"),
        ("optimizer.plateau_factor=1", "optimizer.plateau_factor is between 0 and 1"),
        ("optimizer.warmup=1", "optimizer.warmup is at least 0 and below 1"),
        ("training.epochs=0", "training.epochs is at least 1"),
        ("data.split_seed=-1", "data.split_seed is at least 0"),
        ("training.patience=0", "training.patience is at least 1"),
        ("training.checkpoint_s=0", "training.checkpoint_s is more than 0"),
        ("seed=-1", "seed is 0 to 2147483647"),
        ("seed=2147483648", "seed is 0 to 2147483647"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate is more than 0"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(setting: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=f"A value in the settings doesn't fit: {rule}"):
        change(CLASSIC, [setting])


@pytest.mark.parametrize(
    "others",
    [
        "",
        "views=1",
        "views=2, rotation_degrees=1",
        "views=2, translation_x=0.1",
        "views=2, translation_y=0.1",
        "views=2, zoom=0.1",
    ],
)
def test_views_that_are_not_in_step_can_not_be_read_alike(others: str) -> None:
    setting = f"augmentation={{{', '.join(filter(None, ['consistency=0.2', others]))}}}"
    with pytest.raises(ConfigError, match=r"augmentation\.consistency is 0 unless there are"):
        change(CLASSIC, [setting])
    alone = setting.replace("consistency=0.2", "consistency=0")
    assert change(CLASSIC, [alone]).augmentation.consistency == 0


def test_views_that_are_in_step_can_be_read_alike() -> None:
    changes = "shear_degrees=8, shrink=0.2, weight=1, permute_colours=true, lines=3, patches=3"
    config = change(CLASSIC, [f"augmentation={{views=2, consistency=0.2, {changes}}}"])
    assert (config.augmentation.views, config.augmentation.consistency) == (2, 0.2)
    assert from_toml(to_toml(config, {})) == config


def test_no_neck_needs_no_units() -> None:
    assert change(CLASSIC, ["model.neck=none", "model.units=[]"]).model.units == ()


def test_an_unknown_preset_is_refused() -> None:
    expected = "A preset is one of classic, small, medium, standard. Received: 'best'."
    with pytest.raises(ConfigError, match=re.escape(expected)):
        make_config("best")


def test_unknown_keys_within_a_table_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Unknown keys in the settings: model\.depth\."):
        change(CLASSIC, ["model={depth=3}"])


@pytest.mark.parametrize("preset", PRESETS)
def test_a_configuration_survives_toml(preset: str) -> None:
    facts = {"commit": "abc", "data": r"C:\data.zip"}
    text = to_toml(PRESETS[preset], facts)
    assert from_toml(text) == PRESETS[preset]
    assert read_facts(text) == facts


@given(
    charset=st.text(st.characters(exclude_categories=["C"])),
    rate=st.floats(min_value=1e-12, max_value=1e3),
    seed=st.integers(0, 2**31 - 1),
    units=st.lists(st.integers(1, 512), min_size=1, max_size=4),
)
def test_any_value_survives_toml(charset: str, rate: float, seed: int, units: list[int]) -> None:
    quoted = charset.replace("\\", "\\\\").replace('"', '\\"')
    settings = [f'data.charset="{quoted}"', f"optimizer.learning_rate={rate!r}", f"seed={seed}"]
    config = change(CLASSIC, [*settings, f"model.units={units}"])
    assert config.data.charset == charset
    assert from_toml(to_toml(config, {})) == config


def test_a_style_that_no_toml_can_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.synthetic is text that can be printed"):
        make_config("classic", ["data.synthetic=caf\udce9.toml:100"])


@pytest.mark.parametrize("value", [5000 * "[", 5000 * "1"], ids=["brackets", "digits"])
def test_what_is_no_end_of_a_value_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="doesn't fit"):
        change(CLASSIC, [f"seed={value}"])
    with pytest.raises(ConfigError, match=r"config\.toml isn't valid TOML: "):
        from_toml(f"seed = {value}")


def test_broken_toml_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"config\.toml isn't valid TOML: "):
        from_toml("seed = ")
    with pytest.raises(ConfigError, match=r"config\.toml isn't valid TOML: "):
        read_facts("seed = ")


def test_toml_of_another_version_is_refused() -> None:
    text = to_toml(CLASSIC, {})
    with pytest.raises(ConfigError, match=r"Unknown keys in config\.toml: data\.shuffle\."):
        from_toml(text.replace("[data]", "[data]\nshuffle = true"))
    with pytest.raises(ConfigError, match=r"A value in config\.toml doesn't fit: .*`preset`"):
        from_toml(text.replace('preset = "classic"', ""))


def test_facts_that_are_no_table_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"The facts in config\.toml are a table\. Received: 3\."):
        read_facts("facts = 3")


def test_toml_without_facts_has_none() -> None:
    assert read_facts("seed = 0") == {}


def test_the_default_preset_has_the_default_pipeline() -> None:
    assert PRESETS[DEFAULT_PRESET].pipeline == PIPELINES[DEFAULT_PIPELINE]


# --- from a trained model -------------------------------------------------------------------


def test_who_goes_on_sees_other_images_unless_a_seed_is_given() -> None:
    base = make_config("classic", ["seed=5"])
    assert make_config(None, base=base).seed == 6
    assert make_config(None, ["seed=5"], base).seed == 5
    assert make_config(None, base=make_config("classic", [f"seed={2**31 - 1}"])).seed == 0


@pytest.fixture
def base() -> Config:
    """Of a model that was trained in its own way."""
    settings = "model.units=[8]", "model.dropout=0.1", "seed=3", "training.epochs=4"
    return make_config("classic", [*settings, "data.batch_size=5", "augmentation.lines=9"])


def test_pipeline_and_network_are_the_base_s_and_all_else_the_preset_s(base: Config) -> None:
    config = make_config("standard", ["training.epochs=7"], base)
    standard = make_config("standard", ["training.epochs=7"])
    assert (config.pipeline, config.model) == (base.pipeline, base.model)
    assert config.seed == base.seed + 1
    for section in ("preset", "data", "letters", "augmentation", "training"):
        assert getattr(config, section) == getattr(standard, section)
    assert config.optimizer.learning_rate == pytest.approx(standard.optimizer.learning_rate / 3)
    rate = f"optimizer.learning_rate={standard.optimizer.learning_rate}"
    assert make_config("standard", [rate], base).optimizer == standard.optimizer


@pytest.mark.parametrize(
    "setting",
    ["model.units=[8]", "pipeline.fixed_width=495", "model.dropout=0.4", "model.ctc_shortcut=0.2"],
)
def test_what_fits_the_base_can_be_set(base: Config, setting: str) -> None:
    assert make_config("classic", [setting], base) == change(
        make_config("classic", [], base), [setting]
    )


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        (["model.units=[8, 8]"], "another model.units."),
        (["model.neck=none", "model.context=true"], "another model.context, model.neck."),
        (["pipeline.fixed_width=0"], "another pipeline."),
    ],
)
def test_what_contradicts_the_base_is_refused(
    base: Config, settings: list[str], received: str
) -> None:
    expected = "has its pipeline and network. Received: " + received
    with pytest.raises(
        ConfigError, match=re.escape(expected) + " Leave that out, or train without"
    ):
        make_config("classic", settings, base)


def test_a_base_survives_toml_and_json(base: Config) -> None:
    again = from_toml(to_toml(base, {}))
    again = dataclasses.replace(again, pipeline=Pipeline.from_json(again.pipeline.to_json()))
    check_starts_from(again, base)
