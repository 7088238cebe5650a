"""Which labels are probably wrong, by what readers make of images that they haven't learned from.

Each label's own probability is put against that of the best reading (Müller and Markert 2019,
"Identifying Mislabeled Instances in Classification Datasets", arXiv 1912.05283). That alone would
put what every reader mistakes, o for 0, above plain errors. So, as in confident learning (Northcutt
et al. 2019, arXiv 1911.00068, section 3), what counts is how such a reading stands out against the
confusions among all images: of each character, how often it is read as another one. A label is
taken to be only as improbable as both say, and the evidence against it is

    confidence * log(1 / max(probability of label / probability of text, rate of such misreading))

in nats: the term of the text in a Kullback-Leibler divergence. A reader that is unsure of its text
has little against a label, however improbable that is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from crnn_captcha.metrics import edits, merge_lookalikes

Reason = Literal["look-alike", "missing glyph", "different length", "other"]
REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        "look-alike": "Label and text differ in look-alikes only; perhaps nobody can tell.",
        "missing glyph": "The label has characters that were not found in the image.",
        "different length": "The label has another number of characters than were read.",
        "other": "The label has other characters than were read.",
    }
)
LOOKALIKE_RATE = 0.5  # at least so often look-alikes are mistaken, however few there are to count

Kind = tuple[str, str]  # a character of a label and what was read; '' where there is none


@dataclass(frozen=True)
class HeldOut:
    """What a reader that hasn't learned from an image makes of it.

    Attributes:
        name: of the image, its path inside the data set.
        label: that it has.
        text: the most probable one.
        label_log: logarithm of the label's probability; -inf where no path spells it.
        text_log: logarithm of the text's, not below `label_log`.
    """

    name: str
    label: str
    text: str
    label_log: float
    text_log: float


@dataclass(frozen=True)
class Suspect:
    """A label that may be wrong.

    Attributes:
        name: of the image, its path inside the data set.
        label: that it has.
        text: that was read instead.
        label_probability: posterior of the label, 0 to 1.
        confidence: posterior of the text, 0 to 1.
        reason: why it is suspected, a key of `REASONS`.
        evidence: against the label, in nats, from 0.
    """

    name: str
    label: str
    text: str
    label_probability: float
    confidence: float
    reason: Reason
    evidence: float


def rank(readings: Sequence[HeldOut]) -> tuple[Suspect, ...]:
    """The labels that weren't read, those most likely wrong first.

    Args:
        readings: of all images, those that were read as their labels say, too: they tell what is
            usual.
    """
    habits = _Habits(readings)
    suspects = [_suspect(reading, habits) for reading in readings if reading.text != reading.label]
    return tuple(sorted(suspects, key=lambda suspect: (-suspect.evidence, suspect.name)))


def explain(label: str, text: str) -> Reason:
    """Why a label is suspected where a text was read.

    Example:
        >>> explain("a0b", "aob"), explain("a0b", "ab"), explain("ab", "a0b"), explain("ab", "ax")
        ('look-alike', 'missing glyph', 'different length', 'other')
    """
    if merge_lookalikes(label) == merge_lookalikes(text):
        return "look-alike"
    if all(character and not read for character, read in _kinds(label, text)):
        return "missing glyph"
    return "other" if len(label) == len(text) else "different length"


def _suspect(reading: HeldOut, habits: _Habits) -> Suspect:
    confidence = math.exp(reading.text_log)
    log_ratio = reading.label_log - reading.text_log
    log_plausibility = max(log_ratio, habits.log_rate(reading.label, reading.text))
    return Suspect(
        reading.name,
        reading.label,
        reading.text,
        math.exp(reading.label_log),
        confidence,
        explain(reading.label, reading.text),
        confidence * max(0.0, -log_plausibility),
    )


class _Habits:
    """How often characters are misread, over all images."""

    def __init__(self, readings: Iterable[HeldOut]) -> None:
        self._misread: Counter[Kind] = Counter()
        self._characters: Counter[str] = Counter()
        for reading in readings:
            self._misread.update(_kinds(reading.label, reading.text))
            self._characters.update(_places(reading.label))

    def log_rate(self, label: str, text: str) -> float:
        """Logarithm of how often such a label is misread so, as the other images tell.

        Of each edit by Laplace's rule of succession, (misread + 1) / (seen + 2): what was never
        seen is the rarer the more there was to see.
        """
        own, places = Counter(_kinds(label, text)), _places(label)
        log_rate = 0.0
        for (character, read), count in own.items():
            misread = self._misread[character, read] - count
            seen = self._characters[character] - places[character]
            rate = (misread + 1) / (seen + 2)
            if character and read and merge_lookalikes(character) == merge_lookalikes(read):
                rate = max(rate, LOOKALIKE_RATE)
            log_rate += count * math.log(rate)
        return log_rate


def _kinds(label: str, text: str) -> list[Kind]:
    """The edits from label to text. Of characters that are added, it doesn't matter which."""
    return [
        ("", "") if i is None else (label[i], "" if j is None else text[j])
        for i, j in edits(label, text)
    ]


def _places(label: str) -> Counter[str]:
    """Where something may be misread: its characters, and '' for all gaps around them."""
    return Counter({**Counter(label), "": len(label) + 1})
