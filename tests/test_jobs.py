from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha import jobs
from crnn_captcha.constraints import Constraint
from crnn_captcha.decoding import Decoding, Reading
from crnn_captcha.errors import ConfigError, DatasetError, ImageError, MissingExtraError, RunError
from crnn_captcha.jobs import JobResult, read_into
from crnn_captcha.listing import ListedImage, listed_images
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.tables import Row, Rows, Table

Paint = Callable[..., NDArray[np.uint8]]
TEXTS = ["a", "cab", "", "abba", "bb", "c", "abcabc", "cc", "ba", "acb"] * 20
SUFFIXES = [".csv", ".jsonl", ".parquet"]


@pytest.fixture
def recognizer(bundle_path: Path) -> Recognizer:
    return Recognizer(bundle_path, threads=1)


@pytest.fixture
def folder(tmp_path: Path, paint: Paint) -> Path:
    """200 images, some of them in a folder."""
    root = tmp_path / "images"
    (root / "more").mkdir(parents=True)
    for number, text in enumerate(TEXTS):
        path = root / ("more" if number >= 150 else "") / f"{number:03d}.png"
        path.write_bytes(cv2.imencode(".png", paint(text)[..., ::-1])[1].tobytes())
    return root


@pytest.fixture
def zipped(folder: Path) -> Path:
    path = folder.with_name("images.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for image in folder.rglob("*.png"):
            archive.write(image, image.relative_to(folder))
    return path


def rows(out: Path, *, with_certain: bool = False) -> list[Row]:
    return list(Table(out, with_certain=with_certain).finished_rows())


class StoppedError(Exception):
    """Stands for a kill."""


class StopsAfter:
    """Reads some images, then is stopped; counts what it was given."""

    def __init__(self, recognizer: Recognizer, images: int) -> None:
        self.recognizer = recognizer
        self.images = images
        self.threads: int | None = 0

    @property
    def digest(self) -> str:
        return self.recognizer.digest

    def read_many(
        self, images: Any, decoding: Any = None, *, threads: int | None = None
    ) -> Iterator[Reading | ImageError]:
        self.threads = threads
        for number, result in enumerate(self.recognizer.read_many(images)):
            if number == self.images:
                raise StoppedError
            yield result


# ---- What comes out


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_image_has_its_row_in_order(
    suffix: str, threads: int, folder: Path, zipped: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "new" / f"readings{suffix}"
    one = str(folder / "000.png")
    result = read_into(out, [str(folder), str(zipped), one], recognizer, threads=threads)
    assert result == JobResult(images=401, before=0, broken=0, uncertain=0)
    found = rows(out)
    assert [row.path for row in found] == [
        *(str(folder / f"{number:03d}.png") for number in range(150)),
        *(str(folder / "more" / f"{number:03d}.png") for number in range(150, 200)),
        *(f"{zipped}/{number:03d}.png" for number in range(150)),
        *(f"{zipped}/more/{number:03d}.png" for number in range(150, 200)),
        one,
    ]
    assert [row.text for row in found] == [*TEXTS, *TEXTS, TEXTS[0]]
    expected = [recognizer.read(row.path).confidence for row in found[:200]]
    np.testing.assert_allclose([row.confidence or 0 for row in found[:200]], expected, atol=1e-4)
    assert {(row.error, row.certain) for row in found} == {("", None)}
    assert list(out.parent.iterdir()) == [out]


def test_broken_images_are_rows_with_the_reason(
    folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    (folder / "000.png").write_bytes(b"")
    (folder / "more" / "199.png").write_bytes((folder / "001.png").read_bytes()[:40])
    missing = str(folder / "missing.png")
    result = read_into(tmp_path / "r.jsonl", [str(folder), missing], recognizer)
    assert (result.images, result.broken) == (201, 3)
    broken = {row.path: row for row in rows(tmp_path / "r.jsonl") if row.error}
    reasons = {
        str(folder / "000.png"): "empty file",
        str(folder / "more" / "199.png"): "cut short",
        missing: "No such file",
    }
    assert broken.keys() == reasons.keys()
    for path, row in broken.items():
        assert reasons[path] in row.error
        assert (row.text, row.confidence) == ("", None)


def test_a_damaged_entry_of_a_zip_is_a_row(
    zipped: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    data = bytearray(zipped.read_bytes())
    data[data.index(b"IHDR") + 20] ^= 1
    zipped.write_bytes(data)
    result = read_into(tmp_path / "r.csv", [str(zipped)], recognizer)
    assert (result.images, result.broken) == (200, 1)
    (row,) = (row for row in rows(tmp_path / "r.csv") if row.error)
    assert "is damaged within the zip" in row.error


def test_what_falls_below_is_not_certain(
    folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    (folder / "000.png").write_bytes(b"")
    confidences = [recognizer.read(path).confidence for path in sorted(folder.glob("0*.png"))[1:]]
    least = float(np.median(confidences))
    out = tmp_path / "r.jsonl"
    result = read_into(out, [str(folder)], recognizer, min_confidence=least)
    found = rows(out, with_certain=True)
    assert found[0].certain is None
    assert [row.certain for row in found[1:]] == [
        (row.confidence or 0) >= least for row in found[1:]
    ]
    assert 0 < result.uncertain == sum(row.certain is False for row in found) < 199


def test_the_recognizer_gets_the_threads(folder: Path, recognizer: Recognizer) -> None:
    reader = StopsAfter(recognizer, 1000)
    read_into(folder.with_name("r.csv"), [str(folder)], reader, threads=3)
    assert reader.threads == 3


def test_progress_is_shown_on_standard_error(
    folder: Path, recognizer: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read_into(tmp_path / "quiet.csv", [str(folder)], recognizer)
    assert capsys.readouterr() == ("", "")
    read_into(tmp_path / "shown.csv", [str(folder)], recognizer, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "200/200" in shown.err
    assert "image/s" in shown.err


def test_memory_holds_few_images_at_a_time(
    tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch, zipped: Path
) -> None:
    given, ahead = [0], [0]
    source = ListedImage.source

    def counted(image: ListedImage) -> Any:
        given[0] += 1
        return source(image)

    monkeypatch.setattr(ListedImage, "source", counted)
    append = Rows.append

    def seen(self: Any, row: Row) -> None:
        ahead.append(given[0])
        given[0] -= 1
        append(self, row)

    monkeypatch.setattr(Rows, "append", seen)
    monkeypatch.setattr("crnn_captcha.recognizer.WINDOW_IMAGES", 5)
    read_into(tmp_path / "r.csv", [str(zipped)], recognizer, threads=2)
    assert max(ahead) <= (2 + 2) * 5


# ---- Going on


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("after", [0, 1, 77, 199])
def test_a_stopped_job_goes_on(
    suffix: str, after: int, folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    (folder / "000.png").write_bytes(b"")
    out, whole = tmp_path / f"part{suffix}", tmp_path / f"whole{suffix}"
    options: dict[str, Any] = {"min_confidence": 0.9, "resume": True}
    expected = read_into(whole, [str(folder)], recognizer, **options)
    with pytest.raises(StoppedError):
        read_into(out, [str(folder)], StopsAfter(recognizer, after), **options)
    growing = Table(out).growing
    assert growing.exists()
    with growing.open("ab") as file:
        file.write(b'{"path": "half')
    result = read_into(out, [str(folder)], recognizer, **options)
    assert result.before == after
    assert (result.images, result.broken, result.uncertain) == (200, 1, expected.uncertain)
    for ours, other in zip(
        rows(out, with_certain=True), rows(whole, with_certain=True), strict=True
    ):
        assert (ours.path, ours.text, ours.error) == (other.path, other.text, other.error)
        assert ours.confidence == pytest.approx(other.confidence, abs=2e-4)
    assert not out.with_name(f"{out.name}.job").exists()


def test_a_killed_process_goes_on(folder: Path, bundle_path: Path, tmp_path: Path) -> None:
    for number in range(60):  # enough to be killed in the midst of it
        shutil.copytree(folder, folder.with_name("many") / f"{number:02d}")
    out = tmp_path / "r.csv"
    code = "from crnn_captcha.cli.main import run; run()"
    command = [sys.executable, "-c", code, "read", str(folder.with_name("many")), "--out", str(out)]
    command += ["--model", str(bundle_path), "--threads", "1", "--resume"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if out.exists() and out.stat().st_size > 10_000:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = out.read_bytes().count(b"\n") - 1
    assert 0 < before < 12_000
    assert out.with_name("r.csv.job").exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 12,000 images, {before:,} of them read before, 0 broken\n"
    assert [row.text for row in rows(out)] == TEXTS * 60


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_finished_job_has_nothing_left(
    suffix: str, folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"r{suffix}"
    (folder / "000.png").write_bytes(b"")
    first = read_into(out, [str(folder)], recognizer)
    content = out.read_bytes()
    again = read_into(out, [str(folder)], recognizer, resume=True)
    assert again == JobResult(images=200, before=200, broken=1, uncertain=0)
    assert first == JobResult(images=200, before=0, broken=1, uncertain=0)
    assert out.read_bytes() == content
    shutil.copy(folder / "001.png", folder / "more" / "new.png")
    with pytest.raises(RunError, match=r"nothing in row 201, and '.*new.png' in its place"):
        read_into(out, [str(folder)], recognizer, resume=True)
    (folder / "more" / "new.png").unlink()
    (folder / "002.png").replace(folder / "other.png")
    with pytest.raises(RunError, match=r"002.png' in row 3, and '.*003.png' in its place"):
        read_into(out, [str(folder)], recognizer, resume=True)
    assert out.read_bytes() == content


def test_a_job_that_was_killed_when_all_was_done_is_finished(
    folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "r.parquet"
    read_into(out, [str(folder)], recognizer)
    note = tmp_path / "r.parquet.job"
    note.write_text("{}")
    assert read_into(out, [str(folder)], recognizer, resume=True).before == 200
    assert not note.exists()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_table_is_not_overwritten(
    stopped: bool, folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    if stopped:
        with pytest.raises(StoppedError):
            read_into(out, [str(folder)], StopsAfter(recognizer, 3))
    else:
        out.write_text("mine")
    content = out.read_bytes()
    message = "Go on with it by --resume, or name another" if stopped else "exists. Name another"
    with pytest.raises(RunError, match=message):
        read_into(out, [str(folder)], recognizer)
    assert out.read_bytes() == content


def test_what_cant_be_kept_to_is_refused_before_anything_is_there(
    folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "r.csv"
    with pytest.raises(ConfigError, match="Ä"):
        read_into(out, [str(folder)], recognizer, decoding=Decoding(Constraint("aÄ")))
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("min_confidence", "other min_confidence"),
        ("images", "other images"),
        ("model", "other model"),
        ("broken note", "other model, decoding, min_confidence, images"),
        ("other note", "other model, decoding, min_confidence, images"),
    ],
)
def test_a_job_goes_on_by_what_it_was_begun_with(
    change: str, named: str, folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    out, note = tmp_path / "r.csv", tmp_path / "r.csv.job"
    with pytest.raises(StoppedError):
        read_into(out, [str(folder)], StopsAfter(recognizer, 3), min_confidence=0.5)
    images = [str(folder), str(folder)] if change == "images" else [str(folder)]
    least = 0.6 if change == "min_confidence" else 0.5
    if change == "model":
        note.write_text(json.dumps(json.loads(note.read_text()) | {"model": "another"}))
    elif change.endswith("note"):
        note.write_text("{" if change == "broken note" else "[]")
    with pytest.raises(ConfigError, match=rf"--resume goes on with .* Received: {named}\."):
        read_into(out, images, recognizer, min_confidence=least, resume=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_finished_was_marked_by_the_same_confidence(
    suffix: str, folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"r{suffix}"
    first = read_into(out, [str(folder)], recognizer, min_confidence=0.9)
    assert 0 < first.uncertain < first.images
    again = read_into(out, [str(folder)], recognizer, min_confidence=0.9, resume=True)
    assert again.uncertain == first.uncertain
    with pytest.raises(ConfigError, match=r"another confidence than 0.5: see row \d+"):
        read_into(out, [str(folder)], recognizer, min_confidence=0.5, resume=True)


@pytest.mark.parametrize("finishes", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_two_that_start_together_one_writes(
    suffix: str,
    finishes: bool,
    folder: Path,
    recognizer: Recognizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"r{suffix}"

    def other_first(images: Sequence[str]) -> Iterator[ListedImage]:
        monkeypatch.setattr(
            jobs, "listed_images", listed_images
        )  # while this one lists, another begins
        other = recognizer if finishes else StopsAfter(recognizer, 3)
        with contextlib.suppress(StoppedError):
            read_into(out, [str(folder)], other, min_confidence=0.9)
        return listed_images(images)

    monkeypatch.setattr(jobs, "listed_images", other_first)
    with pytest.raises(RunError, match=r"One process at a time .* begun or finished meanwhile"):
        read_into(out, [str(folder)], recognizer, min_confidence=0.5)
    done = read_into(out, [str(folder)], recognizer, min_confidence=0.9, resume=True)
    assert done.before == (200 if finishes else 3)
    assert len(list(rows(out, with_certain=True))) == 200


@pytest.mark.parametrize("change", ["gone", "come", "fewer"])
def test_a_job_goes_on_where_the_images_are_the_same(
    change: str, folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    with pytest.raises(StoppedError):
        read_into(out, [str(folder)], StopsAfter(recognizer, 3))
    if change == "gone":
        (folder / "001.png").unlink()
    elif change == "come":
        shutil.copy(folder / "001.png", folder / "000-new.png")
    else:
        shutil.rmtree(folder / "more")
        for path in sorted(folder.iterdir())[2:]:
            path.unlink()
    content = out.read_bytes()
    with pytest.raises(RunError, match=r"whose row \d is of .*images came or went"):
        read_into(out, [str(folder)], recognizer, resume=True)
    assert out.read_bytes() == content


def test_to_resume_nothing_is_to_start(
    folder: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    result = read_into(tmp_path / "r.csv", [str(folder)], recognizer, resume=True)
    assert (result.images, result.before) == (200, 0)


# ---- Wrong use


def test_no_images_are_an_error_and_leave_nothing(recognizer: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"at least one image. Received: none, in '.*empty'"):
        read_into(tmp_path / "r.csv", [str(tmp_path / "empty")], recognizer)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["tiny.onnx"]


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_confidence_is_0_to_1(least: float, recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"A confidence is 0 to 1\. Received"):
        read_into(tmp_path / "r.csv", ["a.png"], recognizer, min_confidence=least)


def test_a_missing_extra_is_said_before_anything_is_read(
    folder: Path, recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reader = StopsAfter(recognizer, 1000)
    with pytest.raises(MissingExtraError):
        read_into(tmp_path / "r.parquet", [str(folder)], reader)
    assert reader.threads == 0
