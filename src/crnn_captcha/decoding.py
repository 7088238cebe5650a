"""Logits of a CTC network become text, with a confidence.

One definition of confidence everywhere: the posterior probability of the text, which is the
sum over all CTC paths that spell it (not the probability of the best path alone).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.errors import CharsetError

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Character:
    """A character that was read and how sure the network is of it.

    Its confidence is the highest probability that its class reaches on its time steps.
    """

    text: str
    confidence: float


@dataclass(frozen=True)
class Reading:
    """What was read from one image.

    Attributes:
        text: the characters, joined; may be empty.
        confidence: posterior probability of `text`, 0 to 1.
        characters: one for each character of `text`.
    """

    text: str
    confidence: float
    characters: tuple[Character, ...]


def greedy_decode(logits: Logits, charset: Charset) -> list[Reading]:
    """Best path: argmax per time step, merge repeats, drop blanks.

    Args:
        logits: float32 (batch, time_steps, num_classes), class 0 the blank.
        charset: of `num_classes - 1` characters.

    Returns:
        A reading for each of the batch.

    Raises:
        CharsetError: if the logits' shape doesn't fit the charset.

    Source: Graves et al. 2006, "Connectionist Temporal Classification", section 3.2.
    """
    if logits.ndim != 3 or logits.shape[2] != charset.num_classes:
        raise CharsetError(
            f"Logits for the charset '{charset.characters}' have the shape (batch, time_steps, "
            f"{charset.num_classes}). Received: {logits.shape}."
        )
    if not logits.shape[1]:
        raise CharsetError("Logits need at least one time step. Received: none.")
    log_probabilities = log_softmax(logits)
    path = log_probabilities.argmax(axis=2)  # (batch, time_steps)
    starts = path != BLANK
    starts[:, 1:] &= path[:, 1:] != path[:, :-1]  # a character's first time step
    labels = [row[start] for row, start in zip(path, starts, strict=True)]
    confidences = np.exp(ctc_log_likelihood(log_probabilities, labels))
    best = log_probabilities.max(axis=2)  # (batch, time_steps)
    readings = []
    for row, start, scores, label, confidence in zip(
        path, starts, best, labels, confidences, strict=True
    ):
        text = charset.decode(label)
        first = np.flatnonzero(row != BLANK)
        runs = np.cumsum(start)[first] - 1  # which character a non-blank time step belongs to
        peaks = np.full(len(text), -np.inf)
        np.maximum.at(peaks, runs, scores[first])
        characters = tuple(map(Character, text, np.exp(peaks).tolist()))
        readings.append(Reading(text, float(np.minimum(1.0, confidence)), characters))
    return readings


def ctc_log_likelihood(
    log_probabilities: NDArray[np.float32], labels: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Log of the probability of each label, summed over all paths that spell it.

    Args:
        log_probabilities: float (batch, time_steps, num_classes), normalised over classes.
        labels: for each of the batch, class ids without blanks, int (label_length,).

    Returns:
        float64 (batch,), at most 0; -inf where no path fits.

    Source: Graves et al. 2006, equations 6 to 8 (the forward variable), in log space.
    """
    batch, time_steps, _ = log_probabilities.shape
    longest = max((len(label) for label in labels), default=0)
    states = np.full((batch, 2 * longest + 1), BLANK)  # blank, character, blank, …, blank
    for row, label in zip(states, labels, strict=True):
        row[1 : 2 * len(label) : 2] = label
    scores = np.take_along_axis(log_probabilities, states[:, None, :], axis=2).astype(np.float64)
    skips = np.zeros(states.shape, bool)  # may a path come from two states back?
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]

    alpha = np.full((batch, 2 * longest + 1 + 2), -np.inf)  # two columns of guard on the left
    alpha[:, 2:4] = scores[:, 0, :2]
    for t in range(1, time_steps):
        stay, step = alpha[:, 2:], alpha[:, 1:-1]
        skip = np.where(skips, alpha[:, :-2], -np.inf)
        alpha[:, 2:] = np.logaddexp(np.logaddexp(stay, step), skip) + scores[:, t]
    rows = np.arange(batch)
    last = 2 + 2 * np.array([len(label) for label in labels], int)  # the blank after the label
    return np.asarray(np.logaddexp(alpha[rows, last], alpha[rows, last - 1]), np.float64)


def log_softmax(logits: Logits) -> NDArray[np.float32]:
    """Logarithm of the softmax over the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normalised = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.asarray(normalised, np.float32)
