"""The optimizer of a configuration."""

from __future__ import annotations

from typing import Any

import keras

from crnn_captcha.training.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a configuration.

    Args:
        config: of the optimizer.
        steps: of the whole training, which the cosine schedule is stretched over.
    """
    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        warmup = round(config.warmup * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=rate / 25 if warmup else rate,
            decay_steps=max(1, steps - warmup),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    clip = config.clip_norm or None
    if config.name == "adam":
        return keras.optimizers.Adam(rate, global_clipnorm=clip)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=clip)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
