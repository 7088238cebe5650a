from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha.dataset import open_dataset
from crnn_captcha.diagnosis import HISTOGRAM_BINS, Bin, Diagnosis, diagnose, spread
from crnn_captcha.inspection import inspect

DrawImage = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def diagnosis(tmp_path: Path, draw_image: DrawImage) -> Diagnosis:
    """Of data with a copy in test that was saved as JPEG, and a broken image."""
    sizes = [(1, 10), (1, 11), (2, 20), (4, 89)]
    for i, (length, width) in enumerate(sizes):
        image = cv2.resize(draw_image("ab" * length, i), (width, 5), interpolation=cv2.INTER_AREA)
        save(tmp_path / f"train/{'ab' * length}-{i}.png", image)
    wide = draw_image("abba", 5)
    middle = wide.shape[1] // 2  # where the text is
    image = wide[:, middle - 40 : middle + 40]
    save(tmp_path / "train/abba-5.png", image)
    save(tmp_path / "test/abba-6.jpg", image)
    (tmp_path / "train/ab-7.png").write_bytes(b"no image")
    dataset = open_dataset(tmp_path, validation_fraction=0)
    return diagnose(inspect(dataset))


def save(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def test_a_diagnosis_of_files(diagnosis: Diagnosis) -> None:
    assert diagnosis.images == {"train": 6, "validation": 0, "test": 1}
    assert [finding.kind for finding in diagnosis.spoiling] == [
        "unreadable",
        "near_overlap",
        "no_validation",
    ]
    assert diagnosis.formats == {"PNG": 5, "JPEG": 1}
    assert diagnosis.characters["test"] == {"a": 2, "b": 2}
    assert diagnosis.lengths["train"] == {2: 3, 4: 2, 8: 1}
    assert diagnosis.heights is not None
    assert (diagnosis.heights.median, diagnosis.heights.maximum) == (5, 80)


def test_spread_of_sizes_and_label_lengths(diagnosis: Diagnosis) -> None:
    widths, lengths = diagnosis.widths, diagnosis.label_lengths
    assert widths is not None
    assert lengths is not None
    assert (widths.minimum, widths.median, widths.maximum) == (10, 50, 89)
    assert [b.count for b in widths.histogram] == [2, 1, 0, 0, 0, 0, 0, 3]
    assert widths.histogram[0] == Bin(10, 19, 2)
    assert widths.histogram[0].name == "10-19"
    assert lengths.histogram[0].name == "2"
    assert sum(b.count for b in lengths.histogram) == 7  # broken images have labels too


def test_a_diagnosis_as_plain_values(diagnosis: Diagnosis) -> None:
    found = json.loads(json.dumps(diagnosis.to_dict()))
    assert found["ok"] is False
    assert found["images"] == {"train": 6, "validation": 0, "test": 1}
    near = next(f for f in found["findings"] if f["kind"] == "near_overlap")
    assert (near["spoils"], near["count"]) == (True, 1)
    assert near["evidence"][0] == {
        "names": ["train/abba-5.png", "test/abba-6.jpg"],
        "detail": "in train and test, labelled 'abba'",
        "labels": ["abba", "abba"],
    }
    assert near["advice"].startswith("Remove them from one side")
    assert found["widths"]["maximum"] == 89


def test_a_summary_says_what_follows(diagnosis: Diagnosis, tmp_path: Path) -> None:
    assert diagnosis.summary == (
        "Not fit for training yet: 3 sorts of problems. Mend that, then check again."
    )


@pytest.mark.parametrize(
    ("names", "summary"),
    [
        pytest.param(["train/a-1.png"], "2 sorts of problems.", id="problems"),
        pytest.param(["validation/ab-1.png"], "Fit for training.", id="training"),
        pytest.param([], "1 sort of problem.", id="nothing to validate with"),
        pytest.param(None, "Fit for evaluation.", id="evaluation"),
    ],
)
def test_other_summaries(
    tmp_path: Path, draw_image: DrawImage, names: list[str] | None, summary: str
) -> None:
    save(tmp_path / "test/ab-1.png", draw_image("ab", 1))
    if names is not None:
        save(tmp_path / "train/ab-1.png", draw_image("ab", 2))
        for name in names:
            drawn = draw_image("ab", 3) if name.startswith("validation") else np.zeros((4, 4, 3))
            save(tmp_path / name, drawn.astype(np.uint8))
    assert summary in diagnose(inspect(open_dataset(tmp_path, validation_fraction=0))).summary


def test_nothing_readable_has_no_spread(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/-1.png").write_bytes(b"broken")
    diagnosis = diagnose(inspect(open_dataset(tmp_path)))
    assert diagnosis.widths is diagnosis.heights is diagnosis.label_lengths is None
    assert [f.kind for f in diagnosis.findings] == ["bad_label", "empty_split"]


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_histogram_holds_each_value_once(values: list[int]) -> None:
    found = spread(values)
    assert found is not None
    assert len(found.histogram) <= HISTOGRAM_BINS
    for b in found.histogram:
        assert b.count == sum(b.lowest <= value <= b.highest for value in values)
    assert sum(b.count for b in found.histogram) == len(values)
