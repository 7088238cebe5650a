"""The losses that networks are trained with."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from crnn_captcha.charset import BLANK

LEAST_LOG_P = -80.0  # of a class at a time step; float32 ends at -87


@keras.saving.register_keras_serializable(package="crnn_captcha")
def ctc_loss(y_true: Any, y_pred: Any) -> Any:
    """Negative log-likelihood of labels, summed over all CTC paths.

    Args:
        y_true: class ids of the labels, padded with the blank (0), (batch, longest label); each
            has a character at least.
        y_pred: logits, (batch, time_steps, num_classes), class 0 the blank. All time steps count:
            what an image is padded with has to be read as blank.

    Returns:
        float32 (batch,), in nats.

    Raises:
        tf.errors.InvalidArgumentError: if a label is empty or longer than the time steps. One that
            lacks only the room between repeats costs infinity. Training checks both beforehand.

    Source: Graves et al. 2006, "Connectionist Temporal Classification", equations 12 and 15.
    """
    y_pred = ops.cast(y_pred, "float32")  # half precision underflows in the sums over paths
    batch, time_steps = ops.shape(y_pred)[:2]
    # What is less likely than this counts as this: probabilities mustn't underflow. The gradient
    # goes through as if nothing had been cut.
    log_p = ops.log_softmax(y_pred)
    y_pred = log_p + ops.stop_gradient(ops.maximum(log_p, LEAST_LOG_P) - log_p)
    # Of sparse labels, TensorFlow takes the sums in one compiled operation; of dense ones, as
    # keras.ops.ctc_loss has them, in a loop over the time steps of some thirty operations each.
    labels = tf.sparse.from_dense(ops.cast(y_true, "int32"))  # leaves out the blanks
    loss = tf.nn.ctc_loss(
        labels=labels,
        logits=y_pred,
        label_length=None,
        logit_length=tf.fill([batch], time_steps),
        logits_time_major=False,
        blank_index=BLANK,
    )
    known = ops.all(ops.isfinite(y_pred), axis=(1, 2))  # it makes a number of NaN
    return ops.where(known, loss, float("nan"))


@keras.saving.register_keras_serializable(package="crnn_captcha")
class ConsistentCTC(keras.losses.Loss):
    """CTC loss of several views of each image, which are also to be read alike.

    Views that hide different things teach each other: each one's distribution over the classes, at
    each time step, is the others' target.

    Args:
        weight: of the consistency beside the CTC loss.

    Source: Yao et al. 2024, "CR-CTC: Consistency regularization on CTC", arXiv 2410.05101,
    equations 3 to 5.
    """

    def __init__(self, weight: float, name: str = "consistent_ctc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.weight = weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image.

        Args:
            y_true: as `ctc_loss` takes them.
            y_pred: logits, (batch, views, time_steps, num_classes), time steps of all views of an
                image in step with each other.

        Returns:
            float32 (batch,), in nats: the CTC loss is the mean over the views.
        """
        y_pred = ops.cast(y_pred, "float32")
        views = y_pred.shape[1]
        of_views = [ctc_loss(y_true, y_pred[:, view]) for view in range(views)]
        loss = sum(of_views) / views
        if not self.weight:
            return loss
        log_p = ops.log_softmax(y_pred)
        target = ops.stop_gradient(ops.roll(log_p, 1, axis=1))  # each view learns from its left one
        divergence = ops.sum(ops.exp(target) * (target - log_p), axis=(2, 3))  # (batch, views)
        return loss + self.weight * ops.mean(divergence, axis=1)

    def get_config(self) -> dict[str, Any]:
        """What rebuilds the loss."""
        return super().get_config() | {"weight": self.weight}
