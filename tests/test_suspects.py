"""Plain errors come first, then what may be a misreading, then what nobody can tell."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.suspects import REASONS, HeldOut, explain, rank


def held_out(label: str, text: str, p_label: float, p_text: float, name: str = "") -> HeldOut:
    logs = (math.log(p) if p else -math.inf for p in (p_label, p_text))
    return HeldOut(name or f"{label}-{text}.png", label, text, *logs)


def test_what_was_read_as_its_label_is_no_suspect() -> None:
    assert rank([held_out("kangar00", "kangar00", 0.9, 0.9)]) == ()
    assert rank([]) == ()


def test_a_suspect_says_what_was_read_and_how_probable_both_are() -> None:
    (suspect,) = rank([held_out("kang", "kong", 1e-6, 0.0625, "train/kang.png")])
    assert (suspect.name, suspect.label, suspect.text) == ("train/kang.png", "kang", "kong")
    assert suspect.label_probability == pytest.approx(1e-6)
    assert suspect.confidence == pytest.approx(0.0625)
    assert suspect.reason == "other"
    assert suspect.evidence == pytest.approx(0.25 * math.log(0.0625e6))  # 0.5 a character, squared


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        pytest.param(("kang", "kong", 1e-6, 0.6), ("k0l", "ko1", 1e-9, 0.99), id="look-alikes"),
        pytest.param(("kang", "kong", 1e-6, 0.6), ("gang", "gong", 0.3, 0.6), id="a close call"),
        pytest.param(("kang", "kong", 1e-6, 0.9), ("gang", "gong", 1e-8, 0.01), id="a hard image"),
        pytest.param(("kang", "rk0a", 1e-30, 0.6), ("gang", "gong", 1e-9, 0.6), id="swapped"),
        pytest.param(("kng", "kang", 0.0, 0.6), ("gang", "gong", 1e-99, 0.6), id="no path at all"),
        pytest.param(("k0l", "ko1", 1e-9, 0.9), ("k0", "ko", 1e-9, 0.9), id="more look-alikes"),
        pytest.param(("k0", "ko", 0.1, 0.9), ("g0", "go", 0.8, 0.9), id="surer look-alikes"),
    ],
)
def test_the_worse_label_comes_first(
    worse: tuple[str, str, float, float], better: tuple[str, str, float, float]
) -> None:
    readings = [held_out(*worse), held_out(*better)]
    assert [s.label for s in rank(readings)] == [worse[0], better[0]]
    assert rank(reversed(readings)) == rank(readings)


def test_equals_come_by_their_names() -> None:
    readings = [held_out("ab", "ba", 0.1, 0.6, name) for name in ("b.png", "a.png")]
    assert [s.name for s in rank(readings)] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("label", "text", "reason"),
    [
        ("a0b", "aob", "look-alike"),
        ("1il0", "lllo", "look-alike"),
        ("a0b", "ab", "missing glyph"),
        ("a0b", "", "missing glyph"),
        ("o", "00", "different length"),
        ("ab", "a0b", "different length"),
        ("abcd", "xb", "different length"),
        ("ab", "ax", "other"),
        ("a0b", "aoc", "other"),
        ("abcd", "bcde", "other"),
    ],
)
def test_the_reason_is_given(label: str, text: str, reason: str) -> None:
    assert explain(label, text) == reason
    assert reason in REASONS


words = st.text("ao01l", min_size=1, max_size=4)
logs = st.floats(-50, 0) | st.just(-math.inf)


@given(st.lists(st.tuples(words, words, logs, st.floats(-20, 0)), max_size=12))
def test_each_label_that_was_not_read_is_ranked_once(
    rows: list[tuple[str, str, float, float]],
) -> None:
    readings = [
        HeldOut(f"{i}.png", label, text, min(label_log, text_log), text_log)
        for i, (label, text, label_log, text_log) in enumerate(rows)
    ]
    suspects = rank(readings)
    assert {s.name for s in suspects} == {r.name for r in readings if r.label != r.text}
    evidence = [s.evidence for s in suspects]
    assert evidence == sorted(evidence, reverse=True)
    assert all(0 <= e < math.inf for e in evidence)
