"""A constraint as a deterministic automaton over the classes of a charset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.errors import ConfigError

REFUSED = -1
"""Stands for the state after a character that may not come."""

_Table = tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int32]]


@dataclass(frozen=True, eq=False)
class Automaton:
    """A constraint, for one charset. It begins in state 0.

    Of the classes that count as the same, the first of `members` stands for all.

    Attributes:
        charset: whose classes they are.
        transitions: int32 (states, num_classes): the state after a character, or `REFUSED`; the
            same for all members of a class. A blank leaves the state as it is.
        accepting: bool (states,): may the text end here?
        members: int32 (num_classes, width): the classes that count as the same as one, filled up
            with -1; itself alone if there are no others.
        written: int32 (states, num_classes): what a class that is read in a state is written as.
    """

    charset: Charset
    transitions: NDArray[np.int32]
    accepting: NDArray[np.bool_]
    members: NDArray[np.int32]
    written: NDArray[np.int32]

    @property
    def is_free(self) -> bool:
        """Whether it allows every text. It may still merge characters."""
        return bool(self.accepting.all() and (self.transitions != REFUSED).all())

    def states(self, class_ids: Iterable[int]) -> list[int]:
        """Those before each character of a text and after the last; `REFUSED` once it breaks."""
        found = [0]
        for c in class_ids:
            found.append(REFUSED if found[-1] == REFUSED else int(self.transitions[found[-1], c]))
        return found

    def accepts(self, class_ids: Iterable[int]) -> bool:
        """Whether the text of these class ids, without blanks, is allowed."""
        state = self.states(class_ids)[-1]
        return state != REFUSED and bool(self.accepting[state])

    def write(self, class_ids: Iterable[int]) -> str:
        """An allowed text, each character by the member that it is written with."""
        ids = [int(c) for c in class_ids]
        places = zip(self.states(ids), ids, strict=False)  # there is one state more
        return self.charset.decode(self.written[state, c] for state, c in places)

    def reduced(self) -> Automaton:
        """An equal one with as few states as possible, and arrays that can't be written to.

        Raises:
            ConfigError: if it accepts nothing.
        """
        alive = _without_dead(self.transitions, self.accepting, self.written)
        transitions, accepting, written = _minimised(*alive)
        for array in (transitions, accepting, self.members, written):
            array.setflags(write=False)
        return Automaton(self.charset, transitions, accepting, self.members, written)


def _without_dead(
    transitions: NDArray[np.int32], accepting: NDArray[np.bool_], written: NDArray[np.int32]
) -> _Table:
    """Refuses at once what can't end well any more."""
    alive = accepting
    while True:
        leads_on = (alive[transitions] & (transitions != REFUSED)).any(axis=1)
        if (grown := alive | leads_on).sum() == alive.sum():
            break
        alive = grown
    if not alive[0]:
        raise ConfigError(
            "A constraint allows at least one text over the charset. Received: one that allows "
            "none. Compare its parts: lengths, pattern, characters and positions all have to hold."
        )
    numbers = np.append(np.where(alive, np.cumsum(alive) - 1, REFUSED), REFUSED)
    kept = np.asarray(numbers[transitions[alive]], np.int32)  # `REFUSED` reads the last one
    return kept, accepting[alive], np.where(kept == REFUSED, BLANK, written[alive])


def _minimised(
    transitions: NDArray[np.int32], accepting: NDArray[np.bool_], written: NDArray[np.int32]
) -> _Table:
    """States that can't be told apart become one.

    Source: Moore 1956, "Gedanken-experiments on Sequential Machines".
    """
    rows = np.column_stack([accepting, written])
    count = 0
    while True:
        _, first, kinds = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        kinds = kinds.reshape(-1)
        if len(first) == count:
            break
        count = len(first)
        rows = np.column_stack([kinds, np.append(kinds, REFUSED)[transitions]])
    order = np.argsort(first)  # so that the first state stays the first
    numbers = np.append(np.argsort(order)[kinds], REFUSED)
    chosen = first[order]
    return np.asarray(numbers[transitions[chosen]], np.int32), accepting[chosen], written[chosen]
