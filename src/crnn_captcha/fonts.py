"""The fonts that captchas can be drawn with. None is part of this package: they are found."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from crnn_captcha.errors import FontError

FONT_SUFFIXES = (".otf", ".ttf")
ENTRY_POINT_GROUPS = ("fonts_otf", "fonts_ttf")  # what the `font-*` packages register under
UNMAPPED = "\uffff"  # a Unicode noncharacter: every font draws its .notdef glyph for it
PROBE_SIZE_PX = 40
MAX_REASONS = 3  # how many unusable fonts an error names


@dataclass(frozen=True)
class Font:
    """One face of a font family.

    Attributes:
        family: for example ``Roboto``.
        style: for example ``Bold Italic``.
        path: the font's file; None is the font that is built into Pillow.
    """

    family: str
    style: str
    path: Path | None

    def at(self, size_px: int) -> ImageFont.FreeTypeFont:
        """The font at `size_px` pixels per em.

        Raises:
            OSError: if its file is gone or broken.
        """
        return _open(self.path, size_px)

    def lacking(self, characters: str) -> str:
        """Those of `characters` that the font draws as nothing or as its .notdef glyph."""
        return "".join(c for c in characters if not _has_glyph(self, c))


def find_fonts(characters: str, folder: str | os.PathLike[str] | None = None) -> tuple[Font, ...]:
    """The fonts that have a glyph for each of `characters`.

    Without a folder these are the fonts of the installed ``font-*`` packages, Matplotlib's
    DejaVu fonts if it is installed, and the font that is built into Pillow. A font that lies in
    several places (or as .ttf and .otf) counts once.

    Args:
        characters: what has to be drawn.
        folder: look only here, at any depth, for .ttf and .otf files.

    Returns:
        At least one font, ordered by family and style, wherever they are installed.

    Raises:
        FontError: if the folder isn't there, or no font has all the characters.
    """
    if folder is not None and not Path(folder).is_dir():
        raise FontError(f"Fonts are looked for in a folder. Received: {folder} (no such folder).")
    if folder is None:
        candidates = [*_package_files(), *_dejavu_files(), None]
    else:
        candidates = [*_font_files(Path(folder).rglob("*"))]
    found: dict[tuple[str, str], Font] = {}
    reasons = []
    for path in candidates:
        name = path.name if path else "Pillow's built-in font"
        try:
            font = _identify(path)
            lacking = font.lacking(characters)
        except OSError as error:
            reasons.append(f"{name} can't be opened ({error})")
            continue
        if lacking:
            reasons.append(f"{name} lacks '{lacking}'")
        else:
            found.setdefault((font.family, font.style), font)
    if not found:
        raise FontError(_no_font(characters, folder, reasons))
    return tuple(found[key] for key in sorted(found))


def families(fonts: Iterable[Font]) -> dict[str, tuple[Font, ...]]:
    """The fonts by family, in the order given."""
    grouped: dict[str, tuple[Font, ...]] = {}
    for font in fonts:
        grouped[font.family] = (*grouped.get(font.family, ()), font)
    return grouped


def _no_font(characters: str, folder: str | os.PathLike[str] | None, reasons: list[str]) -> str:
    where = f"in {folder}" if folder is not None else "among the installed fonts"
    why = "; ".join(reasons[:MAX_REASONS]) or "no .ttf or .otf file there"
    more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return (
        f"A font is usable if it draws every character of '{characters}'. "
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
    family, style = _open(path, PROBE_SIZE_PX).getname()
    stem = path.stem if path else "built-in"
    return Font(family or stem, style or stem, path)


@lru_cache(maxsize=512)
def _open(path: Path | None, size_px: int) -> ImageFont.FreeTypeFont:
    """The basic layout is the same on every machine; the other needs a library that some lack."""
    if path is None:
        font = ImageFont.load_default(size_px)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise FontError("Drawing needs FreeType. Received: a Pillow that was built without it.")
        return font
    # Not ImageFont.truetype: for a broken file it takes one of the same name from the system.
    return ImageFont.FreeTypeFont(os.fspath(path), size_px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=65_536)
def _has_glyph(font: Font, character: str) -> bool:
    ink = _ink(font, character)
    return any(ink) and ink != _ink(font, UNMAPPED)


def _ink(font: Font, character: str) -> bytes:
    canvas = Image.new("L", (3 * PROBE_SIZE_PX, 3 * PROBE_SIZE_PX))
    position = (PROBE_SIZE_PX, 2 * PROBE_SIZE_PX)
    ImageDraw.Draw(canvas).text(position, character, 255, font.at(PROBE_SIZE_PX), anchor="ls")
    return canvas.tobytes()
