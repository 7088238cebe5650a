from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from well_formed import WellFormed

from crnn_captcha.charset import Charset
from crnn_captcha.dataset import Sample
from crnn_captcha.errors import MissingExtraError, RunError
from crnn_captcha.images import load_image
from crnn_captcha.outcomes import Outcome, summarize
from crnn_captcha.reporting.page import EXAMPLES, prepare_report, spread, write_report
from crnn_captcha.reporting.showcase import Pixels, png

pytest.importorskip("matplotlib")

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\udc80.png"


class FakeDataset:
    """Every sample has one and the same image."""

    def read(self, sample: Sample, /) -> bytes:
        return png(np.full((20, 60, 3), 200, np.uint8))


class Page(WellFormed):
    """What is on a page, and where it comes from."""

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    @property
    def sources(self) -> list[str]:
        return [
            value or ""
            for _, attributes in self.elements
            for name, value in attributes.items()
            if name in {"src", "href"}
        ]


def pipeline(image: Pixels) -> Pixels:
    return image.transpose(1, 0, 2)


def write(directory: Path, *outcomes: Outcome, title: str = "Title") -> Page:
    result = summarize(outcomes, charset=Charset("abc"), seconds=0.5)
    page = write_report(
        result,
        directory,
        dataset=FakeDataset(),
        pipeline=pipeline,
        title=title,
        facts={"data": HOSTILE},
    )
    assert page == directory / "index.html"
    return Page(page.read_text(encoding="utf-8"))


MIXED = (
    Outcome("a.png", "abc", "abc", 0.9),
    Outcome("b.png", "abc", "acc", 0.4),
    Outcome("c.png", "abc", "", 0.0, broken="It is broken."),
)


def test_everything_is_written(tmp_path: Path) -> None:
    write(tmp_path / "new" / "report", *MIXED)
    assert {path.name for path in (tmp_path / "new" / "report").iterdir()} == {
        "by-length.png",
        "confidence.png",
        "confusion-map.png",
        "confusions.png",
        "evaluation.json",
        "evaluation.md",
        "index.html",
        "risk-coverage.png",
        "showcase.png",
    }
    figures = json.loads((tmp_path / "new/report/evaluation.json").read_text(encoding="utf-8"))
    assert (figures["images"], figures["exact_match"]) == (3, pytest.approx(1 / 3))
    assert [row["text"] for row in figures["outcomes"]] == ["abc", "acc", ""]
    markdown = (tmp_path / "new/report/evaluation.md").read_text(encoding="utf-8")
    assert markdown.startswith("# Title\n\n- data: ")
    assert "1 of 3 images were read" in markdown
    assert "Coverage: of these images the surest 33.3 % are read 100.0 % right" in markdown
    showcase = load_image(tmp_path / "new/report/showcase.png")
    assert showcase.shape[0] < 400  # two rows: the broken image has no picture


def test_the_page_stands_alone(tmp_path: Path) -> None:
    page = write(tmp_path, *MIXED)
    assert {"script", "link", "iframe", "form"}.isdisjoint(page.tags)
    assert len(page.sources) == 5 + 2 * 2  # figures, and two pictures for each example
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)


def test_the_page_says_the_figures(tmp_path: Path) -> None:
    page = write(tmp_path, *MIXED)
    for words in ("33.3 %", "1 of 3 images", "Wrong: 1 of 2", "Right: 1 of 1", "b read as c"):
        assert words in page.text
    assert "It is broken." in page.text
    assert "exact match of the surest 100.0 %" in page.text
    assert "the surest 33.3 % are read 100.0 % right" in page.text


def test_large_images_are_scaled_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 1800, 3), np.uint8)
    monkeypatch.setattr(FakeDataset, "read", lambda self, sample: png(noise))
    page = write(tmp_path / "report", *MIXED)
    pictures = [source for source in page.sources if len(source) > 100_000]
    widths = [load_image(b64decode(source.partition(",")[2])).shape[1] for source in pictures]
    assert 1800 not in widths
    assert widths.count(640) == 4  # two images, and what the network sees of them


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    outcomes = [
        Outcome(HOSTILE, "<b>&", "<i>x", 0.5),
        Outcome(HOSTILE, "abc", "", 0.0, broken=f"Broken: {HOSTILE}"),
    ]
    page = write(tmp_path, *outcomes, title="</title><script>")
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "\x1b" not in html
    assert "script" not in page.tags
    assert "<script>alert(1)</script>\"'&�[2J�.png" in page.text
    assert "\x1b" not in (tmp_path / "evaluation.md").read_text(encoding="utf-8")


def test_a_report_without_a_readable_image(tmp_path: Path) -> None:
    page = write(tmp_path, MIXED[2])
    assert "0.0 %" in page.text
    assert not (tmp_path / "showcase.png").exists()


def test_pictures_of_before_do_not_stay(tmp_path: Path) -> None:
    write(tmp_path, *MIXED)
    (tmp_path / "curves.png").write_bytes(b"of a training")
    write(tmp_path, MIXED[2])
    assert not (tmp_path / "showcase.png").exists()
    assert not (tmp_path / "curves.png").exists()


def test_examples_are_spread_over_the_split() -> None:
    outcomes = [Outcome(str(i), "a", "a", 1.0) for i in range(100)]
    assert [outcome.name for outcome in spread(outcomes, 4)] == ["0", "25", "50", "75"]
    assert spread(outcomes[:3], EXAMPLES) == outcomes[:3]


def test_a_report_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"written into a folder. Received: .*file"):
        prepare_report(tmp_path / "file")


def test_a_report_needs_a_folder_to_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("crnn_captcha.reporting.page.TemporaryFile", refuse)
    with pytest.raises(RunError, match=r"written into a folder. .*report \(Permission denied"):
        prepare_report(tmp_path / "report")


def test_a_report_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"Drawing figures needs the extra 'train'"):
        prepare_report(tmp_path / "report")
    assert not (tmp_path / "report").exists()
