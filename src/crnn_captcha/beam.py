"""Prefix beam search: the most probable texts, summed over paths, that a constraint allows.

The search goes along the time steps with the best prefixes of texts. A prefix is judged by the
probability that the text begins with it and is allowed in the end, which includes all that may
still come: with a constraint, a first pass backwards in time computes that exactly
(`log_completions`). So no prefix takes a place that can't be completed, and the same pass gives
the probability that the constraint holds at all.

Sources: Graves 2012, "Supervised Sequence Labelling with Recurrent Neural Networks", section
7.5.2, and Hannun et al. 2014 (arXiv:1408.2873) for the search; the automaton within it and the
pass backwards are the backward algorithm on the product of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.alignment import Floats, LogProbabilities, log_add, log_sum, log_sum_of_others
from crnn_captcha.automaton import Automaton
from crnn_captcha.charset import BLANK

Ids = NDArray[np.int64]
Label = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a search found.

    Attributes:
        labels: for each of the batch, the texts that were left at the end, at most as many as
            the beam is wide, each once and in no order: class ids, int64 (label_length,). Of
            classes that count as the same, the first of `Automaton.members` stands for all.
        log_mass: float64 (batch,): log of the probability that the constraint holds; -inf where
            no text fits.
    """

    labels: list[list[Label]]
    log_mass: Floats


def log_completions(log_probabilities: LogProbabilities, automaton: Automaton) -> Floats:
    """Log of the probability that what comes from a time step on makes a text allowed.

    Args:
        log_probabilities: float (batch, time_steps, num_classes), normalised over classes.
        automaton: of the constraint.

    Returns:
        float64 (time_steps + 1, batch, states + 1, num_classes): from each time step on, given
        the automaton's state and the class of the time step before (at the first, the blank).
        The last state is for refused texts: -inf throughout.
    """
    batch, time_steps, num_classes = log_probabilities.shape
    states = len(automaton.accepting)
    shape = (time_steps + 1, batch, states + 1, num_classes)
    if automaton.is_free:
        return np.broadcast_to(0.0, shape)
    beta = np.full(shape, -np.inf)
    beta[-1, :, :states][:, automaton.accepting] = 0
    classes = np.arange(num_classes)
    for t in range(time_steps - 1, -1, -1):
        scores = log_probabilities[:, t, None]  # (batch, 1, num_classes)
        later = beta[t + 1]
        moved = scores + later[:, automaton.transitions, classes]  # (batch, states, num_classes)
        # The same class once more goes on with its character, and any other begins one.
        beta[t, :, :states] = log_add(log_sum_of_others(moved), scores + later[:, :states])
        beta[t, :, :states, BLANK] = log_sum(moved)
    return beta


def beam_search(
    log_probabilities: LogProbabilities, automaton: Automaton, width: int
) -> Candidates:
    """The most probable texts.

    A beam that is as wide as there are prefixes finds the most probable ones for certain.

    Args:
        log_probabilities: float (batch, time_steps, num_classes), normalised over classes.
        automaton: of the constraint, for the charset of these classes.
        width: prefixes that are kept at each time step.
    """
    batch, time_steps, _ = log_probabilities.shape
    completions = log_completions(log_probabilities, automaton)
    search = _Search(log_probabilities, automaton, completions, width)
    beam = _Beam.empty(batch, width, automaton.members.shape[1])
    sources = np.empty((time_steps, batch, width), np.int64)
    added = np.empty((time_steps, batch, width), np.int64)
    for t in range(time_steps):
        beam, sources[t], added[t] = search.step(beam, t)
    rows = search.rows
    place = np.broadcast_to(np.arange(width), (batch, width))
    characters = np.empty_like(added)  # (time_steps, batch, width)
    for t in range(time_steps - 1, -1, -1):
        characters[t] = added[t][rows, place]
        place = sources[t][rows, place]
    labels = [
        [column[column != BLANK] for column, alive in zip(texts, alives, strict=True) if alive]
        for texts, alives in zip(characters.transpose(1, 2, 0), beam.alive, strict=True)
    ]
    return Candidates(labels, completions[0, :, 0, BLANK].copy())


@dataclass(frozen=True, eq=False)
class _Beam:
    """Prefixes, in arrays (batch, width).

    Attributes:
        blank: log-probability of the paths so far that spell it and end in a blank.
        character: (batch, width, members): of those that end in a member of its last class.
        state: the automaton's.
        last: its last class, `BLANK` if it is empty.
        key: a hash, for equality.
        parent: the hash of the prefix without its last character.
        alive: whether there is one at all.
    """

    blank: Floats
    character: Floats
    state: Ids
    last: Ids
    key: NDArray[np.uint64]
    parent: NDArray[np.uint64]
    alive: NDArray[np.bool_]

    @classmethod
    def empty(cls, batch: int, width: int, members: int) -> _Beam:
        """Only the empty prefix."""
        blank = np.full((batch, width), -np.inf)
        blank[:, 0] = 0
        zeros = np.zeros((batch, width), np.int64)
        key = np.ones((batch, width), np.uint64)
        character = np.full((batch, width, members), -np.inf)
        return cls(blank, character, zeros, zeros, key, key - np.uint64(1), blank == 0)


class _Search:
    """What stays the same over the time steps of a search.

    An extension is a prefix and one of the columns; which class a column means may differ
    between images and time steps. The column after the last takes what has none.
    """

    def __init__(
        self,
        log_probabilities: LogProbabilities,
        automaton: Automaton,
        completions: Floats,
        width: int,
    ) -> None:
        batch, time_steps, num_classes = log_probabilities.shape
        self.automaton, self.completions, self.width = automaton, completions, width
        self.rows = np.arange(batch)[:, None]
        self.is_free = automaton.is_free
        # The class after the last is for members that aren't there.
        self.scores = np.full((time_steps, batch, num_classes + 1), -np.inf)
        self.scores[..., :-1] = log_probabilities.transpose(1, 0, 2)
        self.members = automaton.members
        is_first = self.members[:, 0] == np.arange(num_classes)
        heads = np.flatnonzero(is_first & (automaton.transitions >= 0).any(axis=0))
        # At least one, though it be refused, where only the empty text is allowed.
        self.heads = heads[1:] if len(heads) > 1 else np.array([BLANK + 1])
        self.classes = np.broadcast_to(self.heads, (time_steps, batch, len(self.heads)))
        if self.is_free:
            self._keep_likely()
        self.columns = self.classes.shape[2]
        self.column_of = np.full((time_steps, batch, num_classes), self.columns)
        np.put_along_axis(self.column_of, self.classes, np.arange(self.columns), axis=2)

    def _keep_likely(self) -> None:
        """Fewer columns for the same result.

        Where everything may follow everything, a prefix has more probable extensions by all
        classes that are more probable, but for its last: one more than the beam's width will do.
        """
        self.head_scores = log_sum(self.scores[..., self.members[self.heads]])
        if self.width + 1 < len(self.heads):
            likely = np.argpartition(-self.head_scores, self.width, axis=2)[..., : self.width + 1]
            self.classes = self.heads[likely]  # (time_steps, batch, columns)
            self.head_scores = np.take_along_axis(self.head_scores, likely, axis=2)

    def step(self, beam: _Beam, t: int) -> tuple[_Beam, Ids, Ids]:
        """The beam after a time step; which prefix each comes from; what was added, or `BLANK`."""
        rows, width, scores = self.rows, self.width, self.scores[t]
        total = np.logaddexp(beam.blank, log_sum(beam.character))
        # Paths that a member of the last class may follow as a new character.
        before_same = np.logaddexp(beam.blank[..., None], log_sum_of_others(beam.character))
        own = scores[rows[..., None], self.members[beam.last]]  # (batch, width, members)
        blank = scores[:, [BLANK]] + total
        character = own + beam.character

        # A prefix that extends another of the beam also gets the paths of that extension.
        is_parent = beam.parent[..., None] == beam.key[:, None]  # (batch, width, width)
        is_parent &= beam.alive[..., None] & beam.alive[:, None]
        parent, has_parent = is_parent.argmax(axis=2), is_parent.any(axis=2)
        is_same = (beam.last[rows, parent] == beam.last)[..., None]
        inflow = np.where(is_same, before_same[rows, parent], total[rows, parent][..., None])
        inflow[~has_parent] = -np.inf
        character = np.logaddexp(character, inflow + own)

        stays = self._judged(t, blank, character, beam)
        extensions = self._extensions(t, total, before_same + own, beam)
        column = self.column_of[t][rows, beam.last]
        taken = np.where(has_parent, column, self.columns)
        extensions[rows, np.where(has_parent, parent, 0), taken] = -np.inf
        extensions[..., self.columns] = -np.inf

        judged = np.concatenate(
            [stays, extensions.reshape(len(rows), width * (self.columns + 1))], axis=1
        )
        best = np.argpartition(-judged, width - 1, axis=1)[:, :width]
        alive = judged[rows, best] > -np.inf
        is_stay = best < width
        source, column = np.divmod(best - width, self.columns + 1)
        source = np.where(is_stay, best, source)
        added = self.classes[t][rows, np.minimum(column, self.columns - 1)]
        added[is_stay] = BLANK

        is_same = (beam.last[rows, source] == added)[..., None]
        begun = np.where(is_same, before_same[rows, source], total[rows, source][..., None])
        begun = begun + scores[rows[..., None], self.members[added]]
        kept = is_stay & alive
        key = beam.key[rows, source]
        following = _Beam(
            blank=np.where(kept, blank[rows, source], -np.inf),
            character=np.where(
                kept[..., None],
                character[rows, source],
                np.where(alive[..., None], begun, -np.inf),
            ),
            state=self.automaton.transitions[beam.state[rows, source], added].astype(np.int64),
            last=np.where(is_stay, beam.last[rows, source], added),
            key=np.where(is_stay, key, _extended(key, added)),
            parent=np.where(is_stay, beam.parent[rows, source], key),
            alive=alive,
        )
        return following, source, added

    def _judged(self, t: int, blank: Floats, character: Floats, beam: _Beam) -> Floats:
        """Log of the probability of all that may become of prefixes that stay as they are."""
        if self.is_free:
            return np.asarray(np.logaddexp(blank, log_sum(character)))
        later = self.completions[t + 1]
        after_blank = blank + later[self.rows, beam.state, BLANK]
        members, rows, states = self.members[beam.last], self.rows[..., None], beam.state[..., None]
        after_character = character + later[rows, states, members]
        return np.asarray(np.logaddexp(after_blank, log_sum(after_character)))

    def _extensions(self, t: int, total: Floats, same: Floats, beam: _Beam) -> Floats:
        """The same of all extensions, float64 (batch, width, columns + 1)."""
        judged = np.full((*total.shape, self.columns + 1), -np.inf)
        rows = self.rows[..., None]
        if self.is_free:
            judged[..., :-1] = total[..., None] + self.head_scores[t][:, None]
        else:
            later = self.completions[t + 1]
            state = self.automaton.transitions[beam.state][..., self.heads]  # (…, columns)
            members = self.members[self.heads]  # (columns, members)
            ended = later[rows[..., None], state[..., None], members]
            judged[..., :-1] = total[..., None] + log_sum(
                ended + self.scores[t][:, None][..., members]
            )
            again = self.automaton.transitions[beam.state, beam.last][..., None]
            same = same + later[rows, again, self.members[beam.last]]
        places = np.arange(self.width)
        judged[self.rows, places, self.column_of[t][self.rows, beam.last]] = log_sum(same)
        return judged


def _extended(key: NDArray[np.uint64], added: Ids) -> NDArray[np.uint64]:
    """The hash of a prefix with another character: all 64 bits mixed, as in splitmix64."""
    mixed = key * np.uint64(0x9E3779B97F4A7C15) + added.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed ^ (mixed >> np.uint64(27)), np.uint64)
