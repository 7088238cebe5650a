"""`crnn-captcha demo`: the first look."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from crnn_captcha.cli import SomePath

EXAMPLES = Path(__file__).parent.parent / "examples"  # drawn by the package's own generator
MARKS = {True: "✓", False: "✗"}
PLAIN_MARKS = {True: "right", False: "WRONG"}  # for a terminal that can't show them


@click.command(short_help="Read the bundled examples: the first look.")
@click.option(
    "--out",
    metavar="FILE.png",
    type=SomePath(dir_okay=False),
    default="showcase.png",
    show_default=True,
    help="Where to write the picture.",
)
def demo(out: Path) -> None:
    """Read the bundled examples with the bundled model, and draw a picture of it."""
    from crnn_captcha.dataset import parse_label
    from crnn_captcha.errors import DatasetError
    from crnn_captcha.files import write_bytes
    from crnn_captcha.recognizer import Recognizer
    from crnn_captcha.reporting.showcase import draw_showcase, make_entry, png

    if out.suffix.lower() != ".png":
        raise click.BadParameter(f"The picture is a PNG. Received: {out}.", param_hint="--out")
    paths = sorted(EXAMPLES.glob("*.png"))
    if not paths:
        raise DatasetError(
            f"The demo reads the examples in the package. Received: none, {EXAMPLES} has no PNG. "
            "Install the package again."
        )
    recognizer = Recognizer()
    readings = recognizer.read([str(path) for path in paths])
    entries = [
        make_entry(
            path,
            recognizer.pipeline,
            label=parse_label(path.name),
            text=reading.text,
            confidence=reading.confidence,
        )
        for path, reading in zip(paths, readings, strict=True)
    ]
    marks = _marks()
    width = max(len("actual"), *(len(text) for e in entries for text in (e.label, e.text)))
    click.echo(f"{'actual':{width}}  {'read':{width}}  confidence")
    for entry in entries:
        mark = click.style(marks[entry.right], fg="green" if entry.right else "red")
        line = f"{entry.label:{width}}  {entry.text:{width}}  {entry.confidence:10.1%}"
        click.echo(f"{line}  {mark}")
    right = sum(entry.right for entry in entries)
    write_bytes(out, png(draw_showcase(entries, title="The bundled examples")))
    click.echo(
        f"\n{right} of {len(entries)} read right. The picture of it: {click.format_filename(out)}\n"
        "Next, read your own image:   crnn-captcha read captcha.png\n"
        "Or train on your own zip:    crnn-captcha train captchas.zip --out runs/first"
    )


def _marks() -> dict[bool, str]:
    try:
        "".join(MARKS.values()).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return PLAIN_MARKS
    return MARKS
