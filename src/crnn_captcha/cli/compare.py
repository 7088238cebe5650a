"""The command `compare`."""

from __future__ import annotations

from pathlib import Path

import click

from crnn_captcha.cli import Real, SomePath, check_outside

OUT = Path("runs") / "comparison"


@click.command(short_help="Train several configurations side by side.")
@click.argument("variants", nargs=-1, required=True, metavar="PRESET...")
@click.option("--data", required=True, type=SomePath(),
              help="A zip, a folder or a CSV, as `train` takes it.")  # fmt: skip
@click.option("--minutes", required=True, type=Real(0, min_open=True),
              help="Train each for about so many minutes.")  # fmt: skip
@click.option("--out", default=OUT, show_default=True, type=SomePath(),
              help="Folder of runs and table: new, or one to go on with by --resume.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on: what is done isn't trained again.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE",
              help="Set a value for all of them; may be given several times.")  # fmt: skip
@click.option("--skip-broken", is_flag=True, help="Leave out images that can't be read.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, not a table.")
def compare(
    variants: tuple[str, ...],
    data: Path,
    minutes: float,
    out: Path,
    resume: bool,
    settings: tuple[str, ...],
    skip_broken: bool,
    as_json: bool,
) -> None:
    """Trains each PRESET for the same time on the same images, and says which reads better.

    A PRESET may have settings after it, in quotes. All are measured on the validation split,
    DATA's own or cut out of train; the test split is never read. Against the first, the table says
    how many images each other one reads right that the first doesn't (+) and the reverse (-), and
    how likely such a difference is by chance (p).

    \b
    Examples:
      crnn-captcha compare classic medium --data captchas.zip --minutes 10
      crnn-captcha compare medium "medium model.neck=attention" \\
          "medium optimizer.learning_rate=1e-3" --data captchas.zip --minutes 20
    """  # noqa: D301
    from crnn_captcha import training

    check_outside(out, data)
    comparison = training.compare(
        data,
        out,
        variants,
        minutes=minutes,
        settings=settings,
        resume=resume,
        skip_broken=skip_broken,
    )
    click.echo(comparison.to_json() if as_json else comparison.to_markdown(), nl=False)
    if comparison.interrupted:
        click.echo("Stopped. Go on by the same command with --resume.", err=True)
        raise SystemExit(1)
    click.echo(f"Runs, table and curves: {out}", err=True)
