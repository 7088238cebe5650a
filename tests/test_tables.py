from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crnn_captcha import tables
from crnn_captcha.errors import ConfigError, MissingExtraError, RunError
from crnn_captcha.tables import FORMATS, Row, Table

READ = Row("a.png", "7x2k", 0.25, "")
BROKEN = Row("b.png", "", None, "An image, broken.")
ODD = Row('odd ,"\n\r\udcff\x00ä.png', 'a,"b', 1.0, "")
ROWS = [READ, BROKEN, ODD, READ]
LINES = [".csv", ".jsonl"]


def write(table: Table, rows: list[Row]) -> None:
    """Adds rows behind those that are there."""
    with table.opened() as opened:
        list(opened.lines())
        opened.cut()
        for row in rows:
            opened.append(row)


def there(table: Table) -> list[Row]:
    return list(table.finished_rows())


@pytest.mark.parametrize("suffix", LINES)
def test_rows_come_back(suffix: str, tmp_path: Path) -> None:
    table = Table(tmp_path / "new" / f"readings{suffix}")
    write(table, ROWS)
    table.finish()
    assert there(table) == ROWS


rows_of_any_kind = st.builds(
    Row,
    path=st.text(st.characters(exclude_categories=["Cs"]) | st.just("\udcff")),
    text=st.text("ab,\"'", max_size=4),
    confidence=st.none() | st.integers(0, 10_000).map(lambda tenth: tenth / 10_000),
    error=st.text('no," ', max_size=4),
    certain=st.none() | st.booleans(),
)


@pytest.mark.parametrize("suffix", LINES)
@settings(max_examples=50)
@given(rows=st.lists(rows_of_any_kind, max_size=5), more=st.lists(rows_of_any_kind, max_size=2))
def test_a_file_that_was_cut_off_anywhere_is_gone_on_with(
    suffix: str, rows: list[Row], more: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = Table(tmp_path_factory.mktemp("cut") / f"readings{suffix}", with_certain=True)
    write(table, rows)
    whole = table.out.read_bytes()
    for length in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)}:
        table.out.write_bytes(whole[: max(0, length)])
        with table.opened() as opened:
            kept = list(opened.lines())
            opened.cut()
            for row in more:
                opened.append(row)
        assert kept == rows[: len(kept)]
        assert length < len(whole) or kept == rows
        assert there(table) == kept + more


def test_csv_is_what_others_read(tmp_path: Path) -> None:
    table = Table(tmp_path / "readings.csv")
    write(table, ROWS)
    with table.out.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "text", "confidence", "error"]
    assert rows == [
        ["a.png", "7x2k", "0.2500", ""],
        ["b.png", "", "", "An image, broken."],
        [ODD.path, 'a,"b', "1.0000", ""],
        ["a.png", "7x2k", "0.2500", ""],
    ]
    assert table.out.read_bytes().startswith(b"path,text,confidence,error\na.png,7x2k,0.2500,\n")


def test_json_lines_are_what_others_read(tmp_path: Path) -> None:
    table = Table(tmp_path / "readings.JSONL")
    write(table, [READ, BROKEN])
    first, second = map(json.loads, table.out.read_text(encoding="ascii").splitlines())
    assert first == {"path": "a.png", "text": "7x2k", "confidence": 0.25, "error": ""}
    assert second == {"path": "b.png", "text": "", "confidence": None, "error": BROKEN.error}


@pytest.mark.parametrize(
    ("suffix", "ends"),
    [
        (".csv", [b",certain", b",true", b",false", b","]),
        (".jsonl", [b' "certain": true}', b' "certain": false}', b' "certain": null}']),
    ],
)
def test_certain_is_a_column_where_it_is_asked_for(
    suffix: str, ends: list[bytes], tmp_path: Path
) -> None:
    rows = [Row("a", "a", 0.9, "", True), Row("b", "b", 0.1, "", False), Row("c", "", None, "bad")]
    table = Table(tmp_path / f"readings{suffix}", with_certain=True)
    write(table, rows)
    lines = table.out.read_bytes().splitlines()
    assert len(lines) == len(ends)
    assert all(line.endswith(end) for line, end in zip(lines, ends, strict=True))
    assert there(table) == rows


@pytest.mark.parametrize("suffix", LINES)
def test_a_row_is_soon_in_the_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(tmp_path / f"readings{suffix}")
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    with table.opened() as opened:
        opened.cut()
        opened.append(READ)
        assert there(table) == []
        clock[0] += tables.FLUSH_S + 0.1
        opened.append(BROKEN)
        assert there(table) == [READ, BROKEN]


@pytest.mark.parametrize(
    ("suffix", "content", "received"),
    [
        (".csv", b"filename,label\na.png,a\n", "begins with 'filename,label"),
        (".csv", b"path,text,confidence,error,certain\n", "begins with 'path"),
        (".csv", b"path,text,confidence,error\na.png,a\n", "has the row 'a.png,a"),
        (".csv", b"path,text,confidence,error\na.png,a,high,\n", "has the row 'a.png,a,high"),
        (".csv", b'path,text,confidence,error\n"a"b"",a,1,\n', 'has the row \'"a"b'),
        (".jsonl", b"{}\n", "has the row '{}"),
        (".jsonl", b"[1]\n", r"has the row '\[1\]"),
        (".jsonl", b"\xff\n", "has the row"),
    ],
)
def test_another_file_is_left_alone(
    suffix: str, content: bytes, received: str, tmp_path: Path
) -> None:
    table = Table(tmp_path / f"readings{suffix}")
    table.out.write_bytes(content)
    with pytest.raises(RunError, match=rf"has the columns path, text.*{received}"):
        write(table, [READ])
    assert table.out.read_bytes() == content


@pytest.mark.parametrize("name", ["readings", "readings.txt", "readings.csv.gz"])
def test_the_suffix_says_the_format(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"ends in .csv, .jsonl, .parquet. Received: '{name}'"):
        Table(Path(name))


@pytest.mark.skipif(sys.platform == "win32", reason="locks are Unix'")
def test_one_process_writes_a_table(tmp_path: Path) -> None:
    table = Table(tmp_path / "readings.csv")
    write(table, [READ])
    code = """
import sys
from pathlib import Path
from crnn_captcha.tables import Table
with Table(Path(sys.argv[1])).opened():
    pass
"""
    command = [sys.executable, "-c", code, str(table.out)]
    with table.opened():
        done = subprocess.run(command, capture_output=True, text=True)
        assert "RunError: One process at a time writes a file of readings" in done.stderr
    assert subprocess.run(command).returncode == 0
    assert there(table) == [READ]


def test_where_there_are_no_locks_one_writes_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    table = Table(tmp_path / "readings.csv")
    write(table, [READ])
    assert there(table) == [READ]


# ---- Parquet


def test_parquet_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "crnn-captcha\[parquet\]"'):
        Table(Path("readings.parquet"))


def test_parquet_is_made_of_the_rows_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "ROW_GROUP", 3)
    table = Table(tmp_path / "readings.parquet", with_certain=True)
    rows = [replace(row, certain=True) for row in ROWS]
    write(table, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["readings.parquet.rows.jsonl"]
    write(table, rows[:1])
    table.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["readings.parquet"]
    found = parquet.ParquetFile(table.out)
    assert found.metadata.num_row_groups == 2
    kinds = {field.name: str(field.type) for field in found.schema_arrow}
    assert kinds == {
        "path": "string", "text": "string", "confidence": "double", "error": "string",
        "certain": "bool",
    }  # fmt: skip
    odd = replace(rows[2], path='odd ,"\n\r\\xff\x00ä.png')
    assert there(table) == [rows[0], rows[1], odd, rows[3], rows[0]]


@pytest.mark.parametrize("with_certain", [False, True])
def test_parquet_of_other_columns_is_an_error(with_certain: bool, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    first = Table(tmp_path / "readings.parquet", with_certain=with_certain)
    with first.opened() as rows:
        rows.append(Row("a.png", "a", 0.5, "", True if with_certain else None))
    first.finish()
    assert len(there(first)) == 1
    with pytest.raises(RunError, match="Parquet with the columns path, text, confidence, error"):
        there(Table(first.out, with_certain=not with_certain))


@pytest.mark.parametrize("content", [b"", b"no parquet", None], ids=["empty", "other", "columns"])
def test_another_parquet_is_an_error(content: bytes | None, tmp_path: Path) -> None:
    pyarrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    table = Table(tmp_path / "readings.parquet")
    if content is None:
        parquet.write_table(pyarrow.table({"label": ["a"]}), table.out)
    else:
        table.out.write_bytes(content)
    with pytest.raises(RunError, match="finished file of readings is Parquet with the columns"):
        there(table)


def test_a_full_disk_leaves_the_rows_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    table = Table(tmp_path / "readings.parquet")
    write(table, [READ])

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(tables, "_write_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        table.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["readings.parquet.rows.jsonl"]
    monkeypatch.undo()
    table.finish()
    assert there(table) == [READ]


def test_every_format_is_named_by_its_suffix() -> None:
    assert list(FORMATS) == [".csv", ".jsonl", ".parquet"]
