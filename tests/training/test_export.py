"""A bundle reads what its model reads, says where it came from, and nothing else is written."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from conftest import MakeConfig

from crnn_captcha.batches import Batches
from crnn_captcha.bundle import Bundle, BundleMetadata, read_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.dataset import open_dataset
from crnn_captcha.decoding import Logits, greedy_decode
from crnn_captcha.errors import DatasetError, ExportError, RunError
from crnn_captcha.onnx_graph import check_graph
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.temperature import TemperatureFit
from crnn_captcha.training import export as export_run
from crnn_captcha.training.config import change
from crnn_captcha.training.export import (
    MIN_AGREEMENT,
    MIN_AGREEMENT_INT8,
    OPSET,
    ExportResult,
    _agreement,
    _logits,
    to_onnx,
    training_facts,
)
from crnn_captcha.training.model import BACKBONES, make_networks
from crnn_captcha.training.preparation import cut
from crnn_captcha.training.run import RunFolder
from crnn_captcha.training.trained import load_networks
from training.conftest import Overfitted

# The package's attribute of this name is the function.
export_module = importlib.import_module("crnn_captcha.training.export")


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run that may be changed."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture(scope="module")
def learned_bundle(overfitted: Overfitted) -> Bundle:
    metadata = BundleMetadata(overfitted.charset, overfitted.config.pipeline, {})
    return Bundle(to_onnx(overfitted.networks.reader), metadata)


def _set(run: Path, old: str, new: str) -> None:
    path = RunFolder(run).config_file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_bundle_reads_as_its_network(overfitted: Overfitted, learned_bundle: Bundle) -> None:
    recognizer = Recognizer(learned_bundle)
    expected = np.asarray(overfitted.networks.reader(overfitted.images, training=False))
    logits = recognizer.logits(overfitted.images)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    texts = [reading.text for reading in greedy_decode(logits, overfitted.charset)]
    assert texts == list(overfitted.labels)  # not all blank: it does read


@pytest.mark.parametrize("neck", ["bilstm", "attention"])
def test_a_fixed_width_can_be_exported(quick_config: MakeConfig, neck: str) -> None:
    config = quick_config("pipeline.fixed_width=64", f"model.neck={neck}", "model.units=[4]")
    reader = make_networks(config, 5).reader
    graph = to_onnx(reader)
    model = onnx.load_from_string(graph)
    assert model.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 64
    check_graph(graph, fixed_width=64, height=16, channels=1, num_classes=5)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 16, 1), np.uint8)
    metadata = BundleMetadata(Charset("01ab"), config.pipeline, {})
    logits = Recognizer(Bundle(graph, metadata)).logits(images)
    np.testing.assert_allclose(logits, reader(images, training=False), atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_attention_can_be_exported(tiny_config: MakeConfig, backbone: str) -> None:
    filters = [4, 8] if backbone == "vgg" else [4, 6, 8]
    settings = f"model.backbone={backbone}", f"model.filters={filters}", "model.units=[8, 6]"
    config = tiny_config(*settings, "model.neck=attention", "augmentation.views=2")
    reader = make_networks(config, 5).reader
    random = np.random.default_rng(0)
    weights = reader.get_weights()  # normalisation's included, which start as 0 and 1
    reader.set_weights([weight + random.uniform(0, 0.2, weight.shape) for weight in weights])
    graph = to_onnx(reader)
    check_graph(graph, fixed_width=0, height=16, channels=3, num_classes=5)
    recognizer = Recognizer(Bundle(graph, BundleMetadata(Charset("01ab"), config.pipeline, {})))
    for batch, width in ((1, 64), (3, 112)):
        images = random.integers(0, 256, (batch, width, 16, 3), np.uint8)
        expected = np.asarray(reader(images, training=False))
        assert np.ptp(expected, axis=1).max() > 0.01  # time steps differ
        np.testing.assert_allclose(recognizer.logits(images), expected, atol=1e-4)


def test_the_graph_has_the_names_and_operators_of_the_contract(learned_bundle: Bundle) -> None:
    model = onnx.load_from_string(learned_bundle.graph)
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["logits"]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert not any(op.startswith("Random") for op in {node.op_type for node in model.graph.node})
    shape = model.graph.input[0].type.tensor_type
    assert shape.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_value for dim in shape.shape.dim] == [0, 0, 16, 1]  # 0: any


def test_a_bundle_says_where_it_came_from(tiny_run: Path, captchas: Path) -> None:
    bundle = read_bundle(RunFolder(tiny_run).bundle)
    config = RunFolder(tiny_run).load_config()
    assert bundle.metadata.charset.characters == "01ab"
    assert bundle.metadata.pipeline == config.pipeline
    facts = bundle.metadata.training
    assert (facts["preset"], facts["seed"]) == ("standard", 0)
    assert {"commit", "keras", "tensorflow", "crnn-captcha"} <= set(facts)
    best = min(RunFolder(tiny_run).read_history(), key=lambda row: row["val_loss"])
    assert facts["best_epoch"] == best
    data = RunFolder(tiny_run).bundle.read_bytes()
    for private in (captchas.parent, tiny_run):  # whose disk it was is nobody's business
        assert str(private).encode() not in data


def test_a_bundle_says_how_validation_was_cut(quick_config: MakeConfig, tmp_path: Path) -> None:
    config = quick_config("seed=5", "data.split_seed=3", "data.validation_fraction=0.25")
    folder = RunFolder(tmp_path)
    folder.start(config, Path("data.zip"), weights=1234)
    facts = training_facts(folder, config)
    assert (facts["seed"], facts["split_seed"], facts["validation_fraction"]) == (5, 3, 0.25)


def test_few_validation_images_leave_confidences_as_they_are(tiny_run: Path) -> None:
    metadata = read_bundle(RunFolder(tiny_run).bundle).metadata
    assert metadata.temperature == 1.0
    fit = metadata.training["temperature_fit"]
    assert isinstance(fit, dict)
    assert (fit["temperature"], fit["images"]) == (1.0, 5)
    assert fit["error_before"] == fit["error_after"] > 0


def test_the_bundle_gets_the_temperature_that_was_fitted(
    run: Path, tmp_path: Path, captchas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def fit(logits: list[Logits], labels: list[str], charset: Charset) -> TemperatureFit:
        texts = [greedy_decode(scores[None], charset)[0].text for scores in logits]
        given.append((texts, labels))
        return TemperatureFit(1.75, len(logits), 0.25, 0.125)

    monkeypatch.setattr(export_module, "fit_temperature", fit)
    export_run(run, tmp_path / "reader.onnx")
    metadata = read_bundle(tmp_path / "reader.onnx").metadata
    assert metadata.temperature == 1.75
    assert metadata.training["temperature_fit"] == {
        "temperature": 1.75, "images": 5, "error_before": 0.25, "error_after": 0.125
    }  # fmt: skip
    config = RunFolder(run).load_config()
    dataset = open_dataset(captchas, **cut(config.data))
    samples = dataset.samples("validation")
    read = Recognizer(run).read([dataset.read(sample) for sample in samples])
    texts = [reading.text for reading in read]
    assert given == [(texts, [sample.label for sample in samples])]


def test_a_bundle_can_be_written_again(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "reader.onnx"
    assert export_run(tiny_run, out) == ExportResult(1.0)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 16, 3), np.uint8)
    logits = [Recognizer(path).logits(images) for path in (out, tiny_run)]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert read_bundle(out).metadata == read_bundle(RunFolder(tiny_run).bundle).metadata


def test_other_texts_are_counted(
    overfitted: Overfitted, learned_bundle: Bundle, captchas: Path
) -> None:
    dataset = open_dataset(captchas)
    samples = dataset.samples("train")[:20]
    batches = Batches(dataset, samples, overfitted.config.pipeline, overfitted.charset)
    logits = _logits(Recognizer(learned_bundle), batches)
    assert len(logits) == 20
    assert _agreement(overfitted.networks.reader, logits, batches, overfitted.charset) == 1.0
    other = keras.models.clone_model(overfitted.networks.reader)  # weights drawn anew
    assert _agreement(other, logits, batches, overfitted.charset) < MIN_AGREEMENT


def test_a_bundle_that_reads_other_texts_is_not_written(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_agreement", lambda *args: 0.6)
    expected = r"at least 99\.9% of the .* Received: 2 of 5 read otherwise\. Nothing was written"
    with pytest.raises(ExportError, match=expected):
        export_run(tiny_run, tmp_path / "reader.onnx")
    assert list(tmp_path.iterdir()) == []


def test_of_few_images_one_may_be_read_otherwise(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_agreement", lambda *args: 0.8)
    assert export_run(tiny_run, tmp_path / "reader.onnx").agreement == 0.8


def test_a_failed_export_leaves_the_bundle_there_was(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (run / "bundle.onnx").read_bytes()
    monkeypatch.setattr(export_module, "_agreement", lambda *args: 0.0)
    with pytest.raises(ExportError):
        export_run(run, run / "bundle.onnx")
    assert (run / "bundle.onnx").read_bytes() == before


def test_moved_data_can_be_named(run: Path, captchas: Path, tmp_path: Path) -> None:
    _set(run, f'data = "{captchas}"', f'data = "{tmp_path / "gone.zip"}"')
    with pytest.raises(
        DatasetError, match=r"Received: .*gone\.zip, which isn't there\. Say where the data lie now"
    ):
        export_run(run, tmp_path / "reader.onnx")
    moved = shutil.copy(captchas, tmp_path / "moved.zip")
    assert export_run(run, tmp_path / "reader.onnx", data=moved).agreement == 1.0
    assert export_run(run, tmp_path / "reader.onnx", data=open_dataset(moved)).agreement == 1.0


def test_a_bundle_in_8_bits_says_so_and_has_its_own_temperature(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []

    def fit(logits: list[Logits], labels: list[str], charset: Charset) -> TemperatureFit:
        fitted.append(logits)
        return TemperatureFit(1.5, len(logits), 0.25, 0.125)

    monkeypatch.setattr(export_module, "fit_temperature", fit)
    out = tmp_path / "reader.onnx"
    result = export_run(tiny_run, out, int8=True)
    bundle = read_bundle(out)
    assert result.quantized is not None
    assert bundle.graph.startswith(result.quantized.graph)  # metadata follow
    assert result.quantized.agreement >= MIN_AGREEMENT_INT8
    assert bundle.metadata.training["quantized"] == {
        "convolutions": 2, "in_8_bits": result.quantized.in_8_bits, "agreement": 1.0
    }  # fmt: skip
    assert bundle.metadata.temperature == 1.5
    export_run(tiny_run, tmp_path / "exact.onnx")
    assert len(fitted[0]) == len(fitted[1])
    assert any((a != b).any() for a, b in zip(*fitted, strict=True))


def test_a_bundle_in_8_bits_that_reads_other_texts_is_not_written(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "quantize", lambda *args: None)
    with pytest.raises(ExportError, match=r"at least 99% of the .* Export without --int8\."):
        export_run(tiny_run, tmp_path / "reader.onnx", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_data_that_have_changed_do_not_calibrate_on_what_was_learned(
    run: Path, captchas: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(captchas)
    for sample in (*dataset.samples("train"), *dataset.samples("validation")):
        path = tmp_path / "data" / "train" / f"{sample.label}-{len(sample.name)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dataset.read(sample))
    extra = path.with_name("0000-1.png")
    shutil.copy(path, extra)
    with pytest.raises(DatasetError, match=r"it has learned from \d+ of \d+ validation images"):
        export_run(run, tmp_path / "reader.onnx", data=tmp_path / "data")
    assert not (tmp_path / "reader.onnx").exists()


def test_data_that_became_unreadable_are_an_error(run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data" / "train"
    broken.mkdir(parents=True)
    for i in range(4):
        (broken / f"ab-{i}.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="None of the validation images can be read any more"):
        export_run(run, tmp_path / "reader.onnx", data=tmp_path / "data")


def test_a_run_without_a_model_is_refused(run: Path, tmp_path: Path) -> None:
    RunFolder(run).best_model.unlink()
    with pytest.raises(RunError, match=r"holds no model yet\. Go on with its training by --resume"):
        export_run(run, tmp_path / "reader.onnx")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"A run folder holds a config\.toml"):
        export_run(tmp_path, tmp_path / "reader.onnx")


@pytest.mark.parametrize("damage", ["other network", "no model file"])
def test_a_model_that_does_not_fit_is_refused(run: Path, tmp_path: Path, damage: str) -> None:
    folder = RunFolder(run)
    if damage == "other network":
        _set(run, "    8,\n]\ncontext", "    6,\n]\ncontext")
    else:
        folder.best_model.write_bytes(b"garbage")
    with pytest.raises(RunError, match=r"\.keras doesn't fit the configuration beside it: "):
        export_run(run, tmp_path / "reader.onnx")


def test_a_model_trained_in_sixteen_bits_reads_in_thirty_two(tiny_run: Path) -> None:
    folder = RunFolder(tiny_run)
    config = change(folder.load_config(), ["training.mixed_precision=true"])
    charset = read_bundle(folder.bundle).metadata.charset
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        reader = load_networks(folder, config, charset).reader
        assert keras.config.dtype_policy().name == "mixed_bfloat16"  # as it was
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in reader.layers[1:]} == {"float32"}
