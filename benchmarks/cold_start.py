"""The whole process `crnn-captcha read one.png` against the bare imports that reading needs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measurement import (
    Figure,
    alternate,
    argument_parser,
    model_option,
    positive,
    ratios,
    report,
    run,
)

from crnn_captcha.generator import generate

IMPORTS = "import numpy, cv2, onnxruntime"
AIM_RATIO = 1.5
AIM_SECONDS = 0.6


def main() -> None:
    """Draws an image and starts both processes in turns."""
    parser = argument_parser(__doc__, reads=True)
    parser.add_argument("--repeats", type=positive, default=15, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the image (default: %(default)s)")
    arguments = parser.parse_args()
    command = Path(sys.executable).with_name("crnn-captcha")
    if not command.exists():
        sys.exit(f"The package has to be installed beside {sys.executable}, with its command.")

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "one.png")
        image.write_bytes(next(iter(generate(1, arguments.seed))).data)
        read = [str(command), "read", str(image), *model_option(arguments.model)]
        runs = [partial(seconds, read), partial(seconds, [sys.executable, "-c", IMPORTS])]
        times = alternate(runs, arguments.repeats)

    what = "cold start, whole process"
    figures = [
        Figure(f"{what}: `crnn-captcha read one.png` (aim: under {AIM_SECONDS} s)", times[0], "s"),
        Figure(f"{what}: `{IMPORTS}`", times[1], "s"),
        Figure(f"{what}: read / imports (aim: at most {AIM_RATIO})", ratios(*times)),
    ]
    report(figures, as_json=arguments.json)


def seconds(command: Sequence[str]) -> float:
    """How long a process takes, from start to end."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"A process that is timed has to succeed. Received: {done.stderr.strip()}")
    return taken


if __name__ == "__main__":
    run(main)
