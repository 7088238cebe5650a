"""Complete training configurations: presets are data, and every value can be set."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from crnn_captcha.errors import ConfigError
from crnn_captcha.letters import Typesetting
from crnn_captcha.pipelines import PIPELINES
from crnn_captcha.preprocessing import Pipeline
from crnn_captcha.synthetic import parse_synthetic

SEEDS = 2**31
MADE_BY = "workers", "processes", "timeout_s", "cache_mib"  # of `DataConfig`: change no batch


@dataclass(frozen=True)
class DataConfig:
    """Where batches come from.

    Attributes:
        charset: the characters to learn; empty: those of the labels, and of what is drawn.
        synthetic: images that are drawn to learn from, `STYLE:COUNT` an epoch, several with commas
            between; empty: none.
        validation_fraction: share of the train split that is cut out for validation. Data without
            folders `train` and `test` are cut 80/10/10 by their file names, whatever this is.
        split_seed: of that cut; apart from the training's seed, so that several trainings can be
            compared on the same images.
        batch_size: images in a batch.
        like_widths: whether a batch holds images of like widths.
        workers: threads (or processes) that make batches.
        processes: processes instead of threads.
        timeout_s: seconds without a batch after which training stops with an error.
        cache_mib: memory for prepared images, in MiB. Processes keep none: they prepare each
            image anew in each epoch.
    """

    charset: str = ""
    synthetic: str = ""
    validation_fraction: float = 0.1
    split_seed: int = 0
    batch_size: int = 32
    like_widths: bool = False
    workers: int = 2
    processes: bool = False
    timeout_s: float = 60.0
    cache_mib: int = 2048

    def __post_init__(self) -> None:
        if self.synthetic:
            parse_synthetic(self.synthetic)
            _require(self.synthetic.isprintable(), "data.synthetic", "text that can be printed")
        _require(0 < self.validation_fraction < 1, "data.validation_fraction", "between 0 and 1")
        _require(self.split_seed >= 0, "data.split_seed", "at least 0")
        _require(self.batch_size >= 1, "data.batch_size", "at least 1")
        _require(self.workers >= 0, "data.workers", "at least 0")
        _require(self.timeout_s > 0, "data.timeout_s", "more than 0")
        _require(self.cache_mib >= 0, "data.cache_mib", "at least 0")


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        backbone: a name of `model.BACKBONES`; turns the image into features along its width.
        filters: channels of the backbone's stages.
        context: add to the features of each time step what the whole text looks like.
        neck: a name of `model.NECKS`; looks at the features in their order.
        units: the neck's units, a value a layer (for each direction).
        dropout: share of the neck's inputs that are dropped in training.
        ctc_shortcut: weight of a second CTC loss, straight on the backbone's features and in
            training only; it helps to leave the plateau on which everything reads as blank.
    """

    backbone: str = "vgg"
    filters: tuple[int, ...] = (32, 64, 128, 256)
    context: bool = False
    neck: str = "bilstm"
    units: tuple[int, ...] = (128, 64)
    dropout: float = 0.0
    ctc_shortcut: float = 0.0

    def __post_init__(self) -> None:
        _require(bool(self.filters) and min(self.filters) >= 1, "model.filters", "at least 1 each")
        _require(
            bool(self.units or self.neck == "none") and min(self.units, default=1) >= 1,
            "model.units",
            "at least 1 each",
        )
        _require(0 <= self.dropout < 1, "model.dropout", "at least 0 and below 1")
        _require(self.ctc_shortcut >= 0, "model.ctc_shortcut", "at least 0")


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes to the training images, inside the model; 0 (or false) leaves one out.

    Attributes:
        rotation_degrees: turn by up to this, either way.
        shear_degrees: slant by up to this, either way.
        translation_x: shift along the text by up to this share of the width.
        translation_y: shift across the text by up to this share of the height.
        zoom: scale by up to this share, both ways.
        permute_colours: swap the colour channels at random.
        shrink: scale down by up to this share, and put the text anywhere in the room that this
            leaves: nothing is cut off, and letters keep their proportions.
        lines: draw up to this many lines over the text.
        weight: make strokes bolder or thinner by up to so many pixels at each edge.
        patches: hide up to this many small patches of the text.
        views: of each image that are seen at once, each changed in its own way but for what moves
            it along the text.
        consistency: weight of a loss for reading the views differently.
    """

    rotation_degrees: float = 0.0
    shear_degrees: float = 0.0
    translation_x: float = 0.0
    translation_y: float = 0.0
    zoom: float = 0.0
    permute_colours: bool = False
    shrink: float = 0.0
    lines: int = 0
    weight: float = 0.0
    patches: int = 0
    views: int = 1
    consistency: float = 0.0

    def __post_init__(self) -> None:
        for name in ("translation_x", "translation_y", "zoom", "shrink"):
            _require(0 <= getattr(self, name) < 1, f"augmentation.{name}", "at least 0 and below 1")
        for name in ("rotation_degrees", "shear_degrees"):
            _require(0 <= getattr(self, name) < 90, f"augmentation.{name}", "0 to 90 degrees")
        for name in ("lines", "patches", "consistency"):
            _require(getattr(self, name) >= 0, f"augmentation.{name}", "at least 0")
        _require(0 <= self.weight <= 1, "augmentation.weight", "0 to 1")
        _require(self.views >= 1, "augmentation.views", "at least 1")
        moved_apart = self.rotation_degrees or self.translation_x or self.translation_y or self.zoom
        _require(
            not self.consistency or (self.views > 1 and not moved_apart),
            "augmentation.consistency",
            "0 unless there are several views, and no rotation, translation or zoom, which move "
            "each view in its own way",
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights follow the gradient.

    Attributes:
        name: `adam`, or `adamw` (weight decay, not on biases and normalisations).
        learning_rate: the highest that is used.
        weight_decay: of `adamw`.
        clip_norm: the gradient's norm is clipped to this; 0 clips nothing.
        schedule: `plateau` multiplies the learning rate by `plateau_factor` after
            `plateau_patience` epochs without a better monitored figure; `cosine` warms up over
            `warmup` of all steps and then falls to nothing at the last epoch.
        ema_decay: share that a step keeps of the running mean of the weights, say 0.999; that mean
            is then what is validated, kept and read with. 0: the weights as they are.
    """

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    schedule: Literal["plateau", "cosine"] = "plateau"
    plateau_patience: int = 5
    plateau_factor: float = 0.5
    warmup: float = 0.1
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, "optimizer.learning_rate", "more than 0")
        _require(self.weight_decay >= 0, "optimizer.weight_decay", "at least 0")
        _require(self.clip_norm >= 0, "optimizer.clip_norm", "at least 0")
        _require(self.plateau_patience >= 1, "optimizer.plateau_patience", "at least 1")
        _require(0 < self.plateau_factor < 1, "optimizer.plateau_factor", "between 0 and 1")
        _require(0 <= self.warmup < 1, "optimizer.warmup", "at least 0 and below 1")
        _require(0 <= self.ema_decay < 1, "optimizer.ema_decay", "at least 0 and below 1")


@dataclass(frozen=True)
class TrainingConfig:
    """How long training goes on, and what it keeps.

    Attributes:
        epochs: at most this many.
        monitor: the figure of `history.csv` that names the best model and stops early.
        patience: epochs without a better figure after which training stops.
        checkpoint_s: seconds between checkpoints within an epoch.
        mixed_precision: compute in 16 bits (bfloat16 on a CPU, float16 on a GPU).
        deterministic: the same seed gives the same history on the same machine, each training in
            a process of its own.
        tensorboard: also write logs for TensorBoard to the run's `tensorboard/`.
    """

    epochs: int = 50
    monitor: Literal["val_loss", "val_exact_match", "val_cer"] = "val_loss"
    patience: int = 10
    checkpoint_s: float = 60.0
    mixed_precision: bool = False
    deterministic: bool = True
    tensorboard: bool = False

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "training.epochs", "at least 1")
        _require(self.patience >= 1, "training.patience", "at least 1")
        _require(self.checkpoint_s > 0, "training.checkpoint_s", "more than 0")


@dataclass(frozen=True)
class Config:
    """All that, with data and seed, makes a training.

    Raises:
        ConfigError: if a value is out of its range.
    """

    preset: str
    pipeline: Pipeline
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    letters: Typesetting = field(default_factory=Typesetting)
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        _require(0 <= self.seed < SEEDS, "seed", f"0 to {SEEDS - 1}")


def _require(holds: bool, name: str, rule: str) -> None:
    if not holds:
        raise ConfigError(f"{name} is {rule}.")


CLASSIC = Config(
    preset="classic",
    pipeline=PIPELINES["classic"],
    augmentation=AugmentationConfig(
        rotation_degrees=2, translation_x=0.02, translation_y=0.05, zoom=0.05
    ),
)

STANDARD = Config(  # what reads best after some hours, with drawn images beside real ones
    preset="standard",
    pipeline=PIPELINES["standard"],
    data=DataConfig(like_widths=True),
    letters=Typesetting(share=0.8),
    model=ModelConfig(
        backbone="resnet_fine",
        filters=(32, 64, 128, 192, 192, 192, 256),
        context=True,
        units=(160, 160),
        dropout=0.2,
        ctc_shortcut=0.3,
    ),
    augmentation=AugmentationConfig(
        permute_colours=True,
        lines=3,
        patches=4,
    ),  # nothing that cuts off ink: the image ends where the ink does
    optimizer=OptimizerConfig(
        name="adamw",
        learning_rate=1.5e-3,
        weight_decay=0.05,
        clip_norm=5.0,
        schedule="cosine",
        warmup=0.03,
    ),
    training=TrainingConfig(epochs=46, monitor="val_exact_match", patience=46),
)

MEDIUM = dataclasses.replace(  # two residual blocks fewer: for shorter trainings
    STANDARD,
    preset="medium",
    model=dataclasses.replace(STANDARD.model, filters=(24, 64, 128, 192, 256), units=(128, 128)),
    augmentation=dataclasses.replace(
        STANDARD.augmentation, shear_degrees=8, shrink=0.15, weight=0.3
    ),
    training=dataclasses.replace(STANDARD.training, epochs=36, patience=36),
)

SMALL = dataclasses.replace(  # narrower: half an hour, small bundles and slow machines
    MEDIUM,
    preset="small",
    model=dataclasses.replace(MEDIUM.model, filters=(24, 32, 64, 96, 112), units=(64, 64)),
    training=dataclasses.replace(MEDIUM.training, epochs=64, patience=64),
)

PRESETS: Mapping[str, Config] = MappingProxyType(
    {config.preset: config for config in (CLASSIC, SMALL, MEDIUM, STANDARD)}
)
DEFAULT_PRESET = "standard"


# Of a preset's learning rate, where a training starts from a trained model: enough to learn what is
# new, not so much that what is known is lost before it is needed again.
FINE_TUNING_RATE = 1 / 3


def make_config(
    preset: str | None, settings: Sequence[str] = (), base: Config | None = None
) -> Config:
    """The configuration of a preset with some values set.

    Args:
        preset: a name of `PRESETS`; None is that of `base`, or the default.
        settings: as `change` takes them.
        base: of a trained model to start from: pipeline and network are its own, the learning
            rate is the preset's times `FINE_TUNING_RATE` unless it is set, and so is the seed one
            more than its own: what is drawn and how it is changed isn't what it has seen before.

    Example:
        >>> make_config("classic", ["training.epochs=3", "model.filters=[8, 16]"]).training.epochs
        3

    Raises:
        ConfigError: if the preset, a key or a value isn't known, or isn't that of `base`.
    """
    if preset is None:
        preset = base.preset if base and base.preset in PRESETS else DEFAULT_PRESET
    if preset not in PRESETS:
        raise ConfigError(f"A preset is one of {', '.join(PRESETS)}. Received: '{preset}'.")
    config = PRESETS[preset]
    if base is None:
        return change(config, settings)
    rate = config.optimizer.learning_rate * FINE_TUNING_RATE
    optimizer = dataclasses.replace(config.optimizer, learning_rate=rate)
    config = dataclasses.replace(
        config,
        seed=(base.seed + 1) % SEEDS,
        pipeline=base.pipeline,
        model=base.model,
        optimizer=optimizer,
    )
    config = change(config, settings)
    check_starts_from(config, base)
    return config


def check_starts_from(config: Config, base: Config) -> None:
    """Makes sure that a training's network is that of the trained model it starts from.

    Raises:
        ConfigError: if pipeline or network differ, but for what only counts in training.
    """
    ours, its = (dataclasses.asdict(c.model) | {"pipeline": c.pipeline} for c in (config, base))
    free = {"dropout", "ctc_shortcut"}
    if others := [key for key in its.keys() - free if ours[key] != its[key]]:
        names = sorted(key if key == "pipeline" else f"model.{key}" for key in others)
        raise ConfigError(
            "A training that starts from a trained model has its pipeline and network. Received: "
            f"another {', '.join(names)}. Leave that out, or train without --from."
        )


def train_alike(config: Config, other: Config) -> bool:
    """Whether the same comes of both: who makes the batches, and how fast, counts for nothing."""
    data = {name: getattr(config.data, name) for name in MADE_BY}
    return dataclasses.replace(other, data=dataclasses.replace(other.data, **data)) == config


def change(config: Config, settings: Sequence[str]) -> Config:
    """`config` with some values set.

    Args:
        config: stays as it is.
        settings: `section.key=value` each, the value in TOML's notation (quotes around a text
            may be left out).

    Raises:
        ConfigError: if a key or a value isn't known.
    """
    values = dataclasses.asdict(config)
    preset = values.pop("preset")  # says what all others are, and is no setting itself
    for setting in settings:
        path, equals, value = setting.partition("=")
        *sections, key = path.strip().split(".")
        section = values
        for name in sections:
            section = section.get(name, {}) if isinstance(section, dict) else {}
        if not equals or not isinstance(section, dict) or key not in section:
            raise ConfigError(
                "A setting has the form section.key=value, with a key of the configuration. "
                f"Received: '{setting}'. Keys: {', '.join(_keys(values))}."
            )
        parsed = _parse(value)
        if isinstance(section[key], str) and not isinstance(parsed, str | list | dict):
            parsed = value.strip()  # a text that looks like a number
        section[key] = parsed
    return _from_dict(values | {"preset": preset}, "the settings")


def from_toml(text: str) -> Config:
    """The configuration in a run's `config.toml`.

    Raises:
        ConfigError: if it isn't valid.
    """
    values = _load(text)
    values.pop("facts", None)
    return _from_dict(values, "config.toml")


def read_facts(text: str) -> dict[str, str]:
    """The facts about a training (data, versions, commit) in a run's `config.toml`."""
    facts = _load(text).get("facts", {})
    if not isinstance(facts, dict):
        raise ConfigError(f"The facts in config.toml are a table. Received: {facts!r}.")
    return {key: str(value) for key, value in facts.items()}


def to_toml(config: Config, facts: Mapping[str, str]) -> str:
    """The configuration as TOML, with a table of facts about its training."""
    import tomli_w

    return tomli_w.dumps(dataclasses.asdict(config) | {"facts": dict(facts)})


def _from_dict(values: dict[str, Any], where: str) -> Config:
    try:
        config = msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"A value in {where} doesn't fit: {error}") from error
    if unknown := sorted({*_keys(values)} - {*_keys(dataclasses.asdict(config))}):
        raise ConfigError(f"Unknown keys in {where}: {', '.join(unknown)}.")
    return config


def _load(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of TOML; thousands of digits or of brackets
        raise ConfigError(f"config.toml isn't valid TOML: {error}.") from error


def _keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, value in values.items():
        nested = isinstance(value, dict)
        keys += _keys(value, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return keys


def _parse(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return value.strip()
