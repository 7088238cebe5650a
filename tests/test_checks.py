"""Each check finds what it is for in facts that are made up, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from crnn_captcha.checks import Evidence
from crnn_captcha.containers import Container
from crnn_captcha.dataset import BadLabel, BrokenImage, Sample, Split
from crnn_captcha.diagnosis import CHECKS, diagnose
from crnn_captcha.inspection import Facts, ImageFacts
from crnn_captcha.pipelines import Fit

PNG = Container("PNG", 1, loses=False, trailing_bytes=0)
FULL = ["abcd"] * 30
NO_LABELS: tuple[str, ...] = ()


def image(name: str, label: str = "abcd", **changes: Any) -> ImageFacts:
    """An image with nothing wrong; its split is the first folder of its name."""
    split: Split = "test" if name.startswith("test") else "train"
    values: dict[str, Any] = {
        "width": 200,
        "height": 50,
        "container": PNG,
        "digest": name.encode(),
        "empty": False,
        "fit": Fit(width=160, kept=1.0),
    }
    return ImageFacts(Sample(name, label), split, **values | changes)


def facts_of(
    *images: ImageFacts,
    train: Sequence[str] = FULL,
    validation: Sequence[str] = FULL,
    test: Sequence[str] = FULL,
    **more: Any,
) -> Facts:
    """Facts about images, and about labels that needn't be theirs."""
    labels: dict[Split, Sequence[str]] = {"train": train, "validation": validation, "test": test}
    samples = {
        split: tuple(Sample(f"{split}/{label}-{i}.png", label) for i, label in enumerate(given))
        for split, given in labels.items()
    }
    nothing: dict[str, Any] = {"broken": (), "bad_labels": (), "same": (), "alike": ()}
    nothing["alike_of_one_label"] = ()
    return Facts(samples, images, **nothing | {"time_steps": None} | more)


A, B = image("train/abcd-1.png"), image("train/abcd-2.png")
COPY = image("train/abcd-3.png", digest=A.digest)
TESTED = image("test/abcd-4.png", digest=A.digest)
LIKE_TESTED = image("test/abcd-5.png")
OTHER = image("train/wxyz-6.png", "wxyz", digest=A.digest)
OTHER_TESTED = image("test/wxyz-7.png", "wxyz")


def group(*images: ImageFacts) -> tuple[tuple[ImageFacts, ...], ...]:
    return (images,)


CASES = [
    pytest.param(
        facts_of(broken=(BrokenImage("train/a.png", "It is cut short."),)),
        {"unreadable": ["train/a.png: It is cut short."]},
        id="unreadable",
    ),
    pytest.param(
        facts_of(bad_labels=(BadLabel("train/-1.png", "train", "A label is not empty."),)),
        {"bad_label": ["train/-1.png: A label is not empty."]},
        id="bad label",
    ),
    pytest.param(
        facts_of(A, image("train/x.png", empty=True)),
        {"empty": ["train/x.png: nothing but one colour"]},
        id="one colour",
    ),
    pytest.param(
        facts_of(same=group(A, COPY)),
        {"duplicate": ["train/abcd-1.png train/abcd-3.png: in train, labelled 'abcd'"]},
        id="duplicate",
    ),
    pytest.param(
        facts_of(same=group(A, TESTED)),
        {
            "train_test_overlap": [
                "train/abcd-1.png test/abcd-4.png: in train and test, labelled 'abcd'"
            ]
        },
        id="train and test",
    ),
    pytest.param(
        facts_of(same=group(A, OTHER)),
        {
            "conflicting_labels": [
                "train/abcd-1.png train/wxyz-6.png: in train, with different labels: "
                "'abcd' and 'wxyz'"
            ]
        },
        id="conflict",
    ),
    pytest.param(
        facts_of(same=group(OTHER, TESTED)),
        {
            kind: [
                "train/wxyz-6.png test/abcd-4.png: in train and test, with different labels: "
                "'abcd' and 'wxyz'"
            ]
            for kind in ("train_test_overlap", "conflicting_labels")
        },
        id="train and test, with different labels",
    ),
    pytest.param(
        facts_of(alike=group(A, B), alike_of_one_label=group(A, B)),
        {"near_duplicate": ["train/abcd-1.png train/abcd-2.png: in train, labelled 'abcd'"]},
        id="near-duplicate",
    ),
    pytest.param(
        facts_of(alike_of_one_label=group(A, B, LIKE_TESTED)),
        {
            "near_overlap": [
                "train/abcd-1.png train/abcd-2.png test/abcd-5.png: in train and test, "
                "labelled 'abcd'"
            ]
        },
        id="near-duplicates in train and test",
    ),
    pytest.param(
        facts_of(alike=group(A, OTHER_TESTED)),
        {
            "near_conflict": [
                "train/abcd-1.png test/wxyz-7.png: in train and test, with different labels: "
                "'abcd' and 'wxyz'"
            ]
        },
        id="near-duplicates with different labels",
    ),
    pytest.param(
        facts_of(same=group(A, COPY), alike=group(A, COPY, OTHER_TESTED)),
        {
            "duplicate": ["train/abcd-1.png train/abcd-3.png: in train, labelled 'abcd'"],
            "near_conflict": [
                "train/abcd-1.png train/abcd-3.png test/wxyz-7.png: in train and test, with "
                "different labels: 'abcd' and 'wxyz'"
            ],
        },
        id="copies to the pixel aren't near-duplicates",
    ),
    pytest.param(
        facts_of(image("train/abba-0.png", "abba"), A, time_steps=4),
        {"label_too_long": ["train/abba-0.png: 'abba' needs 5 time steps of 4"]},
        id="too long by its repeat",
    ),
    pytest.param(
        facts_of(validation=["abcz", "zbcd"], test=["abcz"]),
        {"unseen_character": [": 'z' (2 in validation, 1 in test, never in train)"]},
        id="unseen character",
    ),
    pytest.param(
        facts_of(train=["abcq", *FULL]), {"seen_once": [": 'q'"]}, id="character seen once"
    ),
    pytest.param(
        facts_of(train=["abcq"] * 4 + FULL),
        {"rare_character": [": 'q' (4 in train)"]},
        id="rare character",
    ),
    pytest.param(
        facts_of(train=["abcq"] * 5 + FULL),
        {"unbalanced_character": [": 'q' (5 in train, the median is 35)"]},
        id="unbalanced character",
    ),
    pytest.param(
        facts_of(train=["aaaa"] * 40 + FULL),
        {"unbalanced_character": [": 'a' (190 in train, the median is 30)"]},
        id="frequent character",
    ),
    pytest.param(
        facts_of(train=["abcd"] * 30 + ["abc"] * 31 + ["ab"] * 5, test=["a"]),
        {
            "unbalanced_length": [
                ": 1 character (1 in test, never in train)",
                ": 2 characters (5 in train, the median is 30)",
            ]
        },
        id="unbalanced lengths",
    ),
    pytest.param(
        facts_of(
            A, image("train/x.png", fit=Fit(640, 0.94)), image("train/y.png", fit=Fit(640, 0.5))
        ),
        {
            "squeezed": [
                "train/y.png: letters get 50 % of their width",
                "train/x.png: letters get 94 % of their width",
            ]
        },
        id="squeezed, the most first",
    ),
    pytest.param(
        facts_of(
            image("train/x.png", container=Container("PNG", 1, False, 1)),
            image("train/y.png", container=Container("PNG", 1, False, 4000)),
        ),
        {
            "trailing_bytes": [
                "train/x.png: 1 byte behind its end",
                "train/y.png: 4,000 bytes behind its end",
            ]
        },
        id="trailing bytes",
    ),
    pytest.param(
        facts_of(
            image("train/x.jpg"),
            image("train/y.PNG"),
            image("train/z.jpeg", container=Container("BMP", 1, False, 0)),
        ),
        {"wrong_suffix": ["train/x.jpg: is PNG", "train/z.jpeg: is BMP"]},
        id="wrong suffix",
    ),
    pytest.param(
        facts_of(image("train/x.png", container=Container("PNG", 12, False, 0))),
        {"animated": ["train/x.png: 12 frames, of which the first is read"]},
        id="animated",
    ),
    pytest.param(
        facts_of(
            A,
            image("train/x.gif", container=Container("GIF", 1, True, 0)),
            image("train/y.jpg", container=Container("JPEG", 1, True, 0)),
            image("train/z.webp", container=Container("WebP", 1, False, 0)),
            image("train/z.jpg", container=Container("JPEG", 1, True, 0)),
        ),
        {
            "lossy": [
                "train/y.jpg train/z.jpg: JPEG, 2 of 5 images",
                "train/x.gif: GIF, 1 of 5 images",
            ]
        },
        id="lossy",
    ),
    pytest.param(
        facts_of(train=NO_LABELS, validation=NO_LABELS, test=["ab"]),
        {"empty_split": [": train", ": validation"]},
        id="empty splits, whose characters aren't missed",
    ),
    pytest.param(
        facts_of(train=["ab"] * 5, validation=NO_LABELS, test=NO_LABELS),
        {"no_validation": [": 5 in train"], "empty_split": [": test"]},
        id="nothing to validate with",
    ),
]


@pytest.mark.parametrize(("facts", "expected"), CASES)
def test_what_is_wrong_is_found_and_nothing_else(
    facts: Facts, expected: dict[str, list[str]]
) -> None:
    def said(evidence: Evidence) -> str:
        return f"{' '.join(evidence.names)}: {evidence.detail}"

    findings = diagnose(facts).findings
    assert {f.kind: [said(evidence) for evidence in f.evidence] for f in findings} == expected


def test_every_check_is_tested() -> None:
    expected = [cast(dict[str, list[str]], case.values[1]) for case in CASES]
    assert set().union(*expected) == set(CHECKS)


def test_nothing_is_found_in_good_data() -> None:
    facts = facts_of(A, B, image("train/x.jpg", container=Container("JPEG", 1, False, 0)))
    assert diagnose(facts).findings == ()


def test_a_small_squeeze_is_no_finding() -> None:
    assert diagnose(facts_of(image("train/x.png", fit=Fit(640, 0.95)))).findings == ()


@pytest.mark.parametrize(
    ("length", "width", "time_steps", "too_long"),
    [
        pytest.param(20, 80, None, False, id="as long as a narrow image allows"),
        pytest.param(21, 80, None, True, id="longer than a narrow image allows"),
        pytest.param(30, 640, None, False, id="as long as classic allows"),
        pytest.param(31, 640, None, True, id="longer than classic allows"),
        pytest.param(31, 640, 31, False, id="as long as was said"),
    ],
)
def test_labels_are_held_against_the_steps_of_their_images(
    length: int, width: int, time_steps: int | None, too_long: bool
) -> None:
    long = image("train/long.png", ("abc" * 11)[:length], fit=Fit(width, 1.0))
    kinds = [f.kind for f in diagnose(facts_of(long, time_steps=time_steps)).findings]
    assert kinds == (["label_too_long"] if too_long else [])


def test_evidence_has_the_labels_of_its_images() -> None:
    (finding,) = diagnose(facts_of(same=group(A, OTHER))).findings
    assert finding.evidence[0].labels == ("abcd", "wxyz")


def test_problems_come_before_notes() -> None:
    spoils = [check.spoils for check in CHECKS.values()]
    assert spoils == sorted(spoils, reverse=True)


def test_every_check_stands_in_the_docs() -> None:
    docs = (Path(__file__).parent.parent / "docs" / "checks.md").read_text(encoding="utf-8")
    assert [kind for kind in CHECKS if f"| `{kind}` |" not in docs] == []
