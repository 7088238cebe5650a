from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.confidence import CoveragePoint, calibration, risk_coverage

OUTCOMES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1)


def test_calibration_by_hand() -> None:
    # Two bins: 0.2 and 0.4 with one right (0.3 against 0.5), 0.9 and 1.0 both right (0.95).
    found = calibration([0.2, 0.4, 0.9, 1.0], [True, False, True, True], bins=2)
    assert [b.count for b in found.bins] == [2, 2]
    assert [b.confidence for b in found.bins] == pytest.approx([0.3, 0.95])
    assert [b.exact_match for b in found.bins] == [0.5, 1.0]
    assert found.error == pytest.approx((2 * 0.2 + 2 * 0.05) / 4)


@given(OUTCOMES, st.integers(1, 12))
def test_calibration_loses_nothing(outcomes: list[tuple[float, bool]], bins: int) -> None:
    found = calibration([c for c, _ in outcomes], [r for _, r in outcomes], bins=bins)
    assert sum(b.count for b in found.bins) == len(outcomes)
    assert 0 <= found.error <= 1


@pytest.mark.parametrize(
    ("confidences", "right", "bins", "message"),
    [
        pytest.param([], [], 10, "0 confidences", id="none"),
        pytest.param([0.5], [], 10, "1 confidences and 0 outcomes", id="unequal"),
        pytest.param([1.5], [True], 10, "between 0 and 1. Received: 1.5", id="out of range"),
        pytest.param([float("nan")], [True], 10, "between 0 and 1", id="not a number"),
        pytest.param([0.5], [True], 0, "`bins` is at least 1", id="no bins"),
    ],
)
def test_calibration_refuses(
    confidences: list[float], right: list[bool], bins: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        calibration(confidences, right, bins=bins)


def test_risk_coverage_by_hand() -> None:
    # Sorted: 0.9 right, 0.8 wrong, 0.5 right and right (one confidence), 0.1 wrong.
    found = risk_coverage([0.5, 0.9, 0.1, 0.5, 0.8], [True, True, False, True, False])
    assert found.points == (
        CoveragePoint(0.9, 0.2, 1.0),
        CoveragePoint(0.8, 0.4, 0.5),
        CoveragePoint(0.5, 0.8, 0.75),
        CoveragePoint(0.1, 1.0, 0.6),
    )
    assert found.area == pytest.approx((0 + 0.5 + 2 * 0.25 + 0.4) / 5)


def test_how_much_is_right_among_the_surest() -> None:
    right = [True] * 18 + [False, True, True, False]
    found = risk_coverage([1 - i / 100 for i in range(20)] + [0.2, 0.2], right)
    assert found.at_coverage(0.5).coverage == 0.5
    assert found.at_coverage(0.51).coverage == 12 / 22  # as little more as can be
    assert found.at_coverage(0.95) == found.at_coverage(1) == CoveragePoint(0.2, 1.0, 20 / 22)
    # The curve rises again behind the nineteenth: more is read at 95 % right than it seems there.
    assert found.at_exact_match(0.95) == CoveragePoint(1 - 19 / 100, 20 / 22, 0.95)
    assert found.at_exact_match(1) == CoveragePoint(1 - 17 / 100, 18 / 22, 1.0)


def test_there_may_be_no_confidence_that_is_right_often_enough() -> None:
    found = risk_coverage([0.9, 0.5], [False, True])
    assert found.at_exact_match(0.5) == CoveragePoint(0.5, 1.0, 0.5)
    assert found.at_exact_match(0.51) is None


@given(OUTCOMES)
def test_the_curve_ends_with_all_texts_and_is_never_better_than_it_can_be(
    outcomes: list[tuple[float, bool]],
) -> None:
    confidences, right = [c for c, _ in outcomes], [r for _, r in outcomes]
    found = risk_coverage(confidences, right)
    share = sum(right) / len(right)
    assert (found.points[-1].coverage, found.points[-1].exact_match) == (1, share)
    assert [p.confidence for p in found.points] == sorted({*confidences}, reverse=True)
    for point in found.points:
        read = [r for c, r in outcomes if c >= point.confidence]
        assert point.coverage == len(read) / len(outcomes)
        assert point.exact_match == sum(read) / len(read)
    ideal = risk_coverage([i / len(right) for i in range(len(right))], sorted(right))
    reverse = risk_coverage([i / len(right) for i in range(len(right))], sorted(right)[::-1])
    assert ideal.area - 1e-12 <= found.area <= reverse.area + 1e-12


@given(OUTCOMES, st.floats(0.01, 1))
def test_what_is_asked_for_is_reached(outcomes: list[tuple[float, bool]], share: float) -> None:
    found = risk_coverage([c for c, _ in outcomes], [r for _, r in outcomes])
    point = found.at_coverage(share)
    assert point.coverage >= share
    assert not any(share <= p.coverage < point.coverage for p in found.points)
    best = found.at_exact_match(share)
    reached = [p.coverage for p in found.points if p.exact_match >= share]
    assert (best.coverage if best else None) == max(reached, default=None)


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_shares_are_checked(share: float) -> None:
    found = risk_coverage([0.5], [True])
    with pytest.raises(ValueError, match=r"`coverage` is a share above 0, up to 1\. Received: "):
        found.at_coverage(share)
    with pytest.raises(ValueError, match=r"`share` is a share above 0, up to 1\. Received: "):
        found.at_exact_match(share)


@pytest.mark.parametrize(
    ("confidences", "right", "message"),
    [
        pytest.param([], [], "0 confidences", id="none"),
        pytest.param([0.5], [True, False], "1 confidences and 2 outcomes", id="unequal"),
        pytest.param([-0.5, 0.5], [True, True], r"between 0 and 1. Received: -0\.5", id="range"),
    ],
)
def test_risk_coverage_refuses(confidences: list[float], right: list[bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        risk_coverage(confidences, right)
