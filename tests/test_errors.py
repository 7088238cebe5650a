from __future__ import annotations

import inspect
import pickle
import re

import pytest

from crnn_captcha import errors
from crnn_captcha.errors import CrnnCaptchaError, MissingExtraError

BRANCH = re.compile(r"[├└]── (\w+) +\((\w+)\) ")
DRAWN = dict(BRANCH.findall(errors.__doc__ or ""))  # name to its built-in base
CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception)
}


def test_the_tree_shows_every_error() -> None:
    assert DRAWN.keys() | {"CrnnCaptchaError"} == CLASSES.keys()


@pytest.mark.parametrize(("name", "base"), DRAWN.items())
def test_each_error_derives_as_the_tree_shows(name: str, base: str) -> None:
    built_in = {"ValueError": ValueError, "OSError": OSError}[base]
    assert CLASSES[name].__bases__ == (CrnnCaptchaError, built_in)


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_an_error_comes_whole_out_of_a_worker_process(name: str) -> None:
    given = ("what", "extra") if name == "MissingExtraError" else ("what came",)
    error = CLASSES[name](*given)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is CLASSES[name]
    assert str(again) == str(error)


def test_a_missing_extra_says_how_to_install_it() -> None:
    with pytest.raises(OSError, match="Training needs the extra 'train'") as caught:
        raise MissingExtraError("Training", "train")
    assert str(caught.value).endswith('Install it: pip install "crnn-captcha[train]"')
