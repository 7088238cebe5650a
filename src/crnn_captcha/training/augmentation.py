"""Random changes to training images, as layers inside the model.

Images come as (batch, width, height, channels): what Keras calls height is the width here.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras
from keras import layers, ops

from crnn_captcha.training.config import AugmentationConfig


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomChannelPermutation(layers.Layer):
    """Swaps the colour channels, each image in its own way: a letter's colour says nothing.

    Takes and returns float (batch, width, height, channels); does nothing outside of training.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """Permutes when `training`."""
        if not training:
            return images
        batch, channels = ops.shape(images)[0], images.shape[-1]
        keys = keras.random.uniform((batch, channels), seed=self.generator)
        order = ops.one_hot(ops.argsort(keys, axis=-1), channels, dtype=images.dtype)
        return ops.einsum("bwhc,bdc->bwhd", images, order)  # one image, one order

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shapes stay as they are."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomSlant(layers.Layer):
    """Slants text about its middle line, each image by its own angle.

    Takes and returns float (batch, width, height, channels), filled with background (0); does
    nothing outside of training.

    Args:
        degrees: the largest angle, either way.
        seed: of the angles.
    """

    def __init__(self, degrees: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.degrees = degrees
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """Slants when `training`."""
        if not training:
            return images
        batch, height = ops.shape(images)[0], images.shape[2]
        limit = math.radians(self.degrees)
        slope = ops.tan(keras.random.uniform((batch,), -limit, limit, seed=self.generator))
        zero, one = ops.zeros_like(slope), ops.ones_like(slope)
        # An output pixel (x across the text, y along it) comes from (x, y + slope * (x - middle)).
        offset = -slope * (height - 1) / 2
        rows = [one, zero, zero, slope, one, offset, zero, zero]
        return ops.image.affine_transform(images, ops.stack(rows, axis=1), fill_mode="constant")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shapes stay as they are."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"degrees": self.degrees, "seed": self.seed}


def make_augmentation(config: AugmentationConfig, seed: int) -> keras.Sequential | None:
    """The augmentation of a configuration, or None where it asks for none.

    The layers take float (batch, width, height, channels) with background 0, change an image in
    training only, and fill with background.
    """
    fill = {"fill_mode": "constant", "fill_value": 0.0}
    seeds = itertools.count(seed)  # one each: layers with equal seeds would move together
    stages: list[layers.Layer] = []
    if config.rotation_degrees:
        turn = config.rotation_degrees / 360
        stages.append(layers.RandomRotation(turn, **fill, seed=next(seeds)))
    if config.shear_degrees:
        stages.append(RandomSlant(config.shear_degrees, seed=next(seeds)))
    if config.translation_x or config.translation_y:
        shift = config.translation_x, config.translation_y
        stages.append(layers.RandomTranslation(*shift, **fill, seed=next(seeds)))
    if config.zoom:
        stages.append(layers.RandomZoom(config.zoom, config.zoom, **fill, seed=next(seeds)))
    if config.permute_colours:
        stages.append(RandomChannelPermutation(seed=next(seeds)))
    return keras.Sequential(stages, name="augmentation") if stages else None
