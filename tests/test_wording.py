from __future__ import annotations

import pytest

from crnn_captcha.metrics import Confusion, Interval
from crnn_captcha.wording import describe, markdown_table, percent, percent_range, printable


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0.0 %"), (0.61149, "61.1 %"), (1, "100.0 %"), (1.5, "150.0 %")]
)
def test_a_share_in_words(share: float, words: str) -> None:
    assert percent(share) == words


def test_an_interval_in_words() -> None:
    assert percent_range(Interval(0.59749, 0.656)) == "59.7 to 65.6 %"


@pytest.mark.parametrize(
    ("label", "text", "words"),
    [
        pytest.param("o", "0", "o read as 0", id="substitution"),
        pytest.param("o", "", "o left out", id="deletion"),
        pytest.param("", "0", "0 added", id="insertion"),
    ],
)
def test_confusions_in_words(label: str, text: str, words: str) -> None:
    assert describe(Confusion(label, text, 1, 1, 1)) == words


def test_what_moves_a_cursor_is_replaced() -> None:
    assert printable("a\x1b[2Jb\nc\udc80d é") == "a�[2Jb�c�d é"


def test_a_table_has_columns_of_one_width() -> None:
    assert markdown_table(("name", "images"), [("a|b\n", "1"), ("long one", "")]).splitlines() == [
        "| name     | images |",
        "| -------- | ------ |",
        r"| a\|b�    | 1      |",
        "| long one |        |",
    ]
