"""The CTC loss that networks are trained with."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from crnn_captcha.charset import BLANK


@keras.saving.register_keras_serializable(package="crnn_captcha")
def ctc_loss(y_true: Any, y_pred: Any) -> Any:
    """Negative log-likelihood of labels, summed over all CTC paths.

    Args:
        y_true: class ids of the labels, padded with the blank (0), (batch, longest label).
        y_pred: logits, (batch, time_steps, num_classes), class 0 the blank. All time steps count:
            what an image is padded with has to be read as blank.

    Returns:
        float32 (batch,), in nats. Infinite gradients can't arise where labels fit the time steps,
        which training checks beforehand.

    Source: Graves et al. 2006, "Connectionist Temporal Classification", equations 12 and 15.
    """
    y_pred = ops.cast(y_pred, "float32")  # half precision underflows in the sums over paths
    label_length = ops.sum(ops.cast(ops.not_equal(y_true, BLANK), "int32"), axis=1)  # (batch,)
    batch, time_steps = ops.shape(y_pred)[:2]
    logit_length = ops.ones((batch,), "int32") * time_steps
    return ops.ctc_loss(y_true, y_pred, label_length, logit_length, mask_index=BLANK)
