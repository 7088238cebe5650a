"""How generated captchas look, as data: a style and its tables.

`style_files` reads them from TOML.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from crnn_captcha.charset import Charset
from crnn_captcha.errors import CharsetError, ConfigError

DEFAULT_CHARSET = Charset("0123456789abcdefghijklmnopqrstuvwxyz")
MAX_LENGTH = 32  # characters: labels stand in file names, and make images wide
NOT_IN_FILE_NAMES = '/\\:*?"<>|. '
LETTER_HEIGHTS_PX = (6, 400)  # least and most
OWN = ""  # the generator of this package


@dataclass(frozen=True)
class Range:
    """Where a value is drawn from: evenly, or most likely near `mode` (a triangle).

    In TOML a number, `[lowest, highest]` or `[lowest, likeliest, highest]`.

    Raises:
        ConfigError: unless the numbers are finite and rise.
    """

    low: float
    high: float
    mode: float | None = None

    def __post_init__(self) -> None:
        numbers = [self.low, self.high] if self.mode is None else [self.low, self.mode, self.high]
        if not all(map(math.isfinite, numbers)) or numbers != sorted(numbers):
            raise ConfigError(f"The numbers of a range are finite and rise. Received: {numbers}.")

    @classmethod
    def of(cls, *numbers: float) -> Range:
        """The range that TOML writes as a number, as two or as three.

        Raises:
            ConfigError: if there are none or more, or they don't rise.
        """
        if not 1 <= len(numbers) <= 3:
            raise ConfigError(
                "A range is a number, [lowest, highest] or [lowest, likeliest, highest]. "
                f"Received: {list(numbers)}."
            )
        return cls(numbers[0], numbers[-1], numbers[1] if len(numbers) == 3 else None)

    def draw(self, random: np.random.Generator) -> float:
        """A number of the range."""
        if self.low == self.high:
            return self.low
        if self.mode is None:
            return float(random.uniform(self.low, self.high))
        return float(random.triangular(self.low, self.mode, self.high))

    def whole(self, random: np.random.Generator) -> int:
        """A whole number of the range; without a mode, its ends are as likely as the others."""
        if self.mode is None:
            return int(random.integers(round(self.low), round(self.high), endpoint=True))
        return round(self.draw(random))


def _within(low: float, high: float) -> Mapping[str, float]:
    """What a field's value, or both ends of it, lies between."""
    return {"low": low, "high": high}


@dataclass(frozen=True)
class ImageStyle:
    """The size of the images, in pixels.

    Attributes:
        height_px: of the image.
        width_px: of the image, besides what the characters add.
        width_per_character_px: added for each character of the label.
    """

    height_px: Range = field(default=Range.of(80), metadata=_within(16, 512))
    width_px: Range = field(default=Range.of(0, 500), metadata=_within(0, 2048))
    width_per_character_px: Range = field(default=Range.of(35), metadata=_within(0, 256))


@dataclass(frozen=True)
class FontStyle:
    """What is drawn with.

    Attributes:
        folders: where font files (.ttf, .otf, .woff, .woff2) lie, at any depth; relative to the
            style's file.
        installed: also draw with the fonts of installed packages.
        incomplete: also draw with fonts that lack characters or draw some alike: their labels have
            none of those.
        per_letter: each letter has a font of its own, not each image.

    Raises:
        ConfigError: if each letter has a font of its own, and one may lack it.
    """

    folders: tuple[str, ...] = ()
    installed: bool = True
    incomplete: bool = False
    per_letter: bool = False

    def __post_init__(self) -> None:
        if self.incomplete and self.per_letter:
            raise ConfigError(
                "fonts.incomplete needs one font for all of a label, which has no character that "
                "the font lacks. Received: fonts.per_letter as well. Leave one of them out."
            )


@dataclass(frozen=True)
class LetterStyle:
    """How letters look and where they stand.

    Attributes:
        height_px: of the font's tallest character above the line that letters stand on.
        gap_px: between letters, besides what the font leaves; below 0 they overlap.
        gap_share: of the image's `width_px` that is added to each gap.
        overflow_px: how far the text may leave the image; letters are made as small as it takes.
        shift_x_px: how far the text lies from the middle, to the right.
        shift_y_px: the same, downwards.
        jitter_x_px: how far each letter lies from its place.
        jitter_y_px: the same, downwards.
        resize: what each letter's size is multiplied with.
        stretch: what the width of all letters is multiplied with.
        slant_deg: how far all letters lean to the right.
        weight: what is added to strokes at each edge, as a share of the height; below 0 they
            become thinner, but none disappears.
        turned: share of the images whose letters are turned.
        turn_deg: how far letters of such an image are turned at most, each by itself.
        smooth: turned letters are resampled smoothly; if not, their edges are ragged.
        rgb: each channel of a colour.
        one_colour: all letters of an image have the same.
    """

    height_px: Range = field(default=Range.of(24, 40), metadata=_within(*LETTER_HEIGHTS_PX))
    gap_px: Range = field(default=Range.of(0), metadata=_within(-64, 256))
    gap_share: float = field(default=0.0, metadata=_within(0, 1))
    overflow_px: float = field(default=0.0, metadata=_within(0, 256))
    shift_x_px: Range = field(default=Range.of(0), metadata=_within(-256, 256))
    shift_y_px: Range = field(default=Range.of(0), metadata=_within(-256, 256))
    jitter_x_px: Range = field(default=Range.of(0), metadata=_within(-64, 64))
    jitter_y_px: Range = field(default=Range.of(0), metadata=_within(-64, 64))
    resize: Range = field(default=Range.of(1), metadata=_within(0.5, 2))
    stretch: Range = field(default=Range.of(1), metadata=_within(0.4, 2.5))
    slant_deg: Range = field(default=Range.of(0), metadata=_within(-45, 45))
    weight: Range = field(default=Range.of(0), metadata=_within(-0.1, 0.15))
    turned: float = field(default=0.0, metadata=_within(0, 1))
    turn_deg: Range = field(default=Range.of(30), metadata=_within(0, 180))
    smooth: bool = True
    rgb: Range = field(default=Range.of(0, 255), metadata=_within(0, 255))
    one_colour: bool = False


@dataclass(frozen=True)
class EffectStyle:
    """Shares of the images whose letters are changed: many kinds of letter from few fonts.

    Attributes:
        outlined: only the edges are drawn.
        shadowed: a shadow of the same colour lies behind the edges.
        boxed: letters are cut out of boxes.
        rough: edges are eaten.
        striped: a stripe runs through all letters.
        pixelated: letters consist of large pixels.
        wavy: letters are bent.
    """

    outlined: float = field(default=0.0, metadata=_within(0, 1))
    shadowed: float = field(default=0.0, metadata=_within(0, 1))
    boxed: float = field(default=0.0, metadata=_within(0, 1))
    rough: float = field(default=0.0, metadata=_within(0, 1))
    striped: float = field(default=0.0, metadata=_within(0, 1))
    pixelated: float = field(default=0.0, metadata=_within(0, 1))
    wavy: float = field(default=0.0, metadata=_within(0, 1))


@dataclass(frozen=True)
class BackgroundStyle:
    """What text is drawn on.

    Attributes:
        rgb: each channel of its colour.
        gradient: share of the images in which it turns into another such colour.
        noise: standard deviation of what is added to each pixel, text and lines included.
    """

    rgb: Range = field(default=Range.of(255), metadata=_within(0, 255))
    gradient: float = field(default=0.0, metadata=_within(0, 1))
    noise: Range = field(default=Range.of(0), metadata=_within(0, 128))


@dataclass(frozen=True)
class LineStyle:
    """Lines from anywhere to anywhere.

    Attributes:
        count: of lines.
        width_px: of each.
        rgb: each channel of a colour.
        like_letters: each has the colour of a letter instead.
        curved: share of them that are waves.
        smooth: edges are soft.
        behind: they lie behind the text.
    """

    count: Range = field(default=Range.of(0), metadata=_within(0, 100))
    width_px: Range = field(default=Range.of(1), metadata=_within(1, 16))
    rgb: Range = field(default=Range.of(0), metadata=_within(0, 255))
    like_letters: bool = False
    curved: float = field(default=0.0, metadata=_within(0, 1))
    smooth: bool = False
    behind: bool = False


@dataclass(frozen=True)
class DotStyle:
    """Dots anywhere, over text and lines.

    Attributes:
        count: of dots.
        size_px: their diameter; even ones from 4 on are drawn a pixel larger.
        rgb: each channel of a colour.
        like_letters: each has the colour of a letter instead.
    """

    count: Range = field(default=Range.of(0), metadata=_within(0, 5000))
    size_px: Range = field(default=Range.of(1, 2), metadata=_within(1, 32))
    rgb: Range = field(default=Range.of(0, 255), metadata=_within(0, 255))
    like_letters: bool = False


@dataclass(frozen=True)
class Style:
    """How captchas look, and what they say.

    Attributes:
        charset: each character of a label is as likely as any other, but for `confusable`.
        min_length: fewest characters of a label.
        max_length: most characters of a label.
        capitals: share of the images that show capitals for small letters.
        confusable: characters that take longest to learn to tell apart, such as `o0l1i`. Those
            that charset or font lack don't count.
        confusable_share: of a label's characters, that are taken from `confusable` alone.
        generator: a name of `peers.GENERATORS`, which draws by rules of its own: of the tables,
            only `image` and `fonts` count then. Empty: this package draws.

    Raises:
        CharsetError: if a character of the charset can't stand in a file name.
        ConfigError: if a value is out of its range.
    """

    charset: Charset = DEFAULT_CHARSET
    min_length: int = 4
    max_length: int = 8
    capitals: float = field(default=0.0, metadata=_within(0, 1))
    confusable: str = ""
    confusable_share: float = field(default=0.0, metadata=_within(0, 1))
    generator: str = OWN
    image: ImageStyle = field(default_factory=ImageStyle)
    fonts: FontStyle = field(default_factory=FontStyle)
    letters: LetterStyle = field(default_factory=LetterStyle)
    effects: EffectStyle = field(default_factory=EffectStyle)
    background: BackgroundStyle = field(default_factory=BackgroundStyle)
    lines: LineStyle = field(default_factory=LineStyle)
    dots: DotStyle = field(default_factory=DotStyle)

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
        if self.generator != OWN and self.fonts.incomplete:
            raise ConfigError(
                "fonts.incomplete is for the generator of this package. "
                f"Received: the generator '{self.generator}'. Leave one of them out."
            )
        _check(self, "")
        for name in ("image", "letters", "effects", "background", "lines", "dots"):
            _check(getattr(self, name), f"{name}.")


def _check(table: Any, prefix: str) -> None:
    """Refuses values outside of what their fields allow."""
    for item in fields(table):
        if "low" not in item.metadata:
            continue
        value, low, high = getattr(table, item.name), item.metadata["low"], item.metadata["high"]
        ends = (value.low, value.high) if isinstance(value, Range) else (value, value)
        if not low <= ends[0] <= ends[1] <= high:
            received = " to ".join(dict.fromkeys(f"{end:g}" for end in ends))
            raise ConfigError(
                f"{prefix}{item.name} lies between {low} and {high}. Received: {received}."
            )
