"""Reading many images: one by one on one thread, part by part, and all at once on all cores.

And by a process for each core side by side, as a server has them, each with one thread or, as if
it were alone, with one for each core: whether they get into each other's way.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier

import cv2
from measurement import (
    Figure,
    add_image_options,
    alternate,
    argument_parser,
    chosen_images,
    model_name,
    positive,
    ratios,
    report,
    run,
)

from crnn_captcha.decoding import DEFAULT_BEAM, decode_many, greedy_decode
from crnn_captcha.images import decode_image
from crnn_captcha.recognizer import WINDOW_IMAGES, Recognizer
from crnn_captcha.windows import available_cores

PARTS = ("decoding the file", "preprocessing", "the network", "decoding the logits")
BEAM_AIM = 3
WAIT_S = 300  # for the slowest of several processes
Way = Callable[[Recognizer, Sequence[bytes]], list[float]]


def main() -> None:
    """Reads the same images in each way, in turns."""
    parser = argument_parser(__doc__, reads=True)
    add_image_options(parser, count=300)
    parser.add_argument("--repeats", type=positive, default=7, help="(default: %(default)s)")
    arguments = parser.parse_args()
    images = chosen_images(arguments)
    files = images.files
    alone = Recognizer(arguments.model, threads=1)
    together = Recognizer(arguments.model)
    cores = available_cores()
    with (
        processes(arguments.model, files, threads=1) as careful,
        processes(arguments.model, files, threads=cores) as careless,
    ):
        runs: list[Callable[[], list[float]]] = [
            lambda: on_one_thread(read_one_by_one, alone, files),
            lambda: on_one_thread(read_by_parts, alone, files),
            lambda: read_together(together, files),
            lambda: on_one_thread(search_by_beam, alone, files),
            careful,
            careless,
        ]
        one_by_one, parts, at_once, searches, *beside = alternate(
            runs, arguments.repeats, pause_s=0.2
        )

    what = f"reading {len(files)} images ({images.source}; {model_name(arguments.model)})"
    alone_s = [sum(turn) for turn in one_by_one]
    together_s = [sum(turn) for turn in at_once]
    per_second = [len(files) / seconds for seconds in together_s]
    milliseconds = [[1000 * seconds / len(files) for seconds in turn] for turn in parts]
    one, many = f"{what}, one by one, 1 thread", f"{what}, in one call, {cores} cores"
    figures = [
        Figure(one, [1000 * seconds / len(files) for seconds in alone_s], "ms an image"),
        Figure(one, [len(files) / seconds for seconds in alone_s], "images a second", 0),
        *(
            Figure(f"{one}: {part}", [turn[i] for turn in milliseconds], "ms an image")
            for i, part in enumerate(PARTS)
        ),
        Figure(
            f"{what}, 1 thread: search by beam {DEFAULT_BEAM}, {WINDOW_IMAGES} at a time / the "
            f"network, one by one (aim: at most {BEAM_AIM})",
            [search / network for network, search in searches],
        ),
        Figure(many, per_second, "images a second", 0),
        Figure(f"{what}: speed in one call / one by one", ratios(alone_s, together_s)),
        *(
            Figure(
                f"{what}: speed of {cores} processes side by side with {threads} thread"
                f"{'s' * (threads > 1)} each / in one call",
                [cores * call / sum(turn) for call, turn in zip(together_s, turns, strict=True)],
            )
            for threads, turns in zip((1, cores), beside, strict=True)
        ),
    ]
    report(figures, as_json=arguments.json)


def on_one_thread(read: Way, recognizer: Recognizer, files: Sequence[bytes]) -> list[float]:
    """Keeps OpenCV, too, from using other cores."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return read(recognizer, files)
    finally:
        cv2.setNumThreads(threads)


def read_one_by_one(recognizer: Recognizer, files: Sequence[bytes]) -> list[float]:
    """Seconds for all images, a call each."""
    start = time.perf_counter()
    for data in files:
        recognizer.read(data)
    return [time.perf_counter() - start]


def read_together(recognizer: Recognizer, files: Sequence[bytes]) -> list[float]:
    """Seconds for all images in one call."""
    start = time.perf_counter()
    recognizer.read(files)
    return [time.perf_counter() - start]


def search_by_beam(recognizer: Recognizer, files: Sequence[bytes]) -> list[float]:
    """Seconds in the network and in a search by beam of what it scored, for all images."""
    batch = [recognizer.pipeline(decode_image(data))[None] for data in files]
    start = time.perf_counter()
    logits = [recognizer.logits(prepared)[0] for prepared in batch]
    network = time.perf_counter()
    for first in range(0, len(logits), WINDOW_IMAGES):
        window = logits[first : first + WINDOW_IMAGES]
        decode_many(window, recognizer.charset, beam=DEFAULT_BEAM)
    return [network - start, time.perf_counter() - network]


@contextmanager
def processes(
    model: str | None, files: Sequence[bytes], threads: int
) -> Iterator[Callable[[], list[float]]]:
    """A process for each core: gives a function that lets each read all images, and times it."""
    cores = available_cores()
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(cores + 1), context.Barrier(cores + 1)
    workers = [
        context.Process(target=_serve, args=(model, files, threads, start, done), daemon=True)
        for _ in range(cores)
    ]
    for worker in workers:
        worker.start()

    def seconds() -> list[float]:
        start.wait(WAIT_S)
        begun = time.perf_counter()
        done.wait(WAIT_S)
        return [time.perf_counter() - begun]

    try:
        yield seconds
    finally:
        for worker in workers:
            worker.kill()


def _serve(
    model: str | None, files: Sequence[bytes], threads: int, start: Barrier, done: Barrier
) -> None:
    cv2.setNumThreads(1)
    recognizer = Recognizer(model, threads=threads)
    while True:
        start.wait()
        recognizer.read(files)
        done.wait()


def read_by_parts(recognizer: Recognizer, files: Sequence[bytes]) -> list[float]:
    """Seconds in each of `PARTS`, for all images one by one: what `read` does, step by step."""
    seconds = [0.0] * len(PARTS)
    for data in files:
        times = [time.perf_counter()]
        image = decode_image(data)
        times.append(time.perf_counter())
        prepared = recognizer.pipeline(image)
        times.append(time.perf_counter())
        logits = recognizer.logits(prepared[None])
        times.append(time.perf_counter())
        greedy_decode(logits, recognizer.charset)
        times.append(time.perf_counter())
        for i in range(len(PARTS)):
            seconds[i] += times[i + 1] - times[i]
    return seconds


if __name__ == "__main__":
    run(main)
