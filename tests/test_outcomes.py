from __future__ import annotations

import json

import pytest

from crnn_captcha.charset import Charset
from crnn_captcha.outcomes import EvaluationResult, Outcome, summarize

CHARSET = Charset("0123456789abcdefghijklmnopqrstuvwxyz")


def result_of(*pairs: tuple[str, str], charset: Charset = CHARSET) -> EvaluationResult:
    outcomes = [Outcome(f"{label}.png", label, text, 0.5) for label, text in pairs]
    return summarize(outcomes, charset=charset, seconds=2.0)


def test_every_figure_of_a_small_split() -> None:
    result = result_of(
        ("abcd", "abcd"), ("o123", "0123"), ("hello", "hellp"), ("world", "wrld"), ("zzzz", "zzzz")
    )
    figures = result.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert figures == {
        "images": 5,
        "exact_match": 0.4,
        "exact_match_interval": {
            "low": pytest.approx(0.117621, abs=1e-6),
            "high": pytest.approx(0.769276, abs=1e-6),
        },
        "cer": pytest.approx(3 / 22),
        "exact_match_lookalikes_merged": 0.6,
        "exact_match_lookalikes_merged_interval": {
            "low": pytest.approx(1 - 0.769276, abs=1e-6),
            "high": pytest.approx(1 - 0.117621, abs=1e-6),
        },
        "by_length": [
            {
                "length": 4,
                "images": 3,
                "exact_match": pytest.approx(2 / 3),
                "interval": {
                    "low": pytest.approx(0.2077, abs=1e-4),
                    "high": pytest.approx(0.9385, abs=1e-4),
                },
                "cer": pytest.approx(1 / 12),
            },
            {
                "length": 5,
                "images": 2,
                "exact_match": 0.0,
                "interval": {"low": 0.0, "high": pytest.approx(0.6576, abs=1e-4)},
                "cer": 0.2,
            },
        ],
        "confusions": [
            {"label": "o", "text": "", "edits": 1, "texts": 1, "texts_alone": 1},
            {"label": "o", "text": "0", "edits": 1, "texts": 1, "texts_alone": 1},
            {"label": "o", "text": "p", "edits": 1, "texts": 1, "texts_alone": 1},
        ],
        "broken": [],
        "unknown_characters": "",
        "labels_with_unknown_characters": 0,
        "mean_confidence": 0.5,
        "calibration_error": pytest.approx(0.1),
        "area_under_risk_coverage": 0.6,  # one confidence for all: nothing can be handed over
        "exact_match_at_coverage": [
            {"at_least": share, "confidence": 0.5, "coverage": 1.0, "exact_match": 0.4}
            for share in (0.8, 0.9, 0.95)
        ],
        "coverage_at_exact_match": [
            {"at_least": share, "confidence": None, "coverage": 0.0, "exact_match": None}
            for share in (0.95, 0.97, 0.99)
        ],
        "seconds": 2.0,
        "images_per_second": 2.5,
    }
    assert [row["text"] for row in result.to_dict(outcomes=True)["outcomes"]] == [
        "abcd", "0123", "hellp", "wrld", "zzzz"
    ]  # fmt: skip


def test_markdown_of_a_small_split() -> None:
    result = result_of(("ab", "ab"), ("a|", "ab"), charset=Charset("ab"))
    assert result.to_markdown() == GOLDEN


GOLDEN = r"""
| figure                                           | value  | 95 % interval |
| ------------------------------------------------ | ------ | ------------- |
| exact match                                      | 50.0 % | 9.5 to 90.5 % |
| exact match with o/0, l/1/i merged               | 50.0 % | 9.5 to 90.5 % |
| CER                                              | 25.0 % |               |
| images                                           | 2      |               |
| images a second                                  | 1      |               |
| mean confidence                                  | 50.0 % |               |
| calibration error                                | 0.0 %  |               |
| area under risk-coverage curve                   | 0.5000 |               |
| labels with characters unknown to the model (\|) | 1      |               |

| label length | images | exact match | 95 % interval | CER    |
| ------------ | ------ | ----------- | ------------- | ------ |
| 2            | 2      | 50.0 %      | 9.5 to 90.5 % | 25.0 % |

| read only the surest | images read | right among them | least confidence |
| -------------------- | ----------- | ---------------- | ---------------- |
| 80 % of the images   | 100.0 %     | 50.0 %           | 0.5000           |
| 90 % of the images   | 100.0 %     | 50.0 %           | 0.5000           |
| 95 % of the images   | 100.0 %     | 50.0 %           | 0.5000           |
| while 95 % are right | 0.0 %       |                  |                  |
| while 97 % are right | 0.0 %       |                  |                  |
| while 99 % are right | 0.0 %       |                  |                  |

| confusion    | edits | in texts | their only fault |
| ------------ | ----- | -------- | ---------------- |
| \| read as b | 1     | 1        | 1                |
"""[1:]


def test_the_summary_says_what_the_figure_means() -> None:
    assert result_of(("ab", "ab"), ("cd", "ce")).summary == (
        "Exact match: 1 of 2 images were read without a single wrong character; for "
        "images like these expect 9.5 to 90.5 %."
    )


def test_what_comes_of_reading_only_the_surest() -> None:
    # Of 100 images the 80 surest are right, and then ever fewer: one of five is wrong, then all.
    outcomes = [
        Outcome(str(i), "ab", "ab" if i < 80 or (i < 95 and i % 5) else "aa", 0.99 - i / 200)
        for i in range(100)
    ]
    result = summarize(outcomes, charset=CHARSET, seconds=1.0)
    figures = result.to_dict()
    at = {row["at_least"]: row for row in figures["exact_match_at_coverage"]}
    assert [at[share]["exact_match"] for share in (0.8, 0.9, 0.95)] == [1.0, 88 / 90, 92 / 95]
    assert at[0.8]["confidence"] == pytest.approx(0.99 - 79 / 200)
    most = {row["at_least"]: row["coverage"] for row in figures["coverage_at_exact_match"]}
    assert most == {0.95: 0.96, 0.97: 0.9, 0.99: 0.8}
    markdown = result.to_markdown()
    assert (
        "| 90 % of the images   | 90.0 %      | 97.8 %           | 0.5449           |" in markdown
    )
    assert (
        "| while 95 % are right | 96.0 %      | 95.8 %           | 0.5150           |" in markdown
    )
    assert result.coverage_summary == (
        "Coverage: of these images the surest 90.0 % are read 97.8 % right, if those below a "
        "confidence of 0.5449 are handed over."  # 0.99 - 89 / 200 is a little below 0.545
    )


def test_who_just_reaches_the_threshold_that_is_printed_is_not_below_it() -> None:
    outcomes = [Outcome("0", "ab", "ab", 0.98766), Outcome("1", "ab", "aa", 0.5)]
    result = summarize(outcomes, charset=CHARSET, seconds=1.0)
    assert "below a confidence of 0.9876 are" in result.coverage_summary
    assert "| 0.9876 " in result.to_markdown()


def test_no_confidence_may_be_high_enough() -> None:
    assert result_of(("ab", "ab"), ("cd", "ce")).coverage_summary == (
        "Coverage: at no confidence are 97.0 % of the surest images right."
    )


def test_a_broken_image_is_not_right_by_accident() -> None:
    assert not Outcome("a", "", "", 0.0, broken="It is broken.").right


def test_labels_the_model_cannot_spell_are_counted() -> None:
    result = result_of(("ab", "ab"), ("äb", "ab"), ("éé", "a"), charset=Charset("ab"))
    assert (result.unknown_characters, result.unknown_labels) == ("äé", 2)
    assert result.exact_match == pytest.approx(1 / 3)


def test_a_hostile_name_cannot_disturb_a_terminal() -> None:
    outcome = Outcome("x\x1b[2J\n|.png", "ab", "", 0.0, broken="bad\rname")
    markdown = summarize([outcome], charset=CHARSET, seconds=0.0).to_markdown()
    assert r"| x�[2J�\|.png | bad�name |" in markdown
