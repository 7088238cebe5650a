"""A picture of examples: the image, what the network sees, what it says, what was read.

Used by training's report, by the evaluation's page and by the demo. Needs Pillow alone.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.images import ImageSource, load_image
from crnn_captcha.metrics import edits

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Pixels = NDArray[np.uint8]
Color = tuple[int, int, int]
Pair = tuple[str, str, bool]

GREEN: Color = (21, 128, 61)
RED: Color = (200, 30, 45)
PALE_GREEN: Color = (220, 243, 228)
PALE_RED: Color = (252, 225, 226)
PAPER: Color = (255, 255, 255)
DESK: Color = (243, 245, 248)
LINE: Color = (217, 222, 230)
INK: Color = (24, 31, 42)
GREY: Color = (100, 110, 125)

MARGIN = 32  # px, as all sizes below
HEADER = 118
FOOTER = 24
ROW = 100
GAP = 8
PADDING = 10  # within a row, around an image
LETTER = 34  # font size and, times CELL, the width of a character's cell
CELL = 0.8
MAX_ZOOM = 2.0  # small images are enlarged at most so far
SMOOTH = 4  # marks are drawn so much larger, then scaled down: Pillow's lines have hard edges
COLUMNS = (  # heading, left edge, width
    ("image", MARGIN, 400),
    ("what the network sees", 448, 400),
    ("actual", 872, 232),
    ("read", 1128, 232),
    ("confidence", 1384, 152),
)
WIDTH = COLUMNS[-1][1] + COLUMNS[-1][2] + MARGIN  # 1384 + 152 + 32 = 1568


@dataclass(frozen=True)
class ShowcaseEntry:
    """One row.

    Attributes:
        image: RGB uint8 (height, width, 3).
        prepared: what the network takes, uint8 (width, height, channels).
        label: what the image says.
        text: what was read.
        confidence: 0 to 1.
    """

    image: Pixels
    prepared: Pixels
    label: str
    text: str
    confidence: float

    @property
    def right(self) -> bool:
        """Whether the whole text equals the label."""
        return self.text == self.label


def make_entry(
    source: ImageSource,
    pipeline: Callable[[Pixels], Pixels],
    *,
    label: str,
    text: str,
    confidence: float,
) -> ShowcaseEntry:
    """The row of an image: a path, a file's bytes, or an array.

    Args:
        source: the image.
        pipeline: makes of uint8 (height, width, 3) what the network takes.
        label: what the image says.
        text: what was read.
        confidence: 0 to 1.

    Raises:
        ImageError: if the image can't be read.
        PreprocessingError: if the pipeline can't take it.
    """
    image = load_image(source)
    return ShowcaseEntry(image, pipeline(image), label, text, confidence)


def draw_showcase(entries: Sequence[ShowcaseEntry], *, title: str = "") -> Image:
    """Draws a row for each entry.

    Characters that are wrong or left out are marked, in the label and in what was read, and
    stand below each other in line.

    Args:
        entries: at least one; ten make a good picture.
        title: the headline; how many are right is said below it.

    Returns:
        An RGB picture of `WIDTH` pixels, as high as its rows.

    Raises:
        ValueError: if there are no entries.
    """
    from PIL import Image, ImageDraw

    if not entries:
        raise ValueError("A showcase needs at least one entry. Received: none.")
    height = HEADER + len(entries) * (ROW + GAP) - GAP + FOOTER
    picture = Image.new("RGB", (WIDTH, height), DESK)
    draw = ImageDraw.Draw(picture)
    right = sum(entry.right for entry in entries)
    draw.text((MARGIN, 42), title or "crnn-captcha", INK, _font(32), anchor="lm")
    draw.text(
        (WIDTH - MARGIN, 42), f"{right} of {len(entries)} read right", GREY, _font(24), anchor="rm"
    )
    for heading, left, _ in COLUMNS:
        draw.text((left + PADDING, HEADER - 22), heading, GREY, _font(18), anchor="lm")
    for i, entry in enumerate(entries):
        _draw_row(picture, draw, HEADER + i * (ROW + GAP), entry)
    return picture


def network_view(prepared: Pixels) -> Pixels:
    """What a network takes, turned back upright for the eye.

    Args:
        prepared: uint8 (width, height, channels). The first three are shown as red, green and
            blue; where there are fewer, the first as grey.

    Returns:
        uint8 (height, width, 3).
    """
    upright = prepared.transpose(1, 0, 2)  # (height, width, channels)
    if upright.shape[2] < 3:
        upright = np.repeat(upright[..., :1], 3, axis=2)
    return np.ascontiguousarray(upright[..., :3])


def align(label: str, text: str) -> list[Pair]:
    """Label and text character by character, '' where one has none; the third: whether right.

    Example:
        >>> align("abc", "axc")
        [('a', 'a', True), ('b', 'x', False), ('c', 'c', True)]
    """
    wrong = edits(label, text)
    by_label = {i: j for i, j in wrong if i is not None}
    inserted = {j for i, j in wrong if i is None}
    pairs: list[Pair] = []
    j = 0
    for i, character in enumerate(label):
        while j in inserted:
            pairs.append(("", text[j], False))
            j += 1
        if i not in by_label:
            pairs.append((character, text[j], True))
            j += 1
        elif by_label[i] is None:
            pairs.append((character, "", False))
        else:
            pairs.append((character, text[j], False))
            j += 1
    return pairs + [("", character, False) for character in text[j:]]


def png(image: Pixels | Image) -> bytes:
    """A PNG file of RGB uint8 (height, width, 3) or of a picture."""
    from PIL import Image

    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw_row(picture: Image, draw: ImageDraw, top: int, entry: ShowcaseEntry) -> None:
    color = GREEN if entry.right else RED
    draw.rounded_rectangle((16, top, WIDTH - 17, top + ROW - 1), 10, PAPER, LINE)
    draw.rectangle((16, top + 12, 20, top + ROW - 13), color)
    for pixels, (_, left, width) in zip(
        (entry.image, network_view(entry.prepared)), COLUMNS, strict=False
    ):
        _paste(picture, draw, pixels, (left, top, width))
    pairs = align(entry.label, entry.text)
    _draw_text(draw, [(a, ok) for a, _, ok in pairs], COLUMNS[2], top, (GREEN, PALE_GREEN, DESK))
    _draw_text(draw, [(b, ok) for _, b, ok in pairs], COLUMNS[3], top, (RED, PALE_RED, PALE_RED))
    _draw_verdict(picture, draw, top, entry, color)


def _paste(picture: Image, draw: ImageDraw, pixels: Pixels, box: tuple[int, int, int]) -> None:
    """An image, scaled to fit, left in its column and in the middle of its row."""
    from PIL import Image

    left, top, width = box
    room = (width - 2 * PADDING, ROW - 2 * PADDING)
    image = Image.fromarray(pixels)
    zoom = min(room[0] / image.width, room[1] / image.height, MAX_ZOOM)
    size = (max(1, round(image.width * zoom)), max(1, round(image.height * zoom)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    x, y = left + PADDING, top + (ROW - size[1]) // 2
    draw.rectangle((x - 1, y - 1, x + size[0], y + size[1]), None, LINE)
    picture.paste(image, (x, y))


def _draw_text(
    draw: ImageDraw,
    characters: Sequence[tuple[str, bool]],
    column: tuple[str, int, int],
    top: int,
    marked: tuple[Color, Color, Color],
) -> None:
    """Characters in cells of one width; wrong ones have a frame and a ground, gaps a ground."""
    _, left, width = column
    room = width - 2 * PADDING
    cell = min(LETTER * CELL, room / max(1, len(characters)))
    font = _font(max(6, round(cell / CELL)))
    middle = top + ROW // 2
    half = max(8, round(cell * 0.85))
    for i, (character, ok) in enumerate(characters):
        x = left + PADDING + i * cell
        if not ok:
            frame, ground = marked[:2] if character else (marked[2], marked[2])
            box = (x + 1, middle - half, x + max(1, cell - 1), middle + half)
            draw.rounded_rectangle(box, 4, ground, frame)
        color = INK if ok else marked[0]
        draw.text((x + cell / 2, middle), character, color, font, anchor="mm")


def _draw_verdict(
    picture: Image, draw: ImageDraw, top: int, entry: ShowcaseEntry, color: Color
) -> None:
    """A tick or a cross, and the confidence as a number and a bar."""
    _, left, width = COLUMNS[4]
    middle = top + ROW // 2
    mark = _mark(entry.right, 36)
    picture.paste(mark, (left + PADDING, middle - 18), mark)
    x, end = left + PADDING + 52, left + width - PADDING
    draw.text((x, middle - 10), f"{100 * entry.confidence:.1f} %", INK, _font(20), anchor="lm")
    draw.rounded_rectangle((x, middle + 10, end, middle + 15), 2, LINE)
    filled = round((end - x) * min(1.0, max(0.0, entry.confidence)))
    if filled > 0:
        draw.rounded_rectangle((x, middle + 10, x + filled, middle + 15), 2, color)


def _mark(right: bool, size: int) -> Image:
    """A white tick on a green disc, or a white cross on a red one."""
    from PIL import Image, ImageDraw

    s = size * SMOOTH
    mark = Image.new("RGBA", (s, s))
    draw = ImageDraw.Draw(mark)
    draw.ellipse((0, 0, s - 1, s - 1), GREEN if right else RED)
    strokes = (
        [(0.28, 0.52, 0.44, 0.68), (0.44, 0.68, 0.73, 0.35)]
        if right
        else [(0.33, 0.33, 0.67, 0.67), (0.67, 0.33, 0.33, 0.67)]
    )
    half = 0.045 * s
    for stroke in strokes:
        x0, y0, x1, y1 = (s * part for part in stroke)
        draw.line((x0, y0, x1, y1), PAPER, round(2 * half))
        for x, y in ((x0, y0), (x1, y1)):
            draw.ellipse((x - half, y - half, x + half, y + half), PAPER)
    return mark.resize((size, size), Image.Resampling.LANCZOS)


def _font(size: int) -> FreeTypeFont:
    """Pillow's own font; it needs Pillow with FreeType, which all its wheels have."""
    from PIL import ImageFont

    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101 — with a size it always is
    return font
