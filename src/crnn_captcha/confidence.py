"""What confidences are worth: calibration, and what is right among the surest texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CalibrationBin:
    """The texts whose confidence lies in one stretch of [0, 1].

    Attributes:
        low: the stretch begins above this confidence (the first one: at it).
        high: and ends with this one.
        count: texts in it.
        confidence: their mean confidence; 0.0 if there are none.
        exact_match: the share of them that is right; 0.0 if there are none.
    """

    low: float
    high: float
    count: int
    confidence: float
    exact_match: float


@dataclass(frozen=True)
class Calibration:
    """How far confidences can be taken at their word.

    Attributes:
        error: expected calibration error, 0 (best) to 1.
        bins: equally wide, from low to high.
    """

    error: float
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class CoveragePoint:
    """What comes of reading no text but those of some confidence or more.

    Attributes:
        confidence: the least that is read.
        coverage: share of all texts that is read, above 0 to 1.
        exact_match: share of those read that is right.
    """

    confidence: float
    coverage: float
    exact_match: float


@dataclass(frozen=True)
class RiskCoverage:
    """How much is right among the surest texts, for each share of the texts.

    Attributes:
        points: one for each confidence that occurs, the surest first; the last covers all texts.
        area: under the curve of the risk (share that is wrong) over the coverage: the mean risk
            over the confidences of all texts. 0 (all right) to 1; lower is better.
    """

    points: tuple[CoveragePoint, ...]
    area: float

    def at_coverage(self, coverage: float) -> CoveragePoint:
        """The point that covers at least this share, and as little more as can be.

        Raises:
            ValueError: if the share isn't above 0, up to 1.
        """
        _check_share("coverage", coverage)
        return next(point for point in self.points if point.coverage >= coverage)

    def at_exact_match(self, share: float) -> CoveragePoint | None:
        """The point of most coverage at which at least this share is right; None if none is.

        Raises:
            ValueError: if the share isn't above 0, up to 1.
        """
        _check_share("share", share)
        reached = [point for point in self.points if point.exact_match >= share]
        return reached[-1] if reached else None


def calibration(
    confidences: Sequence[float], right: Sequence[bool], *, bins: int = 10
) -> Calibration:
    """Compares confidences with the share that is right, in equally wide bins.

    (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3, arXiv 1706.04599.)

    Args:
        confidences: each in [0, 1].
        right: for each, whether its text equals the label.
        bins: at least 1.

    Raises:
        ValueError: if there are none, not as many of both, one is out of range, or no bins.
    """
    if bins < 1:
        raise ValueError(f"`bins` is at least 1. Received: {bins}.")
    values, hits = _arrays(confidences, right)
    edges = np.linspace(0, 1, bins + 1)  # (bins + 1,)
    places = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, None)  # (texts,)
    found = []
    for i in range(bins):
        inside = places == i
        count = int(inside.sum())
        mean, share = (values[inside].mean(), hits[inside].mean()) if count else (0.0, 0.0)
        found.append(
            CalibrationBin(float(edges[i]), float(edges[i + 1]), count, float(mean), float(share))
        )
    error = sum(b.count * abs(b.confidence - b.exact_match) for b in found) / len(values)
    return Calibration(error, tuple(found))


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> RiskCoverage:
    """Sorts texts by confidence, and looks at how many are right among the surest.

    Texts of one confidence can't be told apart, so they are read together or not at all. What
    can't be read at all counts as a wrong text of confidence 0.

    The curve is of Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks",
    arXiv 1705.08500; the area of Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for
    Deep Neural Classifiers", arXiv 1805.08206.

    Args:
        confidences: each in [0, 1].
        right: for each, whether its text equals the label.

    Raises:
        ValueError: if there are none, not as many of both, or one is out of range.
    """
    values, hits = _arrays(confidences, right)
    order = np.argsort(-values, kind="stable")
    values, hits = values[order], hits[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))  # of each confidence
    counts = last + 1
    shares = hits.cumsum()[last] / counts
    points = tuple(
        CoveragePoint(float(confidence), int(count) / len(values), float(share))
        for confidence, count, share in zip(values[last], counts, shares, strict=True)
    )
    texts = np.diff(counts, prepend=0)  # that have each confidence
    return RiskCoverage(points, float(np.average(1 - shares, weights=texts)))


def _arrays(
    confidences: Sequence[float], right: Sequence[bool]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as float64 (texts,), refused where they can't be what they should."""
    if not len(confidences) or len(confidences) != len(right):
        raise ValueError(
            "There must be as many confidences as outcomes, and at least one. "
            f"Received: {len(confidences)} confidences and {len(right)} outcomes."
        )
    values = np.asarray(confidences, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            "A confidence lies between 0 and 1. "
            f"Received: {float(values.min())} to {float(values.max())}."
        )
    return values, np.asarray(right, np.float64)


def _check_share(name: str, share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"`{name}` is a share above 0, up to 1. Received: {share}.")
