"""How the paths of a CTC network spell a text: their probability, the best one, and its variants.

A text of `n` characters is a row of states: blank, first character, blank, second, …, blank. A
path is in one of them at each time step, stays, goes on to the next, or skips a blank between two
characters of different classes. Where several classes count as the same character (`members`), it
has a state for each, and a path that goes from one of them to another spells two characters.

Everything is exact and works on batches; nothing underflows.

Source: Graves et al. 2006, "Connectionist Temporal Classification", sections 3 and 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
LogProbabilities = NDArray[np.floating]

SAFE = 2.0**-900
"""Sums of products of factors up to 1 are exact to rounding above it: what underflows on the way
to them, below 2**-1022 each, doesn't count."""

SMALL = 500
"""Values up to which NumPy's own `logaddexp` is faster: one call, but one value after another."""


def log_softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float32]:
    """Logarithm of the softmax over the last axis of logits / temperature, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    if temperature != 1:
        shifted /= temperature
    normalised = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.asarray(normalised, np.float32)


def log_sum(values: Floats, axis: int = -1) -> Floats:
    """Logarithm of the sum of exponentials along an axis; -inf where there is nothing to sum."""
    if values.shape[axis] == 1:
        return np.asarray(values.squeeze(axis))
    if values.size < SMALL:
        return np.asarray(np.logaddexp.reduce(values, axis=axis))
    top = values.max(axis=axis, keepdims=True)
    top[np.isneginf(top)] = 0
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis))


def log_add(a: Floats, b: Floats) -> Floats:
    """`np.logaddexp`, faster on large arrays."""
    if a.size < SMALL:
        return np.asarray(np.logaddexp(a, b))
    top = np.maximum(np.maximum(a, b), -np.finfo(np.float64).max / 2)  # finite
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(a - top) + np.exp(b - top)) + top)


def log_sum_of_others(values: Floats) -> Floats:
    """For each value, `log_sum` of all others along the last axis, none lost to cancellation."""
    if values.shape[-1] == 1:
        return np.full(values.shape, -np.inf)
    top = values.argmax(axis=-1)[..., None]
    highest = np.take_along_axis(values, top, axis=-1)
    highest[np.isneginf(highest)] = 0
    shares = np.exp(values - highest)
    with np.errstate(divide="ignore"):
        # The highest itself stays in all sums but its own, so that subtracting keeps precision.
        others = np.log(np.maximum(shares.sum(axis=-1, keepdims=True) - shares, 0)) + highest
    rest = values.copy()
    np.put_along_axis(rest, top, -np.inf, axis=-1)
    np.put_along_axis(others, top, log_sum(rest)[..., None], axis=-1)
    return np.asarray(others)


def ctc_log_likelihood(
    log_probabilities: LogProbabilities, labels: Sequence[Integers], members: Integers | None = None
) -> Floats:
    """Log of the probability of each label, summed over all paths that spell it.

    Args:
        log_probabilities: float (batch, time_steps, num_classes), normalised over classes.
        labels: for each of the batch, class ids without blanks, int (label_length,).
        members: int (num_classes, width), the classes that count as the same as one, filled up
            with -1; None where each stands for itself.

    Returns:
        float64 (batch,), at most 0; -inf where no path fits.

    Source: Graves et al. 2006, equations 6 to 8 (the forward variable).
    """
    lattice = Lattice.of(labels, members)
    scores = lattice.scores(log_probabilities)  # (time_steps, batch, states)
    result, is_exact = _scaled_likelihood(scores, lattice)
    if not is_exact.all():
        rows = np.flatnonzero(~is_exact)
        part = lattice.take(rows)
        last = _forward(scores[:, rows], part)[-1]
        result[rows] = log_sum(np.where(part.ends, last, -np.inf))
    return result


def best_alignment(
    log_probabilities: LogProbabilities, labels: Sequence[Integers], members: Integers | None = None
) -> list[NDArray[np.int64]]:
    """Which time steps each character spans on the most probable path that spells its label.

    Args:
        log_probabilities: as for `ctc_log_likelihood`.
        labels: as for `ctc_log_likelihood`; each must fit.
        members: as for `ctc_log_likelihood`.

    Returns:
        For each label int64 (label_length, 2): a character's first time step and the one after
        its last.

    Source: Viterbi 1967, "Error bounds for convolutional codes".
    """
    lattice = Lattice.of(labels, members)
    scores = lattice.scores(log_probabilities)  # (time_steps, batch, states)
    time_steps, batch, count = scores.shape
    rows = np.arange(batch)
    closed = np.where(lattice.open, 0.0, -np.inf)  # (batch, entries, states)
    alpha = np.full((batch, count + 1), -np.inf)  # the last: where a state has none before it
    alpha[:, :count] = np.where(lattice.starts, scores[0], -np.inf)
    came_from = np.empty((time_steps, batch, count), np.int64)
    for t in range(1, time_steps):
        options = alpha[:, lattice.before] + closed  # (batch, entries, states)
        choice = options.argmax(axis=1)[:, None]
        came_from[t] = lattice.before[choice[:, 0], np.arange(count)]
        alpha[:, :count] = np.take_along_axis(options, choice, axis=1)[:, 0] + scores[t]
    path = np.empty((time_steps, batch), np.int64)
    path[-1] = np.where(lattice.ends, alpha[:, :count], -np.inf).argmax(axis=1)
    for t in range(time_steps - 1, 0, -1):
        path[t - 1] = came_from[t, rows, path[t]]
    places = np.where(path % lattice.period, path // lattice.period, -1)  # -1 on blanks
    found = []
    for label, row in zip(labels, places.T, strict=True):
        steps = np.flatnonzero(row >= 0)
        ids = np.arange(len(label))
        first, last = (np.searchsorted(row[steps], ids, side) for side in ("left", "right"))
        found.append(np.column_stack([steps[first], steps[last - 1] + 1]).astype(np.int64))
    return found


def substitution_log_likelihoods(
    log_probabilities: LogProbabilities, labels: Sequence[Integers], members: Integers | None = None
) -> Floats:
    """Log of the probability of each label with one character changed, for all such changes.

    Args:
        log_probabilities: as for `ctc_log_likelihood`.
        labels: as for `ctc_log_likelihood`.
        members: as for `ctc_log_likelihood`.

    Returns:
        float64 (batch, longest label, num_classes): at [b, i, c] that of label b with class c at
        place i, where c spells itself alone and the other places anything that counts as the
        same; -inf for the blank, behind a label's end and where no path fits.

    Source: the forward and backward variables of Graves et al. 2006, equations 6 to 10, around
    every place.
    """
    batch, time_steps, num_classes = log_probabilities.shape
    lengths = np.array([len(label) for label in labels], int)
    enter, enter_same, before = _entries(log_probabilities, labels, members)
    # What comes after a place is what comes before it, backwards.
    backwards = [label[::-1] for label in labels]
    leave, leave_same, after = _entries(log_probabilities[:, ::-1], backwards, members)
    longest = enter.shape[2]
    mirror = lengths[:, None] - 1 - np.arange(longest)  # (batch, longest)
    rows, inside = np.arange(batch)[:, None], mirror >= 0
    leave, leave_same = (table[::-1][:, rows, mirror] for table in (leave, leave_same))
    after = after[rows, mirror]

    places = np.arange(longest)[None, :, None]
    held = np.full((batch, longest, num_classes + 1), -np.inf)  # the last takes absent members
    total = held.copy()
    scores = np.full((time_steps, batch, 1, num_classes + 1), -np.inf)
    scores[..., :-1] = log_probabilities.transpose(1, 0, 2)[:, :, None]
    for t in range(time_steps):
        begun = np.repeat(enter[t, :, :, None], num_classes + 1, axis=2)
        begun[rows[..., None], places, before] = enter_same[t]
        held = log_add(held, begun) + scores[t]
        ended = np.repeat(leave[t, :, :, None], num_classes + 1, axis=2)
        ended[rows[..., None], places, after] = leave_same[t]
        total = log_add(total, held + ended)
    total[..., BLANK] = -np.inf
    return np.where(inside[..., None], total[..., :-1], -np.inf)


def _entries(
    log_probabilities: LogProbabilities, labels: Sequence[Integers], members: Integers | None
) -> tuple[Floats, Floats, Integers]:
    """With what probability a path has spelled the label up to a place just before a time step.

    Returns:
        float64 (time_steps, batch, longest): so that another class may follow at once;
        float64 (time_steps, batch, longest, width): so that a class may follow that the character
        before the place has, as a member;
        int (batch, longest, width): these classes, or -1.
    """
    lattice = Lattice.of(labels, members)
    alpha = _forward(lattice.scores(log_probabilities), lattice)  # (time_steps, batch, states)
    period, longest = lattice.period, alpha.shape[2] // lattice.period
    grid = alpha[..., :-1].reshape(*alpha.shape[:2], longest, period)  # a blank, then members
    blank = np.full(grid.shape[:3], -np.inf)  # (time_steps, batch, longest)
    blank[0, :, :1] = 0
    blank[1:] = grid[:-1, ..., 0]
    character = np.full((*blank.shape, period - 1), -np.inf)
    character[1:, :, 1:] = grid[:-1, :, :-1, 1:]
    classes = np.full(character.shape[1:], -1)
    classes[:, 1:] = lattice.classes[:, :-1].reshape(len(labels), longest, period)[:, :-1, 1:]
    other = np.logaddexp(blank, log_sum(character))
    return other, np.logaddexp(blank[..., None], log_sum_of_others(character)), classes


@lru_cache(maxsize=64)
def _states_before(longest: int, width: int) -> NDArray[np.int64]:
    """For each state those that a path can come from, int64 (width + 2, states); see `Lattice`."""
    period = width + 1
    count = longest * period + 1
    before = np.full((count, width + 2), count)
    states = np.arange(count)
    before[:, 0] = states
    is_blank = states % period == 0
    blanks, own = states[is_blank][1:], states[~is_blank]
    before[blanks, 1:-1] = blanks[:, None] - period + 1 + np.arange(width)
    before[own, 1] = own - own % period
    later = own[own > period]
    before[later, 2:] = (later - later % period)[:, None] - width + np.arange(width)
    turned = np.ascontiguousarray(before.T)
    turned.setflags(write=False)
    return turned


@dataclass(frozen=True, eq=False)
class Lattice:
    """The states of a batch of labels.

    State `i * period` is the blank before place i, and those after it are the members of the
    character at place i. Labels that are shorter than the longest don't use their last states.

    Attributes:
        classes: int (batch, states), -1 for members that aren't there.
        before: int (entries, states): where a path can come from; `states` for nowhere.
        open: bool (batch, entries, states): whether it may, in this label.
        starts: bool (states,): where it begins.
        ends: bool (batch, states): where it ends.
        period: states for each character.
    """

    classes: Integers
    before: NDArray[np.int64]
    open: NDArray[np.bool_]
    starts: NDArray[np.bool_]
    ends: NDArray[np.bool_]
    period: int

    @classmethod
    def of(cls, labels: Sequence[Integers], members: Integers | None = None) -> Lattice:
        """For labels as in `ctc_log_likelihood`."""
        width = 1 if members is None else members.shape[1]
        period = width + 1
        longest = max(map(len, labels), default=0)
        classes = np.full((len(labels), longest * period + 1), BLANK)
        starts = np.zeros(classes.shape[1], bool)
        starts[:period] = True
        ends = np.zeros(classes.shape, bool)
        for row, end, label in zip(classes, ends, labels, strict=True):
            end[max(0, (len(label) - 1) * period + 1) : len(label) * period + 1] = True
            if members is None:
                row[1 : 2 * len(label) : 2] = label
            else:
                row[:-1].reshape(longest, period)[: len(label), 1:] = members[label]
        before = _states_before(longest, width)
        guarded = np.append(classes, np.full((len(labels), 1), -1), axis=1)
        # Out of a blank and into one, and from one character to another, always of another class.
        is_open = (guarded[:, before] != classes[:, None]) & (before < classes.shape[1])
        is_open[:, 0] = True  # it stays
        return cls(classes, before, is_open, starts, ends, period)

    def take(self, rows: Integers) -> Lattice:
        """Only some of the labels."""
        parts = self.classes[rows], self.before, self.open[rows], self.starts, self.ends[rows]
        return Lattice(*parts, self.period)

    def scores(self, log_probabilities: LogProbabilities) -> Floats:
        """What each state emits, float64 (time_steps, batch, states)."""
        rows = np.arange(len(self.classes))[:, None]
        scores = log_probabilities.transpose(1, 0, 2)[:, rows, self.classes].astype(np.float64)
        if self.period > 2:
            scores[:, self.classes < 0] = -np.inf
        return scores


def _scaled_likelihood(scores: Floats, lattice: Lattice) -> tuple[Floats, NDArray[np.bool_]]:
    """The log-likelihood by sums of products, which are faster than sums of logarithms.

    Emissions are divided by the highest of each time step, and what leaves a state by a power of
    two that is no less than the number of its exits. So no sum ever grows, no error either, and
    a result that is not too small is exact.

    Returns:
        float64 (batch,), and bool (batch,): which of them are exact.
    """
    time_steps, batch, count = scores.shape
    highest = scores.max(axis=2)  # (time_steps, batch)
    highest[np.isneginf(highest)] = 0
    emissions = np.exp(scores - highest[..., None])
    halvings = (len(lattice.before) - 1).bit_length()  # as many exits as entries
    reach = 2 * lattice.period - 1  # a state and those up to the farthest that leads to it
    places = np.where(lattice.before < count, lattice.before - np.arange(count) + reach - 1, reach)
    moves = np.zeros((batch, count, reach + 1))  # the last: from nowhere
    moves[:, np.arange(count), places] = lattice.open * 0.5**halvings
    moves = moves[..., :-1]
    alpha = np.zeros((batch, reach - 1 + count))  # after states that nothing is ever in
    current = alpha[:, reach - 1 :]
    np.multiply(emissions[0], lattice.starts, out=current)
    entries = sliding_window_view(alpha, reach, axis=1)  # (batch, states, reach)
    if batch == 1:  # fewer axes have less overhead
        entries, moves, current, emissions = entries[0], moves[0], current[0], emissions[:, 0]
    inflow = np.empty_like(current)
    for emission in emissions[1:]:
        np.vecdot(entries, moves, out=inflow)
        np.multiply(inflow, emission, out=current)
    total = np.where(lattice.ends, alpha[:, reach - 1 :], 0).sum(axis=1)
    mantissa, exponent = np.frexp(total)  # so that a certainty stays exactly 1
    exponent = exponent + halvings * (time_steps - 1)
    # One by one, here as above, and so in one order whatever the batch and how many certain blanks
    # there are at the end: an image has the same confidence in each, unless it falls below `SAFE`.
    offset = np.add.accumulate(highest)[-1]
    with np.errstate(divide="ignore"):
        return np.log(mantissa) + exponent * np.log(2) + offset, total > SAFE


def _forward(scores: Floats, lattice: Lattice) -> Floats:
    """The forward variables by sums of logarithms, float64 (time_steps, batch, states)."""
    time_steps, batch, count = scores.shape
    alpha = np.full((time_steps, batch, count + 1), -np.inf)  # the last: nowhere
    alpha[0, :, :-1] = np.where(lattice.starts, scores[0], -np.inf)
    closed = np.where(lattice.open, 0.0, -np.inf)  # (batch, entries, states)
    for t in range(1, time_steps):
        options = alpha[t - 1][:, lattice.before] + closed
        alpha[t, :, :-1] = log_sum(options, axis=1) + scores[t]
    return alpha[..., :-1]
