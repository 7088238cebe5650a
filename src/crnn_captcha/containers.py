"""What an image's file holds beside the pixels that are read: more frames, more bytes, losses.

Nothing is decoded: the walk goes from block to block by the lengths that they claim.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from crnn_captcha.images import behind_gif_blocks, gif_colour_table_bytes, image_format

SUFFIXES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "PNG": (".png",),
        "JPEG": (".jpg", ".jpeg"),
        "BMP": (".bmp",),
        "WebP": (".webp",),
        "GIF": (".gif",),
    }
)
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # none of those that stand among pixels


@dataclass(frozen=True, slots=True)
class Container:
    """An image's file without its pixels.

    Attributes:
        format: a key of `SUFFIXES`.
        frames: 1, or more if it is animated.
        loses: whether saving a picture so may change its pixels: JPEG, WebP that isn't lossless,
            and GIF with its 256 colours.
        trailing_bytes: bytes behind the image's end.
    """

    format: str
    frames: int
    loses: bool
    trailing_bytes: int


@dataclass(frozen=True)
class _Walked:
    end: int
    frames: int = 1
    loses: bool = False


def describe(data: bytes) -> Container:
    """What the bytes of an image's file hold.

    Args:
        data: the whole content of a file that `images.decode_image` takes. Of one that it doesn't,
            only the format is sure.

    Raises:
        ImageError: if the format is unknown.
    """
    name = image_format(data)
    try:
        walked = _WALKS[name](data)
    except (struct.error, IndexError):  # it ends too early, so there is nothing behind its end
        walked = _Walked(len(data))
    return Container(name, walked.frames, walked.loses, max(0, len(data) - walked.end))


def _walk_png(data: bytes) -> _Walked:
    offset, frames, kind = 8, 1, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, offset)
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, offset + 8)
        offset += 12 + length  # length, kind and checksum have four bytes each
    return _Walked(offset, frames)


def _walk_jpeg(data: bytes) -> _Walked:
    offset = 2  # behind the start-of-image marker
    while found := _JPEG_MARKER.search(data, offset):
        offset = found.end()
        if found[0] == b"\xff\xd9":
            return _Walked(offset, loses=True)
        offset += struct.unpack_from(">H", data, offset)[0]
    return _Walked(len(data), loses=True)


def _walk_bmp(data: bytes) -> _Walked:
    claimed, pixels, width, height, depth, compression = struct.unpack_from(
        "<2xI4xI4xii2xHI", data, 0
    )
    if compression in (0, 3):  # rows as they are, each a multiple of four bytes
        claimed = max(claimed, pixels + (width * depth + 31) // 32 * 4 * abs(height))
    return _Walked(claimed if claimed > pixels else len(data))  # some writers claim nothing


def _walk_webp(data: bytes) -> _Walked:
    (size,) = struct.unpack_from("<I", data, 4)
    end, offset, frames, loses = 8 + size + size % 2, 12, 0, False
    while offset < end:
        kind, length = struct.unpack_from("<4sI", data, offset)
        if kind == b"ANMF":
            frames += 1
            (kind,) = struct.unpack_from("<4s", data, offset + 8 + 16)  # of the frame's pixels
        loses |= kind in {b"VP8 ", b"ALPH"}  # the latter: of lossy pixels that are transparent
        offset += 8 + length + length % 2
    return _Walked(end, max(1, frames), loses)


def _walk_gif(data: bytes) -> _Walked:
    offset, frames = 13 + gif_colour_table_bytes(data[10]), 0
    try:
        while data[offset] != 0x3B:  # the trailer
            if data[offset] == 0x2C:
                frames += 1
                offset += 11 + gif_colour_table_bytes(data[offset + 9])
            else:
                offset += 2
            offset = behind_gif_blocks(data, offset)
    except IndexError:  # without a trailer, which decoders don't mind
        offset = len(data)
    return _Walked(offset + 1, max(1, frames), loses=True)


_WALKS: Mapping[str, Callable[[bytes], _Walked]] = MappingProxyType(
    {
        "PNG": _walk_png,
        "JPEG": _walk_jpeg,
        "BMP": _walk_bmp,
        "WebP": _walk_webp,
        "GIF": _walk_gif,
    }
)
