"""A character of a font -> a field of distances to its edge -> letters of any size and weight.

The field is made once and kept. Scaled, turned and thresholded elsewhere, it gives letters with
sharp edges at any size, bolder, thinner or hollow ones, for a few microseconds each.
(Green 2007, "Improved alpha-tested magnification for vector textures and special effects".)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from crnn_captcha.fonts import Font

Mask = NDArray[np.uint8]  # (height, width), 0 to 255

MASTER_PX = 48  # of fields: from the line that letters stand on to the top of the tallest one
OVERSAMPLING = 2
REACH_PX = 12  # distances are known up to this far from the edge
EDGE = 128  # the level of a field at the letter's edge; higher is inside
LEVELS_A_PX = (255 - EDGE) / REACH_PX
PROBE_SIZE_PX = 100  # large enough that rounding to whole pixels costs little
MAX_EM_PX = 600  # of fonts whose letters are tiny
KEPT_FIELDS = (
    131_072  # of some 5 KB, 0.7 GB if fonts are thousands; some tens of MB for 50 families
)
KEPT_GLYPHS = 262_144


@dataclass(frozen=True)
class Glyph:
    """A character, `MASTER_PX` high where it is as high as the tallest of its font.

    Attributes:
        font: that it is of.
        character: that it is.
        em_px: size of the font that its field is drawn at.
        left: where it and the room around it begin, in pixels from where the pen stands.
        rise: how far it reaches above the line that letters stand on, in pixels.
        drop: how far it reaches below the line; negative where it stands above it.
        width: with the room that the font leaves on both sides, in pixels.
        advance: how far the pen moves.
    """

    font: Font
    character: str
    em_px: int
    left: float
    rise: float
    drop: float
    width: float
    advance: float


@dataclass(frozen=True, eq=False)
class Field:
    """How far each pixel of a glyph lies from its edge.

    Attributes:
        levels: uint8 (height, width), with a margin of `REACH_PX` around the glyph.
        half_stroke: from the edge to the middle of the thickest stroke, in pixels.
    """

    levels: Mask
    half_stroke: float


@dataclass(frozen=True)
class Shape:
    """How all letters of a text are drawn.

    Attributes:
        scale: pixels in the image for one of a glyph.
        stretch: what widths are multiplied with.
        slant: columns to the right for each row upwards.
        weight_px: what strokes gain at each edge, in pixels of the image.
        outline_px: thickness of the edges, if nothing else is drawn; 0 draws letters whole.
        wave_px: how far rows are moved to the side.
        wave_length_px: from crest to crest.
        wave_phase: in radians.
    """

    scale: float
    stretch: float = 1.0
    slant: float = 0.0
    weight_px: float = 0.0
    outline_px: float = 0.0
    wave_px: float = 0.0
    wave_length_px: float = 1.0
    wave_phase: float = 0.0


@dataclass(frozen=True, eq=False)
class Letter:
    """A letter to be put on an image: its mask, and where that begins, seen from the pen."""

    mask: Mask
    left: int
    top: int


@lru_cache(maxsize=KEPT_GLYPHS)
def glyph(font: Font, character: str, charset: str) -> Glyph:
    """The measures of a character.

    Args:
        font: has it.
        character: to draw.
        charset: the tallest of these is `MASTER_PX` high.

    Raises:
        OSError: if the font's file is gone.
    """
    em_px = _em_px(font, charset)
    face = font.at(em_px)
    left, top, right, bottom = (x / OVERSAMPLING for x in face.getbbox(character, anchor="ls"))
    advance = face.getlength(character) / OVERSAMPLING
    return Glyph(font, character, em_px, left, -top, bottom, right - left, advance)


@lru_cache(maxsize=KEPT_FIELDS)
def field(glyph: Glyph) -> Field:
    """The field of a glyph.

    Raises:
        OSError: if the font's file is gone.
    """
    face = glyph.font.at(glyph.em_px)
    left, top, right, bottom = face.getbbox(glyph.character, anchor="ls")
    margin = REACH_PX * OVERSAMPLING
    width, height = (
        2 * margin + math.ceil(length / OVERSAMPLING) * OVERSAMPLING
        for length in (right - left, bottom - top)
    )
    canvas = Image.new("L", (width, height))
    position = (margin - left, margin - top)
    ImageDraw.Draw(canvas).text(position, glyph.character, 255, face, anchor="ls")
    inside = (np.asarray(canvas) > 127).astype(np.uint8)  # (height, width)
    distance = _depth(inside) - _depth(1 - inside)
    size = (width // OVERSAMPLING, height // OVERSAMPLING)
    distance = cv2.resize(distance, size, interpolation=cv2.INTER_AREA) / OVERSAMPLING
    rounded = np.clip(np.rint(EDGE + distance * LEVELS_A_PX), 0, 255).astype(np.uint8)
    return Field(rounded, max(float(distance.max()), 0.0))


@lru_cache(maxsize=64)
def levels(shape: Shape) -> Mask:
    """What each level of a field is drawn as, uint8 (256,)."""
    edges_px = (np.arange(256) - EDGE) / LEVELS_A_PX * shape.scale + shape.weight_px
    if shape.outline_px:
        edges_px = shape.outline_px / 2 - np.abs(edges_px)
    drawn = np.clip(edges_px + 0.5, 0, 1) * 255
    drawn[0] = 0  # what lies outside of the field
    return np.rint(drawn).astype(np.uint8)


def shaped(glyph: Glyph, shape: Shape) -> Letter:
    """The glyph's field as large and as slanted as the letter is to be: `levels` draws it."""
    source = field(glyph).levels
    height, width = source.shape
    begin, above = glyph.left - REACH_PX, -glyph.rise - REACH_PX  # of the field, from the pen
    scale, across = shape.scale, shape.scale * shape.stretch
    lean = -shape.slant * scale  # columns to the left for each row of the glyph downwards
    leans = sorted([lean * above, lean * (above + height)])
    sway = math.ceil(shape.wave_px)
    left = math.floor(across * begin + leans[0]) - sway
    right = math.ceil(across * (begin + width) + leans[1]) + sway
    top, bottom = math.floor(scale * above), math.ceil(scale * (above + height))
    # From the middles of the image's pixels to those of the field's.
    y = np.array([1 / scale, (top + 0.5) / scale - above - 0.5])
    x = np.array([1 / across, -lean / across / scale, 0.0])
    x[2] = (left + 0.5) / across + x[1] * (top + 0.5) - begin - 0.5
    size = (right - left, bottom - top)
    if not shape.wave_px:
        matrix = np.array([x, [0, *y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return Letter(_uint8(cv2.warpAffine(source, matrix, size, flags=flags)), left, top)
    rows = np.arange(size[1], dtype=np.float64)
    turns = 2 * math.pi * (rows + top) / shape.wave_length_px + shape.wave_phase
    moved = np.arange(size[0])[None] + shape.wave_px * np.sin(turns)[:, None]  # (height, width)
    from_x = x[0] * moved + x[1] * rows[:, None] + x[2]
    from_y = np.broadcast_to((y[0] * rows + y[1])[:, None], from_x.shape)
    maps = from_x.astype(np.float32), from_y.astype(np.float32)
    return Letter(_uint8(cv2.remap(source, *maps, cv2.INTER_LINEAR)), left, top)


def turned(letter: Letter, angle_deg: float, *, smooth: bool) -> Letter:
    """The letter turned about its middle, against the clock.

    Args:
        letter: to turn.
        angle_deg: by how much.
        smooth: whether edges stay soft; if not, each pixel is one of the letter's.
    """
    height, width = letter.mask.shape
    angle = math.radians(angle_deg)
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    size = math.ceil(width * cos + height * sin), math.ceil(width * sin + height * cos)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    mask = _uint8(cv2.warpAffine(letter.mask, matrix, size, flags=how))
    left, top = letter.left - (size[0] - width) // 2, letter.top - (size[1] - height) // 2
    return replace(letter, mask=mask, left=left, top=top)


def _uint8(array: Any) -> Mask:
    return np.asarray(array, np.uint8)


def _depth(inside: Mask) -> NDArray[np.float32]:
    """How deep each pixel lies inside; half a pixel at the edge, 0 outside."""
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(np.maximum(depth - 0.5, 0), np.float32)


@lru_cache(maxsize=KEPT_FIELDS)
def _em_px(font: Font, charset: str) -> int:
    """The size at which the tallest character that the font has is `MASTER_PX`, oversampled."""
    lacking = font.lacking(charset)
    has = "".join(character for character in charset if character not in lacking)
    _, top, _, bottom = font.at(PROBE_SIZE_PX).getbbox(has, anchor="ls")
    rise = max(-top, (bottom - top) / 2, 1)  # some fonts hang their letters below the line
    return min(MAX_EM_PX, max(1, round(PROBE_SIZE_PX * MASTER_PX * OVERSAMPLING / rise)))
