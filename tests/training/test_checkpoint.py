"""A checkpoint is there whole or not at all, and a damaged one is passed over, never run."""

from __future__ import annotations

import errno
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crnn_captcha.errors import RunError
from crnn_captcha.training.checkpoint import (
    KEPT,
    Checkpoint,
    load_checkpoint,
    peek_checkpoint,
    save_checkpoint,
)

STATE = {"epoch": 2, "best": float("-inf"), "history": [{"loss": 0.1 + 0.2}], "data": "ü"}


def _checkpoint(value: float) -> Checkpoint:
    arrays: list[NDArray[Any]] = [
        np.full([3, 2], value, np.float32),
        np.array(7, np.int64),
        np.array([1, 2**32 - 1], np.uint32),
        np.zeros([0, 4], np.float16),
    ]
    return Checkpoint(arrays, {**STATE, "value": value})


def _value(folder: Path) -> Any:
    checkpoint = load_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint.state["value"]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_is_loaded_to_the_bit(tmp_path: Path) -> None:
    saved = _checkpoint(0.1)
    save_checkpoint(tmp_path / "new", 3, saved)
    loaded = load_checkpoint(tmp_path / "new")
    assert loaded is not None
    assert loaded.state == saved.state
    assert len(loaded.arrays) == len(saved.arrays)
    for array, expected in zip(loaded.arrays, saved.arrays, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected, strict=True)


def test_more_than_ten_arrays_keep_their_order(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, Checkpoint([np.array(i) for i in range(25)], {}))
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert [int(array) for array in loaded.arrays] == list(range(25))


def test_the_last_two_are_kept_and_the_newest_counts(tmp_path: Path) -> None:
    for step in (9, 10, 100, 1000):
        save_checkpoint(tmp_path, step, _checkpoint(step))
    assert KEPT == 2
    assert _names(tmp_path) == ["step-000000100.npz", "step-000001000.npz"]
    assert _value(tmp_path) == 1000


def test_the_same_step_is_written_anew(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, _checkpoint(1))
    save_checkpoint(tmp_path, 1, _checkpoint(2))
    assert _value(tmp_path) == 2


def test_there_may_be_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "missing") is None


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _halve(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 100)


def _flip_a_bit(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("array_0.npy").header_offset
    data = bytearray(path.read_bytes())
    position = data.index(b"\x93NUMPY", start) + 128  # the first value, behind the header
    data[position] ^= 1
    path.write_bytes(data)


def _rewrite(path: Path, *, without: str) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != without}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _without_an_array(path: Path) -> None:
    _rewrite(path, without="array_1.npy")


def _without_state(path: Path) -> None:
    _rewrite(path, without="state.npy")


def _no_json(path: Path) -> None:
    np.savez(path, state=np.frombuffer(b"{", np.uint8))


def _single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _other_json(path: Path) -> None:
    np.savez(path, state=np.frombuffer(b"[1]", np.uint8))


def _locked(path: Path) -> None:
    """The flag of encryption, set by a single bit."""
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


DAMAGES: list[Callable[[Path], None]] = [
    _truncate, _halve, _empty, _garbage, _flip_a_bit, _without_an_array, _without_state, _no_json,
    _single_array, _other_json, _locked,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_a_damaged_one_is_passed_over_with_a_warning(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    save_checkpoint(tmp_path, 1, _checkpoint(1))
    save_checkpoint(tmp_path, 2, _checkpoint(2))
    damage(tmp_path / "step-000000002.npz")
    with pytest.warns(UserWarning, match=r"step-000000002\.npz is damaged \(.*the one before it"):
        assert _value(tmp_path) == 1


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_another_s_run_is_looked_at_without_a_trace(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    assert peek_checkpoint(tmp_path) is None
    for step in (1, 2):
        save_checkpoint(tmp_path, step, _checkpoint(step))
    newest = peek_checkpoint(tmp_path)
    assert newest is not None
    assert newest.state["value"] == 2
    damage(tmp_path / "step-000000002.npz")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    older = peek_checkpoint(tmp_path)
    assert older is not None
    assert older.state["value"] == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.filterwarnings("ignore:The checkpoint")
@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_is_noticed_or_does_no_harm(tmp_path: Path, data: st.DataObject) -> None:
    save_checkpoint(tmp_path, 1, _checkpoint(1))
    save_checkpoint(tmp_path, 2, _checkpoint(2))
    path = tmp_path / "step-000000002.npz"
    damaged = bytearray(path.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    expected = _checkpoint(loaded.state["value"])
    for array, whole in zip(loaded.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(array, whole, strict=True)


@pytest.mark.filterwarnings("ignore:The checkpoint")
def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, _checkpoint(step))
        _truncate(tmp_path / f"step-00000000{step}.npz")
    with pytest.raises(RunError, match=r"All checkpoints in .* are damaged\. The best model"):
        load_checkpoint(tmp_path)


def test_a_full_disk_leaves_the_older_ones_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, _checkpoint(step))

    def fill(file: Any, **arrays: Any) -> None:
        file.write(b"half a check")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", fill)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(tmp_path, 3, _checkpoint(3))
    assert _names(tmp_path) == ["step-000000001.npz", "step-000000002.npz"]
    assert _value(tmp_path) == 2


def test_what_a_kill_left_half_written_is_not_looked_at(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, _checkpoint(1))
    (tmp_path / ".4711-step-000000002.npz").write_bytes(b"half")
    assert _value(tmp_path) == 1


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _spring, ()


def _spring() -> None:
    _Trap.sprung = True


def test_loading_never_unpickles(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, _checkpoint(1))
    trap = np.array([_Trap()], object)
    state = np.frombuffer(b"{}", np.uint8)
    np.savez(tmp_path / "step-000000002.npz", allow_pickle=True, state=state, array_0=trap)
    (tmp_path / "step-000000003.npz").write_bytes(pickle.dumps(_Trap()))
    with pytest.warns(UserWarning, match="is damaged"):
        assert _value(tmp_path) == 1
    assert not _Trap.sprung


def test_objects_are_not_pickled_either(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_checkpoint(tmp_path, 1, Checkpoint([np.array([_Trap()], object)], {}))
    assert _names(tmp_path) == []


def test_one_that_cannot_be_opened_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, _checkpoint(step))

    def fail(path: Path, mode: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        with pytest.raises(OSError, match="Too many open files"):
            load_checkpoint(tmp_path)
    assert _value(tmp_path) == 2


def test_a_damaged_one_makes_way_for_whole_ones(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, _checkpoint(step))
    (tmp_path / "step-000000002.npz").write_bytes(b"garbage")
    (tmp_path / ".4711-step-000000003.npz").write_bytes(b"half")  # of a killed process
    with pytest.warns(UserWarning, match="is damaged"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, 3, _checkpoint(3))
    aside = "damaged-step-000000002.npz"
    assert _names(tmp_path) == [aside, "step-000000001.npz", "step-000000003.npz"]
    assert (tmp_path / aside).read_bytes() == b"garbage"
    assert _value(tmp_path) == 3
