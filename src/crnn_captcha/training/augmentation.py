"""Random changes to training images, as layers inside the model.

Images come as (batch, width, height, channels): what Keras calls height is the width here.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from crnn_captcha.training.config import AugmentationConfig

COLOURS = 3  # red, green, blue; a fourth channel is the ink


class RandomChange(layers.Layer):
    """Changes images in training, each in its own way; leaves them alone otherwise.

    Takes and returns float (batch, width, height, channels). Where a change leaves room, it is
    filled with background (0).

    Args:
        seed: of all that is drawn at random.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, images: Any, training: bool = False) -> Any:
        """Changes images when `training`."""
        return self.change(images) if training else images

    def change(self, images: Any) -> Any:
        """The changed images."""
        raise NotImplementedError

    def draw(self, shape: tuple[Any, ...], low: float = 0.0, high: float = 1.0) -> Any:
        """Uniformly random float32 of `shape`, from `low` to `high`."""
        return keras.random.uniform(shape, low, high, seed=self.generator)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Shapes stay as they are."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomChannelPermutation(RandomChange):
    """Swaps the colour channels: a letter's colour says nothing."""

    def change(self, images: Any) -> Any:
        """Swaps colours, one order an image."""
        batch, channels = ops.shape(images)[0], images.shape[-1]
        colours = min(channels, COLOURS)
        order = ops.argsort(self.draw((batch, colours)), axis=-1)
        beyond = ops.ones_like(order[:, :1]) * ops.arange(colours, channels)  # stay where they are
        order = ops.one_hot(ops.concatenate([order, beyond], 1), channels, dtype=images.dtype)
        return ops.einsum("bwhc,bdc->bwhd", images, order)


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomSlant(RandomChange):
    """Slants text about its middle line.

    Args:
        degrees: the largest angle, either way.
        seed: of the angles.
    """

    def __init__(self, degrees: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.degrees = degrees

    def change(self, images: Any) -> Any:
        """Slants, one angle an image."""
        batch, height = ops.shape(images)[0], images.shape[2]
        limit = math.radians(self.degrees)
        slope = ops.tan(self.draw((batch,), -limit, limit))
        zero, one = ops.zeros_like(slope), ops.ones_like(slope)
        # An output pixel (x across the text, y along it) comes from (x, y + slope * (x - middle)).
        offset = -slope * (height - 1) / 2
        rows = [one, zero, zero, slope, one, offset, zero, zero]
        return ops.image.affine_transform(images, ops.stack(rows, axis=1), fill_mode="constant")

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"degrees": self.degrees}


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomShrink(RandomChange):
    """Scales text down, and puts it anywhere in the room that this leaves.

    Nothing is ever cut off, and letters keep their proportions, by which o differs from 0.

    Args:
        share: the largest share that is taken off width and height.
        seed: of the shares and places.
        views: so many neighbours in a batch are views of one image. Along the text they move
            alike: they are compared time step by time step.
    """

    def __init__(
        self, share: float, seed: int | None = None, views: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(seed, **kwargs)
        self.share = share
        self.views = views

    def change(self, images: Any) -> Any:
        """Shrinks, to a size and place of each image's own."""
        batch, width, height = ops.shape(images)[:3]
        alike = ops.repeat(self.draw((batch // self.views, 2)), self.views, axis=0)
        size = 1 - self.share * alike[:, 0]
        # Where text starts, in output pixels, which at p come from (p - start) / size.
        across = self.draw((batch,)) * (1 - size) * (ops.cast(height, "float32") - 1)
        along = alike[:, 1] * (1 - size) * (ops.cast(width, "float32") - 1)
        scale, zero = 1 / size, ops.zeros_like(size)
        rows = [scale, zero, -across * scale, zero, scale, -along * scale, zero, zero]
        return ops.image.affine_transform(images, ops.stack(rows, axis=1), fill_mode="constant")

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"share": self.share, "views": self.views}


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomWeight(RandomChange):
    """Makes strokes bolder or thinner, as another weight of the font has them.

    Args:
        pixels: at most so much is added or taken away at each edge, up to 1.
        seed: of the weights.
    """

    def __init__(self, pixels: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.pixels = pixels

    def change(self, images: Any) -> Any:
        """Blends with the images dilated or eroded by a pixel, to one degree an image."""
        degree = self.draw((ops.shape(images)[0], 1, 1, 1), -self.pixels, self.pixels)
        degree = ops.cast(degree, images.dtype)
        bolder = ops.max_pool(images, 3, 1, "same") - images
        thinner = images + ops.max_pool(-images, 3, 1, "same")
        return images + ops.relu(degree) * bolder - ops.relu(-degree) * thinner

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"pixels": self.pixels}


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a batch lie, counted from 0.

    Attributes:
        along: the text, float32 (width, 1).
        across: the text, float32 (1, height).
        width: of the images, a float32 scalar.
        height: of the images, a float32 scalar.
        one: shape of a value for each image, (batch, 1, 1).
    """

    along: Any
    across: Any
    width: Any
    height: Any
    one: tuple[Any, int, int]

    @classmethod
    def of(cls, images: Any) -> Grid:
        """The grid of images, (batch, width, height, channels)."""
        batch, width, height = ops.shape(images)[:3]
        return cls(
            along=ops.arange(width, dtype="float32")[:, None],
            across=ops.arange(height, dtype="float32")[None, :],
            width=ops.cast(width, "float32"),
            height=ops.cast(height, "float32"),
            one=(batch, 1, 1),
        )


class RandomMarks(RandomChange):
    """Leaves marks on images, one after the other.

    Args:
        count: marks that may be left; each is, or isn't, with equal chance.
        seed: of the marks.
    """

    def __init__(self, count: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.count = count

    def change(self, images: Any) -> Any:
        """Leaves marks."""
        grid = Grid.of(images)
        for _ in range(self.count):
            images = self.mark(images, grid)
        return images

    def mark(self, images: Any, grid: Grid) -> Any:
        """The images with a mark on half of them."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"count": self.count}


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomLines(RandomMarks):
    """Draws lines over text, in the colour (1) that black lines have in an inverted image."""

    def mark(self, images: Any, grid: Grid) -> Any:
        """Draws a line."""
        colours = min(images.shape[-1], COLOURS)
        colour = [1.0] * colours + [0.0] * (images.shape[-1] - colours)  # a line is no ink
        colour = ops.convert_to_tensor(colour, images.dtype)
        one = grid.one
        angle = self.draw(one, -1, 1) ** 3 * (math.pi / 2)  # most lines run along the text
        y = grid.along - self.draw(one) * grid.width
        x = grid.across - self.draw(one) * grid.height
        beside = ops.abs(y * ops.sin(angle) - x * ops.cos(angle))  # (batch, width, height)
        reach = ops.abs(y * ops.cos(angle) + x * ops.sin(angle))
        half_thickness = self.draw(one, 0.3, 0.8)
        ink = ops.clip(half_thickness + 0.5 - beside, 0, 1)  # a soft edge of one pixel
        there = reach < self.draw(one, 0.05, 0.5) * grid.width
        there = ops.logical_and(there, self.draw(one) < 0.5)
        line = ops.cast(ops.where(there, ink, 0.0), images.dtype)[..., None]
        return images + line * (colour - images)


@keras.saving.register_keras_serializable(package="crnn_captcha")
class RandomPatches(RandomMarks):
    """Hides small patches, as if nothing were there.

    Source: DeVries and Taylor 2017, "Cutout", arXiv 1708.04552.
    """

    SIDES = (0.05, 0.25)  # of a patch, as shares of the height: far less than a letter

    def mark(self, images: Any, grid: Grid) -> Any:
        """Hides a patch."""
        one = grid.one
        half = [self.draw(one, *self.SIDES) * grid.height / 2 for _ in range(2)]
        hidden = ops.logical_and(
            ops.abs(grid.along - self.draw(one) * grid.width) < half[0],
            ops.abs(grid.across - self.draw(one) * grid.height) < half[1],
        )  # (batch, width, height)
        hidden = ops.logical_and(hidden, self.draw(one) < 0.5)[..., None]
        return ops.where(hidden, ops.zeros_like(images), images)


@keras.saving.register_keras_serializable(package="crnn_captcha")
class Augmentation(keras.Sequential):
    """Layers that are at work in training only.

    Keras' own random layers are at work wherever a model is called and nothing is said about
    training: a loaded model would read `model(images)` differently each time.
    """

    def call(self, inputs: Any, training: bool | None = False, mask: Any = None) -> Any:
        """Changes images when `training`."""
        return super().call(inputs, training=bool(training), mask=mask)


def make_augmentation(config: AugmentationConfig, seed: int) -> Augmentation | None:
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
    if config.shrink:
        stages.append(RandomShrink(config.shrink, next(seeds), config.views))
    if config.weight:
        stages.append(RandomWeight(config.weight, seed=next(seeds)))
    if config.permute_colours:
        stages.append(RandomChannelPermutation(seed=next(seeds)))
    if config.lines:
        stages.append(RandomLines(config.lines, seed=next(seeds)))
    if config.patches:
        stages.append(RandomPatches(config.patches, seed=next(seeds)))
    return Augmentation(stages, name="augmentation") if stages else None
