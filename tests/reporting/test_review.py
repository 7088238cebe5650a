"""The page of suspects stands alone, is safe whatever the data hold, and saves what was decided."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from well_formed import WellFormed

from crnn_captcha.corrections import Correction, read_corrections
from crnn_captcha.dataset import Sample
from crnn_captcha.errors import DatasetError
from crnn_captcha.images import decode_image
from crnn_captcha.reporting import review
from crnn_captcha.reporting.markup import MAX_SIDE
from crnn_captcha.reporting.review import write_review
from crnn_captcha.reporting.showcase import png
from crnn_captcha.suspects import REASONS, Suspect

HOSTILE = "train/</script><script>alert(1)</script>\"'&,\x1b\r-1.png"
STUB = Path(__file__).parent / "review_stub.js"


class FakeDataset:
    """Every sample has one and the same image, but for one that is gone."""

    def __init__(self, width: int = 60) -> None:
        self.width = width

    def read(self, sample: Sample, /) -> bytes:
        if sample.name == "gone.png":
            raise DatasetError("It is gone.")
        return png(np.full((20, self.width, 3), 200, np.uint8))


class Page(WellFormed):
    """What is on a page."""

    @property
    def tags(self) -> list[tuple[str, dict[str, str | None]]]:
        return self.elements

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all such tags."""
        return [attributes for name, attributes in self.tags if name == tag]


def suspect(name: str = "train/a0-1.png", label: str = "a0", text: str = "ao") -> Suspect:
    return Suspect(name, label, text, 1.5e-7, 0.875, "look-alike", 3.0)


def write(path: Path, *suspects: Suspect, dataset: FakeDataset | None = None) -> Page:
    write_review(
        suspects,
        path / "review.html",
        dataset=dataset or FakeDataset(),
        key="0123",
        facts={"data": "<b>data.zip"},
    )
    return Page((path / "review.html").read_text(encoding="utf-8"))


# --- what is on it --------------------------------------------------------------------------


def test_a_row_says_all_there_is_to_know(tmp_path: Path) -> None:
    page = write(tmp_path, suspect(), suspect("train/b-2.png", "b", "c"))
    assert [row["data-row"] for row in page.of("article")] == ["", ""]
    for expected in ("a0", "ao", "87.5 %", "1.5e-07", REASONS["look-alike"], "train/a0-1.png"):
        assert expected in page.text
    assert "data: <b>data.zip · suspects: 2" in page.text
    decisions = [b["data-decision"] for b in page.of("button") if "data-decision" in b]
    assert decisions == ["keep", "change", "drop"] * 2
    assert [field["value"] for field in page.of("input")] == ["ao", "c"]


def test_the_difference_is_marked(tmp_path: Path) -> None:
    html = write(tmp_path, suspect(label="a0b", text="axbc"), suspect(text="")).html
    assert '<span class="text">a<i>0</i>b<i> </i></span>' in html
    assert '<span class="text">a<i>x</i>b<i>c</i></span>' in html
    assert '<span class="text">nothing</span>' in html


def test_the_page_stands_alone(tmp_path: Path) -> None:
    page = write(tmp_path, suspect())
    assert {"link", "iframe", "form", "object"}.isdisjoint(tag for tag, _ in page.tags)
    assert [path.name for path in tmp_path.iterdir()] == ["review.html"]
    (image,) = page.of("img")
    assert (image["src"] or "").startswith("data:image/png;base64,")
    assert not any({"src", "href"} & attributes.keys() for attributes in page.of("script"))
    for word in ("://", "fetch(", "XMLHttpRequest", "import("):
        assert word not in page.html


def test_only_our_script_may_run(tmp_path: Path) -> None:
    page = write(tmp_path, suspect())
    (policy,) = (m["content"] or "" for m in page.of("meta") if "http-equiv" in m)
    _, script = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert script == Path(review.__file__).with_name("review.js").read_text(encoding="utf-8")


def test_what_the_data_hold_can_do_nothing(tmp_path: Path) -> None:
    hostile = suspect(HOSTILE, "<img src=x>", '"><script>')
    page = write(tmp_path, hostile, suspect("train/\udc80-1.png"))
    assert len(page.of("script")) == len(page.scripts) == 2
    assert len(page.of("img")) == 2
    data = json.loads(page.scripts[0])
    assert [row["name"] for row in data["suspects"]] == [HOSTILE, "train/\udc80-1.png"]
    assert data["suspects"][0]["label"] == "<img src=x>"
    assert "<" not in page.scripts[0]
    assert page.of("input")[0]["value"] == '"><script>'
    assert "\x1b" not in page.html


def test_a_picture_that_is_gone_leaves_its_row(tmp_path: Path) -> None:
    page = write(tmp_path, suspect("gone.png"))
    assert "The picture can't be shown." in page.text
    assert page.of("img") == []


@pytest.mark.parametrize(("width", "shown"), [(60, 60), (1500, MAX_SIDE)], ids=["small", "large"])
def test_pictures_are_bounded(tmp_path: Path, width: int, shown: int) -> None:
    (image,) = write(tmp_path, suspect(), dataset=FakeDataset(width)).of("img")
    data = base64.b64decode((image["src"] or "").partition(",")[2])
    assert decode_image(data).shape[1] == shown


def test_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "MAX_ROWS", 2)
    page = write(tmp_path, *(suspect(f"{i}.png") for i in range(1234)))
    assert len(page.of("article")) == len(json.loads(page.scripts[0])["suspects"]) == 2
    assert "suspects: 2, all 1,234 are in suspects.json" in page.text


def test_no_suspects_are_a_page_too(tmp_path: Path) -> None:
    assert "suspects: 0" in write(tmp_path).text


# --- what it does ---------------------------------------------------------------------------

Step = Sequence[Any]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="runs the script with Node")
SUSPECTS = (suspect("b,1.png", "b", "c"), suspect(HOSTILE, 'a"0'), suspect("c.png", "c", "d"))


def use(page: Page, *steps: Step, **options: Any) -> dict[str, Any]:
    """What comes of some steps on the page, and of saving after them."""
    given = {"suspects": page.scripts[0], "script": page.scripts[1], "steps": steps, **options}
    done = subprocess.run(
        ["node", STUB], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def saved(result: dict[str, Any], path: Path) -> set[Correction]:
    assert result["saved"]["name"] == "corrections.csv"
    (path / "corrections.csv").write_bytes(result["saved"]["text"].encode("latin-1"))
    return set(read_corrections(path / "corrections.csv").entries)


KEYS: list[Step] = [
    ("key", "1"),  # and on to the next
    ("key", "e"),
    ("type", 'x "y", z'),
    ("in field", "Enter"),
    ("key", "3"),
]
EXPECTED = {
    Correction("b,1.png", "b", "keep"),
    Correction(HOSTILE, 'a"0', "change", 'x "y", z'),
    Correction("c.png", "c", "drop"),
}


@needs_node
def test_what_is_decided_by_keys_is_saved_for_the_command_line(tmp_path: Path) -> None:
    result = use(write(tmp_path, *SUSPECTS), *KEYS)
    assert saved(result, tmp_path) == EXPECTED
    assert result["decided"] == "3 of 3 decided"
    assert result["states"] == ["keep", "change", "drop"]
    assert result["notice"] == "Saved 3 decisions."


@needs_node
def test_clicks_decide_and_take_back(tmp_path: Path) -> None:
    page = write(tmp_path, *SUSPECTS)
    result = use(page, ("click", [0, 2]), ("click", [2, 0]), ("click", [2, 0]))
    assert saved(result, tmp_path) == {Correction("b,1.png", "b", "drop")}
    assert result["decided"] == "1 of 3 decided"


@needs_node
def test_the_browser_keeps_decisions_also_of_an_earlier_list(tmp_path: Path) -> None:
    kept = use(write(tmp_path, *SUSPECTS), *KEYS)["kept"]
    assert list(kept) == ["crnn-captcha corrections 0123"]
    later = write(tmp_path, SUSPECTS[2], suspect("new.png"))
    result = use(later, ("key", "0"), ("key", "j"), ("key", "1"), kept=kept)
    expected = EXPECTED - {Correction("c.png", "c", "drop")}
    assert saved(result, tmp_path) == expected | {Correction("new.png", "a0", "keep")}
    assert result["decided"] == "1 of 2 decided"


@needs_node
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Type what the image says."),
        (" c", "No white space at the ends, please."),
        ("x\u200by", "Only characters that can be printed, please."),
        ("x\u00a0y", "Only characters that can be printed, please."),
        ("b", "That is the label it has: keep it."),
    ],
)
def test_what_is_no_correction_is_not_taken(tmp_path: Path, text: str, message: str) -> None:
    steps = ("key", "e"), ("type", text), ("in field", "Enter")
    result = use(write(tmp_path, *SUSPECTS), *steps)
    assert result["messages"] == [message, "", ""]
    assert saved(result, tmp_path) == set()


@needs_node
@pytest.mark.parametrize(
    "options",
    [
        {"full": True},
        {"kept": {"crnn-captcha corrections 0123": "no JSON"}, "full": True},
    ],
    ids=["full", "foreign"],
)
def test_without_storage_it_says_so_and_still_saves(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    page = write(tmp_path, *SUSPECTS)
    result = use(page, ("click", [0, 0]), **options)
    assert result["noticed"] == "This browser keeps nothing: save corrections.csv before you leave."
    assert saved(result, tmp_path) == {Correction("b,1.png", "b", "keep")}


@needs_node
@pytest.mark.parametrize(
    ("typed", "expected", "message"),
    [
        (["xyzzy"], {Correction("b,1.png", "b", "change", "xyzzy")}, ""),
        ([""], set(), "Type what the image says."),
        (["", " ", "abc"], {Correction("b,1.png", "b", "change", "abc")}, ""),
    ],
)
def test_a_correction_that_is_typed_anew_is_what_is_saved(
    tmp_path: Path, typed: Sequence[str], expected: set[Correction], message: str
) -> None:
    first: list[Step] = [("key", "e"), ("type", "xyz"), ("in field", "Enter"), ("key", "k")]
    again: list[Step] = [("key", "e"), *(("type", text) for text in typed), ("in field", "Escape")]
    result = use(write(tmp_path, *SUSPECTS), *first, *again)
    assert saved(result, tmp_path) == expected
    assert result["messages"] == [message, "", ""]


@needs_node
def test_a_name_that_is_no_unicode_is_saved_as_it_is(tmp_path: Path) -> None:
    names = "b\udcfccher/\U0001f600é.png", "c.png"
    page = write(tmp_path, *(suspect(name, "b", "c") for name in names))
    result = use(page, ("click", [0, 0]), ("click", [1, 0]))
    assert saved(result, tmp_path) == {Correction(name, "b", "keep") for name in names}
