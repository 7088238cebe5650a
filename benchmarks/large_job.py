"""A large reading job, as a process of its own, against the same images in one call.

The job reads a folder of 100,000 files that are 1,000 generated images, each under a hundred names
(hard links take no space), or a zip of them, into a file. Its memory is looked at all the while.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import cv2
import numpy as np
from measurement import SEED, Figure, argument_parser, model_option, positive, report, run

from crnn_captcha.generator import generate
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.tables import FORMATS
from crnn_captcha.windows import available_cores

IN_A_FOLDER = 1_000
CALLS = 3  # in one call, before the job and again after it
LOOK_S = 0.5  # seconds between two looks at the memory
SHOWN_LOOKS = 200  # spread over the job
AIM_SHARE = 0.85
AIM_MB = 150


@dataclass(frozen=True)
class Job:
    """What a job took: seconds in all, and its process' memory over time in MB."""

    seconds: float
    memory_mb: Sequence[float]


def main() -> None:
    """Draws the images, reads them in one call, by the job, and in one call again."""
    parser = argument_parser(__doc__, reads=True)
    parser.add_argument("--images", type=positive, default=100_000, help="(default: %(default)s)")
    parser.add_argument("--drawn", type=positive, default=1_000, help="(default: %(default)s)")
    parser.add_argument(
        "--threads", type=positive, default=available_cores(), help="(default: %(default)s)"
    )
    parser.add_argument("--zip", action="store_true", help="read a zip, not a folder")
    parser.add_argument("--format", choices=[s[1:] for s in FORMATS], default="csv")
    arguments = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        sys.exit("The memory of another process is read from Linux' /proc, which isn't there.")

    images = [image.data for image in generate(arguments.drawn, SEED)]
    cv2.setNumThreads(1)  # as the command does
    recognizer = Recognizer(arguments.model, threads=arguments.threads)
    recognizer.read(images)  # a warm-up
    in_one_call = [images_a_second(recognizer, images) for _ in range(CALLS)]
    with tempfile.TemporaryDirectory() as folder:
        data = (write_zip if arguments.zip else write_folder)(
            Path(folder), images, arguments.images
        )
        command = [sys.executable, "-c", "from crnn_captcha.cli.main import run; run()", "read"]
        command += [str(data), "--out", str(Path(folder, f"readings.{arguments.format}"))]
        command += ["--threads", str(arguments.threads), *model_option(arguments.model)]
        job = watch(command)
    in_one_call += [images_a_second(recognizer, images) for _ in range(CALLS)]

    kind = "zip" if arguments.zip else "folder"
    what = (
        f"`crnn-captcha read`, a {kind} of {arguments.images:,} images into {arguments.format}, "
        f"{arguments.threads} threads"
    )
    speed = arguments.images / job.seconds
    report(
        [
            Figure(f"{len(images):,} images in one call", in_one_call, "images a second", 0),
            Figure(f"{what}, start and listing included", [speed], "images a second", 0),
            Figure(
                f"{what}: job / one call (aim: at least {AIM_SHARE})",
                [speed / call for call in in_one_call],
            ),
            Figure(f"{what}: memory over time", thinned(job.memory_mb), "MB", 0),
            Figure(f"{what}: peak memory (aim: {AIM_MB} MB)", [max(job.memory_mb)], "MB", 0),
            Figure(
                f"{what}: memory in its last tenth less that in its second (aim: flat)",
                [growth(job.memory_mb)],
                "MB",
                1,
            ),
        ],
        as_json=arguments.json,
    )


def images_a_second(recognizer: Recognizer, images: Sequence[bytes]) -> float:
    """Of one call."""
    start = time.perf_counter()
    recognizer.read(images)
    return len(images) / (time.perf_counter() - start)


def write_folder(folder: Path, images: Sequence[bytes], count: int) -> Path:
    """So many names for the images, in folders."""
    drawn = folder / "drawn"
    drawn.mkdir()
    for number, data in enumerate(images):
        (drawn / f"{number}.png").write_bytes(data)
    linked = folder / "images"
    for number in range(count):
        path = linked / f"{number // IN_A_FOLDER:04d}" / f"{number:08d}.png"
        if number % IN_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        os.link(drawn / f"{number % len(images)}.png", path)
    return linked


def write_zip(folder: Path, images: Sequence[bytes], count: int) -> Path:
    """So many entries of the images."""
    path = folder / "images.zip"
    with ZipFile(path, "w", ZIP_STORED) as archive:
        for number in range(count):
            name = f"{number // IN_A_FOLDER:04d}/{number:08d}.png"
            archive.writestr(name, images[number % len(images)])
    return path


def watch(command: Sequence[str]) -> Job:
    """Runs the job, and looks at its memory now and then."""
    memory: list[float] = []
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        memory.append(resident_mb(process.pid))
        time.sleep(LOOK_S)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit("The job has to succeed, see above.")
    return Job(seconds, [mb for mb in memory if mb])


def resident_mb(process_id: int) -> float:
    """Of a process; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def thinned(values: Sequence[float]) -> list[float]:
    """At most `SHOWN_LOOKS` of the values, evenly spread."""
    return [round(value, 1) for value in values[:: -(-len(values) // SHOWN_LOOKS)]]


def growth(values: Sequence[float]) -> float:
    """The median of the last tenth less that of the second: the first is the start."""
    tenth = max(1, len(values) // 10)
    return float(np.median(values[-tenth:]) - np.median(values[tenth : 2 * tenth] or values[:1]))


if __name__ == "__main__":
    run(main)
