"""How well texts agree with labels: exact match, CER, confusions, intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

LOOKALIKES = ("o0", "l1i")
"""Classes of characters that many fonts draw alike. The first of a class stands for all of it."""

_MERGED = str.maketrans({c: group[0] for group in LOOKALIKES for c in group})


@dataclass(frozen=True)
class Interval:
    """A range of shares, both ends in [0, 1]."""

    low: float
    high: float


@dataclass(frozen=True)
class Confusion:
    """One kind of edit that turns labels into what was read instead.

    Attributes:
        label: the label's character, or '' where one was read that isn't there (insertion).
        text: the character that was read, or '' where one was left out (deletion).
        edits: how often it happened.
        texts: in how many texts it happened.
        texts_alone: in how many it is all that is wrong: so many more would be right without it.
    """

    label: str
    text: str
    edits: int
    texts: int
    texts_alone: int


def exact_match(labels: Sequence[str], texts: Sequence[str]) -> float:
    """The share of texts that equal their label as a whole, in [0, 1].

    Raises:
        ValueError: if there are no labels, an empty one, or not as many texts as labels.
    """
    _check_pairs(labels, texts)
    return sum(a == b for a, b in zip(labels, texts, strict=True)) / len(labels)


def cer(labels: Sequence[str], texts: Sequence[str]) -> float:
    """Character error rate: all edits (Levenshtein) over all label characters.

    Long labels weigh more than short ones, and texts that are longer than their labels can
    bring it above 1.

    Raises:
        ValueError: if there are no labels, an empty one, or not as many texts as labels.
    """
    _check_pairs(labels, texts)
    return edit_count(labels, texts) / sum(map(len, labels))


def edit_count(labels: Sequence[str], texts: Sequence[str]) -> int:
    """The fewest substitutions, deletions and insertions that turn all labels into their texts.

    Raises:
        ValueError: if there are no labels, an empty one, or not as many texts as labels.
    """
    from rapidfuzz.distance import Levenshtein

    _check_pairs(labels, texts)
    return sum(Levenshtein.distance(a, b) for a, b in zip(labels, texts, strict=True))


def edits(label: str, text: str) -> list[tuple[int | None, int | None]]:
    """One cheapest way from a label to a text, as places in the two.

    Returns:
        For each edit the index in `label` (None: inserted) and in `text` (None: left out).

    Example:
        >>> edits("abc", "axcd")
        [(1, 1), (None, 3)]
    """
    from rapidfuzz.distance import Levenshtein

    return [
        (None if op.tag == "insert" else op.src_pos, None if op.tag == "delete" else op.dest_pos)
        for op in Levenshtein.editops(label, text)
    ]


def confusions(labels: Sequence[str], texts: Sequence[str]) -> tuple[Confusion, ...]:
    """Every kind of edit that occurs, the costliest first.

    Costliest are those that are the only fault of most texts; among equals, those with most
    edits. Where several alignments are equally short, one of them is taken.

    Raises:
        ValueError: if there are no labels, an empty one, or not as many texts as labels.
    """
    _check_pairs(labels, texts)
    edit_counts: Counter[tuple[str, str]] = Counter()
    text_counts: Counter[tuple[str, str]] = Counter()
    alone_counts: Counter[tuple[str, str]] = Counter()
    for label, text in zip(labels, texts, strict=True):
        kinds = Counter(
            ("" if i is None else label[i], "" if j is None else text[j])
            for i, j in edits(label, text)
        )
        edit_counts.update(kinds)
        text_counts.update(kinds.keys())
        if len(kinds) == 1:
            alone_counts.update(kinds.keys())
    found = [
        Confusion(*kind, edit_counts[kind], text_counts[kind], alone_counts[kind])
        for kind in edit_counts
    ]
    return tuple(sorted(found, key=lambda c: (-c.texts_alone, -c.edits, c.label, c.text)))


def merge_lookalikes(text: str) -> str:
    """The text with every character that has look-alikes replaced by the first of its class.

    Example:
        >>> merge_lookalikes("0i1x")
        'ollx'
    """
    return text.translate(_MERGED)


def wilson_interval(successes: int, count: int, confidence: float = 0.95) -> Interval:
    """The score interval of a share: where the true one lies, as far as `count` trials tell.

    Unlike the textbook interval it stays within [0, 1] and holds near both ends. (Wilson 1927,
    "Probable Inference, the Law of Succession, and Statistical Inference".)

    Args:
        successes: 0 to `count`.
        count: trials, at least 1.
        confidence: above 0 and below 1.

    Raises:
        ValueError: if an argument is out of its range.
    """
    if count < 1 or not 0 <= successes <= count:
        raise ValueError(
            "An interval needs at least one trial and 0 to `count` successes. "
            f"Received: successes={successes}, count={count}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` lies between 0 and 1. Received: {confidence}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / count
    scale = 1 + z**2 / count
    center = (share + z**2 / (2 * count)) / scale
    half_width = z / scale * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # At the ends the formula gives 0 and 1 exactly, and rounding must not lose that.
    return Interval(
        low=0.0 if successes == 0 else center - half_width,
        high=1.0 if successes == count else center + half_width,
    )


def sign_test(won: int, lost: int) -> float:
    """Probability of a difference this large or larger if winning and losing were equally likely.

    For two readers of the same images: those that only one of them reads right tell them apart,
    far better than their intervals do. (The exact, two-sided test of McNemar 1947, "Note on the
    sampling error of the difference between correlated proportions".)

    Args:
        won: images that only one of them reads right.
        lost: images that only the other does.

    Raises:
        ValueError: if a number is below 0.
    """
    if min(won, lost) < 0:
        raise ValueError(f"Images are counted from 0. Received: won={won}, lost={lost}.")
    trials, fewer = won + lost, min(won, lost)
    tail = sum(math.comb(trials, i) for i in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**trials))


def _check_pairs(labels: Sequence[str], texts: Sequence[str]) -> None:
    """Refuses what can't be compared."""
    if isinstance(labels, str) or isinstance(texts, str):
        raise ValueError(
            "Labels and texts are lists of strings, not one string. "
            f"Received: {labels!r} and {texts!r}."
        )
    if len(labels) != len(texts):
        raise ValueError(
            "There must be as many texts as labels. "
            f"Received: {len(labels)} labels and {len(texts)} texts."
        )
    if not labels:
        raise ValueError("There must be at least one label. Received: none.")
    if not all(labels):
        raise ValueError(
            "A label has at least one character. "
            f"Received: an empty one at index {[*labels].index('')}."
        )
