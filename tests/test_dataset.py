from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha import dataset as dataset_module
from crnn_captcha.dataset import (
    SPLITS,
    Dataset,
    Sample,
    fold_of,
    open_dataset,
    parse_label,
)
from crnn_captcha.errors import DatasetError, LabelError

REAL_ZIP = Path(__file__).parents[2] / "shared" / "data" / "data.zip"
ROOT = "data/main"


def png(value: int = 0, suffix: str = ".png") -> bytes:
    """A small image; another `value`, other pixels."""
    image = np.full((4, 6, 3), value, np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


def write_zip(path: Path, files: Mapping[str, bytes] | Iterable[str]) -> Path:
    contents = files if isinstance(files, Mapping) else {name: png() for name in files}
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, files: Mapping[str, bytes] | Iterable[str]) -> Path:
    contents = files if isinstance(files, Mapping) else {name: png() for name in files}
    path.mkdir(exist_ok=True)
    for name, data in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_csv(path: Path, rows: str, names: Iterable[str] = ()) -> Path:
    write_folder(path, names)
    csv = path / "labels.csv"
    csv.write_text(rows, encoding="utf-8")
    return csv


def names_of(dataset: Dataset) -> dict[str, list[str]]:
    return {split: [s.name for s in samples] for split, samples in dataset.splits.items()}


def all_samples(dataset: Dataset) -> list[Sample]:
    return [sample for split in SPLITS for sample in dataset.splits[split]]


def many(folder: str, count: int) -> list[str]:
    """Names with labels of 4 to 8 characters."""
    return [f"{folder}/{'abcdefgh'[: 4 + i % 5]}-{i}.png" for i in range(count)]


# --- labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "label"),
    [
        pytest.param("0024miih-0.png", "0024miih", id="label and id"),
        pytest.param("data/main/train/0024miih-0.png", "0024miih", id="folders"),
        pytest.param("some-folder/abc.png", "abc", id="dash in a folder only"),
        pytest.param("abc.jpeg", "abc", id="no id"),
        pytest.param("a-b-7.png", "a-b", id="dash in the label"),
        pytest.param("a--7.png", "a-", id="dash at the label's end"),
        pytest.param("ab.c-7.PNG", "ab.c", id="dot in the label"),
        pytest.param("AbC-1.png", "AbC", id="capitals are kept"),
        pytest.param("a b-1.png", "a b", id="space within"),
        pytest.param("αß-1.png", "αß", id="not ASCII"),
        pytest.param("abc-1", "abc", id="no suffix"),
    ],
)
def test_label_stands_before_the_last_dash(filename: str, label: str) -> None:
    assert parse_label(filename) == label


@pytest.mark.parametrize(
    "filename",
    [
        pytest.param("-7.png", id="empty before the dash"),
        pytest.param("train/.png", id="empty stem"),
        pytest.param(" -7.png", id="white space only"),
        pytest.param("ab -7.png", id="white space at the end"),
        pytest.param("a\tb-7.png", id="tab"),
        pytest.param("a\udcffb-7.png", id="not decodable"),
    ],
)
def test_bad_label_is_refused_by_the_name_of_its_file(filename: str) -> None:
    with pytest.raises(LabelError, match="A label is not empty") as caught:
        parse_label(filename)
    assert repr(filename) in str(caught.value)


labels = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="/"), min_size=1)


@given(labels, st.integers(min_value=0), st.sampled_from(["", "train/", "a-b/c.d/"]))
def test_label_comes_back_from_the_name_it_was_put_in(label: str, number: int, folder: str) -> None:
    assert parse_label(f"{folder}{label}-{number}.png") == label


# --- splits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [write_zip, write_folder], ids=["zip", "folder"])
@pytest.mark.parametrize("root", ["", "data/main/", "x/y/z/w/"], ids=["top", "usual", "deep"])
def test_folders_make_the_splits(
    tmp_path: Path, write: Callable[[Path, Iterable[str]], Path], root: str
) -> None:
    names = {
        "train": [f"{root}train/ab-1.png", f"{root}train/ab-2.png"],
        "validation": [f"{root}validation/cd-1.png"],
        "test": [f"{root}test/ab-1.png"],
    }
    path = write(
        tmp_path / "data",
        [name for split in ("test", "validation", "train") for name in names[split]],
    )
    dataset = open_dataset(path)
    assert names_of(dataset) == names
    assert dataset.samples("validation")[0].label == "cd"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        pytest.param("val/a-1.png", "validation", id="val"),
        pytest.param("Train/a-1.png", "train", id="capitals"),
        pytest.param("test/data/train/a-1.png", "train", id="the innermost counts"),
        pytest.param("test/a/b/a-1.png", "test", id="folders below"),
    ],
)
def test_split_of_a_folder(tmp_path: Path, name: str, split: str) -> None:
    dataset = open_dataset(write_zip(tmp_path / "d.zip", [name]))
    assert names_of(dataset)[split] == [name]


def test_validation_is_cut_out_of_train_evenly_over_label_lengths(tmp_path: Path) -> None:
    train, test = many(f"{ROOT}/train", 500), many(f"{ROOT}/test", 50)
    dataset = open_dataset(write_zip(tmp_path / "d.zip", train + test))
    validation = names_of(dataset)["validation"]
    assert sorted(names_of(dataset)["train"] + validation) == sorted(train)
    assert names_of(dataset)["test"] == sorted(test)
    assert Counter(len(s.label) for s in dataset.samples("validation")) == dict.fromkeys(
        range(4, 9), 10
    )


def test_the_cut_depends_on_the_seed_alone(tmp_path: Path) -> None:
    names = many(f"{ROOT}/train", 200)
    zipped = write_zip(tmp_path / "d.zip", reversed(names))
    unpacked = write_folder(tmp_path / "d", names)
    first = names_of(open_dataset(zipped, seed=3))
    assert first == names_of(open_dataset(unpacked, seed=3))
    assert first != names_of(open_dataset(zipped, seed=4))
    inner = names_of(open_dataset(unpacked / ROOT / "train" / "..", seed=3))
    assert [f"{ROOT}/{name}" for name in inner["validation"]] == first["validation"]


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [(5, 0.1, 1), (1, 0.1, 0), (20, 0.25, 5), (20, 0, 0), (20, 0.99, 20)],
)
def test_size_of_the_cut(tmp_path: Path, count: int, fraction: float, expected: int) -> None:
    path = write_zip(tmp_path / "d.zip", many("train", count))
    dataset = open_dataset(path, validation_fraction=fraction)
    assert len(dataset.splits["validation"]) == expected


@pytest.mark.parametrize("fraction", [-0.1, 1, float("nan")])
def test_fraction_has_limits(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(DatasetError, match=r"`validation_fraction` lies in \[0, 1\)"):
        open_dataset(tmp_path, validation_fraction=fraction)


def test_just_images_are_cut_80_10_10_whatever_the_seed(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", many("some", 2000))
    dataset = open_dataset(path)
    shares = {split: len(samples) / 2000 for split, samples in dataset.splits.items()}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.025)
    assert dataset == open_dataset(path, seed=7, validation_fraction=0.5)


def test_the_hash_cut_never_changes(tmp_path: Path) -> None:
    """Written down once: another release must not move an image from test to train."""
    dataset = open_dataset(write_zip(tmp_path / "d.zip", many("some", 30)))
    assert [s.name for s in dataset.samples("validation")] == ["some/abcd-15.png"]
    assert [s.name for s in dataset.samples("test")] == [
        "some/abcde-16.png",
        "some/abcdef-12.png",
        "some/abcdefgh-19.png",
    ]


@given(st.sets(st.from_regex(r"[a-z0-9]{1,8}-[0-9]{1,3}\.png", fullmatch=True), min_size=2))
def test_a_hash_cut_is_a_partition_that_other_files_do_not_change(names: set[str]) -> None:
    ordered = sorted(names)
    whole = dataset_module._split(ordered, Path("d"))
    assert whole.keys() == names
    part = dataset_module._split([f"x/{name}" for name in ordered[1:]], Path("d"))
    assert part == {f"x/{name}": whole[name] for name in ordered[1:]}


@given(
    st.sets(st.from_regex(r"[a-z]{1,8}-[0-9]{1,3}\.png", fullmatch=True), max_size=40),
    st.floats(0, 0.99),
    st.integers(),
)
def test_a_validation_cut_is_a_partition(names: set[str], fraction: float, seed: int) -> None:
    train = [Sample(name, parse_label(name)) for name in sorted(names)]
    cut = dataset_module._cut_validation(train, fraction, seed)
    assert sorted([*cut["train"], *cut["validation"]], key=lambda s: s.name) == train
    assert abs(len(cut["validation"]) - len(train) * fraction) <= 1


def test_empty_split_is_refused_with_what_there_is(tmp_path: Path) -> None:
    dataset = open_dataset(write_zip(tmp_path / "d.zip", many("test", 3)))
    assert len(dataset.samples("test")) == 3
    with pytest.raises(DatasetError, match=r"no images in the split 'train'. It has: 3 test"):
        dataset.samples("train")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match=r"Received: '.*pipe', which is neither"):
        open_dataset(tmp_path / "pipe")


def test_images_beside_the_split_folders_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", ["train/a-1.png", "b-1.png"])
    with pytest.raises(DatasetError, match=r"each image lies in one. Received: 'b-1.png'"):
        open_dataset(path)


def test_clutter_and_other_files_are_passed_over(tmp_path: Path) -> None:
    images = [f"some/a-{i}{suffix}" for i, suffix in enumerate([".PNG", ".jpg", ".Jpeg", ".gif"])]
    images += ["some/b-1.bmp", "some/b-2.webp"]
    others = ["__MACOSX/some/._a-0.PNG", "some/._a-1.png", ".DS_Store", ".git/c-1.png", "README.md"]
    names = [*images, *others, "labels.csv", "some/notes.txt"]
    for path in (write_zip(tmp_path / "d.zip", names), write_folder(tmp_path / "d", names)):
        assert sorted(s.name for s in all_samples(open_dataset(path))) == sorted(images)


# --- bad labels, leaving out ----------------------------------------------------------------


def test_bad_labels_are_kept_apart_and_refuse_only_their_side(tmp_path: Path) -> None:
    names = [*many("train", 10), "train/-7.png", "test/ab-1.png"]
    dataset = open_dataset(write_zip(tmp_path / "d.zip", names))
    assert [(bad.name, bad.split) for bad in dataset.bad_labels] == [("train/-7.png", "train")]
    assert len(dataset.samples("test")) == 1
    for split in ("train", "validation"):
        with pytest.raises(LabelError, match=r"1 bad labels in .*'train/-7.png'.*check"):
            dataset.samples(split)
    mended = dataset.without(["train/-7.png"])
    assert len(mended.samples("train")) + len(mended.samples("validation")) == 10


def test_leaving_out_moves_no_other_image(tmp_path: Path) -> None:
    dataset = open_dataset(write_zip(tmp_path / "d.zip", many("train", 50)))
    left_out = dataset.samples("train")[0]
    smaller = dataset.without({left_out.name})
    assert smaller.samples("train") == dataset.samples("train")[1:]
    assert smaller.samples("validation") == dataset.samples("validation")


def test_only_what_is_there_can_be_left_out(tmp_path: Path) -> None:
    dataset = open_dataset(write_zip(tmp_path / "d.zip", many("train", 5)))
    with pytest.raises(DatasetError, match="Received: 'w', 'x', 'y' and 1 more"):
        dataset.without(["z", "y", "x", "w"])


# --- CSV ------------------------------------------------------------------------------------


def test_csv_gives_labels_and_hash_cut(tmp_path: Path) -> None:
    rows = "\ufefffilename,label\nsub/1.png,AbC\n./2.png,de-f\n"
    dataset = open_dataset(write_csv(tmp_path / "d", rows, ["sub/1.png", "2.png", "3.png"]))
    samples = all_samples(dataset)
    assert {s.name: s.label for s in samples} == {"sub/1.png": "AbC", "2.png": "de-f"}
    assert dataset.read(samples[0]) == png()


def test_csv_with_split_folders(tmp_path: Path) -> None:
    rows = "id,label,filename\n0,ab,train/1.png\n1,cd,val/2.png\n2, ef,test/3.png\n"
    names = ["train/1.png", "val/2.png", "test/3.png"]
    dataset = open_dataset(write_csv(tmp_path / "d", rows, names))
    assert names_of(dataset) == {"train": names[:1], "validation": names[1:2], "test": []}
    assert [bad.name for bad in dataset.bad_labels] == ["test/3.png"]  # a space before the label


# --- opening and reading --------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("nothing", id="missing"),
        pytest.param("nu\0ll", id="impossible name"),
    ],
)
def test_missing_data_is_refused_with_what_to_do(tmp_path: Path, path: str) -> None:
    with pytest.raises(DatasetError, match=r"There is no data at .*crnn-captcha generate"):
        open_dataset(tmp_path / path)


@pytest.mark.parametrize("write", [write_zip, write_folder], ids=["zip", "folder"])
def test_data_without_images_is_refused_with_the_layouts(
    tmp_path: Path, write: Callable[[Path, Iterable[str]], Path]
) -> None:
    path = write(tmp_path / "d", ["train/README.md"])
    with pytest.raises(DatasetError, match=r"no images in .*train/ and test/.*filename,label"):
        open_dataset(path)


@pytest.mark.parametrize("kind", ["zip", "folder", "csv"])
def test_spawned_process_reads_the_same(tmp_path: Path, kind: str) -> None:
    files = {f"train/a-{i}.png": png(i) for i in range(10)}
    path = {
        "zip": lambda: write_zip(tmp_path / "d.zip", files),
        "folder": lambda: write_folder(tmp_path / "d", files),
        "csv": lambda: write_csv(
            tmp_path / "d", "filename,label\n" + "".join(f"{n},a\n" for n in files), files
        ),
    }[kind]()
    if kind == "csv":
        write_folder(tmp_path / "d", files)
    dataset = open_dataset(path)
    samples = all_samples(dataset)
    expected = [dataset.read(sample) for sample in samples]  # with a handle open
    assert pickle.loads(pickle.dumps(dataset)) == dataset
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert list(pool.map(dataset.read, samples)) == expected


@pytest.mark.skipif(not REAL_ZIP.exists(), reason=f"the real data is not here: {REAL_ZIP}")
def test_the_real_data() -> None:
    dataset = open_dataset(REAL_ZIP)
    assert {s: len(samples) for s, samples in dataset.splits.items()} == {
        "train": 7200,
        "validation": 800,
        "test": 1006,
    }
    assert dataset.bad_labels == ()
    assert {len(sample.label) for sample in all_samples(dataset)} == set(range(4, 9))
    assert dataset.read(dataset.samples("test")[0]).startswith(b"\x89PNG")


def test_folds_are_alike_and_go_by_the_file_name_alone() -> None:
    names = [f"train/ab-{i}.png" for i in range(2000)]
    counts = Counter(fold_of(name, 5) for name in names)
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert min(counts.values()) > 300
    assert [fold_of(f"data/main/{name}", 5) for name in names] == [fold_of(n, 5) for n in names]


def test_folds_do_not_go_by_the_splits(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", [f"ab-{i}.png" for i in range(600)])
    validation = open_dataset(data).samples("validation")
    assert {fold_of(sample.name, 5) for sample in validation} == {0, 1, 2, 3, 4}
