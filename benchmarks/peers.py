"""Reading against ready-made readers: the same images, one by one, in turns, on one core.

ddddocr and captcha-whisperer come with the extra `peers`; Tesseract is called as the binary, as
people call it, and left out where it isn't installed. With --run, Keras' own `predict` as well.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
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
from numpy.typing import NDArray

from crnn_captcha.bundle import read_bundle
from crnn_captcha.images import decode_image
from crnn_captcha.recognizer import Recognizer, bundle_path

Read = Callable[[bytes], str]
SLOW = 20  # images for readers that start a process for each


@dataclass(frozen=True)
class Peer:
    """A reader by name, and how many of the images it reads."""

    name: str
    read: Read
    images: int


def main() -> None:
    """Lets each read all images in turns."""
    parser = argument_parser(__doc__, reads=True)
    parser.add_argument("--run", metavar="RUN", help="also time Keras' predict with this run")
    add_image_options(parser, count=200)
    parser.add_argument("--repeats", type=positive, default=5, help="(default: %(default)s)")
    arguments = parser.parse_args()
    on_one_core()
    images = chosen_images(arguments)
    files = images.files
    recognizer = Recognizer(arguments.model, threads=1)
    name = model_name(arguments.model)
    peers = [Peer(name, lambda data: recognizer.read(data).text, len(files)), *others(len(files))]
    if arguments.run:
        peers.append(Peer("Keras' predict", keras_predict(arguments.run), len(files)))
    graph = [recognizer.pipeline(decode_image(data))[None] for data in files]

    what = f"reading {len(files)} images ({images.source}), one by one, one core"
    runs: list[Callable[[], Any]] = [partial(seconds_each, peer, files) for peer in peers]
    runs.append(lambda: bare_graph(arguments.model, graph))
    *times, bare = alternate(runs, arguments.repeats)
    medians = [[1000 * float(np.median(turn)) for turn in turns] for turns in times]
    bare_ms = [1000 * float(np.median(turn)) for turn in bare]
    figures = []
    for peer, ms in zip(peers, medians, strict=True):
        figures.append(Figure(f"{what}: {peer.name}, median", ms, "ms an image"))
        texts = [peer.read(data).lower() for data in files[: peer.images]]
        labels = [label.lower() for label in images.labels]
        share = 100 * sum(map(str.__eq__, texts, labels)) / peer.images
        figures.append(Figure(f"{what}: {peer.name}, read exactly but for case", [share], "%", 1))
    own = medians[0]
    slowest = [1000 * float(np.percentile(turn, 99)) for turn in times[0]]
    figures += [
        Figure(f"{what}: {peer.name} / {name}", ratios(ms, own))
        for peer, ms in zip(peers[1:], medians[1:], strict=True)
    ]
    figures += [
        Figure(f"{what}: {name} / its bare graph (aim: at most 1.35)", ratios(own, bare_ms)),
        Figure(f"{what}: {name}, 99th percentile / median (aim: at most 3)", ratios(slowest, own)),
    ]
    report(figures, as_json=arguments.json)


def on_one_core() -> None:
    """Keeps this process, and what it starts, on one core: all readers have the same."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def others(count: int) -> list[Peer]:
    """The ready-made readers that are installed."""
    found = []
    if importlib.util.find_spec("ddddocr"):
        import ddddocr

        ocr = ddddocr.DdddOcr(show_ad=False)
        found.append(Peer("ddddocr", lambda data: str(ocr.classification(data)), count))
    if importlib.util.find_spec("captcha_whisperer"):
        import captcha_whisperer

        whisperer = captcha_whisperer.CaptchaRecognizer(threads=1)
        found.append(
            Peer(
                "captcha-whisperer",
                lambda data: str(whisperer.recognize_bytes(data)["text"]),
                count,
            )
        )
    if shutil.which("tesseract"):
        found.append(Peer("Tesseract", tesseract, min(SLOW, count)))
    return found


def tesseract(data: bytes) -> str:
    """One line of text, by the binary."""
    command = ["tesseract", "stdin", "stdout", "--psm", "7"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return "".join(done.stdout.decode(errors="replace").split())


def keras_predict(path: str) -> Read:
    """Keras' own way to read with a run's model, behind the same preprocessing."""
    from crnn_captcha.charset import Charset
    from crnn_captcha.decoding import greedy_decode
    from crnn_captcha.training.run import RunFolder
    from crnn_captcha.training.trained import load_networks

    folder = RunFolder(Path(path))
    config = folder.load_config()
    charset = Charset(config.data.charset)
    reader = load_networks(folder, config, charset).reader

    def read(data: bytes) -> str:
        logits = reader.predict(config.pipeline(decode_image(data))[None], verbose=0)
        return greedy_decode(logits, charset)[0].text

    return read


def seconds_each(peer: Peer, files: Sequence[bytes]) -> list[float]:
    """Of each image, from bytes to text."""
    seconds = []
    for data in files[: peer.images]:
        start = time.perf_counter()
        peer.read(data)
        seconds.append(time.perf_counter() - start)
    return seconds


def bare_graph(model: str | None, prepared: Sequence[NDArray[np.uint8]]) -> list[float]:
    """Seconds of ONNX Runtime alone, for each image."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(read_bundle(bundle_path(model)).graph, options)
    session.run(["logits"], {"images": prepared[0]})
    seconds = []
    for image in prepared:
        start = time.perf_counter()
        session.run(["logits"], {"images": image})
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    run(main)
