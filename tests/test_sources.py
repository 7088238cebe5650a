"""Sources list and read what is sound, and refuse what is hostile or damaged."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZipFile, ZipInfo

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha import sources as sources_module
from crnn_captcha.dataset import SPLITS, Dataset, Sample, open_dataset
from crnn_captcha.errors import DatasetError, ImageError, LabelError


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


def all_samples(dataset: Dataset) -> list[Sample]:
    return [sample for split in SPLITS for sample in dataset.splits[split]]


def many(count: int) -> list[str]:
    return [f"train/ab-{i}.png" for i in range(count)]


# --- CSV ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param("", "with the header None", id="empty"),
        pytest.param("file,text\n1.png,ab\n", r"with the header \['file', 'text'\]", id="header"),
        pytest.param("filename,label\n", "There are no images in", id="no rows"),
        pytest.param("filename,label\n1.png\n", "line 2 has other columns", id="short row"),
        pytest.param("filename,label\n1.png,a,b\n", "line 2 has other columns", id="long row"),
        pytest.param("filename,label\n1.png,a\n./1.png,b\n", "'1.png' twice", id="twice"),
        pytest.param(
            "filename,label\n9.png,a\n", "1 files that don't exist: '9.png'", id="missing"
        ),
        pytest.param("filename,label\nx.txt,a\n", "no known images: 'x.txt'", id="no image"),
        pytest.param("filename,label\n../1.png,a\n", r"has no '\.\.'", id="outside"),
        pytest.param("filename,label\n/1.png,a\n", "is relative", id="absolute"),
        pytest.param("filename,label\n,a\n", "Received: ''", id="empty name"),
        pytest.param("filename,label\nlink.png,a\n", "leave its folder: 'link.png'", id="link"),
        pytest.param("filename,label\nloop.png,a\n", "don't exist: 'loop.png'", id="loop"),
        pytest.param('filename,label\n"1.png,a\n', "can't be read as UTF-8 CSV", id="quote"),
        pytest.param("filename,label\n1.png,\udcff\n", "can't be read as UTF-8 CSV", id="coding"),
    ],
)
def test_csv_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    folder = write_folder(tmp_path / "d", ["1.png"])
    (tmp_path / "outside.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "loop.png").symlink_to("loop.png")
    csv = folder / "labels.CSV"
    csv.write_bytes(rows.encode(errors="surrogateescape"))
    with pytest.raises(DatasetError, match=message):
        open_dataset(csv)


# --- folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", ["file", "folder", "nothing"])
def test_links_in_a_folder_are_refused(tmp_path: Path, linked: str) -> None:
    outside = write_folder(tmp_path / "outside", ["a-1.png"])
    folder = write_folder(tmp_path / "d", ["train/a-1.png"])
    target = {"file": outside / "a-1.png", "folder": outside, "nothing": tmp_path / "gone"}
    name = "test" if linked == "folder" else "b-1.png"
    (folder / "train" / name).symlink_to(target[linked])
    with pytest.raises(DatasetError, match=f"no symbolic links. Received: .*{name}"):
        open_dataset(folder)


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    write_folder(tmp_path / "d", ["train/a-1.png"])
    (tmp_path / "link").symlink_to(tmp_path / "d")
    assert len(open_dataset(tmp_path / "link").samples("train")) == 1


def test_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a-1.png")
    with pytest.raises(DatasetError, match="ordinary files"):
        open_dataset(tmp_path)


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"can't be listed: .*Permission denied"):
        open_dataset(tmp_path)


# --- names in zips --------------------------------------------------------------------------


def test_the_name_in_the_header_counts_with_every_version_of_python(tmp_path: Path) -> None:
    header, extra = "train/ab-1.png", b"../outside.png"
    field = struct.pack("<HHBL", 0x7075, 5 + len(extra), 1, zlib.crc32(header.encode())) + extra
    entry = ZipInfo(header)
    entry.extra = field  # Info-ZIP's Unicode path, which Python takes for the name since 3.12
    with ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr(entry, png())
    (sample,) = open_dataset(tmp_path / "d.zip", validation_fraction=0).splits["train"]
    assert (sample.name, sample.label) == (header, "ab")


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"жя": "utf-8"}, id="UTF-8"),
        pytest.param({"ééé": "cp437"}, id="code page 437"),
        pytest.param({"жя": "utf-8", "ééé": "cp437", "ab": "ascii"}, id="each as it is"),
    ],
)
def test_names_that_a_zip_does_not_call_utf_8(tmp_path: Path, labels: dict[str, str]) -> None:
    stored = [label.encode(encoding) for label, encoding in labels.items()]
    marks = ["#~^"[i] * len(name) for i, name in enumerate(stored)]
    path = tmp_path / "d.zip"
    with ZipFile(path, "w") as archive:
        for i, mark in enumerate(marks):
            archive.writestr(f"train/{mark}-1.png", png(i))
    data = path.read_bytes()
    for mark, name in zip(marks, stored, strict=True):
        data = data.replace(f"/{mark}-".encode(), b"/" + name + b"-")
    path.write_bytes(data)
    dataset = open_dataset(path, validation_fraction=0)
    read = {sample.label: dataset.read(sample) for sample in dataset.splits["train"]}
    assert read == {label: png(i) for i, label in enumerate(labels)}


# --- hostile and damaged zips ---------------------------------------------------------------


def write_entry(path: Path, entry: ZipInfo | str, data: bytes = b"x") -> None:
    with ZipFile(path, "a", ZIP_DEFLATED) as archive:
        archive.writestr(entry, data)


def link_entry(name: str) -> ZipInfo:
    entry = ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def patch_central(path: Path, offset: int, fmt: str, value: int) -> None:
    """Overwrites a field of the last entry in the central directory."""
    data = bytearray(path.read_bytes())
    struct.pack_into(fmt, data, data.rindex(b"PK\x01\x02") + offset, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("/etc/a-1.png", "is relative", id="absolute"),
        pytest.param("train/../../a-1.png", r"no '\.\.'", id="up"),
        pytest.param("..", r"no '\.\.'", id="up, no image"),
        pytest.param("train\\a-1.png", r"with '/' between folders", id="backslash"),
        pytest.param("C:/a-1.png", "is relative", id="drive"),
        pytest.param("train/./b-1.png", "each name once. Received: 'train/b-1.png'", id="alias"),
        pytest.param("train/more.ZIP", "no archives. Received: 'train/more.ZIP'", id="archive"),
        pytest.param("train/more.tar.gz", "no archives", id="packed archive"),
    ],
)
def test_zip_with_a_hostile_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    path = write_zip(tmp_path / "d.zip", ["train/b-1.png"])
    write_entry(path, name)
    with pytest.raises(DatasetError, match=message):
        open_dataset(path)
    assert list(tmp_path.iterdir()) == [path]  # nothing was unpacked


def test_zip_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", ["train/b-1.png"])
    with pytest.warns(UserWarning, match="Duplicate"):
        write_entry(path, "train/b-1.png")
    with pytest.raises(DatasetError, match=r"each name once. Received: 'train/b-1.png'"):
        open_dataset(path)


def test_zip_with_a_cut_name_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", ["train/b-1.png#.txt"])
    path.write_bytes(path.read_bytes().replace(b"#", b"\0"))
    with pytest.raises(DatasetError, match=r"Received: .*\\x00"):
        open_dataset(path)


def test_zip_with_a_name_cut_to_nothing_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", ["#rain/b-1.png"])
    path.write_bytes(path.read_bytes().replace(b"#", b"\0"))
    with pytest.raises(DatasetError, match=r"Received: '\\x00rain/b-1.png'"):
        open_dataset(path)


def test_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", ["train/b-1.png"])
    write_entry(path, link_entry("train/c-1.png"), b"/etc/passwd")
    with pytest.raises(DatasetError, match=r"no symbolic links. Received: 'train/c-1.png'"):
        open_dataset(path)


def test_zip_with_another_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.zip"
    with ZipFile(path, "w", ZIP_BZIP2) as archive:
        archive.writestr("train/a-1.png", png())
    with pytest.raises(DatasetError, match=r"stored or deflated. Received: .*, method 12"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("offset", "fmt", "value", "message"),
    [
        pytest.param(8, "<H", 1, "no encrypted entries", id="encrypted"),
        pytest.param(24, "<I", 2**30, "images of at most 16,777,216 bytes", id="size"),
        pytest.param(24, "<I", 2**22, "shrank at most 200 times", id="ratio"),
        pytest.param(6, "<H", 99, "not a whole zip .*version", id="version"),
    ],
)
def test_zip_with_a_hostile_header_is_refused(
    tmp_path: Path, offset: int, fmt: str, value: int, message: str
) -> None:
    path = write_zip(tmp_path / "d.zip", ["train/a-1.png"])
    patch_central(path, offset, fmt, value)
    with pytest.raises(DatasetError, match=message):
        open_dataset(path)


def test_bomb_that_is_no_image_is_refused_too(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", {"train/a-1.png": png(), "x.txt": bytes(2**22)})
    with pytest.raises(DatasetError, match=r"shrank at most 200 times. Received: 'x.txt'"):
        open_dataset(path)


def test_zip_with_too_many_entries_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources_module, "MAX_ENTRIES", 3)
    path = write_zip(tmp_path / "d.zip", many(4))
    with pytest.raises(DatasetError, match=r"at most 3 entries. Received: 4"):
        open_dataset(path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-30], id="cut off"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"no zip at all" * 99, id="something else"),
        pytest.param(lambda data: data[: len(data) // 2] + data[-22:], id="hole"),
    ],
)
def test_what_is_no_whole_zip_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write_zip(tmp_path / "d.zip", many(5))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match="is not a whole zip"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(24, 10, id="declares fewer bytes"),
        pytest.param(24, 1000, id="declares more bytes"),
        pytest.param(16, 123, id="checksum"),
        pytest.param(20, 5, id="packed size"),
        pytest.param(42, 7, id="place"),
    ],
)
def test_lying_header_is_an_error_that_names_the_entry(
    tmp_path: Path, offset: int, value: int
) -> None:
    path = write_zip(tmp_path / "d.zip", {"train/a-1.png": png(), "train/b-1.png": png()})
    patch_central(path, offset, "<I", value)
    dataset = open_dataset(path, validation_fraction=0)
    first, last = dataset.samples("train")
    assert dataset.read(first) == png()
    with pytest.raises(DatasetError, match=r"'train/b-1.png' is damaged within the zip"):
        dataset.read(last)


def test_declaring_more_with_the_right_checksum_is_found(tmp_path: Path) -> None:
    path = tmp_path / "d.zip"
    write_entry(path, "train/a-1.png", b"")  # the checksum of nothing is 0
    patch_central(path, 24, "<I", 9)
    dataset = open_dataset(path)
    with pytest.raises(DatasetError, match="damaged within the zip"):
        dataset.read(dataset.samples("train")[0])


@given(st.data())
def test_damaged_zip_gives_its_images_or_a_dataset_error(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder) / "d.zip", many(3))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            dataset = open_dataset(path)
            read = [dataset.read(sample) for sample in all_samples(dataset)]
        except (DatasetError, LabelError):
            return
        assert set(read) <= {png()}


# --- reading --------------------------------------------------------------------------------


def test_too_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(write_folder(tmp_path / "d", ["train/a-1.png"]))
    monkeypatch.setattr(sources_module, "MAX_FILE_BYTES", 10)
    (sample,) = dataset.samples("train")
    with pytest.raises(ImageError) as caught:
        dataset.read(sample)
    assert str(caught.value) == (
        "An image file has at most 10 bytes. Received: more, in 'train/a-1.png'."
    )


@pytest.mark.parametrize("write", [write_zip, write_folder], ids=["zip", "folder"])
def test_file_that_is_gone_is_an_error(
    tmp_path: Path, write: Callable[[Path, Iterable[str]], Path]
) -> None:
    dataset = open_dataset(write(tmp_path / "d", ["train/a-1.png", "train/b-1.png"]))
    with pytest.raises(DatasetError, match=r"'train/gone.png'"):
        dataset.read(Sample("train/gone.png", "gone"))


def test_zip_that_is_gone_is_an_error_in_a_new_thread(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "d.zip", ["train/a-1.png"])
    dataset = open_dataset(path)
    path.unlink()
    (sample,) = dataset.samples("train")
    with ThreadPoolExecutor(1) as pool, pytest.raises(DatasetError, match="No such file"):
        pool.submit(dataset.read, sample).result()


def test_threads_read_the_same(tmp_path: Path) -> None:
    files = {f"train/a-{i}.png": png(i) for i in range(100)}
    dataset = open_dataset(write_zip(tmp_path / "d.zip", files))
    samples = all_samples(dataset) * 5
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(dataset.read, samples)) == [files[s.name] for s in samples]


def test_forked_process_opens_the_zip_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counting(path: Path, **options: Any) -> ZipFile:
        opened.append(path)
        return ZipFile(path, **options)

    monkeypatch.setattr(sources_module, "ZipFile", counting)
    dataset = open_dataset(write_zip(tmp_path / "d.zip", ["train/a-1.png"]))
    (sample,) = dataset.samples("train")
    dataset.read(sample)
    assert len(opened) == 1
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as in a child
    assert dataset.read(sample) == png()
    assert len(opened) == 2
