from __future__ import annotations

import itertools
import pickle
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.charset import BLANK, Charset, required_time_steps
from crnn_captcha.errors import CharsetError, LabelError

CHARACTERS = st.lists(st.characters(), min_size=1, max_size=40, unique=True).map("".join)


@st.composite
def charsets_with_labels(draw: st.DrawFn) -> tuple[Charset, str]:
    charset = Charset(draw(CHARACTERS))
    return charset, draw(st.text(charset.characters, max_size=20))


@given(charsets_with_labels())
def test_encode_then_decode_is_the_identity(case: tuple[Charset, str]) -> None:
    charset, label = case
    class_ids = charset.encode(label)
    assert class_ids.dtype == np.int32
    assert class_ids.shape == (len(label),)
    assert BLANK not in class_ids
    assert charset.decode(class_ids) == label


@given(CHARACTERS)
def test_every_class_but_the_blank_is_one_character(characters: str) -> None:
    charset = Charset(characters)
    assert charset.num_classes == len(characters) + 1
    assert charset.decode(range(1, charset.num_classes)) == characters
    assert charset.encode(characters).tolist() == list(range(1, charset.num_classes))


def test_the_order_of_the_characters_is_the_order_of_the_classes() -> None:
    assert Charset("ba").encode("ab").tolist() == [2, 1]
    assert Charset("ab").encode("ab").tolist() == [1, 2]
    assert Charset("ab") != Charset("ba")


def test_case_counts() -> None:
    assert Charset("aA").encode("Aa").tolist() == [2, 1]
    assert Charset("a").unknown("aA") == "A"


def test_an_empty_label_has_no_class_ids() -> None:
    assert Charset("a").encode("").shape == (0,)
    assert Charset("a").decode([]) == ""


def test_from_labels_sorts_what_occurs() -> None:
    assert Charset.from_labels(["cab", "", "b2"]) == Charset("2abc")
    assert Charset.from_labels(iter(["z"])) == Charset("z")


def test_unknown_names_each_once_and_sorted() -> None:
    assert Charset("abc").unknown("zaxbz") == "xz"
    assert Charset("abc").unknown("cab") == ""


def test_a_charset_survives_pickling_after_use() -> None:
    charset = Charset("ab")
    charset.encode("a")  # fills what is cached
    copy = pickle.loads(pickle.dumps(charset))
    assert copy == charset
    assert copy.encode("ba").tolist() == [2, 1]


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        pytest.param("", r"at least one character\. Received: ''", id="empty"),
        pytest.param("abcab", r"once\. Received: 'abcab' \(repeated: 'ab'\)", id="repeated"),
    ],
)
def test_a_bad_charset_is_refused(characters: str, message: str) -> None:
    with pytest.raises(CharsetError, match=message):
        Charset(characters)


def test_no_labels_make_no_charset() -> None:
    with pytest.raises(CharsetError, match="at least one character"):
        Charset.from_labels([])


def test_an_unknown_character_is_refused_with_what_to_do() -> None:
    message = (
        r"characters of the charset 'ab'\. Received: 'zabc' \(unknown: 'cz'\)\. "
        r"Fix the label or train with a charset that has them\."
    )
    with pytest.raises(LabelError, match=message):
        Charset("ab").encode("zabc")


@pytest.mark.parametrize("class_id", [BLANK, -1, 3, 99])
def test_what_is_no_characters_class_id_is_refused(class_id: int) -> None:
    with pytest.raises(CharsetError, match=rf"in 1 to 2\. Received: \[{class_id}\]"):
        Charset("ab").decode([1, class_id, 2])


# ---- Time steps


@pytest.mark.parametrize(
    ("label", "steps"),
    [("", 0), ("a", 1), ("ab", 2), ("aa", 3), ("aaa", 5), ("abab", 4), ("aabb", 6), ("aAa", 3)],
)
def test_required_time_steps(label: str, steps: int) -> None:
    assert required_time_steps(label) == steps


def spellable(time_steps: int, characters: str) -> set[str]:
    """What the CTC paths of a length spell, a path at a time."""
    paths = itertools.product(["", *characters], repeat=time_steps)  # "": the blank
    return {"".join(key for key, _ in itertools.groupby(path)) for path in paths}


@pytest.mark.parametrize(
    "label", ["".join(p) for n in range(4) for p in itertools.product("ab", repeat=n)]
)
def test_no_shorter_path_spells_the_label(label: str) -> None:
    shortest = next(steps for steps in itertools.count() if label in spellable(steps, "ab"))
    assert required_time_steps(label) == shortest


@given(st.text(string.ascii_lowercase[:3], max_size=12))
def test_required_time_steps_are_bounded_by_the_length(label: str) -> None:
    steps = required_time_steps(label)
    assert len(label) <= steps <= max(0, 2 * len(label) - 1)
    assert required_time_steps(label[::-1]) == steps
