"""Recovered letters -> TrueType fonts, a picture of them, and a style that draws with them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from crnn_captcha.errors import MissingExtraError
from crnn_captcha.files import write_bytes, write_text
from crnn_captcha.fonts import UNMAPPED
from crnn_captcha.recovery import (
    STYLE_FILE,
    RecoveredFont,
    RecoveredGlyph,
    Recovery,
    style_file,
    table,
)
from crnn_captcha.tables import ENCODING, ON_OTHER_BYTES
from crnn_captcha.typefaces import repaired

try:  # here, so that it is known before fonts are looked for
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
except ImportError as error:
    raise MissingExtraError("Writing fonts", "generate") from error

UNITS_PER_EM = 1000
TALLEST_UNITS = 700  # of the font's tallest letter above the line
BEARING_UNITS = 40  # of room on each side of a letter
OVERSAMPLING = 8  # outlines are followed at so many points a pixel
OUTLINE_ERROR_PX = 0.06  # by which a straight piece of an outline may miss it
LEAST_AREA_PX = 1.0  # of a part of a letter, or of a hole in it: a single pixel is too small
SHEET_ROW_PX = 40  # of the picture of all fonts
SHEET_FONT_PX = 32
SHEET_COLUMN_PX = 34
SHEET_NAME_PX = 60
PICTURE, TABLE = "fonts.png", "fonts.csv"  # beside the font files


def write_fonts(recovery: Recovery, folder: Path) -> None:
    """Writes fonts, `PICTURE`, `TABLE` and, as the last, the `STYLE_FILE` that draws with them.

    Args:
        recovery: by `recover_fonts`.
        folder: is made if it isn't there.
    """
    files = {font.name: font_file(font.glyphs, _family(font)) for font in recovery.fonts}
    for name, content in files.items():
        write_bytes(folder / f"{name}.ttf", content)
    write_bytes(folder / PICTURE, sheet(files, recovery.characters))
    write_bytes(folder / TABLE, table(recovery).encode(ENCODING, ON_OTHER_BYTES))
    write_text(folder / STYLE_FILE, style_file(recovery))


def font_file(glyphs: Mapping[str, RecoveredGlyph], family: str) -> bytes:
    """A TrueType font of recovered glyphs; other characters are a box.

    The same glyphs give the same bytes.

    Args:
        glyphs: by the character that each stands for.
        family: the font's name.
    """
    names = {character: f"u{ord(character):04X}" for character in sorted(glyphs)}
    outlines = {".notdef": [_box()]}
    outlines |= {names[character]: _outlines(glyphs[character]) for character in names}
    drawn, metrics = {}, {}
    for name, polygons in outlines.items():
        pen = TTGlyphPen(None)
        for polygon in polygons:
            pen.moveTo(tuple(polygon[0]))
            for point in polygon[1:]:
                pen.lineTo(tuple(point))
            pen.closePath()
        drawn[name] = pen.glyph()
        width = max((int(p[:, 0].max()) for p in polygons), default=0)
        metrics[name] = (width + BEARING_UNITS, BEARING_UNITS)
    builder = FontBuilder(UNITS_PER_EM, isTTF=True)
    builder.setupGlyphOrder(list(outlines))
    builder.setupCharacterMap({ord(character): name for character, name in names.items()})
    builder.setupGlyf(drawn)
    builder.setupHorizontalMetrics(metrics)
    builder.setupHorizontalHeader(ascent=UNITS_PER_EM, descent=-UNITS_PER_EM // 2)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(usWinAscent=UNITS_PER_EM, usWinDescent=UNITS_PER_EM // 2)
    builder.setupPost()
    builder.updateHead(created=0, modified=0)
    builder.font.recalcTimestamp = False
    buffer = io.BytesIO()
    builder.save(buffer)
    return buffer.getvalue()


def _family(font: RecoveredFont) -> str:
    """The font's name, and a hash: fonts of one name count as one, and other data have the same."""
    hashed = blake2b(digest_size=3)
    for character, glyph in sorted(font.glyphs.items()):
        hashed.update(character.encode() + glyph.letter.coverage.tobytes())
    return f"{font.name} {hashed.hexdigest()}"


def sheet(fonts: Mapping[str, bytes], characters: str) -> bytes:
    """A picture of fonts, as PNG: a row for each, with those of the characters that it has.

    Args:
        fonts: files of them, by their names.
        characters: in the order that they are shown in.
    """
    width = SHEET_NAME_PX + SHEET_COLUMN_PX * len(characters)
    picture = Image.new("L", (width, SHEET_ROW_PX * len(fonts)), 255)
    drawing = ImageDraw.Draw(picture)
    for row, (name, data) in enumerate(fonts.items()):
        base = SHEET_ROW_PX * row + SHEET_FONT_PX - 4
        drawing.text((4, base), name, 96, anchor="ls")
        font = ImageFont.truetype(io.BytesIO(data), SHEET_FONT_PX)
        missing = font.getmask(UNMAPPED)
        for column, character in enumerate(characters):
            mask = font.getmask(character)
            if bytes(mask) != bytes(missing) or mask.size != missing.size:
                x = SHEET_NAME_PX + SHEET_COLUMN_PX * column
                drawing.text((x, base), character, 0, font, anchor="ls")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _outlines(glyph: RecoveredGlyph) -> list[NDArray[np.int64]]:
    """Polygons in units of the font, int (points, 2), y upwards; holes run the other way round."""
    letter = glyph.letter
    coverage = repaired(letter)
    padded = cv2.copyMakeBorder(coverage, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    scale = OVERSAMPLING
    large = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    found, _ = cv2.findContours(
        (large > 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    polygons = []
    for contour in found:
        if cv2.contourArea(contour) < LEAST_AREA_PX * scale**2:
            continue
        points = cv2.approxPolyDP(contour, OUTLINE_ERROR_PX * scale, True)[:, 0]
        pixels = (points + 0.5) / scale - 1  # of the letter's box, from its upper left corner
        x = pixels[:, 0]
        y = letter.height - pixels[:, 1] - glyph.drop_px
        units = np.rint(np.stack([x, y], axis=1) * glyph.scale * TALLEST_UNITS).astype(int)
        units[:, 0] += BEARING_UNITS
        if len(units) > 2:
            polygons.append(units)
    return polygons


def _box() -> NDArray[np.int64]:
    return np.array([[50, 0], [50, TALLEST_UNITS], [450, TALLEST_UNITS], [450, 0]])
