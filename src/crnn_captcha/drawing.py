"""A label and a style -> one image of it, as a captcha.

First the text is laid out: fonts, sizes and places, from which its width follows. Then it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.effects import choose_effects, weight_of
from crnn_captcha.errors import LabelError
from crnn_captcha.fonts import Font, families, find_fonts
from crnn_captcha.glyphs import MASTER_PX, Glyph, Letter, field, glyph, turned
from crnn_captcha.styles import DotStyle, LineStyle, Range, Style

Image = NDArray[np.uint8]  # RGB (height, width, 3)
Colour = NDArray[np.int16]  # (3,)
Item = TypeVar("Item")

MIN_HEIGHT_PX = 6  # below this no letter is legible
SHOWN_GAP = 0.2  # wider gaps, in heights of a letter, are narrowed when images are prepared
WAVE_POINTS = 16  # a curved line is drawn through so many
COORDINATE_BITS = 4  # OpenCV draws from and to sixteenths of a pixel


@dataclass(frozen=True)
class Layout:
    """A text and its place.

    Attributes:
        text: what is shown: capitals, perhaps, for the label's small letters.
        glyphs: of each character.
        sizes: of each letter, in pixels of the image for one of the glyph.
        stretch: what widths are multiplied with.
        gap_px: between the letters, besides what the font leaves.
        size: width and height of the image.
    """

    text: str
    glyphs: tuple[Glyph, ...]
    sizes: tuple[float, ...]
    stretch: float
    gap_px: float
    size: tuple[int, int]

    @property
    def advances(self) -> list[float]:
        """How far it is from each letter to the next, in pixels."""
        steps = zip(self.glyphs, self.sizes, strict=True)
        return [glyph.advance * size * self.stretch + self.gap_px for glyph, size in steps]

    @property
    def rise(self) -> float:
        """How far the tallest letter reaches above the line, in pixels."""
        return max(glyph.rise * size for glyph, size in zip(self.glyphs, self.sizes, strict=True))

    @property
    def drop(self) -> float:
        """How far the lowest letter reaches below the line, in pixels."""
        return max(glyph.drop * size for glyph, size in zip(self.glyphs, self.sizes, strict=True))

    @property
    def aspect(self) -> float:
        """About how wide the text is for its height, wide gaps not counted."""
        height = max(self.rise + self.drop, 1.0)
        gaps = max(0, min(self.gap_px, SHOWN_GAP * height)) * (len(self.glyphs) - 1)
        widths = sum(g.width * size for g, size in zip(self.glyphs, self.sizes, strict=True))
        return (widths * self.stretch + gaps) / height

    def line(self, overflow_px: float) -> float:
        """Where letters stand, in pixels from the top: in the middle, if none leaves the image so.

        Args:
            overflow_px: how far they may leave it.
        """
        _, height = self.size
        middle = (height + max(self.sizes) * MASTER_PX) / 2
        return min(max(middle, self.rise - overflow_px), height - self.drop + overflow_px)


def draw(
    label: str, style: Style, random: np.random.Generator, fonts: Sequence[Font] | None = None
) -> Image:
    """Draws one captcha.

    Args:
        label: what it says; small letters may appear as capitals.
        style: how it looks.
        random: where every choice comes from.
        fonts: one of their families is chosen, then one of its fonts; None is `find_fonts`.

    Returns:
        RGB uint8 (height, width, 3).

    Raises:
        LabelError: if the label is empty or has characters that the style's charset lacks.
        FontError: if `fonts` is None and none can draw the charset.
    """
    if fonts is None:
        fonts = find_fonts(style.charset.characters)
    by_family = list(families(fonts).values())
    return render(lay_out(label, style, random, by_family), style, random)


def lay_out(
    label: str, style: Style, random: np.random.Generator, by_family: Sequence[Sequence[Font]]
) -> Layout:
    """Chooses fonts, sizes and places.

    Args:
        label: what the image says.
        style: how it looks.
        random: where every choice comes from.
        by_family: one of the families is chosen, then one of its fonts.

    Raises:
        LabelError: if the label is empty or has characters that the style's charset lacks.
    """
    if not label:
        raise LabelError("A label needs at least one character. Received: ''.")
    style.charset.encode(label)  # raises for an unknown character
    letters = style.letters
    count = len(label)
    different = count if style.fonts.per_letter else 1
    chosen = [_choose(_choose(by_family, random), random) for _ in range(different)]
    faces = chosen * (count // different)
    text = label
    if random.random() < style.capitals:
        text = _capitals(label, style, set(chosen))
    extra_px = style.image.width_px.draw(random)
    width = extra_px + count * style.image.width_per_character_px.draw(random)
    height = style.image.height_px.whole(random)
    size_px = letters.height_px.draw(random)
    layout = Layout(
        text,
        tuple(glyph(*pair, style.charset.characters) for pair in zip(faces, text, strict=True)),
        tuple(size_px / MASTER_PX * letters.resize.draw(random) for _ in text),
        letters.stretch.draw(random),
        letters.gap_px.draw(random) + letters.gap_share * extra_px,
        (max(1, round(width)), height),
    )
    return _fitting(layout, letters.overflow_px)


def render(layout: Layout, style: Style, random: np.random.Generator) -> Image:
    """Draws what was laid out.

    Returns:
        RGB uint8 (height, width, 3).
    """
    image = _background(layout.size, style, random)
    letters = style.letters
    colours = _colours(letters.rgb, 1 if letters.one_colour else len(layout.text), random)
    if style.lines.behind:
        _draw_lines(image, style.lines, colours, random)
    _draw_text(image, layout, style, colours, random)
    if not style.lines.behind:
        _draw_lines(image, style.lines, colours, random)
    _draw_dots(image, style.dots, colours, random)
    if deviation := style.background.noise.draw(random):
        noise = np.rint(random.normal(0, deviation, image.shape)).astype(np.int16)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def _choose(items: Sequence[Item], random: np.random.Generator) -> Item:
    return items[int(random.integers(len(items)))]


def _fitting(layout: Layout, overflow_px: float) -> Layout:
    """With letters small enough for the image, and gaps too if that doesn't do."""
    width, height = layout.size
    room = width + 2 * overflow_px
    gaps = layout.gap_px * len(layout.text)
    wide = sum(layout.advances) - gaps
    tall = max(layout.rise + layout.drop, 1.0)
    smallest = MIN_HEIGHT_PX / MASTER_PX
    shrunk = min(1.0, (room - gaps) / wide if wide else 1.0, (height + overflow_px) / tall)
    if shrunk == 1:
        return layout
    sizes = tuple(max(smallest, size * shrunk) for size in layout.sizes)
    still = sum(g.advance * s * layout.stretch for g, s in zip(layout.glyphs, sizes, strict=True))
    gap = min(layout.gap_px, (room - still) / len(layout.text))
    return replace(layout, sizes=sizes, gap_px=gap)


def _draw_text(
    image: Image,
    layout: Layout,
    style: Style,
    colours: Sequence[Colour],
    random: np.random.Generator,
) -> None:
    letters, sizes = style.letters, layout.sizes
    height_px = min(sizes) * MASTER_PX
    pairs = zip(layout.glyphs, sizes, strict=True)
    stroke_px = min(field(sign).half_stroke * size for sign, size in pairs)
    weight_px = weight_of(letters.weight.draw(random), height_px, stroke_px)
    effects = choose_effects(style.effects, height_px, stroke_px + weight_px, random)
    slant = math.tan(math.radians(letters.slant_deg.draw(random)))
    most_deg = letters.turn_deg.draw(random) if random.random() < letters.turned else 0.0
    advances = layout.advances
    # As letter spacing goes, a gap also stands behind the last letter.
    pen = (layout.size[0] - sum(advances)) / 2 + letters.shift_x_px.draw(random)
    line = layout.line(letters.overflow_px) + letters.shift_y_px.draw(random)
    for i, sign in enumerate(layout.glyphs):
        shape = effects.shape(sizes[i], layout.stretch, slant, weight_px)
        letter = effects.draw(sign, shape, random)
        if most_deg:
            angle_deg = float(random.uniform(-most_deg, most_deg))
            letter = turned(letter, angle_deg, smooth=letters.smooth)
        x = pen + letters.jitter_x_px.draw(random)
        y = line + letters.jitter_y_px.draw(random)
        _put(image, letter, round(x), round(y), colours[i % len(colours)])
        pen += advances[i]


def _put(image: Image, letter: Letter, x: int, y: int, colour: Colour) -> None:
    """Blends a letter in its colour into the image, as far as it lies in it."""
    x, y = x + letter.left, y + letter.top
    height, width = letter.mask.shape
    top, bottom = max(0, y), min(image.shape[0], y + height)
    left, right = max(0, x), min(image.shape[1], x + width)
    if top >= bottom or left >= right:
        return
    place = image[top:bottom, left:right]
    mask = letter.mask[top - y : bottom - y, left - x : right - x]
    share = mask[..., None].astype(np.int32)
    place += ((colour - place.astype(np.int32)) * share // 255).astype(np.uint8)  # modulo 256


def _background(size: tuple[int, int], style: Style, random: np.random.Generator) -> Image:
    width, height = size
    (colour,) = _colours(style.background.rgb, 1, random)
    image = np.empty((height, width, 3), np.uint8)
    image[0] = colour
    image[1:] = image[0]  # whole rows at once, which is faster
    if random.random() < style.background.gradient:
        (other,) = _colours(style.background.rgb, 1, random)
        share = np.linspace(0, 1, width)[None, :, None]  # from left to right
        image[:] = colour * (1 - share) + other * share
    return image


def _draw_lines(
    image: Image, style: LineStyle, colours: Sequence[Colour], random: np.random.Generator
) -> None:
    height, width = image.shape[:2]
    kind = cv2.LINE_AA if style.smooth else cv2.LINE_8
    for _ in range(style.count.whole(random)):
        ends = random.integers((width, height), size=(2, 2))  # (ends, x and y)
        colour = _colour_of(style, colours, random)
        along = int(np.argmin(np.abs(ends[1] - ends[0])))  # OpenCV's thick lines are thicker
        places = np.arange(style.width_px.whole(random))
        curved = random.random() < style.curved
        points = _wave(ends, height, random) if curved else ends
        exact = np.rint(points * 2**COORDINATE_BITS).astype(np.int32)
        for place in places - len(places) // 2:
            moved = exact.copy()
            moved[:, along] += place << COORDINATE_BITS
            cv2.polylines(image, [moved], False, colour, 1, kind, COORDINATE_BITS)


def _wave(ends: NDArray[np.int64], height: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Points on the way between two, swaying up and down: (points, x and y)."""
    along = np.linspace(0, 1, WAVE_POINTS)[:, None]
    points = ends[0] * (1 - along) + ends[1] * along  # (points, x and y)
    turns = random.uniform(0, 2 * math.pi) + along[:, 0] * random.uniform(math.pi, 3 * math.pi)
    points[:, 1] += np.sin(turns) * random.uniform(0.05, 0.25) * height
    return np.asarray(points, np.float64)


def _draw_dots(
    image: Image, style: DotStyle, colours: Sequence[Colour], random: np.random.Generator
) -> None:
    height, width = image.shape[:2]
    count = style.count.whole(random)
    for x, y in random.integers((width, height), size=(count, 2)).tolist():
        colour, size = _colour_of(style, colours, random), style.size_px.whole(random)
        if size > 2:
            cv2.circle(image, (x, y), size // 2, colour, cv2.FILLED)
        else:
            image[y : y + size, x : x + size] = colour


def _colours(rgb: Range, count: int, random: np.random.Generator) -> list[Colour]:
    if rgb.mode is None or rgb.low == rgb.high:
        low, high = round(rgb.low), round(rgb.high)
        return list(random.integers(low, high, (count, 3), np.int16, endpoint=True))
    channels = random.triangular(rgb.low, rgb.mode, rgb.high, (count, 3))
    return list(np.rint(channels).astype(np.int16))


def _colour_of(
    style: LineStyle | DotStyle, colours: Sequence[Colour], random: np.random.Generator
) -> list[int]:
    """A colour of a line or a dot: of its own, or that of a letter."""
    if style.like_letters:
        colour = _choose(colours, random)
    else:
        (colour,) = _colours(style.rgb, 1, random)
    return [int(channel) for channel in colour]


def _capitals(label: str, style: Style, fonts: set[Font]) -> str:
    """The label in capitals, if that can't be mistaken for another label; else as it is."""
    text = label.upper()
    safe = text.lower() == label and len(text) == len(label)
    new = set(text) - set(label)
    known = not new & set(style.charset.characters)
    return text if safe and known and not any(font.lacking(text) for font in fonts) else label
