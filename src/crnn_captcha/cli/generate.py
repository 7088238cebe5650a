"""`crnn-captcha generate`: draws a labelled data set."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crnn_captcha.cli import Some, SomePath

if TYPE_CHECKING:
    from crnn_captcha.fonts import Font
    from crnn_captcha.generator import GeneratedImage

SHOWN_FAMILIES = 4
MORE_FONTS = 'More fonts make a better data set: pip install "crnn-captcha[generate]"'


@click.command()
@click.argument("out", type=SomePath())
@click.option("--count", required=True, type=click.IntRange(min=1), help="How many images.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="The same seed, style, fonts and versions draw the same files.",
)
@click.option("--zip", "as_zip", is_flag=True, help="Write one zip instead of a folder.")
@click.option(
    "--style",
    type=Some(),
    metavar="NAME_OR_FILE",
    help="How they look: coloured-lines (the default) or another name, or a TOML file. A wrong "
    "name lists them all.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that draw (default: one for each core). They change no image.",
)
@click.option("--charset", help="Characters of the labels, instead of the style's.")
@click.option("--min-length", type=int, help="Fewest characters of a label.")
@click.option("--max-length", type=int, help="Most characters of a label.")
@click.option(
    "--fonts",
    "folders",
    multiple=True,
    type=Some(),
    metavar="FOLDER",
    help="Draw with the font files (.ttf, .otf, .woff, .woff2) in FOLDER, not with the style's "
    "fonts; may be given several times.",
)
def generate(
    out: Path,
    count: int,
    seed: int,
    as_zip: bool,
    style: str | None,
    workers: int | None,
    charset: str | None,
    min_length: int | None,
    max_length: int | None,
    folders: tuple[str, ...],
) -> None:
    """Draw labelled captchas into OUT: data/main/train and, a tenth of them, data/main/test.

    OUT is an empty or a new folder. With --zip it is a new zip file; `.zip` is added to its name
    unless it ends so. Nothing is overwritten. Image number i depends on the seed and i only, so a
    larger --count adds images and changes none.
    """
    from crnn_captcha import generator
    from crnn_captcha.charset import Charset
    from crnn_captcha.style_files import DEFAULT, load_style
    from crnn_captcha.windows import available_cores

    given: dict[str, Any] = {
        "charset": None if charset is None else Charset(charset),
        "min_length": min_length,
        "max_length": max_length,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    look = load_style(style or DEFAULT)
    if folders:
        changes["fonts"] = dataclasses.replace(look.fonts, folders=folders, installed=False)
    look = dataclasses.replace(look, **changes)
    fonts = generator.Generator(look).fonts
    images = generator.generate(
        count, seed, style=look, fonts=fonts, workers=workers or available_cores()
    )
    write = generator.write_zip if as_zip else generator.write_folder
    written = write(out, _with_progress(images, count))

    tests = len(range(1, count, generator.TEST_EVERY))
    if fonts and all(font.path is None for font in fonts):
        click.echo(f"Drawn with Pillow's built-in font only. {MORE_FONTS}", err=True)
    shown = click.format_filename(written)
    train = f"crnn-captcha train {shlex.quote(shown)} --out runs/first"
    click.echo(
        f"Wrote {count} images ({count - tests} train, {tests} test) to {shown}, "
        f"drawn with {_named(fonts)}. Next: {train}"
    )


def _with_progress(images: Iterator[GeneratedImage], count: int) -> Iterator[GeneratedImage]:
    from crnn_captcha.progress import progress_bar

    with progress_bar(count, "Drawing", "image", shown=None) as bar:
        for image in images:
            yield image
            bar.update()


def _named(fonts: Sequence[Font]) -> str:
    from crnn_captcha.fonts import families

    if not fonts:
        return "the generator's own font"
    names = list(families(fonts))
    more = f" and {len(names) - SHOWN_FAMILIES} more" if len(names) > SHOWN_FAMILIES else ""
    listed = f"{', '.join(names[:SHOWN_FAMILIES])}{more}"
    return f"{len(fonts)} font{'s' if len(fonts) > 1 else ''} ({listed})"
