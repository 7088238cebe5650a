from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha import inspection as inspection_module
from crnn_captcha.dataset import BrokenImage, Dataset, open_dataset
from crnn_captcha.inspection import KINDS, Bin, Inspection, inspect


def image(value: int, width: int = 6, height: int = 4, suffix: str = ".png") -> bytes:
    """One grey; another `value`, other pixels."""
    return cv2.imencode(suffix, np.full((height, width, 3), value, np.uint8))[1].tobytes()


def make_dataset(path: Path, files: Mapping[str, bytes]) -> Dataset:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return open_dataset(path, validation_fraction=0)


def evidence(inspection: Inspection, kind: str) -> list[tuple[tuple[str, ...], str]]:
    found = [finding for finding in inspection.findings if finding.kind == kind]
    return [(e.names, e.detail) for finding in found for e in finding.evidence]


def clean_files() -> dict[str, bytes]:
    """Ten different images; 'a' and 'b' ten times in train, five times in test."""
    train = {f"train/ab-{i}.png": image(i) for i in range(10)}
    validation = {f"val/ab-{i}.png": image(50 + i) for i in range(3)}
    return train | validation | {f"test/ba-{i}.png": image(100 + i) for i in range(5)}


def test_nothing_is_found_in_good_data(tmp_path: Path) -> None:
    inspection = inspect(make_dataset(tmp_path, clean_files()), time_steps=2)
    assert inspection.findings == inspection.spoiling == ()
    assert inspection.images == {"train": 10, "validation": 3, "test": 5}
    assert inspection.characters["train"] == {"a": 10, "b": 10}
    assert inspection.characters["test"] == {"a": 5, "b": 5}


@pytest.mark.parametrize(
    ("kind", "spoils", "files", "expected"),
    [
        pytest.param(
            "bad_label",
            True,
            {"train/-1.png": image(30)},
            [(("train/-1.png",), "A label is not empty")],
            id="bad label",
        ),
        pytest.param(
            "unreadable",
            True,
            {"train/ab-x.png": b"no image", "test/ab-y.png": b""},
            [(("train/ab-x.png",), ""), (("test/ab-y.png",), "")],
            id="unreadable",
        ),
        pytest.param(
            "train_test_overlap",
            True,
            {"test/ab-x.png": image(3)},
            [(("train/ab-3.png", "test/ab-x.png"), "in train and test, labelled 'ab'")],
            id="train and test",
        ),
        pytest.param(
            "train_test_overlap",
            True,
            {"test/ab-x.bmp": image(52, suffix=".bmp")},
            [(("val/ab-2.png", "test/ab-x.bmp"), "in validation and test, labelled 'ab'")],
            id="validation and test, other format",
        ),
        pytest.param(
            "conflicting_labels",
            True,
            {"train/ba-x.png": image(3)},
            [(("train/ab-3.png", "train/ba-x.png"), "in train, labelled 'ab' and 'ba'")],
            id="conflict",
        ),
        pytest.param(
            "label_too_long",
            True,
            {"train/abba-1.png": image(30)},
            [(("train/abba-1.png",), "'abba' needs 5 time steps of 4")],
            id="too long by its repeat",
        ),
        pytest.param(
            "unseen_character",
            True,
            {"test/abz-1.png": image(30), "val/azz-1.png": image(31)},
            [((), "'z' (2 in validation, 1 in test, never in train)")],
            id="unseen character",
        ),
        pytest.param(
            "duplicate",
            False,
            {"train/ab-x.png": image(3), "val/ab-y.png": image(3)},
            [
                (
                    ("train/ab-3.png", "train/ab-x.png", "val/ab-y.png"),
                    "in train and validation, labelled 'ab'",
                )
            ],
            id="duplicate",
        ),
        pytest.param(
            "rare_character",
            False,
            {f"train/bq-{i}.png": image(30 + i) for i in range(4)},
            [((), "'q' (4 in train)")],
            id="rare character",
        ),
    ],
)
def test_each_finding_alone(
    tmp_path: Path,
    kind: str,
    spoils: bool,
    files: dict[str, bytes],
    expected: list[tuple[tuple[str, ...], str]],
) -> None:
    inspection = inspect(make_dataset(tmp_path, clean_files() | files), time_steps=4)
    assert [finding.kind for finding in inspection.findings] == [kind]
    found = evidence(inspection, kind)
    assert [names for names, _ in found] == [names for names, _ in expected]
    assert all(
        detail.startswith(start) for (_, detail), (_, start) in zip(found, expected, strict=True)
    )
    assert bool(inspection.spoiling) == spoils == KINDS[kind].spoils


def test_one_image_may_be_wrong_in_two_ways(tmp_path: Path) -> None:
    files = clean_files() | {"test/ba-x.png": image(3)}
    inspection = inspect(make_dataset(tmp_path, files))
    assert [f.kind for f in inspection.findings] == ["train_test_overlap", "conflicting_labels"]


def test_same_bytes_in_another_shape_are_another_image(tmp_path: Path) -> None:
    files = {"train/a-1.png": image(9, 8, 2), "train/a-2.png": image(9, 4, 4)}
    inspection = inspect(make_dataset(tmp_path, files))
    assert evidence(inspection, "duplicate") == []


def test_without_a_limit_no_label_is_too_long(tmp_path: Path) -> None:
    files = clean_files() | {f"train/{'ab' * 50}-1.png": image(30)}
    assert inspect(make_dataset(tmp_path, files), time_steps=None).findings == ()


def test_test_data_alone_is_no_problem(tmp_path: Path) -> None:
    files = {f"test/ab-{i}.png": image(i) for i in range(3)}
    inspection = inspect(make_dataset(tmp_path, files))
    assert evidence(inspection, "empty_split") == [((), "train"), ((), "validation")]
    assert inspection.spoiling == ()
    assert [finding.kind for finding in inspection.findings] == ["empty_split"]


def test_spread_of_sizes_and_label_lengths(tmp_path: Path) -> None:
    files = {
        f"train/{'ab' * length}-{width}.png": image(i, width, 4)
        for i, (length, width) in enumerate([(1, 10), (1, 11), (2, 20), (4, 89)])
    }
    inspection = inspect(make_dataset(tmp_path, files | {"train/ab-x.png": b"broken"}))
    widths, lengths = inspection.widths, inspection.label_lengths
    assert widths is not None and lengths is not None
    assert (widths.minimum, widths.median, widths.maximum) == (10, 15.5, 89)
    assert [b.count for b in widths.histogram] == [2, 1, 0, 0, 0, 0, 0, 1]
    assert widths.histogram[0] == Bin(10, 19, 2)
    assert inspection.heights == inspection_module.Spread(4, 4.0, 4, (Bin(4, 4, 4),))
    assert lengths.maximum == 8  # broken images have labels too
    assert sum(b.count for b in lengths.histogram) == 5


def test_nothing_readable_has_no_spread(tmp_path: Path) -> None:
    inspection = inspect(make_dataset(tmp_path, {"train/-1.png": b"broken"}))
    assert inspection.widths is inspection.heights is inspection.label_lengths is None
    assert [f.kind for f in inspection.findings] == ["bad_label", "empty_split"]


@given(st.lists(st.integers(0, 1000), min_size=1))
def test_histogram_holds_each_value_once(values: list[int]) -> None:
    spread = inspection_module._spread(values)
    assert spread is not None
    assert len(spread.histogram) <= inspection_module.HISTOGRAM_BINS
    for b in spread.histogram:
        assert b.count == sum(b.lowest <= value <= b.highest for value in values)
    assert sum(b.count for b in spread.histogram) == len(values)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
def test_all_broken_images_are_found_at_once(tmp_path: Path, as_zip: bool) -> None:
    files = {f"train/a-{i}.png": image(i) for i in range(20)}
    files["train/a-3.png"] = b""
    files["train/a-7.png"] = image(7)[:40]
    dataset = make_dataset(tmp_path / "d", files)
    if as_zip:
        dataset = open_dataset(shutil.make_archive(str(tmp_path / "d"), "zip", tmp_path / "d"))
    broken = evidence(inspect(dataset, progress=True), "unreadable")
    names = [name for found, _ in broken for name in found]
    assert sorted(names) == ["train/a-3.png", "train/a-7.png"]
    assert all(reason for _, reason in broken)
    assert evidence(inspect(dataset.without(names)), "unreadable") == []


def test_images_are_looked_at_in_order(tmp_path: Path) -> None:
    files = {f"train/a-{i:02}.png": image(i) for i in range(30)} | {"train/a-99.png": b"?"}
    dataset = make_dataset(tmp_path, files)
    *values, last = inspection_module._visit(
        dataset, dataset.samples("train"), lambda image: int(image[0, 0, 0]), progress=False
    )
    assert values == list(range(30))
    assert isinstance(last, BrokenImage)
