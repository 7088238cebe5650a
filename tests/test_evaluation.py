from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest

from crnn_captcha.charset import Charset
from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import Sample
from crnn_captcha.decoding import Reading
from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.evaluation import correct, evaluate, raw_and_corrected
from crnn_captcha.outcomes import Outcome

CHARSET = Charset("0123456789abcdefghijklmnopqrstuvwxyz")


@dataclass
class FakeRecognizer:
    """Reads the text that the file holds; a file that begins with '!' is broken."""

    charset: Charset = CHARSET
    batches: list[int] = field(default_factory=list)

    def read_many(self, images: Iterable[bytes], /) -> Iterator[Reading | ImageError]:
        batch = list(images)
        self.batches.append(len(batch))
        for image in batch:
            if image.startswith(b"!"):
                yield ImageError("It is broken.")
            else:
                yield Reading(image.decode(), 0.5, ())


class FakeDataset:
    """The file of 'folder/text' holds 'text'; that of 'gone' can't be opened."""

    def read(self, sample: Sample, /) -> bytes:
        if sample.name == "gone":
            raise DatasetError("It is gone.")
        return sample.name.rpartition("/")[2].encode()


def test_a_broken_image_is_the_last_to_be_read() -> None:
    samples = [Sample("!", "bb"), *(Sample(text, text) for text in ("aa", "cc", "dd"))]
    found = evaluate(FakeRecognizer(), FakeDataset(), samples).risk_coverage
    assert [(p.coverage, p.exact_match) for p in found.points] == [(0.75, 1.0), (1.0, 0.75)]
    assert found.area == 0.0625


def test_evaluate_keeps_the_order_and_the_batch_size(capsys: pytest.CaptureFixture[str]) -> None:
    recognizer = FakeRecognizer()
    samples = [Sample(f"test/{text}", text) for text in "abcde"]
    result = evaluate(recognizer, FakeDataset(), samples, batch_size=2)
    assert recognizer.batches == [2, 2, 1]
    assert result.outcomes == tuple(Outcome(f"test/{text}", text, text, 0.5) for text in "abcde")
    assert result.exact_match == 1
    assert capsys.readouterr() == ("", "")


def test_of_large_files_fewer_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crnn_captcha.windows.MAX_WINDOW_BYTES", 6)
    recognizer = FakeRecognizer()
    samples = [Sample(f"test/{text}", text) for text in ("abcd", "ef", "0123", "a", "b", "c")]
    result = evaluate(recognizer, FakeDataset(), samples)
    assert recognizer.batches == [2, 3, 1]
    assert result.exact_match == 1


def test_a_broken_image_counts_as_wrong_and_costs_no_other() -> None:
    samples = [Sample("aa", "aa"), Sample("!", "bb"), Sample("gone", "cc"), Sample("dd", "dd")]
    result = evaluate(FakeRecognizer(), FakeDataset(), samples)
    assert (result.images, result.exact_match, result.cer) == (4, 0.5, 0.5)
    assert [outcome.right for outcome in result.outcomes] == [True, False, False, True]
    assert result.mean_confidence == 0.5
    assert result.to_dict()["broken"] == [
        {"name": "!", "reason": "It is broken."},
        {"name": "gone", "reason": "It is gone."},
    ]
    assert "| broken images, counted as wrong    | 2 " in result.to_markdown()
    assert "| gone         | It is gone.   |" in result.to_markdown()


def test_all_broken_is_still_a_result() -> None:
    samples = [Sample("gone", f"a{i}") for i in range(12)]
    result = evaluate(FakeRecognizer(), FakeDataset(), samples)
    assert (result.exact_match, result.images_per_second, result.mean_confidence) == (0, 0, 0)
    assert "| and 2 more   | the JSON output names all |" in result.to_markdown()


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(FakeRecognizer(), FakeDataset(), [Sample("a", "a")], progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "reading" in captured.err
    assert "1/1" in captured.err


@pytest.mark.parametrize(
    ("samples", "batch_size", "error", "message"),
    [
        pytest.param([], 1, DatasetError, "at least one sample", id="no samples"),
        pytest.param([Sample("a", "a")], 0, ValueError, "`batch_size` is at least 1", id="batch"),
    ],
)
def test_evaluate_refuses(
    samples: list[Sample], batch_size: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluate(FakeRecognizer(), FakeDataset(), samples, batch_size=batch_size)


def test_the_same_readings_by_corrected_labels() -> None:
    samples = [Sample("t/aa", "ao"), Sample("t/bb", "bb"), Sample("t/cc", "cx"), Sample("!", "dd")]
    raw = evaluate(FakeRecognizer(), FakeDataset(), samples)
    corrections = Corrections(
        (
            Correction("t/aa", "ao", "change", "aa"),
            Correction("t/cc", "cx", "drop"),
            Correction("t/bb", "bb", "keep"),
            Correction("t/elsewhere", "ee", "drop"),
        )
    )
    corrected = correct(raw, corrections, CHARSET)
    assert (raw.images, raw.exact_match) == (4, 0.25)
    assert corrected.images == 3
    assert corrected.exact_match == pytest.approx(2 / 3)
    assert [outcome.name for outcome in corrected.outcomes] == ["t/aa", "t/bb", "!"]
    assert [outcome.name for outcome in corrected.broken] == ["!"]
    assert corrected.images_per_second == pytest.approx(raw.images_per_second)
    assert raw_and_corrected(raw, corrected).splitlines()[:3] == [
        "| figure                          | raw labels    | corrected labels |",
        "| ------------------------------- | ------------- | ---------------- |",
        "| exact match                     | 25.0 %        | 66.7 %           |",
    ]
    assert "| images                          | 4             | 3 " in raw_and_corrected(
        raw, corrected
    )


def test_corrections_leave_something_to_measure() -> None:
    raw = evaluate(FakeRecognizer(), FakeDataset(), [Sample("aa", "aa")])
    with pytest.raises(DatasetError, match="Received: corrections that drop all 1"):
        correct(raw, Corrections((Correction("aa", "aa", "drop"),)), CHARSET)
