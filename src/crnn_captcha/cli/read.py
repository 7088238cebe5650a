"""The command `read`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crnn_captcha.cli import Real, Some, SomePath

if TYPE_CHECKING:
    from crnn_captcha.constraints import Constraint
    from crnn_captcha.decoding import Character, Decoding, Reading
    from crnn_captcha.jobs import JobResult

STDIN = "-"
UNCERTAIN = "?"
ESCAPES = str.maketrans({"\t": r"\t", "\n": r"\n", "\r": r"\r"})


@click.command(short_help="Read images.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--model", type=Some(), metavar="M",
              help="Bundle, run folder, or the name of a bundle in the package, such as small; "
              "left out: standard.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--characters", type=Some(), metavar="ABC",
              help="Only these characters may stand in a text.")  # fmt: skip
@click.option("--length", type=Some(), metavar="N[-M]", help="A text has N characters, or N to M.")
@click.option("--pattern", type=Some(), metavar="REGEX",
              help="A text fits this whole, such as '[a-z]{4}[0-9]+'.")  # fmt: skip
@click.option("--fold-case", is_flag=True, help="Capitals and small letters count as one.")
@click.option("--merge-lookalikes", is_flag=True, help="o and 0 count as one, and l, 1 and i.")
@click.option("--alternatives", default=0, type=click.IntRange(0), metavar="N",
              help="With --json, also say the N next best texts and characters.")  # fmt: skip
@click.option("--places", is_flag=True, help="With --json, also say where each character was read.")
@click.option("--min-confidence", type=Real(0, 1), metavar="P",
              help="Mark readings whose confidence is below P, 0 to 1.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), metavar="N",
              help="Compute on N threads; left out: all cores, for one image one.")  # fmt: skip
@click.option("--out", type=SomePath(dir_okay=False), metavar="FILE",
              help="Write a row per image into a .csv, .jsonl or .parquet.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with FILE where it stopped, if it is there.")
def read(
    images: tuple[str, ...],
    model: str | None,
    as_json: bool,
    characters: str | None,
    length: str | None,
    pattern: str | None,
    fold_case: bool,
    merge_lookalikes: bool,
    alternatives: int,
    places: bool,
    min_confidence: float | None,
    threads: int | None,
    out: Path | None,
    resume: bool,
) -> None:
    """Reads each IMAGE and prints its path, text and confidence, tab between them.

    IMAGE is a PNG, JPEG, BMP, WebP or GIF file, or - for one on standard input. One that can't
    be read is named on standard error, the others are still read, and the exit code is 1. Tabs and
    line breaks in a path are printed as \\t, \\n and \\r.

    A confidence is the probability that the whole text is right. It is calibrated: of many
    readings at 0.9, about nine in ten are right, on images like those that the model was trained
    on. With --min-confidence a fourth column is ? below it and empty above; in JSON it is
    "certain", false or true.

    What is known about the text goes into the search, not behind it: --characters, --length,
    --pattern and the two that let characters count as one. The most probable of the texts that fit
    is read, and its confidence is its probability among them. If none fits, the text is empty and
    the confidence 0.

    With --out, IMAGE may also be a folder or a zip of images, of any number. FILE gets the columns
    path, text, confidence and error, and with --min-confidence certain. Rows are there soon after
    they were read, in Parquet at the end; what was stopped goes on by the same command with
    --resume. While FILE.job is there, FILE isn't complete.

    \b
    Examples:
      crnn-captcha read captcha.png
      crnn-captcha read --json captchas/*.png
      crnn-captcha read --model runs/first - < captcha.png
      crnn-captcha read --length 6 --characters 0123456789 captcha.png
      crnn-captcha read --json --alternatives 3 --places captcha.png
      crnn-captcha read captchas.zip --out readings.csv --min-confidence 0.9
    """  # noqa: D301
    if images.count(STDIN) > 1:
        raise click.UsageError("Standard input, '-', is one image. Received: '-' more than once.")
    if resume and not out:
        raise click.UsageError("--resume goes on with the file of --out. Received: no --out.")
    if out and (as_json or STDIN in images):
        raise click.UsageError(
            "--out reads files, folders and zips into a file whose suffix says its format. "
            f"Received: {'--json' if as_json else repr(STDIN)}. Leave it out."
        )
    if (alternatives or places) and not as_json:
        raise click.UsageError("--alternatives and --places go with --json. Received: no --json.")
    searched = any((characters, length, pattern, fold_case, merge_lookalikes))
    decoding = _decoding(
        _constraint(characters, length, pattern, fold_case, merge_lookalikes) if searched else None,
        alternatives,
        places,
    )
    if out:
        failed = _read_into(out, images, model, decoding, min_confidence, threads, resume)
    else:
        failed = _print_readings(images, model, decoding, as_json, min_confidence, threads)
    if failed:
        raise SystemExit(1)


def _constraint(
    characters: str | None,
    length: str | None,
    pattern: str | None,
    fold_case: bool,
    merge_lookalikes: bool,
) -> Constraint:
    from crnn_captcha.constraints import Constraint
    from crnn_captcha.metrics import LOOKALIKES

    least, dash, most = (length or "0-").partition("-")
    try:
        bounds = int(least), int(most if dash else least) if most or not dash else None
    except ValueError:
        raise click.UsageError(
            f"--length is a number of characters, or two: 6, or 4-8. Received: '{length}'."
        ) from None
    return Constraint(
        characters or "",
        min_length=bounds[0],
        max_length=bounds[1],
        pattern=pattern or "",
        fold_case=fold_case,
        merge=tuple(LOOKALIKES) if merge_lookalikes else (),
    )


def _decoding(constraint: Constraint | None, alternatives: int, places: bool) -> Decoding:
    from crnn_captcha.decoding import Decoding

    return Decoding(constraint, alternatives, places=places)


def _print_readings(
    images: tuple[str, ...],
    model: str | None,
    decoding: Decoding,
    as_json: bool,
    min_confidence: float | None,
    threads: int | None,
) -> bool:
    """Whether there was an image that couldn't be read."""
    import cv2

    from crnn_captcha.errors import ImageError
    from crnn_captcha.recognizer import Recognizer
    from crnn_captcha.windows import available_cores

    cv2.setNumThreads(1)  # the process is ours, and images side by side are faster
    if len(images) == 1:  # starting threads takes longer than they save on one image
        results = Recognizer(model, threads=threads or 1).read_each(_sources(images), decoding)
    else:
        recognizer = Recognizer(model, threads=1)
        threads = threads or available_cores()
        results = recognizer.read_many(_sources(images), decoding, threads=threads)
    failed = False
    for path, result in zip(images, results, strict=True):
        if isinstance(result, ImageError):
            failed = True
            _echo(_error_line(path, result), err=True)
        else:
            certain = None if min_confidence is None else result.confidence >= min_confidence
            _echo(
                _json_line(path, result, certain, decoding)
                if as_json
                else _text_line(path, result, certain)
            )
    return failed


def _read_into(
    out: Path,
    images: tuple[str, ...],
    model: str | None,
    decoding: Decoding,
    min_confidence: float | None,
    threads: int | None,
    resume: bool,
) -> bool:
    """Whether there was an image that couldn't be read."""
    import cv2

    from crnn_captcha.jobs import read_into
    from crnn_captcha.recognizer import Recognizer
    from crnn_captcha.windows import available_cores

    cv2.setNumThreads(1)
    try:
        result = read_into(
            out,
            images,
            Recognizer(model, threads=1),
            decoding=decoding,
            threads=threads or available_cores(),
            min_confidence=min_confidence,
            resume=resume,
            progress=True,
        )
    except KeyboardInterrupt:
        _echo("Go on by the same command with --resume.", err=True)
        raise
    _echo(_summary(out, result, min_confidence))
    return bool(result.broken)


def _sources(images: tuple[str, ...]) -> list[str | bytes]:
    from crnn_captcha.images import MAX_FILE_BYTES

    # One byte more than is allowed is enough to know that it is too large.
    return [
        path if path != STDIN else sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if sys.stdin else b""
        for path in images
    ]


def _text_line(path: str, reading: Reading, certain: bool | None) -> str:
    mark = "" if certain is None else "\t" if certain else f"\t{UNCERTAIN}"
    return f"{path.translate(ESCAPES)}\t{reading.text}\t{reading.confidence:.4f}{mark}"


def _json_line(path: str, reading: Reading, certain: bool | None, asked: Decoding) -> str:
    """All lines of one call have the same keys, whatever was found."""
    values: dict[str, object] = {
        "path": path,
        "text": reading.text,
        "confidence": reading.confidence,
        "characters": [_character(c, asked) for c in reading.characters],
    }
    if asked.alternatives:
        values["alternatives"] = [asdict(other) for other in reading.alternatives]
    if asked.constraint:
        values |= {"constraint_probability": reading.constraint_probability, "fits": reading.fits}
    return json.dumps(values if certain is None else values | {"certain": certain})


def _character(character: Character, asked: Decoding) -> dict[str, object]:
    values: dict[str, object] = {"text": character.text, "confidence": character.confidence}
    if character.columns:
        values["columns"] = [round(edge, 1) for edge in character.columns]
    if asked.alternatives:
        values["alternatives"] = [asdict(other) for other in character.alternatives]
    return values


def _summary(out: Path, result: JobResult, min_confidence: float | None) -> str:
    parts = [f"{out}: {result.images:,} images"]
    if result.before:
        parts.append(f"{result.before:,} of them read before")
    parts.append(f"{result.broken:,} broken")
    if min_confidence is not None:
        parts.append(f"{result.uncertain:,} below a confidence of {min_confidence:g}")
    return ", ".join(parts)


def _error_line(path: str, error: Exception) -> str:
    message = " ".join(str(error).split())
    return f"crnn-captcha: {message if path != STDIN else f'standard input: {message}'}"


def _echo(line: str, *, err: bool = False) -> None:
    # As bytes: file names need not be text, and a terminal's encoding need not know all of it.
    click.echo(line.encode("utf-8", "surrogateescape"), err=err)
