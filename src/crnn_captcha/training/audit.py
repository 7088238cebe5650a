"""Labels read by networks that haven't learned from them: k folds, a short training for each.

folds ─ train on all others ─ read the one that was left out ─ suspects.rank ─ review page
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crnn_captcha.corrections import Corrections
from crnn_captcha.dataset import Dataset, Sample, fold_of
from crnn_captcha.decoding import DEFAULT_BEAM, ctc_log_likelihood, decode, log_softmax
from crnn_captcha.errors import ConfigError, DatasetError, ImageError, PreprocessingError
from crnn_captcha.files import write_text
from crnn_captcha.images import load_image
from crnn_captcha.progress import progress_bar, say
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.reporting.review import write_review
from crnn_captcha.suspects import HeldOut, Suspect, rank
from crnn_captcha.training.budget import (
    check_epochs_left_open,
    check_free,
    check_minutes,
    check_minutes_begun_with,
    train_within,
)
from crnn_captcha.training.config import Config, make_config
from crnn_captcha.training.preparation import charset_of, open_data
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.transfer import Base, check_unread
from crnn_captcha.wording import markdown_table, percent

FOLDS = 4
MINUTES = 10.0
PRESET = "medium"  # what audits were measured with
SHOWN = 20  # suspects in the table
MANY = 2 / 3  # of the images that aren't read as their labels: the networks have hardly learned
RUNS = "folds"  # the folder of the trainings
SUMMARY = "suspects.json"

AuditedSplit = Literal["train", "test"]


@dataclass(frozen=True)
class Audit:
    """Labels that may be wrong, and whether there are more to come.

    Attributes:
        suspects: those most likely wrong first.
        images: that were read.
        broken: names of those that could not be.
        interrupted: whether not all folds were trained to their end, so that `--resume` goes on.
        minutes: of training that were asked for, for each fold.
    """

    suspects: tuple[Suspect, ...]
    images: int
    broken: tuple[str, ...]
    interrupted: bool
    minutes: float

    def to_markdown(self) -> str:
        """The first of them as a table that also reads well in a terminal."""
        rows = [
            (s.name, s.label, s.text, percent(s.confidence), f"{s.label_probability:.1e}", s.reason)
            for s in self.suspects[:SHOWN]
        ]
        header = ("image", "label", "read", "confidence", "probability of the label", "why")
        lines = [f"{len(self.suspects):,} of {self.images:,} images were not read as their labels."]
        if len(self.suspects) > MANY * self.images:
            lines.append("Networks that read so few tell little: give them more --minutes.")
        if rows:
            lines += ["The labels most likely wrong first:", "", markdown_table(header, rows)]
        if more := len(self.suspects) - SHOWN:
            lines += [f"and {more:,} more"] if more > 0 else []
        if self.broken:
            lines.append(f"Images that can't be read: {len(self.broken):,}.")
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def audit_config(
    preset: str | None, settings: Sequence[str] = (), base: Base | None = None
) -> Config:
    """The configuration of an audit's trainings, as `make_config` makes it.

    Args:
        preset: None is that of `base`, or `PRESET`.
        settings: as `change` takes them.
        base: a trained model that each training starts from.

    Raises:
        ConfigError: if the preset, a key or a value isn't known, or isn't that of `base`, or what
            the minutes of an audit decide is set.
    """
    check_epochs_left_open(settings, "audit")
    if base is not None:
        return make_config(preset, settings, base.config)
    return make_config(preset or PRESET, settings)


def audit_labels(
    data: str | Path,
    out: str | Path,
    config: Config,
    *,
    folds: int = FOLDS,
    minutes: float = MINUTES,
    split: AuditedSplit = "train",
    corrections: Corrections | None = None,
    base: Base | None = None,
    resume: bool = False,
    skip_broken: bool = False,
    progress: bool = True,
) -> Audit:
    """Reads every label's image by a network that hasn't learned from it, and ranks the labels.

    Train and validation images are parted into folds by a hash of their file names. For each fold
    a network learns from the others, for about so many minutes, and then reads the fold, at the
    temperature that its export calibrates. The first one's epochs are timed, and all others have
    as many, so that their probabilities can be compared. Test images are neither learned from nor
    read, unless they are asked for: then one network learns from all others and reads them.

    Args:
        data: zip, folder or CSV.
        out: a folder: gets `review.html`, `suspects.json` and the runs in `folds/`, and is kept up
            to date after each fold.
        config: of the trainings; their epochs are found by the minutes.
        folds: from 2.
        minutes: of training for each fold.
        split: what is read: train and validation, or test.
        corrections: of the labels, before they are looked at; then there is no `review.html`, as
            the labels in it weren't those of the data.
        base: a trained model that each training starts from. It must not have learned from labels
            that are to be read: it would know them.
        resume: go on with an audit in `out`: what is done isn't trained again.
        skip_broken: leave broken images out instead of refusing to train.
        progress: say on standard error how it goes.

    Raises:
        ConfigError: if `folds` or `minutes` is out of its range, `base` has learned from what is
            to be read, or `resume` finds an audit with other settings.
        DatasetError: if a fold leaves nothing to learn from or to validate with; as `train`
            raises it.
        RunError: if `out` holds an audit that isn't to be gone on with, or one that started from
            another model, or a process died.
        LabelError: as `train` raises it.
    """
    out = Path(out)
    check_minutes(minutes)
    if folds < 2:
        raise ConfigError(f"The folds of an audit are 2 or more. Received: {folds}.")
    check_free(out / RUNS, "audit", resume=resume)
    if resume:
        check_minutes_begun_with(out / SUMMARY, "audit", minutes)
    raw = open_data(data, config.data)
    corrections = corrections or Corrections()
    dataset = corrections.apply(raw)
    parts = _parts(dataset, folds, split)
    if base is not None:
        check_unread(base, raw, dataset, [sample for part in parts for sample in part])
    config = _with_charset(config, dataset)
    readings: list[HeldOut] = []
    broken: list[str] = []
    epochs = None
    audit = Audit((), 0, (), interrupted=True, minutes=minutes)
    if not resume or not (out / SUMMARY).exists():  # resuming knows the minutes by it
        write_text(out / SUMMARY, audit.to_json())
    for number, part in enumerate(parts, start=1):
        if progress:
            say(f"== fold {number} of {len(parts)}: {len(part):,} images to read")
        folder = RunFolder(out / RUNS / str(number))
        held_out = corrections.dropping(_samples_of(raw, part))
        _check_same(folder, held_out)
        done = train_within(
            data,
            folder,
            config,
            minutes,
            epochs=epochs,
            corrections=held_out,
            base=base,
            skip_broken=skip_broken,
            progress=progress,
        )
        if not done:
            return audit
        epochs = folder.load_config().training.epochs
        read, unread = _read(folder, dataset, part, progress=progress)
        readings += read
        broken += unread
        more = number < len(parts)
        audit = Audit(rank(readings), len(readings), tuple(broken), more, minutes)
        write_text(out / SUMMARY, audit.to_json())
        if not corrections.entries:  # what a page saves is about the labels that the data have
            _write_page(audit, out, dataset, split)
    return audit


def read_held_out(recognizer: Recognizer, image: bytes, sample: Sample) -> HeldOut:
    """What a recognizer makes of an image, and of its label.

    Args:
        recognizer: that hasn't learned from the image.
        image: the bytes of its file.
        sample: its name and label, of any characters and length.

    Raises:
        ImageError, PreprocessingError: if the image can't be read.
    """
    charset, temperature = recognizer.charset, recognizer.metadata.temperature
    logits = recognizer.logits(recognizer.pipeline(load_image(image))[None])
    (best,) = decode(logits, charset, beam=DEFAULT_BEAM, temperature=temperature)
    log_probabilities = log_softmax(logits, temperature)[[0, 0]]  # for the text and for the label
    spelled = best.text if charset.unknown(sample.label) else sample.label
    ids = [charset.encode(text) for text in (best.text, spelled)]
    text_log, label_log = (min(0.0, float(p)) for p in ctc_log_likelihood(log_probabilities, ids))
    if spelled != sample.label:
        return HeldOut(sample.name, sample.label, best.text, float("-inf"), text_log)
    if label_log >= text_log:  # the search may have missed it
        return HeldOut(sample.name, sample.label, sample.label, label_log, label_log)
    return HeldOut(sample.name, sample.label, best.text, label_log, text_log)


def _parts(dataset: Dataset, folds: int, split: AuditedSplit) -> list[tuple[Sample, ...]]:
    """The samples that are read by each of the networks."""
    if split == "test":
        return [dataset.samples("test")]
    learning, validation = dataset.samples("train"), dataset.samples("validation")
    samples = sorted((*learning, *validation), key=lambda sample: sample.name)
    parts = [tuple(s for s in samples if fold_of(s.name, folds) == i) for i in range(folds)]
    for part in parts:
        left_out = set(part)
        if not part or left_out >= set(learning) or left_out >= set(validation):
            raise DatasetError(
                "Each fold of an audit has images, and leaves some to learn from and to validate "
                f"with. Received: {len(learning):,} train and {len(validation):,} validation "
                f"images in '{dataset.path}' for {folds} folds. Add images, or ask for other folds."
            )
    return parts


def _samples_of(raw: Dataset, part: Sequence[Sample]) -> Iterator[Sample]:
    """Images as the data label them, whatever the corrections. Not those of test."""
    names = {sample.name for sample in part}
    for split in ("train", "validation"):
        yield from (sample for sample in raw.samples(split) if sample.name in names)


def _check_same(folder: RunFolder, held_out: Corrections) -> None:
    if folder.exists and folder.facts().get("corrections", "") != held_out.digest:
        raise ConfigError(
            f"--resume goes on with an audit as it was begun. Received: for {folder.path} other "
            "folds, labels or another split. Ask for the same, or audit in another folder."
        )


def _with_charset(config: Config, dataset: Dataset) -> Config:
    """All networks know all characters, also those that only the labels of one fold have."""
    samples = (*dataset.samples("train"), *dataset.samples("validation"))
    characters = charset_of(samples, config).characters
    return dataclasses.replace(config, data=dataclasses.replace(config.data, charset=characters))


def _read(
    folder: RunFolder, dataset: Dataset, part: Sequence[Sample], *, progress: bool
) -> tuple[list[HeldOut], list[str]]:
    """The readings of a fold, and the names of the images that can't be read."""
    recognizer = Recognizer(folder.bundle)
    readings, broken = [], []
    with progress_bar(len(part), "reading", "image", shown=progress, kept=False) as bar:
        for sample in part:
            try:
                readings.append(read_held_out(recognizer, dataset.read(sample), sample))
            except (ImageError, PreprocessingError, DatasetError):
                broken.append(sample.name)
            bar.update()
    return readings, broken


def _write_page(audit: Audit, out: Path, dataset: Dataset, split: AuditedSplit) -> None:
    """Writes what is known so far: a long audit can be looked at before it ends."""
    write_review(
        audit.suspects,
        out / "review.html",
        dataset=dataset,
        key=dataset.digest("train", "validation", "test"),
        facts={"data": str(dataset.path), "split": split, "images": f"{audit.images:,}"},
    )
