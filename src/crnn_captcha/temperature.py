"""One number that makes confidences mean what they say, fitted on images of known labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import Charset
from crnn_captcha.confidence import calibration
from crnn_captcha.decoding import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Logits,
    ctc_log_likelihood,
    greedy_decode,
    log_softmax,
)

MIN_IMAGES = 50  # fewer tell nothing: of 50 that are half right, the share is known to 14 %

GRID = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 25)  # a factor of 1.28 apart
PRECISION = 1e-3  # of the temperature's logarithm: moves no confidence by more than 0.1 % or so
DIGITS = 4  # that are kept
MAX_BATCH_VALUES = 2**22  # logits that are worked on at once: 16 MiB
LEAST_WRONG = 1e-5  # float32 over a hundred time steps knows no confidence better than this


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature, and what it does to the confidences that it was fitted on.

    Attributes:
        temperature: to divide logits by; 1.0 changes nothing.
        images: that it was fitted on.
        error_before: their expected calibration error without it, 0 to 1; 0.0 without images.
        error_after: and with it.
    """

    temperature: float
    images: int
    error_before: float
    error_after: float


def fit_temperature(
    logits: Sequence[Logits], labels: Sequence[str], charset: Charset
) -> TemperatureFit:
    """The temperature at which a text's posterior probability is how often it is right.

    It minimises the binary cross-entropy between the confidence of each text that greedy decoding
    reads and whether the text is right. That is the temperature scaling of Guo et al. 2017, "On
    Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2, with their confidence
    of a class replaced by ours of a whole text: its probability summed over all CTC paths.

    The best path is the same at every temperature, and so are the texts that are read. The
    cross-entropy is never above that of 1.0; the expected calibration error, which depends on
    where its bins end, may be. The same input gives the same temperature.

    Args:
        logits: for each image float32 (time_steps, num_classes); time steps may differ.
        labels: what each image says.
        charset: of the logits' classes.

    Returns:
        The fit. Its temperature is 1.0 where there are fewer than `MIN_IMAGES`, or where all texts
        are right or all are wrong: there is nothing to go by then.

    Raises:
        ValueError: if there are not as many labels as images.
        CharsetError: if the logits don't fit the charset.
    """
    if len(logits) != len(labels):
        raise ValueError(
            "There must be a label for each image. "
            f"Received: {len(logits)} images and {len(labels)} labels."
        )
    if not len(logits):
        return TemperatureFit(1.0, 0, 0.0, 0.0)
    groups = [_read(*group, charset) for group in _by_shape(logits, labels)]
    right = np.concatenate([group.right for group in groups])

    def confidences(temperature: float) -> NDArray[np.float64]:
        return np.concatenate([group.confidences(temperature) for group in groups])

    def loss(temperature: float) -> float:
        return _cross_entropy(confidences(temperature), right)

    enough = len(right) >= MIN_IMAGES and right.any() and not right.all()
    temperature = _search(loss) if enough else 1.0
    before, after = (
        calibration(confidences(t).tolist(), right.tolist()).error for t in (1.0, temperature)
    )
    return TemperatureFit(temperature, len(right), before, after)


@dataclass(frozen=True)
class _Group:
    """Images of as many time steps, and what is read from them.

    Attributes:
        logits: float32 (batch, time_steps, num_classes).
        texts: class ids without blanks, for each of the batch.
        right: bool (batch,).
    """

    logits: Logits
    texts: list[NDArray[np.int64]]
    right: NDArray[np.bool_]

    def confidences(self, temperature: float) -> NDArray[np.float64]:
        """Posterior probability of each text at a temperature, float64 (batch,)."""
        likelihoods = ctc_log_likelihood(log_softmax(self.logits, temperature), self.texts)
        return np.minimum(1.0, np.exp(likelihoods))


def _by_shape(
    logits: Sequence[Logits], labels: Sequence[str]
) -> Iterator[tuple[Logits, list[str]]]:
    """Images of equal shape together, of bounded size; the order depends on nothing else."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, scores in enumerate(logits):
        places.setdefault(scores.shape, []).append(place)
    for group in places.values():
        size = max(1, MAX_BATCH_VALUES // max(1, logits[group[0]].size))
        for start in range(0, len(group), size):
            part = group[start : start + size]
            yield np.stack([logits[i] for i in part]), [labels[i] for i in part]


def _read(logits: Logits, labels: Sequence[str], charset: Charset) -> _Group:
    texts = [reading.text for reading in greedy_decode(logits, charset)]
    right = np.array([text == label for text, label in zip(texts, labels, strict=True)])
    return _Group(logits, [charset.encode(text).astype(np.int64) for text in texts], right)


def _cross_entropy(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mean of -log of the probability that confidences give to what is the case."""
    probabilities = np.where(right, confidences, 1 - confidences)
    return float(-np.log(np.maximum(probabilities, LEAST_WRONG)).mean())


def _search(loss: Callable[[float], float]) -> float:
    """Where the loss is least: the best of a grid, refined by golden section between neighbours.

    Cross-entropy has one dip as a rule; the grid finds the deepest of several.
    """
    losses = [loss(float(temperature)) for temperature in GRID]
    best = int(np.argmin(losses))
    low = float(np.log(GRID[max(0, best - 1)]))
    high = float(np.log(GRID[min(len(GRID) - 1, best + 1)]))
    refined = float(np.exp(_golden_section(lambda log: loss(float(np.exp(log))), low, high)))
    candidates = (1.0, round(float(GRID[best]), DIGITS), round(refined, DIGITS))
    return min(candidates, key=loss)  # 1.0 where nothing is better


def _golden_section(function: Callable[[float], float], low: float, high: float) -> float:
    """The lowest place of a function with one dip, to `PRECISION` (Kiefer 1953)."""
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > PRECISION:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2
