"""Epoch after epoch, with all that has to survive a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from crnn_captcha.batches import Batches
from crnn_captcha.charset import BLANK
from crnn_captcha.decoding import ctc_log_likelihood, greedy_decode, log_softmax
from crnn_captcha.errors import RunError
from crnn_captcha.files import replacing
from crnn_captcha.metrics import cer, exact_match
from crnn_captcha.progress import say
from crnn_captcha.streams import Batch, WaitingTime
from crnn_captcha.training.averaging import MEASURED_BATCHES, RunningMean
from crnn_captcha.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from crnn_captcha.training.config import Config
from crnn_captcha.training.model import Networks, compiled
from crnn_captcha.training.preparation import Prepared
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.watch import State, Watch, diverged, stopping_on_signals

TOLD_TO_STOP = "Stopped as told."  # with more to do


class Epochs:
    """Trains epoch after epoch until an end is reached.

    Args:
        folder: a run that was started.
        config: of the run.
        networks: compiled, with the state of the optimizer and of the metrics made.
        prepared: what to learn from and validate with.
        progress: whether to say on standard error how it goes.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        networks: Networks,
        prepared: Prepared,
        *,
        progress: bool,
    ) -> None:
        self.folder = folder
        self.config = config
        self.networks = networks
        self.prepared = prepared
        self.progress = progress
        self.state = State(data=_fingerprint(prepared.learning))
        self._read = compiled(networks.reader)
        self._steps = len(prepared.learning)
        self._mean = RunningMean(networks.learner, config.optimizer.ema_decay)

    def run(self) -> tuple[str, bool]:
        """Trains. Returns why it ended, and whether it was told to stop.

        Raises:
            RunError: if memory is too small for a batch.
        """
        try:
            return self._run()
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise RunError(
                "A training needs memory for a batch and what is computed of it. Received: less, "
                f"for batches of {self.config.data.batch_size} images. Make them smaller, as with "
                f"--set data.batch_size={max(1, self.config.data.batch_size // 2)}, in another "
                "folder, or go on with --resume where there is more memory."
            ) from error

    def _run(self) -> tuple[str, bool]:
        watch = self._watch()
        with stopping_on_signals(watch):
            reason = self._end()
            while not reason:
                if self.state.step < self._steps:
                    self._train(watch)
                if self.state.step == self._steps:
                    with self._averaged():
                        self._finish_epoch(watch)
                    reason = self._end()
                if watch.stopping:
                    reason = reason or TOLD_TO_STOP
                self.save()
        if not self.state.best_epoch:  # stopped in the first epoch
            with self._averaged():
                self._save_model()
            self.folder.write_history(self.state.history)
        return reason, watch.stopping

    def restore(self) -> bool:
        """Takes up the newest checkpoint of the run. Returns whether there is one.

        Raises:
            RunError: if the data changed, or no checkpoint can be used.
        """
        checkpoint = load_checkpoint(self.folder.checkpoints)
        if checkpoint is None:
            return False
        try:
            state = State(**checkpoint.state)
        except TypeError as error:
            raise self._does_not_fit() from error
        if state.data != self.state.data:
            drawn = ", another style, or other fonts to draw with"
            raise RunError(
                "--resume goes on with the data that the run was started with. Received: other "
                f"images or labels{drawn if self.prepared.learning.drawings else ''}. Name the "
                "same, or train into another folder."
            )
        variables, means = self._variables(), self._mean.arrays
        shapes = [tuple(variable.shape) for variable in (*variables, *means)]
        if shapes != [array.shape for array in checkpoint.arrays]:
            raise self._does_not_fit()
        count = len(variables)
        for variable, array in zip(variables, checkpoint.arrays[:count], strict=True):
            variable.assign(array)
        for mean, array in zip(means, checkpoint.arrays[count:], strict=True):
            mean[:] = array
        self.state = state
        self.folder.write_history(state.history)
        return True

    def _does_not_fit(self) -> RunError:
        mixed = ", or the 16 bits of this machine: a GPU and a CPU have different ones"
        return RunError(
            f"The checkpoint in {self.folder.checkpoints} doesn't fit this version's network"
            f"{mixed if self.config.training.mixed_precision else ''}. Go on where it was "
            "written, or train again into another folder."
        )

    def save(self) -> None:
        """Writes a checkpoint of this moment."""
        arrays = [*map(np.asarray, self._variables()), *self._mean.arrays]
        step = self.state.epoch * self._steps + self.state.step
        checkpoint = Checkpoint(arrays, dataclasses.asdict(self.state))
        save_checkpoint(self.folder.checkpoints, step, checkpoint)

    def _variables(self) -> list[Any]:
        """All that changes from step to step: weights, random states, moments, sums."""
        learner = self.networks.learner
        return [*learner.variables, *learner.optimizer.variables, *learner.metrics_variables]

    def _watch(self) -> Watch:
        return Watch(
            self.state,
            steps=self._steps,
            epochs=self.config.training.epochs,
            save=self.save,
            save_every_s=self.config.training.checkpoint_s,
            progress=self.progress,
        )

    def _end(self) -> str:
        state, training = self.state, self.config.training
        if state.epoch >= training.epochs:
            return f"All {training.epochs} epochs are done."
        if state.epoch - state.best_epoch >= training.patience:
            return f"No better {training.monitor} in {training.patience} epochs."
        return ""

    def _train(self, watch: Watch) -> None:
        """Trains on what is left of the epoch."""
        state, data = self.state, self.config.data
        stream = self.prepared.learning.stream(
            state.epoch,
            start=state.step,
            workers=data.workers,
            processes=data.processes,
            timeout_s=data.timeout_s,
        )
        batches = WaitingTime(stream)
        start, seconds, waited = time.perf_counter(), state.seconds, state.waited
        watch.clock = lambda: (
            seconds + time.perf_counter() - start,
            waited + batches.seconds,
        )
        try:
            self.networks.learner.fit(
                self._as_tensors(batches),
                initial_epoch=state.epoch,
                epochs=state.epoch + 1,
                steps_per_epoch=self._steps - state.step,
                callbacks=[self._mean, watch],  # in this order: the watch may save
                shuffle=False,
                verbose=0,
            )
        except tf.errors.OpError:
            if watch.stopping:  # the same signal may have ended processes that make batches
                return
            if batches.error is not None:
                raise batches.error from None  # TensorFlow knows only its text
            raise
        finally:
            with contextlib.suppress(ValueError):  # TensorFlow's thread may be in it just now
                stream.close()

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within the block the network is the mean of what it was, if one is taken."""
        data = self.config.data
        last = self.prepared.learning.stream(
            self.state.epoch,
            start=max(0, self._steps - MEASURED_BATCHES),
            workers=data.workers,
            timeout_s=data.timeout_s,
        )
        return self._mean.in_place(images for images, _ in last)

    def _as_tensors(self, batches: WaitingTime) -> tf.data.Dataset:
        pipeline = self.config.pipeline
        heads = len(self.networks.learner.outputs)  # each learns the same labels
        devices = self.networks.learner.distribute_strategy.num_replicas_in_sync

        def rows() -> Iterator[Any]:
            for batch in batches:
                images, labels = _in_parts(batch, devices)
                yield images, (labels if heads == 1 else (labels,) * heads)

        images = tf.TensorSpec((None, None, pipeline.height, pipeline.channels), tf.uint8)
        labels = tf.TensorSpec((None, self.prepared.learning.label_width), tf.int32)
        signature = (images, labels if heads == 1 else (labels,) * heads)
        options = tf.data.Options()
        options.autotune.enabled = False  # its thread sleeps up to a minute before an epoch can end
        sharding = tf.data.experimental.AutoShardPolicy.OFF  # several GPUs share each batch
        options.experimental_distribute.auto_shard_policy = sharding
        dataset = tf.data.Dataset.from_generator(rows, output_signature=signature)
        return dataset.with_options(options).prefetch(1)

    def _finish_epoch(self, watch: Watch) -> None:
        """Validates, writes the row, keeps the best, and moves on to the next epoch."""
        state, training = self.state, self.config.training
        val_loss, val_exact_match, val_cer = self.validate()
        seconds, waited = watch.clock()
        row = {
            "epoch": state.epoch + 1,
            "loss": state.loss,
            "val_loss": val_loss,
            "val_exact_match": val_exact_match,
            "val_cer": val_cer,
            "learning_rate": float(self.networks.learner.optimizer.learning_rate),
            "seconds": round(seconds, 3),
            "waiting_seconds": round(waited, 3),
        }
        state.history.append(row)
        state.epoch, state.step, state.seconds, state.waited = state.epoch + 1, 0, 0.0, 0.0
        higher_is_better = training.monitor == "val_exact_match"
        figure = row[training.monitor] if higher_is_better else -row[training.monitor]
        if figure > state.best:
            state.best, state.best_epoch, state.stale = figure, state.epoch, 0
            self._save_model()
        else:
            state.stale += 1
            self._lower_learning_rate()
        self.folder.write_history(state.history)
        if training.tensorboard:
            self._log(row)
        if self.progress:
            say(self._summary(row))

    def _log(self, row: dict[str, float]) -> None:
        try:
            writer = tf.summary.create_file_writer(str(self.folder.tensorboard))
            with writer.as_default(step=self.state.epoch):
                for name, value in row.items():
                    tf.summary.scalar(name, value)
            writer.close()
        except tf.errors.OpError as error:  # a full disk, say; the training has all it needs
            warnings.warn(f"TensorBoard's log wasn't written: {error.message}", stacklevel=2)

    def _lower_learning_rate(self) -> None:
        state, optimizer = self.state, self.config.optimizer
        if optimizer.schedule == "plateau" and state.stale >= optimizer.plateau_patience:
            rate = self.networks.learner.optimizer.learning_rate
            rate.assign(rate * optimizer.plateau_factor)
            state.stale = 0

    def validate(self) -> tuple[float, float, float]:
        """CTC loss, exact match and CER on the validation split, decoded as reading decodes."""
        losses: list[float] = []
        labels: list[str] = []
        texts: list[str] = []
        data, charset = self.config.data, self.prepared.charset
        batches = self.prepared.validation
        for images, encoded in batches.stream(0, workers=data.workers, timeout_s=data.timeout_s):
            logits = self._read(images)
            if not np.isfinite(logits).all():
                raise diverged(f"in the validation of epoch {self.state.epoch + 1}")
            class_ids = [row[row != BLANK].astype(np.int64) for row in encoded]
            losses += (-ctc_log_likelihood(log_softmax(logits), class_ids)).tolist()
            labels += [charset.decode(row) for row in class_ids]
            texts += [reading.text for reading in greedy_decode(logits, charset)]
        return float(np.mean(losses)), exact_match(labels, texts), cer(labels, texts)

    def _save_model(self) -> None:
        with replacing(self.folder.best_model) as path:
            self.networks.reader.save(path)

    def _summary(self, row: dict[str, float]) -> str:
        state, epochs = self.state, self.config.training.epochs
        recent = [row["seconds"] for row in state.history[-5:]]
        left = (epochs - state.epoch) * sum(recent) / len(recent)
        best = ", best so far" if state.best_epoch == state.epoch else ""
        return (
            f"epoch {state.epoch}/{epochs}: loss {row['loss']:.3f}, validation loss "
            f"{row['val_loss']:.3f}, exact match {row['val_exact_match']:.1%}, CER "
            f"{row['val_cer']:.1%}, learning rate {row['learning_rate']:.2g}, "
            f"{row['seconds']:.0f} s, at most {_duration(left)} left{best}"
        )


def _in_parts(batch: Batch, devices: int) -> Batch:
    """A batch that several devices share evenly: the first images once more where some lack.

    TensorFlow would leave a device without any, and of none there is no loss.
    """
    missing = -len(batch[0]) % devices
    if not missing:
        return batch
    images, labels = (
        np.concatenate([part, np.resize(part, (missing, *part.shape[1:]))]) for part in batch
    )
    return images, labels


def _fingerprint(batches: Batches) -> str:
    names = "\n".join(f"{sample.name}\t{sample.label}" for sample in batches.samples)
    if batches.drawings:
        names += f"\n{batches.drawings.fingerprint}"
    return hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
