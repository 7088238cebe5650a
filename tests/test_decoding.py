from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from brute_force import allows, label_probabilities, merged, random_logits
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha import decoding
from crnn_captcha.charset import BLANK, Charset, required_time_steps
from crnn_captcha.constraints import Constraint
from crnn_captcha.decoding import (
    Character,
    Reading,
    ctc_log_likelihood,
    decode,
    decode_many,
    greedy_decode,
    log_softmax,
)
from crnn_captcha.errors import CharsetError, ConfigError
from crnn_captcha.metrics import LOOKALIKES

CHARSET = Charset("ab")
searched_constraints = st.sampled_from(
    [
        Constraint(),
        Constraint(characters="ab"),
        Constraint(min_length=2, max_length=3),
        Constraint(pattern="aa|bA|b?"),
        Constraint(positions=("A", "", "a"), min_length=3),
        Constraint(fold_case=True),
        Constraint(fold_case=True, pattern="(ab)*a?"),
        Constraint(merge=("ab",), min_length=1, max_length=2),
    ]
)
SURE = 20.0  # a logit so far above the others that its class is certain


def logits_of(path: str, charset: Charset = CHARSET, *, peak: float = SURE) -> NDArray[np.float32]:
    """Logits (1, time_steps, num_classes) whose best path is `path`; '-' is the blank."""
    classes = [BLANK if c == "-" else charset.characters.index(c) + 1 for c in path]
    return peak * np.eye(charset.num_classes, dtype=np.float32)[None, classes]


def logits_with(probabilities: list[list[float]]) -> NDArray[np.float32]:
    """Logits (1, time_steps, num_classes) of given probabilities."""
    return np.log(np.array([probabilities], np.float32))


def charset_for(logits: NDArray[np.float32]) -> Charset:
    return Charset("abcdefgh"[: logits.shape[2] - 1])


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
        assert alone == reading  # to the last bit


def test_an_empty_batch_has_no_readings() -> None:
    assert greedy_decode(np.zeros((0, 5, 3), np.float32), CHARSET) == []
    assert decode_many([], CHARSET) == []


def of_several_lengths(count: int, classes: int = 3) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 12, count)
    return [random.normal(0, 3, (length, classes)).astype(np.float32) for length in lengths]


def test_many_of_several_lengths_are_read_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "DECODED_TOGETHER", 7)
    logits = of_several_lengths(40)
    readings = decode_many(logits, CHARSET, temperature=1.5)
    assert len({len(reading.text) for reading in readings}) > 3
    for own, reading in zip(logits, readings, strict=True):
        (alone,) = greedy_decode(own[None], CHARSET, temperature=1.5)
        assert alone == reading  # to the last bit


@pytest.mark.parametrize(
    ("lengths", "cells", "groups"),
    [
        pytest.param([40, 12, 10, 11, 15], 2**22, [[2, 3, 1, 4], [0]], id="a long one apart"),
        pytest.param([4, 4, 4], 2 * 4 * 3, [[0, 1], [2]], id="no more than memory allows"),
        pytest.param([], 1, [], id="none"),
    ],
)
def test_those_of_about_as_many_time_steps_are_decoded_together(
    lengths: list[int], cells: int, groups: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK_CELLS", cells)
    logits = [np.zeros((length, 3), np.float32) for length in lengths]
    assert list(decoding._alike(logits, CHARSET)) == groups


@pytest.mark.parametrize("shape", [(0, 3), (4, 1), (4, 4), (4,)])
def test_each_of_many_has_to_be_logits(shape: tuple[int, ...]) -> None:
    with pytest.raises(CharsetError, match="Received: "):
        decode_many([np.zeros((4, 3), np.float32), np.zeros(shape, np.float32)], CHARSET)


@given(constraint=searched_constraints, alternatives=st.integers(0, 3))
def test_many_are_searched_as_each_alone(constraint: Constraint, alternatives: int) -> None:
    charset = Charset("abA")
    logits = of_several_lengths(10, charset.num_classes)
    options: dict[str, Any] = {"beam": 10, "constraint": constraint, "alternatives": alternatives}
    for own, reading in zip(logits, decode_many(logits, charset, **options), strict=True):
        (alone,) = decode(own[None], charset, **options)
        assert reading.text == alone.text
        assert reading.fits == alone.fits
        assert reading.confidence == pytest.approx(alone.confidence)
        assert reading.constraint_probability == pytest.approx(alone.constraint_probability)
        assert [other.text for other in reading.alternatives] == [
            other.text for other in alone.alternatives
        ]
        for one, other in zip(reading.characters, alone.characters, strict=True):
            assert (one.text, one.start, one.end) == (other.text, other.start, other.end)
            assert one.confidence == pytest.approx(other.confidence)


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
    expected = label_probabilities(logits)[tuple(charset.encode(reading.text).tolist())]
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
    assert character == Character("a", character.confidence, start=0, end=1)
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


def test_confidences_of_merged_characters_are_probabilities() -> None:
    letters = Charset("0o1li")
    random = np.random.default_rng(0)
    logits = random.normal(0, 20, (300, 6, 6)).astype(np.float32)
    readings = decode(logits, letters, constraint=Constraint(merge=LOOKALIKES))
    confidences = [c.confidence for reading in readings for c in reading.characters]
    assert len(confidences) > 300
    assert 0 < min(confidences) <= max(confidences) <= 1


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
    totals = label_probabilities(logits)
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


# ---- Spans


def test_a_character_spans_its_run_of_the_best_path() -> None:
    first, second = greedy_decode(
        np.concatenate([logits_of("-aab-b"), logits_of("b----a")]), CHARSET
    )
    assert [(c.text, c.start, c.end) for c in first.characters] == [
        ("a", 1, 3),
        ("b", 3, 4),
        ("b", 5, 6),
    ]
    assert [(c.text, c.start, c.end) for c in second.characters] == [("b", 0, 1), ("a", 5, 6)]


# ---- Searches


@given(random_logits(4, 4, min_classes=4), searched_constraints)
def test_texts_and_posteriors_are_brute_force(
    logits: NDArray[np.float32], constraint: Constraint
) -> None:
    charset = Charset("aAb")
    expected: dict[str, float] = defaultdict(float)
    for label, probability in label_probabilities(logits).items():
        text = charset.decode(label)
        if allows(constraint, text):
            expected[merged(text, constraint)] += probability
    mass = sum(expected.values())
    (reading,) = decode(logits, charset, beam=200, constraint=constraint, alternatives=199)
    if not expected:
        assert reading == Reading("", 0.0, (), (), constraint_probability=0.0, fits=False)
        return
    assert reading.fits
    assert reading.constraint_probability == pytest.approx(mass, rel=1e-4)
    found = {merged(reading.text, constraint): reading.confidence}
    found |= {merged(a.text, constraint): a.probability for a in reading.alternatives}
    assert found == pytest.approx({text: p / mass for text, p in expected.items()}, rel=1e-4)
    ranking = [reading.confidence, *(a.probability for a in reading.alternatives)]
    assert ranking == sorted(ranking, reverse=True)
    assert sum(ranking) == pytest.approx(1, rel=1e-4)


@given(random_logits(4, 4, min_classes=4), searched_constraints)
def test_a_characters_alternatives_are_brute_force(
    logits: NDArray[np.float32], constraint: Constraint
) -> None:
    charset = Charset("aAb")
    (reading,) = decode(logits, charset, beam=200, constraint=constraint, alternatives=9)
    text = merged(reading.text, constraint)
    assert "".join(c.text for c in reading.characters) == reading.text
    for i, character in enumerate(reading.characters):
        expected: dict[str, float] = defaultdict(float)
        for label, probability in label_probabilities(logits).items():
            other = merged(charset.decode(label), constraint)
            is_variant = other[:i] + other[i + 1 :] == text[:i] + text[i + 1 :]
            if is_variant and len(other) == len(text) and allows(constraint, other):
                expected[other[i]] += probability
        total = sum(expected.values())
        assert {
            merged(a.text, constraint): a.probability for a in character.alternatives
        } == pytest.approx({c: p / total for c, p in expected.items()}, rel=1e-3)
        # In the most probable text stands the most probable character.
        own = next(a for a in character.alternatives if a.text == character.text)
        assert own.probability == pytest.approx(character.alternatives[0].probability, rel=1e-3)


@given(random_logits())
def test_a_beam_is_never_worse_than_the_best_path(logits: NDArray[np.float32]) -> None:
    charset = charset_for(logits)
    (greedy,) = greedy_decode(logits, charset)
    (reading,) = decode(logits, charset, beam=100)
    assert reading.confidence >= greedy.confidence * (1 - 1e-5)
    if reading.text == greedy.text:
        assert reading.confidence == pytest.approx(greedy.confidence)


def test_a_beam_reads_what_the_best_path_misses() -> None:
    # The best path is blanks, with 0.36; "a" has the other paths together.
    logits = logits_with([[0.6, 0.4], [0.6, 0.4]])
    assert decode(logits, Charset("a"))[0].text == ""
    (reading,) = decode(logits, Charset("a"), alternatives=3)
    assert reading.text == "a"
    assert reading.confidence == pytest.approx(0.64)
    (other,) = reading.alternatives
    assert other.text == ""
    assert other.probability == pytest.approx(0.36)


def test_nothing_asked_is_the_best_path() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (20, 9, 3)).astype(np.float32)
    assert decode(logits, CHARSET) == greedy_decode(logits, CHARSET)
    assert decode(logits, CHARSET, temperature=2.0) == greedy_decode(
        logits, CHARSET, temperature=2.0
    )


def test_a_sure_text_is_read_alike_by_both_and_has_the_same_characters() -> None:
    logits = np.concatenate([logits_of("-aab-b"), logits_of("b----a"), logits_of("------")])
    for searched, greedy in zip(
        decode(logits, CHARSET, beam=2), decode(logits, CHARSET), strict=True
    ):
        assert searched.text == greedy.text
        assert searched.confidence == pytest.approx(greedy.confidence)
        for one, other in zip(searched.characters, greedy.characters, strict=True):
            assert (one.text, one.start, one.end) == (other.text, other.start, other.end)
            assert one.confidence == pytest.approx(other.confidence)


def test_what_contradicts_the_image_is_read_with_little_mass() -> None:
    (reading,) = decode(logits_of("-a-b-"), CHARSET, constraint=Constraint(pattern="ba"))
    assert reading.text == "ba"
    assert reading.fits
    assert reading.confidence == pytest.approx(1)
    assert 0 < reading.constraint_probability < 1e-10


def test_where_no_text_fits_the_reading_says_so() -> None:
    logits = np.concatenate([logits_of("aab"), logits_of("abb")])[:, :2]
    for reading in decode(logits, CHARSET, constraint=Constraint(min_length=3), alternatives=2):
        assert reading == Reading("", 0.0, (), (), constraint_probability=0.0, fits=False)
    (reading,) = decode(logits[:1], CHARSET, constraint=Constraint(pattern="aa"))
    assert not reading.fits  # there is no room for a blank


def test_the_empty_text_may_fit() -> None:
    (reading,) = decode(logits_of("--"), CHARSET, constraint=Constraint(max_length=1))
    assert (reading.text, reading.fits) == ("", True)
    assert reading.confidence == pytest.approx(1, abs=1e-5)
    (reading,) = decode(logits_of("aa"), CHARSET, constraint=Constraint(max_length=0))
    assert (reading.text, reading.fits) == ("", True)
    assert reading.confidence == pytest.approx(1)


def test_lookalikes_add_up_and_are_written_as_the_constraint_says() -> None:
    charset = Charset("0o1")
    logits = logits_with([[0.1, 0.3, 0.35, 0.25]])
    (apart,) = decode(logits, charset, beam=5)
    assert apart.text == "o"
    assert apart.confidence == pytest.approx(0.35)
    (together,) = decode(logits, charset, constraint=Constraint(merge=LOOKALIKES))
    assert together.text == "o"
    assert together.confidence == pytest.approx(0.65)
    assert together.characters[0].confidence == pytest.approx(0.65)
    digits = Constraint(pattern=r"\d", merge=LOOKALIKES)
    (digit,) = decode(logits, charset, constraint=digits, alternatives=1)
    assert digit.text == "0"
    assert digit.confidence == pytest.approx(0.65 / 0.9)
    assert digit.constraint_probability == pytest.approx(0.9)
    found = {a.text: a.probability for a in digit.characters[0].alternatives}
    assert found == pytest.approx({"0": 0.65 / 0.9, "1": 0.25 / 0.9})


def test_alternatives_are_as_many_as_asked_for() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(0, 1, (3, 8, 9)).astype(np.float32)
    for reading in decode(logits, Charset("abcdefgh"), alternatives=12):
        assert len(reading.alternatives) == 12
        assert all(len(c.alternatives) == 8 for c in reading.characters)
        assert len({reading.text, *(a.text for a in reading.alternatives)}) == 13
    for reading in decode(logits, Charset("abcdefgh"), beam=5, alternatives=2):
        assert len(reading.alternatives) == 2
        assert all(len(c.alternatives) == 3 for c in reading.characters)


def test_many_images_are_searched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (7, 8, 3)).astype(np.float32)
    constraint = Constraint(min_length=2, max_length=4)
    together = decode(logits, CHARSET, constraint=constraint, alternatives=1)
    monkeypatch.setattr(decoding, "CHUNK_CELLS", 8 * 3 * 10 * 3)
    for a, b in zip(
        together, decode(logits, CHARSET, constraint=constraint, alternatives=1), strict=True
    ):
        assert (a.text, a.alternatives[0].text) == (b.text, b.alternatives[0].text)
        assert a.confidence == pytest.approx(b.confidence)


def test_an_empty_batch_is_searched_in_vain() -> None:
    assert decode(np.zeros((0, 5, 3), np.float32), CHARSET, beam=3, alternatives=2) == []


# ---- Temperature


def test_temperature_makes_confidences_lower_and_leaves_the_best_path() -> None:
    logits = logits_of("a-ab", peak=4.0)
    cool, hot = (greedy_decode(logits, CHARSET, temperature=t)[0] for t in (1.0, 2.0))
    assert cool.text == hot.text
    assert hot.confidence < cool.confidence
    (halved,) = greedy_decode(logits / np.float32(2), CHARSET)
    assert halved.confidence == pytest.approx(hot.confidence)
    (searched,) = decode(logits, CHARSET, beam=20, temperature=2.0)
    (scaled,) = decode(logits / np.float32(2), CHARSET, beam=20)
    assert searched.confidence == pytest.approx(scaled.confidence)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"beam": 0}, "`beam` is an integer from 1 to 1000, .*Received: 0", id="beam"),
        pytest.param({"beam": 1001}, "`beam` is an integer from 1 to 1000", id="a vast beam"),
        pytest.param(
            {"alternatives": 1000}, "`alternatives` is an integer from 0 to 999", id="too many"
        ),
        pytest.param({"beam": 2.0}, "`beam` is .*2.0", id="no integer"),
        pytest.param({"alternatives": -1}, "`alternatives` is .*Received: -1", id="fewer"),
        pytest.param({"alternatives": True}, "`alternatives` is .*True", id="a truth"),
        pytest.param({"temperature": 0.0}, "0.01 to 100. Received: 0.0", id="cold"),
        pytest.param({"temperature": 1e3}, "`temperature` lies in .*1000.0", id="hot"),
        pytest.param({"temperature": float("nan"), "beam": 3}, "Received: nan", id="nan"),
        pytest.param({"constraint": Constraint(characters="x")}, "'x' besides", id="constraint"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decode(logits_of("ab"), CHARSET, **options)


@pytest.mark.parametrize(
    "options", [{"beam": 3}, {"alternatives": 1}, {"constraint": Constraint()}]
)
def test_searches_refuse_wrong_shapes_too(options: dict[str, Any]) -> None:
    with pytest.raises(CharsetError, match=r"Received: \(1, 5, 4\)"):
        decode(np.zeros((1, 5, 4), np.float32), CHARSET, **options)


@pytest.mark.parametrize(("width", "time_steps"), [(250, 15), (116, 7), (64, 4)])
def test_characters_stand_within_the_image_to_its_last_column(width: int, time_steps: int) -> None:
    columns = np.stack([np.arange(width), np.arange(width) + 1], axis=1).astype(np.float64)
    characters = tuple(Character("a", 1.0, t, t + 1) for t in range(time_steps))
    placed = Reading("a" * time_steps, 1.0, characters).placed(columns, time_steps)
    spans = [c.columns for c in placed.characters]
    assert spans[0] is not None and spans[0][0] == 0
    assert spans[-1] is not None and spans[-1][1] == width
    assert all(a is not None and a[0] < a[1] for a in spans)


@pytest.mark.parametrize(
    ("width", "time_steps", "stride"),
    [
        pytest.param(495, 30, 16, id="rounded down"),
        pytest.param(495, 124, 4, id="rounded up"),
        pytest.param(65, 17, 4, id="narrow"),
        pytest.param(480, 30, 16, id="even"),
        pytest.param(70, 70, 1, id="a step for each column"),
        pytest.param(90, 30, 3, id="no network that halves"),
    ],
)
def test_characters_stand_where_their_time_steps_look(
    width: int, time_steps: int, stride: int
) -> None:
    columns = np.stack([np.arange(width), np.arange(width) + 1], axis=1).astype(np.float64)
    starts = (0, 7, 13)
    characters = tuple(Character("a", 1.0, t, t + 2) for t in starts)
    placed = Reading("aaa", 1.0, characters).placed(columns, time_steps)
    expected = [(t * stride, (t + 2) * stride) for t in starts]
    assert [c.columns for c in placed.characters] == expected
