"""`crnn-captcha evaluate`: how well a model reads labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crnn_captcha.cli import Some, SomePath, check_outside

if TYPE_CHECKING:
    from crnn_captcha.dataset import Split


@click.command(short_help="Measure how well a model reads.")
@click.argument("data", type=SomePath())
@click.option(
    "--model",
    type=Some(),
    metavar="M",
    help="Bundle, run folder, or the name of a bundle in the package; left out: standard.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="Which images of DATA to read. Without a folder of its own, validation is cut out of "
    "train as for the model's training: two models may have other images there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--report",
    metavar="DIR",
    type=SomePath(),
    help="Write figures, tables and a page with examples into DIR.",
)
@click.option(
    "--corrections",
    "corrections_file",
    metavar="FILE",
    type=SomePath(),
    help="Also measure by corrected labels, beside the raw ones.",
)
def evaluate(
    data: Path,
    model: str | None,
    split: Split,
    as_json: bool,
    report: Path | None,
    corrections_file: Path | None,
) -> None:
    """Read the images of DATA, a zip, a folder or a CSV, and compare the texts with the labels.

    Every image counts; one that can't be read counts as wrong, is named, and makes the command
    exit with 1. A model that says what it has learned from is asked how many of these images, or
    copies of them, are among that: they tell little of how it reads others.

    FILE is what the page of `crnn-captcha check --labels` saves. With it, the main figures are
    printed by the raw and by the corrected labels, side by side.
    """
    from crnn_captcha import evaluation
    from crnn_captcha.corrections import read_corrections
    from crnn_captcha.dataset import open_dataset
    from crnn_captcha.learned import count_seen, from_text
    from crnn_captcha.recognizer import DEFAULT_BUNDLE, Recognizer
    from crnn_captcha.reporting import page
    from crnn_captcha.wording import percent, printable

    check_outside(report, data)
    if report:
        page.prepare_report(report)
    recognizer = Recognizer(model)
    share, seed = recognizer.metadata.validation_cut  # as for this model's training
    dataset = open_dataset(data, validation_fraction=share, seed=seed)
    samples = dataset.samples(split)
    corrections = read_corrections(corrections_file) if corrections_file else None
    if corrections:
        corrections.apply(dataset).samples(split)  # refuses those of other data, or of all images
    learned = from_text(recognizer.metadata.training.get("learned"))
    seen = 0 if learned is None else count_seen(dataset, samples, learned)
    if seen:
        click.echo(
            f"The model has learned from {seen:,} of these {len(samples):,} images, or from "
            "copies of them.",
            err=True,
        )
    result = evaluation.evaluate(recognizer, dataset, samples, progress=True)

    facts = {"data": str(data), "split": split, "model": model or DEFAULT_BUNDLE.stem}
    if seen:
        facts["learned_from"] = f"{seen:,} of {len(samples):,} images"
    figures, comparison = result.to_dict(), ""
    if corrections:
        corrected = evaluation.correct(result, corrections, recognizer.charset)
        comparison = evaluation.raw_and_corrected(result, corrected)
        facts["corrections"] = (
            f"{corrections_file}, {corrections.summary}: exact match "
            f"{percent(result.exact_match)} raw, {percent(corrected.exact_match)} corrected"
        )
        figures["corrected"] = {"digest": corrections.digest, **corrected.to_dict()}
    try:
        if as_json:
            click.echo(json.dumps({**facts, **figures}))
        else:
            named = ", ".join(f"{name}: {printable(facts[name])}" for name in facts)
            click.echo(f"{named}\n\n{result.to_markdown()}\n{result.summary}")
            click.echo(result.coverage_summary)
            if comparison:
                click.echo(f"\n{comparison}")
    finally:  # of figures and report, neither is lost with the other
        if report:
            written = page.write_report(
                result, report, dataset=dataset, pipeline=recognizer.pipeline, facts=facts
            )
    if report and not as_json:
        click.echo(f"Report: {printable(str(written))}")
    if result.broken:
        raise SystemExit(1)
