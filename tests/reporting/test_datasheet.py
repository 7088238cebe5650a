from __future__ import annotations

import dataclasses
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

from crnn_captcha.checks import Evidence
from crnn_captcha.dataset import Sample
from crnn_captcha.diagnosis import Bin, Diagnosis, Finding, Spread
from crnn_captcha.errors import DatasetError, MissingExtraError
from crnn_captcha.images import load_image
from crnn_captcha.reporting.datasheet import IMAGES_SHOWN, SHOWN, write_datasheet
from crnn_captcha.reporting.markup import MAX_SIDE
from crnn_captcha.reporting.showcase import png

pytest.importorskip("matplotlib")

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\udc80.png"


class FakeDataset:
    """Every sample has one and the same wide image, but for those that are missing."""

    def read(self, sample: Sample, /) -> bytes:
        if "missing" in sample.name:
            raise DatasetError("It isn't there.")
        return png(np.full((20, 2 * MAX_SIDE, 3), 200, np.uint8))


def diagnosis_of(*findings: Finding) -> Diagnosis:
    spread = Spread(4, 4.0, 4, (Bin(4, 4, 7),))
    return Diagnosis(
        images={"train": 1234, "validation": 5, "test": 6},
        findings=findings,
        characters={"train": {"a": 2}, "validation": {"b": 1}, "test": {}},
        lengths={"train": {4: 7}, "validation": {}, "test": {}},
        formats={"PNG": 7},
        label_lengths=spread,
        widths=spread,
        heights=spread,
    )


NEAR = Finding("near_overlap", (Evidence(("train/a.png", "test/a.jpg"), "both", ("aa", "aa")),))
RARE = Finding("rare_character", (Evidence((), "'q' (2 in train)"),))


def write(directory: Path, *findings: Finding) -> str:
    page = write_datasheet(
        diagnosis_of(*findings), directory, dataset=FakeDataset(), facts={"path": HOSTILE}
    )
    return page.read_text(encoding="utf-8")


def sources(html: str) -> list[str]:
    return [part.partition('"')[0] for part in html.split('src="')[1:]]


def test_a_datasheet_and_its_parts(tmp_path: Path) -> None:
    html = write(tmp_path / "new" / "report", NEAR, RARE)
    assert {path.name for path in (tmp_path / "new" / "report").iterdir()} == {
        "characters.png",
        "check.json",
        "heights.png",
        "index.html",
        "lengths.png",
        "widths.png",
    }
    assert len(sources(html)) == 4 + 2  # figures, and a picture for each image of the pair
    assert all(source.startswith("data:image/png;base64,") for source in sources(html))
    for words in ("<b>1,234</b>images in train", "<b>2</b>characters", "<b>1</b>sorts of problems"):
        assert words in html
    assert '<span class="wrong">Problem</span>: images that look like one of the same' in html
    assert "train/a.png: <b>aa</b><br>test/a.jpg: <b>aa</b>" in html
    assert "<tr><td>&#x27;q&#x27; (2 in train)</td></tr>" in html
    figures = json.loads((tmp_path / "new/report/check.json").read_text(encoding="utf-8"))
    assert (figures["ok"], figures["images"]["test"]) == (False, 6)


def test_wide_images_are_scaled_down(tmp_path: Path) -> None:
    first = sources(write(tmp_path, NEAR))[0]
    assert load_image(b64decode(first.partition(",")[2])).shape == (10, MAX_SIDE, 3)


def test_only_some_of_many_are_shown(tmp_path: Path) -> None:
    many = tuple(Evidence((f"train/{i}.png",), "empty", ("a",)) for i in range(SHOWN + 3))
    group = Evidence(tuple(f"train/{i}.jpg" for i in range(9)), "JPEG", ("a",) * 9)
    html = write(tmp_path, Finding("empty", many), Finding("lossy", (group,)))
    assert "3 more are in check.json." in html
    assert "and 5 more</td>" in html
    assert len(sources(html)) == 4 + SHOWN + IMAGES_SHOWN


def test_an_image_that_can_not_be_read_has_no_picture(tmp_path: Path) -> None:
    html = write(tmp_path, Finding("unreadable", (Evidence(("missing.png",), "It is cut."),)))
    assert "<tr><td>missing.png</td><td>It is cut.</td></tr>" in html


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    html = write(tmp_path, Finding("empty", (Evidence((HOSTILE,), HOSTILE, ("<b>",)),)))
    assert "<script" not in html
    assert "\x1b" not in html
    assert "<b>&lt;b&gt;</b>" in html


def test_figures_of_before_do_not_stay(tmp_path: Path) -> None:
    write(tmp_path)
    nothing = dataclasses.replace(diagnosis_of(), label_lengths=None, widths=None)
    write_datasheet(nothing, tmp_path, dataset=FakeDataset())
    assert {path.name for path in tmp_path.iterdir()} == {"check.json", "index.html"}


def test_a_datasheet_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"Drawing figures needs the extra 'train'"):
        write(tmp_path / "report")
    assert not (tmp_path / "report").exists()
