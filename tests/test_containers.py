from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crnn_captcha.containers import SUFFIXES, Container, describe
from crnn_captcha.errors import ImageError


def picture(turned: int = 0) -> Image.Image:
    levels = np.random.default_rng(3).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    return Image.fromarray(levels).rotate(turned)


def saved(file_format: str, *, transparent: bool = False, **options: Any) -> bytes:
    file, image = io.BytesIO(), picture()
    if transparent:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(file, file_format, **options)
    return file.getvalue()


MORE: dict[str, Any] = {
    "save_all": True,
    "append_images": [picture(180), picture(90)],
    "duration": 50,
}
FILES = {
    "png": (saved("PNG"), Container("PNG", 1, False, 0)),
    "png-animated": (saved("PNG", **MORE), Container("PNG", 3, False, 0)),
    "jpeg": (saved("JPEG"), Container("JPEG", 1, True, 0)),
    "jpeg-progressive": (saved("JPEG", progressive=True), Container("JPEG", 1, True, 0)),
    "jpeg-restarts": (saved("JPEG", restart_marker_blocks=1), Container("JPEG", 1, True, 0)),
    "bmp": (saved("BMP"), Container("BMP", 1, False, 0)),
    "webp": (saved("WEBP"), Container("WebP", 1, True, 0)),
    "webp-lossless": (saved("WEBP", lossless=True), Container("WebP", 1, False, 0)),
    "webp-extended": (saved("WEBP", lossless=True, exif=b"Exif"), Container("WebP", 1, False, 0)),
    "webp-animated": (saved("WEBP", **MORE), Container("WebP", 3, True, 0)),
    "webp-animated-lossless": (
        saved("WEBP", lossless=True, **MORE),
        Container("WebP", 3, False, 0),
    ),
    "webp-animated-transparent": (
        saved("WEBP", transparent=True, lossless=False, **MORE),
        Container("WebP", 3, True, 0),
    ),
    "gif": (saved("GIF"), Container("GIF", 1, True, 0)),
    "gif-animated": (saved("GIF", **MORE), Container("GIF", 3, True, 0)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_described(name: str) -> None:
    data, expected = FILES[name]
    assert describe(data) == expected
    assert expected.format in SUFFIXES


@pytest.mark.parametrize("name", FILES)
def test_bytes_behind_the_end_are_counted(name: str) -> None:
    data, expected = FILES[name]
    found = describe(data + b"\xff\xd9;junk")
    assert found.trailing_bytes == 7
    assert (found.frames, found.loses) == (expected.frames, expected.loses)


@given(name=st.sampled_from(sorted(FILES)), share=st.floats(0, 1))
def test_a_file_that_ends_too_early_has_nothing_behind_its_end(name: str, share: float) -> None:
    data, expected = FILES[name]
    cut = describe(data[: 16 + int(share * (len(data) - 17))])
    assert (cut.format, cut.trailing_bytes) == (expected.format, 0)


def test_a_gif_may_lack_its_trailer() -> None:
    data, _ = FILES["gif-animated"]
    assert describe(data[:-1]) == Container("GIF", 3, True, 0)


@pytest.mark.parametrize("claimed", [0, 54], ids=["nothing", "its header"])
def test_a_bmp_of_rows_is_as_long_as_they_are(claimed: int) -> None:
    data, _ = FILES["bmp"]
    claims_less = data[:2] + struct.pack("<I", claimed) + data[6:]
    assert describe(claims_less).trailing_bytes == 0
    assert describe(claims_less + b"!").trailing_bytes == 1


def test_a_packed_bmp_that_claims_nothing_is_taken_as_whole() -> None:
    data = bytearray(FILES["bmp"][0])
    data[2:6] = bytes(4)
    data[30] = 1  # run lengths
    assert describe(bytes(data) + b"!").trailing_bytes == 0


def test_no_image_is_refused() -> None:
    with pytest.raises(ImageError, match=r"must be one of: PNG, JPEG, BMP, WebP, GIF"):
        describe(b"no image")
