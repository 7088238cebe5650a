"""What is done to all letters of an image: many kinds of letter from few fonts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from crnn_captcha.glyphs import LEVELS_A_PX, Glyph, Letter, Mask, Shape, levels, shaped
from crnn_captcha.styles import EffectStyle

THINNEST_PX = 0.4  # half of a stroke, however thin it is made
HOLLOW_PX = 1.7  # half of a stroke that shows two edges when only these are drawn
ROUGHNESS = 0.05  # how far edges are eaten at most, in heights of a letter
GRAIN = 0.12  # size of what is eaten, in heights of a letter
STRIPE = 0.06  # its thickness, in heights of a letter
BOX_MARGIN = 0.1  # around a letter that is cut out of a box, in heights of a letter
PIXELS = (11, 18)  # of pixelated letters, from the line to the top of the tallest
INK = 90  # of 255: what a large pixel has to hold on average


@dataclass(frozen=True)
class Effects:
    """What was chosen for an image, in pixels of it; 0 leaves an effect out.

    Attributes:
        outline_px: thickness of the edges that are drawn instead of letters.
        shadow_px: how far a shadow lies to the right and below.
        box_px: how far a box reaches beyond the letter that is cut out of it.
        rough_px: how far edges are eaten, or grow.
        grain_px: size of what is eaten.
        stripe: lowest and highest row of the stripe, upwards from the line that letters stand on.
        pixel_px: edge of a large pixel.
        wave_px: how far rows sway to the side.
        wave_length_px: from crest to crest.
        wave_phase: in radians.
    """

    outline_px: float = 0.0
    shadow_px: int = 0
    box_px: int = 0
    rough_px: float = 0.0
    grain_px: float = 1.0
    stripe: tuple[int, int] = (0, 0)
    pixel_px: int = 0
    wave_px: float = 0.0
    wave_length_px: float = 1.0
    wave_phase: float = 0.0

    def shape(self, scale: float, stretch: float, slant: float, weight_px: float) -> Shape:
        """The shape of a letter of an image with these effects."""
        return Shape(
            scale,
            stretch,
            slant,
            weight_px,
            self.outline_px,
            self.wave_px,
            self.wave_length_px,
            self.wave_phase,
        )

    def draw(self, glyph: Glyph, shape: Shape, random: np.random.Generator) -> Letter:
        """The letter of a glyph, with what isn't a matter of its shape."""
        letter = shaped(glyph, shape)
        field, top = letter.mask, letter.top
        if self.rough_px:
            field = _rough(field, self.rough_px * LEVELS_A_PX / shape.scale, self.grain_px, random)
        mask = np.asarray(cv2.LUT(field, levels(shape)), np.uint8)
        if self.shadow_px:
            mask = _with_shadow(mask, field, shape, self.shadow_px)
        if self.stripe[1]:
            mask[max(0, -top - self.stripe[1]) : max(0, -top - self.stripe[0])] = 0
        if self.pixel_px:
            mask = _pixelated(mask, self.pixel_px)
        if self.box_px:
            mask = _boxed(mask, self.box_px)
        return Letter(mask, letter.left, top)


def choose_effects(
    style: EffectStyle, height_px: float, stroke_px: float, random: np.random.Generator
) -> Effects:
    """The effects of an image: those that its letters can bear.

    Args:
        style: how likely each is.
        height_px: of the letters.
        stroke_px: half of the thinnest of their thickest strokes.
        random: where every choice comes from.
    """
    names = ("outlined", "shadowed", "boxed", "rough", "striped", "pixelated", "wavy")
    drawn = dict(zip(names, random.random(len(names)).tolist(), strict=True))
    wanted = {name for name in names if drawn[name] < getattr(style, name)}
    if not wanted:
        return Effects()
    hollow = stroke_px >= HOLLOW_PX and bool(wanted & {"outlined", "shadowed"})
    pixel_px = max(2, round(height_px / random.uniform(*PIXELS)))
    stripe = random.uniform(0.3, 0.7) * height_px
    values = random.uniform(size=5)
    return Effects(
        outline_px=1 + values[0] * min(1.0, stroke_px / 3) if hollow else 0.0,
        shadow_px=max(1, round(height_px * (0.06 + 0.06 * values[1])))
        if hollow and "shadowed" in wanted
        else 0,
        box_px=max(2, round(height_px * BOX_MARGIN)) if "boxed" in wanted else 0,
        rough_px=min(ROUGHNESS * height_px, stroke_px / 2) if "rough" in wanted else 0.0,
        grain_px=max(1.5, GRAIN * height_px),
        stripe=(round(stripe), round(stripe) + max(1, round(STRIPE * height_px)))
        if "striped" in wanted
        else (0, 0),
        pixel_px=pixel_px if "pixelated" in wanted and stroke_px * 3 >= pixel_px else 0,
        wave_px=height_px * (0.03 + 0.05 * values[2]) if "wavy" in wanted else 0.0,
        wave_length_px=height_px * (0.7 + values[3]),
        wave_phase=2 * math.pi * values[4],
    )


def weight_of(weight: float, height_px: float, stroke_px: float) -> float:
    """What strokes gain at each edge, in pixels: never so little that the thinnest disappears."""
    return max(weight * height_px, min(0.0, THINNEST_PX - stroke_px))


def _rough(field: Mask, reach: float, grain_px: float, random: np.random.Generator) -> Mask:
    """A field with edges moved to and fro by up to so many levels."""
    height, width = field.shape
    coarse = random.uniform(
        -reach, reach, (round(height / grain_px) + 2, round(width / grain_px) + 2)
    )
    moved = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.where(field > 0, np.clip(field + moved, 0, 255), 0).astype(np.uint8)


def _with_shadow(mask: Mask, field: Mask, shape: Shape, shadow_px: int) -> Mask:
    """A hollow letter, and behind it what it would hide of itself further down to the right."""
    whole = Shape(shape.scale, weight_px=shape.weight_px)
    around = Shape(shape.scale, weight_px=shape.weight_px + shape.outline_px / 2 + 1)
    shadow = np.zeros_like(mask)
    shadow[shadow_px:, shadow_px:] = cv2.LUT(field, levels(whole))[:-shadow_px, :-shadow_px]
    free = 255 - np.asarray(cv2.LUT(field, levels(around)), np.uint8)
    return np.maximum(mask, np.minimum(shadow, free))


def _pixelated(mask: Mask, pixel_px: int) -> Mask:
    height, width = mask.shape
    few = (max(1, width // pixel_px), max(1, height // pixel_px))
    pixels = (cv2.resize(mask, few, interpolation=cv2.INTER_AREA) > INK).astype(np.uint8) * 255
    return np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
    )


def _boxed(mask: Mask, margin: int) -> Mask:
    """The box around a letter, without the letter."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return mask
    box = np.zeros_like(mask)
    box[
        max(0, rows[0] - margin) : rows[-1] + 1 + margin,
        max(0, columns[0] - margin) : columns[-1] + 1 + margin,
    ] = 255
    return box - np.minimum(mask, box)
