from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha import inspection as inspection_module
from crnn_captcha.containers import Container
from crnn_captcha.dataset import BrokenImage, Dataset, open_dataset
from crnn_captcha.images import decode_image
from crnn_captcha.inspection import ImageFacts, inspect
from crnn_captcha.preprocessing import Pipeline, Stage

DrawImage = Callable[..., NDArray[np.uint8]]


def encoded(image: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def flat(value: int, width: int = 6, height: int = 4, suffix: str = ".png") -> bytes:
    """One grey; another `value`, other pixels."""
    return encoded(np.full((height, width, 3), value, np.uint8), suffix)


def make_dataset(path: Path, files: Mapping[str, bytes]) -> Dataset:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return open_dataset(path, validation_fraction=0)


def names(groups: tuple[tuple[ImageFacts, ...], ...]) -> list[list[str]]:
    return [[image.sample.name for image in group] for group in groups]


def test_facts_of_an_image(tmp_path: Path, draw_image: DrawImage) -> None:
    image = draw_image("4h7x", 1)
    pipeline = Pipeline((Stage("resize_height", {"height": 40, "max_width": 100}),))
    dataset = make_dataset(tmp_path, {"val/4h7x-0.jpg": encoded(image, ".jpg") + b"junk"})
    facts = inspect(dataset, time_steps=9, pipeline=pipeline)
    (found,) = facts.images
    height, width, _ = image.shape
    assert (found.sample, found.split) == (dataset.splits["validation"][0], "validation")
    assert (found.width, found.height, found.empty) == (width, height, False)
    assert found.container == Container("JPEG", 1, True, 4)
    assert found.fit.kept == pytest.approx(100 / round(width / 2))
    assert facts.time_steps == 9
    assert not facts.same + facts.alike
    assert not facts.broken


def test_characters_and_lengths_are_counted_by_split(tmp_path: Path) -> None:
    files = {"train/aab-1.png": flat(1), "train/b-2.png": flat(2), "test/cb-3.png": b"broken"}
    facts = inspect(make_dataset(tmp_path, files))
    assert facts.characters == {
        "train": {"a": 2, "b": 2},
        "validation": {},
        "test": {"b": 1, "c": 1},
    }
    assert facts.lengths == {"train": {1: 1, 3: 1}, "validation": {}, "test": {2: 1}}


def test_bad_labels_and_broken_images_are_facts(tmp_path: Path) -> None:
    files = {"train/-1.png": flat(1), "train/ab-2.png": flat(2), "train/ab-3.png": b"no image"}
    facts = inspect(make_dataset(tmp_path, files))
    assert [bad.name for bad in facts.bad_labels] == ["train/-1.png"]
    assert [broken.name for broken in facts.broken] == ["train/ab-3.png"]
    assert [image.sample.name for image in facts.images] == ["train/ab-2.png"]


def test_the_same_pixels_in_other_files_are_the_same(tmp_path: Path, draw_image: DrawImage) -> None:
    image, other = draw_image("ab", 1), draw_image("ab", 2)
    files = {
        "train/ab-1.png": encoded(image),
        "train/ab-2.bmp": encoded(other, ".bmp"),
        "test/zz-1.bmp": encoded(image, ".bmp"),
        "test/ab-3.png": encoded(other),
    }
    facts = inspect(make_dataset(tmp_path, files))
    assert names(facts.same) == [
        ["train/ab-1.png", "test/zz-1.bmp"],
        ["train/ab-2.bmp", "test/ab-3.png"],
    ]
    assert facts.alike == ()


def test_images_that_look_the_same_are_with_all_their_copies(
    tmp_path: Path, draw_image: DrawImage
) -> None:
    image = draw_image("ab", 1)
    files = {
        "train/ab-1.png": encoded(image),
        "train/ab-2.png": encoded(draw_image("ab", 2)),
        "val/ab-3.jpg": encoded(image, ".jpg"),
        "test/ab-4.bmp": encoded(image, ".bmp"),
    }
    facts = inspect(make_dataset(tmp_path, files))
    assert names(facts.same) == [["train/ab-1.png", "test/ab-4.bmp"]]
    assert names(facts.alike) == [["train/ab-1.png", "val/ab-3.jpg", "test/ab-4.bmp"]]


def test_what_looks_the_same_through_another_label_alone_does_not(
    tmp_path: Path, draw_image: DrawImage
) -> None:
    image = draw_image("ab", 1)

    def with_block(level: int) -> bytes:
        changed = image.copy()
        changed[4:16, 4:16], changed[4:16, 20:32] = level, 0
        return encoded(changed)

    files = {
        "train/ab-1.png": with_block(200),
        "train/zz-2.png": with_block(170),
        "test/zz-3.png": with_block(169),
        "test/ab-4.png": with_block(145),
    }
    facts = inspect(make_dataset(tmp_path, files))
    assert [sorted(group) for group in names(facts.alike)] == [sorted(files)]
    assert names(facts.alike_of_one_label) == [["train/zz-2.png", "test/zz-3.png"]]


def test_empty_images_only_look_the_same_if_they_are(tmp_path: Path) -> None:
    files = {f"train/a-{value}.png": flat(value) for value in (9, 10, 200)}
    facts = inspect(make_dataset(tmp_path, files | {"train/b-9.png": flat(9)}))
    assert all(image.empty for image in facts.images)
    assert names(facts.same) == [["train/a-9.png", "train/b-9.png"]]
    assert facts.alike == ()


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "folder"])
def test_all_broken_images_are_found_at_once(tmp_path: Path, as_zip: bool) -> None:
    files = {f"train/a-{i}.png": flat(i) for i in range(20)}
    files["train/a-3.png"] = b""
    files["train/a-7.png"] = flat(7)[:40]
    dataset = make_dataset(tmp_path / "d", files)
    if as_zip:
        dataset = open_dataset(shutil.make_archive(str(tmp_path / "d"), "zip", tmp_path / "d"))
    broken = inspect(dataset, progress=True).broken
    assert sorted(image.name for image in broken) == ["train/a-3.png", "train/a-7.png"]
    assert all(image.reason for image in broken)
    assert inspect(dataset.without(image.name for image in broken)).broken == ()


def test_images_are_looked_at_in_order(tmp_path: Path) -> None:
    files = {f"train/a-{i:02}.png": flat(i) for i in range(30)} | {"train/a-99.png": b"?"}
    dataset = make_dataset(tmp_path, files)
    facts = inspect(dataset)
    assert [image.sample for image in facts.images] == [*dataset.samples("train")][:-1]
    *sizes, last = inspection_module.visit(
        dataset,
        dataset.samples("train"),
        lambda _, data: int(decode_image(data)[0, 0, 0]),
        progress=False,
    )
    assert sizes == list(range(30))
    assert isinstance(last, BrokenImage)
