"""Which labels are probably wrong, by what readers make of images that they haven't learned from.

The evidence against a label, in nats, is

    (confidence of a character)² * log(probability of the text / probability of the label)

where the text is what was read, and the confidence of a character the geometric mean of the text's
probability over its characters. Squared, it finds more labels from which a character is missing:
even a sure reader gives them some probability (docs/experiments.md). That readers must not have
learned from what they judge is from confident learning (Northcutt et al. 2019, arXiv 1911.00068,
section 3); that labels are ranked by what such a reader gives them, from Müller and Markert 2019,
"Identifying Mislabeled Instances in Classification Datasets", arXiv 1912.05283. Their label's own
probability is small wherever an image is hard to read; against the best text's, such images cancel
out, and an unsure reader counts less.

Between look-alikes a reader may be sure for no good reason: where label and text differ in nothing
else, the odds count as 2 to 1 at most for each of them, and such labels come after plain errors.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
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
LOOKALIKE_ODDS = 2.0  # at most, of a text against a label, for each look-alike
CERTAINTY = 2.0  # how much the confidence of a character counts, as its exponent
LEAST_LOG = math.log(sys.float_info.min)  # of a probability: what no path spells has no logarithm


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
        evidence: against the label, in nats, 0 or more.
    """

    name: str
    label: str
    text: str
    label_probability: float
    confidence: float
    reason: Reason
    evidence: float


def rank(readings: Iterable[HeldOut]) -> tuple[Suspect, ...]:
    """The labels that weren't read, those most likely wrong first."""
    suspects = [_suspect(reading) for reading in readings if reading.text != reading.label]
    return tuple(sorted(suspects, key=lambda suspect: (-suspect.evidence, suspect.name)))


def explain(label: str, text: str) -> Reason:
    """Why a label is suspected where a text was read.

    Example:
        >>> explain("a0b", "aob"), explain("a0b", "ab"), explain("ab", "a0b"), explain("ab", "ax")
        ('look-alike', 'missing glyph', 'different length', 'other')
    """
    if merge_lookalikes(label) == merge_lookalikes(text):
        return "look-alike"
    if all(read is None for _, read in edits(label, text)):
        return "missing glyph"
    return "other" if len(label) == len(text) else "different length"


def _suspect(reading: HeldOut) -> Suspect:
    reason = explain(reading.label, reading.text)
    evidence = max(0.0, reading.text_log - max(reading.label_log, LEAST_LOG))
    if reason == "look-alike":
        pairs = zip(reading.label, reading.text, strict=True)
        evidence = min(evidence, math.log(LOOKALIKE_ODDS) * sum(a != b for a, b in pairs))
    return Suspect(
        reading.name,
        reading.label,
        reading.text,
        math.exp(reading.label_log),
        math.exp(reading.text_log),
        reason,
        math.exp(CERTAINTY * reading.text_log / max(1, len(reading.text))) * evidence,
    )
