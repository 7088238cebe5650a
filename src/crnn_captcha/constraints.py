r"""What is known of a text before it is read, and the automaton that keeps to it.

    Constraint(characters="0123456789", min_length=6, max_length=6)
    Constraint(pattern=r"[a-z]{4,6}\d\d", fold_case=True)
    Constraint(positions=("AB", "", "01"), merge=("o0", "l1i"))

All that is given has to hold. A constraint becomes one deterministic automaton over the classes
of a charset, which the search goes along with; nothing is filtered afterwards.

Characters that count as one (`fold_case`, `merge`) are one everywhere: a place that allows one of
them allows all, as with `re.IGNORECASE`; and texts that differ in nothing else are one text. It
is written with the first member that the constraint names at that place, and where it names none
with the first in the order of `merge`, lower case before upper. Members only merge as characters:
a path that spells "o" and then "0" without a blank between them still spells two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.automaton import REFUSED, Automaton
from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.errors import ConfigError
from crnn_captcha.patterns import CharacterSet, PatternGraph, parse_pattern

MAX_STATES = 1000
"""Of an automaton; the costs of a search grow with them."""


@dataclass(frozen=True)
class Constraint:
    r"""What a text has to be like. The default allows everything.

    Attributes:
        characters: that may stand in it; "" for all.
        positions: the characters that may stand first, second and so on; "" for all. Places
            after the last are free, and it says nothing about the length.
        min_length: characters at least.
        max_length: characters at most; None for no limit.
        pattern: see `crnn_captcha.patterns`; "" for none.
        fold_case: upper and lower case of a letter count as one.
        merge: groups of characters that count as one, such as `metrics.LOOKALIKES`. Those that
            a charset lacks do no harm.

    Raises:
        ConfigError: if a value is none of these, or the pattern isn't one.
    """

    characters: str = ""
    positions: tuple[str, ...] = ()
    min_length: int = 0
    max_length: int | None = None
    pattern: str = ""
    fold_case: bool = False
    merge: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("characters", "pattern"):
            if not isinstance(value := getattr(self, name), str):
                raise ConfigError(f"`{name}` is a string. Received: {value!r}.")
        for name in ("positions", "merge"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(isinstance(part, str) for part in value):
                raise ConfigError(f"`{name}` is a tuple of strings. Received: {value!r}.")
        if not _is_count(self.min_length):
            raise ConfigError(f"`min_length` is an integer from 0. Received: {self.min_length!r}.")
        if self.max_length is not None and (
            not _is_count(self.max_length) or self.max_length < self.min_length
        ):
            raise ConfigError(
                f"`max_length` is None or an integer from `min_length`, {self.min_length}. "
                f"Received: {self.max_length!r}."
            )
        parse_pattern(self.pattern)

    def compile(self, charset: Charset) -> Automaton:
        """The automaton over the classes of a charset; made once for each pair.

        Raises:
            ConfigError: if the constraint names characters that the charset lacks (ranges and
                classes of a pattern don't name theirs), allows no text at all, or needs more
                than `MAX_STATES` states.
        """
        return _compile(self, charset)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _set_of(characters: str) -> CharacterSet:
    """These characters; all of them for ""."""
    return CharacterSet(tuple((c, c) for c in characters), negated=not characters)


class _Classes:
    """Which characters of a charset count as the same.

    Attributes:
        members: as `Automaton.members`.
        heads: the classes that stand for all that count as the same, without the blank.
    """

    def __init__(self, constraint: Constraint, charset: Charset) -> None:
        self.charset = charset
        self.fold = str.casefold if constraint.fold_case else str
        self.roots: dict[str, str] = {}
        for group in filter(None, constraint.merge):
            folded = [self.fold(c) for c in group]
            same = {self.roots.get(c, c) for c in folded}
            same |= {c for c, root in self.roots.items() if root in same}
            self.roots |= dict.fromkeys([*folded, *same], folded[0])
        merged = "".join(constraint.merge)
        by_rank = sorted(
            range(1, charset.num_classes),
            key=lambda i: _rank(charset.characters[i - 1], merged, self.fold),
        )
        groups: dict[str, list[int]] = {}
        for i in by_rank:
            groups.setdefault(self.key(charset.characters[i - 1]), []).append(i)
        self.members = np.full((charset.num_classes, max(map(len, groups.values()))), -1, np.int32)
        self.members[BLANK, 0] = BLANK
        for ids in groups.values():
            self.members[ids, : len(ids)] = ids
        self.heads = sorted(ids[0] for ids in groups.values())
        self._variants: dict[str, set[str]] = {key: set() for key in groups}
        for c in charset.characters + merged:
            for case in {c, c.lower(), c.upper()}:
                if len(case) == 1 and self.key(case) in groups:
                    self._variants[self.key(case)].add(case)

    def key(self, character: str) -> str:
        """Equal for characters that count as the same."""
        folded = self.fold(character)
        return self.roots.get(folded, folded)

    def unknown(self, characters: str) -> str:
        """Those that neither the charset has nor count as one that it has."""
        return "".join(c for c in characters if self.key(c) not in self._variants)

    def accepted(self, allowed: CharacterSet) -> NDArray[np.bool_]:
        """Bool (num_classes,): which classes a set allows, whichever member it names."""
        return self._table(
            any(map(allowed.names, self._variants[self.key(c)])) != allowed.negated
            for c in self.charset.characters
        )

    def named(self, allowed: CharacterSet) -> NDArray[np.bool_]:
        """Bool (num_classes,): which classes a set allows as they are."""
        return self._table(allowed.names(c) != allowed.negated for c in self.charset.characters)

    def first(self, shown: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Int32 (num_classes,): of those that count as the same, the first shown, or the first."""
        candidates = shown[self.members] & (self.members >= 0)  # (num_classes, width)
        chosen = np.take_along_axis(self.members, candidates.argmax(axis=1)[:, None], axis=1)
        return np.asarray(chosen[:, 0], np.int32)

    def _table(self, values: Iterable[bool]) -> NDArray[np.bool_]:
        return np.array([False, *values])


def _rank(character: str, merged: str, fold: Callable[[str], str]) -> tuple[int, bool]:
    place = merged.index(character) if character in merged else len(merged)
    return place, character != fold(character)


@lru_cache(maxsize=256)
def _compile(constraint: Constraint, charset: Charset) -> Automaton:
    classes = _Classes(constraint, charset)
    pattern = parse_pattern(constraint.pattern or ".*")
    _check_known(constraint, pattern, classes)
    transitions, accepting, written = _explored(constraint, pattern, classes)
    return Automaton(charset, transitions, accepting, classes.members, written).reduced()


def _check_known(constraint: Constraint, pattern: PatternGraph, classes: _Classes) -> None:
    named = "".join((constraint.characters, *constraint.positions))
    for one in pattern.sets:
        if not one.negated:
            named += "".join(first for first, last in one.ranges if first == last)
    if unknown := classes.unknown("".join(dict.fromkeys(named))):
        raise ConfigError(
            f"A constraint names characters of the charset '{classes.charset.characters}', or such "
            f"as count as one of them. Received: '{unknown}' besides. Leave them out."
        )


def _explored(
    constraint: Constraint, pattern: PatternGraph, classes: _Classes
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int32]]:
    """Transitions, accepting and written of all states that a text can lead to.

    A state is a set of the pattern's nodes and how many characters came, which are counted as
    long as it matters. (Rabin and Scott 1959, "Finite Automata and Their Decision Problems".)
    """
    sets = [(classes.accepted(one), classes.named(one)) for one in pattern.sets]
    everywhere = _set_of(constraint.characters)
    places = [
        tuple(by(everywhere) & by(_set_of(position)) for by in (classes.accepted, classes.named))
        for position in (*constraint.positions, "")  # the last is for all places after them
    ]
    counted = constraint.max_length
    if counted is None:
        counted = max(len(constraint.positions), constraint.min_length)
    states = [(pattern.reach[0], 0)]
    numbers = {states[0]: 0}
    rows, written = [], []
    for number, (nodes, place) in enumerate(states):  # which grow meanwhile
        row = np.full(classes.charset.num_classes, REFUSED, np.int32)
        row[BLANK] = number
        targets = _targets(pattern, nodes) if place != constraint.max_length else {}
        accepted, named = places[min(place, len(places) - 1)]
        for head in classes.heads:
            reached = 0
            for i, mask in targets.items():
                reached |= mask if sets[i][0][head] and accepted[head] else 0
            if reached:
                state = (reached, min(place + 1, counted))
                if state not in numbers:
                    numbers[state] = len(states)
                    states.append(state)
                row[classes.members[head][classes.members[head] >= 0]] = numbers[state]
        if len(states) > MAX_STATES:
            raise ConfigError(
                f"A constraint's automaton has up to {MAX_STATES} states. Received: {constraint}, "
                "which needs more. Allow fewer lengths or simplify the pattern."
            )
        inside = np.any([sets[i][1] for i in targets], axis=0) if targets else False
        rows.append(row)
        written.append(np.where(row == REFUSED, BLANK, classes.first(named & inside)))
    accepting = [
        bool(nodes >> pattern.end & 1) and place >= constraint.min_length for nodes, place in states
    ]
    return np.array(rows), np.array(accepting), np.array(written, np.int32)


def _targets(pattern: PatternGraph, nodes: int) -> dict[int, int]:
    """For each character set that leads on from some nodes, the nodes that it leads to."""
    found: dict[int, int] = {}
    while nodes:
        lowest = nodes & -nodes
        nodes ^= lowest
        step = pattern.steps[lowest.bit_length() - 1]
        if step:
            found[step[0]] = found.get(step[0], 0) | pattern.reach[step[1]]
    return found
