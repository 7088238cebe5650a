"""Other people's generators are called as they want it, and a seed fixes what they draw."""

from __future__ import annotations

import importlib.util
import random
import secrets
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_captcha import peers as peers_module
from crnn_captcha.errors import ConfigError, FontError, MissingExtraError
from crnn_captcha.peers import GENERATORS, SeededChance, find_peer, replaced

FONT = Path("some.ttf")


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    peers_module._captcha_painter.cache_clear()
    peers_module._wheezy_painter.cache_clear()


def _module(monkeypatch: pytest.MonkeyPatch, name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    parent, _, child = name.rpartition(".")
    if parent:
        monkeypatch.setattr(sys.modules[parent], child, module, raising=False)
    return module


def _draw(name: str, seed: int = 0, font: Path | None = FONT) -> np.ndarray[Any, Any]:
    return find_peer(name)("ab1", (90, 40), font, np.random.default_rng(seed))


@pytest.fixture
def captcha(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package like `captcha`: its chance comes from `secrets`."""

    class ImageCaptcha:
        def __init__(self, width: int, height: int, fonts: object, font_sizes: object) -> None:
            module.calls.append((width, height, fonts, font_sizes))
            self.size = width, height

        def generate_image(self, chars: str) -> Image.Image:
            chance = module.secrets
            colour = (chance.randbelow(256), chance.randbits(8), chance.choice(range(256)))
            return Image.new("RGB", self.size, colour)

    _module(monkeypatch, "captcha")
    module: Any = _module(monkeypatch, "captcha.image", calls=[], secrets=secrets)
    module.ImageCaptcha = ImageCaptcha
    return module  # type: ignore[no-any-return]


@pytest.fixture
def wheezy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package like `wheezy.captcha`: functions that make functions, chance from `random`."""

    def maker(name: str) -> Any:
        def make(**options: Any) -> str:
            calls.append((name, options))
            return name

        return make

    calls: list[Any] = []
    names = ("background", "text", "curve", "noise", "smooth", "warp", "rotate", "offset")
    _module(monkeypatch, "wheezy")
    _module(monkeypatch, "wheezy.captcha")
    module: Any = _module(monkeypatch, "wheezy.captcha.image", calls=calls, random=random)
    vars(module).update({name: maker(name) for name in names})

    def captcha(drawings: list[str], width: int, height: int) -> Any:
        calls.append(("captcha", drawings))
        return lambda text: Image.new("RGB", (width, height), (module.random.randint(0, 255),) * 3)

    module.captcha = captcha
    return module  # type: ignore[no-any-return]


@pytest.fixture
def django(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Packages like Django and django-simple-captcha."""
    own = SimpleNamespace(configured=False, set_up=0, given={})

    def configure(**given: Any) -> None:
        own.configured, own.given = True, given

    def set_up() -> None:
        own.set_up += 1

    own.configure = configure
    _module(monkeypatch, "django", setup=set_up)
    _module(monkeypatch, "django.conf", settings=own)
    _module(monkeypatch, "captcha")
    _module(monkeypatch, "captcha.conf")
    _module(monkeypatch, "captcha.helpers", random=random)
    sizes = {"CAPTCHA_IMAGE_SIZE": None, "CAPTCHA_FONT_SIZE": 22, "CAPTCHA_FONT_PATH": "own.ttf"}
    settings: Any = _module(monkeypatch, "captcha.conf.settings", **sizes)
    views: Any = _module(monkeypatch, "captcha.views", random=random)
    own.captcha = settings

    def _captcha_image(store: Any, scale: int) -> Any:
        assert (store.challenge, scale, own.configured) == ("ab1", 1, True)
        own.drawn_with = settings.CAPTCHA_FONT_PATH, settings.CAPTCHA_FONT_SIZE
        grey = views.random.randint(0, 255)
        image = Image.new("RGB", settings.CAPTCHA_IMAGE_SIZE, (grey, grey, grey))
        file = BytesIO()
        image.save(file, "PNG")
        return SimpleNamespace(content=file.getvalue())

    views._captcha_image = _captcha_image
    return own


@pytest.mark.parametrize(
    ("name", "fake"),
    [("captcha", "captcha"), ("wheezy-captcha", "wheezy"), ("django-simple-captcha", "django")],
)
def test_a_seed_fixes_what_is_drawn(name: str, fake: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(fake)
    state = random.getstate()
    images = [_draw(name, seed) for seed in (1, 1, 2)]
    assert images[0].shape == (40, 90, 3)
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()
    assert random.getstate() == state  # nobody else's chance is touched
    for module, attribute in GENERATORS[name].chance:
        assert getattr(sys.modules[module], attribute) in (random, secrets)  # given back


def test_captcha_gets_size_and_font_and_is_made_once(captcha: Any) -> None:
    _draw("captcha")
    _draw("captcha")
    _draw("captcha", font=None)
    assert captcha.calls == [(90, 40, ["some.ttf"], (28, 33, 37)), (90, 40, None, (28, 33, 37))]


def test_wheezy_draws_as_its_documentation_says(wheezy: Any) -> None:
    _draw("wheezy-captcha")
    calls = dict(wheezy.calls)
    assert calls["captcha"] == ["background", "text", "curve", "noise", "smooth"]
    assert calls["text"]["fonts"] == ["some.ttf"]
    assert calls["text"]["drawings"] == ["warp", "rotate", "offset"]
    assert calls["text"]["font_sizes"] == [24, 27, 29]


def test_wheezy_needs_a_font(wheezy: Any) -> None:
    with pytest.raises(FontError, match=r"has no font of its own\. Received: none\. Name a folder"):
        _draw("wheezy-captcha", font=None)


def test_django_is_set_up_once_and_its_settings_given_back(django: Any) -> None:
    _draw("django-simple-captcha")
    assert django.drawn_with == ("some.ttf", 24)
    _draw("django-simple-captcha", font=None)
    assert django.drawn_with == ("own.ttf", 24)
    assert (django.given, django.set_up) == ({"INSTALLED_APPS": ["captcha"]}, 1)
    assert django.captcha.CAPTCHA_FONT_SIZE == 22


def test_django_is_set_up_by_one_thread_while_others_wait(django: Any) -> None:
    set_up = sys.modules["django"].setup
    order: list[str] = []

    def slowly() -> None:
        time.sleep(0.3)
        set_up()
        order.append("set up")

    sys.modules["django"].setup = slowly  # type: ignore[attr-defined]
    with ThreadPoolExecutor(2) as threads:
        drawn = [threads.submit(_draw, "django-simple-captcha") for _ in range(2)]
        for one in drawn:
            one.result()
            order.append("drawn")
    assert order == ["set up", "drawn", "drawn"]
    assert django.set_up == 1


def test_an_unknown_generator_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"one of captcha, wheezy-captcha, .*Received: 'mine'"):
        find_peer("mine")


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("captcha", "imitate"),
        ("wheezy-captcha", "imitate"),
        ("django-simple-captcha", "imitate-django"),
    ],
)
def test_what_is_not_installed_is_named(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match=rf"as '{name}' does needs the extra '{extra}'"):
        find_peer(name)


def test_a_package_of_which_nothing_is_there_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(module: str) -> None:
        raise ModuleNotFoundError(module)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(MissingExtraError, match="pip install"):
        find_peer("wheezy-captcha")


def test_chance_has_what_secrets_have() -> None:
    chance = SeededChance(3)
    assert {chance.randbelow(4) for _ in range(100)} == {0, 1, 2, 3}
    assert {chance.randbits(2) for _ in range(100)} == {0, 1, 2, 3}


def test_what_was_replaced_is_given_back_after_an_error() -> None:
    holder = SimpleNamespace(value=1)
    with pytest.raises(KeyError), replaced(holder, value=2):
        assert holder.value == 2
        raise KeyError
    assert holder.value == 1


@pytest.mark.parametrize("name", GENERATORS)
def test_the_real_one_draws_by_a_seed(name: str) -> None:
    from crnn_captcha.generator import Generator
    from crnn_captcha.style_files import load_style

    try:
        generator = Generator(load_style(name))
    except MissingExtraError:
        pytest.skip(f"{name} isn't installed")
    first, again, other = (generator.draw(1, index) for index in (0, 0, 1))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.label == again.label
    assert first.image.std() > 5
    assert first.image.shape != other.image.shape or (first.image != other.image).any()
