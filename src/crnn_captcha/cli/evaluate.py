"""`crnn-captcha evaluate`: how well a model reads labelled images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from crnn_captcha.dataset import Split

DEFAULT_MODEL = "the bundle in the package"


@click.command(short_help="Measure how well a model reads.")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--model",
    metavar="M",
    type=click.Path(path_type=Path),
    help="Bundle or run folder; left out, the package's bundle.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Which images of DATA to read.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--report",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write figures, tables and a page with examples into DIR.",
)
def evaluate(
    data: Path, model: Path | None, split: Split, as_json: bool, report: Path | None
) -> None:
    """Read the images of DATA, a zip, a folder or a CSV, and compare the texts with the labels.

    Every image counts; one that can't be read counts as wrong, is named, and makes the command
    exit with 1.
    """
    from crnn_captcha import evaluation
    from crnn_captcha.dataset import open_dataset
    from crnn_captcha.recognizer import Recognizer
    from crnn_captcha.reporting import page
    from crnn_captcha.wording import printable

    if report:
        page.prepare_report(report)
    recognizer = Recognizer(model)
    dataset = open_dataset(data, **_cut(recognizer.metadata.training))
    samples = dataset.samples(split)
    result = evaluation.evaluate(recognizer, dataset, samples, progress=True)

    facts = {"data": str(data), "split": split, "model": str(model or DEFAULT_MODEL)}
    if report:
        written = page.write_report(
            result, report, dataset=dataset, pipeline=recognizer.pipeline, facts=facts
        )
    if as_json:
        click.echo(json.dumps({**facts, **result.to_dict()}))
    else:
        named = ", ".join(f"{name}: {printable(facts[name])}" for name in facts)
        click.echo(f"{named}\n\n{result.to_markdown()}\n{result.summary}")
        click.echo(result.coverage_summary)
        if report:
            click.echo(f"Report: {printable(str(written))}")
    if result.broken:
        raise SystemExit(1)


def _cut(training: Mapping[str, Any]) -> dict[str, Any]:
    """The validation split is cut out of train as it was for this model's training."""
    kinds = {  # a bundle may say anything
        "split_seed": ("seed", int),
        "validation_fraction": ("validation_fraction", float),
    }
    training = {"split_seed": training.get("seed"), **training}  # older bundles: one seed for both
    return {
        argument: training[name]
        for name, (argument, kind) in kinds.items()
        if type(training.get(name)) is kind
    }
