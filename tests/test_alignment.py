from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from brute_force import all_paths, label_probabilities, random_logits, spelled
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from crnn_captcha.alignment import (
    SMALL,
    best_alignment,
    ctc_log_likelihood,
    log_add,
    log_softmax,
    log_sum,
    log_sum_of_others,
    substitution_log_likelihoods,
)
from crnn_captcha.charset import BLANK

# Classes 1 and 3 count as the same character, and class 2 is alone.
MEMBERS = np.array([[0, -1], [1, 3], [2, -1], [1, 3]])
MERGED = {1: 1, 2: 2, 3: 1}

Label = tuple[int, ...]


def merged(label: Label) -> Label:
    return tuple(MERGED[c] for c in label)


def labels_of(label: Label, count: int = 1) -> list[NDArray[np.int64]]:
    return [np.array(label, np.int64)] * count


def four_classes() -> st.SearchStrategy[NDArray[np.float32]]:
    return random_logits(5, 4, min_classes=4)


@given(random_logits())
def test_likelihood_is_the_sum_over_all_paths(logits: NDArray[np.float32]) -> None:
    totals = label_probabilities(logits)
    labels = [np.array(label, np.int64) for label in totals]
    log_probabilities = np.repeat(log_softmax(logits), len(labels), axis=0)
    together = np.exp(ctc_log_likelihood(log_probabilities, labels))
    np.testing.assert_allclose(together, list(totals.values()), rtol=1e-4)
    alone = np.exp(ctc_log_likelihood(log_probabilities[:1], labels[-1:]))
    assert alone == pytest.approx(together[-1:], rel=1e-9)


@given(four_classes())
def test_classes_that_count_as_the_same_add_up(logits: NDArray[np.float32]) -> None:
    totals: dict[Label, float] = defaultdict(float)
    for label, probability in label_probabilities(logits).items():
        totals[merged(label)] += probability
    labels = [np.array(label, np.int64) for label in totals]
    log_probabilities = np.repeat(log_softmax(logits), len(labels), axis=0)
    likelihoods = np.exp(ctc_log_likelihood(log_probabilities, labels, MEMBERS))
    np.testing.assert_allclose(likelihoods, list(totals.values()), rtol=1e-4)
    assert likelihoods.sum() == pytest.approx(1, rel=1e-5)


def test_members_side_by_side_are_two_characters() -> None:
    log_probabilities = log_softmax(30 * np.eye(4, dtype=np.float32)[None, [1, 3, 3]])
    one, two, three = ctc_log_likelihood(
        np.repeat(log_probabilities, 3, axis=0),
        [np.array(label) for label in ([1], [1, 1], [1, 1, 1])],
        MEMBERS,
    )
    assert two == pytest.approx(0, abs=1e-6)
    assert max(one, three) < -20


def test_what_would_underflow_is_summed_in_logarithms() -> None:
    # The label comes in an order that is all but impossible: the best path has e to the -4000.
    scores = np.full((1, 4, 4), -2000.0)
    scores[0, range(4), [2, 2, 1, 1]] = 0
    for members in (None, MEMBERS):
        sums: list[float] = []
        for path in itertools.product(range(4), repeat=4):
            text = spelled(path) if members is None else merged(spelled(path))
            if text == (1, 2):
                sums.append(scores[0, range(4), path].sum())
        expected = np.logaddexp.reduce(sums)
        assert expected < -3990
        (likelihood,) = ctc_log_likelihood(scores, labels_of((1, 2)), members)
        assert likelihood == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("time_steps", [2, 30, 449, 450, 451, 2000])
def test_number_of_paths(time_steps: int) -> None:
    # Two different characters in T time steps are spelled by C(T + 2, 4) paths.
    scores = np.full((3, time_steps, 4), -np.log(4.0))
    expected = np.log(math.comb(time_steps + 2, 4)) - time_steps * np.log(4)
    for batch in (1, 3):
        found = ctc_log_likelihood(scores[:batch], labels_of((2, 1), batch))
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_a_batch_is_aligned_as_alone() -> None:
    random = np.random.default_rng(3)
    log_probabilities = log_softmax(random.normal(0, 2, (30, 7, 4)).astype(np.float32))
    labels = [random.integers(1, 4, random.integers(0, 4)) for _ in range(30)]
    for members in (None, MEMBERS):
        labels = [label if members is None else MEMBERS[label, 0] for label in labels]
        likelihoods = ctc_log_likelihood(log_probabilities, labels, members)
        spans = best_alignment(log_probabilities, labels, members)
        changed = substitution_log_likelihoods(log_probabilities, labels, members)
        for i, label in enumerate(labels):
            one = log_probabilities[i : i + 1], [label], members
            np.testing.assert_allclose(ctc_log_likelihood(*one), likelihoods[i])
            np.testing.assert_array_equal(best_alignment(*one)[0], spans[i])
            (alone,) = substitution_log_likelihoods(*one)
            np.testing.assert_allclose(alone, changed[i, : len(label)])
            assert np.isneginf(changed[i, len(label) :]).all()


@pytest.mark.parametrize("members", [None, MEMBERS], ids=["each alone", "merged"])
def test_no_labels_no_likelihoods(members: NDArray[np.int64] | None) -> None:
    log_probabilities = np.zeros((0, 3, 4))
    assert ctc_log_likelihood(log_probabilities, [], members).shape == (0,)
    assert best_alignment(log_probabilities, [], members) == []
    assert substitution_log_likelihoods(log_probabilities, [], members).shape == (0, 0, 4)


# ---- Alignment


@given(four_classes(), st.booleans())
def test_spans_are_those_of_the_best_path(logits: NDArray[np.float32], is_merged: bool) -> None:
    members = MEMBERS if is_merged else None
    best: dict[Label, float] = defaultdict(float)
    for path, probability in all_paths(logits):
        label = merged(spelled(path)) if is_merged else spelled(path)
        best[label] = max(best[label], probability)
    labels = list(best)
    log_probabilities = np.repeat(log_softmax(logits), len(labels), axis=0)
    arrays = [np.array(label, np.int64) for label in labels]
    for label, spans in zip(
        labels, best_alignment(log_probabilities, arrays, members), strict=True
    ):
        assert spans.shape == (len(label), 2)
        ends = [0, *spans[:, 1].tolist()]
        assert all(ends[i] <= start < end for i, (start, end) in enumerate(spans.tolist()))
        # Of all paths with these spans, the best one is as good as of all that spell the label.
        tried = 0.0
        for choice in itertools.product(*([c, 3] if is_merged and c == 1 else [c] for c in label)):
            row = np.full(logits.shape[1], BLANK)
            for c, (start, end) in zip(choice, spans, strict=True):
                row[start:end] = c
            if merged(spelled(tuple(row))) == label or spelled(tuple(row)) == label:
                score = log_probabilities[0][np.arange(len(row)), row].sum(dtype=np.float64)
                tried = max(tried, float(np.exp(score)))
        assert tried == pytest.approx(best[label], rel=1e-3)


# ---- Substitutions


@given(four_classes(), st.data())
def test_every_substitution_has_the_likelihood_of_its_label(
    logits: NDArray[np.float32], data: st.DataObject
) -> None:
    label = data.draw(st.lists(st.integers(1, 3), max_size=3))
    log_probabilities = log_softmax(logits)
    (found,) = substitution_log_likelihoods(log_probabilities, labels_of(tuple(label)))
    assert found.shape == (len(label), 4)
    for i, c in itertools.product(range(len(label)), range(1, 4)):
        changed = np.array([*label[:i], c, *label[i + 1 :]])
        (expected,) = ctc_log_likelihood(log_probabilities, [changed])
        assert found[i, c] == pytest.approx(expected, rel=1e-9)
    assert np.isneginf(found[:, BLANK]).all()


@given(four_classes(), st.data())
def test_a_substitute_is_one_class_among_merged_ones(
    logits: NDArray[np.float32], data: st.DataObject
) -> None:
    label = tuple(data.draw(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=3)))
    (found,) = substitution_log_likelihoods(log_softmax(logits), labels_of(label), MEMBERS)
    totals: dict[tuple[int, int], float] = defaultdict(float)
    for path, probability in all_paths(logits):
        text = spelled(path)
        for i in range(len(label)):
            rest = merged(text[:i]), merged(text[i + 1 :])
            if len(text) == len(label) and rest == (label[:i], label[i + 1 :]):
                totals[i, text[i]] += probability
    for i, c in itertools.product(range(len(label)), range(1, 4)):
        assert np.exp(found[i, c]) == pytest.approx(totals[i, c], rel=1e-3, abs=1e-300)


# ---- Sums


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 3), st.integers(1, 5)),
        elements=st.one_of(st.just(-np.inf), st.floats(-2000, 0)),
    ),
    st.sampled_from([1, SMALL]),
)
@pytest.mark.filterwarnings("error")
def test_sums_of_logarithms(values: NDArray[np.float64], copies: int) -> None:
    many = np.tile(values, (copies, 1))  # small and large arrays take different ways
    rows = range(len(values))
    sums = np.logaddexp.reduce(values, axis=1)
    np.testing.assert_allclose(log_sum(many)[rows], sums, atol=1e-12)
    np.testing.assert_allclose(log_sum(many.T, axis=0)[rows], sums, atol=1e-12)
    np.testing.assert_allclose(
        log_add(many, many[:, ::-1])[rows], np.logaddexp(values, values[:, ::-1]), atol=1e-12
    )
    others = log_sum_of_others(many)[rows]
    for i in range(values.shape[1]):
        rest = np.delete(values, i, axis=1)
        expected = np.logaddexp.reduce(rest, axis=1, initial=-np.inf)
        np.testing.assert_allclose(others[:, i], expected, atol=1e-12)


def test_the_sum_of_others_survives_what_it_leaves_out() -> None:
    np.testing.assert_allclose(
        log_sum_of_others(np.array([0.0, -800.0, -801.0])), [-800 + np.log1p(np.exp(-1)), 0, 0]
    )


def test_temperature_flattens() -> None:
    logits = np.array([[2.0, 0.0]], np.float32)
    np.testing.assert_allclose(log_softmax(logits, 2.0), log_softmax(logits / np.float32(2)))
    assert logits.tolist() == [[2.0, 0.0]]
    assert np.exp(log_softmax(logits, 4.0)).max() < np.exp(log_softmax(logits)).max()
