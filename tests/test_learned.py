"""Images are known again by their files, whatever becomes of names, labels and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crnn_captcha import learned as learned_module
from crnn_captcha.dataset import open_dataset
from crnn_captcha.learned import (
    count_known,
    count_seen,
    from_bytes,
    from_text,
    learned_from,
    to_bytes,
    to_text,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of 200 small files: what is in them doesn't matter here."""
    for number in range(200):
        split = "train" if number < 150 else "test"
        path = tmp_path / "data" / split / f"{number:04d}-0.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"image {number}".encode())
    return tmp_path / "data"


def test_images_are_known_again_under_other_names_and_in_other_splits(data: Path) -> None:
    before = open_dataset(data, validation_fraction=0.2)
    learned = learned_from(before)
    assert len(learned) == 120
    assert count_seen(before, before.samples("train"), learned) == 120
    assert count_seen(before, before.samples("validation"), learned) == 0
    assert count_seen(before, before.samples("test"), learned) == 0
    for sample in before.samples("train"):
        path = data / sample.name
        path.rename(path.with_name(f"new-{path.name}"))
    after = open_dataset(data, validation_fraction=0.2, seed=7)
    seen = count_seen(after, after.samples("validation"), learned)
    assert seen == sum(s.name.startswith("train/new") for s in after.samples("validation"))
    assert seen > 10


def test_what_the_model_before_has_learned_from_counts_too(data: Path) -> None:
    first = learned_from(open_dataset(data, validation_fraction=0.2))
    second = open_dataset(data, validation_fraction=0.2, seed=7)
    both = learned_from(second, first)
    assert set(first) < set(both)
    assert set(learned_from(second)) < set(both)
    assert len(both) < len(first) + 120


def test_what_cannot_be_read_is_not_learned_from(data: Path) -> None:
    dataset = open_dataset(data)
    (data / dataset.samples("train")[0].name).unlink()
    assert len(learned_from(dataset)) == len(dataset.samples("train")) - 1


def test_as_many_as_may_be_copies_are_not_known(data: Path) -> None:
    dataset = open_dataset(data)
    test = dataset.samples("test")
    of_train = learned_from(dataset)
    one, two = (learned_from(dataset, learned_module._hashes(dataset, test[:n])) for n in (1, 2))
    assert len(of_train) < len(one) < len(two)
    copied = [*test, *dataset.samples("train")[:1], *dataset.samples("validation")] * 2
    assert count_seen(dataset, test, one) == count_known(dataset, test, one) == 1
    assert count_seen(dataset, test, two) == count_known(dataset, test, two) == 2
    many = [*test] * 2 + [*dataset.samples("validation")] * 10
    assert len(many) >= 200
    assert count_seen(dataset, many, one) == 2
    assert count_known(dataset, many, one) == 0
    assert count_known(dataset, copied, of_train) == 2


def test_what_agrees_by_chance_is_not_seen(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(data)
    test = dataset.samples("test")
    hashes = learned_module._hashes(dataset, test)
    many = np.unique(np.concatenate([hashes[:2], np.arange(2**22, dtype=np.uint32)]))
    again = [*test] * (20_000 // len(test))  # of which some 20 would be seen by chance
    monkeypatch.setattr(learned_module, "_hashes", lambda *_: np.resize(hashes, len(again)))
    seen = np.isin(np.resize(hashes, len(again)), many).sum()
    assert count_seen(dataset, again, many) == seen > 50
    monkeypatch.setattr(learned_module, "_hashes", lambda *_: np.r_[hashes[:2], [2**31] * 19_998])
    assert np.isin(hashes[:2], many).all()
    assert count_seen(dataset, again, many) == 0


def test_where_all_is_drawn_nothing_but_the_past_is_learned_from(data: Path) -> None:
    before = learned_from(open_dataset(data))
    for path in (data / "train").iterdir():
        path.unlink()
    (data / "validation").mkdir()
    (data / "validation" / "0001-0.png").write_bytes(b"image 1000")
    after = open_dataset(data)
    assert len(learned_from(after)) == 0
    assert np.array_equal(learned_from(after, before), before)


def test_what_is_written_is_read(data: Path) -> None:
    learned = learned_from(open_dataset(data))
    for again in (from_bytes(to_bytes(learned)), from_text(to_text(learned))):
        assert again is not None
        assert again.dtype == np.uint32
        assert np.array_equal(again, learned)


@pytest.mark.parametrize("text", [None, 7, "", "?", "abc", "AAA=", "AAAAAAA="])
def test_what_is_none_is_none(text: object) -> None:
    assert from_text(text) is None


def test_very_many_are_left_out_of_a_bundle() -> None:
    assert to_text(np.zeros(learned_module.MOST_IN_TEXT, np.uint32))
    assert not to_text(np.zeros(learned_module.MOST_IN_TEXT + 1, np.uint32))
