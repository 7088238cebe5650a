"""How many images a second the generator draws: by one process, and by one for each core."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from measurement import SEED, Figure, alternate, argument_parser, positive, ratios, report, run

from crnn_captcha.generator import generate
from crnn_captcha.style_files import DEFAULT, load_style
from crnn_captcha.windows import available_cores

AIM = 1000  # images a second on two cores


def main() -> None:
    """Draws the same images each time, start of the processes and first use of glyphs included."""
    parser = argument_parser(__doc__)
    parser.add_argument("--style", default=DEFAULT, help="name or file (default: %(default)s)")
    parser.add_argument("--images", type=positive, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="(default: %(default)s)")
    arguments = parser.parse_args()
    cores = available_cores()
    runs = [
        partial(images_a_second, arguments.style, arguments.images, workers)
        for workers in (1, cores)
    ]
    alone, together = alternate(runs, arguments.repeats, warm_ups=0, pause_s=0.2)
    what = f"drawing {arguments.images:,} PNG files in the style {arguments.style}"
    report(
        [
            Figure(f"{what}, 1 process", alone, "images a second", 0),
            Figure(
                f"{what}, {cores} processes (aim: {AIM} on 2 cores)", together, "images a second", 0
            ),
            Figure(f"{what}: {cores} processes / 1", ratios(together, alone)),
        ],
        as_json=arguments.json,
    )


def images_a_second(style: str, count: int, workers: int) -> float:
    """Of all images, from nothing to the last file's bytes, in processes that have drawn nothing.

    With one worker, this one would draw by itself, and know the glyphs of the turn before.
    """
    start = time.perf_counter()
    if workers > 1:
        drawn = draw(style, count, workers)
    else:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
            drawn = executor.submit(draw, style, count, workers).result()
    return drawn / (time.perf_counter() - start)


def draw(style: str, count: int, workers: int) -> int:
    """How many images were drawn."""
    return sum(1 for _ in generate(count, SEED, style=load_style(style), workers=workers))


if __name__ == "__main__":
    run(main)
