"""A bundle reads images: the home of ONNX Runtime."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from crnn_captcha.bundle import Bundle, BundleMetadata, read_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.decoding import (
    BEST_PATH,
    CHUNK_CELLS,
    Decoding,
    Logits,
    Reading,
    decode_many,
)
from crnn_captcha.errors import BundleError, ConfigError, ImageError, PreprocessingError
from crnn_captcha.images import ImageSource, load_image
from crnn_captcha.preprocessing import Pipeline
from crnn_captcha.stages import Columns
from crnn_captcha.windows import available_cores, in_windows, side_by_side

PACKAGED_BUNDLES = Path(__file__).parent / "models"
DEFAULT_BUNDLE = PACKAGED_BUNDLES / "standard.onnx"
RUN_BUNDLE = "bundle.onnx"  # in a run folder

CHUNK_IMAGES = 256  # prepared ahead, so that many of a chunk have the same width
WINDOW_IMAGES = 32  # fewer where each thread has its own: all of them are held at once
MAX_BATCH_PIXELS = 2**14  # 4 of 128 x 32: what the network computes on the way is the most memory

Prepared = NDArray[np.uint8]


class Recognizer:
    r"""Reads images with a bundle. One may be shared by threads, and sent to other processes.

    There is nothing to close. To make one takes longer than to read an image with it: the bundle
    is checked, and a session of ONNX Runtime made. A pickle of it is as large as its bundle, and a
    copy makes a session of its own. So keep one for as long as there are images, let threads share
    it, and give each process of a pool one when it starts, not one with every image.

    Where several processes read side by side, give each `threads=1`: ONNX Runtime then starts no
    thread at all. OpenCV's threads are the whole process's own and left as they are; only `clahe`
    and large images use them, and `cv2.setNumThreads(1)` turns them off.

    Args:
        model: a bundle file, a run folder that holds `bundle.onnx`, the name of a bundle in the
            package, or a `Bundle`; None is the bundle in the package that is named `standard`.
        threads: that it computes on at most, for one image as for many; None: as many as there
            are cores to run on.

    Example:
        recognizer = Recognizer()
        recognizer.read("captcha.png").text
        [reading.text for reading in recognizer.read(["a.png", "b.png"])]
        six = Decoding(Constraint(pattern=r"[a-z]{4}\d\d"), alternatives=3)
        recognizer.read("captcha.png", six).alternatives

    Raises:
        BundleError: if the bundle is missing, broken, unsafe or of a newer format.
        ConfigError: if `threads` is no positive integer.
    """

    def __init__(
        self, model: str | os.PathLike[str] | Bundle | None = None, *, threads: int | None = None
    ) -> None:
        self._asked_threads = threads
        self._threads = _checked_threads(threads) or available_cores()
        self._bundle = model if isinstance(model, Bundle) else read_bundle(bundle_path(model))
        self._metadata = self._bundle.metadata
        self._session = _make_session(self._bundle.graph, self._threads)
        self._on_one_thread: Recognizer | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[[Bundle], Recognizer], tuple[Bundle]]:
        return partial(type(self), threads=self._asked_threads), (self._bundle,)

    @property
    def metadata(self) -> BundleMetadata:
        """What the bundle says about itself."""
        return self._metadata

    @property
    def charset(self) -> Charset:
        """The characters that it knows."""
        return self._metadata.charset

    @property
    def pipeline(self) -> Pipeline:
        """How it prepares an image."""
        return self._metadata.pipeline

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that tell its bundle from all others."""
        from hashlib import blake2b

        bundle = self._bundle.graph + self._metadata.to_json().encode()
        return blake2b(bundle, digest_size=16).hexdigest()

    # A str is also a sequence of str; at run time it is a path.
    @overload
    def read(self, images: ImageSource, decoding: Decoding = ...) -> Reading: ...  # type: ignore[overload-overlap]
    @overload
    def read(self, images: Sequence[ImageSource], decoding: Decoding = ...) -> list[Reading]: ...
    def read(
        self, images: ImageSource | Sequence[ImageSource], decoding: Decoding = BEST_PATH
    ) -> Reading | list[Reading]:
        """Reads one image, or several.

        Args:
            images: one image (a path, a file's bytes, an array, a PIL image), or a list, tuple
                or other sequence of them. An array is always one image.
            decoding: constraints, and what to say besides the text.

        Returns:
            A reading for the one, or a list of readings in the order of the several.

        Raises:
            ImageError: if an image can't be read; of several, it names the first such one. Use
                `read_each` to get the readings of the others.
            BundleError: if the bundle's graph fails on an image.
        """
        if not _is_several(images):
            return self._read_one(images, decoding)  # type: ignore[arg-type]
        readings = []
        for i, result in enumerate(self.read_many(images, decoding)):  # type: ignore[arg-type]
            if isinstance(result, ImageError):
                raise ImageError(f"images[{i}]: {result}") from result
            readings.append(result)
        return readings

    def read_each(
        self, images: Iterable[ImageSource | ImageError], decoding: Decoding = BEST_PATH
    ) -> Iterator[Reading | ImageError]:
        """Reads any number of images in bounded memory, the bad ones left to the caller.

        All but the network itself happens in the caller's thread, and a chunk of images is read
        when the first of its readings is asked for. `read_many` is faster and does the same.

        Args:
            images: as for `read`; taken from the iterable as they are needed. An `ImageError`
                among them, of an image that could not even be had, is passed on in its place.
            decoding: as for `read`.

        Yields:
            For each image in order its reading, or the `ImageError` that says why there is none.

        Raises:
            BundleError: if the bundle's graph fails on an image.
        """
        sources = iter(images)
        while results := self._read_window(islice(sources, CHUNK_IMAGES), decoding):
            yield from results

    def read_many(
        self,
        images: Iterable[ImageSource | ImageError],
        decoding: Decoding = BEST_PATH,
        *,
        threads: int | None = None,
    ) -> Iterator[Reading | ImageError]:
        """Streams the readings of any number of images, several computed at the same time.

        Each thread takes a window of images and does all that there is to do with them, so one
        decodes and prepares while the network runs in another, and none waits for the others.
        Images are taken from the iterable in the caller's thread, at most `threads + 2` windows
        of `WINDOW_IMAGES` ahead of the reading that is asked for. The readings don't depend on
        `threads`, other than by rounding.

        Args:
            images: as for `read_each`.
            decoding: as for `read`.
            threads: that compute; None: as many as this recognizer has.

        Returns:
            An iterator over each image's reading, in order, or the `ImageError` that says why
            there is none. It raises `BundleError` if the bundle's graph fails on an image.
            Closing it, or dropping it, waits for the windows under way and ends the threads.

        Raises:
            ConfigError: if `threads` is no positive integer, or the constraint can't be kept to
                with the characters of this recognizer, as `Constraint.compile` says.
        """
        count = _checked_threads(threads) or self._threads
        if decoding.constraint:
            decoding.constraint.compile(self.charset)
        size = WINDOW_IMAGES
        if isinstance(images, Sized):  # so that a few images keep all threads busy, too
            size = min(size, max(1, -(-len(images) // count)))
        read_window = partial(self._alone()._read_window, decoding=decoding)
        return side_by_side(read_window, in_windows(images, size), count)

    def logits(self, prepared: Prepared) -> NDArray[np.float32]:
        """The network's scores.

        Args:
            prepared: uint8 (batch, width, height, channels), as `pipeline` makes them.

        Returns:
            float32 (batch, time_steps, num_classes), finite, class 0 the blank.

        Raises:
            ImageError: if `prepared` is something else.
            BundleError: if the bundle's graph fails, or gives something else.
        """
        shape = prepared.shape
        expected = (self.pipeline.height, self.pipeline.channels)
        if prepared.dtype != np.uint8 or shape[2:] != expected or 0 in shape:
            raise ImageError(
                f"Prepared images are uint8 (batch, width, {expected[0]}, {expected[1]}), at least "
                f"one. Received: {prepared.dtype} {shape}."
            )
        try:
            (logits,) = self._session.run(["logits"], {"images": prepared})
        except Exception as error:  # ONNX Runtime's exceptions have no other base
            raise BundleError(
                f"A bundle's graph must run. Received: {_one_line(error)} on images of the shape "
                f"{shape}."
            ) from error
        num_classes = self.charset.num_classes
        if logits.ndim != 3 or logits.shape[::2] != (shape[0], num_classes) or not logits.size:
            raise BundleError(
                f"A bundle's logits are ({shape[0]}, time_steps, {num_classes}), with time steps. "
                f"Received: {logits.shape}."
            )
        if not np.isfinite(logits).all():
            raise BundleError("A bundle's logits are finite. Received: some that aren't.")
        return np.asarray(logits, np.float32)

    def _read_one(self, source: ImageSource, decoding: Decoding) -> Reading:
        item = self._prepare(source, decoding)
        if isinstance(item, ImageError):
            raise item
        prepared, columns = item
        return self._decode([*self.logits(prepared[None])], [columns], decoding)[0]

    def _read_window(
        self, images: Iterable[ImageSource | ImageError], decoding: Decoding = BEST_PATH
    ) -> list[Reading | ImageError]:
        """Readings of images that are held in memory together once they are prepared."""
        window = [self._prepare(source, decoding) for source in images]
        results: list[Reading | ImageError | None] = [
            item if isinstance(item, ImageError) else None for item in window
        ]
        prepared = {i: item for i, item in enumerate(window) if not isinstance(item, ImageError)}
        for logits in self._scored({i: image for i, (image, _) in prepared.items()}):
            columns = [prepared[i][1] for i in logits]
            readings = self._decode([*logits.values()], columns, decoding)
            for i, reading in zip(logits, readings, strict=True):
                results[i] = reading
        return [result for result in results if result is not None]

    def _scored(self, prepared: dict[int, Prepared]) -> Iterator[dict[int, Logits]]:
        """What the network makes of images, by their keys, in parts to decode together."""
        part: dict[int, Logits] = {}
        cells = 0
        for batch in _batches(prepared):
            logits = self.logits(np.stack([prepared[i] for i in batch]))
            part.update(zip(batch, logits, strict=True))
            cells += logits.size
            if cells >= CHUNK_CELLS:  # of thousands of characters: a few images
                yield part
                part, cells = {}, 0
        if part:
            yield part

    def _decode(
        self, logits: Sequence[Logits], columns: Sequence[Columns | None], decoding: Decoding
    ) -> list[Reading]:
        readings = decode_many(
            logits,
            self.charset,
            beam=decoding.beam,
            constraint=decoding.constraint,
            alternatives=decoding.alternatives,
            temperature=self._metadata.temperature,
        )
        return [
            reading if own is None else reading.placed(own, len(scores))
            for reading, own, scores in zip(readings, columns, logits, strict=True)
        ]

    def _prepare(
        self, source: ImageSource | ImageError, decoding: Decoding
    ) -> tuple[Prepared, Columns | None] | ImageError:
        """The image as the network takes it, uint8 (width, height, channels)."""
        if isinstance(source, ImageError):
            return source
        try:
            image = load_image(source)
            columns = self.pipeline.columns(image) if decoding.places else None
            return self.pipeline(image), columns
        except ImageError as error:
            return error
        except PreprocessingError as error:
            name = f"{os.fspath(source)!r}: " if isinstance(source, str | os.PathLike) else ""
            return ImageError(f"{name}{error}")

    def _alone(self) -> Recognizer:
        """The same on one thread: whole windows side by side beat one window on many threads."""
        if self._threads == 1:
            return self
        with self._lock:
            if self._on_one_thread is None:
                self._on_one_thread = Recognizer(self._bundle, threads=1)
            return self._on_one_thread


def _is_several(images: object) -> bool:
    # A PIL image is no sequence, and neither is an array.
    return isinstance(images, Sequence) and not isinstance(
        images, str | bytes | bytearray | memoryview | os.PathLike
    )


def _batches(prepared: dict[int, Prepared]) -> Iterator[list[int]]:
    """The keys of images of equal width, which none needs padding for, bounded by pixels."""
    by_width: dict[int, list[int]] = {}
    for i, image in prepared.items():
        by_width.setdefault(len(image), []).append(i)
    for group in by_width.values():
        width, height, _ = prepared[group[0]].shape
        size = max(1, MAX_BATCH_PIXELS // (width * height))
        yield from (group[start : start + size] for start in range(0, len(group), size))


def packaged_bundles() -> dict[str, Path]:
    """The bundles in the package, by name."""
    return {path.stem: path for path in sorted(PACKAGED_BUNDLES.glob("*.onnx"))}


def bundle_path(model: str | os.PathLike[str] | None) -> Path:
    """Where the bundle lies: a file itself, a run folder's, or one of the package's.

    What is a file or a folder isn't taken for a name.

    Raises:
        BundleError: if it isn't there.
    """
    if model is None:
        if not DEFAULT_BUNDLE.is_file():
            raise BundleError(
                "The package's own bundle is needed where no model is named. Received: none, this "
                "installation has no bundle. Train one (crnn-captcha train) and name it."
            )
        return DEFAULT_BUNDLE
    path = Path(model)
    if not path.exists():
        packaged = packaged_bundles()
        if os.fspath(model) not in packaged:
            raise BundleError(
                "A model is a bundle file, a run folder, or the name of a bundle in the package: "
                f"{', '.join(packaged)}. Received: '{path}' (no such file)."
            )
        return packaged[os.fspath(model)]
    if not path.is_dir():
        return path
    if not (path / RUN_BUNDLE).is_file():
        raise BundleError(
            f"A run folder to read with holds '{RUN_BUNDLE}'. Received: '{path}', which doesn't. "
            f"Make it: crnn-captcha export {path} --out {path / RUN_BUNDLE}"
        )
    return path / RUN_BUNDLE


def _make_session(graph: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # made for images of one width: here memory for nothing
    options.log_severity_level = 4  # fatal: whatever else goes wrong becomes an exception
    # Without it the bytes could also be ONNX Runtime's own format, which nobody has checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no other base
        raise BundleError(
            f"A bundle's graph must load. Received: {_one_line(error)}. "
            "Use a file that `crnn-captcha train` or `crnn-captcha export` wrote."
        ) from error


def _checked_threads(threads: int | None) -> int | None:
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ConfigError(f"`threads` is an integer from 1, or None. Received: {threads!r}.")
    return threads


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}…"
