from __future__ import annotations

import os
import random
import sys
import zipfile
from pathlib import Path

import pytest

from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.listing import ListedImage, listed_images
from crnn_captcha.sources import FolderSource

NAMES = [
    "b.png",
    "a.PNG",
    "z/1.gif",
    "z/y/2.webp",
    "c/9.jpg",
    "c/10.jpeg",
    "c.bmp",
    "unlabelled-.png",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images, and what isn't one."""
    root = tmp_path / "images"
    hidden = [".hidden.png", ".git/a.png", "__MACOSX/b.png", "c/._9.jpg"]
    for name in random.Random(1).sample([*NAMES, *hidden, "notes.txt", "c/labels.csv"], 14):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def paths(*given: object) -> list[str]:
    return [image.path for image in listed_images(map(str, given))]


def test_a_folders_own_images_come_first_then_its_folders_by_name(folder: Path) -> None:
    assert list(FolderSource(folder).walk()) == [
        "a.PNG", "b.png", "c.bmp", "unlabelled-.png", "c/10.jpeg", "c/9.jpg", "z/1.gif",
        "z/y/2.webp",
    ]  # fmt: skip


def test_a_folder_is_listed_as_it_is_asked_for(folder: Path) -> None:
    walk = FolderSource(folder).walk()
    assert next(walk) == "a.PNG"
    (folder / "z" / "new.png").touch()
    assert "z/new.png" in list(walk)


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_folders_images_are_named_as_it_was(folder: Path, ending: str) -> None:
    found = list(listed_images([f"{folder}{ending}"]))
    assert found[-1].path == str(folder / "z/y/2.webp")
    assert found[-1].source() == found[-1].path
    assert Path(found[-1].path).read_bytes() == b"z/y/2.webp"


@pytest.mark.parametrize("suffix", [".zip", ".ZIP"])
def test_a_zips_images_are_named_behind_it(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    with zipfile.ZipFile(path, "w") as archive:
        for name in reversed(NAMES):
            archive.write(folder / name, name)
    found = list(listed_images([str(path)]))
    assert [image.path for image in found] == [f"{path}/{name}" for name in sorted(NAMES)]
    assert [image.source() for image in found] == [name.encode() for name in sorted(NAMES)]


def test_files_folders_and_zips_come_in_the_order_given(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in/it.png", b"")
    one = folder / "b.png"
    assert paths(one, path, folder / "z", "missing.png", one) == [
        str(one), f"{path}/in/it.png", str(folder / "z/1.gif"), str(folder / "z/y/2.webp"),
        "missing.png", str(one),
    ]  # fmt: skip


def test_what_can_be_no_file_is_left_to_the_reader() -> None:
    assert paths("a" * 300 + ".png", "b.png") == ["a" * 300 + ".png", "b.png"]


def test_a_damaged_entry_is_an_image_error(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"content of the first")
        archive.writestr("b.png", b"content of the other")
    path.write_bytes(path.read_bytes().replace(b"content of the first", b"content of the worst"))
    bad, good = (image.source() for image in listed_images([str(path)]))
    assert isinstance(bad, ImageError)
    assert "'a.png' is damaged within the zip" in str(bad)
    assert good == b"content of the other"


@pytest.mark.parametrize(
    ("name", "message"),
    [("../a.png", "has no '..'"), ("inner.zip", "no archives")],
)
def test_a_zip_that_looks_hostile_is_refused(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(DatasetError, match=message):
        paths(path)


@pytest.mark.parametrize("content", [None, b"no zip"], ids=["missing", "broken"])
def test_what_is_no_zip_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    if content:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match="is not a whole zip"):
        paths(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_links_in_a_folder_are_refused(folder: Path) -> None:
    (folder / "z" / "link.png").symlink_to(folder / "b.png")
    with pytest.raises(DatasetError, match=r"no symbolic links. Received: .*link.png"):
        paths(folder)


def test_a_folder_that_goes_away_is_an_error(folder: Path) -> None:
    walk = FolderSource(folder).walk()
    next(walk)
    for name in ("z/y/2.webp", "z/1.gif"):
        (folder / name).unlink()
    (folder / "z/y").rmdir()
    (folder / "z").rmdir()
    with pytest.raises(DatasetError, match=r"images/z/?' can't be listed"):
        list(walk)


@pytest.mark.skipif(sys.platform != "linux", reason="file names elsewhere are text")
def test_a_name_need_not_be_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    (tmp_path / name).touch()
    assert list(listed_images([str(tmp_path)])) == [ListedImage(f"{tmp_path}/{name}")]
