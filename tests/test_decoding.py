from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from crnn_captcha.charset import BLANK, Charset, required_time_steps
from crnn_captcha.decoding import Character, ctc_log_likelihood, greedy_decode, log_softmax
from crnn_captcha.errors import CharsetError

CHARSET = Charset("ab")
SURE = 20.0  # a logit so far above the others that its class is certain


def logits_of(path: str, charset: Charset = CHARSET, *, peak: float = SURE) -> NDArray[np.float32]:
    """Logits (1, time_steps, num_classes) whose best path is `path`; '-' is the blank."""
    classes = [BLANK if c == "-" else charset.characters.index(c) + 1 for c in path]
    return peak * np.eye(charset.num_classes, dtype=np.float32)[None, classes]


def logits_with(probabilities: list[list[float]]) -> NDArray[np.float32]:
    """Logits (1, time_steps, num_classes) of given probabilities."""
    return np.log(np.array([probabilities], np.float32))


def random_logits(
    max_time_steps: int = 4, max_classes: int = 4
) -> st.SearchStrategy[NDArray[np.float32]]:
    """Of one image: (1, time_steps, num_classes), few enough to go through all paths."""
    shapes = st.tuples(st.just(1), st.integers(1, max_time_steps), st.integers(2, max_classes))
    return arrays(np.float32, shapes, elements=st.floats(-6, 6, width=32))


def charset_for(logits: NDArray[np.float32]) -> Charset:
    return Charset("abcdefgh"[: logits.shape[2] - 1])


def brute_force(logits: NDArray[np.float32]) -> dict[tuple[int, ...], float]:
    """Probability of each label (class ids), summed over all paths, one path at a time."""
    exact = logits[0].astype(np.float64)
    probabilities = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    totals: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(logits.shape[2]), repeat=logits.shape[1]):
        label = tuple(key for key, _ in itertools.groupby(path) if key != BLANK)
        totals[label] += float(np.prod(probabilities[range(len(path)), path]))
    return totals


# ---- The text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param("a", "a", id="one step"),
        pytest.param("aa", "a", id="repeats merge"),
        pytest.param("a-a", "aa", id="a blank keeps two alike apart"),
        pytest.param("aa--aa", "aa", id="long runs"),
        pytest.param("-a-b-", "ab", id="blanks drop"),
        pytest.param("aabbaa", "aba", id="no blank needed between others"),
        pytest.param("---", "", id="nothing"),
        pytest.param("b-bb-b", "bbb", id="three alike"),
    ],
)
def test_best_path(path: str, text: str) -> None:
    (reading,) = greedy_decode(logits_of(path), CHARSET)
    assert reading.text == text
    assert reading.confidence == pytest.approx(1, abs=1e-5)
    assert "".join(character.text for character in reading.characters) == text


@pytest.mark.parametrize("characters", ["a", "0123456789abcdefghijklmnopqrstuvwxyz", "é-#😀"])
def test_every_character_comes_out_and_the_blank_never_does(characters: str) -> None:
    charset = Charset(characters)
    every_class = SURE * np.eye(charset.num_classes, dtype=np.float32)[None]  # a class a time step
    (reading,) = greedy_decode(every_class, charset)
    assert reading.text == characters
    alone = greedy_decode(every_class.transpose(1, 0, 2), charset)  # a class an image
    assert [reading.text for reading in alone] == ["", *characters]


@given(st.text("abc", min_size=1, max_size=8), st.data())
def test_a_best_path_decodes_to_its_label(label: str, data: st.DataObject) -> None:
    path = ""
    for before, c in itertools.pairwise("-" + label):
        path += "-" * data.draw(st.integers(int(before == c), 3))
        path += c * data.draw(st.integers(1, 3))
    path += "-" * data.draw(st.integers(0, 3))
    assert len(path) >= required_time_steps(label)
    (reading,) = greedy_decode(logits_of(path, Charset("abc")), Charset("abc"))
    assert reading.text == label


def test_a_batch_is_read_as_its_images_alone() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (40, 9, 3)).astype(np.float32)
    readings = greedy_decode(logits, CHARSET)
    assert len({len(reading.text) for reading in readings}) > 3
    for i, reading in enumerate(readings):
        (alone,) = greedy_decode(logits[i : i + 1], CHARSET)
        assert alone.text == reading.text
        assert alone.confidence == pytest.approx(reading.confidence, rel=1e-6)
        assert alone.characters == reading.characters


def test_an_empty_batch_has_no_readings() -> None:
    assert greedy_decode(np.zeros((0, 5, 3), np.float32), CHARSET) == []


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        pytest.param((5, 3), r"\(batch, time_steps, 3\)\. Received: \(5, 3\)", id="no batch"),
        pytest.param((1, 5, 2), r"charset 'ab' .*Received: \(1, 5, 2\)", id="a class too few"),
        pytest.param((1, 5, 4), r"charset 'ab' .*Received: \(1, 5, 4\)", id="a class too many"),
        pytest.param((1, 3, 5, 3), r"Received: \(1, 3, 5, 3\)", id="an axis too many"),
        pytest.param((1, 0, 3), r"at least one time step\. Received: none", id="no time steps"),
    ],
)
def test_wrong_shapes_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(CharsetError, match=message):
        greedy_decode(np.zeros(shape, np.float32), CHARSET)


# ---- Confidence


@given(random_logits())
def test_confidence_is_the_sum_over_all_paths(logits: NDArray[np.float32]) -> None:
    charset = charset_for(logits)
    (reading,) = greedy_decode(logits, charset)
    expected = brute_force(logits)[tuple(charset.encode(reading.text).tolist())]
    assert reading.confidence == pytest.approx(expected, rel=1e-4)
    best_path = np.exp(log_softmax(logits).max(axis=2).sum())
    assert reading.confidence >= best_path * (1 - 1e-4)


def test_confidence_counts_more_than_the_best_path() -> None:
    # "a" is spelled by a-, -a and aa: 0.6 * 0.4 + 0.4 * 0.6 + 0.6 * 0.6
    (reading,) = greedy_decode(logits_with([[0.4, 0.6], [0.4, 0.6]]), Charset("a"))
    assert reading.text == "a"
    assert reading.confidence == pytest.approx(0.84)


def test_a_characters_confidence_is_the_peak_of_its_own_run() -> None:
    steps = [  # blank, a, b
        [0.1, 0.7, 0.2],
        [0.05, 0.9, 0.05],
        [0.2, 0.2, 0.6],
        [0.97, 0.02, 0.01],
        [0.2, 0.3, 0.5],
    ]
    (reading,) = greedy_decode(logits_with(steps), CHARSET)
    assert reading.text == "abb"
    assert [c.confidence for c in reading.characters] == pytest.approx([0.9, 0.6, 0.5])


def test_one_time_step() -> None:
    (reading,) = greedy_decode(logits_with([[0.25, 0.75]]), Charset("a"))
    assert reading.confidence == pytest.approx(0.75)
    (character,) = reading.characters
    assert character == Character("a", character.confidence)
    assert character.confidence == pytest.approx(0.75)


def test_nothing_read_has_the_confidence_of_blanks_alone() -> None:
    (reading,) = greedy_decode(logits_with([[0.9, 0.1], [0.8, 0.2]]), Charset("a"))
    assert (reading.text, reading.characters) == ("", ())
    assert reading.confidence == pytest.approx(0.72)


@given(random_logits(max_time_steps=30, max_classes=9))
def test_confidences_are_probabilities(logits: NDArray[np.float32]) -> None:
    (reading,) = greedy_decode(logits, charset_for(logits))
    assert type(reading.confidence) is float  # goes into JSON
    for confidence in (reading.confidence, *(c.confidence for c in reading.characters)):
        assert 0 < confidence <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("peak", [1e4, 1e30])
def test_huge_logits_do_not_overflow(peak: float) -> None:
    for logits in (logits_of("a-ab", peak=peak), logits_of("a-ab", peak=peak) - peak):
        (reading,) = greedy_decode(logits, CHARSET)
        assert reading.text == "aab"
        assert reading.confidence == 1
        assert [c.confidence for c in reading.characters] == [1, 1, 1]


def test_many_time_steps_do_not_underflow() -> None:
    logits = np.zeros((1, 4000, 3), np.float32)  # (1 / 3) ** 4000 is no float
    logits[:, :, BLANK] = 0.1
    log_probabilities = log_softmax(logits)
    (blanks,) = ctc_log_likelihood(log_probabilities, [np.array([], np.int64)])
    assert blanks == pytest.approx(float(log_probabilities[0, :, BLANK].sum(dtype=np.float64)))
    (one,) = ctc_log_likelihood(log_probabilities, [np.array([1])])
    assert blanks < one < 0


# ---- Likelihood


@given(random_logits())
def test_likelihood_of_every_label_is_brute_force(logits: NDArray[np.float32]) -> None:
    totals = brute_force(logits)
    labels = [np.array(label, np.int64) for label in totals]
    log_probabilities = np.repeat(log_softmax(logits), len(labels), axis=0)
    likelihoods = np.exp(ctc_log_likelihood(log_probabilities, labels))
    np.testing.assert_allclose(likelihoods, list(totals.values()), rtol=1e-4)
    assert likelihoods.sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("label", "time_steps", "fits"),
    [
        pytest.param("ab", 1, False, id="too long"),
        pytest.param("ab", 2, True, id="just fits"),
        pytest.param("aa", 2, False, id="no room for the blank"),
        pytest.param("aa", 3, True, id="room for the blank"),
        pytest.param("", 1, True, id="empty"),
    ],
)
def test_a_label_that_cannot_fit_is_impossible(label: str, time_steps: int, fits: bool) -> None:
    log_probabilities = log_softmax(np.zeros((1, time_steps, 3), np.float32))
    class_ids = CHARSET.encode(label).astype(np.int64)
    (likelihood,) = ctc_log_likelihood(log_probabilities, [class_ids])
    assert (likelihood == -np.inf) is not fits
    assert fits is (required_time_steps(label) <= time_steps)
    if fits:
        assert likelihood == pytest.approx(np.log(3.0**-time_steps), rel=1e-5)


def test_labels_of_unequal_length_in_a_batch_score_as_alone() -> None:
    random = np.random.default_rng(1)
    log_probabilities = log_softmax(random.normal(0, 2, (5, 6, 3)).astype(np.float32))
    labels = [np.array(ids, np.int64) for ids in ([], [1], [2, 2], [1, 2, 1, 2], [1] * 4)]
    together = ctc_log_likelihood(log_probabilities, labels)
    alone = [
        ctc_log_likelihood(log_probabilities[i : i + 1], [label])[0]
        for i, label in enumerate(labels)
    ]
    np.testing.assert_allclose(together, alone)
    assert np.isneginf(together).tolist() == [False, False, False, False, True]


def test_log_softmax_is_normalised() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [1e30, 0.0, -1e30]], np.float32)
    result = log_softmax(logits)
    assert result.dtype == np.float32
    np.testing.assert_allclose(np.exp(result).sum(axis=1), 1, rtol=1e-6)
    assert np.exp(result[0]).tolist() == pytest.approx([0.09003057, 0.24472847, 0.66524096])
