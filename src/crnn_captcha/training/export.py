"""A run's best model becomes a bundle, checked to read the same texts."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from crnn_captcha.batches import Batches
from crnn_captcha.bundle import Bundle, BundleMetadata, write_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import Dataset
from crnn_captcha.decoding import Logits, greedy_decode
from crnn_captcha.errors import DatasetError, ExportError, RunError
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.temperature import TemperatureFit, fit_temperature
from crnn_captcha.training.config import Config
from crnn_captcha.training.model import compiled, make_networks
from crnn_captcha.training.preparation import open_data
from crnn_captcha.training.run import RunFolder, best_row

OPSET = 17
MIN_AGREEMENT = 0.999  # share of validation images on which Keras and ONNX Runtime read the same


def export(run: str | Path, out: str | Path, *, data: Dataset | str | Path | None = None) -> float:
    """Writes the bundle of a run's best model, with a temperature fitted on the validation images.

    Args:
        run: the run folder.
        out: the file to write; appears whole or not at all.
        data: the run's data, or where they lie; None opens what `config.toml` names.

    Returns:
        The share of validation images on which Keras and ONNX Runtime read the same text.

    Raises:
        RunError: if the run has no model yet.
        DatasetError: if its data aren't where they were, or can't be read any more.
        ExportError: if less than `MIN_AGREEMENT` is read the same.
    """
    folder = RunFolder(Path(run))
    config = folder.load_config()
    dataset = data if isinstance(data, Dataset) else _open_data(data, folder, config)
    charset = Charset(config.data.charset)
    reader = load_reader(folder, config, charset)
    metadata = BundleMetadata(charset, config.pipeline, training_facts(folder, config))
    graph = to_onnx(reader)
    batches = Batches(
        dataset, dataset.samples("validation"), config.pipeline, charset, batch_size=32
    )
    logits = _logits(Recognizer(Bundle(graph, metadata)), batches)
    agreement = _agreement(reader, logits, batches, charset)
    if agreement < MIN_AGREEMENT:
        raise ExportError(
            f"A bundle reads as its model on at least {MIN_AGREEMENT:.1%} of the validation "
            f"images. Received: {agreement:.2%}. Nothing was written. Please report this, with the "
            "versions in config.toml."
        )
    labels = [batches.samples[position].label for position in logits]
    fit = fit_temperature([scores[0] for scores in logits.values()], labels, charset)
    write_bundle(Path(out), graph, _calibrated(metadata, fit))
    return agreement


def training_facts(folder: RunFolder, config: Config) -> dict[str, object]:
    """What a bundle says about its training: preset, seed, best epoch, figures, versions."""
    facts = folder.facts()
    private = {"data"}  # where the data lay on somebody's disk is nobody's business
    best = best_row(folder.read_history(), config.training.monitor)
    return {
        "preset": config.preset,
        "seed": config.seed,
        "split_seed": config.data.split_seed,
        "validation_fraction": config.data.validation_fraction,
        "best_epoch": dict(best),
        **{key: value for key, value in facts.items() if key not in private},
    }


def load_reader(folder: RunFolder, config: Config, charset: Charset) -> keras.Model:
    """The best model of a run: built from the configuration, only weights read from the file.

    Raises:
        RunError: if there is none, or it doesn't fit the configuration.
    """
    if not folder.best_model.is_file():
        raise RunError(
            f"{folder.path} holds no model yet. Go on with its training by --resume until the "
            "first epoch is done."
        )
    with _full_precision():
        reader = make_networks(config, charset.num_classes).reader
    try:
        reader.load_weights(folder.best_model)
    except (ValueError, OSError, KeyError, BadZipFile) as error:
        raise RunError(
            f"{folder.best_model} doesn't fit the configuration beside it: {error}"
        ) from error
    return reader


def to_onnx(reader: keras.Model) -> bytes:
    """The graph of a network as an ONNX model, input `images`, output `logits`."""
    import onnx

    shape = reader.input_shape
    signature = [keras.InputSpec(shape=shape, dtype="uint8", name="images")]
    images = keras.Input(shape[1:], dtype="uint8", name="images")
    still = keras.Model(images, reader(images, training=False))  # nothing random in the graph
    still(np.zeros([1, shape[1] or 128, *shape[2:]], np.uint8))  # export wants a called model
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "graph.onnx"
        still.export(
            path, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET
        )
        model = onnx.load(path)
    graph = model.graph
    _rename(graph, graph.input[0].name, "images")
    _rename(graph, graph.output[0].name, "logits")
    graph.doc_string = model.doc_string = ""
    del model.opset_import[:]  # the converter imports more than the graph uses
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    return bytes(model.SerializeToString())


def _rename(graph: Any, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new


def _logits(recognizer: Recognizer, batches: Batches) -> dict[int, Logits]:
    """Of each image alone, as `read` reads one: float32 (1, time_steps, num_classes) by position.

    Broken images are passed over: training refused them, or was told to leave them out.
    """
    whole = [position for position, broken in enumerate(batches.measure()) if broken is None]
    if not whole:
        raise DatasetError("None of the validation images can be read any more.")
    return {position: recognizer.logits(batches.image(position)[None]) for position in whole}


def _agreement(
    reader: keras.Model, logits: Mapping[int, Logits], batches: Batches, charset: Charset
) -> float:
    """Share of images of which a network reads the same as others' logits by position say."""
    read = compiled(reader)
    same = 0
    for position, other in logits.items():
        image = batches.image(position)[None]  # (1, width, height, channels)
        texts = {greedy_decode(scores, charset)[0].text for scores in (read(image), other)}
        same += len(texts) == 1
    return same / len(logits)


def _calibrated(metadata: BundleMetadata, fit: TemperatureFit) -> BundleMetadata:
    """With the temperature, and what it was fitted on among the training's facts."""
    facts = {**metadata.training, "temperature_fit": dataclasses.asdict(fit)}
    return dataclasses.replace(metadata, temperature=fit.temperature, training=facts)


def _open_data(path: str | Path | None, folder: RunFolder, config: Config) -> Dataset:
    known = str(path or folder.facts().get("data", ""))
    if not known and config.data.synthetic:  # learned from drawn images alone
        return open_data(None, config.data)
    where = Path(known)
    if not where.exists():
        raise DatasetError(
            f"An export is checked on the run's data. Received: {where}, which isn't there. "
            "Say where the data lie now: export RUN --out FILE --data DATA."
        )
    return open_data(where, config.data)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Networks are trained in 16 bits where asked for, but read in 32: bundles have no others."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def _quiet() -> Any:
    """The converter's notes, which say nothing to a user, are kept off the terminal."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
