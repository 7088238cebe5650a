"""A label and a style -> one image of it, as a captcha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crnn_captcha.charset import Charset
from crnn_captcha.errors import CharsetError, ConfigError, LabelError
from crnn_captcha.fonts import Font, families, find_fonts

DEFAULT_CHARSET = Charset("0123456789abcdefghijklmnopqrstuvwxyz")
PAIRS = ("extra_width_px", "text_share", "line_height_px", "lines")
MAX_LENGTH = 32  # longer labels would leave the limits on image and file name sizes
NOT_IN_FILE_NAMES = '/\\:*?"<>|. '
LUMA = np.array([0.299, 0.587, 0.114])  # Rec. ITU-R BT.601
PROBE_SIZE_PX = 100  # large enough that rounding to whole pixels costs little
MIN_SIZE_PX = 8  # below this no letter is legible
WHITE = 255
BLACK = (0, 0, 0, 255)


@dataclass(frozen=True)
class Style:
    """How captchas look.

    A pair holds the lowest and the highest of evenly drawn values, except for the two distances.

    Attributes:
        charset: each character of a label is as likely as any other.
        min_length: fewest characters of a label.
        max_length: most characters of a label.
        height_px: height of every image.
        width_per_character_px: an image's least width, for each character.
        extra_width_px: what is added to the least width.
        text_share: part of the image's width that the text spans, where the letters allow.
        overlap_px: how far neighbours may reach into each other.
        line_height_px: from the top of the tallest character of the font to the lowest tail.
        margin_px: what the text leaves free on the left and on the right.
        shift_px: how far the text may lie from the middle, sideways and up or down.
        jitter_px: how far a character may lie from its place there, sideways and up or down.
        rotated_share: part of the images whose characters are rotated.
        max_angle_deg: how far a character is rotated, either way.
        capitals_share: part of the images that show capitals for small letters.
        outlined_share: part of the images that show outlines of characters only.
        transparent_share: part of the images with a transparent background, not a white one.
        max_luma: the lightest colour of a character, 0 to 255; lighter ones aren't legible.
        lines: fewest and most black lines, one pixel wide. The lower of two draws counts, so
            that few are likelier than many.

    Raises:
        CharsetError: if a character of the charset can't stand in a file name.
        ConfigError: if the lengths aren't 1 <= min_length <= max_length <= 32, or a pair's first
            number is negative or above its second.
    """

    charset: Charset = DEFAULT_CHARSET
    min_length: int = 4
    max_length: int = 8
    height_px: int = 80
    width_per_character_px: int = 35
    extra_width_px: tuple[int, int] = (0, 500)  # 4 * 35 = 140 to 8 * 35 + 500 = 780 in all
    text_share: tuple[float, float] = (0.35, 0.7)
    overlap_px: int = 2
    line_height_px: tuple[int, int] = (24, 48)
    margin_px: int = 6
    shift_px: tuple[int, int] = (24, 4)
    jitter_px: tuple[int, int] = (2, 1)
    rotated_share: float = 0.5
    max_angle_deg: int = 30
    capitals_share: float = 0.35
    outlined_share: float = 0.06
    transparent_share: float = 0.5
    max_luma: int = 210
    lines: tuple[int, int] = (0, 10)

    def __post_init__(self) -> None:
        characters = self.charset.characters
        unfit = [c for c in characters if not c.isprintable() or c in NOT_IN_FILE_NAMES]
        if unfit:
            raise CharsetError(
                "A label becomes a file name: its characters can be printed, and none is a space "
                f"or one of {NOT_IN_FILE_NAMES.strip()} (unfit: {unfit}). "
                f"Received: {characters!r}. Leave them out."
            )
        if not 1 <= self.min_length <= self.max_length <= MAX_LENGTH:
            raise ConfigError(
                f"Labels have 1 to {MAX_LENGTH} characters, the shortest no more than the longest. "
                f"Received: {self.min_length} to {self.max_length}."
            )
        for name in PAIRS:
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ConfigError(
                    f"`{name}` is the lowest and the highest value, neither negative. "
                    f"Received: {low} and {high}."
                )


DEFAULT_STYLE = Style()


def draw(
    label: str, style: Style, rng: np.random.Generator, fonts: Sequence[Font] | None = None
) -> Image.Image:
    """Draws one captcha.

    Args:
        label: what it says; small letters may appear as capitals.
        style: how it looks.
        rng: where every choice comes from.
        fonts: one of their families is chosen, then one of its fonts; None is `find_fonts`.

    Returns:
        RGBA image of ``style.height_px`` rows, and at least ``style.width_per_character_px``
        columns for each character.

    Raises:
        LabelError: if the label is empty or has characters that the style's charset lacks.
        FontError: if `fonts` is None and none can draw the charset.
    """
    if not label:
        raise LabelError("A label needs at least one character. Received: ''.")
    style.charset.encode(label)  # raises for an unknown character
    by_family = families(find_fonts(style.charset.characters) if fonts is None else fonts)
    family = list(by_family.values())[rng.integers(len(by_family))]
    font = family[rng.integers(len(family))]

    width = style.width_per_character_px * len(label) + _between(style.extra_width_px, rng)
    opacity = 0 if rng.random() < style.transparent_share else 255
    image = Image.new("RGBA", (width, style.height_px), (WHITE, WHITE, WHITE, opacity))
    text = _capitals(label, style, font) if rng.random() < style.capitals_share else label
    _draw_text(image, text, style, font, rng)
    _draw_lines(image, min(_between(style.lines, rng), _between(style.lines, rng)), rng)
    return image


def _draw_text(
    image: Image.Image, text: str, style: Style, font: Font, rng: np.random.Generator
) -> None:
    """Puts a row of characters on the image, each in a colour of its own."""
    line = style.charset.characters + text  # what the heights of the row are measured on
    _, top, _, bottom = font.at(PROBE_SIZE_PX).getbbox(line)
    size_px = PROBE_SIZE_PX * _between(style.line_height_px, rng) / (bottom - top)
    max_angle_deg = style.max_angle_deg if rng.random() < style.rotated_share else 0
    angles_deg = rng.uniform(-max_angle_deg, max_angle_deg, len(text))
    outlined = bool(rng.random() < style.outlined_share)

    def masks_at(size: float) -> list[Image.Image]:
        face = font.at(max(MIN_SIZE_PX, int(size)))
        upright = (_glyph(face, character, line, outlined) for character in text)
        return [_rotated(mask, angle) for mask, angle in zip(upright, angles_deg, strict=True)]

    masks = masks_at(size_px)
    ink_px, room_px = sum(mask.width for mask in masks), image.width - 2 * style.margin_px
    if ink_px > room_px:  # wide letters in a narrow image
        masks = masks_at(size_px * room_px / ink_px)
        ink_px = sum(mask.width for mask in masks)

    gaps = max(len(text) - 1, 1)
    wanted_gap = (image.width * rng.uniform(*style.text_share) - ink_px) / gaps
    gap = min(max(wanted_gap, -style.overlap_px), (room_px - ink_px) / gaps)
    text_px = ink_px + gap * (len(text) - 1)
    x = (image.width - text_px) / 2 + _within(style.shift_px[0], rng)
    x = min(max(x, style.margin_px), image.width - style.margin_px - text_px)
    middle = style.height_px / 2 + _within(style.shift_px[1], rng)
    for mask in masks:
        left = round(x) + _within(style.jitter_px[0], rng)
        upper = round(middle - mask.height / 2) + _within(style.jitter_px[1], rng)
        alpha = Image.new("L", image.size)
        alpha.paste(mask, (left, upper))
        character = Image.new("RGBA", image.size, _colour(style.max_luma, rng))
        character.putalpha(alpha)
        image.alpha_composite(character)
        x += mask.width + gap


def _glyph(face: ImageFont.FreeTypeFont, character: str, line: str, outlined: bool) -> Image.Image:
    """The character's ink, 0 to 255: as wide as it is, as high as the whole line's characters."""
    left, _, right, _ = face.getbbox(character, anchor="ls")
    _, top, _, bottom = face.getbbox(line, anchor="ls")
    stroke = 1 if outlined else 0
    size = (math.ceil(right - left) + 2 * stroke, math.ceil(bottom - top) + 2 * stroke)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).text(
        (stroke - left, stroke - top),
        character,
        fill=0 if outlined else 255,
        font=face,
        anchor="ls",
        stroke_width=stroke,
        stroke_fill=255,
    )
    return mask


def _rotated(mask: Image.Image, angle_deg: float) -> Image.Image:
    """Rotates about the line's middle, and cuts off empty columns."""
    if angle_deg:
        mask = mask.rotate(angle_deg, Image.Resampling.BICUBIC, expand=True)
    left, _, right, _ = mask.getbbox() or (0, 0, mask.width, mask.height)
    return mask.crop((left, 0, right, mask.height))


def _draw_lines(image: Image.Image, count: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(image)
    for _ in range(count):
        x = rng.integers(image.width, size=2).tolist()
        y = rng.integers(image.height, size=2).tolist()
        pen.line([(x[0], y[0]), (x[1], y[1])], BLACK, width=1)


def _capitals(label: str, style: Style, font: Font) -> str:
    """The label in capitals, if that can't be mistaken for another label; else as it is."""
    text = label.upper()
    safe = text.lower() == label and len(text) == len(label)
    new = set(text) - set(label)
    return label if not safe or new & set(style.charset.characters) or font.lacking(text) else text


def _colour(max_luma: int, rng: np.random.Generator) -> tuple[int, int, int]:
    while True:
        rgb = rng.integers(256, size=3)
        if rgb @ LUMA <= max_luma:
            return int(rgb[0]), int(rgb[1]), int(rgb[2])


def _between(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(*bounds, endpoint=True))


def _within(distance: int, rng: np.random.Generator) -> int:
    return _between((-distance, distance), rng)
