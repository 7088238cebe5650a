"""A run's best model becomes a bundle, checked to read the same texts."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from crnn_captcha.batches import Batches
from crnn_captcha.bundle import Bundle, BundleMetadata, write_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import Dataset
from crnn_captcha.decoding import Logits, greedy_decode
from crnn_captcha.errors import DatasetError, ExportError
from crnn_captcha.learned import count_known, to_text
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.temperature import TemperatureFit, fit_temperature
from crnn_captcha.training.config import Config
from crnn_captcha.training.description import Weights, describe_network
from crnn_captcha.training.model import compiled
from crnn_captcha.training.preparation import open_data
from crnn_captcha.training.quantization import CALIBRATION_IMAGES, Quantized, quantize
from crnn_captcha.training.run import DATA_DIGEST, RunFolder, best_row
from crnn_captcha.training.trained import load_networks, load_shortcut

OPSET = 17
MIN_AGREEMENT = 0.999  # share of validation images on which Keras and ONNX Runtime read the same
TOLERATED = 1  # images that may be read otherwise, however few: two classes may be as probable
MIN_AGREEMENT_INT8 = 0.99  # and the graph in 8 bits and that in 32


@dataclass(frozen=True)
class ExportResult:
    """How well a bundle reads as its model.

    Attributes:
        agreement: share of validation images on which Keras and ONNX Runtime read the same text.
        quantized: how the graph came to 8 bits; None where it wasn't asked to.
    """

    agreement: float
    quantized: Quantized | None = None


def export(
    run: str | Path,
    out: str | Path,
    *,
    data: Dataset | str | Path | None = None,
    int8: bool = False,
) -> ExportResult:
    """Writes the bundle of a run's best model, with a temperature fitted on the validation images.

    Args:
        run: the run folder.
        out: the file to write; appears whole or not at all.
        data: the run's data, or where they lie; None opens what `config.toml` names.
        int8: put as many convolutions into 8 bits as `MIN_AGREEMENT_INT8` allows, calibrated on
            images of the train split: smaller, and faster where processors have instructions
            for it.

    Raises:
        RunError: if the run has no model yet.
        DatasetError: if its data aren't where they were, can't be read any more, or have changed
            so that validation images are among those that were learned from.
        ExportError: if less than `MIN_AGREEMENT` is read the same, and more than
            `TOLERATED` images otherwise, or in 8 bits less than `MIN_AGREEMENT_INT8`
            whatever stays in 32.
    """
    folder = RunFolder(Path(run))
    config = folder.load_config()
    dataset = data if isinstance(data, Dataset) else _open_data(data, folder, config)
    charset = Charset(config.data.charset)
    networks = load_networks(folder, config, charset)
    reader = networks.reader
    metadata = BundleMetadata(charset, config.pipeline, training_facts(folder, config))
    bundle = Bundle(to_onnx(reader), metadata)
    batches = Batches(  # read three times and more: in memory as in training
        dataset,
        dataset.samples("validation"),
        config.pipeline,
        charset,
        batch_size=32,
        cache_bytes=config.data.cache_mib * 2**20,
    )
    logits = _logits(Recognizer(bundle), batches)
    agreement = _agreement(reader, logits, batches, charset)
    different = round((1 - agreement) * len(logits))
    if agreement < MIN_AGREEMENT and different > TOLERATED:
        raise ExportError(
            f"A bundle reads as its model on at least {MIN_AGREEMENT:.1%} of the validation "
            f"images, or on all but one. Received: {different} of {len(logits)} read otherwise. "
            "Nothing was written. Please report this, with the versions in config.toml."
        )
    quantized = None
    if int8:  # no weights are left in it to start another training from
        quantized = _quantized(bundle, dataset, batches, logits)
        facts = dataclasses.asdict(quantized)
        facts.pop("graph")
        metadata = dataclasses.replace(metadata, training={**metadata.training, "quantized": facts})
        bundle = Bundle(quantized.graph, metadata)
        logits = _logits(Recognizer(bundle), batches)
    else:
        weights = Weights(config.model, reader.get_weights(), load_shortcut(folder, networks))
        bundle = Bundle(describe_network(bundle.graph, reader, weights), metadata)
    labels = [batches.samples[position].label for position in logits]
    fit = fit_temperature([scores[0] for scores in logits.values()], labels, charset)
    write_bundle(Path(out), bundle.graph, _calibrated(metadata, fit))
    return ExportResult(agreement, quantized)


def training_facts(folder: RunFolder, config: Config) -> dict[str, object]:
    """What a bundle says about its training: preset, seed, best epoch, figures, versions."""
    facts = folder.facts()
    private = {"data", "base"}  # where things lay on somebody's disk is nobody's business
    best = best_row(folder.read_history(), config.training.monitor)
    return {
        "preset": config.preset,
        "seed": config.seed,
        "split_seed": config.data.split_seed,
        "validation_fraction": config.data.validation_fraction,
        "best_epoch": dict(best),
        **{key: value for key, value in facts.items() if key not in private},
        **({"learned": to_text(learned)} if (learned := folder.learned()) is not None else {}),
    }


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


def _quantized(
    bundle: Bundle, dataset: Dataset, batches: Batches, logits: Mapping[int, Logits]
) -> Quantized:
    """The graph of a bundle in 8 bits, which reads as `logits` of the batches by position say."""
    charset = bundle.metadata.charset
    texts = {i: greedy_decode(scores, charset)[0].text for i, scores in logits.items()}

    def agree(graph: bytes) -> float:
        others = _logits(Recognizer(Bundle(graph, bundle.metadata)), batches)
        same = [greedy_decode(others[i], charset)[0].text == text for i, text in texts.items()]
        return sum(same) / len(same)

    def scores(graph: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return Recognizer(Bundle(graph, bundle.metadata)).logits(images)

    # Where all that is learned from is drawn, there are images to validate with alone.
    samples = dataset.samples("train" if dataset.splits["train"] else "validation")
    chosen = np.random.default_rng(0).permutation(len(samples))[:CALIBRATION_IMAGES]
    learning = Batches(dataset, [samples[i] for i in chosen], bundle.metadata.pipeline, charset)
    whole = [i for i, broken in enumerate(learning.measure()) if broken is None]
    if not whole:
        raise DatasetError("None of the train images to calibrate with can be read any more.")
    images = [learning.image(i) for i in whole]
    with _quiet():
        quantized = quantize(bundle.graph, images, agree, MIN_AGREEMENT_INT8, scores)
    if quantized is None:
        raise ExportError(
            f"A bundle in 8 bits reads as the one in 32 on at least {MIN_AGREEMENT_INT8:.0%} of "
            "the validation images. Received: less, even with one convolution in 8 bits. Nothing "
            "was written. Export without --int8."
        )
    return quantized


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
    dataset = open_data(where, config.data, folder.own_corrections())
    if dataset.digest("train", "validation") == folder.facts().get(DATA_DIGEST):
        return dataset
    learned, validation = folder.learned(), dataset.samples("validation")
    if learned is not None and (seen := count_known(dataset, validation, learned)):
        raise DatasetError(
            "An export is calibrated on images that the run hasn't learned from. Received: "
            f"{where}, where it has learned from {seen:,} of {len(validation):,} validation "
            "images, so they aren't its data, or have changed. Name those that it was trained on."
        )
    return dataset


@contextlib.contextmanager
def _quiet() -> Any:
    """The converter's notes, which say nothing to a user, are kept off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
