"""What CTC and a constraint mean, one path and one text at a time."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK
from crnn_captcha.constraints import Constraint


def random_logits(
    max_time_steps: int = 4, max_classes: int = 4, *, min_classes: int = 2
) -> st.SearchStrategy[NDArray[np.float32]]:
    """Of one image: (1, time_steps, num_classes), few enough to go through all paths."""
    time_steps, classes = st.integers(1, max_time_steps), st.integers(min_classes, max_classes)
    shapes = st.tuples(st.just(1), time_steps, classes)
    return arrays(np.float32, shapes, elements=st.floats(-6, 6, width=32))


def all_paths(logits: NDArray[np.float32]) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every path through the one image of `logits`, and its probability."""
    exact = logits[0].astype(np.float64)
    probabilities = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    for path in itertools.product(range(logits.shape[2]), repeat=logits.shape[1]):
        yield path, float(np.prod(probabilities[range(len(path)), path]))


def spelled(path: tuple[int, ...]) -> tuple[int, ...]:
    """The class ids that a path spells."""
    return tuple(key for key, _ in itertools.groupby(path) if key != BLANK)


def label_probabilities(logits: NDArray[np.float32]) -> dict[tuple[int, ...], float]:
    """Probability of each label (class ids), summed over all paths."""
    totals: dict[tuple[int, ...], float] = defaultdict(float)
    for path, probability in all_paths(logits):
        totals[spelled(path)] += probability
    return totals


def merged(text: str, constraint: Constraint) -> str:
    """Equal for texts that count as one."""
    if constraint.fold_case:
        text = text.lower()
    for group in constraint.merge:
        text = "".join(group[0] if c in group else c for c in text)
    return text


def allows(constraint: Constraint, text: str) -> bool:
    """Whether a text, or one that counts as the same, keeps to each part of a constraint."""
    known = text + "".join(constraint.merge)
    known = "".join(sorted({*known, *known.upper(), *known.lower()}))
    same = [[k for k in known if merged(k, constraint) == merged(c, constraint)] for c in text]
    longest = len(text) if constraint.max_length is None else constraint.max_length
    if not constraint.min_length <= len(text) <= longest:
        return False
    for i, variants in enumerate(same):
        place = constraint.positions[i] if i < len(constraint.positions) else ""
        for characters in filter(None, (constraint.characters, place)):
            if not set(variants) & set(characters):
                return False
    return not constraint.pattern or any(
        re.fullmatch(constraint.pattern, "".join(variant)) for variant in itertools.product(*same)
    )
