"""Files, arrays and PIL images become RGB on white, or an ImageError: never anything else."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from crnn_captcha.errors import ImageError
from crnn_captcha.images import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    decode_image,
    image_format,
    image_size,
    load_image,
)

WIDTH, HEIGHT = 24, 16
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture(mode: str) -> Image.Image:
    """A smooth picture, so that lossy formats stay close, with every kind of alpha."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    alpha = np.clip(columns * 16 - 40, 0, 255)
    levels = np.stack([rows * 15, columns * 10, 255 - rows * 12, alpha], axis=-1)
    rgba = Image.fromarray(levels.astype(np.uint8))
    return rgba.convert("RGB").quantize(32) if mode == "P" else rgba.convert(mode)


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def on_white(rgba: NDArray[Any]) -> NDArray[np.uint8]:
    """The definition that the fast arithmetic is held against."""
    colour, alpha = rgba[..., :3].astype(float), rgba[..., 3:].astype(float)
    flat: NDArray[np.float64] = (colour * alpha + 255 * (255 - alpha)) / 255
    return np.rint(flat).astype(np.uint8)


def as_pillow_reads(data: bytes) -> NDArray[np.uint8]:
    return on_white(np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def hand_made_png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour_type: int = 0,
    interlace: int = 0,
    transparent: bytes = b"",
) -> bytes:
    """A PNG of a kind that Pillow doesn't write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlace)
    return b"".join(
        (
            PNG_SIGNATURE,
            png_chunk(b"IHDR", header),
            png_chunk(b"tRNS", transparent) if transparent else b"",
            png_chunk(b"IDAT", zlib.compress(rows)),
            png_chunk(b"IEND", b""),
        )
    )


LOSSLESS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png-rgb": ("RGB", "PNG", {}),
    "png-rgba": ("RGBA", "PNG", {}),
    "png-grey": ("L", "PNG", {}),
    "png-grey-alpha": ("LA", "PNG", {}),
    "png-one-bit": ("1", "PNG", {}),
    "png-palette": ("P", "PNG", {}),
    "png-palette-transparency": ("P", "PNG", {"transparency": 3}),
    "png-palette-alpha": ("P", "PNG", {"transparency": bytes(range(0, 256, 8))}),
    "png-transparent-grey": ("L", "PNG", {"transparency": 100}),
    "png-transparent-colour": ("RGB", "PNG", {"transparency": (0, 0, 255)}),
    "bmp-rgb": ("RGB", "BMP", {}),
    "bmp-grey": ("L", "BMP", {}),
    "bmp-one-bit": ("1", "BMP", {}),
    "bmp-palette": ("P", "BMP", {}),
    "webp-lossless": ("RGB", "WEBP", {"lossless": True}),
    "webp-lossless-alpha": ("RGBA", "WEBP", {"lossless": True, "exact": True}),
    "gif": ("P", "GIF", {"interlace": False}),
    "gif-interlaced": ("P", "GIF", {"interlace": True}),
    "gif-grey": ("L", "GIF", {}),
    "gif-transparency": ("P", "GIF", {"transparency": 3}),
}
LOSSY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg-grey": ("L", "JPEG", {}),
    "jpeg-progressive": ("RGB", "JPEG", {"progressive": True}),
    "jpeg-cmyk": ("CMYK", "JPEG", {}),
    "jpeg-subsampled": ("RGB", "JPEG", {"subsampling": 2}),
    "webp-lossy": ("RGB", "WEBP", {}),
    "webp-lossy-alpha": ("RGBA", "WEBP", {}),
}
FILES = {
    name: saved(picture(mode), file_format, **options)
    for name, (mode, file_format, options) in (LOSSLESS | LOSSY).items()
}
ANIMATIONS = {
    file_format: saved(
        picture("RGB"),
        file_format,
        save_all=True,
        append_images=[picture("RGB").rotate(180), picture("RGB").rotate(90)],
        duration=50,
        **({"lossless": True} if file_format == "WEBP" else {}),
    )
    for file_format in ("PNG", "WEBP", "GIF")
}
ONE_OF_EACH = {
    name: FILES[name]
    for name in ("png-rgba", "jpeg", "bmp-rgb", "webp-lossy", "webp-lossless", "gif-interlaced")
} | {f"animated-{name.lower()}": data for name, data in ANIMATIONS.items()}


# ---- Formats


@pytest.mark.parametrize("name", FILES)
def test_reads_the_size_from_the_header(name: str) -> None:
    assert image_size(FILES[name]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_tells_the_format_by_the_first_bytes(name: str) -> None:
    assert image_format(ONE_OF_EACH[name][:16]).lower() in name


@pytest.mark.parametrize("name", LOSSLESS)
def test_decodes_lossless_formats_exactly(name: str) -> None:
    image = decode_image(FILES[name])

    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, as_pillow_reads(FILES[name]))


@pytest.mark.parametrize("name", LOSSY)
def test_decodes_lossy_formats_as_pillow_does_but_for_rounding(name: str) -> None:
    expected = as_pillow_reads(FILES[name]).astype(int)

    assert np.abs(decode_image(FILES[name]) - expected).max() <= 4


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "WEBP", "GIF"])
def test_a_single_pixel_is_an_image(file_format: str) -> None:
    data = saved(Image.new("RGB", (1, 1), (255, 255, 255)), file_format)

    np.testing.assert_array_equal(decode_image(data), np.full((1, 1, 3), 255))


def test_the_channels_are_red_green_blue() -> None:
    data = saved(Image.new("RGBA", (1, 1), (10, 20, 30, 255)), "PNG")

    assert decode_image(data).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize(("depth", "scale"), [(1, 255), (2, 85), (4, 17), (8, 1)])
def test_a_transparent_grey_level_becomes_white(depth: int, scale: int) -> None:
    # Two pixels per file: level 0 and level 1, which is transparent.
    row = bytes([0, 1]) if depth == 8 else bytes([1 << (8 - 2 * depth)])
    data = hand_made_png(2, 1, b"\0" + row, depth=depth, transparent=b"\0\1")

    assert decode_image(data)[0, :, 0].tolist() == [0, 255]

    opaque = hand_made_png(2, 1, b"\0" + row, depth=depth)
    assert decode_image(opaque)[0, :, 0].tolist() == [0, scale]


def test_sixteen_bits_are_rounded_to_eight() -> None:
    levels = np.array([0, 128, 129, 257, 32768, 65406, 65407, 65535])
    data = hand_made_png(8, 1, b"\0" + levels.astype(">u2").tobytes(), depth=16)

    assert decode_image(data)[0, :, 0].tolist() == np.rint(levels / 257).tolist()


def test_a_transparent_level_of_sixteen_bits_is_told_from_its_neighbours() -> None:
    levels = np.array([1000, 1001], ">u2").tobytes()
    data = hand_made_png(2, 1, b"\0" + levels, depth=16, transparent=levels[:2])

    assert decode_image(data)[0, :, 0].tolist() == [255, 4]


def test_sixteen_bits_with_alpha() -> None:
    pixels = np.array([[257 * 10, 257 * 20, 257 * 30, 65535], [0, 0, 0, 0]], ">u2")
    data = hand_made_png(2, 1, b"\0" + pixels.tobytes(), depth=16, colour_type=6)

    assert decode_image(data).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_interlaced_png() -> None:
    levels = np.arange(9 * 11, dtype=np.uint8).reshape(9, 11) * 2
    passes = [  # (first row, first column, row step, column step) of Adam7
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]  # fmt: skip
    rows = b"".join(
        b"\0" + row.tobytes()
        for top, left, down, right in passes
        for row in levels[top::down, left::right]
    )

    image = decode_image(hand_made_png(11, 9, rows, interlace=1))

    np.testing.assert_array_equal(image, np.repeat(levels[..., None], 3, axis=2))


@pytest.mark.parametrize("file_format", ANIMATIONS)
def test_the_first_frame_of_an_animation_counts(file_format: str) -> None:
    data = ANIMATIONS[file_format]

    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode_image(data), as_pillow_reads(data))


def test_of_an_animated_png_the_still_image_counts() -> None:
    frames = [picture("RGB").rotate(angle) for angle in (90, 180)]
    data = saved(
        picture("RGB"), "PNG", save_all=True, append_images=frames, default_image=True
    )  # the image is no frame of the animation

    np.testing.assert_array_equal(decode_image(data), np.asarray(picture("RGB")))


def test_a_gif_needs_no_more_than_its_first_frame() -> None:
    data = ANIMATIONS["GIF"]
    second = data.rindex(b"\x21\xf9", 0, data.rindex(b"\x21\xf9"))

    np.testing.assert_array_equal(decode_image(data[:second]), as_pillow_reads(data))


def test_an_exif_orientation_is_ignored_as_pillow_ignores_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    for file_format in ("PNG", "JPEG", "WEBP"):
        data = saved(picture("RGB"), file_format, exif=exif)

        assert decode_image(data).shape == (HEIGHT, WIDTH, 3)
        assert load_image(Image.open(io.BytesIO(data))).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["png-rgba", "jpeg", "gif", "webp-lossy"])
def test_bytes_behind_the_image_are_ignored(name: str) -> None:
    np.testing.assert_array_equal(decode_image(FILES[name] + b"junk"), decode_image(FILES[name]))


def test_chunks_with_notes_are_ignored_even_if_damaged() -> None:
    data = FILES["png-rgb"]
    note = png_chunk(b"tEXt", b"note")[:-1] + b"?"

    np.testing.assert_array_equal(decode_image(data[:33] + note + data[33:]), decode_image(data))


def test_jpeg_padding_and_lengthless_markers_before_the_size() -> None:
    data = FILES["jpeg"]

    assert image_size(data[:2] + b"\xff\xff\x01\xff\xd0" + data[2:]) == (WIDTH, HEIGHT)


def test_a_bmp_with_alpha() -> None:
    bgra = np.array([[[0, 0, 0, 0], [30, 20, 10, 255]]], np.uint8)

    image = decode_image(cv2.imencode(".bmp", bgra)[1].tobytes())

    assert image.tolist() == [[[255, 255, 255], [10, 20, 30]]]


def _bmp(bits: int, masks: Sequence[int], pixels: bytes) -> bytes:
    """Two pixels in one row, under a header that knows no mask of alpha."""
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, bits, 3 if masks else 0, 0, 0, 0, 0, 0)
    body = header + struct.pack(f"<{len(masks)}I", *masks)
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + len(body) + len(pixels), 0, 0, 14 + len(body))
        + (body + pixels)
    )


@pytest.mark.parametrize(
    ("bits", "masks", "pixels"),
    [
        (32, (0xFF0000, 0xFF00, 0xFF), struct.pack("<II", 0x00C8140A, 0x00FFFFFF)),
        (32, (), struct.pack("<II", 0x00C8140A, 0x00FFFFFF)),
        (16, (), struct.pack("<HH", 0b0_11000_00010_00001, 0x7FFF)),
        (16, (0xF800, 0x7E0, 0x1F), struct.pack("<HH", 0b11000_000101_00001, 0xFFFF)),
    ],
    ids=["32 bits and masks", "32 bits", "15 of 16 bits", "16 bits"],
)
def test_a_bmp_without_alpha_has_its_colours_and_a_white_paper(
    bits: int, masks: Sequence[int], pixels: bytes
) -> None:
    data = _bmp(bits, masks, pixels)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    image = decode_image(data)
    assert np.abs(image.astype(int) - expected).max() <= 1
    assert image[0, 1].tolist() == [255, 255, 255]
    assert image[0, 0].tolist() != [255, 255, 255]


def test_an_upside_down_bmp() -> None:
    flipped = bytearray(FILES["bmp-rgb"])
    flipped[22:26] = struct.pack("<i", -HEIGHT)
    np.testing.assert_array_equal(decode_image(bytes(flipped)), np.asarray(picture("RGB"))[::-1])


# ---- Hostile and broken files

BOMBS = {
    "png": PNG_SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 6, 0, 0, 0)),
    "jpeg": b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 30000, 30000, 1) + b"\1\x11\0",
    "bmp": b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + struct.pack("<Iii", 40, 30000, -30000),
    "webp-extended": b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<II", 10, 0) + b"\x2f\x75\0" * 2,
    "webp-lossless": b"RIFF\0\0\0\0WEBPVP8L" + struct.pack("<IBI", 5, 0x2F, 0xFFFFFFF),
    "webp-lossy": b"RIFF\0\0\0\0WEBPVP8 "
    + struct.pack("<I", 10)
    + b"\0\0\0\x9d\1\x2a"
    + b"\x30\x75" * 2,
    "gif": b"GIF89a" + struct.pack("<HH", 30000, 30000),
}


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        pytest.fail("handed to the decoder")

    monkeypatch.setattr(cv2, "imdecode", decoded)


@pytest.mark.usefixtures("no_decoding")
@pytest.mark.parametrize("name", BOMBS)
def test_refuses_a_claim_of_too_many_pixels_without_decoding(name: str) -> None:
    data = BOMBS[name] + bytes(109_000)

    tracemalloc.start()
    with pytest.raises(ImageError, match=r"1 to 4000000 pixels\. Received: \d{5}x\d{5} "):
        decode_image(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 100_000


def test_the_limit_is_the_largest_image_allowed() -> None:
    height, width = 2000, MAX_PIXELS // 2000

    assert load_image(np.zeros((height, width), bool)).shape == (height, width, 3)
    with pytest.raises(ImageError, match=f"Received: {width}x{height + 1} "):
        load_image(np.zeros((height + 1, width), bool))


@pytest.mark.parametrize(
    "data",
    [
        hand_made_png(0, 1, b"\0"),
        hand_made_png(1, 0, b""),
        b"GIF89a" + bytes(4),
        b"BM" + bytes(12) + struct.pack("<Iii", 40, -1, 1),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(4) + b"\0\0\0\x9d\1\x2a\0\0\0\0",
    ],
    ids=["png-width", "png-height", "gif", "bmp", "webp"],
)
@pytest.mark.usefixtures("no_decoding")
def test_refuses_an_image_without_pixels(data: bytes) -> None:
    with pytest.raises(ImageError, match="must have 1 to 4000000 pixels"):
        decode_image(data.ljust(64, b"\0"))


@pytest.mark.usefixtures("no_decoding")
def test_refuses_a_png_chunk_that_claims_gigabytes_without_decoding() -> None:
    data = bytearray(FILES["png-rgba"])
    data[33:37] = struct.pack(">I", 2**31 - 1)  # OpenCV 5.0 would allocate them

    with pytest.raises(ImageError, match="a PNG file that is cut short"):
        decode_image(bytes(data))


def test_refuses_a_file_that_is_too_large() -> None:
    with pytest.raises(ImageError, match=r"at most 16777216 bytes\. Received: at least 16777217"):
        decode_image(FILES["png-rgb"].ljust(MAX_FILE_BYTES + 1, b"\0"))


def test_refuses_a_jpeg_of_endless_scans() -> None:
    data = FILES["jpeg-progressive"]
    with pytest.raises(ImageError, match=r"at most 100 scans\. Received: 110\. "):
        decode_image(data[:-2] + 100 * b"\xff\xda\0\2" + data[-2:])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"PNG, JPEG, BMP, WebP, GIF.*Received: an empty file\. Convert"),
        (b"<html><body>", r"Received: 12 bytes that begin with b'<html><b'\."),
        (b"RIFF\x24\0\0\0WAVEfmt ", "told by its first bytes"),
        (PNG_SIGNATURE, "a PNG file that ends within its header"),
        (PNG_SIGNATURE + png_chunk(b"IDAT", bytes(13)), "doesn't begin with its header chunk"),
        (b"\xff\xd8\xff\xe0\x00\x10", "a JPEG file that ends within its header"),
        (b"\xff\xd8\xff\xda\x00\x08", "a JPEG file that has no size before its pixels"),
        (b"\xff\xd8\xff\xfe\x00\x02abcd", "a JPEG file that has no size before its pixels"),
        (b"BM\0\0", "a BMP file that ends within its header"),
        (b"BM" + bytes(12) + b"\x0c".ljust(40, b"\0"), "has an OS/2 header of 12 bytes"),
        (b"RIFF\0\0\0\0WEBPVP8X", "a WebP file that ends within its header"),
        (b"RIFF\0\0\0\0WEBPVP8L" + bytes(20), "a WebP file that doesn't begin with an image"),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(20), "a WebP file that doesn't begin with an image"),
        (b"RIFF\0\0\0\0WEBPICCP" + bytes(20), "a WebP file that doesn't begin with an image"),
        (b"GIF89a\1", "a GIF file that ends within its header"),
        (b"GIF89a\1\0\1\0\0\0\0;", "a GIF file that has no frame"),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else "",
)
@pytest.mark.usefixtures("no_decoding")
def test_refuses_unknown_files_and_broken_headers(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode_image(data)


def test_refuses_damaged_pixels_of_a_png() -> None:
    data = bytearray(FILES["png-rgba"])
    data[-20] ^= 1

    with pytest.raises(ImageError, match="wrong checksum in its IDAT chunk"):
        decode_image(bytes(data))


def test_refuses_a_png_with_too_few_pixels_in_sound_chunks() -> None:
    with pytest.raises(ImageError, match="a PNG file that is damaged or cut short"):
        decode_image(hand_made_png(8, 8, bytes(9 * 4)))


@pytest.mark.parametrize("error", [None, cv2.error("no")], ids=["nothing", "exception"])
def test_refuses_what_opencv_refuses(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        if error:
            raise error

    monkeypatch.setattr(cv2, "imdecode", refuses)
    with pytest.raises(ImageError, match="a JPEG file that is damaged or cut short"):
        decode_image(FILES["jpeg"])


def test_refuses_pixels_of_another_size_than_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros((3, 2), np.uint8))

    with pytest.raises(ImageError, match="claims 24x16 pixels but holds 2x3"):
        decode_image(FILES["jpeg"])


@pytest.mark.parametrize("name", ["png-rgba", "jpeg", "jpeg-progressive", "bmp-rgb", "bmp-palette",
                                  "webp-lossy", "webp-lossless", "webp-lossy-alpha"])  # fmt: skip
def test_refuses_every_file_that_is_cut_short(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = FILES[name]
    for length in range(len(data)):
        with pytest.raises(ImageError):
            decode_image(data[:length])

    assert capfd.readouterr().err == ""  # the error says it all


def test_refuses_a_gif_whose_first_frame_is_cut_short(capfd: pytest.CaptureFixture[str]) -> None:
    data = FILES["gif-interlaced"]
    for length in range(len(data) - 1):  # the last byte only says that no frame follows
        with pytest.raises(ImageError):
            decode_image(data[:length])

    assert capfd.readouterr().err == ""


def test_leaves_the_log_level_of_the_host_program() -> None:
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_ERROR)
    try:
        decode_image(FILES["jpeg"])
        with pytest.raises(ImageError):
            decode_image(FILES["jpeg"][:-10])
        assert logging.getLogLevel() == logging.LOG_LEVEL_ERROR
    finally:
        logging.setLogLevel(before)


def test_threads_that_overlap_leave_the_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that decodes another image stands for a second thread in the middle of one."""
    logging, genuine = cv2.utils.logging, cv2.imdecode
    before, levels = logging.getLogLevel(), []

    def overlapping(*arguments: Any) -> Any:
        monkeypatch.setattr(cv2, "imdecode", genuine)
        decode_image(FILES["png-rgb"])
        levels.append(logging.getLogLevel())
        return genuine(*arguments)

    monkeypatch.setattr(cv2, "imdecode", overlapping)
    decode_image(FILES["jpeg"])

    assert levels == [logging.LOG_LEVEL_SILENT]
    assert logging.getLogLevel() == before


def reads_or_refuses(data: bytes) -> None:
    try:
        image = decode_image(data)
    except ImageError:
        return
    width, height = image_size(data)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert 0 < width * height <= MAX_PIXELS


def with_sound_checksums(data: bytes) -> bytes:
    """Lets damage to a PNG pass the checksums, so that it reaches the decoder."""
    if not data.startswith(PNG_SIGNATURE):
        return data
    sound, offset = bytearray(data), 8
    while offset + 12 <= len(data):
        end = offset + 12 + int.from_bytes(data[offset : offset + 4])
        sound[end - 4 : end] = zlib.crc32(data[offset + 4 : end - 4]).to_bytes(4)
        offset = end
    return bytes(sound)


SIGNATURES = [PNG_SIGNATURE, b"\xff\xd8\xff", b"BM", b"RIFF\x40\0\0\0WEBPVP8 ", b"GIF89a", b""]


@settings(max_examples=100)
@given(signature=st.sampled_from(SIGNATURES), rest=st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(signature: bytes, rest: bytes) -> None:
    reads_or_refuses(signature + rest)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from(list(ONE_OF_EACH.values())),
    damage=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
    cut=st.floats(0, 1),
    forged=st.booleans(),
)
def test_damaged_files_are_read_or_refused(
    data: bytes, damage: list[tuple[float, bytes]], cut: float, forged: bool
) -> None:
    broken = bytearray(data)
    for where, what in damage:
        start = int(where * len(data))
        broken[start : start + len(what)] = what
    if cut < 0.3:
        del broken[int(cut / 0.3 * len(broken)) :]

    reads_or_refuses(with_sound_checksums(bytes(broken)) if forged else bytes(broken))


# ---- Arrays


def test_flattening_is_exact_for_every_level_and_alpha() -> None:
    alpha, level = np.indices((256, 256), np.uint8)
    rgba = np.stack([level, 255 - level, level // 2, alpha], axis=-1)

    np.testing.assert_array_equal(load_image(rgba), on_white(rgba))
    bgra_file = cv2.imencode(".png", rgba)[1].tobytes()
    np.testing.assert_array_equal(decode_image(bgra_file), on_white(rgba[..., [2, 1, 0, 3]]))


GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        GREY,
        GREY[..., None],
        np.repeat(GREY[..., None], 3, axis=2),
        np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)]),
        GREY.astype(np.uint16) * 257,
        (GREY.astype(np.uint16) * 257)[..., None],
        (GREY.astype(np.uint16) * 257).astype(">u2"),
        GREY / 255,
        (GREY / 255).astype(np.float32)[..., None],
        (GREY / 255).astype(np.float16),
        np.asfortranarray(GREY),
        np.repeat(GREY, 2, axis=1)[:, ::2],
        GREY[::-1, ::-1][::-1, ::-1],
    ],
    ids=["grey", "grey-1", "rgb", "rgba", "uint16", "uint16-1", "big-endian", "float64",
         "float32-1", "float16", "fortran", "strided", "reversed"],
)  # fmt: skip
def test_arrays_of_every_shape_and_dtype(array: NDArray[Any]) -> None:
    image = load_image(array)

    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, axis=2))


def test_true_is_white() -> None:
    assert load_image(np.array([[True, False]]))[0].tolist() == [[255] * 3, [0] * 3]


def test_the_channels_of_an_array_are_red_green_blue_alpha() -> None:
    assert load_image(np.array([[[1, 2, 3]]], np.uint8)).tolist() == [[[1, 2, 3]]]
    assert load_image(np.array([[[1, 2, 3, 255]]], np.uint8)).tolist() == [[[1, 2, 3]]]


def test_the_image_is_never_the_memory_of_the_caller() -> None:
    array = np.zeros((2, 2, 3), np.uint8)

    assert not np.shares_memory(load_image(array), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.uint8), r"must have the shape .*Received: \(5,\)\. Reshape it"),
        (np.zeros((3, 5, 5), np.uint8), r"as RGBA\. Received: \(3, 5, 5\)"),
        (np.zeros((5, 5, 2), np.uint8), r"Received: \(5, 5, 2\)"),
        (np.zeros((1, 5, 5, 3), np.uint8), r"Received: \(1, 5, 5, 3\)"),
        (np.zeros((0, 5), np.uint8), "must have 1 to 4000000 pixels. Received: 5x0"),
        (np.zeros((5, 5), np.int64), "uint8, uint16, bool or float. Received: int64. Convert"),
        (np.zeros((5, 5), np.complex64), "Received: complex64"),
        (np.zeros((5, 5), object), "Received: object"),
        (np.full((5, 5), 255.0), r"values from 0 to 1\. Received: 255 to 255\. Divide"),
        (np.full((5, 5), -0.5), r"Received: -0\.5 to -0\.5"),
        (np.array([[0.5, np.nan]]), "Received: nan to nan"),
    ],
    ids=["one-axis", "channels-first", "two-channels", "batch", "empty", "int64", "complex",
         "object", "too-bright", "negative", "nan"],
)  # fmt: skip
def test_refuses_other_arrays(array: NDArray[Any], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(array)


# ---- PIL images, paths and the rest


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pil_images(mode: str) -> None:
    image = picture(mode)

    np.testing.assert_array_equal(load_image(image), on_white(np.asarray(image.convert("RGBA"))))


def test_a_pil_image_of_sixteen_bits_is_scaled() -> None:
    image = Image.fromarray(np.array([[0, 257, 32768, 65535]], np.uint16))

    assert image.mode == "I;16"
    assert load_image(image)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_of_an_animated_pil_image_the_current_frame_counts() -> None:
    image = Image.open(io.BytesIO(ANIMATIONS["WEBP"]))
    image.seek(1)

    np.testing.assert_array_equal(load_image(image), np.asarray(picture("RGB").rotate(180)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Image.new("F", (2, 2)), "known white. Received: mode 'F'. Convert it to 'L'"),
        (lambda: Image.new("I", (2, 2)), "Received: mode 'I'"),
        (lambda: Image.new("L", (0, 2)), "Received: 0x2"),
        (lambda: Image.new("1", (3000, 3000)), "Received: 3000x3000"),
        (
            lambda: Image.open(io.BytesIO(FILES["png-rgba"][:-40])),
            "must be loadable. Received: OSError",
        ),
    ],
    ids=["float", "int32", "empty", "too-large", "cut-short"],
)
def test_refuses_other_pil_images(make: Callable[[], Image.Image], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load_image(make())


def test_a_file_is_read_from_a_path_of_either_kind_and_from_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"  # the name doesn't decide the format
    path.write_bytes(FILES["png-rgba"])
    expected = as_pillow_reads(FILES["png-rgba"])

    for source in (path, str(path), FILES["png-rgba"]):
        np.testing.assert_array_equal(load_image(source), expected)


def test_refuses_paths_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    with pytest.raises(ImageError, match=r"missing\.png' \(No such file or directory\)\. Check"):
        load_image(missing)
    with pytest.raises(ImageError, match=r"\(Is a directory\)"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match=r"'a\\x00b' \(embedded null byte\)"):
        load_image("a\0b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Received: an empty file"),
        (b"text", "4 bytes that begin with b'text'"),
        (FILES["jpeg"][:-9], "damaged or cut short"),
        (FILES["png-rgb"].ljust(MAX_FILE_BYTES + 9, b"\0"), "at most 16777216 bytes"),
    ],
    ids=["empty", "text", "cut-short", "too-large"],
)
def test_an_error_names_the_path_on_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "two\nlines.png"
    path.write_bytes(content)

    with pytest.raises(ImageError, match=rf"^'.*two\\nlines\.png': .*{message}") as caught:
        load_image(path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", [None, 3, ["a.png"], bytearray(b"BM")])
def test_refuses_other_sources(source: Any) -> None:
    name = type(source).__name__
    with pytest.raises(ImageError, match=f"a NumPy array or a PIL image. Received: {name}. Give"):
        load_image(source)
