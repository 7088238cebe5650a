"""Other people's generators, called so that a seed fixes what they draw.

They draw from Python's global sources of chance, some from one that can't be seeded. While one
draws, its modules are given a seeded source instead.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crnn_captcha.errors import ConfigError, FontError, MissingExtraError
from crnn_captcha.images import decode_image, load_image

RGB = NDArray[np.uint8]  # (height, width, 3)
Draw = Callable[[str, tuple[int, int], Path | None], RGB]

FONT_SHARES = (0.7, 0.83, 0.93)  # sizes of `captcha`'s fonts, in heights of its usual image
WHEEZY_SHARES = (0.6, 0.67, 0.73)
DJANGO_SHARE = 0.6

_drawing = threading.Lock()  # what is replaced in their modules is replaced for all threads


class SeededChance(random.Random):
    """What `random` and `secrets` offer, from a seed."""

    def randbelow(self, exclusive_upper_bound: int) -> int:
        """As `secrets.randbelow`."""
        return self.randrange(exclusive_upper_bound)

    def randbits(self, k: int) -> int:
        """As `secrets.randbits`."""
        return self.getrandbits(k)


@dataclass(frozen=True)
class Peer:
    """A generator of somebody else's.

    Attributes:
        package: what to install.
        extra: of ours, that installs it.
        module: that has to be there.
        chance: modules, and the name in each, that it draws chance from.
        draw: calls it: text, (width, height), a font's file or None for its own -> image.
        prepare: called before its modules are imported.
        needs_font: whether it has no font of its own.
    """

    package: str
    extra: str
    module: str
    chance: tuple[tuple[str, str], ...]
    draw: Draw
    prepare: Callable[[], object] | None = None
    needs_font: bool = False

    def __call__(
        self, text: str, size: tuple[int, int], font: Path | None, random: np.random.Generator
    ) -> RGB:
        """Draws a text.

        Args:
            text: what the image says.
            size: width and height that are asked for.
            font: a TrueType file; None is the generator's own font.
            random: where its chance comes from.

        Raises:
            FontError: if it has no font of its own, and none was given.
        """
        chance = SeededChance(int(random.integers(2**63)))
        with _drawing, contextlib.ExitStack() as stack:
            if self.prepare:
                self.prepare()
            for module, name in self.chance:
                stack.enter_context(replaced(importlib.import_module(module), **{name: chance}))
            return self.draw(text, size, font)


def find_peer(name: str) -> Peer:
    """The generator of a name.

    Raises:
        ConfigError: if there is none.
        MissingExtraError: if it isn't installed.
    """
    if name not in GENERATORS:
        raise ConfigError(f"A generator is one of {', '.join(GENERATORS)}. Received: '{name}'.")
    peer = GENERATORS[name]
    try:
        found = importlib.util.find_spec(peer.module)
    except ModuleNotFoundError:  # not even the package that it would lie in
        found = None
    if found is None:
        raise MissingExtraError(f"Drawing as '{name}' does", peer.extra)
    return peer


@contextlib.contextmanager
def replaced(holder: Any, **values: Any) -> Iterator[None]:
    """Gives attributes other values for a while."""
    before = {name: getattr(holder, name) for name in values}
    try:
        for name, value in values.items():
            setattr(holder, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(holder, name, value)


def _captcha(text: str, size: tuple[int, int], font: Path | None) -> RGB:
    return load_image(_captcha_painter(size, font).generate_image(text))


@lru_cache(maxsize=512)  # it opens its fonts once
def _captcha_painter(size: tuple[int, int], font: Path | None) -> Any:
    from captcha.image import ImageCaptcha

    sizes = tuple(round(share * size[1]) for share in FONT_SHARES)
    return ImageCaptcha(*size, fonts=[str(font)] if font else None, font_sizes=sizes)


def _wheezy(text: str, size: tuple[int, int], font: Path | None) -> RGB:
    if font is None:
        raise FontError(
            "wheezy.captcha has no font of its own. Received: none. "
            "Name a folder with fonts, or let the style use the installed ones."
        )
    return load_image(_wheezy_painter(size, font)(text))


@lru_cache(maxsize=512)
def _wheezy_painter(size: tuple[int, int], font: Path) -> Any:
    """As its documentation draws."""
    from wheezy.captcha import image as wheezy

    sizes = [round(share * size[1]) for share in WHEEZY_SHARES]
    letters = [wheezy.warp(), wheezy.rotate(), wheezy.offset()]
    return wheezy.captcha(
        [
            wheezy.background(),
            wheezy.text(fonts=[str(font)], font_sizes=sizes, drawings=letters),
            wheezy.curve(),
            wheezy.noise(),
            wheezy.smooth(),
        ],
        *size,
    )


def _django(text: str, size: tuple[int, int], font: Path | None) -> RGB:
    """By the function behind its view, which needs no data base."""
    views = importlib.import_module("captcha.views")
    settings = importlib.import_module("captcha.conf.settings")
    given = {
        "CAPTCHA_IMAGE_SIZE": size,
        "CAPTCHA_FONT_SIZE": round(DJANGO_SHARE * size[1]),
        "CAPTCHA_FONT_PATH": str(font) if font else settings.CAPTCHA_FONT_PATH,
    }
    with replaced(settings, **given):
        return decode_image(views._captcha_image(SimpleNamespace(challenge=text), 1).content)


def _set_up_django() -> None:
    """Its modules want a Django with it among the applications; a project's own is left alone."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(INSTALLED_APPS=["captcha"])
        django.setup()


GENERATORS: Mapping[str, Peer] = MappingProxyType(
    {
        peer.package: peer
        for peer in (
            Peer("captcha", "imitate", "captcha.image", (("captcha.image", "secrets"),), _captcha),
            Peer(
                "wheezy-captcha",
                "imitate",
                "wheezy.captcha.image",
                (("wheezy.captcha.image", "random"),),
                _wheezy,
                needs_font=True,
            ),
            Peer(  # its package is called as that of `captcha`: only one of the two can be there
                "django-simple-captcha",
                "imitate-django",
                "captcha.views",
                (("captcha.views", "random"), ("captcha.helpers", "random")),
                _django,
                _set_up_django,
            ),
        )
    }
)
