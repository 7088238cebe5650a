r"""A small language for what a text looks like, such as ``[a-z]{4,6}\d\d``.

It is a part of what Python's `re` knows, with the same meaning:

    a         itself                      [a-z_]  one of these, in ranges or alone
    .         any character               [^a-z]  one that is none of these
    \d        one of 0 to 9               \w      a letter, a digit or _
    \.        the character itself, where it would mean something else
    ab  a|b   one after the other, one or the other; (…) groups
    ?  *  +   at most one, any number, at least one
    {4}  {4,6}  {4,}  so many; from so many to so many; so many at least

A pattern always describes a text as a whole, so that it has no ``^`` and ``$``. What of `re` is
missing here is refused, not misread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

from crnn_captcha.errors import ConfigError

MAX_NODES = 5000
"""Of the automaton that a pattern becomes; repetitions are written out in full."""

MAX_DEPTH = 50
"""Groups within groups."""

_SPECIAL = r"\.[]()|?*+{}^$"
_QUANTIFIERS = {"?": (0, 1), "*": (0, None), "+": (1, None)}


@dataclass(frozen=True)
class CharacterSet:
    """What may stand at one place of a text.

    Attributes:
        ranges: first and last character of each.
        word: also every letter and digit, of any script, and _.
        negated: all characters but these.
    """

    ranges: tuple[tuple[str, str], ...] = ()
    word: bool = False
    negated: bool = False

    def names(self, character: str) -> bool:
        """Whether the character is written in the set, `negated` left aside."""
        if self.word and (character.isalnum() or character == "_"):
            return True
        return any(first <= character <= last for first, last in self.ranges)


@dataclass(frozen=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Choice:
    options: tuple[_Node, ...]


@dataclass(frozen=True)
class _Repeat:
    part: _Node
    low: int
    high: int | None  # None: without an end


_Node = CharacterSet | _Sequence | _Choice | _Repeat

_ANY = CharacterSet(negated=True)
_CLASSES = {
    "d": CharacterSet((("0", "9"),)),
    "w": CharacterSet(word=True),
}


@dataclass
class PatternGraph:
    """A pattern as a nondeterministic automaton.

    Source: Thompson 1968, "Regular Expression Search Algorithm".

    Attributes:
        sets: the character sets that occur, each once.
        steps: for each node, the index in `sets` and the node that such a character leads to.
        free: for each node, those that it leads to without a character.
        end: where a text has to arrive; it begins at node 0.
    """

    sets: list[CharacterSet] = field(default_factory=list)
    steps: list[tuple[int, int] | None] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)
    end: int = 0

    @cached_property
    def reach(self) -> list[int]:
        """For each node those that it reaches without a character, itself too, as a bit mask."""
        found = []
        for node in range(len(self.free)):
            seen, waiting = 1 << node, [node]
            while waiting:
                for other in self.free[waiting.pop()]:
                    if not seen >> other & 1:
                        seen |= 1 << other
                        waiting.append(other)
            found.append(seen)
        return found


def parse_pattern(pattern: str) -> PatternGraph:
    """The automaton of a pattern.

    Raises:
        ConfigError: if it isn't one, uses what isn't supported, or is too large.
    """
    tree = _Parser(pattern).parse()
    builder = _Builder(pattern)
    builder.graph.end = builder.add(tree, builder.node())
    return builder.graph


def _refuse(pattern: str, reason: str) -> NoReturn:
    raise ConfigError(
        f"A pattern is made of characters, [a-z], [^a-z], ., \\d, \\w, (…), |, ?, *, +, {{m}} and "
        f"{{m,n}}. Received: '{pattern}', {reason}."
    )


class _Parser:
    """By recursive descent: choices of sequences of repeated characters, sets and groups."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.place = 0
        self.depth = 0

    def parse(self) -> _Node:
        tree = self.choice()
        if self.peek():  # nothing else ends a choice
            self.refuse("with a ')' that closes no group")
        return tree

    def refuse(self, reason: str) -> NoReturn:
        _refuse(self.pattern, f"{reason} (at character {min(self.place, len(self.pattern))})")

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def take(self) -> str:
        self.place += 1
        return self.pattern[self.place - 1 : self.place]

    def choice(self) -> _Node:
        options = [self.sequence()]
        while self.peek() == "|":
            self.take()
            options.append(self.sequence())
        return _Choice(tuple(options)) if len(options) > 1 else options[0]

    def sequence(self) -> _Node:
        parts = []
        while self.peek() and self.peek() not in "|)":
            parts.append(self.repeat(self.one()))
        return _Sequence(tuple(parts))

    def repeat(self, part: _Node) -> _Node:
        if not self.peek() or self.peek() not in "?*+{":
            return part
        sign = self.take()
        low, high = self.bounds() if sign == "{" else _QUANTIFIERS[sign]
        if self.peek() and self.peek() in "?*+{":
            self.refuse("with a repetition of a repetition, which needs a group")
        return _Repeat(part, low, high)

    def bounds(self) -> tuple[int, int | None]:
        """Of {m}, {m,} and {m,n}, after the brace."""
        inside, closed, _ = self.pattern[self.place :].partition("}")
        low, comma, high = inside.partition(",")
        numbers = [low, high] if high else [low]
        if not closed or not all(n.isascii() and n.isdigit() and len(n) < 5 for n in numbers):
            self.refuse("with braces that aren't {m}, {m,} or {m,n} (a brace itself is \\{)")
        self.place += len(inside) + 1
        least = int(low)
        most = int(high) if high else None if comma else least
        if most is not None and most < least:
            self.refuse(f"with {{{inside}}}, whose end is before its start")
        return least, most

    def one(self) -> _Node:
        sign = self.take()
        if sign == "(":
            return self.group()
        if sign == "[":
            return self.character_set()
        if sign == ".":
            return _ANY
        if sign == "\\":
            escaped = self.escaped()
            return escaped if isinstance(escaped, CharacterSet) else _only(escaped)
        if sign in "^$":
            self.refuse(f"with '{sign}', which isn't needed: it describes the text as a whole")
        if sign in _SPECIAL:
            self.refuse(f"with a '{sign}' that has nothing before it (itself it is \\{sign})")
        return _only(sign)

    def group(self) -> _Node:
        if self.peek() == "?":
            self.refuse("with '(?', and groups have no options here")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.refuse(f"with more than {MAX_DEPTH} groups within each other")
        tree = self.choice()
        if self.take() != ")":
            self.refuse("with a '(' that isn't closed")
        self.depth -= 1
        return tree

    def escaped(self) -> CharacterSet | str:
        """What stands after a backslash: a class, or a character that means itself."""
        sign = self.take()
        if sign in _CLASSES:
            return _CLASSES[sign]
        if not sign or (sign.isascii() and sign.isalnum()):
            self.refuse(f"with '\\{sign}', which isn't supported")
        return sign

    def character_set(self) -> CharacterSet:
        """After the bracket."""
        negated = self.peek() == "^"
        if negated:
            self.take()
        ranges: list[tuple[str, str]] = []
        word = False
        while self.peek() != "]" or not (ranges or word):
            first = self.member()
            if isinstance(first, CharacterSet):
                ranges += first.ranges
                word |= first.word
                continue
            last: CharacterSet | str = first
            if self.peek() == "-" and self.pattern[self.place + 1 : self.place + 2] != "]":
                self.take()
                last = self.member()
            if isinstance(last, CharacterSet) or last < first:
                self.refuse("with a range whose end is before its start")
            ranges.append((first, last))
        self.take()
        return CharacterSet(tuple(ranges), word, negated)

    def member(self) -> CharacterSet | str:
        sign = self.take()
        if not sign:
            self.refuse("with a '[' that isn't closed")
        return self.escaped() if sign == "\\" else sign


def _only(character: str) -> CharacterSet:
    return CharacterSet(((character, character),))


class _Builder:
    """Adds the parts of a tree to a graph, each between two nodes."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.graph = PatternGraph()

    def node(self) -> int:
        if len(self.graph.free) == MAX_NODES:
            _refuse(self.pattern, f"which is larger than {MAX_NODES} nodes when written out")
        self.graph.free.append([])
        self.graph.steps.append(None)
        return len(self.graph.free) - 1

    def link(self, source: int, target: int) -> int:
        self.graph.free[source].append(target)
        return target

    def add(self, tree: _Node, start: int) -> int:
        """Lets `tree` begin at a node that nothing else leaves; returns the node where it ends."""
        if isinstance(tree, CharacterSet):
            sets = self.graph.sets
            if tree not in sets:
                sets.append(tree)
            end = self.node()
            self.graph.steps[start] = (sets.index(tree), end)
            return end
        if isinstance(tree, _Sequence):
            for part in tree.parts:
                start = self.add(part, start)
            return self.link(start, self.node())
        if isinstance(tree, _Choice):
            end = self.node()
            for option in tree.options:
                self.link(self.add(option, self.link(start, self.node())), end)
            return end
        return self.add_repeat(tree, start)

    def add_repeat(self, tree: _Repeat, start: int) -> int:
        for _ in range(tree.low):
            start = self.add(tree.part, self.link(start, self.node()))
        end = self.node()
        if tree.high is None:
            again = self.link(start, self.node())
            self.link(again, end)
            self.link(self.add(tree.part, self.link(again, self.node())), again)
            return end
        for _ in range(tree.high - tree.low):
            self.link(start, end)
            start = self.add(tree.part, self.link(start, self.node()))
        return self.link(start, end)
