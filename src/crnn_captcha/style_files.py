"""Styles in TOML files: those that the package brings, known by name, and anybody's own.

A file may start from a style of the package (`base = "coloured-lines"`) and change what it likes.
Checked by hand, without msgspec: drawing belongs to the light install, which hasn't got it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_type_hints

from crnn_captcha.charset import Charset
from crnn_captcha.errors import ConfigError
from crnn_captcha.styles import OWN, Range, Style

SHIPPED = Path(__file__).with_name("styles")
DEFAULT = "coloured-lines"
SUFFIX = ".toml"
OWN_KEYS = ("capitals", "letters", "effects", "background", "lines", "dots")

Table = TypeVar("Table")


def style_names() -> tuple[str, ...]:
    """The names of the styles that the package brings."""
    return tuple(sorted(path.stem for path in SHIPPED.glob(f"*{SUFFIX}")))


def load_style(name_or_path: str | os.PathLike[str] = DEFAULT) -> Style:
    """The style of a name, or of a file.

    Args:
        name_or_path: one of `style_names`, or the path of a TOML file, which ends in `.toml`.

    Example:
        >>> load_style("coloured-lines").lines.count
        Range(low=0, high=6, mode=None)

    Raises:
        ConfigError: if there is no such style or file, or it isn't valid: says what and where.
        CharsetError: if its charset is empty, repeats a character or can't become file names.
    """
    given = os.fspath(name_or_path)
    is_file = given.endswith(SUFFIX)
    if not is_file and given not in style_names():
        raise ConfigError(
            f"A style is one of {', '.join(style_names())}, or a file that ends in {SUFFIX}. "
            f"Received: '{given}'."
        )
    values = _values(Path(given) if is_file else _shipped(given))
    try:
        style = _table(Style, values, "")
    except ConfigError as error:
        raise ConfigError(f"The style '{given}' isn't valid. {error}") from error
    if style.generator != OWN and (ignored := [key for key in OWN_KEYS if key in values]):
        raise ConfigError(
            f"The style '{given}' isn't valid. The generator '{style.generator}' draws by rules "
            f"of its own. Received: {', '.join(ignored)}. Leave that out."
        )
    return style


def _shipped(name: str) -> Path:
    return SHIPPED / f"{name}{SUFFIX}"


def _values(path: Path) -> dict[str, Any]:
    """What a style's file says, on top of what the style says that it starts from."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"A style's file is there, and text in UTF-8. Received: {path} ({error})."
        ) from error
    except (ValueError, RecursionError) as error:  # of TOML; thousands of digits or of brackets
        raise ConfigError(f"A style is valid TOML. Received: {path} ({error}).") from error
    match values:
        case {"fonts": {"folders": list(folders)} as fonts}:
            fonts["folders"] = [_beside(path, folder) for folder in folders]
    base = values.pop("base", None)
    if base is None:
        return values
    if base not in style_names():
        raise ConfigError(
            f"The base of a style is one of {', '.join(style_names())}. "
            f"Received: {base!r} in {path}."
        )
    return _merged(_values(_shipped(base)), values)


def _beside(path: Path, folder: Any) -> Any:
    """A folder that a style names: `~` is home, and what isn't absolute lies beside the file."""
    if not isinstance(folder, str):
        return folder  # refused later, with the other values
    try:
        return str(path.absolute().parent / Path(folder).expanduser())
    except RuntimeError as error:
        raise ConfigError(
            f"A folder of fonts that begins with '~' is in somebody's home. Received: {folder!r} "
            f"in {path}, and nobody of that name."
        ) from error


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        tables = isinstance(lower, dict) and isinstance(value, dict)
        merged[key] = _merged(merged[key], value) if tables else value
    return merged


def _table(kind: type[Table], values: Mapping[str, Any], prefix: str) -> Table:
    """A dataclass of ours from a table of TOML."""
    kinds = get_type_hints(kind)
    names = [prefix + item.name for item in fields(kind)]  # type: ignore[arg-type]
    if unknown := [name for key in values if (name := prefix + key) not in names]:
        raise ConfigError(f"Its keys are {', '.join(names)}. Received: {', '.join(unknown)}.")
    return kind(**{key: _value(kinds[key], v, prefix + key) for key, v in values.items()})


def _value(kind: Any, value: Any, name: str) -> Any:
    """A value of TOML as its field wants it."""
    if kind not in _READERS:
        if not isinstance(value, dict):
            raise ConfigError(f"{name} is a table. Received: {value!r}.")
        return _table(kind, value, f"{name}.")
    rule, fits, read = _READERS[kind]
    if not fits(value):
        raise ConfigError(f"{name} is {rule}. Received: {value!r}.")
    try:
        return read(value)
    except (ConfigError, OverflowError) as error:
        raise ConfigError(f"{name}: {error}") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# How a kind of value is called, which values of TOML are of it, and what becomes of them.
_READERS: Mapping[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = MappingProxyType(
    {
        Range: (
            "a number, or a list of two or three",
            lambda value: all(map(_is_number, _as_list(value))),
            lambda value: Range.of(*_as_list(value)),
        ),
        float: ("a number", _is_number, float),
        int: ("a whole number", lambda value: _is_number(value) and isinstance(value, int), int),
        bool: ("true or false", lambda value: isinstance(value, bool), bool),
        str: ("a text", _is_text, str),
        Charset: ("a text", _is_text, Charset),
        tuple[str, ...]: (
            "a list of texts",
            lambda value: isinstance(value, list) and all(map(_is_text, value)),
            tuple,
        ),
    }
)
