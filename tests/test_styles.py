"""A style says what can be drawn, and refuses the rest."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.charset import Charset
from crnn_captcha.errors import CharsetError, ConfigError
from crnn_captcha.styles import Range, Style

NUMBERS = st.floats(-1e6, 1e6)


@given(st.lists(NUMBERS, min_size=1, max_size=3), st.integers(0, 2**32))
def test_what_is_drawn_lies_in_the_range(numbers: list[float], seed: int) -> None:
    drawn = Range.of(*sorted(numbers))
    value = drawn.draw(np.random.default_rng(seed))
    assert drawn.low <= value <= drawn.high
    whole = drawn.whole(np.random.default_rng(seed))
    assert round(drawn.low) <= whole <= round(drawn.high)


def test_whole_numbers_reach_both_ends_evenly() -> None:
    random = np.random.default_rng(0)
    drawn = [Range.of(2, 5).whole(random) for _ in range(4000)]
    assert {drawn.count(number) // 100 for number in range(2, 6)} <= {9, 10}
    assert set(drawn) == {2, 3, 4, 5}


def test_the_likeliest_of_three_numbers_is() -> None:
    random = np.random.default_rng(0)
    counts, _ = np.histogram([Range.of(0, 8, 10).draw(random) for _ in range(4000)], 5, (0, 10))
    assert counts.argmax() == 3
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((), "a number, [lowest, highest] or [lowest, likeliest, highest]. Received: []."),
        ((1, 2, 3, 4), "[lowest, likeliest, highest]. Received: [1, 2, 3, 4]."),
        ((2, 1), "are finite and rise. Received: [2, 1]."),
        ((1, 0, 2), "are finite and rise. Received: [1, 0, 2]."),
        ((1, 3, 2), "are finite and rise. Received: [1, 3, 2]."),
        ((0, math.inf), "are finite and rise. Received: [0, inf]."),
        ((math.nan,), "are finite and rise. Received: [nan, nan]."),
    ],
)
def test_numbers_that_are_no_range_are_refused(numbers: tuple[float, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Range.of(*numbers)


@pytest.mark.parametrize("character", ["/", "\\", ".", " ", ":", "\n", "\x00", "\ud800"])
def test_characters_that_cannot_stand_in_a_file_name_are_refused(character: str) -> None:
    with pytest.raises(CharsetError, match=r"becomes a file name.*unfit.*Leave them out"):
        Style(charset=Charset(f"ab{character}"))


@pytest.mark.parametrize(("least", "most"), [(0, 4), (5, 4), (1, 33), (-1, 2)])
def test_lengths_that_cannot_be_are_refused(least: int, most: int) -> None:
    with pytest.raises(ConfigError, match=rf"1 to 32 characters.*Received: {least} to {most}"):
        Style(min_length=least, max_length=most)


@pytest.mark.parametrize(
    ("table", "name", "value", "message"),
    [
        ("image", "height_px", Range.of(8, 80), "between 16 and 512. Received: 8 to 80."),
        ("letters", "turned", -0.1, "between 0 and 1. Received: -0.1."),
        ("letters", "weight", Range.of(0, 0.1, 0.2), "between -0.1 and 0.15. Received: 0 to 0.2."),
        ("effects", "wavy", math.nan, "between 0 and 1. Received: nan."),
        ("background", "rgb", Range.of(256), "between 0 and 255. Received: 256."),
        ("lines", "count", Range.of(101), "between 0 and 100. Received: 101."),
        ("dots", "size_px", Range.of(0, 3), "between 1 and 32. Received: 0 to 3."),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    table: str, name: str, value: object, message: str
) -> None:
    style = Style()
    changed = replace(getattr(style, table), **{name: value})
    with pytest.raises(ConfigError, match=re.escape(f"{table}.{name} lies {message}")):
        replace(style, **{table: changed})


def test_a_share_of_the_style_itself_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"^capitals lies between 0 and 1\. Received: 1\.1\.$"):
        Style(capitals=1.1)


def test_every_table_is_checked() -> None:
    style = Style()
    for table in ("image", "letters", "effects", "background", "lines", "dots"):
        part = getattr(style, table)
        limited = [field for field in fields(part) if field.metadata]
        assert limited
        for field in limited:
            low = field.metadata["low"] - 1
            value = Range.of(low) if isinstance(getattr(part, field.name), Range) else low
            with pytest.raises(ConfigError, match=rf"^{table}\.{field.name} lies between"):
                replace(style, **{table: replace(part, **{field.name: value})})
