"""The command `train`."""

from __future__ import annotations

from pathlib import Path

import click

from crnn_captcha.cli import Some, SomePath, check_outside


@click.command(short_help="Train a reader on labelled images.")
@click.argument("data", required=False, type=SomePath())
@click.option("--out", required=True, metavar="RUN", type=SomePath(),
              help="Run folder: new, empty, or with --resume one to go on with.")  # fmt: skip
@click.option("--synthetic", multiple=True, type=Some(), metavar="STYLE:COUNT",
              help="Draw COUNT images of a style to learn from, others each epoch; may be given "
              "several times.")  # fmt: skip
@click.option("--from", "source", type=Some(), metavar="BUNDLE_OR_RUN",
              help="Start from a trained model: a bundle, a run folder, or the name of a bundle "
              "in the package, such as medium.")  # fmt: skip
@click.option("--preset",
              help="What to train: standard (the default; reads best, after hours with drawn "
              "images), medium or small (quicker), or classic, the reference.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="Train for at most this many epochs.")
@click.option("--seed", type=click.IntRange(0), help="The same seed gives the same history.")
@click.option("--resume", is_flag=True, help="Go on from the run's newest checkpoint.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE",
              help="Set any value of the configuration; may be given several times.")  # fmt: skip
@click.option("--corrections", metavar="FILE", type=SomePath(),
              help="Corrections of labels, as the page of `check --labels` saves.")  # fmt: skip
@click.option("--skip-broken", is_flag=True, help="Leave out images that can't be read.")
@click.option("--tensorboard", is_flag=True, help="Write logs for TensorBoard into the run.")
@click.option("--mixed-precision", is_flag=True, help="16 bits: faster on GPUs and some CPUs.")
def train(
    data: Path | None,
    out: Path,
    synthetic: tuple[str, ...],
    source: str | None,
    preset: str | None,
    epochs: int | None,
    seed: int | None,
    resume: bool,
    settings: tuple[str, ...],
    corrections: Path | None,
    skip_broken: bool,
    tensorboard: bool,
    mixed_precision: bool,
) -> None:
    """Trains a reader on DATA's train split, or on drawn images, and leaves a run folder.

    DATA is a zip, a folder or a CSV with `filename,label`. The label of an image is what its file
    name says before the last '-'; file names in a CSV go from its folder. Validation images are
    cut out of the train split, unless DATA has some; the test split is never touched.

    STYLE is a name or a file, as `generate` takes it. Drawn images are mixed with DATA's, and
    validation stays DATA's own; without DATA, images are drawn for that, too. The style
    `recovered` draws in the fonts of DATA's own train images, as `fonts` finds them: for
    thousands of images in some hundreds of fonts. Given several times, --synthetic mixes styles.

    Ctrl-C stops after the step under way and leaves a usable run; --resume goes on with it.

    --from starts with what another model has learned, for a new look or new characters, from few
    images. Pipeline and network are that model's, so images may have any size; all else is the
    preset's (by default that model's), with a third of its learning rate unless --set gives
    one: for another look, also try the preset's own.

    \b
    Examples:
      crnn-captcha train captchas.zip --out runs/first
      crnn-captcha train captchas.zip --out runs/first --resume
      crnn-captcha train captchas.zip --out runs/classic --preset classic --epochs 20
      crnn-captcha train others.zip --out runs/others --from runs/first
      crnn-captcha train captchas.zip --out runs/wide --set data.batch_size=64
      crnn-captcha train captchas.zip --synthetic recovered:14400 --out runs/own-fonts
      crnn-captcha train --synthetic coloured-lines:20000 --out runs/drawn
    """  # noqa: D301
    from crnn_captcha import training
    from crnn_captcha.corrections import read_corrections

    check_outside(out, data)
    options = {
        "training.epochs": epochs,
        "seed": seed,
        "data.synthetic": ",".join(synthetic) or None,
        "training.tensorboard": "true" if tensorboard else None,
        "training.mixed_precision": "true" if mixed_precision else None,
    }
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    base = None if source is None else training.read_base(source)
    config = training.run_config(
        out,
        preset=preset,
        settings=[*settings, *given],
        resume=resume,
        base=base.config if base else None,
    )
    result = training.train(
        data,
        out,
        config,
        corrections=read_corrections(corrections) if corrections else None,
        base=base,
        resume=resume,
        skip_broken=skip_broken,
    )
    click.echo(result.summary())
    if result.interrupted:
        raise SystemExit(1)
