from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import crnn_captcha.recognizer
from crnn_captcha.bundle import BundleMetadata
from crnn_captcha.charset import Charset
from crnn_captcha.cli.evaluate import evaluate
from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import open_dataset
from crnn_captcha.decoding import Reading
from crnn_captcha.errors import DatasetError, ImageError, MissingExtraError, RunError
from crnn_captcha.images import decode_image
from crnn_captcha.learned import learned_from, to_text
from crnn_captcha.pipelines import PIPELINES
from crnn_captcha.reporting.showcase import Pixels, png


class FakeRecognizer:
    """Reads 'ab', or 'cd' where the image is dark."""

    charset = Charset("abcd")
    metadata = BundleMetadata(charset, PIPELINES["standard"], {"preset": "fake"})
    models: list[str | None]

    def __init__(self, model: str | None) -> None:
        self.models.append(model)

    def pipeline(self, image: Pixels) -> Pixels:
        return image.transpose(1, 0, 2)

    def read_many(self, images: Iterable[bytes]) -> Iterator[Reading | ImageError]:
        for data in images:
            try:
                dark = decode_image(data).mean() < 128
            except ImageError as error:
                yield error
            else:
                yield Reading("cd" if dark else "ab", 0.75, ())


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    asked: list[str | None] = []
    monkeypatch.setattr(FakeRecognizer, "models", asked, raising=False)
    monkeypatch.setattr(crnn_captcha.recognizer, "Recognizer", FakeRecognizer)
    return asked


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three test images, the last of them misread, and one for training."""
    for name, level in (("ab-0", 255), ("cd-1", 0), ("ad-2", 255)):
        _write(tmp_path / "data" / "test" / f"{name}.png", level)
    _write(tmp_path / "data" / "train" / "ab-3.png", 255)
    return tmp_path / "data"


def _write(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(np.full((20, 40, 3), level, np.uint8)))


@pytest.mark.usefixtures("models")
def test_people_get_tables_and_a_sentence(data: Path) -> None:
    done = CliRunner().invoke(evaluate, [str(data)])
    assert done.exit_code == 0
    assert f"data: {data}, split: test, model: standard" in done.stdout
    assert "| exact match                        | 66.7 % | 20.8 to 93.9 % |" in done.stdout
    assert "| d read as b | 1 " in done.stdout
    *_, sentence, coverage = done.stdout.splitlines()
    assert sentence.endswith("for images like these expect 20.8 to 93.9 %.")
    assert coverage.startswith("Coverage: ")
    assert "3/3" in done.stderr


def test_json_is_one_object_and_nothing_else(data: Path, models: list[str | None]) -> None:
    arguments = [str(data), "--json", "--split", "train", "--model", "runs/first"]
    done = CliRunner().invoke(evaluate, arguments)
    assert done.exit_code == 0
    figures = json.loads(done.stdout)
    assert (figures["images"], figures["exact_match"], figures["cer"]) == (1, 1.0, 0.0)
    assert (figures["data"], figures["split"], figures["model"]) == (
        str(data),
        "train",
        "runs/first",
    )
    assert models == ["runs/first"]


@pytest.mark.usefixtures("models")
def test_what_the_model_has_learned_from_is_said(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(data / "train" / "ab-3.png", 200)  # unlike all of the others
    learned = to_text(learned_from(open_dataset(data, validation_fraction=0)))
    facts = {"preset": "fake", "validation_fraction": 0.5, "learned": learned}
    metadata = dataclasses.replace(FakeRecognizer.metadata, training=facts)
    monkeypatch.setattr(FakeRecognizer, "metadata", metadata)
    done = CliRunner().invoke(evaluate, [str(data), "--json"])
    assert done.exit_code == 0
    assert "learned from" not in done.stderr
    assert "learned_from" not in json.loads(done.stdout)
    (data / "test" / "ab-9.png").write_bytes((data / "train" / "ab-3.png").read_bytes() + b" ")
    (data / "test" / "ab-8.png").write_bytes((data / "train" / "ab-3.png").read_bytes())
    done = CliRunner().invoke(evaluate, [str(data), "--json"])
    assert "has learned from 1 of these 5 images" in done.stderr
    assert json.loads(done.stdout)["learned_from"] == "1 of 5 images"


@pytest.mark.usefixtures("models")
def test_a_broken_image_counts_as_wrong_and_exits_with_1(data: Path) -> None:
    (data / "test" / "ab-9.png").write_bytes(b"no image")
    done = CliRunner().invoke(evaluate, [str(data), "--json"])
    assert done.exit_code == 1
    figures = json.loads(done.stdout)
    assert (figures["images"], figures["exact_match"]) == (4, 0.5)
    assert [row["name"] for row in figures["broken"]] == ["test/ab-9.png"]


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("facts", "fraction", "seed"),
    [
        pytest.param({"split_seed": 5, "validation_fraction": 0.25}, 0.25, 5, id="both"),
        pytest.param({"split_seed": 5, "seed": 7}, 0.1, 5, id="not by the training's seed"),
        pytest.param({"seed": 7}, 0.1, 7, id="a bundle from before split_seed"),
        pytest.param({}, 0.1, 0, id="neither"),
        pytest.param({"split_seed": True, "validation_fraction": "half"}, 0.1, 0, id="nonsense"),
        pytest.param({"split_seed": -1}, 0.1, 0, id="no seed"),
        pytest.param({"validation_fraction": 1.5}, 0.1, 0, id="more than all"),
    ],
)
def test_validation_is_cut_as_it_was_for_the_training(
    facts: dict[str, object],
    fraction: float,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metadata = dataclasses.replace(FakeRecognizer.metadata, training=facts)
    monkeypatch.setattr(FakeRecognizer, "metadata", metadata)
    data = tmp_path / "data"
    for i in range(40):
        path = data / "train" / f"ab-{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image")  # so each that is read is named
    done = CliRunner().invoke(evaluate, [str(data), "--split", "validation", "--json"])
    expected = open_dataset(data, validation_fraction=fraction, seed=seed).samples("validation")
    assert 0 < len(expected) < 40
    named = [row["name"] for row in json.loads(done.stdout)["broken"]]
    assert named == [sample.name for sample in expected]


@pytest.mark.usefixtures("models")
def test_a_report_is_written_and_named(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = CliRunner().invoke(evaluate, [str(data), "--report", str(tmp_path / "report")])
    assert done.exit_code == 0
    page = tmp_path / "report" / "index.html"
    assert f"Report: {page}\n" in done.stdout
    assert "66.7 %" in page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("models")
def test_figures_are_not_lost_with_the_report(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crnn_captcha.reporting.page.write_report", full)
    arguments = [str(data), "--json", "--report", str(tmp_path / "report")]
    done = CliRunner().invoke(evaluate, arguments)
    assert isinstance(done.exception, OSError)
    assert json.loads(done.stdout)["exact_match"] == pytest.approx(2 / 3)


def test_what_a_report_needs_is_checked_before_the_work(
    data: Path, models: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report"
    file.touch()
    done = CliRunner().invoke(evaluate, [str(data), "--report", str(file)])
    assert isinstance(done.exception, RunError)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(evaluate, [str(data), "--report", "report"])
    assert isinstance(done.exception, MissingExtraError)
    assert models == []


def _corrections(tmp_path: Path, *entries: Correction) -> str:
    path = tmp_path / "corrections.csv"
    Corrections(entries).write(path)
    return str(path)


MISREAD = Correction("test/ad-2.png", "ad", "change", "ab")


@pytest.mark.usefixtures("models")
def test_corrected_figures_stand_beside_the_raw_ones(data: Path, tmp_path: Path) -> None:
    file = _corrections(tmp_path, MISREAD)
    done = CliRunner().invoke(evaluate, [str(data), "--corrections", file])
    assert done.exit_code == 0
    assert f"corrections: {file}, 1 changed, 0 dropped, 0 kept: exact match 66.7 %" in done.stdout
    assert "| exact match                        | 66.7 % | 20.8 to 93.9 % |" in done.stdout
    assert "| exact match                     | 66.7 %         | 100.0 % " in done.stdout
    assert (data / "test" / "ad-2.png").exists()


@pytest.mark.usefixtures("models")
def test_json_has_raw_figures_and_corrected_ones_in_them(data: Path, tmp_path: Path) -> None:
    file = _corrections(tmp_path, MISREAD, Correction("test/ab-0.png", "ab", "drop"))
    done = CliRunner().invoke(evaluate, [str(data), "--json", "--corrections", file])
    figures = json.loads(done.stdout)
    corrected = figures["corrected"]
    assert (figures["images"], figures["exact_match"]) == (3, pytest.approx(2 / 3))
    assert (corrected["images"], corrected["exact_match"], corrected["cer"]) == (2, 1.0, 0.0)
    assert len(corrected["digest"]) == 32
    assert figures["corrections"].startswith(f"{file}, 1 changed, 1 dropped")


@pytest.mark.usefixtures("models")
def test_a_report_names_both_figures(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file, report = _corrections(tmp_path, MISREAD), tmp_path / "report"
    arguments = [str(data), "--corrections", file, "--report", str(report)]
    assert CliRunner().invoke(evaluate, arguments).exit_code == 0
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "exact match 66.7 % raw, 100.0 % corrected" in page


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param(
            [Correction("ad-2.png", "ad", "drop")], "Corrections are of labelled images", id="name"
        ),
        pytest.param(
            [Correction("test/ad-2.png", "ab", "drop")], "which has 'ad'", id="another label"
        ),
        pytest.param(
            [
                Correction(f"test/{label}-{i}.png", label, "drop")
                for i, label in enumerate(("ab", "cd", "ad"))
            ],
            "has no images in the split 'test'",
            id="nothing left",
        ),
    ],
)
def test_corrections_that_do_not_fit_are_refused(
    data: Path, tmp_path: Path, entries: list[Correction], message: str
) -> None:
    arguments = [str(data), "--corrections", _corrections(tmp_path, *entries)]
    done = CliRunner().invoke(evaluate, arguments)
    assert isinstance(done.exception, DatasetError)
    assert message in str(done.exception)


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nowhere.zip"], "There is no data at 'nowhere.zip'", id="no data"),
        pytest.param(["DATA", "--split", "validation"], "no images in the split", id="no split"),
    ],
)
def test_bad_data_is_refused(data: Path, arguments: list[str], message: str) -> None:
    (data / "validation").mkdir()
    arguments = [str(data) if a == "DATA" else a for a in arguments]
    done = CliRunner().invoke(evaluate, arguments)
    assert isinstance(done.exception, DatasetError)
    assert message in str(done.exception)


def test_an_unknown_split_is_wrong_use(data: Path) -> None:
    done = CliRunner().invoke(evaluate, [str(data), "--split", "tset"])
    assert done.exit_code == 2
    assert "'tset' is not one of" in done.stderr


def test_a_real_bundle_is_measured(
    tmp_path: Path, bundle_path: Path, paint: Callable[[str], Pixels]
) -> None:
    for i, (label, shown) in enumerate([("abc", "abc"), ("ba", "ba"), ("cab", "cb")]):
        path = tmp_path / "data" / "test" / f"{label}-{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(paint(shown)))
    arguments = [str(tmp_path / "data"), "--model", str(bundle_path), "--json"]
    done = CliRunner().invoke(evaluate, arguments)
    figures = json.loads(done.stdout)
    assert (figures["images"], figures["exact_match"]) == (3, pytest.approx(2 / 3))
    assert figures["cer"] == pytest.approx(1 / 8)
    assert figures["confusions"] == [
        {"label": "a", "text": "", "edits": 1, "texts": 1, "texts_alone": 1}
    ]
