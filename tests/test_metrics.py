from __future__ import annotations

import string
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.metrics import (
    Confusion,
    cer,
    confusions,
    edit_count,
    edits,
    exact_match,
    merge_lookalikes,
    sign_test,
    wilson_interval,
)

LABELS = st.text("abo0l1i", min_size=1, max_size=8)
TEXTS = st.text("abo0l1i", max_size=8)
PAIRS = st.lists(st.tuples(LABELS, TEXTS), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("labels", "texts", "match", "error_rate"),
    [
        pytest.param(["ab", "cd"], ["ab", "cd"], 1.0, 0.0, id="all right"),
        pytest.param(["ab", "cd"], ["ab", "cx"], 0.5, 0.25, id="substitution"),
        pytest.param(["abcd"], ["abd"], 0.0, 0.25, id="deletion"),
        pytest.param(["abcd"], ["abxcd"], 0.0, 0.25, id="insertion"),
        pytest.param(["abcd"], [""], 0.0, 1.0, id="nothing read"),
        pytest.param(["ab"], ["xyzxyz"], 0.0, 3.0, id="above one"),
        pytest.param(["a", "abcdefghi"], ["x", "abcdefghi"], 0.5, 0.1, id="weighs by length"),
        pytest.param(["ab"], ["AB"], 0.0, 1.0, id="case counts"),
    ],
)
def test_exact_match_and_cer(
    labels: list[str], texts: list[str], match: float, error_rate: float
) -> None:
    assert exact_match(labels, texts) == pytest.approx(match)
    assert cer(labels, texts) == pytest.approx(error_rate)


@given(st.lists(LABELS, min_size=1))
def test_equal_texts_are_perfect(labels: list[str]) -> None:
    assert cer(labels, labels) == 0
    assert exact_match(labels, labels) == 1
    assert confusions(labels, labels) == ()


@given(PAIRS)
def test_bounds(pairs: list[tuple[str, str]]) -> None:
    labels, texts = map(list, zip(*pairs, strict=True))
    match = exact_match(labels, texts)
    assert 0 <= match <= 1
    assert (match == 1) == (cer(labels, texts) == 0)
    merged = exact_match([*map(merge_lookalikes, labels)], [*map(merge_lookalikes, texts)])
    assert merged >= match


@given(PAIRS)
def test_confusions_add_up(pairs: list[tuple[str, str]]) -> None:
    labels, texts = map(list, zip(*pairs, strict=True))
    found = confusions(labels, texts)
    assert sum(c.edits for c in found) == edit_count(labels, texts)
    assert all(c.label != c.text and c.texts_alone <= c.texts <= c.edits for c in found)


@given(LABELS, TEXTS)
def test_edits_turn_the_label_into_the_text(label: str, text: str) -> None:
    found = edits(label, text)
    removed = {i for i, _ in found if i is not None}
    added = {j for _, j in found if j is not None}
    kept = [c for i, c in enumerate(label) if i not in removed]
    assert kept == [c for j, c in enumerate(text) if j not in added]


def test_confusions_put_the_costliest_first() -> None:
    labels = ["ab", "bc", "aab", "abc", "xy", "pq"]
    texts = ["ab", "dc", "oob", "abcz", "y", "oz"]
    assert confusions(labels, texts) == (
        Confusion("a", "o", edits=2, texts=1, texts_alone=1),
        Confusion("", "z", edits=1, texts=1, texts_alone=1),
        Confusion("b", "d", edits=1, texts=1, texts_alone=1),
        Confusion("x", "", edits=1, texts=1, texts_alone=1),
        Confusion("p", "o", edits=1, texts=1, texts_alone=0),
        Confusion("q", "z", edits=1, texts=1, texts_alone=0),
    )


@pytest.mark.parametrize("measure", [exact_match, cer, edit_count, confusions])
@pytest.mark.parametrize(
    ("labels", "texts", "message"),
    [
        pytest.param(["a", "b"], ["a"], "2 labels and 1 texts", id="unequal"),
        pytest.param([], [], "at least one label", id="none"),
        pytest.param(["a", ""], ["a", ""], "empty one at index 1", id="empty label"),
        pytest.param("ab", "ab", "not one string", id="one string"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    measure: Callable[[Any, Any], object], labels: Any, texts: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(labels, texts)


def test_merge_lookalikes() -> None:
    assert merge_lookalikes("o0l1i") == "oolll"
    others = "".join(sorted(set(string.printable) - set("o0l1i")))
    assert merge_lookalikes(others) == others


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [  # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I
        pytest.param(81, 263, 0.2553, 0.3662, id="81 of 263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="15 of 148"),
        pytest.param(0, 20, 0.0, 0.1611, id="0 of 20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="1 of 29"),
        pytest.param(20, 20, 0.8389, 1.0, id="all of 20"),
    ],
)
def test_wilson_interval_as_published(successes: int, count: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, count)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 10**6), st.data(), st.floats(0.01, 0.99))
def test_wilson_interval_contains_the_share(
    count: int, data: st.DataObject, confidence: float
) -> None:
    successes = data.draw(st.integers(0, count))
    interval = wilson_interval(successes, count, confidence)
    assert 0 <= interval.low <= successes / count <= interval.high <= 1


@pytest.mark.parametrize(
    ("successes", "count", "confidence", "message"),
    [
        pytest.param(0, 0, 0.95, "at least one trial", id="no trial"),
        pytest.param(3, 2, 0.95, "successes=3, count=2", id="too many"),
        pytest.param(-1, 2, 0.95, "successes=-1", id="negative"),
        pytest.param(1, 2, 1.0, "between 0 and 1. Received: 1.0", id="certainty"),
    ],
)
def test_wilson_interval_refuses(
    successes: int, count: int, confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        wilson_interval(successes, count, confidence)


@pytest.mark.parametrize(
    ("won", "lost", "p_value"),
    [
        pytest.param(0, 0, 1.0, id="nothing tells them apart"),
        pytest.param(1, 0, 1.0, id="one image"),
        pytest.param(5, 5, 1.0, id="a draw"),
        pytest.param(6, 0, 2 / 64, id="6 to 0"),
        pytest.param(8, 1, 20 / 512, id="8 to 1"),
        pytest.param(2, 10, 158 / 4096, id="2 to 10"),
        pytest.param(0, 2000, 0.0, id="beyond the smallest number"),
        pytest.param(2000, 2000, 1.0, id="a long draw"),
    ],
)
def test_sign_test_by_hand(won: int, lost: int, p_value: float) -> None:
    assert sign_test(won, lost) == p_value


@pytest.mark.parametrize("trials", [1, 4, 9])
def test_sign_test_counts_all_that_could_have_come(trials: int) -> None:
    differences = [abs(sum(signs)) for signs in product((-1, 1), repeat=trials)]
    for won in range(trials + 1):
        lost = trials - won
        as_large = sum(difference >= abs(won - lost) for difference in differences)
        assert sign_test(won, lost) == as_large / len(differences)


@given(st.integers(0, 300), st.integers(0, 300))
def test_sign_test_favours_neither_and_falls_with_the_difference(won: int, lost: int) -> None:
    assert 0 <= sign_test(won, lost) == sign_test(lost, won) <= 1
    more, fewer = max(won, lost), min(won, lost)
    assert sign_test(more + 1, fewer) <= sign_test(more, fewer)
    if fewer:
        assert sign_test(more + 1, fewer - 1) < sign_test(more, fewer)
