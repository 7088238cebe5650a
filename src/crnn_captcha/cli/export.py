"""The command `export`."""

from __future__ import annotations

from pathlib import Path

import click

from crnn_captcha.cli import SomePath


@click.command(short_help="Write a run's best model as one file.")
@click.argument("run", type=SomePath())
@click.option("--out", required=True, metavar="FILE.onnx", type=SomePath(dir_okay=False),
              help="The bundle to write.")  # fmt: skip
@click.option("--data", type=SomePath(),
              help="Where the run's data lie now, if they were moved since.")  # fmt: skip
@click.option("--int8", is_flag=True,
              help="Compute in 8 bits where 99 % of the texts stay the same.")  # fmt: skip
def export(run: Path, out: Path, data: Path | None, int8: bool) -> None:
    """Writes the best model of RUN as a bundle: one file to read with anywhere.

    Refuses when the bundle doesn't read what the model reads on the validation images.

    With --int8, convolutions compute in 8 bits, calibrated on images of the train split: as many
    of them as leave 99 % of the texts that are read on the validation images as they are. That
    takes some minutes. Such a bundle only reads: no training starts from it.

    \b
    Examples:
      crnn-captcha export runs/first --out reader.onnx
      crnn-captcha export runs/first --out smaller.onnx --int8
    """  # noqa: D301
    from crnn_captcha import training

    result = training.export(run, out, data=data, int8=int8)
    size = out.stat().st_size / 1e6
    whose, agreement = "its model", result.agreement
    if quantized := result.quantized:
        click.echo(f"{quantized.in_8_bits} of {quantized.convolutions} convolutions are in 8 bits.")
        whose, agreement = "the one in 32 bits", quantized.agreement
    shown = click.format_filename(out)
    click.echo(
        f"{shown} ({size:.1f} MB) reads as {whose} on {agreement:.2%} of the validation images."
    )
    click.echo(f"Read with it: crnn-captcha read IMAGE --model {shown}")
