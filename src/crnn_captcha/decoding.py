"""Logits of a CTC network become text, with a confidence.

One definition of confidence everywhere: the posterior probability of the text, which is the
sum over all CTC paths that spell it (not the probability of the best path alone), among all texts
that the constraint allows, if there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.alignment import (
    Floats,
    best_alignment,
    ctc_log_likelihood,
    log_softmax,
    log_sum,
    substitution_log_likelihoods,
)
from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.errors import CharsetError, ConfigError

if TYPE_CHECKING:  # the search is imported where it is asked for: reading starts without
    from crnn_captcha.automaton import Automaton
    from crnn_captcha.beam import Label
    from crnn_captcha.constraints import Constraint

__all__ = [
    "BEST_PATH",
    "Alternative",
    "Character",
    "Decoding",
    "Reading",
    "ctc_log_likelihood",
    "decode",
    "decode_many",
    "greedy_decode",
    "log_softmax",
]

Logits = NDArray[np.float32]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0  # of a bundle: beyond, confidences are 0 or 1
DEFAULT_BEAM = 10
MAX_BEAM = 1000  # memory grows with its square
TEMPERATURES = (0.01, 100.0)
"""The lowest and the highest."""

CHUNK_CELLS = 2**22
"""Of the largest arrays of a search, 8 bytes each, unless one image alone takes more."""

DECODED_TOGETHER = 32
"""Images: beyond, there is hardly anything to gain."""

FILLED_UP = 1.5
"""The longest of those that are decoded together has so many times the shortest's time steps."""


@dataclass(frozen=True)
class Alternative:
    """What else might have been read, and its posterior probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class Character:
    """A character that was read and how sure the network is of it.

    Attributes:
        text: the character.
        confidence: the highest probability that its class (or, together, those that count as the
            same character) reaches on its time steps.
        start: its first time step on the most probable path that spells the text.
        end: the one after its last.
        columns: only if asked for: where in the image those time steps lie, start and end in
            pixels from the left: some of the character's columns, seldom all of them.
        alternatives: only if asked for: what may stand here, the most probable first, which nearly
            always is this character. The probabilities are exact and take the rest of the text
            as it was read: over all that the constraint then allows here they sum to 1.
    """

    text: str
    confidence: float
    start: int = 0
    end: int = 0
    columns: tuple[float, float] | None = None
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What was read from one image.

    Attributes:
        text: the characters, joined; may be empty.
        confidence: posterior probability of `text`, 0 to 1.
        characters: one for each character of `text`.
        alternatives: only if asked for: other texts, the most probable first.
        constraint_probability: of the constraint, how probable it was that the text fulfils it,
            0 to 1; 1 without one. Low values say that it contradicts the image.
        fits: whether any text fulfils the constraint in so many time steps. If none does, the
            text is empty and both probabilities are 0.
    """

    text: str
    confidence: float
    characters: tuple[Character, ...]
    alternatives: tuple[Alternative, ...] = ()
    constraint_probability: float = 1.0
    fits: bool = True

    def placed(self, columns: NDArray[np.float64], time_steps: int) -> Reading:
        """The same with the columns of each character.

        Args:
            columns: where each column of the prepared image comes from, as `Pipeline.columns` says.
            time_steps: that the network made of those columns.
        """
        width = len(columns)
        stride = _stride(width, time_steps)
        characters = []
        for character in self.characters:
            first = min(int(character.start * stride), width - 1)
            end = width if character.end == time_steps else math.ceil(character.end * stride)
            own = columns[first : max(first + 1, end)]
            span = float(own[:, 0].min()), float(own[:, 1].max())
            characters.append(replace(character, columns=span))
        return replace(self, characters=tuple(characters))


@dataclass(frozen=True)
class Decoding:
    """What is asked of a reading, besides the text.

    Attributes:
        constraint: what the text has to be like.
        alternatives: how many other texts to give, and how many characters at each place besides
            the one that was read; at most 999.
        beam: prefixes that a search keeps at each time step, at most 1000; None for the best
            path, or 10 where that doesn't do.
        places: whether to say where in the image each character stands.

    Raises:
        ConfigError: if `beam` or `alternatives` is out of its range.
    """

    constraint: Constraint | None = None
    alternatives: int = 0
    beam: int | None = None
    places: bool = False

    def __post_init__(self) -> None:
        _check_search(self.beam, self.alternatives)


def _check_search(beam: int | None, alternatives: int) -> None:
    if beam is not None and (type(beam) is not int or not 1 <= beam <= MAX_BEAM):
        raise ConfigError(
            f"`beam` is an integer from 1 to {MAX_BEAM}, or None. Received: {beam!r}."
        )
    if type(alternatives) is not int or not 0 <= alternatives < MAX_BEAM:
        raise ConfigError(
            f"`alternatives` is an integer from 0 to {MAX_BEAM - 1}. Received: {alternatives!r}."
        )


def _stride(width: int, time_steps: int) -> float:
    """Columns of a time step: a network halves their number some times, rounding up or down."""
    for halvings in range(width.bit_length()):
        if width >> halvings <= time_steps <= -(-width >> halvings):
            return 1 << halvings
    return width / time_steps


BEST_PATH = Decoding()


def decode(
    logits: Logits,
    charset: Charset,
    *,
    beam: int | None = None,
    constraint: Constraint | None = None,
    alternatives: int = 0,
    temperature: float = 1.0,
) -> list[Reading]:
    """The most probable text of each image.

    The best path is read (`greedy_decode`) if neither a beam nor a constraint nor alternatives
    are asked for, and searched for by beam otherwise.

    Args:
        logits: float32 (batch, time_steps, num_classes), class 0 the blank.
        charset: of `num_classes - 1` characters.
        beam: prefixes that the search keeps at each time step, from 1; None for the best path,
            or 10 where that doesn't do.
        constraint: what the texts have to be like.
        alternatives: how many other texts to give at most, and how many characters at each place
            besides the one that was read.
        temperature: divides the logits, 0.01 to 100; 1 leaves them as they are.

    Returns:
        A reading for each of the batch.

    Raises:
        CharsetError: if the logits' shape doesn't fit the charset.
        ConfigError: if an option is out of its range, or the constraint allows no text of the
            charset.
    """
    _check_search(beam, alternatives)
    if beam is None and constraint is None and not alternatives:
        return greedy_decode(logits, charset, temperature=temperature)
    log_probabilities = _log_probabilities(logits, charset, temperature)
    from crnn_captcha.constraints import Constraint

    automaton = (constraint or Constraint()).compile(charset)
    width = max(beam or DEFAULT_BEAM, alternatives + 1)
    _, time_steps, num_classes = logits.shape
    cells = time_steps * num_classes * max(len(automaton.accepting) + 1, width)
    size = max(1, CHUNK_CELLS // cells)
    readings = []
    for start in range(0, len(logits), size):
        part = log_probabilities[start : start + size]
        readings += _search(part, automaton, width, alternatives)
    return readings


def decode_many(
    logits: Sequence[Logits],
    charset: Charset,
    *,
    beam: int | None = None,
    constraint: Constraint | None = None,
    alternatives: int = 0,
    temperature: float = 1.0,
) -> list[Reading]:
    """What `decode` gives for each of several images, which may differ in their time steps.

    Those of about as many time steps are decoded together, which is faster than one by one.

    Args:
        logits: of each image, float32 (time_steps, num_classes).
        charset: as for `decode`.
        beam: as for `decode`.
        constraint: as for `decode`.
        alternatives: as for `decode`.
        temperature: as for `decode`.

    Returns:
        A reading for each, in their order, as it would be alone other than by rounding.

    Raises:
        CharsetError: as for `decode`.
        ConfigError: as for `decode`.
    """
    readings: dict[int, Reading] = {}
    for group in _alike(logits, charset):
        found = decode(
            _filled_up([logits[i] for i in group]),
            charset,
            beam=beam,
            constraint=constraint,
            alternatives=alternatives,
            temperature=temperature,
        )
        readings.update(zip(group, found, strict=True))
    return [readings[i] for i in range(len(logits))]


def greedy_decode(logits: Logits, charset: Charset, *, temperature: float = 1.0) -> list[Reading]:
    """Best path: argmax per time step, merge repeats, drop blanks.

    Args:
        logits: float32 (batch, time_steps, num_classes), class 0 the blank.
        charset: of `num_classes - 1` characters.
        temperature: divides the logits, 0.01 to 100.

    Returns:
        A reading for each of the batch.

    Raises:
        CharsetError: if the logits' shape doesn't fit the charset.
        ConfigError: if the temperature is out of its range.

    Source: Graves et al. 2006, "Connectionist Temporal Classification", section 3.2.
    """
    log_probabilities = _log_probabilities(logits, charset, temperature)
    path = log_probabilities.argmax(axis=2)  # (batch, time_steps)
    is_character = path != BLANK
    changes = np.ones((path.shape[0], path.shape[1] + 1), bool)  # before and after each time step
    changes[:, 1:-1] = path[:, 1:] != path[:, :-1]
    starts = changes[:, :-1] & is_character
    counts = starts.sum(axis=1).tolist()
    firsts = np.flatnonzero(starts)  # of all characters of the batch, in one row
    lasts = np.flatnonzero(changes[:, 1:] & is_character)
    peaks = np.where(is_character, log_probabilities.max(axis=2), -np.inf).ravel()
    if len(firsts):
        peaks = np.exp(np.maximum.reduceat(peaks, firsts))
    ids = path.ravel()[firsts]
    time_steps = path.shape[1]
    spans = (firsts % time_steps).tolist(), (lasts % time_steps + 1).tolist()
    characters = map(Character, charset.decode(ids), peaks.tolist(), *spans)
    labels = np.split(ids, np.cumsum(counts[:-1], dtype=int)) if counts else []
    readings = []
    likelihoods = ctc_log_likelihood(log_probabilities, labels)
    for count, confidence in zip(counts, _probabilities(likelihoods), strict=True):
        own = tuple(islice(characters, count))
        readings.append(Reading("".join(c.text for c in own), confidence, own))
    return readings


def _alike(logits: Sequence[Logits], charset: Charset) -> Iterator[list[int]]:
    """The places of logits to decode together, in bounded memory."""
    for own in logits:
        _check_shape(own[None], charset)
    group: list[int] = []
    for i in sorted(range(len(logits)), key=lambda i: len(logits[i])):
        longest = len(logits[i])
        cells = (len(group) + 1) * longest * charset.num_classes
        if group and (
            len(group) == DECODED_TOGETHER
            or longest > FILLED_UP * len(logits[group[0]])
            or cells > CHUNK_CELLS
        ):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _filled_up(logits: Sequence[Logits]) -> Logits:
    """In one array, with certain blanks at the end, which change no text's probability."""
    time_steps = max(map(len, logits))
    filled = np.full((len(logits), time_steps, logits[0].shape[1]), -np.inf, np.float32)
    filled[..., BLANK] = 0
    for row, own in zip(filled, logits, strict=True):
        row[: len(own)] = own
    return filled


def _log_probabilities(logits: Logits, charset: Charset, temperature: float) -> NDArray[np.float32]:
    _check_shape(logits, charset)
    low, high = TEMPERATURES
    if not low <= temperature <= high:
        raise ConfigError(f"`temperature` lies in {low} to {high:g}. Received: {temperature!r}.")
    return log_softmax(logits, temperature)


def _check_shape(logits: Logits, charset: Charset) -> None:
    if logits.ndim != 3 or logits.shape[2] != charset.num_classes:
        raise CharsetError(
            f"Logits for the charset '{charset.characters}' have the shape (batch, time_steps, "
            f"{charset.num_classes}). Received: {logits.shape}."
        )
    if not logits.shape[1]:
        raise CharsetError("Logits need at least one time step. Received: none.")


def _search(
    log_probabilities: NDArray[np.float32], automaton: Automaton, width: int, alternatives: int
) -> list[Reading]:
    """`decode` by beam search."""
    members = automaton.members
    from crnn_captcha.beam import beam_search

    found = beam_search(log_probabilities, automaton, width)
    rows = [i for i, labels in enumerate(found.labels) for _ in labels]
    every = [label for labels in found.labels for label in labels]
    likelihoods = ctc_log_likelihood(log_probabilities[rows], every, members)
    posteriors = iter(_probabilities(likelihoods - found.log_mass[rows]))
    ranked = [  # of each image the texts with their posteriors, the most probable first
        sorted(zip(labels, posteriors, strict=False), key=lambda pair: -pair[1])
        for labels in found.labels
    ]
    fitting = [i for i, texts in enumerate(ranked) if texts]
    best = [ranked[i][0][0] for i in fitting]
    spans = best_alignment(log_probabilities[fitting], best, members)
    changed = np.zeros((len(best), 0, 0))
    if alternatives:
        changed = substitution_log_likelihoods(log_probabilities[fitting], best, members)
    masses = _probabilities(found.log_mass)
    readings = [Reading("", 0.0, (), constraint_probability=0.0, fits=False) for _ in ranked]
    for i, label, span, variants in zip(fitting, best, spans, changed, strict=True):
        text = automaton.write(label)
        scores = _class_scores(log_probabilities[i], members, label)  # (time_steps, label_length)
        others: list[tuple[Alternative, ...]] = [()] * len(label)
        if alternatives:
            others = _character_alternatives(variants, automaton, label, alternatives + 1)
        readings[i] = Reading(
            text,
            ranked[i][0][1],
            tuple(
                Character(
                    c,
                    min(1.0, float(np.exp(scores[start:end, place].max()))),
                    start,
                    end,
                    alternatives=others[place],
                )
                for place, (c, (start, end)) in enumerate(zip(text, span.tolist(), strict=True))
            ),
            tuple(
                Alternative(automaton.write(other), posterior)
                for other, posterior in ranked[i][1 : alternatives + 1]
            ),
            masses[i],
        )
    return readings


def _class_scores(
    log_probabilities: NDArray[np.float32], members: NDArray[np.int32], label: Label
) -> Floats:
    """Of each character of a label, all that count as the same together, at each time step."""
    guarded = np.append(log_probabilities, np.full((len(log_probabilities), 1), -np.inf), axis=1)
    return log_sum(guarded[:, members[label]])


def _character_alternatives(
    variants: Floats, automaton: Automaton, label: Label, count: int
) -> list[tuple[Alternative, ...]]:
    """At each place the most probable characters, the rest of the label being as it is."""
    from crnn_captcha.automaton import REFUSED

    transitions, members = automaton.transitions, automaton.members
    guarded = np.append(variants, np.full((len(variants), 1), -np.inf), axis=1)[: len(label)]
    scores = log_sum(guarded[:, members])  # (label_length, num_classes)
    is_head = members[:, 0] == np.arange(len(members))
    is_head[BLANK] = False
    fits_after = [automaton.accepting]  # by state: may the rest of the label follow?
    for c in label[:0:-1]:
        fits_after.append((transitions[:, c] != REFUSED) & fits_after[-1][transitions[:, c]])
    found = []
    for row, state, fits in zip(
        scores, automaton.states(label), reversed(fits_after), strict=False
    ):
        following = transitions[state]
        allowed = np.flatnonzero(is_head & (following != REFUSED) & fits[following])
        posteriors = np.exp(row[allowed] - log_sum(row[allowed]))
        order = np.argsort(-posteriors, kind="stable")[:count]
        found.append(
            tuple(
                Alternative(automaton.charset.decode([automaton.written[state, allowed[i]]]), p)
                for i in order
                if (p := min(1.0, float(posteriors[i]))) > 0
            )
        )
    return found


def _probabilities(logarithms: Floats) -> list[float]:
    # Rounding may bring a sum of probabilities above 1.
    return [float(p) for p in np.minimum(1.0, np.exp(logarithms))]
