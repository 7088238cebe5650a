"""Fonts are found in a fixed order, and only those that can draw what is asked for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageFont

from crnn_captcha import fonts as fonts_module
from crnn_captcha.errors import FontError
from crnn_captcha.fonts import Font, families, find_fonts

CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"
BUILT_IN = Font("Aileron", "Regular", None)


def _dejavu(name: str) -> Path:
    matplotlib = pytest.importorskip("matplotlib")
    return Path(matplotlib.get_data_path(), "fonts", "ttf", name)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)


def test_the_built_in_font_is_always_there(nothing_installed: None) -> None:
    assert find_fonts(CHARACTERS) == (BUILT_IN,)


def test_installed_fonts_are_ordered_and_each_counts_once() -> None:
    found = find_fonts(CHARACTERS)
    names = [(font.family, font.style) for font in found]
    assert names == sorted(set(names))
    assert BUILT_IN in found
    assert found == find_fonts(CHARACTERS)


def test_matplotlibs_dejavu_fonts_are_found_without_importing_it() -> None:
    _dejavu("DejaVuSans.ttf")
    code = (
        "import sys; from crnn_captcha.fonts import find_fonts; "
        "print(*{font.family for font in find_fonts('abc')}, sep='|'); "
        "assert 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "DejaVu Sans" in done.stdout.strip().split("|")


def test_font_packages_are_found_by_their_entry_points(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(_dejavu("DejaVuSans.ttf"), tmp_path / "Packaged.ttf")
    files = [
        SimpleNamespace(locate=lambda name=name: tmp_path / name)
        for name in ("Packaged.ttf", "gone.ttf", "LICENSE")
    ]
    registered = {
        "fonts_ttf": [SimpleNamespace(dist=SimpleNamespace(files=files))],
        "fonts_otf": [
            SimpleNamespace(dist=SimpleNamespace(files=None)),
            SimpleNamespace(dist=None),
        ],
        "fontpkg.family": [],
    }
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: registered[group])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert find_fonts(CHARACTERS) == (
        BUILT_IN,
        Font("DejaVu Sans", "Book", tmp_path / "Packaged.ttf"),
    )


def test_a_named_folder_is_searched_at_any_depth_and_alone(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.copy(_dejavu("DejaVuSans-Bold.ttf"), tmp_path / "deep" / "er" / "a.TTF")
    shutil.copy(_dejavu("DejaVuSans.ttf"), tmp_path / "z.ttf")
    shutil.copy(_dejavu("DejaVuSans.ttf"), tmp_path / "same-font-again.ttf")
    found = find_fonts(CHARACTERS, tmp_path)
    assert [(font.style, font.path and font.path.name) for font in found] == [
        ("Bold", "a.TTF"),
        ("Book", "same-font-again.ttf"),
    ]


def test_several_folders_are_searched_with_the_installed_fonts_if_asked_for(
    tmp_path: Path, nothing_installed: None
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, name in zip(folders, ("DejaVuSans.ttf", "DejaVuSerif.ttf"), strict=True):
        folder.mkdir()
        shutil.copy(_dejavu(name), folder)
    families_found = [font.family for font in find_fonts(CHARACTERS, folders)]
    assert families_found == ["DejaVu Sans", "DejaVu Serif"]
    found = find_fonts(CHARACTERS, folders, installed=True)
    assert [font.family for font in found] == ["Aileron", "DejaVu Sans", "DejaVu Serif"]
    with pytest.raises(FontError, match=r"from folders or installed packages\. Received: neither"):
        find_fonts(CHARACTERS, installed=False)


def test_names_in_other_scripts_do_not_make_fonts_one(tmp_path: Path) -> None:
    tt_lib = pytest.importorskip("fontTools.ttLib")
    names = {"DejaVuSans.ttf": "\u5feb\u4e50\u4f53", "DejaVuSerif.ttf": "\u9ad8\u7aef\u9ed1"}
    for file, name in names.items():
        with tt_lib.TTFont(_dejavu(file)) as font:
            font["name"].names = []
            font["name"].setName(name, 1, 3, 1, 0x404)
            font.save(tmp_path / file)
    assert [font.family for font in find_fonts(CHARACTERS, tmp_path)] == [
        "DejaVuSans",
        "DejaVuSerif",
    ]


def test_a_web_font_draws_as_the_font_it_was_made_of(tmp_path: Path) -> None:
    tt_lib = pytest.importorskip("fontTools.ttLib")
    original = _dejavu("DejaVuSans.ttf")
    with tt_lib.TTFont(original) as font:
        font.flavor = "woff"
        font.save(tmp_path / "web.woff")
    (found,) = find_fonts(CHARACTERS, tmp_path)
    assert found.family == "DejaVu Sans"
    expected = ImageFont.truetype(original, 40).getmask("g")
    assert bytes(found.at(40).getmask("g")) == bytes(expected)


def test_each_weight_of_a_variable_font_is_a_font(tmp_path: Path) -> None:
    source = next((p for p in fonts_module._package_files() if "[wght]" in p.name), None)
    if source is None:
        pytest.skip("no variable font is installed")
    shutil.copy(source, tmp_path)
    found = find_fonts(CHARACTERS, tmp_path)
    assert len(found) > 1
    assert len({font.style for font in found}) == len(found)
    assert all(font.variation in font.style for font in found)
    inks = {bytes(font.at(40).getmask("m")) for font in found}
    assert len(inks) == len(found)  # each draws in its own way


def test_weights_may_have_names_in_any_script(tmp_path: Path) -> None:
    tt_lib = pytest.importorskip("fontTools.ttLib")
    source = next((p for p in fonts_module._package_files() if "[wght]" in p.name), None)
    if source is None:
        pytest.skip("no variable font is installed")
    with tt_lib.TTFont(source) as font:
        instances = font["fvar"].instances
        for number, instance in enumerate(instances):
            ids = instance.subfamilyNameID
            records = [record for record in font["name"].names if record.nameID == ids]
            for record in records:
                font["name"].names.remove(record)
            font["name"].setName(f"\u9ad4{number}", ids, 3, 1, 0x404)
        font.save(tmp_path / "font.ttf")
    found = find_fonts(CHARACTERS, tmp_path)
    assert len(found) == len(instances)
    assert len({bytes(font.at(40).getmask("m")) for font in found}) == len(found)


def test_a_font_with_capitals_for_small_letters_cannot_tell_them_apart(tmp_path: Path) -> None:
    source = next((p for p in fonts_module._package_files() if "BebasNeue" in p.name), None)
    if source is None:
        pytest.skip("no such font is installed")
    shutil.copy(source, tmp_path)
    (font,) = find_fonts(CHARACTERS, tmp_path)
    assert set(font.alike("abcABC01")) >= set("bB")
    with pytest.raises(FontError, match=r"its own way.* draws '.*' alike"):
        find_fonts("abcABC", tmp_path)


def test_look_alikes_are_no_reason_to_leave_a_font_out(monkeypatch: pytest.MonkeyPatch) -> None:
    inks = {"a": b"1", "b": b"1", "0": b"2", "o": b"2", "c": b"3", "L": b"4", "l": b"4"}
    monkeypatch.setattr(fonts_module, "_ink", lambda font, character: inks[character])
    assert BUILT_IN.alike("abc0o") == "ab"
    assert BUILT_IN.alike("ac0o") == ""
    assert BUILT_IN.alike("cLl") == "Ll"  # neither can be read, though one is such a look-alike


def test_a_font_that_lacks_a_character_is_left_out(tmp_path: Path) -> None:
    for name in ("DejaVuSans.ttf", "DejaVuSansDisplay.ttf"):  # the latter has symbols only
        shutil.copy(_dejavu(name), tmp_path)
    assert [font.family for font in find_fonts(CHARACTERS, tmp_path)] == ["DejaVu Sans"]


@pytest.mark.parametrize(
    ("characters", "lacking"),
    [
        pytest.param(CHARACTERS, "", id="all-there"),
        pytest.param("a\u6f22b", "\u6f22", id="not-in-the-font"),
        pytest.param("a b", " ", id="no-ink"),
        pytest.param("\uffff", "\uffff", id="a-noncharacter"),
    ],
)
def test_lacking_names_what_a_font_cannot_draw(characters: str, lacking: str) -> None:
    assert BUILT_IN.lacking(characters) == lacking


def test_a_broken_font_is_left_out_and_never_replaced_by_one_of_its_name(tmp_path: Path) -> None:
    shutil.copy(_dejavu("DejaVuSans-Bold.ttf"), tmp_path / "good.ttf")
    (tmp_path / "DejaVuSans.ttf").write_bytes(b"no font")
    assert [font.style for font in find_fonts(CHARACTERS, tmp_path)] == ["Bold"]


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a name in Latin-1"),
        Image.DecompressionBombError("a glyph of 200 megapixels"),
        MemoryError(),
    ],
)
def test_a_font_that_cannot_be_drawn_with_is_left_out(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"):
        shutil.copy(_dejavu(name), tmp_path)
    lacking = Font.lacking

    def fail(self: Font, characters: str) -> str:
        if self.style == "Book":
            raise error
        return lacking(self, characters)

    monkeypatch.setattr(Font, "lacking", fail)
    assert [font.style for font in find_fonts(CHARACTERS, tmp_path)] == ["Bold"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FontError, match=r"looked for in a folder.*nowhere \(no such folder\)"):
        find_fonts(CHARACTERS, tmp_path / "nowhere")


def test_a_folder_without_a_font(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("none here")
    with pytest.raises(
        FontError, match=r"Received: none in .* \(no \.otf, \.ttf, \.woff, \.woff2 file there\)"
    ):
        find_fonts(CHARACTERS, tmp_path)


def test_the_error_says_why_fonts_are_not_usable(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.otf").write_bytes(b"")
    with pytest.raises(FontError, match=r"a\.otf can't be drawn with.*c\.otf.*; and 2 more\)"):
        find_fonts(CHARACTERS, tmp_path)


def test_a_character_that_no_installed_font_has(nothing_installed: None) -> None:
    with pytest.raises(FontError, match=r"Pillow's built-in font lacks '\u6f22'.*leave characters"):
        find_fonts("ab\u6f22")


def test_a_pillow_without_freetype(
    monkeypatch: pytest.MonkeyPatch, nothing_installed: None
) -> None:
    fonts_module._open.cache_clear()
    monkeypatch.setattr(ImageFont, "load_default", lambda _: ImageFont.ImageFont())
    with pytest.raises(FontError, match="needs FreeType"):
        find_fonts(CHARACTERS)


def test_families_keep_the_order() -> None:
    bold, italic = Font("B", "Bold", None), Font("B", "Italic", None)
    assert families([BUILT_IN, bold, italic]) == {"Aileron": [BUILT_IN], "B": [bold, italic]}


def test_a_font_scales() -> None:
    small, large = (BUILT_IN.at(size).getbbox("x") for size in (20, 40))
    assert large[2] - large[0] == pytest.approx(2 * (small[2] - small[0]), abs=2)
