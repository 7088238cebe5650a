"""Whatever a caller calls an image, as RGB uint8 (height, width, 3), or an ImageError.

Files come from strangers. The format is told by the first bytes alone, the size is read from the
header and refused before anything is decoded, and only the parts of a file that its first frame
needs are handed to the decoder: OpenCV 5.0 allocates what a PNG chunk claims to hold (up to 2 GB)
and crashes on damaged animated PNGs.

What a file's pixels mean: transparent ones show white behind them, 16-bit levels are rounded to
8 bits (65535 is 255), of an animation the first frame counts (of an animated PNG the image that
readers without animation show), and an Exif orientation is ignored, so that a file, its array
and its PIL image are read alike.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import ImageError

MAX_PIXELS = 4_000_000
MAX_FILE_BYTES = 16 * 2**20
_MAX_JPEG_SCANS = 100  # a progressive file has about ten; each one costs a pass over all pixels
_PNG_CHUNKS = (b"PLTE", b"tRNS", b"IDAT", b"IEND")  # and IHDR: all that makes up the still image


class _PillowImage(Protocol):
    """What is used of a `PIL.Image.Image`; Pillow itself is never imported here."""

    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def convert(self, mode: str, /) -> Any: ...


ImageSource = str | os.PathLike[str] | bytes | NDArray[Any] | _PillowImage


def load_image(source: ImageSource) -> NDArray[np.uint8]:
    """The image in a file, in a file's bytes, in an array or in a PIL image.

    Args:
        source: a path; or the bytes of a PNG, JPEG, BMP, WebP or GIF file; or an array of shape
            (height, width), (height, width, 1), (height, width, 3) as RGB or (height, width, 4)
            as RGBA, of dtype uint8, uint16 (65535 is white), bool (True is white) or float
            (0 to 1); or a PIL image, of which the current frame counts.

    Returns:
        uint8 of shape (height, width, 3), RGB, flattened on white; never the caller's memory.

    Raises:
        ImageError: if the file can't be read or is broken, unknown or too large; or if the array
            or the PIL image is none of the above. For a path, the message names it.
    """
    if isinstance(source, str | os.PathLike):
        return _from_path(os.fsdecode(source))
    if isinstance(source, bytes):
        return decode_image(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if any(base.__module__ == "PIL.Image" for base in type(source).__mro__):
        return _from_pillow(source)
    raise ImageError(
        "An image is a path, the bytes of a file, a NumPy array or a PIL image. "
        f"Received: {type(source).__name__}. Give one of these."
    )


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """The image (of an animation: the first frame) in the bytes of a file.

    Args:
        data: the whole content of a PNG, JPEG, BMP, WebP or GIF file.

    Returns:
        uint8 of shape (height, width, 3), RGB, flattened on white.

    Raises:
        ImageError: if the format is unknown, the file is damaged or cut short, or it has more
            than `MAX_FILE_BYTES` bytes or `MAX_PIXELS` pixels.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(
            f"An image file may have at most {MAX_FILE_BYTES} bytes. "
            f"Received: at least {len(data)}. Scale the image down or save it as PNG."
        )
    file_format = _format_of(data)
    width, height = image_size(data)
    _check_size(width, height)
    image = _opencv_decode(file_format, data)
    if file_format.name == "BMP":
        image = _mended_bmp(data, image)
    if image.shape[:2] != (height, width):
        found = f"claims {width}x{height} pixels but holds {image.shape[1]}x{image.shape[0]}"
        raise _damaged(file_format.name, found)
    return _flatten(_to_uint8(image), bgr=True)


def image_format(data: bytes) -> str:
    """The format that a file's first bytes say: "PNG", "JPEG", "BMP", "WebP" or "GIF".

    Raises:
        ImageError: if the format is unknown.
    """
    return _format_of(data).name


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as a file's header claims them; no limit is applied.

    Raises:
        ImageError: if the format is unknown or the header is damaged or cut short.
    """
    file_format = _format_of(data)
    try:
        return file_format.size(data)
    except struct.error:
        raise _damaged(file_format.name, "ends within its header") from None


# ---- Files: formats, headers, first frames


@dataclass(frozen=True)
class _Format:
    name: str
    signature: re.Pattern[bytes]
    size: Callable[[bytes], tuple[int, int]]
    """Reads (width, height); struct.error if the header is cut short."""
    first_frame: Callable[[bytes], bytes]
    """The parts to decode; struct.error or IndexError if they are cut short."""


def _format_of(data: bytes) -> _Format:
    for file_format in _FORMATS:
        if file_format.signature.match(data):
            return file_format
    names = ", ".join(file_format.name for file_format in _FORMATS)
    received = f"{len(data)} bytes that begin with {data[:8]!r}" if data else "an empty file"
    raise ImageError(
        f"An image file must be one of: {names}, told by its first bytes. "
        f"Received: {received}. Convert it to PNG."
    )


def _png_size(data: bytes) -> tuple[int, int]:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    if (length, kind) != (13, b"IHDR"):
        raise _damaged("PNG", "doesn't begin with its header chunk")
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int]:
    offset = 2  # behind the start-of-image marker
    while True:
        prefix, marker = struct.unpack_from(">BB", data, offset)
        if prefix != 0xFF or marker in (0x00, 0xD8, 0xD9, 0xDA):
            raise _damaged("JPEG", "has no size before its pixels")
        if marker == 0xFF:  # padding
            offset += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        elif 0xD0 <= marker <= 0xD7 or marker == 0x01:  # markers without a length
            offset += 2
        else:
            offset += 2 + struct.unpack_from(">H", data, offset + 2)[0]


def _bmp_size(data: bytes) -> tuple[int, int]:
    header_bytes, width, height = struct.unpack_from("<Iii", data, 14)
    if header_bytes < 40:  # OpenCV 5.0 would lose the colours
        raise _damaged("BMP", f"has an OS/2 header of {header_bytes} bytes")
    return width, abs(height)  # negative: the rows run from top to bottom


def _webp_size(data: bytes) -> tuple[int, int]:
    (kind,) = struct.unpack_from("<4s", data, 12)
    if kind == b"VP8X":
        width, height = struct.unpack_from("<4x3s3s", data, 20)
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if kind == b"VP8L":
        magic, bits = struct.unpack_from("<BI", data, 20)
        if magic == 0x2F:
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        magic, width, height = struct.unpack_from("<3x3sHH", data, 20)
        if magic == b"\x9d\x01\x2a":
            return width & 0x3FFF, height & 0x3FFF  # the upper two bits: a scale for display
    raise _damaged("WebP", "doesn't begin with an image chunk")


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _png_first_frame(data: bytes) -> bytes:
    parts, offset, kind = [data[:8]], 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + 12 + length  # length, kind and checksum have four bytes each
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if offset == 8 or kind in _PNG_CHUNKS:
            if zlib.crc32(data[offset + 4 : end - 4]) != checksum:
                raise _damaged("PNG", f"has a wrong checksum in its {kind.decode()} chunk")
            parts.append(data[offset:end])
        offset = end
    return b"".join(parts)


def _jpeg_first_frame(data: bytes) -> bytes:
    scans = data.count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS:
        raise ImageError(
            f"A JPEG file may have at most {_MAX_JPEG_SCANS} scans. Received: {scans}. "
            "Save it as PNG."
        )
    return data


def _gif_first_frame(data: bytes) -> bytes:
    offset = 13 + gif_colour_table_bytes(data[10])
    while data[offset] == 0x21:  # extensions
        offset = behind_gif_blocks(data, offset + 2)
    if data[offset] != 0x2C:
        raise _damaged("GIF", "has no frame")
    offset += 10 + gif_colour_table_bytes(data[offset + 9])
    return data[: behind_gif_blocks(data, offset + 1)] + b";"


def gif_colour_table_bytes(flags: int) -> int:
    """Bytes of the colour table that the flags of a GIF or of a frame in it speak of."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def behind_gif_blocks(data: bytes, offset: int) -> int:
    """Where the blocks of a GIF that begin at `offset` end.

    Raises:
        IndexError: if the file is cut short within them.
    """
    while length := data[offset]:
        offset += 1 + length
    return offset + 1


def _whole(data: bytes) -> bytes:
    return data


_FORMATS = (
    _Format("PNG", re.compile(rb"\x89PNG\r\n\x1a\n"), _png_size, _png_first_frame),
    _Format("JPEG", re.compile(rb"\xff\xd8\xff"), _jpeg_size, _jpeg_first_frame),
    _Format("BMP", re.compile(rb"BM"), _bmp_size, _whole),
    _Format("WebP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp_size, _whole),
    _Format("GIF", re.compile(rb"GIF8[79]a"), _gif_size, _gif_first_frame),
)


class _SilentOpenCV:
    """Silences OpenCV's log, so that a broken image is one error and no lines on stderr.

    The level belongs to the whole process: the first thread to enter saves it, the last one to
    leave restores it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                cv2.utils.logging.setLogLevel(self._level)


_silent_opencv = _SilentOpenCV()


def _opencv_decode(file_format: _Format, data: bytes) -> NDArray[Any]:
    """Grey (height, width), BGR or BGRA (height, width, 3 or 4), of uint8 or uint16."""
    try:
        frame = file_format.first_frame(data)
    except (struct.error, IndexError):
        raise _damaged(file_format.name, "is cut short") from None
    image: NDArray[Any] | None = None
    with _silent_opencv, suppress(cv2.error):
        image = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise _damaged(file_format.name, "is damaged or cut short")
    if file_format.name == "PNG" and image.ndim == 2 and frame[37:41] == b"tRNS":
        # OpenCV honours a transparent colour, but not a transparent grey level.
        depth = frame[24]
        level = int.from_bytes(frame[41:43]) * (255 // (2**depth - 1) if depth < 8 else 1)
        image[image == level] = np.iinfo(image.dtype).max
    return image


def _mended_bmp(data: bytes, image: NDArray[Any]) -> NDArray[Any]:
    """What OpenCV makes of a BMP, but without filler bytes as alpha, and with a white of 255."""
    header_bytes, bits, compression = struct.unpack_from("<I10xHI", data, 14)
    masks = struct.unpack_from("<3I", data, 54) if compression == 3 else None
    if bits == 32 and header_bytes < 56:  # it has no mask of alpha
        if masks not in (None, (0xFF0000, 0xFF00, 0xFF)):  # OpenCV 5.0 would mix up the colours
            raise _damaged("BMP", "has its channels in another order")
        return image[..., :3]
    if bits == 16:  # five bits a channel, or six of green: the highest fill those that are missing
        green = 6 if masks and masks[1] == 0x7E0 else 5
        return image | image >> np.array([5, green, 5], np.uint8)
    return image


# ---- Other sources


def _from_path(path: str) -> NDArray[np.uint8]:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)  # enough to know that it is too large
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(
            f"An image must be a file that can be read. Received: {path!r} ({reason}). "
            "Check the path."
        ) from error
    try:
        return decode_image(data)
    except ImageError as error:
        raise ImageError(f"{path!r}: {error}") from error


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(
            "An array must have the shape (height, width), (height, width, 1), (height, width, 3) "
            f"as RGB or (height, width, 4) as RGBA. Received: {array.shape}. Reshape it."
        )
    _check_size(array.shape[1], array.shape[0])
    return _flatten(_to_uint8(array), bgr=False)


def _from_pillow(image: _PillowImage) -> NDArray[np.uint8]:
    _check_size(*image.size)
    if image.mode in ("I", "F"):
        raise ImageError(
            "A PIL image needs a mode with a known white. "
            f"Received: mode {image.mode!r}. Convert it to 'L' or 'RGB' first."
        )
    try:
        # Pillow would cut 16-bit grey off at 255 instead of scaling it.
        array = np.asarray(image if image.mode.startswith("I;16") else image.convert("RGBA"))
    except Exception as error:  # Pillow decodes only here, and its plugins raise all kinds
        raise ImageError(
            f"A PIL image must be loadable. Received: {type(error).__name__} ({error}). "
            "Check the file that it was opened from."
        ) from error
    return _from_array(array)


# ---- Pixels


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise ImageError(
            f"An image must have 1 to {MAX_PIXELS} pixels. Received: {width}x{height} "
            "(width x height). Crop it or scale it down."
        )


def _damaged(name: str, found: str) -> ImageError:
    return ImageError(
        f"An image file must be whole and undamaged. Received: a {name} file that {found}. "
        "Fetch or save it again."
    )


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8]
    if array.dtype == np.uint8:
        levels = array
    elif array.dtype == np.bool_:
        levels = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.newbyteorder("=") == np.uint16:
        native = np.ascontiguousarray(array, np.uint16)
        levels = cv2.convertScaleAbs(native, alpha=1 / 257).reshape(array.shape)  # 65535 // 257
    elif array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):  # false for NaN, too
            raise ImageError(
                "A float array must have values from 0 to 1. "
                f"Received: {low:g} to {high:g}. Divide by the level of white."
            )
        levels = np.rint(array * 255).astype(np.uint8)
    else:
        raise ImageError(
            "An array must have the dtype uint8, uint16, bool or float. "
            f"Received: {array.dtype}. Convert it, for example with astype(numpy.uint8)."
        )
    return levels


def _flatten(image: NDArray[np.uint8], *, bgr: bool) -> NDArray[np.uint8]:
    """New RGB (height, width, 3) from grey, RGB(A) or, if `bgr`, BGR(A)."""
    image = np.ascontiguousarray(image)
    flat: NDArray[np.uint8]
    if image.ndim == 2 or image.shape[2] == 1:
        flat = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)  # (height, width, 3)
    elif image.shape[2] == 3:
        flat = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if bgr else image.copy()
    else:
        # round(c * a / 255) + (255 - a) is exactly round((c * a + 255 * (255 - a)) / 255).
        weighted = cv2.cvtColor(image, cv2.COLOR_RGBA2mRGBA)  # either order: only alpha counts
        flat = cv2.cvtColor(weighted, cv2.COLOR_BGRA2RGB if bgr else cv2.COLOR_RGBA2RGB)
        white = cv2.bitwise_not(cv2.extractChannel(image, 3))  # (height, width)
        flat = cv2.add(flat, cv2.cvtColor(white, cv2.COLOR_GRAY2RGB), dst=flat)
    return flat
