"""The one-file model: an ONNX graph whose metadata hold all that is needed to read with it.

A bundle may come from somebody else: it is checked before a runtime sees it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crnn_captcha import files
from crnn_captcha.charset import BLANK, Charset
from crnn_captcha.decoding import MAX_TEMPERATURE, MIN_TEMPERATURE
from crnn_captcha.errors import BundleError, CharsetError, PreprocessingError
from crnn_captcha.onnx_graph import append_metadata, check_graph, read_metadata, shorten
from crnn_captcha.preprocessing import Pipeline

FORMAT_VERSION = 2  # 2: has a temperature, which readers of format 1 would refuse as unknown
MAX_BUNDLE_BYTES = 64 * 2**20  # ten times a network of 1.5 M float32 weights
METADATA_KEY = "crnn_captcha"
NETWORK_KEY = "crnn_captcha_network"  # how to train on from it: reading doesn't look at it
MAX_METADATA_BYTES = 2**20
MAX_CHARACTERS = 10_000  # a charset is compared with itself character by character


@dataclass(frozen=True)
class BundleMetadata:
    """What a bundle says about its graph.

    Attributes:
        charset: the characters that the graph's classes stand for.
        pipeline: how an image is prepared for the graph.
        training: facts about the training, as JSON knows them (preset, epochs, versions …).
        format_version: of the bundle.
        blank: class id of the blank, always 0.
        temperature: to divide logits by before they become confidences, 0.05 to 20; 1.0, as in
            bundles of format 1, leaves them as they are.

    Raises:
        BundleError: if a value breaks the format's rules.
    """

    charset: Charset
    pipeline: Pipeline
    training: Mapping[str, object]
    format_version: int = FORMAT_VERSION
    blank: int = BLANK
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_version(self.format_version)
        if type(self.blank) is not int or self.blank != BLANK:
            raise BundleError(f"A bundle's blank is class {BLANK}. Received: {self.blank!r}.")
        _check_characters(self.charset.characters)
        _check_temperature(self.temperature, self.format_version)

    @property
    def validation_cut(self) -> tuple[float, int]:
        """Share and seed of the validation split that was cut out of train for this model.

        A tenth and 0 where the bundle doesn't say, or says what can't be.
        """
        share = self.training.get("validation_fraction")
        seed = self.training.get("split_seed", self.training.get("seed"))  # once, one for both
        return (
            share if isinstance(share, float) and 0 < share < 1 else 0.1,
            seed if type(seed) is int and seed >= 0 else 0,
        )

    def to_json(self) -> str:
        """One JSON object, which `from_json` takes.

        Raises:
            BundleError: if a training fact is nothing that JSON knows.
        """
        description: dict[str, object] = {
            "format_version": self.format_version,
            "charset": self.charset.characters,
            "blank": self.blank,
            "preprocessing": self.pipeline.to_json(),
            "training": dict(self.training),
        }
        if self.format_version > 1:
            description["temperature"] = float(self.temperature)
        try:
            return json.dumps(description, allow_nan=False, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise BundleError(
                f"A bundle's training facts are finite JSON values. Received: {error}."
            ) from error

    @classmethod
    def from_json(cls, text: str) -> BundleMetadata:
        """The metadata of a description by `to_json`.

        Raises:
            BundleError: if the description breaks a rule or is of a newer format.
        """
        description = _parse_json(text)
        if not isinstance(description, dict):
            raise BundleError(f"A bundle's metadata are an object. Received: {shorten(text)}.")
        _check_version(description.get("format_version"))
        types = {
            "format_version": int,
            "charset": str,
            "blank": int,
            "preprocessing": dict,
            "training": dict,
        }
        if description["format_version"] > 1:
            types["temperature"] = float
        received = {key: type(value) for key, value in description.items()}
        if received != types:
            expected = ", ".join(f"{key} ({kind.__name__})" for key, kind in types.items())
            found = ", ".join(f"{key} ({kind.__name__})" for key, kind in received.items())
            raise BundleError(f"A bundle's metadata are {expected}. Received: {shorten(found)}.")
        _check_characters(description["charset"])
        try:
            charset = Charset(description["charset"])
            pipeline = Pipeline.from_json(description["preprocessing"])
        except (CharsetError, PreprocessingError, RecursionError) as error:
            raise BundleError(
                f"A bundle's metadata must be usable. Received: {shorten(str(error))}."
            ) from error
        return cls(
            charset,
            pipeline,
            description["training"],
            format_version=description["format_version"],
            blank=description["blank"],
            temperature=description.get("temperature", 1.0),
        )


@dataclass(frozen=True)
class Bundle:
    """A graph that is safe to run and fits its metadata: there is no unchecked one.

    Attributes:
        graph: an ONNX model's bytes. Its one input `images` is uint8 (batch, width, height,
            channels), its one output `logits` float32 (batch, time_steps, num_classes).
        metadata: what the graph was trained to read, and how.

    Raises:
        BundleError: if the graph is broken, unsafe or doesn't fit.
    """

    graph: bytes = field(repr=False)
    metadata: BundleMetadata

    def __post_init__(self) -> None:
        _check_size(len(self.graph))
        pipeline = self.metadata.pipeline
        check_graph(
            self.graph,
            fixed_width=pipeline.fixed_width,
            height=pipeline.height,
            channels=pipeline.channels,
            num_classes=self.metadata.charset.num_classes,
        )


def write_bundle(path: str | os.PathLike[str], graph: bytes, metadata: BundleMetadata) -> None:
    """Writes a graph and its metadata as one file, whole or not at all.

    Args:
        path: of the file to be.
        graph: an ONNX model's bytes, without metadata of ours.
        metadata: to append to them.

    Raises:
        BundleError: if `read_bundle` would refuse the file.
        OSError: if the file can't be written.
    """
    data = append_metadata(graph, METADATA_KEY, metadata.to_json())
    parse_bundle(data)
    files.write_bytes(Path(path), data)


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Reads and checks a bundle.

    Args:
        path: of a file by `write_bundle`.

    Returns:
        The bundle, safe to hand to a runtime.

    Raises:
        BundleError: if there is no such file, or it is broken, unsafe or of a newer format.
    """
    path = Path(path)
    try:
        if not path.is_file():
            what = "a folder or device" if path.exists() else "no such file"
            raise BundleError(f"A bundle is a file. Received: '{path}' ({what}).")
        with path.open("rb") as file:
            data = file.read(MAX_BUNDLE_BYTES + 1)
        return parse_bundle(data)
    except BundleError as error:
        raise BundleError(f"Can't use '{path}' as a bundle. {error}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"Can't read the bundle '{path}': {error}") from error


def parse_bundle(data: bytes) -> Bundle:
    """Checks a bundle's bytes.

    Raises:
        BundleError: if they are broken, unsafe or of a newer format.
    """
    _check_size(len(data))
    entries = read_metadata(data)
    if METADATA_KEY not in entries:
        raise BundleError(
            f"A bundle has metadata named '{METADATA_KEY}'. Received: {shorten(str([*entries]))}. "
            "Use a file that `crnn-captcha train` or `crnn-captcha export` wrote."
        )
    return Bundle(data, BundleMetadata.from_json(entries[METADATA_KEY]))


def _check_size(size: int) -> None:
    if not 0 < size <= MAX_BUNDLE_BYTES:
        received = "none" if not size else "more" if size == MAX_BUNDLE_BYTES + 1 else size
        raise BundleError(f"A bundle has 1 to {MAX_BUNDLE_BYTES} bytes. Received: {received}.")


def _check_version(version: object) -> None:
    if type(version) is not int or version < 1:
        raise BundleError(f"A bundle's format_version is an integer from 1. Received: {version!r}.")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"This version of crnn-captcha reads bundles up to format {FORMAT_VERSION}. "
            f"Received: format {version}. Upgrade it: pip install --upgrade crnn-captcha"
        )


def _check_characters(characters: str) -> None:
    # Others than printable ones could steer the terminal that a text is printed to.
    if len(characters) > MAX_CHARACTERS or not characters.isprintable():
        raise BundleError(
            f"A bundle's charset has up to {MAX_CHARACTERS} printable characters. "
            f"Received: {len(characters)}, {shorten(characters)}."
        )


def _check_temperature(temperature: float, version: int) -> None:
    known = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not known or not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        raise BundleError(
            f"A bundle's temperature is a number from {MIN_TEMPERATURE} to {MAX_TEMPERATURE}. "
            f"Received: {temperature!r}."
        )
    if version == 1 and temperature != 1:
        raise BundleError(
            "A bundle of format 1 has no temperature other than 1. "
            f"Received: {temperature!r}. Use format {FORMAT_VERSION}."
        )


def _parse_json(text: str) -> Any:
    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number} is not finite")
        return value

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(result := dict(pairs)) < len(pairs):
            raise ValueError("a key stands twice")
        return result

    if len(text) > MAX_METADATA_BYTES:
        raise BundleError(
            f"A bundle's metadata have up to {MAX_METADATA_BYTES} bytes. Received: {len(text)}."
        )
    try:
        return json.loads(text, parse_float=finite, parse_constant=finite, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"A bundle's metadata are JSON. Received: {error}.") from error
