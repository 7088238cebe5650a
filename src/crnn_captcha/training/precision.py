"""Computing in 16 bits: in which format, and whether this machine is faster at it."""

from __future__ import annotations

import time
from typing import Any

import tensorflow as tf

REPEATS = 3
SLOWER = 1.1  # how much longer it may take before it is worth saying


def mixed_policy() -> str:
    """The name of Keras' policy: a GPU computes in float16, a CPU in bfloat16."""
    return "mixed_float16" if _on_gpu() else "mixed_bfloat16"


def warning() -> str:
    """What to say to somebody who asked for 16 bits; empty where they are no slower.

    Processors without arithmetic for `bfloat16` imitate it, some of them very slowly.
    """
    if _on_gpu():
        return ""
    ratio = _convolution_seconds(tf.bfloat16) / _convolution_seconds(tf.float32)
    if ratio <= SLOWER:
        return ""
    return (
        f"A convolution in 16 bits takes {ratio:.1f} times as long as in 32 on this machine: "
        "it will train faster without --mixed-precision."
    )


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
