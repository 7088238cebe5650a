"""Corrections say what people decided, fit the data they were made for, and change no file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_captcha.corrections import DECISIONS, Correction, Corrections, read_corrections
from crnn_captcha.dataset import Dataset, Sample, is_label, open_dataset
from crnn_captcha.errors import DatasetError

HEADER = "filename,label,decision,correction\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty images to learn from and to validate with, and one to test with."""
    names = [f"train/{'ab' * (1 + i % 3)}-{i}.png" for i in range(20)] + ["test/ba-20.png"]
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"no image")
    return tmp_path / "data"


def labels(dataset: Dataset) -> dict[str, str]:
    return {s.name: s.label for samples in dataset.splits.values() for s in samples}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


# --- what a file says -----------------------------------------------------------------------


def test_a_file_says_what_was_decided(tmp_path: Path) -> None:
    path = write(
        tmp_path / "corrections.csv",
        f"\ufeff{HEADER}b.png,b,keep,\r\n\n"  # as a spreadsheet or an editor leaves it
        '"a,""1"".png","a,""1""",change,a\n'
        "c.png,c,drop,",
    )
    corrections = read_corrections(path)
    assert corrections.entries == (
        Correction("b.png", "b", "keep"),
        Correction('a,"1".png', 'a,"1"', "change", "a"),
        Correction("c.png", "c", "drop"),
    )
    assert corrections.changed == {'a,"1".png': "a"}
    assert corrections.dropped == {"c.png"}
    assert corrections.summary == "1 changed, 1 dropped, 1 kept"


texts = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=8)


@st.composite
def decisions(draw: st.DrawFn) -> Correction:
    name, label = draw(texts), draw(texts)
    decision = draw(st.sampled_from(DECISIONS))
    others = texts.filter(lambda text: is_label(text) and text != label)
    return Correction(name, label, decision, draw(others) if decision == "change" else "")


@given(st.lists(decisions(), unique_by=lambda entry: entry.name, max_size=5))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Correction]
) -> None:
    path = tmp_path_factory.mktemp("corrections") / "corrections.csv"
    corrections = Corrections(tuple(entries))
    corrections.write(path)
    again = read_corrections(path)
    assert again.entries == tuple(sorted(entries, key=lambda entry: entry.name))
    assert again.digest == corrections.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "with the header ''", id="empty"),
        pytest.param("filename,label\na.png,a\n", "with the header 'filename,label'", id="a CSV"),
        pytest.param(f"{HEADER}a.png,a,keep\n", "whose line 2 has 3 columns", id="too few"),
        pytest.param(f"{HEADER}a.png,a,keep,,\n", "whose line 2 has 5 columns", id="too many"),
        pytest.param(f'{HEADER}"a.png,a', "can't be read as UTF-8 CSV", id="an open quote"),
        pytest.param(f"{HEADER}a.png,a,fix,b\n", "'fix' for 'a.png'", id="unknown decision"),
        pytest.param(f"{HEADER}a.png,a,Keep,\n", "is keep, change, drop", id="capitals"),
        pytest.param(f"{HEADER}a.png,a,change,\n", "Received: '' for 'a.png'", id="no correction"),
        pytest.param(f"{HEADER}a.png,a,change, b\n", "no white space at its ends", id="space"),
        pytest.param(f"{HEADER}a.png,a,change,b\x07\n", r"'b\x07' for 'a.png'", id="unprintable"),
        pytest.param(f"{HEADER}a.png,a,change,a\n", "names another. Received: 'a'", id="the same"),
        pytest.param(f"{HEADER}a.png,a,drop,b\n", "has no correction. Received: 'drop'", id="drop"),
        pytest.param(
            f"{HEADER}a.png,a,keep,\na.png,a,drop,\n", "several for 'a.png'", id="an image twice"
        ),
    ],
)
def test_what_is_no_correction_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(message)):
        read_corrections(write(tmp_path / "corrections.csv", text))


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_bytes(HEADER.encode() + b"\xff.png,a,keep,\n")
    with pytest.raises(DatasetError, match="can't be read as UTF-8 CSV"):
        read_corrections(path)
    with pytest.raises(DatasetError, match=r"can't be read as UTF-8 CSV: .*No such file"):
        read_corrections(tmp_path / "missing.csv")


# --- what they do ---------------------------------------------------------------------------


def test_labels_change_and_images_are_left_out(data: Path) -> None:
    dataset = open_dataset(data)
    before = labels(dataset)
    corrections = Corrections(
        (
            Correction("train/ab-0.png", "ab", "change", "ababab"),
            Correction("train/ab-3.png", "ab", "drop"),
            Correction("train/ab-6.png", "ab", "keep"),
            Correction("test/ba-20.png", "ba", "change", "b"),
        )
    )
    corrected = corrections.apply(dataset)
    changed = {"train/ab-0.png": "ababab", "test/ba-20.png": "b"}
    expected = {n: changed.get(n, label) for n, label in before.items() if n != "train/ab-3.png"}
    assert labels(corrected) == expected
    for split, samples in dataset.splits.items():  # although validation is cut by label length
        names = [s.name for s in samples if s.name != "train/ab-3.png"]
        assert [s.name for s in corrected.splits[split]] == names
    assert labels(dataset) == before == labels(open_dataset(data))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param(
            Correction("train/zz-0.png", "zz", "drop"),
            "Received: 'train/zz-0.png', not among them",
            id="an unknown file",
        ),
        pytest.param(
            Correction("train/ab-0.png", "ba", "keep"),
            "Received: 'ba' for 'train/ab-0.png', which has 'ab' (1 such rows)",
            id="another label",
        ),
    ],
)
def test_corrections_of_other_data_are_refused(data: Path, entry: Correction, message: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(message)):
        Corrections((entry,)).apply(open_dataset(data))


def test_more_can_be_left_out() -> None:
    changed = Correction("a.png", "a", "change", "b")
    kept = Correction("b.png", "b", "keep")
    more = Corrections((changed, kept)).dropping([Sample("a.png", "a"), Sample("c.png", "c")])
    assert more.changed == {}
    assert more.dropped == {"a.png", "c.png"}
    assert kept in more.entries


# --- what tells them apart ------------------------------------------------------------------

CHANGE, DROP = Correction("a.png", "a", "change", "b"), Correction("b.png", "b", "drop")
KEEP = Correction("c.png", "c", "keep")


@pytest.mark.parametrize(
    ("entries", "same"),
    [
        pytest.param((CHANGE, DROP), True, id="the same"),
        pytest.param((DROP, CHANGE), True, id="in another order"),
        pytest.param((DROP, KEEP, CHANGE), True, id="and what changes nothing"),
        pytest.param((CHANGE,), False, id="one less"),
        pytest.param((Correction("a.png", "a", "change", "c"), DROP), False, id="another label"),
        pytest.param((Correction("a.png", "a", "drop"), DROP), False, id="another decision"),
    ],
)
def test_the_digest_tells_what_they_do(entries: tuple[Correction, ...], same: bool) -> None:
    digest = Corrections((CHANGE, DROP)).digest
    assert re.fullmatch("[0-9a-f]{32}", digest)
    assert (Corrections(entries).digest == digest) is same


@pytest.mark.parametrize("entries", [(), (KEEP,)], ids=["none", "kept only"])
def test_what_does_nothing_has_no_digest(entries: tuple[Correction, ...]) -> None:
    assert Corrections(entries).digest == ""
