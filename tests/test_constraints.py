from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from brute_force import allows, merged
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.charset import Charset
from crnn_captcha.constraints import MAX_STATES, Constraint
from crnn_captcha.errors import ConfigError
from crnn_captcha.metrics import LOOKALIKES

CHARSET = Charset("aAbo0")
TEXTS = ["".join(t) for n in range(5) for t in itertools.product(CHARSET.characters, repeat=n)]
LETTERS = Charset("0123456789abcdefghijklmnopqrstuvwxyz")


def constraints() -> st.SearchStrategy[Constraint]:
    some = st.sampled_from(["", "ab", "A0", "o", "aAbo0", "b0"])
    return st.builds(
        lambda least, more, **values: Constraint(
            min_length=least, max_length=None if more is None else least + more, **values
        ),
        least=st.integers(0, 3),
        more=st.none() | st.integers(0, 2),
        characters=some,
        positions=st.lists(some, max_size=3).map(tuple),
        pattern=st.sampled_from(
            ["", r"[a-z]+\d?", "a|b0", "(ab)*", ".{1,3}", "[A-Z]o*", "a?b?o{0,2}", "(a|Ao|b)+"]
        ),
        fold_case=st.booleans(),
        merge=st.sampled_from([(), ("o0",), ("0o", "ab"), ("o0", "l1i")]),
    )


@given(constraints())
def test_all_that_is_given_has_to_hold(constraint: Constraint) -> None:
    expected = [text for text in TEXTS if allows(constraint, text)]
    try:
        automaton = constraint.compile(CHARSET)
    except ConfigError as error:
        assert "allows at least one text" in str(error)
        assert expected == []
        return
    assert [text for text in TEXTS if automaton.accepts(CHARSET.encode(text))] == expected


@given(constraints())
def test_texts_that_count_as_one_are_written_alike_and_stay_so(constraint: Constraint) -> None:
    try:
        automaton = constraint.compile(CHARSET)
    except ConfigError:
        return
    forms: dict[str, set[str]] = {}
    for text in TEXTS:
        ids = CHARSET.encode(text)
        if automaton.accepts(ids):
            written = automaton.write(ids)
            assert merged(written, constraint) == merged(text, constraint)
            assert automaton.write(CHARSET.encode(written)) == written
            forms.setdefault(merged(text, constraint), set()).add(written)
    assert all(len(written) == 1 for written in forms.values())


@pytest.mark.parametrize(
    ("constraint", "text", "written"),
    [
        pytest.param(Constraint(), "aA0", "aA0", id="nothing merged"),
        pytest.param(Constraint(merge=("o0",)), "0b0", "obo", id="first of the group"),
        pytest.param(Constraint(merge=("", "0o")), "obo", "0b0", id="an empty group"),
        pytest.param(Constraint(merge=("0o",)), "obo", "0b0", id="other order"),
        pytest.param(Constraint(fold_case=True), "aAb", "aab", id="lower case"),
        pytest.param(
            Constraint(fold_case=True, pattern="[A-Z]*"), "aAa", "AAA", id="as a pattern names it"
        ),
        pytest.param(
            Constraint(merge=("o0",), characters="ab0"), "oa0", "0a0", id="as `characters` names it"
        ),
        pytest.param(
            Constraint(merge=("o0",), positions=("0", "", "o")), "ooo", "0oo", id="as places do"
        ),
        pytest.param(
            Constraint(merge=("o0",), pattern="0+", characters="o"), "00", "oo", id="parts disagree"
        ),
        pytest.param(
            Constraint(fold_case=True, merge=("bA",)), "aAb", "bbb", id="groups that overlap join"
        ),
    ],
)
def test_how_a_text_is_written(constraint: Constraint, text: str, written: str) -> None:
    assert constraint.compile(CHARSET).write(CHARSET.encode(text)) == written


def test_overlapping_groups_become_one() -> None:
    automaton = Constraint(merge=("ab", "o0", "b0")).compile(CHARSET)
    assert automaton.write(CHARSET.encode("abo0A")) == "aaaaA"


def test_a_negated_set_refuses_all_that_count_as_what_it_names() -> None:
    automaton = Constraint(pattern="[^a]", fold_case=True).compile(CHARSET)
    assert [c for c in CHARSET.characters if automaton.accepts(CHARSET.encode(c))] == [*"bo0"]


def test_a_name_may_count_as_what_the_charset_has() -> None:
    charset = Charset("ab1o")
    constraint = Constraint(pattern="[AB]0", characters="AO", fold_case=True, merge=LOOKALIKES)
    automaton = constraint.compile(charset)
    assert automaton.accepts(charset.encode("ao"))
    assert not automaton.accepts(charset.encode("bo"))
    assert automaton.write(charset.encode("ao")) == "ao"


def test_six_letters_or_so_and_two_digits() -> None:
    automaton = Constraint(pattern=r"[a-z]{4,6}\d\d").compile(LETTERS)
    assert automaton.transitions.shape == (9, 37)
    for text in ("abcd12", "abcdef12"):
        assert automaton.accepts(LETTERS.encode(text))
    for text in ("", "abc12", "abcdefg12", "abcd1", "abcd123", "ab1d12"):
        assert not automaton.accepts(LETTERS.encode(text))


def test_the_default_is_free() -> None:
    automaton = Constraint().compile(LETTERS)
    assert automaton.is_free
    assert Constraint(fold_case=True, merge=LOOKALIKES).compile(LETTERS).is_free
    assert not Constraint(min_length=1).compile(LETTERS).is_free
    assert not Constraint(characters="ab").compile(LETTERS).is_free


def test_equal_constraints_share_an_automaton_that_nobody_changes() -> None:
    first = Constraint(pattern="a+").compile(CHARSET)
    assert Constraint(pattern="a+").compile(Charset(CHARSET.characters)) is first
    assert Constraint(pattern="a+").compile(Charset("ab")) is not first
    for array in (first.transitions, first.accepting, first.members, first.written):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_a_constraint_can_be_sent_and_stored() -> None:
    constraint = Constraint(pattern="a+", merge=LOOKALIKES, positions=("a", ""))
    assert pickle.loads(pickle.dumps(constraint)) == constraint
    assert hash(constraint) == hash(Constraint(pattern="a+", merge=LOOKALIKES, positions=("a", "")))


def test_a_refused_text_stays_refused() -> None:
    automaton = Constraint(pattern="ab").compile(CHARSET)
    assert automaton.states(CHARSET.encode("bab")) == [0, -1, -1, -1]
    assert automaton.states(CHARSET.encode("ab"))[0] == 0
    assert not automaton.accepts(CHARSET.encode("a"))


def test_only_the_empty_text() -> None:
    for constraint in (Constraint(max_length=0), Constraint(pattern="()")):
        automaton = constraint.compile(CHARSET)
        assert automaton.accepts(np.array([], int))
        assert not automaton.accepts([1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"characters": 5}, "`characters` is a string. Received: 5", id="characters"),
        pytest.param({"pattern": None}, "`pattern` is a string. Received: None", id="pattern"),
        pytest.param({"positions": ["a"]}, "`positions` is a tuple of str.*'a'", id="a list"),
        pytest.param({"merge": ("ab", 1)}, "`merge` is a tuple of strings", id="no strings"),
        pytest.param({"merge": "o0"}, "`merge` is a tuple of strings. Rec.*'o0'", id="one string"),
        pytest.param({"min_length": -1}, "`min_length` is an integer from 0. .*-1", id="negative"),
        pytest.param({"min_length": True}, "`min_length` is .*True", id="a truth"),
        pytest.param({"max_length": 1.0}, "`max_length` is None or .*1.0", id="no integer"),
        pytest.param(
            {"min_length": 3, "max_length": 2}, "from `min_length`, 3. Received: 2", id="turned"
        ),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Constraint(**values)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        pytest.param(Constraint(characters="axy"), "Received: 'xy' besides", id="characters"),
        pytest.param(Constraint(positions=("", "x")), "Received: 'x' besides", id="positions"),
        pytest.param(Constraint(pattern="a|[yb]"), "Received: 'y' besides", id="pattern"),
        pytest.param(Constraint(pattern="[1-9]"), "at least one text", id="empty set"),
        pytest.param(Constraint(pattern="a{3}", max_length=2), "at least one text", id="too long"),
        pytest.param(Constraint(characters="a", pattern="b"), "at least one text", id="disagree"),
        pytest.param(
            Constraint(pattern=".*a.{12}"), f"up to {MAX_STATES} states", id="too many states"
        ),
        pytest.param(Constraint(min_length=5000), f"up to {MAX_STATES} states", id="too long"),
    ],
)
def test_what_a_charset_cannot_do_is_refused(constraint: Constraint, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        constraint.compile(CHARSET)
