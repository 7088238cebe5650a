"""What may be wrong with a data set: functions of the facts, which yield all of one kind.

`diagnosis.CHECKS` says what each of them finds, how bad it is, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from statistics import median
from typing import TypeVar

from crnn_captcha.charset import required_time_steps
from crnn_captcha.containers import SUFFIXES
from crnn_captcha.dataset import SPLITS, Split
from crnn_captcha.inspection import Facts, ImageFacts

RARE_BELOW = 5
"""A character seen less often in train is hardly learned."""
UNBALANCED = 5
"""What is so many times rarer or more frequent than the median of its kind is out of balance."""
CLASSIC_TIME_STEPS = 495 // 16
"""Of any image; the other presets have one for each `STANDARD_STRIDE` pixels of its own width."""
STANDARD_STRIDE = 4
SQUEEZED_BELOW = 0.95
"""Share of its width that an image keeps; what is hardly narrower is no finding."""

Value = TypeVar("Value", str, int)


@dataclass(frozen=True)
class Evidence:
    """What one finding is about.

    Attributes:
        names: of the images; none where it is about something else.
        detail: a remark.
        labels: of the images, where they have one.
    """

    names: tuple[str, ...]
    detail: str
    labels: tuple[str, ...] = ()


# --- files and images -----------------------------------------------------------------------


def unreadable(facts: Facts) -> Iterator[Evidence]:
    """Images that can't be read or decoded, and why."""
    yield from (Evidence((broken.name,), broken.reason) for broken in facts.broken)


def empty(facts: Facts) -> Iterator[Evidence]:
    """Images without anything on them."""
    for image in facts.images:
        if image.empty:
            yield _about([image], "nothing but one colour")


def wrong_suffix(facts: Facts) -> Iterator[Evidence]:
    """Files whose name says another format than they have."""
    for image in facts.images:
        if PurePosixPath(image.sample.name).suffix.lower() not in SUFFIXES[image.container.format]:
            yield _about([image], f"is {image.container.format}")


def trailing_bytes(facts: Facts) -> Iterator[Evidence]:
    """Files that go on behind the image's end."""
    for image in facts.images:
        if count := image.container.trailing_bytes:
            yield _about([image], f"{count:,} {'byte' if count == 1 else 'bytes'} behind its end")


def animated(facts: Facts) -> Iterator[Evidence]:
    """Images of several frames."""
    for image in facts.images:
        if image.container.frames > 1:
            yield _about([image], f"{image.container.frames:,} frames, of which the first is read")


def lossy(facts: Facts) -> Iterator[Evidence]:
    """Formats that change pixels when a picture is saved, each with all of its images."""
    for name in SUFFIXES:
        images = [i for i in facts.images if i.container.loses and i.container.format == name]
        if images:
            yield _about(images, f"{name}, {len(images):,} of {len(facts.images):,} images")


def squeezed(facts: Facts) -> Iterator[Evidence]:
    """Images that are too wide for the pipeline, the most squeezed first."""
    for image in sorted(facts.images, key=lambda image: image.fit.kept):
        if image.fit.kept < SQUEEZED_BELOW:
            yield _about([image], f"letters get {100 * image.fit.kept:.0f} % of their width")


# --- images that come more than once --------------------------------------------------------


def train_test_overlap(facts: Facts) -> Iterator[Evidence]:
    """Images that are in the test split and in another, to the pixel."""
    yield from map(_copies, filter(_on_both_sides, facts.same))


def conflicting_labels(facts: Facts) -> Iterator[Evidence]:
    """Images that come with different labels, to the pixel."""
    yield from map(_copies, (group for group in facts.same if len(_labels(group)) > 1))


def duplicate(facts: Facts) -> Iterator[Evidence]:
    """Images that come more than once, and are wrong in no other way."""
    for group in facts.same:
        if len(_labels(group)) == 1 and not _on_both_sides(group):
            yield _copies(group)


def near_overlap(facts: Facts) -> Iterator[Evidence]:
    """Images of one label that look the same, in the test split and in another."""
    yield from map(_copies, filter(_on_both_sides, facts.alike_of_one_label))


def near_conflict(facts: Facts) -> Iterator[Evidence]:
    """Images that look the same and have different labels."""
    yield from map(_copies, (group for group in facts.alike if len(_labels(group)) > 1))


def near_duplicate(facts: Facts) -> Iterator[Evidence]:
    """Images of one label that look the same, and are on one side."""
    for group in facts.alike_of_one_label:
        if not _on_both_sides(group):
            yield _copies(group)


def _on_both_sides(images: Sequence[ImageFacts]) -> bool:
    return len({image.split == "test" for image in images}) == 2


def _labels(images: Iterable[ImageFacts]) -> list[str]:
    return sorted({image.sample.label for image in images})


def _copies(images: Sequence[ImageFacts]) -> Evidence:
    splits = sorted({image.split for image in images}, key=SPLITS.index)
    labels = _labels(images)
    how = "labelled" if len(labels) == 1 else "with different labels:"
    return _about(images, f"in {' and '.join(splits)}, {how} {' and '.join(map(repr, labels))}")


# --- labels ---------------------------------------------------------------------------------


def bad_label(facts: Facts) -> Iterator[Evidence]:
    """Images whose labels break the rule, and how."""
    yield from (Evidence((bad.name,), bad.reason) for bad in facts.bad_labels)


def label_too_long(facts: Facts) -> Iterator[Evidence]:
    """Labels that no path through the time steps of their images can spell."""
    for image in facts.images:
        of_presets = min(CLASSIC_TIME_STEPS, image.fit.width // STANDARD_STRIDE)
        time_steps = facts.time_steps or of_presets
        if (required := required_time_steps(image.sample.label)) > time_steps:
            detail = f"{image.sample.label!r} needs {required} time steps of {time_steps}"
            yield _about([image], detail)


def unseen_character(facts: Facts) -> Iterator[Evidence]:
    """Characters of other splits that train lacks. Nothing where there is no train split."""
    yield from (Evidence((), f"{c!r} ({where})") for c, where in _unseen(facts.characters))


def seen_once(facts: Facts) -> Iterator[Evidence]:
    """Characters that stand in train a single time."""
    for character, count in facts.characters["train"].items():
        if count == 1:
            yield Evidence((), repr(character))


def rare_character(facts: Facts) -> Iterator[Evidence]:
    """Characters that train hardly has."""
    for character, count in facts.characters["train"].items():
        if 1 < count < RARE_BELOW:
            yield Evidence((), f"{character!r} ({count} in train)")


def unbalanced_character(facts: Facts) -> Iterator[Evidence]:
    """Characters much rarer or more frequent than most, but for those that are rare anyway."""
    for character, detail in _unbalanced(facts.characters["train"]):
        if facts.characters["train"][character] >= RARE_BELOW:
            yield Evidence((), f"{character!r} ({detail})")


def unbalanced_length(facts: Facts) -> Iterator[Evidence]:
    """Label lengths much rarer than most, or that train lacks."""
    train = facts.lengths["train"]
    found = dict(_unseen(facts.lengths)) | dict(_unbalanced(train))
    for length, detail in sorted(found.items()):
        yield Evidence((), f"{length} {'character' if length == 1 else 'characters'} ({detail})")


def no_validation(facts: Facts) -> Iterator[Evidence]:
    """Images to train on, and none that could choose the epoch."""
    if facts.samples["train"] and not facts.samples["validation"]:
        yield Evidence((), f"{len(facts.samples['train'])} in train")


def empty_split(facts: Facts) -> Iterator[Evidence]:
    """Splits without images, but for what `no_validation` finds."""
    found = {"validation"} if facts.samples["train"] else set()
    yield from (Evidence((), s) for s in SPLITS if s not in found and not facts.samples[s])


def _unseen(counts: Mapping[Split, Mapping[Value, int]]) -> Iterator[tuple[Value, str]]:
    """What other splits have and train lacks, and where it is."""
    train = counts["train"]
    others = {value for split in SPLITS for value in counts[split] if value not in train}
    for value in sorted(others) if train else ():
        where = [f"{found[value]} in {split}" for split, found in counts.items() if value in found]
        yield value, f"{', '.join(where)}, never in train"


def _unbalanced(counts: Mapping[Value, int]) -> Iterator[tuple[Value, str]]:
    """What is much rarer or more frequent than the median, and how often it is there."""
    typical = median(counts.values()) if counts else 0
    for value, count in counts.items():
        if count * UNBALANCED < typical or count > UNBALANCED * typical:
            yield value, f"{count:,} in train, the median is {typical:,g}"


def _about(images: Iterable[ImageFacts], detail: str) -> Evidence:
    samples = [image.sample for image in images]
    names, labels = (s.name for s in samples), (s.label for s in samples)
    return Evidence(tuple(names), detail, tuple(labels))
