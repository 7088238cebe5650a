"""`crnn-captcha generate`: draws a labelled data set."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from crnn_captcha.fonts import Font
    from crnn_captcha.generator import GeneratedImage

CHARSET = "0123456789abcdefghijklmnopqrstuvwxyz"
SHOWN_FAMILIES = 4
MORE_FONTS = "More fonts make a better data set: pip install 'crnn-captcha[generate]'"


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", required=True, type=click.IntRange(min=1), help="How many images.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="The same seed, fonts and versions draw the same files.",
)
@click.option("--zip", "as_zip", is_flag=True, help="Write one zip instead of a folder.")
@click.option("--charset", default=CHARSET, show_default=True, help="Characters of the labels.")
@click.option("--min-length", default=4, show_default=True, help="Fewest characters of a label.")
@click.option("--max-length", default=8, show_default=True, help="Most characters of a label.")
@click.option(
    "--fonts",
    "font_folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Draw with the .ttf and .otf files in FOLDER, not with the installed fonts.",
)
def generate(
    out: Path,
    count: int,
    seed: int,
    as_zip: bool,
    charset: str,
    min_length: int,
    max_length: int,
    font_folder: Path | None,
) -> None:
    """Draw labelled captchas into OUT: data/main/train and, a tenth of them, data/main/test.

    OUT is an empty or a new folder. With --zip it is a new zip file; `.zip` is added to its name
    unless it ends so. Nothing is overwritten. Image number i depends on the seed and i only, so a
    larger --count adds images and changes none.
    """
    from crnn_captcha import generator
    from crnn_captcha.charset import Charset
    from crnn_captcha.drawing import Style
    from crnn_captcha.fonts import find_fonts

    style = Style(charset=Charset(charset), min_length=min_length, max_length=max_length)
    fonts = find_fonts(charset, font_folder)
    images = _with_progress(generator.generate(count, seed, style=style, fonts=fonts), count)
    written = (generator.write_zip if as_zip else generator.write_folder)(out, images)

    tests = len(range(1, count, generator.TEST_EVERY))
    if all(font.path is None for font in fonts):
        click.echo(f"Drawn with Pillow's built-in font only. {MORE_FONTS}", err=True)
    place = shlex.quote(str(written))
    click.echo(
        f"Wrote {count} images ({count - tests} train, {tests} test) to {written}, "
        f"drawn with {_named(fonts)}. Next: crnn-captcha train {place} --out runs/first"
    )


def _with_progress(images: Iterator[GeneratedImage], count: int) -> Iterator[GeneratedImage]:
    from crnn_captcha.progress import progress_bar

    with progress_bar(count, "Drawing", "image", shown=None) as bar:
        for image in images:
            yield image
            bar.update()


def _named(fonts: Sequence[Font]) -> str:
    from crnn_captcha.fonts import families

    names = list(families(fonts))
    more = f" and {len(names) - SHOWN_FAMILIES} more" if len(names) > SHOWN_FAMILIES else ""
    listed = f"{', '.join(names[:SHOWN_FAMILIES])}{more}"
    return f"{len(fonts)} font{'s' if len(fonts) > 1 else ''} ({listed})"
