from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crnn_captcha.charset import Charset
from crnn_captcha.constraints import Constraint
from crnn_captcha.errors import ConfigError
from crnn_captcha.patterns import MAX_DEPTH, MAX_NODES, parse_pattern

CHARSET = Charset("ab1_-")
TEXTS = ["".join(t) for n in range(5) for t in itertools.product(CHARSET.characters, repeat=n)]


def parts() -> st.SearchStrategy[str]:
    """Patterns that mean the same to Python."""
    ones = st.sampled_from(
        ["a", "b", ".", r"\d", r"\w", "[ab]", "[^a]", "[a-b1]", r"[\d_]", r"[^\w]", r"\-", "[b-]"]
    )
    signs = ["?", "*", "+", "{2}", "{1,2}", "{0}", "{2,}"]

    def larger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(smaller, smaller).map("".join),
            st.tuples(smaller, smaller).map("|".join),
            st.tuples(smaller, st.sampled_from(signs)).map(lambda pair: f"({pair[0]}){pair[1]}"),
            smaller.map("({})".format),
        )

    return st.recursive(ones, larger, max_leaves=5)


@given(parts())
@example("a|")
@example("(|a)(b|)")
@example("(a*)*b")
@example("((a|b)?-)+")
@example("[^]a]b")
@example("[]]?[-a]+")
def test_a_pattern_means_what_it_means_to_python(pattern: str) -> None:
    expected = [text for text in TEXTS if re.fullmatch(pattern, text)]
    try:
        automaton = Constraint(pattern=pattern).compile(CHARSET)
    except ConfigError as error:
        assert "allows at least one text" in str(error) or "besides" in str(error)
        assert not expected or "]" in pattern
        return
    assert [text for text in TEXTS if automaton.accepts(CHARSET.encode(text))] == expected


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param("a)", r"a '\)' that closes no group \(at character 1\)", id="closed"),
        pytest.param("(a", r"a '\(' that isn't closed", id="open group"),
        pytest.param("[a", r"a '\[' that isn't closed", id="open set"),
        pytest.param("[", r"a '\[' that isn't closed", id="nothing in a set"),
        pytest.param("[a-", r"a '\[' that isn't closed", id="open range"),
        pytest.param("*a", r"a '\*' that has nothing before it .*\\\*", id="nothing to repeat"),
        pytest.param("a|+", r"a '\+' that has nothing", id="nothing to repeat in a choice"),
        pytest.param("a]", r"a '\]' that has nothing", id="bracket"),
        pytest.param("a}", r"a '}' that has nothing", id="brace"),
        pytest.param("a**", "repetition of a repetition", id="twice"),
        pytest.param("a+?", "repetition of a repetition", id="lazy"),
        pytest.param("a{2", r"aren't {m}, {m,} or {m,n}", id="open braces"),
        pytest.param("a{}", r"aren't {m}", id="empty braces"),
        pytest.param("a{,2}", r"aren't {m}", id="no start"),
        pytest.param("a{x}", r"aren't {m}", id="no number"),
        pytest.param("a{²}", r"aren't {m}", id="no digit"),
        pytest.param("a{10000}", r"aren't {m}", id="five digits"),
        pytest.param("a{3,2}", r"\{3,2\}, whose end is before its start", id="turned"),
        pytest.param("[b-a]", "range whose end is before", id="turned range"),
        pytest.param(r"[a-\d]", "range whose end is before", id="range to a class"),
        pytest.param("^a", r"'\^', which isn't needed", id="start"),
        pytest.param("a$", r"'\$', which isn't needed", id="end"),
        pytest.param("(?:a)", r"'\(\?', and groups have no options", id="group option"),
        pytest.param(r"\s", r"'\\s', which isn't supported", id="escape"),
        pytest.param(r"(a)\1", r"'\\1', which isn't supported", id="reference"),
        pytest.param("a\\", r"'\\', which isn't supported", id="last backslash"),
        pytest.param("(" * 60 + ")" * 60, f"more than {MAX_DEPTH} groups", id="deep"),
        pytest.param("(((a{99}){99}){99}){99}", f"larger than {MAX_NODES} nodes", id="large"),
        pytest.param("(((){99}){99}){99}", f"larger than {MAX_NODES} nodes", id="large and empty"),
    ],
)
def test_what_is_not_supported_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_pattern(pattern)
    assert f"Received: '{pattern}'" in str(caught.value)
    with pytest.raises(ConfigError):
        Constraint(pattern=pattern)


def test_as_many_groups_as_allowed() -> None:
    pattern = "(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH
    assert parse_pattern(pattern).sets == parse_pattern("a").sets


def test_a_word_character_is_a_letter_of_any_script() -> None:
    charset = Charset("éж中_-９")
    automaton = Constraint(pattern=r"\w").compile(charset)
    assert [c for c in charset.characters if automaton.accepts(charset.encode(c))] == [*"éж中_９"]
