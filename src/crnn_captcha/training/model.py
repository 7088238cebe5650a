"""The convolutional recurrent network: a backbone, a neck and a CTC head.

The backbone turns an image into features along its width, the neck looks at them in their
order, the head scores the characters and the blank at each time step. (Shi et al. 2015, "An
End-to-End Trainable Neural Network for Image-based Sequence Recognition", arXiv 1507.05717.)
Backbones and necks are entries of a table and combine freely.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from crnn_captcha.errors import ConfigError
from crnn_captcha.training.augmentation import make_augmentation
from crnn_captcha.training.config import Config, ModelConfig
from crnn_captcha.training.normalization import BatchNormalization

HEAD = ("logits/kernel", "logits/bias")  # paths of the weights that score characters
SHORTCUT = ("shortcut/kernel", "shortcut/bias")


@dataclass(frozen=True)
class Networks:
    """One set of weights, in two graphs.

    Attributes:
        reader: images, uint8 (batch, width, height, channels), to logits, float32 (batch,
            time_steps, num_classes). What is saved, exported and read with.
        learner: what is trained: the reader, and beside its logits, where the configuration asks
            for it, those of the CTC shortcut. Of several views of each image, logits are float32
            (batch, views, time_steps, num_classes).
    """

    reader: keras.Model
    learner: keras.Model


def make_networks(config: Config, num_classes: int) -> Networks:
    """Builds the network of a configuration, its weights drawn from the global seed.

    Args:
        config: of the run.
        num_classes: characters and the blank.

    Raises:
        ConfigError: if a backbone or neck isn't known, or the image is too small for it.
    """
    pipeline, model = config.pipeline, config.model
    width = pipeline.fixed_width or None
    images = keras.Input((width, pipeline.height, pipeline.channels), dtype="uint8", name="images")
    x = layers.Rescaling(1 / 255, name="rescaling")(images)
    if augmentation := make_augmentation(config.augmentation, config.seed):
        x = augmentation(x)
    try:
        x = _variant(BACKBONES, "backbone", model.backbone)(x, model)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"The backbone '{model.backbone}' with filters {list(model.filters)} can't take an "
            f"image of height {pipeline.height} and width {width or 'any'}: {reason}"
        ) from error
    features = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="time_steps")(x)
    # (batch, time_steps, features)
    if model.context:
        features = _with_context(features)
    x = _variant(NECKS, "neck", model.neck)(features, model)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    reader = keras.Model(images, logits, name="reader")
    outputs = [logits]
    if model.ctc_shortcut:
        outputs.append(layers.Dense(num_classes, dtype="float32", name="shortcut")(features))
    elif config.augmentation.views == 1:
        return Networks(reader, reader)
    learner = keras.Model(images, outputs, name="learner")
    return Networks(reader, _of_views(learner, config.augmentation.views))


def _of_views(learner: keras.Model, views: int) -> keras.Model:
    """A learner that sees `views` of each image, next to each other in a batch."""
    if views == 1:
        return learner
    outputs = learner(ops.repeat(learner.input, views, axis=0))
    heads = [SplitViews(views, dtype="float32")(logits) for logits in outputs]
    outputs = heads if len(heads) > 1 else heads[0]
    return keras.Model(learner.input, outputs, name="learner_of_views")


@keras.saving.register_keras_serializable(package="crnn_captcha")
class SplitViews(layers.Layer):
    """Takes (batch * views, time_steps, num_classes), returns (batch, views, ...)."""

    def __init__(self, views: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.views = views

    def call(self, logits: Any) -> Any:
        """Splits."""
        time_steps, num_classes = ops.shape(logits)[1], logits.shape[2]
        return ops.reshape(logits, (-1, self.views, time_steps, num_classes))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the logits apart."""
        return (None, self.views, *input_shape[1:])

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the layer."""
        return super().get_config() | {"views": self.views}


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Networks are trained in 16 bits where asked for, but read in 32: bundles have no others."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def compiled(reader: keras.Model) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A fast way to call a reader, for any batch size and width.

    It takes uint8 (batch, width, height, channels) and returns logits, float32 (batch, time_steps,
    num_classes); nothing random is at work.
    """
    signature = [tf.TensorSpec((None, *reader.input_shape[1:]), tf.uint8)]
    call = tf.function(lambda images: reader(images, training=False), input_signature=signature)
    return lambda images: np.asarray(call(tf.convert_to_tensor(images)))


def vgg(x: Any, config: ModelConfig) -> Any:
    """3x3 convolution, 2x2 max pooling, batch normalisation and ReLU for each of the filters.

    Pooling comes before normalisation and activation, which then cost a quarter.
    (Simonyan and Zisserman 2014, "Very Deep Convolutional Networks", arXiv 1409.1556.)
    """
    for filters in config.filters:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D(2)(x)
        x = BatchNormalization()(x)
        x = layers.ReLU()(x)
    return x


def resnet(x: Any, config: ModelConfig) -> Any:
    """A strided stem, residual blocks, and a convolution over all of the height that is left.

    The first of the filters are the stem's, the last the final convolution's, each between them a
    block's. The width shrinks to a quarter, the height to an eighth and then to one.
    (He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385.)
    """
    stem = layers.ReLU()(_convolution(x, config.filters[0], 3, 2))
    return _residual(stem, config)


def resnet_fine(x: Any, config: ModelConfig) -> Any:
    """As `resnet`, with a stem that sees every pixel and then pools: finer, and slower."""
    stem = layers.ReLU()(_convolution(x, config.filters[0], 3, 1))
    return _residual(layers.MaxPooling2D(2)(stem), config)


def _residual(x: Any, config: ModelConfig) -> Any:
    """The blocks, from (batch, width / 2, height / 2, stem) to (batch, width / 4, 1, last)."""
    _, *blocks, last = config.filters
    for i, filters in enumerate(blocks):
        strides = BLOCK_STRIDES.get(i, (1, 1))
        branch = layers.ReLU()(_convolution(x, filters, 3, strides))
        branch = _convolution(branch, filters, 3, 1)
        x = layers.ReLU()(layers.Add()([branch, _shortcut(x, filters, strides)]))
    x = layers.Conv2D(last, (1, x.shape[2]), use_bias=False)(x)
    return layers.ReLU()(BatchNormalization()(x))


# Of the second and third block, (width, height): narrow letters need their columns.
BLOCK_STRIDES: Mapping[int, tuple[int, int]] = MappingProxyType({1: (2, 2), 2: (1, 2)})


def _convolution(x: Any, filters: int, size: int, strides: int | tuple[int, int]) -> Any:
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
    return BatchNormalization()(x)


def _shortcut(x: Any, filters: int, strides: tuple[int, int]) -> Any:
    """Averages before the 1x1 convolution, so that no pixel is passed over.

    (He et al. 2018, "Bag of Tricks for Image Classification", arXiv 1812.01187, ResNet-D. A strided
    1x1 convolution of few channels also corrupts memory in TensorFlow 2.21 on a CPU.)
    """
    if strides != (1, 1):
        x = layers.AveragePooling2D(strides, padding="same")(x)
    return _convolution(x, filters, 1, 1)


def _with_context(features: Any) -> Any:
    """Adds to each time step what the whole text looks like: in one font, o differs from 0.

    (A squeeze as in Hu et al. 2017, "Squeeze-and-Excitation Networks", arXiv 1709.01507.)
    """
    whole = layers.GlobalAveragePooling1D(keepdims=True, name="whole_text")(features)
    whole = layers.Dense(features.shape[-1], name="context")(whole)
    return layers.Add()([features, whole])


def bilstm(x: Any, config: ModelConfig) -> Any:
    """Bidirectional LSTM layers (Graves and Schmidhuber 2005).

    They compute in 32 bits also where the rest does in 16: their state adds up over many time
    steps, a GPU has them compiled so, and a CPU is no faster in 16.
    """
    for units in config.units:
        if config.dropout:
            x = layers.Dropout(config.dropout)(x)
        lstm = layers.LSTM(units, return_sequences=True, dtype="float32")
        x = layers.Bidirectional(lstm, dtype="float32")(x)
    return x


def attention(x: Any, config: ModelConfig) -> Any:
    """Blocks that look at all time steps by self-attention, then at the nearest by convolution.

    The convolution also tells attention what is near: there is no other sense of place. It takes
    the network a fraction of the time of LSTMs, which have to go step by step.
    (Vaswani et al. 2017, arXiv 1706.03762; local mixing as in Gulati et al. 2020, "Conformer",
    arXiv 2005.08100, and Du et al. 2022, "SVTR", arXiv 2205.00159.)
    """
    x = layers.Dense(config.units[0])(x)
    for units in config.units:
        y = layers.LayerNormalization()(x)
        y = layers.MultiHeadAttention(HEADS, max(1, units // HEADS))(y, y)
        x = _add(x, y, config.dropout)
        y = layers.LayerNormalization()(x)
        y = layers.DepthwiseConv1D(NEAR, padding="same")(y)
        y = layers.Dense(2 * units, activation="silu")(y)
        x = _add(x, layers.Dense(x.shape[-1])(y), config.dropout)
    return layers.LayerNormalization()(x)


HEADS = 4  # of attention
NEAR = 7  # time steps that the convolution beside it spans: about a letter


def _add(x: Any, branch: Any, dropout: float) -> Any:
    return layers.Add()([x, layers.Dropout(dropout)(branch) if dropout else branch])


def no_neck(x: Any, config: ModelConfig) -> Any:
    """The features as they are."""
    return layers.Dropout(config.dropout)(x) if config.dropout else x


Variant = Callable[[Any, ModelConfig], Any]
BACKBONES: Mapping[str, Variant] = MappingProxyType(
    {"vgg": vgg, "resnet": resnet, "resnet_fine": resnet_fine}
)
NECKS: Mapping[str, Variant] = MappingProxyType(
    {"bilstm": bilstm, "attention": attention, "none": no_neck}
)


def _variant(table: Mapping[str, Variant], kind: str, name: str) -> Variant:
    if name not in table:
        raise ConfigError(f"A {kind} is one of {', '.join(table)}. Received: '{name}'.")
    return table[name]
