"""Logits of which it is known by how much they are too sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from crnn_captcha import temperature as module
from crnn_captcha.charset import Charset
from crnn_captcha.confidence import calibration
from crnn_captcha.decoding import MAX_TEMPERATURE, MIN_TEMPERATURE, Logits, greedy_decode
from crnn_captcha.errors import CharsetError
from crnn_captcha.temperature import (
    TemperatureFit,
    fit_temperature,
)

CHARSET = Charset("abc")
Images = tuple[list[Logits], list[str]]


def drawn(images: int, *, scale: float, seed: int = 0, right: bool | None = None) -> Images:
    """Logits, and labels that are drawn from the very probabilities that they give.

    So the confidences of `scale` 1 are right as they are, and those of logits times `scale` are
    at the temperature `scale`. With `right` the labels are those that are read, or never those.
    """
    random = np.random.default_rng(seed)
    logits, labels = [], []
    for _ in range(images):
        scores = np.zeros((int(random.integers(4, 9)), CHARSET.num_classes))
        for scored in scores:  # mostly one class is far ahead
            scored[random.integers(len(scored))] = random.uniform(0.5, 8)
        odds = np.exp(scores)
        path = [random.choice(len(p), p=p / p.sum()) for p in odds]
        steps = [c for i, c in enumerate(path) if c and (i == 0 or path[i - 1] != c)]
        logits.append((scale * scores).astype(np.float32))
        labels.append(CHARSET.decode(steps))
    if right is not None:
        labels = [text if right else f"{text}a" for text in texts_of(logits)]
    return logits, labels


def texts_of(logits: Sequence[Logits]) -> list[str]:
    return [greedy_decode(scores[None], CHARSET)[0].text for scores in logits]


def outcomes(logits: Sequence[Logits], labels: Sequence[str]) -> tuple[list[float], list[bool]]:
    """As reading an image with these logits gives them."""
    readings = [greedy_decode(scores[None], CHARSET)[0] for scores in logits]
    hits = [reading.text == label for reading, label in zip(readings, labels, strict=True)]
    return [reading.confidence for reading in readings], hits


def cross_entropy(logits: Sequence[Logits], labels: Sequence[str]) -> float:
    confidences, right = map(np.array, outcomes(logits, labels))
    return float(-np.log(np.maximum(np.where(right, confidences, 1 - confidences), 1e-5)).mean())


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_at_is_found(scale: float) -> None:
    logits, labels = drawn(2000, scale=scale)
    fit = fit_temperature(logits, labels, CHARSET)
    assert fit.temperature == pytest.approx(scale, rel=0.08)
    assert fit.images == 2000
    assert fit.error_after < 0.04  # what chance leaves of 2,000 images in ten bins
    if scale != 1:
        assert fit.error_before > 0.1


def test_the_errors_are_those_of_reading_with_and_without_it() -> None:
    logits, labels = drawn(300, scale=3.0)
    fit = fit_temperature(logits, labels, CHARSET)
    scaled = [scores / np.float32(fit.temperature) for scores in logits]
    assert fit.error_before == pytest.approx(calibration(*outcomes(logits, labels)).error)
    assert fit.error_after == pytest.approx(calibration(*outcomes(scaled, labels)).error)
    assert texts_of(scaled) == texts_of(logits)  # it moves confidences, and no text


@pytest.mark.parametrize("seed", range(8))
def test_it_is_never_worse_than_none_and_near_no_better_one(seed: int) -> None:
    logits, labels = drawn(60, scale=(0.3, 1.0, 1.0, 4.0)[seed % 4], seed=seed)
    found = fit_temperature(logits, labels, CHARSET).temperature
    at = {
        factor: cross_entropy([scores / np.float32(factor * found) for scores in logits], labels)
        for factor in (0.5, 0.9, 0.98, 1.0, 1.02, 1.1, 2.0)
    }
    assert at[1.0] <= cross_entropy(logits, labels)
    assert min(at, key=lambda factor: at[factor]) == 1.0


def test_it_stays_1_where_a_search_finds_nothing_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_cross_entropy", lambda confidences, right: 0.5)
    assert fit_temperature(*drawn(60, scale=2.0), CHARSET).temperature == 1.0


def test_the_same_images_give_the_same_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(120, scale=2.0)
    fit = fit_temperature(logits, labels, CHARSET)
    assert fit_temperature(logits, labels, CHARSET) == fit
    monkeypatch.setattr(module, "MAX_BATCH_VALUES", 1)  # each image alone
    assert fit_temperature(logits, labels, CHARSET) == fit
    assert fit_temperature(logits[::-1], labels[::-1], CHARSET).temperature == fit.temperature


@pytest.mark.parametrize("images", [1, 49])
def test_few_images_change_nothing(images: int) -> None:
    logits, labels = drawn(images, scale=4.0)
    fit = fit_temperature(logits, labels, CHARSET)
    assert (fit.temperature, fit.images) == (1.0, images)
    assert fit.error_before == fit.error_after > 0
    assert fit_temperature(*drawn(50, scale=4.0), CHARSET).temperature != 1.0


@pytest.mark.parametrize("right", [True, False])
def test_where_all_is_right_or_wrong_nothing_changes(right: bool) -> None:
    fit = fit_temperature(*drawn(100, scale=2.0, right=right), CHARSET)
    assert fit.temperature == 1.0
    assert fit.error_before == fit.error_after > 0


def test_no_images_change_nothing() -> None:
    assert fit_temperature([], [], CHARSET) == TemperatureFit(1.0, 0, 0.0, 0.0)


@pytest.mark.parametrize(("wrong", "expected"), [(99, MAX_TEMPERATURE), (1, None)])
def test_it_stays_in_the_range_that_a_bundle_may_have(wrong: int, expected: float | None) -> None:
    logits, labels = drawn(100, scale=3.0, right=True)
    labels = [label + "a" * (i < wrong) for i, label in enumerate(labels)]
    found = fit_temperature(logits, labels, CHARSET).temperature
    assert MIN_TEMPERATURE <= found <= MAX_TEMPERATURE
    if expected is not None:
        assert found == expected


def test_texts_without_a_character_have_a_confidence_too() -> None:
    logits, labels = drawn(60, scale=1.0)
    blank = np.zeros((5, CHARSET.num_classes), np.float32)
    blank[:, 0] = 9
    fit = fit_temperature([*logits, blank], [*labels, "a"], CHARSET)
    assert fit.images == 61


def test_logits_and_labels_come_in_pairs() -> None:
    logits, labels = drawn(3, scale=1.0)
    with pytest.raises(ValueError, match=r"a label for each image\. Received: 3 images and 2 labe"):
        fit_temperature(logits, labels[:2], CHARSET)
    with pytest.raises(CharsetError, match="Logits for the charset 'ab'"):
        fit_temperature(logits, labels, Charset("ab"))
