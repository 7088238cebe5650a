"""The command `read`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from crnn_captcha.decoding import Reading

STDIN = "-"


@click.command(short_help="Read images.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--model", metavar="M", help="Bundle or run folder; left out, the package's bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def read(images: tuple[str, ...], model: str | None, as_json: bool) -> None:
    """Reads each IMAGE and prints its path, text and confidence, tab between them.

    IMAGE is a PNG, JPEG, BMP, WebP or GIF file, or - for one on standard input. One that can't
    be read is named on standard error, the others are still read, and the exit code is 1.

    \b
    Examples:
      crnn-captcha read captcha.png
      crnn-captcha read --json captchas/*.png
      crnn-captcha read --model runs/first - < captcha.png
    """  # noqa: D301
    if images.count(STDIN) > 1:
        raise click.UsageError("Standard input, '-', is one image. Received: '-' more than once.")

    from crnn_captcha.errors import ImageError
    from crnn_captcha.recognizer import Recognizer

    failed = False
    results = Recognizer(model).read_each(_sources(images))
    for path, result in zip(images, results, strict=True):
        if isinstance(result, ImageError):
            failed = True
            _echo(_error_line(path, result), err=True)
        else:
            _echo(_json_line(path, result) if as_json else _text_line(path, result))
    if failed:
        raise SystemExit(1)


def _sources(images: tuple[str, ...]) -> Iterator[str | bytes]:
    from crnn_captcha.images import MAX_FILE_BYTES

    for path in images:
        if path != STDIN:
            yield path
        else:  # one byte more than is allowed is enough to know that it is too large
            yield sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if sys.stdin else b""


def _text_line(path: str, reading: Reading) -> str:
    return f"{path}\t{reading.text}\t{reading.confidence:.4f}"


def _json_line(path: str, reading: Reading) -> str:
    characters = [{"text": c.text, "confidence": c.confidence} for c in reading.characters]
    return json.dumps(
        {
            "path": path,
            "text": reading.text,
            "confidence": reading.confidence,
            "characters": characters,
        }
    )


def _error_line(path: str, error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"crnn-captcha: {message if path != STDIN else f'standard input: {message}'}"


def _echo(line: str, *, err: bool = False) -> None:
    # As bytes: file names need not be text, and a terminal's encoding need not know all of it.
    click.echo(line.encode("utf-8", "surrogateescape"), err=err)
