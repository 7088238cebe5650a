"""Computing in 16 bits: in which format, and whether this machine is faster at it."""

from __future__ import annotations

import time
from typing import Any

import tensorflow as tf

REPEATS = 3
SLOWER = 1.1  # how much longer it may take before it is worth saying
FASTER = 1.3  # how much faster it has to be: a training has more than convolutions


def mixed_policy() -> str:
    """The name of Keras' policy: a GPU computes in float16, a CPU in bfloat16."""
    return "mixed_float16" if _on_gpu() else "mixed_bfloat16"


def advice(mixed: bool) -> str:
    """What to say about 16 bits to somebody who trains with or without them on a CPU.

    Processors without arithmetic for `bfloat16` imitate it, some of them very slowly; those with it
    are much faster than in 32 bits. Empty where the choice fits or makes little difference, and on
    a GPU.

    Args:
        mixed: whether the training computes in 16 bits.
    """
    if _on_gpu():
        return ""
    ratio = _convolution_seconds(tf.bfloat16) / _convolution_seconds(tf.float32)
    if mixed and ratio > SLOWER:
        return (
            f"A convolution in 16 bits takes {ratio:.1f} times as long as in 32 on this machine: "
            "it will train faster without --mixed-precision (training.mixed_precision)."
        )
    if not mixed and ratio < 1 / FASTER:
        return (
            f"A convolution in 16 bits is {1 / ratio:.1f} times as fast as in 32 on this machine: "
            "it will train faster with --mixed-precision (training.mixed_precision)."
        )
    return ""


def _on_gpu() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


def _convolution_seconds(dtype: Any) -> float:
    """The shortest time of a convolution as the backbones have them, and of its gradients."""
    images, kernel = tf.ones((8, 64, 16, 64), dtype), tf.ones((3, 3, 64, 64), dtype)
    seconds = []
    for _ in range(1 + REPEATS):  # the first prepares
        start = time.perf_counter()
        with tf.GradientTape() as tape:
            tape.watch((images, kernel))
            features = tf.nn.conv2d(images, kernel, 1, "SAME")
        for gradient in tape.gradient(features, (images, kernel)):
            gradient.numpy()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
