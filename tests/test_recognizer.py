from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections import UserList
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import PIL.Image
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import crnn_captcha
from crnn_captcha import decoding
from crnn_captcha import recognizer as recognizers
from crnn_captcha.bundle import Bundle, BundleMetadata, read_bundle
from crnn_captcha.constraints import Constraint
from crnn_captcha.decoding import Decoding, Reading
from crnn_captcha.errors import BundleError, ConfigError, ImageError
from crnn_captcha.images import ImageSource
from crnn_captcha.preprocessing import Pipeline, Stage
from crnn_captcha.recognizer import Recognizer

MakeModel = Callable[[], Any]
Paint = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def recognizer(bundle_path: Path) -> Recognizer:
    return Recognizer(bundle_path, threads=1)


def png(image: NDArray[np.uint8]) -> bytes:
    data: bytes = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    return data


# ---- One image


@pytest.mark.parametrize("text", ["", "a", "cab", "abba", "aabbcc", "abcabcabc"])
def test_a_painted_text_is_read(text: str, recognizer: Recognizer, paint: Paint) -> None:
    reading = recognizer.read(paint(text))
    assert reading.text == text
    assert 0.5 < reading.confidence <= 1
    assert [character.text for character in reading.characters] == list(text)


@pytest.mark.parametrize("kind", ["path", "Path", "bytes", "array", "PIL image"])
def test_an_image_may_be_given_in_any_form(
    kind: str, recognizer: Recognizer, paint: Paint, tmp_path: Path
) -> None:
    image = paint("cab")
    path = tmp_path / "image.png"
    path.write_bytes(png(image))
    forms: dict[str, Any] = {
        "path": str(path),
        "Path": path,
        "bytes": path.read_bytes(),
        "array": image,
        "PIL image": PIL.Image.fromarray(image),
    }
    reading = recognizer.read(forms[kind])
    assert isinstance(reading, Reading)
    assert reading == recognizer.read(image)
    assert recognizer.read([forms[kind]]) == [reading]


def test_the_bundle_says_how_it_reads(recognizer: Recognizer, metadata: BundleMetadata) -> None:
    assert recognizer.metadata == metadata
    assert recognizer.charset == metadata.charset
    assert recognizer.pipeline == metadata.pipeline


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (1, 500), (500, 1), (3, 2000, 4)])
def test_an_odd_shape_gives_a_reading(shape: tuple[int, ...], recognizer: Recognizer) -> None:
    assert recognizer.read(np.full(shape, 255, np.uint8)).text == ""


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"", "empty file"),
        (b"no image", "one of: PNG"),
        ("missing.png", r"missing.png.*No such file"),
        (np.zeros((0, 5, 3), np.uint8), "1 to 4000000 pixels"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"Received: \(2, 4, 5, 3\)"),
        (17, "Received: int"),
        (bytearray(b"x"), "Received: bytearray"),
    ],
)
def test_what_is_no_image_is_an_image_error(
    image: Any, message: str, recognizer: Recognizer
) -> None:
    with pytest.raises(ImageError, match=message):
        recognizer.read(image)


def test_an_image_that_cant_be_prepared_is_an_image_error(
    tiny_model: MakeModel, metadata: BundleMetadata, paint: Paint, tmp_path: Path
) -> None:
    stages = (Stage("median_blur", {"size": 2}), *metadata.pipeline.stages)
    changed = BundleMetadata(metadata.charset, Pipeline(stages), {})
    recognizer = Recognizer(Bundle(tiny_model().SerializeToString(), changed))
    with pytest.raises(ImageError, match=r"^The stage 'median_blur' failed"):
        recognizer.read(paint("a"))
    path = tmp_path / "image.png"
    path.write_bytes(png(paint("a")))
    with pytest.raises(ImageError, match=r"image.png': The stage 'median_blur' failed"):
        recognizer.read(path)


# ---- Several images


@pytest.fixture
def images(paint: Paint) -> list[NDArray[np.uint8]]:
    """Of many widths, each several times, in no order."""
    texts = ["", "a", "abcabc", "cab", "b", "ccc", "abcabcabc", "ba", "a", "cb"] * 3
    return [paint(text, column_width=1 + i % 4) for i, text in enumerate(texts)]


def test_several_are_read_as_each_alone(
    recognizer: Recognizer, images: list[NDArray[np.uint8]]
) -> None:
    alone = [recognizer.read(image) for image in images]
    together = recognizer.read(images)
    assert [reading.text for reading in together] == [reading.text for reading in alone]
    np.testing.assert_allclose(
        [reading.confidence for reading in together],
        [reading.confidence for reading in alone],
        rtol=1e-5,
    )


@pytest.mark.parametrize("kind", [list, tuple, UserList], ids=lambda kind: kind.__name__)
def test_any_sequence_is_several(
    kind: Callable[[Any], Any], recognizer: Recognizer, paint: Paint
) -> None:
    readings = recognizer.read(kind([paint("a"), paint("bc")]))
    assert [reading.text for reading in readings] == ["a", "bc"]
    assert recognizer.read(kind([])) == []


def test_batches_are_bounded_and_of_one_width(
    recognizer: Recognizer, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [reading.text for reading in recognizer.read(images)]
    shapes: list[tuple[int, ...]] = []
    logits = recognizer.logits

    def spy(prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
        shapes.append(prepared.shape)
        return logits(prepared)

    monkeypatch.setattr(recognizer, "logits", spy)
    monkeypatch.setattr(recognizers, "MAX_BATCH_PIXELS", 2 * 16 * 4)  # two images 16 wide
    monkeypatch.setattr(recognizers, "WINDOW_IMAGES", 20)
    assert [reading.text for reading in recognizer.read(images)] == expected
    assert sum(batch for batch, *_ in shapes) == len(images)
    assert all(batch == 1 or batch * width * 4 <= 128 for batch, width, *_ in shapes)
    assert max(batch for batch, *_ in shapes) > 1
    widths = {recognizer.pipeline(image).shape[0] for image in images}
    assert {width for _, width, *_ in shapes} == widths


def test_a_bad_one_of_several_is_named(recognizer: Recognizer, paint: Paint) -> None:
    with pytest.raises(ImageError, match=r"images\[1\]: .*empty file"):
        recognizer.read([paint("a"), b"", b"no image"])


def test_read_each_leaves_the_bad_ones_to_the_caller(recognizer: Recognizer, paint: Paint) -> None:
    images: list[ImageSource] = [paint("a"), b"", paint("b")]
    first, bad, last = recognizer.read_each(iter(images))
    assert isinstance(first, Reading)
    assert first.text == "a"
    assert isinstance(bad, ImageError)
    assert isinstance(last, Reading)
    assert last.text == "b"


def test_read_each_takes_images_as_they_are_needed(
    recognizer: Recognizer, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizers, "CHUNK_IMAGES", 2)
    taken: list[int] = []

    def endless() -> Any:
        while True:
            taken.append(len(taken))
            yield paint("a")

    readings = recognizer.read_each(endless())
    for _ in range(3):
        next(readings)
    assert len(taken) == 4


# ---- Many images, and several threads


def texts(results: Any) -> list[str]:
    return [result.text for result in results]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("own", [1, 2], ids=["made for one thread", "made for two"])
def test_read_many_gives_the_readings_in_order(
    threads: int, own: int, bundle_path: Path, images: list[NDArray[np.uint8]]
) -> None:
    recognizer = Recognizer(bundle_path, threads=own)
    expected = [recognizer.read(image) for image in images] * 7
    results = list(recognizer.read_many(iter(images * 7), threads=threads))
    assert texts(results) == texts(expected)
    np.testing.assert_allclose(
        [result.confidence for result in results if isinstance(result, Reading)],
        [reading.confidence for reading in expected],
        rtol=1e-5,
    )


def test_what_is_decoded_together_is_bounded(
    recognizer: Recognizer, images: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [recognizer.read(image) for image in images] * 7
    sizes = []
    decode_many = decoding.decode_many

    def counted(logits: Any, *arguments: Any, **options: Any) -> list[Reading]:
        sizes.append(sum(own.size for own in logits))
        return decode_many(logits, *arguments, **options)

    monkeypatch.setattr("crnn_captcha.recognizer.decode_many", counted)
    assert texts(recognizer.read_each(images * 7)) == texts(expected)
    assert len(sizes) == 1
    whole = sizes.pop()
    monkeypatch.setattr("crnn_captcha.recognizer.CHUNK_CELLS", 1)
    assert texts(recognizer.read_each(images * 7)) == texts(expected)
    assert sum(sizes) == whole
    assert len(sizes) > 3


def test_read_many_passes_on_what_cant_be_read(recognizer: Recognizer, paint: Paint) -> None:
    missing = ImageError("nowhere to be had")
    images: list[ImageSource | ImageError] = [paint("a"), missing, b"", paint("b")]
    first, second, third, last = recognizer.read_many(images, threads=2)
    assert isinstance(first, Reading)
    assert first.text == "a"
    assert second is missing
    assert isinstance(third, ImageError)
    assert isinstance(last, Reading)
    assert last.text == "b"


def test_a_few_images_keep_all_threads_busy(
    recognizer: Recognizer, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(3, timeout=30)  # breaks if fewer than three come
    read_window = recognizer._read_window

    def meet(window: Any, decoding: Any) -> Any:
        together.wait()
        return read_window(window, decoding)

    monkeypatch.setattr(recognizer, "_read_window", meet)
    images = [paint(text) for text in ("a", "b", "c")]
    assert texts(recognizer.read_many(images, threads=3)) == ["a", "b", "c"]


def test_read_many_takes_images_as_they_are_needed_and_ends_its_threads(
    recognizer: Recognizer, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizers, "WINDOW_IMAGES", 2)
    taken: list[int] = []

    def endless() -> Any:
        while True:
            taken.append(len(taken))
            yield paint("a")

    readings = recognizer.read_many(endless(), threads=2)
    assert not taken
    for _ in range(3):
        next(readings)
    assert len(taken) <= (3 + 1 + 2) * 2
    del readings
    assert not [t for t in threading.enumerate() if t.name.startswith("reading")]


@pytest.mark.parametrize("threads", [0, 1.5, True])
def test_read_many_wants_a_positive_number_of_threads(threads: Any, recognizer: Recognizer) -> None:
    with pytest.raises(ConfigError, match="`threads` is an integer from 1"):
        recognizer.read_many([], threads=threads)


@pytest.mark.parametrize("own", [1, 2], ids=["made for one thread", "made for two"])
def test_threads_may_share_one_under_load(
    own: int, bundle_path: Path, images: list[NDArray[np.uint8]]
) -> None:
    recognizer = Recognizer(bundle_path, threads=own)
    expected = [recognizer.read(image).text for image in images]

    def one_by_one(turn: int) -> list[str]:
        return [recognizer.read(image).text for image in images]

    def together(turn: int) -> list[str]:
        return texts(recognizer.read(images))

    def chunks(turn: int) -> list[str]:
        return texts(recognizer.read_each(images))

    def windows(turn: int) -> list[str]:
        return texts(recognizer.read_many(images, threads=2))

    ways = [one_by_one, together, chunks, windows] * 10
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda way: way(0), ways))
    assert results == [expected] * len(ways)


# ---- Other processes


def read_in_process(recognizer: Recognizer, data: list[bytes]) -> tuple[int, list[str]]:
    return os.getpid(), texts(recognizer.read_many(data, threads=2))


def test_a_spawned_process_reads_with_a_copy(recognizer: Recognizer, paint: Paint) -> None:
    data = [png(paint(text)) for text in ("a", "cab", "bb")]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        process, read = pool.submit(read_in_process, recognizer, data).result()
    assert process != os.getpid()
    assert read == ["a", "cab", "bb"]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))]
)
def test_a_copy_is_the_same_reader_with_a_session_of_its_own(
    copied: Callable[[Recognizer], Recognizer], recognizer: Recognizer, paint: Paint
) -> None:
    other = copied(recognizer)
    assert other._session is not recognizer._session
    assert other._threads == 1
    assert (other.metadata, other.digest) == (recognizer.metadata, recognizer.digest)
    assert other.read(paint("abc")) == recognizer.read(paint("abc"))


def test_a_copy_takes_as_many_threads_as_there_are_cores_where_it_is(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(Recognizer(bundle_path))
    monkeypatch.setattr(recognizers, "available_cores", lambda: 3)
    assert pickle.loads(data)._threads == 3


def test_another_bundle_has_another_digest(
    recognizer: Recognizer, tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    graph = tiny_model().SerializeToString()
    same, other = BundleMetadata(metadata.charset, metadata.pipeline, {}), metadata
    assert session_of(tiny_model(), same).digest == Recognizer(Bundle(graph, same)).digest
    assert Recognizer(Bundle(graph, same)).digest != Recognizer(Bundle(graph, other)).digest


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted by Linux")
def test_on_one_thread_there_is_no_other(bundle_path: Path) -> None:
    code = """
import os, sys
import cv2, numpy, onnxruntime
from crnn_captcha import Recognizer
before = len(os.listdir("/proc/self/task"))
recognizer = Recognizer(sys.argv[1], threads=1)
image = numpy.full((80, 465, 3), 255, numpy.uint8)
recognizer.read(image)
list(recognizer.read_many([image] * 100))
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run_python(code, str(bundle_path)) == "0\n"


# ---- Logits


def test_logits_are_the_networks_scores(recognizer: Recognizer, paint: Paint) -> None:
    prepared = recognizer.pipeline(paint("b", column_width=1))[None]
    logits = recognizer.logits(prepared)
    assert logits.dtype == np.float32
    white, ink = [5, 0, 0, 0], [5, 0, 25.5, 0]
    np.testing.assert_allclose(logits, np.array([[white, ink, white, white]], np.float32))


@pytest.mark.parametrize(
    "prepared",
    [
        np.zeros((1, 8, 5, 3), np.uint8),
        np.zeros((1, 8, 4, 1), np.uint8),
        np.zeros((8, 4, 3), np.uint8),
        np.zeros((0, 8, 4, 3), np.uint8),
        np.zeros((1, 0, 4, 3), np.uint8),
        np.zeros((1, 8, 4, 3), np.float32),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_logits_want_prepared_images(prepared: Any, recognizer: Recognizer) -> None:
    with pytest.raises(ImageError, match=r"uint8 \(batch, width, 4, 3\).*Received: (uint8|float)"):
        recognizer.logits(prepared)


def session_of(model: Any, metadata: BundleMetadata) -> Recognizer:
    return Recognizer(Bundle(model.SerializeToString(), metadata), threads=1)


def test_a_graph_that_fails_is_a_bundle_error(
    tiny_model: MakeModel, metadata: BundleMetadata, paint: Paint
) -> None:
    model = tiny_model()
    shape = numpy_helper.from_array(np.array([7, 7, 4], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node[-1].output[0] = "sum"
    model.graph.node.append(helper.make_node("Reshape", ["sum", "shape"], ["logits"]))
    with pytest.raises(BundleError, match=r"graph must run.*of the shape \(1, 8, 4, 3\)"):
        session_of(model, metadata).read(paint("a"))


@pytest.mark.parametrize("axes", [[0], [2]], ids=["time steps", "classes"])
def test_logits_of_another_shape_are_a_bundle_error(
    axes: list[int], tiny_model: MakeModel, metadata: BundleMetadata, paint: Paint
) -> None:
    model = tiny_model()
    start, stop, axis = (
        numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in [("start", [0]), ("stop", [0]), ("axis", axes)]
    )
    model.graph.initializer.extend([start, stop, axis])
    model.graph.node[-1].output[0] = "sum"
    names = ["sum", "start", "stop", "axis"]
    model.graph.node.append(helper.make_node("Slice", names, ["logits"]))
    dim = model.graph.output[0].type.tensor_type.shape.dim[2]
    dim.Clear()
    with pytest.raises(BundleError, match=r"logits are \(1, time_steps, 4\)"):
        session_of(model, metadata).read(paint("a"))


def test_logits_that_arent_finite_are_a_bundle_error(
    tiny_model: MakeModel, metadata: BundleMetadata, paint: Paint
) -> None:
    model = tiny_model()
    bias = numpy_helper.from_array(np.full(4, np.nan, np.float32), "bias")
    model.graph.initializer[1].CopyFrom(bias)
    with pytest.raises(BundleError, match="logits are finite"):
        session_of(model, metadata).read(paint("a"))


# ---- Models


def test_a_run_folder_holds_its_bundle(bundle_path: Path, tmp_path: Path, paint: Paint) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(BundleError, match=r"holds 'bundle.onnx'.*crnn-captcha export .*run --out"):
        Recognizer(run)
    bundle_path.rename(run / "bundle.onnx")
    assert Recognizer(str(run)).read(paint("ab")).text == "ab"


def test_without_a_model_the_packages_bundle_reads(
    bundle_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizers, "DEFAULT_BUNDLE", bundle_path)
    assert Recognizer().read(paint("ab")).text == "ab"
    monkeypatch.setattr(recognizers, "DEFAULT_BUNDLE", bundle_path.parent / "missing.onnx")
    with pytest.raises(BundleError, match=r"no bundle\. Train one"):
        Recognizer()


def test_a_bundle_in_the_package_is_read_with_by_its_name(
    bundle_path: Path, paint: Paint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "packaged"
    packaged.mkdir()
    bundle_path.rename(packaged / "tiny.onnx")
    monkeypatch.setattr(recognizers, "PACKAGED_BUNDLES", packaged)
    monkeypatch.chdir(tmp_path)
    assert Recognizer("tiny").read(paint("ab")).text == "ab"
    (tmp_path / "tiny").write_bytes(b"what is a file is no name")
    with pytest.raises(BundleError, match="'tiny'"):
        Recognizer("tiny")


def test_a_bundle_may_be_given_itself(bundle_path: Path, paint: Paint) -> None:
    assert Recognizer(read_bundle(bundle_path)).read(paint("ab")).text == "ab"


def test_a_missing_file_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"missing.onnx' \(no such file\)"):
        Recognizer(tmp_path / "missing.onnx")


def test_a_graph_that_doesnt_load_is_a_bundle_error(
    tiny_model: MakeModel, metadata: BundleMetadata, capfd: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model()
    model.graph.node[1].input[0] = "nowhere"
    with pytest.raises(BundleError, match=r"graph must load\. Received: .*nowhere") as caught:
        session_of(model, metadata)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_reading_prints_nothing(
    recognizer: Recognizer, paint: Paint, capfd: pytest.CaptureFixture[str]
) -> None:
    recognizer.read(paint("abc"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("threads", [0, -1, 1.0, True, "2"])
def test_threads_are_a_positive_integer(threads: Any, bundle_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`threads` is an integer from 1.*Received: "):
        Recognizer(bundle_path, threads=threads)


# ---- The package


def run_python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


HEAVY = {"tensorflow", "keras", "matplotlib", "PIL", "onnx", "tf2onnx", "torch", "rapidfuzz"}


def test_reading_imports_nothing_heavy(bundle_path: Path, paint: Paint, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(png(paint("cab")))
    code = """
import sys
from crnn_captcha import Recognizer
print(Recognizer(sys.argv[1]).read(sys.argv[2]).text, *sys.modules)
"""
    text, *modules = run_python(code, str(bundle_path), str(image)).split()
    assert text == "cab"
    assert "onnxruntime" in modules
    assert not HEAVY & set(modules)


def test_importing_the_package_is_nearly_free() -> None:
    code = "import sys, crnn_captcha; print(*sys.modules)"
    modules = run_python(code).split()
    assert "crnn_captcha" in modules
    assert not {"numpy", "cv2", "onnxruntime", "click", "importlib.metadata"} & set(modules)


@pytest.mark.parametrize("name", crnn_captcha.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(crnn_captcha, name) is getattr(crnn_captcha, name)
    assert name in dir(crnn_captcha)


def test_the_package_knows_its_version_and_no_other_names() -> None:
    assert crnn_captcha.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="module 'crnn_captcha' has no attribute 'Reader'"):
        crnn_captcha.Reader  # noqa: B018


def test_onnx_agrees_that_the_tiny_network_is_sound(bundle_path: Path) -> None:
    onnx.checker.check_model(onnx.load(bundle_path), full_check=True)


def test_a_constraint_is_kept_and_alternatives_are_given(
    recognizer: Recognizer, paint: Paint
) -> None:
    image = paint("ab")
    only_c = Decoding(Constraint(characters="c", min_length=1), alternatives=2)
    reading = recognizer.read(image, only_c)
    assert set(reading.text) == {"c"}
    assert reading.constraint_probability < 0.5  # it is no c
    free = recognizer.read(image, Decoding(alternatives=2))
    assert free.text == "ab"
    assert len(free.alternatives) == 2
    assert free.characters[0].alternatives[0].text == "a"


def test_one_and_many_are_decoded_alike(recognizer: Recognizer, paint: Paint) -> None:
    images = [paint(text) for text in ("ab", "cab", "b")]
    how = Decoding(Constraint(max_length=2), alternatives=1, places=True)
    alone = [recognizer.read(image, how) for image in images]
    for together in (
        recognizer.read(images, how),
        [*recognizer.read_each(images, how)],
        [*recognizer.read_many(images, how, threads=2)],
    ):
        assert [r.text for r in together] == [r.text for r in alone]  # type: ignore[union-attr]
        assert [len(r.alternatives) for r in together] == [1, 1, 1]  # type: ignore[union-attr]
        assert [r.characters for r in together] == [r.characters for r in alone]  # type: ignore[union-attr]


def test_places_are_columns_of_the_image_as_it_came(recognizer: Recognizer, paint: Paint) -> None:
    large = np.repeat(np.repeat(paint("ab"), 3, axis=0), 3, axis=1)  # columns of 6 px: -a-b-
    characters = recognizer.read(large, Decoding(places=True)).characters
    assert [c.text for c in characters] == ["a", "b"]
    for character, start in zip(characters, (6, 18), strict=True):
        assert character.columns is not None
        assert character.columns == pytest.approx((start, start + 6), abs=3)
    assert recognizer.read(large).characters[0].columns is None


def test_the_temperature_of_the_bundle_is_applied(bundle_path: Path, paint: Paint) -> None:
    bundle = read_bundle(bundle_path)
    unsure = dataclasses.replace(bundle.metadata, temperature=3.0)
    image = paint("ab")
    readings = [
        Recognizer(dataclasses.replace(bundle, metadata=metadata)).read(image)
        for metadata in (bundle.metadata, unsure)
    ]
    assert readings[0].text == readings[1].text == "ab"
    assert readings[1].confidence < readings[0].confidence
