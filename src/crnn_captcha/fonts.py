"""The fonts that captchas can be drawn with. None is part of this package: they are found."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from crnn_captcha.errors import FontError

FONT_SUFFIXES = (".otf", ".ttf", ".woff", ".woff2")
# What packages of fonts register under.
ENTRY_POINT_GROUPS = ("fonts_otf", "fonts_ttf", "fontpkg.family")
UNMAPPED = "\uffff"  # a Unicode noncharacter: every font draws its .notdef glyph for it
LOOK_ALIKES = frozenset("0oO1iIl")  # that many a good font draws alike
PROBE_SIZE_PX = 40
MAX_REASONS = 3  # how many unusable fonts an error names

# What comes of files that are no fonts, name themselves in no encoding, or draw without end.
BROKEN = (OSError, ValueError, MemoryError, Image.DecompressionBombError)

Folder = str | os.PathLike[str]


@dataclass(frozen=True)
class Font:
    """One face of a font family.

    Attributes:
        family: for example ``Roboto``.
        style: for example ``Bold Italic``.
        path: the font's file; None is the font that is built into Pillow.
        variation: which one of a variable font's named weights and widths; empty: as it is.
    """

    family: str
    style: str
    path: Path | None
    variation: str = ""

    def at(self, size_px: int) -> ImageFont.FreeTypeFont:
        """The font at `size_px` pixels per em.

        Raises:
            OSError: if its file is gone or broken.
        """
        return _open(self.path, size_px, self.variation)

    def lacking(self, characters: str) -> str:
        """Those of `characters` that the font draws as nothing or as its .notdef glyph."""
        return "".join(c for c in characters if not _draws(self, c))

    def alike(self, characters: str) -> str:
        """Those of `characters` that the font draws as another one of them.

        But for `LOOK_ALIKES` among themselves: of those, people guess, too.
        """
        inks = [_ink(self, character) for character in characters]
        pairs = list(zip(characters, inks, strict=True))
        shared = {ink for c, ink in pairs if c not in LOOK_ALIKES and inks.count(ink) > 1}
        return "".join(c for c, ink in pairs if ink in shared)

    def usable(self, characters: str) -> str:
        """Those of `characters` that the font draws, each in its own way but for `LOOK_ALIKES`."""
        return _usable(self, characters)


def find_fonts(
    characters: str,
    folders: Folder | Sequence[Folder] = (),
    *,
    installed: bool | None = None,
    incomplete: bool = False,
) -> tuple[Font, ...]:
    """The fonts that can draw each of `characters`, and each in its own way.

    Installed are the fonts of font packages, Matplotlib's DejaVu fonts if it is installed, and
    the font that is built into Pillow. A font that lies in several places (or as .ttf and .woff)
    counts once: fonts are told apart by their names. Each named weight and width of a variable font
    is a font.

    A text can't be read where two of its characters look the same. So a font that has capitals for
    small letters is left out if both can stand in a label, and gives neither if it may lack some.

    Args:
        characters: what has to be drawn.
        folders: look here, at any depth, for .ttf, .otf, .woff and .woff2 files.
        installed: use the installed fonts, too; None uses them where there are no folders.
        incomplete: a font will do that draws some of them, each in its own way.

    Returns:
        At least one font, ordered by family and style, wherever they are installed.

    Raises:
        FontError: if a folder isn't there, no font can draw the characters, or none is wanted.
    """
    folders = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    if installed is None:
        installed = not folders
    if not folders and not installed:
        raise FontError(
            "Fonts come from folders or installed packages. Received: neither. "
            "Name a folder, or let the style use the installed fonts."
        )
    if gone := [folder for folder in folders if not Path(folder).is_dir()]:
        raise FontError(f"Fonts are looked for in a folder. Received: {gone[0]} (no such folder).")
    candidates: list[Path | None] = []
    for folder in folders:
        candidates += _font_files(Path(folder).rglob("*"))
    if installed:
        candidates += [*_package_files(), *_dejavu_files(), None]
    found: dict[tuple[str, str], Font] = {}
    reasons = []
    for path in candidates:
        name = path.name if path else "Pillow's built-in font"
        try:
            font = _identify(path)
            usable = font.usable(characters)
            if usable == characters or (incomplete and usable):
                for variant in _variants(font):
                    found.setdefault((variant.family, variant.style), variant)
                continue
            lacking = font.lacking(characters)
            alike = font.alike("".join(c for c in characters if c not in lacking))
        except FontError:  # no font can be drawn with here
            raise
        except BROKEN as error:
            reasons.append(f"{name} can't be drawn with ({error})")
            continue
        why = [f"lacks '{lacking}'"] if lacking else []
        why += [f"draws '{alike}' alike"] if alike else []
        reasons.append(f"{name} {' and '.join(why)}")
    if not found:
        raise FontError(_no_font(characters, folders, reasons, incomplete))
    return tuple(found[key] for key in sorted(found))


def families(fonts: Iterable[Font]) -> dict[str, list[Font]]:
    """The fonts by family, in the order given."""
    grouped: dict[str, list[Font]] = {}
    for font in fonts:
        grouped.setdefault(font.family, []).append(font)
    return grouped


def _no_font(
    characters: str, folders: Sequence[Folder], reasons: list[str], incomplete: bool
) -> str:
    some = "some" if incomplete else "every"
    where = f"in {', '.join(map(str, folders))}" if folders else "among the installed fonts"
    why = "; ".join(reasons[:MAX_REASONS]) or f"no {', '.join(FONT_SUFFIXES)} file there"
    more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return (
        f"A font is usable if it draws {some} character of '{characters}' in its own way. "
        f"Received: none {where} ({why}{more}). "
        "Name a folder with a font that has them, or leave characters out."
    )


def _package_files() -> Iterator[Path]:
    """Font files of installed packages. Read off the file list: importing them isn't needed."""
    for group in ENTRY_POINT_GROUPS:
        for entry_point in importlib.metadata.entry_points(group=group):
            files = (entry_point.dist.files if entry_point.dist else None) or []
            yield from _font_files(Path(str(file.locate())) for file in files)


def _dejavu_files() -> Iterator[Path]:
    """The DejaVu fonts in Matplotlib, which is located and not imported."""
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from _font_files(Path(folder, "mpl-data", "fonts", "ttf").glob("DejaVu*"))


def _font_files(paths: Iterable[Path]) -> list[Path]:
    """The font files among `paths`, ordered by name so that the place doesn't matter."""
    fonts = {p for p in paths if p.suffix.lower() in FONT_SUFFIXES and p.is_file()}
    return sorted(fonts, key=lambda path: (path.name, path))


def _identify(path: Path | None) -> Font:
    family, style = _open(path, PROBE_SIZE_PX, "").getname()
    stem = path.stem if path else "built-in"
    if family and "?" in family:  # so FreeType says what isn't ASCII: others may have it, too
        family = stem
    return Font(family or stem, style or stem, path)


def _variants(font: Font) -> list[Font]:
    """The named weights and widths of a variable font; of others, the font as it is."""
    try:
        names = font.at(PROBE_SIZE_PX).get_variation_names()
    except (OSError, NotImplementedError):  # not variable, or a FreeType that can't vary
        return [font]
    italic = "Italic " if "italic" in font.style.lower() else ""
    variants = []
    for number, name in enumerate(filter(None, names)):
        shown = name.decode("ascii", "ignore").strip() or str(number)
        style = shown if "Italic" in shown else italic + shown
        variants.append(replace(font, style=style, variation=name.decode("latin-1")))
    return variants or [font]


@lru_cache(maxsize=512)
def _open(path: Path | None, size_px: int, variation: str) -> ImageFont.FreeTypeFont:
    """The basic layout is the same on every machine; the other needs a library that some lack."""
    if path is None:
        font = ImageFont.load_default(size_px)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise FontError("Drawing needs FreeType. Received: a Pillow that was built without it.")
        return font
    # Not ImageFont.truetype: for a broken file it takes one of the same name from the system.
    basic = ImageFont.Layout.BASIC
    font = ImageFont.FreeTypeFont(os.fspath(path), size_px, layout_engine=basic)
    if variation:
        font.set_variation_by_name(variation.encode("latin-1"))  # bytes, as the file has them
    return font


@lru_cache(maxsize=2**18)  # of some 100 bytes: all characters of thousands of fonts
def _draws(font: Font, character: str) -> bool:
    """Whether the font draws a character as something, and not as its .notdef glyph."""
    ink = _ink(font, character)
    return any(ink) and ink != _ink(font, UNMAPPED)


@lru_cache(maxsize=2**14)  # of some 300 bytes: thousands of fonts
def _usable(font: Font, characters: str) -> str:
    lacking = font.lacking(characters)
    drawn = "".join(c for c in characters if c not in lacking)
    alike = font.alike(drawn)
    return "".join(c for c in drawn if c not in alike)


@lru_cache(maxsize=4096)
def _ink(font: Font, character: str) -> bytes:
    canvas = Image.new("L", (3 * PROBE_SIZE_PX, 3 * PROBE_SIZE_PX))
    position = (PROBE_SIZE_PX, 2 * PROBE_SIZE_PX)
    ImageDraw.Draw(canvas).text(position, character, 255, font.at(PROBE_SIZE_PX), anchor="ls")
    return canvas.tobytes()
