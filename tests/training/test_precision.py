from __future__ import annotations

import re
from itertools import accumulate
from types import SimpleNamespace

import pytest
import tensorflow as tf

from crnn_captcha.training import precision


@pytest.mark.parametrize(
    ("mixed", "seconds16", "said"),
    [
        pytest.param(True, 1.0, "", id="as fast"),
        pytest.param(True, 0.5, "", id="faster, and used"),
        pytest.param(True, 4.0, r"4\.0 times as long.*without --mixed-precision", id="slower"),
        pytest.param(False, 4.0, "", id="slower, and left out"),
        pytest.param(False, 0.8, "", id="hardly faster"),
        pytest.param(False, 0.5, r"2\.0 times as fast.*with --mixed-precision", id="faster"),
    ],
)
def test_what_would_train_faster_is_said(
    monkeypatch: pytest.MonkeyPatch, mixed: bool, seconds16: float, said: str
) -> None:
    """The first of each precision only prepares, and of the others the shortest counts."""
    durations = [9.0, 7.0, seconds16, 8.0, 9.0, 1.0, 6.0, 5.0]
    clock = accumulate(moment for duration in durations for moment in (0.0, duration))
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    advice = precision.advice(mixed)
    assert re.search(said, advice) if said else not advice


def test_a_gpu_has_its_own_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision.mixed_policy() == "mixed_bfloat16"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert precision.mixed_policy() == "mixed_float16"
    assert precision.advice(mixed=True) == precision.advice(mixed=False) == ""
