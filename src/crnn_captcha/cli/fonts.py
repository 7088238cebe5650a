"""`crnn-captcha fonts`: recovers the fonts that labelled images are drawn in."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crnn_captcha.cli import Real, SomePath, check_outside

if TYPE_CHECKING:
    from crnn_captcha.recovery import Recovery

SHOWN_BROKEN = 3
VALIDATION_FRACTION = 0.1  # what a training cuts out, unless it is told otherwise


@click.command()
@click.argument("data", type=SomePath())
@click.option("--out", default=Path("runs", "fonts"), show_default=True, metavar="DIR",
              type=SomePath(), help="An empty or a new folder.")  # fmt: skip
@click.option("--validation-fraction", default=VALIDATION_FRACTION, show_default=True,
              type=Real(0, 1, min_open=True, max_open=True),
              help="Of train, cut out before: as data.validation_fraction of the training that "
              "is to draw with these fonts.")  # fmt: skip
@click.option("--split-seed", default=0, show_default=True, type=click.IntRange(min=0),
              help="Of that cut: as data.split_seed of that training.")  # fmt: skip
def fonts(data: Path, out: Path, validation_fraction: float, split_seed: int) -> None:
    """Recover the fonts that the train images of DATA, a zip, a folder or a CSV, are drawn in.

    Images of one font are found by the shapes of their letters. The best letter of each kind is
    drawn into a font file. A training that draws its own texts in these fonts sees each of them
    far more often, and learns to tell what looks alike: o from 0 in this one. `crnn-captcha train
    DATA --synthetic recovered:COUNT` recovers and trains at once; this shows the fonts, and leaves
    the style to be changed.

    Into DIR go the fonts (.ttf), a style that draws with them (style.toml), a picture of them
    (fonts.png), and which image is in which font (fonts.csv). Letters have to be of flat colours
    on white, most of them apart, and upright in a good part of the images. Test images are never
    looked at, validation images neither.
    """
    from crnn_captcha import font_files, recovery
    from crnn_captcha.dataset import open_dataset
    from crnn_captcha.errors import DatasetError

    check_outside(out, data)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(
            "Fonts go into an empty or a new folder, so that nothing is overwritten. "
            f"Received: {out}. Name another one, or remove it."
        )
    dataset = open_dataset(data, validation_fraction=validation_fraction, seed=split_seed)
    found = recovery.recover_fonts(dataset, dataset.samples("train"), progress=True)
    font_files.write_fonts(found, out)
    settings = []  # validation has to be cut in the same way, or it would show letters learned from
    if validation_fraction != VALIDATION_FRACTION:
        settings.append(f"--set data.validation_fraction={validation_fraction}")
    if split_seed:
        settings.append(f"--set data.split_seed={split_seed}")
    _say(found, data, out / font_files.PICTURE, out / recovery.STYLE_FILE, settings)


def _say(found: Recovery, data: Path, picture: Path, style: Path, settings: Sequence[str]) -> None:
    from crnn_captcha.wording import printable

    for broken in found.broken[:SHOWN_BROKEN]:
        click.echo(f"Left out: {broken.name!r}. {printable(broken.reason)}", err=True)
    if len(found.broken) > SHOWN_BROKEN:
        click.echo(f"Left out, too: {len(found.broken) - SHOWN_BROKEN:,} more.", err=True)
    click.echo(
        f"{found.summary()} Letters stand apart in {found.apart:,}; those in no font are of one "
        "that is met seldom, or too much turned."
    )
    synthetic = shlex.quote(f"{click.format_filename(style)}:{len(found.samples)}")
    words = [shlex.quote(click.format_filename(data)), "--synthetic", synthetic, *settings]
    train = f"crnn-captcha train {' '.join(words)} --out runs/fonts-learned"
    click.echo(f"Look at them: {click.format_filename(picture)}. Next: {train}")
