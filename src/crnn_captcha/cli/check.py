"""`crnn-captcha check`: the data set's doctor on the terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from crnn_captcha.dataset import open_dataset
from crnn_captcha.inspection import KINDS, Finding, Inspection, Spread, inspect

# width // stride of `classic`, and of `standard` for its narrowest images: what fits fits both
TIME_STEPS = min(495 // 16, 64 // 4)
BAR_WIDTH = 40
SHOWN = 5
AUDIT = Path("runs") / "labels"


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--time-steps",
    type=click.IntRange(min=1),
    default=TIME_STEPS,
    show_default=True,
    help="Time steps of the network: labels that need more are found.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--labels", is_flag=True, help="Look for wrong labels instead, by short trainings.")
@click.option("--report", metavar="DIR", type=click.Path(path_type=Path),
              help=f"With --labels: folder of page and trainings (left out: {AUDIT}).")  # fmt: skip
@click.option("--folds", type=click.IntRange(min=2), help="With --labels: parts of the data (4).")
@click.option("--minutes", type=click.FloatRange(0, min_open=True),
              help="With --labels: train about so long for each part (10).")  # fmt: skip
@click.option("--preset", help="With --labels: what to train.")
@click.option("--set", multiple=True, metavar="SECTION.KEY=VALUE",
              help="With --labels: set a value of the configuration.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "test"]),
              help="With --labels: whose labels to look at (train, with validation).")  # fmt: skip
@click.option("--skip-broken", is_flag=True, help="With --labels: leave out broken images.")
@click.option("--resume", is_flag=True, help="With --labels: go on; what is done isn't repeated.")
def check(data: Path, time_steps: int, as_json: bool, labels: bool, **audit: Any) -> None:
    """Look for what would spoil a training on DATA, a zip, a folder or a CSV.

    Exits with 1 when something was found that would.

    With --labels, networks are trained on a part of DATA each and read the rest; the labels most
    likely wrong come first, on a page that opens offline and saves what you decide as
    corrections.csv, for `train` and `evaluate` with --corrections. DATA are never changed. Exits
    with 1 when it was stopped.
    """
    given = {name: value for name, value in audit.items() if value}
    if labels:
        _audit(data, as_json=as_json, **given)
        return
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise click.UsageError(f"These are of --labels: {names}. Add --labels or leave them out.")
    inspection = inspect(open_dataset(data), time_steps=time_steps, progress=not as_json)
    if as_json:
        click.echo(json.dumps(_to_json(data, inspection)))
    else:
        click.echo("\n".join(_report(data, inspection)))
    if inspection.spoiling:
        raise SystemExit(1)


def _audit(
    data: Path,
    *,
    as_json: bool,
    report: Path = AUDIT,
    preset: str | None = None,
    **options: Any,
) -> None:
    """Looks for wrong labels; `options` are those of `training.audit_labels`."""
    from crnn_captcha import training

    settings: Sequence[str] = options.pop("set", ())
    config = training.make_config(preset or training.DEFAULT_PRESET, settings)
    found = training.audit_labels(data, report, config, **options)
    click.echo(found.to_json() if as_json else found.to_markdown(), nl=False)
    if found.interrupted:
        click.echo("Stopped. Go on by the same command with --resume.", err=True)
        raise SystemExit(1)
    click.echo(f"Look at them: {click.format_filename(report / 'review.html')}", err=True)


def _to_json(data: Path, inspection: Inspection) -> dict[str, object]:
    findings = [
        {
            "kind": finding.kind,
            "spoils": KINDS[finding.kind].spoils,
            "count": len(finding.evidence),
            "evidence": [asdict(evidence) for evidence in finding.evidence],
            "advice": KINDS[finding.kind].advice,
        }
        for finding in inspection.findings
    ]
    return {
        "path": str(data),
        "ok": not inspection.spoiling,
        **asdict(inspection),
        "findings": findings,
    }


def _report(data: Path, inspection: Inspection) -> Iterator[str]:
    images = ", ".join(f"{count:,} {split}" for split, count in inspection.images.items())
    path = shlex.quote(click.format_filename(data))
    yield f"{path}: {sum(inspection.images.values()):,} images ({images})"
    characters = sorted(set().union(*inspection.characters.values()))
    shown = repr("".join(characters))[1:-1]  # repr: an odd character can't disturb the terminal
    yield f"{len(characters)} characters: {shown or 'none'}"
    yield from _histogram("label length", "characters", inspection.label_lengths)
    yield from _histogram("width", "px", inspection.widths)
    yield from _histogram("height", "px", inspection.heights)
    for finding in inspection.findings:
        yield from _finding(finding)
    yield ""
    if inspection.spoiling:
        kinds = ", ".join(KINDS[finding.kind].title for finding in inspection.spoiling)
        yield f"Not fit for training yet: {kinds}. Mend that, then check again."
    elif inspection.images["train"]:
        yield f"Fit for training. Next: crnn-captcha train {path} --out RUN"
    else:
        yield f"Fit for evaluation. Next: crnn-captcha evaluate {path}"


def _histogram(title: str, unit: str, spread: Spread | None) -> Iterator[str]:
    if spread is None:
        return
    yield ""
    yield (f"{title}: {spread.minimum} to {spread.maximum} {unit}, median {spread.median:g}")
    most = max(bin_.count for bin_ in spread.histogram)
    for bin_ in spread.histogram:
        values = f"{bin_.lowest}-{bin_.highest}" if bin_.highest > bin_.lowest else bin_.lowest
        bar = "#" * round(BAR_WIDTH * bin_.count / most)
        yield f"  {values:>9} {bin_.count:>7,} {bar}".rstrip()


def _finding(finding: Finding) -> Iterator[str]:
    kind = KINDS[finding.kind]
    yield ""
    yield f"{'PROBLEM' if kind.spoils else 'note'}: {len(finding.evidence):,} {kind.title}"
    for evidence in finding.evidence[:SHOWN]:
        names = ", ".join(map(repr, evidence.names[:SHOWN]))
        yield f"  {names}: {evidence.detail}" if names else f"  {evidence.detail}"
    if len(finding.evidence) > SHOWN:
        yield f"  and {len(finding.evidence) - SHOWN:,} more (all of them: --json)"
    yield f"  What to do: {kind.advice}"
