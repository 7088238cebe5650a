from __future__ import annotations

import re
from itertools import accumulate
from types import SimpleNamespace

import pytest
import tensorflow as tf

from crnn_captcha.training import precision


@pytest.mark.parametrize(
    ("seconds16", "said"),
    [
        pytest.param(1.0, "", id="as fast"),
        pytest.param(0.5, "", id="faster"),
        pytest.param(4.0, r"4\.0 times as long.*without --mixed-precision", id="slower"),
    ],
)
def test_slower_arithmetic_is_said(
    monkeypatch: pytest.MonkeyPatch, seconds16: float, said: str
) -> None:
    """The first of each precision only prepares, and of the others the shortest counts."""
    durations = [9.0, 7.0, seconds16, 8.0, 9.0, 1.0, 6.0, 5.0]
    clock = accumulate(moment for duration in durations for moment in (0.0, duration))
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    warning = precision.warning()
    assert re.search(said, warning) if said else not warning


def test_a_gpu_has_its_own_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.mixed_policy() == "mixed_bfloat16"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert precision.mixed_policy() == "mixed_float16"
    assert precision.warning() == ""
