"""`crnn-captcha check`: the data set's doctor on the terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from crnn_captcha.cli import Real, Some, SomePath, check_outside
from crnn_captcha.dataset import open_dataset
from crnn_captcha.diagnosis import Diagnosis, Finding, Spread, diagnose
from crnn_captcha.inspection import inspect

BAR_WIDTH = 40
SHOWN = 5
AUDIT = Path("runs") / "labels"


@click.command()
@click.argument("data", type=SomePath())
@click.option(
    "--time-steps",
    type=click.IntRange(min=1),
    help="Find labels that need more time steps than N (left out: than classic or standard has for "
    "their image, whichever has fewer: 16 to 30).",
    metavar="N",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--report", metavar="DIR", type=SomePath(),
              help="Write a page with pictures of what was found, and figures, into DIR; with "
              f"--labels, trainings too (left out: {AUDIT}).")  # fmt: skip
@click.option("--labels", is_flag=True, help="Look for wrong labels instead, by short trainings.")
@click.option(
    "--folds", type=click.IntRange(min=2), help="With --labels: parts of train and validation (4)."
)
@click.option("--minutes", type=Real(0, min_open=True),
              help="With --labels: train about so long for each part (10).")  # fmt: skip
@click.option("--from", metavar="BUNDLE_OR_RUN", type=Some(),
              help="With --labels: start each training from a trained model, which must not have "
              "learned from these labels.")  # fmt: skip
@click.option(
    "--preset", type=Some(), help="With --labels: what to train (medium, or that of --from)."
)
@click.option("--set", multiple=True, metavar="SECTION.KEY=VALUE",
              help="With --labels: set a value of the configuration.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "test"]),
              help="With --labels: whose labels to look at (train, with validation).")  # fmt: skip
@click.option("--skip-broken", is_flag=True, help="With --labels: leave out broken images.")
@click.option("--resume", is_flag=True, help="With --labels: go on; what is done isn't repeated.")
def check(
    data: Path,
    time_steps: int | None,
    as_json: bool,
    report: Path | None,
    labels: bool,
    **audit: Any,
) -> None:
    """Look for what would spoil a training on DATA, a zip, a folder or a CSV.

    Exits with 1 when something was found that would.

    With --labels, networks are trained on a part of DATA each and read the rest; the labels most
    likely wrong come first, on a page that opens offline and saves what you decide as
    corrections.csv, for `train` and `evaluate` with --corrections. DATA are never changed. Exits
    with 1 when it was stopped.
    """
    given = {name: value for name, value in audit.items() if value}
    if labels:
        if audit["split"] == "test" and audit["folds"]:
            raise click.UsageError("--split test has no --folds: one network reads all of it.")
        if time_steps is not None:
            raise click.UsageError("--time-steps isn't of --labels. Leave one of them out.")
        check_outside(report or AUDIT, data)
        _audit(data, report or AUDIT, as_json=as_json, **given)
        return
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise click.UsageError(f"These are of --labels: {names}. Add --labels or leave them out.")
    check_outside(report, data)
    if report:
        from crnn_captcha.reporting import datasheet, page

        page.prepare_report(report)
    dataset = open_dataset(data)
    diagnosis = diagnose(inspect(dataset, time_steps=time_steps, progress=not as_json))
    path = shlex.quote(click.format_filename(data))
    try:
        if as_json:
            click.echo(json.dumps({"path": str(data), **diagnosis.to_dict()}))
        else:
            click.echo("\n".join(_report(path, diagnosis)))
    finally:  # of findings and report, neither is lost with the other
        if report:
            written = datasheet.write_datasheet(
                diagnosis, report, dataset=dataset, facts={"path": str(data)}
            )
    if report and not as_json:
        click.echo(f"Report: {click.format_filename(written)}")
    if diagnosis.spoiling:
        raise SystemExit(1)


def _audit(
    data: Path,
    report: Path,
    *,
    as_json: bool,
    preset: str | None = None,
    **options: Any,
) -> None:
    """Looks for wrong labels; `options` are those of `training.audit_labels`."""
    from crnn_captcha import training

    settings: Sequence[str] = options.pop("set", ())
    source: str | None = options.pop("from", None)
    base = None if source is None else training.read_base(source)
    config = training.audit_config(preset, settings, base)
    found = training.audit_labels(data, report, config, base=base, **options)
    click.echo(found.to_json() if as_json else found.to_markdown(), nl=False)
    if found.interrupted:
        click.echo("Stopped. Go on by the same command with --resume.", err=True)
        raise SystemExit(1)
    click.echo(f"Look at them: {click.format_filename(report / 'review.html')}", err=True)


def _report(path: str, diagnosis: Diagnosis) -> Iterator[str]:
    """What was found, problems first, then what is there, then what to do next."""
    images = ", ".join(f"{count:,} {split}" for split, count in diagnosis.images.items())
    yield f"{path}: {sum(diagnosis.images.values()):,} images ({images})"
    for finding in diagnosis.findings:
        yield from _finding(finding)
    yield ""
    yield from _characters(diagnosis)
    formats = (f"{count:,} {name}" for name, count in diagnosis.formats.items())
    yield f"formats: {', '.join(formats) or 'none'}"
    yield from _histogram("label length", "characters", diagnosis.label_lengths)
    yield from _histogram("width", "px", diagnosis.widths)
    yield from _histogram("height", "px", diagnosis.heights)
    yield ""
    yield diagnosis.summary
    if diagnosis.spoiling:
        return
    if diagnosis.images["train"]:
        yield f"Next: crnn-captcha train {path} --out RUN"
    else:
        split = "" if diagnosis.images["test"] else " --split validation"
        yield f"Next: crnn-captcha evaluate {path}{split}"


def _finding(finding: Finding) -> Iterator[str]:
    check = finding.check
    yield ""
    yield f"{'PROBLEM' if check.spoils else 'note'}: {check.title} ({len(finding.evidence):,})"
    for evidence in finding.evidence[:SHOWN]:
        names = ", ".join(map(repr, evidence.names[:SHOWN]))
        if more := len(evidence.names[SHOWN:]):
            names += f" and {more:,} more"
        yield f"  {names}: {evidence.detail}" if names else f"  {evidence.detail}"
    if more := len(finding.evidence[SHOWN:]):
        yield f"  and {more:,} more (all of them: --json)"
    yield f"  What to do: {check.advice}"


def _characters(diagnosis: Diagnosis) -> Iterator[str]:
    characters = sorted(set().union(*diagnosis.characters.values()))
    shown = repr("".join(characters))[1:-1]  # repr: an odd character can't disturb the terminal
    yield f"{len(characters)} characters: {shown or 'none'}"
    if train := diagnosis.characters["train"]:
        rarest, commonest = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
        yield f"in train: {train[rarest]:,} ({rarest!r}) to {train[commonest]:,} ({commonest!r})"


def _histogram(title: str, unit: str, spread: Spread | None) -> Iterator[str]:
    if spread is None:
        return
    yield ""
    yield (f"{title}: {spread.minimum} to {spread.maximum} {unit}, median {spread.median:g}")
    most = max(bin_.count for bin_ in spread.histogram)
    for bin_ in spread.histogram:
        bar = "#" * round(BAR_WIDTH * bin_.count / most)
        yield f"  {bin_.name:>9} {bin_.count:>7,} {bar}".rstrip()
