"""What came of images that were read, and the figures of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from crnn_captcha.confidence import CoveragePoint, RiskCoverage, calibration, risk_coverage
from crnn_captcha.metrics import (
    LOOKALIKES,
    Confusion,
    Interval,
    cer,
    confusions,
    exact_match,
    merge_lookalikes,
    wilson_interval,
)
from crnn_captcha.wording import describe, markdown_table, percent, percent_range

if TYPE_CHECKING:
    from crnn_captcha.charset import Charset

TOP_CONFUSIONS = 20  # of those in `to_dict`; a model with 36 characters can have 1,332 kinds
SHOWN = 10  # rows of a table for people
COVERAGES = (0.8, 0.9, 0.95)  # shares of the images, the surest, for which exact match is said
EXACT_MATCHES = (0.95, 0.97, 0.99)  # for which it is said how many images can be read so well


@dataclass(frozen=True)
class Outcome:
    """What came of one image.

    Attributes:
        name: its path inside the data set.
        label: what it says.
        text: what was read; '' if it is broken.
        confidence: 0 to 1; 0.0 if it is broken.
        broken: why it could not be read; '' if it could.
    """

    name: str
    label: str
    text: str
    confidence: float
    broken: str = ""

    @property
    def right(self) -> bool:
        """Whether the whole text equals the label."""
        return not self.broken and self.text == self.label


@dataclass(frozen=True)
class LengthResult:
    """The figures of the images whose labels have one length."""

    length: int
    images: int
    exact_match: float
    interval: Interval
    cer: float


@dataclass(frozen=True)
class EvaluationResult:
    """How well a model reads, in figures, and the outcome of every image behind them.

    Attributes:
        images: how many there were, broken ones too.
        exact_match: share of images whose whole text is right: the main figure.
        interval: where it lies with 95 % confidence for images like these (Wilson).
        cer: all character edits over all label characters; may exceed 1.
        merged_exact_match: exact match if the look-alikes of `metrics.LOOKALIKES` counted as
            the same. Said beside the main figure, never instead.
        merged_interval: its 95 % interval.
        by_length: exact match and CER by label length, short to long.
        confusions: every kind of edit, the costliest first.
        unknown_characters: those of the labels that the model doesn't know, sorted.
        unknown_labels: how many labels have one: they can't be read right.
        mean_confidence: over the images that aren't broken; 0.0 if all are.
        calibration_error: expected calibration error over the same images; 0.0 if all are broken.
        risk_coverage: how many are right if only the surest are read, and the rest is handed over
            to somebody else. Of all images: broken ones are the least sure, and wrong.
        seconds: spent on reading (bytes to text); opening files is not in it.
        outcomes: one for each image, in the order of the samples.
    """

    images: int
    exact_match: float
    interval: Interval
    cer: float
    merged_exact_match: float
    merged_interval: Interval
    by_length: tuple[LengthResult, ...]
    confusions: tuple[Confusion, ...]
    unknown_characters: str
    unknown_labels: int
    mean_confidence: float
    calibration_error: float
    risk_coverage: RiskCoverage
    seconds: float
    outcomes: tuple[Outcome, ...]

    @property
    def broken(self) -> tuple[Outcome, ...]:
        """The images that could not be read."""
        return tuple(outcome for outcome in self.outcomes if outcome.broken)

    @property
    def images_per_second(self) -> float:
        """Images read a second; 0.0 if none was."""
        read = self.images - len(self.broken)
        return read / self.seconds if self.seconds > 0 else 0.0

    @property
    def summary(self) -> str:
        """One sentence that says what the main figure means."""
        right = sum(outcome.right for outcome in self.outcomes)
        return (
            f"Exact match: {right:,} of {self.images:,} images were read without a single wrong "
            f"character; for images like these expect {percent_range(self.interval)}."
        )

    @property
    def coverage_summary(self) -> str:
        """One sentence on what comes of reading only the surest images."""
        share = EXACT_MATCHES[1]
        point = self.risk_coverage.at_exact_match(share)
        if point is None:
            return f"Coverage: at no confidence are {percent(share)} of the surest images right."
        return (
            f"Coverage: of these images the surest {percent(point.coverage)} are read "
            f"{percent(point.exact_match)} right, if those below a confidence of "
            f"{_threshold(point)} are handed over."
        )

    def to_dict(self, *, outcomes: bool = False) -> dict[str, Any]:
        """The figures as plain values for JSON; with `outcomes`, also those of every image."""
        figures: dict[str, Any] = {
            "images": self.images,
            "exact_match": self.exact_match,
            "exact_match_interval": asdict(self.interval),
            "cer": self.cer,
            "exact_match_lookalikes_merged": self.merged_exact_match,
            "exact_match_lookalikes_merged_interval": asdict(self.merged_interval),
            "by_length": [asdict(row) for row in self.by_length],
            "confusions": [asdict(row) for row in self.confusions[:TOP_CONFUSIONS]],
            "broken": [{"name": row.name, "reason": row.broken} for row in self.broken],
            "unknown_characters": self.unknown_characters,
            "labels_with_unknown_characters": self.unknown_labels,
            "mean_confidence": self.mean_confidence,
            "calibration_error": self.calibration_error,
            "area_under_risk_coverage": self.risk_coverage.area,
            "exact_match_at_coverage": [
                {"at_least": share, **_point(self.risk_coverage.at_coverage(share))}
                for share in COVERAGES
            ],
            "coverage_at_exact_match": [
                {"at_least": share, **_point(self.risk_coverage.at_exact_match(share))}
                for share in EXACT_MATCHES
            ],
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
        }
        if outcomes:
            figures["outcomes"] = [asdict(row) for row in self.outcomes]
        return figures

    def to_markdown(self) -> str:
        """The figures as Markdown tables that also read well in a terminal."""
        return "\n\n".join(markdown_table(header, rows) for header, rows in self.tables()) + "\n"

    def tables(self) -> list[tuple[Sequence[str], list[Sequence[str]]]]:
        """The figures as tables for people: for each its header and its rows."""
        merged = ", ".join("/".join(group) for group in LOOKALIKES)
        figures: list[Sequence[str]] = [
            ("exact match", percent(self.exact_match), percent_range(self.interval)),
            (
                f"exact match with {merged} merged",
                percent(self.merged_exact_match),
                percent_range(self.merged_interval),
            ),
            ("CER", percent(self.cer), ""),
            ("images", f"{self.images:,}", ""),
            ("images a second", f"{self.images_per_second:,.0f}", ""),
            ("mean confidence", percent(self.mean_confidence), ""),
            ("calibration error", percent(self.calibration_error), ""),
            ("area under risk-coverage curve", f"{self.risk_coverage.area:.4f}", ""),
        ]
        if self.unknown_labels:
            name = f"labels with characters unknown to the model ({self.unknown_characters})"
            figures.append((name, f"{self.unknown_labels:,}", ""))
        if self.broken:
            figures.append(("broken images, counted as wrong", f"{len(self.broken):,}", ""))
        tables: list[tuple[Sequence[str], list[Sequence[str]]]] = [
            (("figure", "value", "95 % interval"), figures),
            (
                ("label length", "images", "exact match", "95 % interval", "CER"),
                [
                    (
                        str(row.length),
                        f"{row.images:,}",
                        percent(row.exact_match),
                        percent_range(row.interval),
                        percent(row.cer),
                    )
                    for row in self.by_length
                ],
            ),
            (
                ("read only the surest", "images read", "right among them", "least confidence"),
                _coverage_rows(self.risk_coverage),
            ),
        ]
        if self.confusions:
            costliest: list[Sequence[str]] = [
                (describe(row), str(row.edits), str(row.texts), str(row.texts_alone))
                for row in self.confusions[:SHOWN]
            ]
            tables.append((("confusion", "edits", "in texts", "their only fault"), costliest))
        if self.broken:
            broken: list[Sequence[str]] = [(row.name, row.broken) for row in self.broken[:SHOWN]]
            if (more := len(self.broken) - SHOWN) > 0:
                broken.append((f"and {more:,} more", "the JSON output names all"))
            tables.append((("broken image", "reason"), broken))
        return tables


def summarize(outcomes: Iterable[Outcome], *, charset: Charset, seconds: float) -> EvaluationResult:
    """The figures of outcomes.

    Args:
        outcomes: at least one.
        charset: the characters that the model knows.
        seconds: that reading them took.

    Raises:
        ValueError: if there are no outcomes, or a label is empty.
    """
    outcomes = tuple(outcomes)
    labels = [outcome.label for outcome in outcomes]
    texts = [outcome.text for outcome in outcomes]
    merged_labels = [merge_lookalikes(label) for label in labels]
    merged_texts = [merge_lookalikes(text) for text in texts]
    unknown = [characters for label in labels if (characters := charset.unknown(label))]
    confidences = [outcome.confidence for outcome in outcomes if not outcome.broken]
    hits = [outcome.right for outcome in outcomes if not outcome.broken]
    return EvaluationResult(
        images=len(outcomes),
        exact_match=exact_match(labels, texts),
        interval=_interval(labels, texts),
        cer=cer(labels, texts),
        merged_exact_match=exact_match(merged_labels, merged_texts),
        merged_interval=_interval(merged_labels, merged_texts),
        by_length=tuple(
            _length_result(length, [row for row in outcomes if len(row.label) == length])
            for length in sorted({*map(len, labels)})
        ),
        confusions=confusions(labels, texts),
        unknown_characters="".join(sorted({*"".join(unknown)})),
        unknown_labels=len(unknown),
        mean_confidence=sum(confidences) / len(confidences) if confidences else 0.0,
        calibration_error=calibration(confidences, hits).error if confidences else 0.0,
        risk_coverage=risk_coverage(
            [outcome.confidence for outcome in outcomes], [outcome.right for outcome in outcomes]
        ),
        seconds=seconds,
        outcomes=outcomes,
    )


def _interval(labels: Sequence[str], texts: Sequence[str]) -> Interval:
    right = sum(a == b for a, b in zip(labels, texts, strict=True))
    return wilson_interval(right, len(labels))


def _length_result(length: int, outcomes: Sequence[Outcome]) -> LengthResult:
    labels = [outcome.label for outcome in outcomes]
    texts = [outcome.text for outcome in outcomes]
    return LengthResult(
        length,
        len(outcomes),
        exact_match(labels, texts),
        _interval(labels, texts),
        cer(labels, texts),
    )


def _point(point: CoveragePoint | None) -> dict[str, float | None]:
    """As plain values; nothing is read where there is no point."""
    if point is None:
        return {"confidence": None, "coverage": 0.0, "exact_match": None}
    return asdict(point)


def _coverage_rows(found: RiskCoverage) -> list[Sequence[str]]:
    goals = [
        *((f"{share:.0%} of the images", found.at_coverage(share)) for share in COVERAGES),
        *((f"while {share:.0%} are right", found.at_exact_match(share)) for share in EXACT_MATCHES),
    ]
    return [
        (
            goal.replace("%", " %"),
            percent(point.coverage if point else 0.0),
            percent(point.exact_match) if point else "",
            _threshold(point) if point else "",
        )
        for goal, point in goals
    ]


def _threshold(point: CoveragePoint) -> str:
    """Its confidence, rounded down: an image that just reaches it isn't below what is printed."""
    return f"{math.floor(point.confidence * 1e4) / 1e4:.4f}"
