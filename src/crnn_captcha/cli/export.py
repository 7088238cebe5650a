"""The command `export`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a run's best model as one file.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, metavar="FILE.onnx", type=click.Path(path_type=Path),
              help="The bundle to write.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path),
              help="Where the run's data lie now, if they were moved since.")  # fmt: skip
def export(run: Path, out: Path, data: Path | None) -> None:
    """Writes the best model of RUN as a bundle: one file to read with anywhere.

    Refuses when the bundle doesn't read what the model reads on the validation images.

    \b
    Example:
      crnn-captcha export runs/first --out reader.onnx
    """  # noqa: D301
    from crnn_captcha import training

    agreement = training.export(run, out, data=data)
    size = out.stat().st_size / 1e6
    click.echo(
        f"{out} ({size:.1f} MB) reads as its model on {agreement:.2%} of the validation images."
    )
    click.echo(f"Read with it: crnn-captcha read IMAGE --model {out}")
