"""A data set's doctor: what would spoil a training, and what is good to know.

dataset ─ inspection ─ facts ─ checks ─ findings, each with what to do about it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from types import MappingProxyType
from typing import Any

from crnn_captcha import checks
from crnn_captcha.checks import RARE_BELOW, Evidence
from crnn_captcha.dataset import Split
from crnn_captcha.inspection import Facts

HISTOGRAM_BINS = 8


@dataclass(frozen=True)
class Check:
    """One thing that may be wrong.

    Attributes:
        title: what was found, in the plural.
        spoils: whether it would spoil a training or what is measured after it.
        advice: what to do about it, in a sentence.
        find: everything of the kind, in the order of the facts.
    """

    title: str
    spoils: bool
    advice: str
    find: Callable[[Facts], Iterable[Evidence]]


_ANY_SIDE = "Remove them from one side, else the test flatters."
_MORE = "Add training images with them."

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "unreadable": Check(
            "images that can't be read",
            True,
            "Replace these files or remove them.",
            checks.unreadable,
        ),
        "bad_label": Check(
            "images with a bad label",
            True,
            "Name the files [label]-[id].png or remove them.",
            checks.bad_label,
        ),
        "empty": Check("images with nothing on them", True, "Remove them.", checks.empty),
        "train_test_overlap": Check(
            "images that are in the test split and in another",
            True,
            _ANY_SIDE,
            checks.train_test_overlap,
        ),
        "near_overlap": Check(
            "images that look like one of the same label in the test split",
            True,
            _ANY_SIDE,
            checks.near_overlap,
        ),
        "conflicting_labels": Check(
            "images that come with different labels",
            True,
            "Keep the right label, remove the other.",
            checks.conflicting_labels,
        ),
        "label_too_long": Check(
            "labels that are too long for the time steps",
            True,
            "Remove them, or train a preset with more time steps.",
            checks.label_too_long,
        ),
        "unseen_character": Check(
            "characters that train lacks", True, _MORE, checks.unseen_character
        ),
        "no_validation": Check(
            "images to train on, and none to validate with",
            True,
            "Add images: a tenth of those to train on is set aside, or a folder validation/ is.",
            checks.no_validation,
        ),
        "near_conflict": Check(
            "images that look the same and have different labels",
            False,
            "Look at them (--report): a label is wrong, or the texts look alike.",
            checks.near_conflict,
        ),
        "duplicate": Check(
            "images that come more than once",
            False,
            "Keep one of each; copies count double.",
            checks.duplicate,
        ),
        "near_duplicate": Check(
            "images that look the same",
            False,
            "Keep one of each, if they are copies saved or scaled anew.",
            checks.near_duplicate,
        ),
        "seen_once": Check("characters seen once in train", False, _MORE, checks.seen_once),
        "rare_character": Check(
            f"characters seen 2 to {RARE_BELOW - 1} times in train",
            False,
            _MORE,
            checks.rare_character,
        ),
        "unbalanced_character": Check(
            "characters much rarer or more frequent than most",
            False,
            "Add training images with the rarer ones.",
            checks.unbalanced_character,
        ),
        "unbalanced_length": Check(
            "label lengths much rarer or more frequent than most, or unseen in train",
            False,
            "Add training images of the rarer lengths.",
            checks.unbalanced_length,
        ),
        "squeezed": Check(
            "images that the default preset squeezes",
            False,
            "They can be read, but letters grow narrow: the limit is in the preset's pipeline.",
            checks.squeezed,
        ),
        "trailing_bytes": Check(
            "files with bytes behind the image",
            False,
            "Save them again, or ask where they come from: nothing there is read.",
            checks.trailing_bytes,
        ),
        "wrong_suffix": Check(
            "files named as another format",
            False,
            "Rename them; they are read by what they are.",
            checks.wrong_suffix,
        ),
        "animated": Check(
            "animated images", False, "Save the frame that has the text.", checks.animated
        ),
        "lossy": Check(
            "lossy formats",
            False,
            "Get them as PNG, if you can; else read images of the same format later.",
            checks.lossy,
        ),
        "empty_split": Check(
            "splits without images",
            False,
            "Add a folder for them if you want to train or evaluate.",
            checks.empty_split,
        ),
    }
)
"""By name: problems first, then what is good to know."""


@dataclass(frozen=True)
class Finding:
    """Everything of one kind. `kind` is a key of `CHECKS`."""

    kind: str
    evidence: tuple[Evidence, ...]

    @property
    def check(self) -> Check:
        """What was looked for."""
        return CHECKS[self.kind]


@dataclass(frozen=True)
class Bin:
    """How many values lie from `lowest` to `highest`, both included."""

    lowest: int
    highest: int
    count: int

    @property
    def name(self) -> str:
        """Its values, for people."""
        return f"{self.lowest}-{self.highest}" if self.highest > self.lowest else f"{self.lowest}"


@dataclass(frozen=True)
class Spread:
    """Minimum, median, maximum and histogram of whole numbers."""

    minimum: int
    median: float
    maximum: int
    histogram: tuple[Bin, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What is to be said about a data set.

    Attributes:
        images: how many images with a good label each split has, readable or not.
        findings: in the order of `CHECKS`, only what was found.
        characters: how often each character stands in the labels of each split.
        lengths: how many labels of each length each split has.
        formats: how many readable images each file format has, the most frequent first.
        label_lengths: in characters; None when there are no labels.
        widths: in pixels, of the images that can be read; None when there are none.
        heights: likewise.
    """

    images: Mapping[Split, int]
    findings: tuple[Finding, ...]
    characters: Mapping[Split, Mapping[str, int]]
    lengths: Mapping[Split, Mapping[int, int]]
    formats: Mapping[str, int]
    label_lengths: Spread | None
    widths: Spread | None
    heights: Spread | None

    @property
    def spoiling(self) -> tuple[Finding, ...]:
        """The findings that would spoil a training."""
        return tuple(finding for finding in self.findings if finding.check.spoils)

    @property
    def summary(self) -> str:
        """One sentence that says what follows."""
        if self.spoiling:
            kinds = len(self.spoiling)
            sorts = "1 sort of problem" if kinds == 1 else f"{kinds} sorts of problems"
            return f"Not fit for training yet: {sorts}. Mend that, then check again."
        if not self.images["train"]:
            return "Fit for evaluation."
        return "Fit for training."

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values for JSON; `ok` says that nothing spoils."""
        findings = [
            {
                "kind": finding.kind,
                "title": finding.check.title,
                "spoils": finding.check.spoils,
                "advice": finding.check.advice,
                "count": len(finding.evidence),
                "evidence": [asdict(evidence) for evidence in finding.evidence],
            }
            for finding in self.findings
        ]
        return {"ok": not self.spoiling, **asdict(self), "findings": findings}


def diagnose(facts: Facts) -> Diagnosis:
    """Judges a data set by every check of `CHECKS`."""
    found = {kind: tuple(check.find(facts)) for kind, check in CHECKS.items()}
    formats = Counter(image.container.format for image in facts.images)
    labels = [sample.label for samples in facts.samples.values() for sample in samples]
    return Diagnosis(
        images={split: len(samples) for split, samples in facts.samples.items()},
        findings=tuple(Finding(kind, evidence) for kind, evidence in found.items() if evidence),
        characters=facts.characters,
        lengths=facts.lengths,
        formats=dict(formats.most_common()),
        label_lengths=spread([len(label) for label in labels]),
        widths=spread([image.width for image in facts.images]),
        heights=spread([image.height for image in facts.images]),
    )


def spread(values: Sequence[int]) -> Spread | None:
    """How values are spread; None if there are none.

    The histogram has at most `HISTOGRAM_BINS` bins of one width, a whole number, so that all of
    them hold equally many values.
    """
    if not values:
        return None
    lowest, highest = min(values), max(values)
    bin_width = -(-(highest - lowest + 1) // HISTOGRAM_BINS)
    counts = Counter((value - lowest) // bin_width for value in values)
    bins = tuple(
        Bin(lower, lower + bin_width - 1, counts[i])
        for i, lower in enumerate(range(lowest, highest + 1, bin_width))
    )
    return Spread(lowest, float(median(values)), highest, bins)
