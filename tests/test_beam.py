from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from brute_force import label_probabilities, random_logits
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha.alignment import ctc_log_likelihood, log_softmax
from crnn_captcha.automaton import Automaton
from crnn_captcha.beam import beam_search, log_completions
from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.constraints import Constraint

CHARSET = Charset("aAb")
FREE = Constraint().compile(CHARSET)
EVERY_PREFIX = 200  # more than there are with three classes and four time steps

logits_of_three = random_logits(4, 4, min_classes=4)
automata = st.sampled_from(
    [
        Constraint(),
        Constraint(characters="ab"),
        Constraint(min_length=2, max_length=3),
        Constraint(pattern="a*b?"),
        Constraint(pattern="aa|bA"),
        Constraint(positions=("A", "", "a")),
        Constraint(fold_case=True),
        Constraint(fold_case=True, pattern="(ab)*a?"),
        Constraint(merge=("ab",), min_length=1, max_length=2),
        Constraint(merge=("abA",), pattern="aa?"),
        Constraint(max_length=0),
    ]
).map(lambda constraint: constraint.compile(CHARSET))


def expected_texts(
    logits: NDArray[np.float32], automaton: Automaton
) -> dict[tuple[int, ...], float]:
    """Probability of each allowed text, those that count as one together."""
    totals: dict[tuple[int, ...], float] = defaultdict(float)
    for label, probability in label_probabilities(logits).items():
        if automaton.accepts(label):
            totals[tuple(int(automaton.members[c, 0]) for c in label)] += probability
    return totals


@given(logits_of_three, automata)
def test_a_wide_beam_finds_every_text_and_the_exact_mass(
    logits: NDArray[np.float32], automaton: Automaton
) -> None:
    expected = expected_texts(logits, automaton)
    found = beam_search(log_softmax(logits), automaton, EVERY_PREFIX)
    texts = [tuple(label.tolist()) for label in found.labels[0]]
    assert sorted(texts) == sorted(expected)  # each once
    assert np.exp(found.log_mass) == pytest.approx([sum(expected.values())], rel=1e-4)


@given(logits_of_three, automata, st.integers(1, 5))
def test_a_narrow_beam_finds_some_of_them(
    logits: NDArray[np.float32], automaton: Automaton, width: int
) -> None:
    expected = expected_texts(logits, automaton)
    texts = [
        tuple(label.tolist())
        for label in beam_search(log_softmax(logits), automaton, width).labels[0]
    ]
    assert set(texts) <= set(expected)
    assert len(texts) == len(set(texts)) <= width
    assert bool(texts) == bool(expected)


@given(logits_of_three, automata)
def test_completions_are_what_the_rest_of_the_paths_can_do(
    logits: NDArray[np.float32], automaton: Automaton
) -> None:
    completions = log_completions(log_softmax(logits), automaton)
    time_steps = logits.shape[1]
    assert completions.shape == (time_steps + 1, 1, len(automaton.accepting) + 1, 4)
    probabilities = np.exp(log_softmax(logits)[0].astype(np.float64))
    for t, state, last in itertools.product(
        range(time_steps + 1), range(len(automaton.accepting)), range(4)
    ):
        total = 0.0
        for path in itertools.product(range(4), repeat=time_steps - t):
            here, before = state, last
            for c in path:
                if c not in (BLANK, before) and here >= 0:
                    here = int(automaton.transitions[here, c])
                before = c
            if here >= 0 and automaton.accepting[here]:
                total += np.prod(probabilities[range(t, time_steps), path])
        assert np.exp(completions[t, 0, state, last]) == pytest.approx(total, rel=1e-4, abs=1e-12)


def test_most_probable_texts_survive_a_beam_of_ten() -> None:
    random = np.random.default_rng(0)
    charset = Charset("abcdefghijklmnopqrstuvwxyz")
    logits = random.normal(0, 2, (20, 12, 27)).astype(np.float32)
    log_probabilities = log_softmax(logits)
    automaton = Constraint().compile(charset)

    def best(width: int) -> list[float]:
        found = []
        for i, labels in enumerate(beam_search(log_probabilities, automaton, width).labels):
            rows = np.repeat(log_probabilities[i : i + 1], len(labels), axis=0)
            found.append(float(ctc_log_likelihood(rows, labels).max()))
        return found

    assert np.mean(np.isclose(best(10), best(300))) >= 0.9


@pytest.mark.parametrize("constraint", [Constraint(), Constraint(characters="ab")])
def test_a_batch_is_searched_as_its_images_alone(constraint: Constraint) -> None:
    random = np.random.default_rng(1)
    log_probabilities = log_softmax(random.normal(0, 2, (30, 9, 4)).astype(np.float32))
    automaton = constraint.compile(CHARSET)
    together = beam_search(log_probabilities, automaton, 6)
    for i, labels in enumerate(together.labels):
        alone = beam_search(log_probabilities[i : i + 1], automaton, 6)
        assert sorted(map(tuple, alone.labels[0])) == sorted(map(tuple, labels))
        assert alone.log_mass[0] == pytest.approx(together.log_mass[i])


def test_a_prefix_that_cannot_be_completed_takes_no_place() -> None:
    # Forwards alone, "a" looks far better than "b", but "aaa" has no room, and nothing else fits.
    probabilities = np.full((1, 4, 4), 1e-6)
    probabilities[0, 0] = [1e-9, 1 - 1e-3, 1e-6, 1e-3]
    probabilities[0, 1:, 1] = 1
    constraint = Constraint(pattern="a{3}|ba")
    found = beam_search(np.log(probabilities), constraint.compile(CHARSET), 1)
    assert [label.tolist() for label in found.labels[0]] == [[3, 1]]


def test_huge_differences_do_not_underflow() -> None:
    logits = np.zeros((1, 8, 4), np.float32)
    logits[:, :, BLANK] = 3000
    automaton = Constraint(pattern="ab").compile(CHARSET)
    found = beam_search(log_softmax(logits), automaton, 3)
    assert [label.tolist() for label in found.labels[0]] == [[1, 3]]
    assert -6001 < found.log_mass[0] < -5990


def test_an_empty_batch_has_no_candidates() -> None:
    found = beam_search(np.zeros((0, 5, 4)), FREE, 3)
    assert found.labels == []
    assert found.log_mass.shape == (0,)
