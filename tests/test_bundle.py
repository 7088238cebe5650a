from __future__ import annotations

import contextlib
import dataclasses
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from crnn_captcha import bundle as bundles
from crnn_captcha import onnx_graph, protobuf
from crnn_captcha.bundle import (
    METADATA_KEY,
    Bundle,
    BundleMetadata,
    parse_bundle,
    read_bundle,
    write_bundle,
)
from crnn_captcha.charset import Charset
from crnn_captcha.errors import BundleError
from crnn_captcha.preprocessing import Pipeline, Stage
from crnn_captcha.recognizer import packaged_bundles

MakeModel = Callable[[], Any]


def packed(model: Any, metadata: BundleMetadata) -> bytes:
    data: bytes = model.SerializeToString()
    return onnx_graph.append_metadata(data, METADATA_KEY, metadata.to_json())


# ---- What is written is read


def test_a_bundle_is_read_as_it_was_written(
    bundle_path: Path, tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    bundle = read_bundle(bundle_path)
    assert bundle.metadata == metadata
    assert bundle.graph == bundle_path.read_bytes()
    assert bundle.graph.startswith(tiny_model().SerializeToString())
    assert "graph=" not in repr(bundle)


def test_onnx_reads_the_metadata(bundle_path: Path, metadata: BundleMetadata) -> None:
    model = onnx.load(bundle_path)
    onnx.checker.check_model(model)
    (entry,) = model.metadata_props
    assert entry.key == METADATA_KEY
    assert json.loads(entry.value) == json.loads(metadata.to_json())


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 100_000])
def test_onnx_reads_metadata_of_any_length(length: int) -> None:
    model = onnx.ModelProto.FromString(onnx_graph.append_metadata(b"", "key", "é" * length))
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("key", "é" * length)]


def test_other_metadata_are_left_alone(
    tmp_path: Path, tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    model = tiny_model()
    helper.set_model_props(model, {"source": "somewhere"})
    write_bundle(tmp_path / "b.onnx", model.SerializeToString(), metadata)
    assert read_bundle(tmp_path / "b.onnx").metadata == metadata


def test_writing_what_would_not_be_read_leaves_the_old_file(
    bundle_path: Path, tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    before = bundle_path.read_bytes()
    model = tiny_model()
    model.graph.node[0].op_type = "If"
    with pytest.raises(BundleError, match=r"only operators that our export makes.*'If'"):
        write_bundle(bundle_path, model.SerializeToString(), metadata)
    with pytest.raises(BundleError, match="each metadata key once"):
        write_bundle(bundle_path, before, metadata)
    assert bundle_path.read_bytes() == before
    assert list(bundle_path.parent.iterdir()) == [bundle_path]


@pytest.mark.parametrize("name", ["float_data", "int64_data", "double_data", "int32_data"])
def test_tensors_may_hold_their_data_by_type(
    name: str, tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    kinds = {"float_data": 1, "int64_data": 7, "double_data": 11, "int32_data": 6}
    model = tiny_model()
    model.graph.initializer.append(helper.make_tensor("more", kinds[name], [2, 2], [1, 2, 3, 4]))
    assert getattr(model.graph.initializer[-1], name)
    assert parse_bundle(packed(model, metadata)).metadata == metadata


def test_dimensions_may_be_packed(tiny_model: MakeModel, metadata: BundleMetadata) -> None:
    tensor = protobuf.encode(1, bytes([2, 3])) + b"\x10\x02" + protobuf.encode(9, bytes(6))
    assert list(TensorProto.FromString(tensor).dims) == [2, 3]
    model = tiny_model().SerializeToString() + protobuf.encode(7, protobuf.encode(5, tensor))
    whole = onnx.ModelProto.FromString(model).SerializeToString()  # one graph again
    assert Bundle(whole, metadata).metadata == metadata
    graph = protobuf.encode(7, protobuf.encode(5, tensor))
    with pytest.raises(BundleError, match="one input, 'images'"):  # it got past the tensor
        Bundle(graph, metadata)
    short = protobuf.encode(1, bytes([2, 3])) + b"\x10\x02" + protobuf.encode(9, bytes(5))
    with pytest.raises(BundleError, match=r"shape \[2, 3\] with data for 5 elements"):
        Bundle(protobuf.encode(7, protobuf.encode(5, short)), metadata)
    long = protobuf.encode(1, bytes([1] * 9)) + b"\x10\x02" + protobuf.encode(9, bytes(1))
    with pytest.raises(BundleError, match="up to 8 dims"):
        Bundle(protobuf.encode(7, protobuf.encode(5, long)), metadata)


def test_nothing_is_refused_that_the_export_makes() -> None:
    assert {"Conv", "LSTM", "MatMul", "MaxPool", "Relu", "Reshape"} <= onnx_graph.OPERATORS
    known = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert known >= onnx_graph.OPERATORS


def test_no_allowed_operator_holds_a_graph() -> None:
    for name in onnx_graph.OPERATORS:
        kinds = {a.type for a in onnx.defs.get_schema(name).attributes.values()}
        assert not kinds & {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}


# ---- Hostile graphs


def external_data(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def external_location_only(model: Any) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def external_attribute(model: Any) -> None:
    tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["value"], value=tensor))


def external_attribute_list(model: Any) -> None:
    tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    attribute = AttributeProto(name="tensors", type=AttributeProto.TENSORS, tensors=[tensor])
    model.graph.node[0].attribute.append(attribute)


def subgraph(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", branch))


def subgraphs(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("branches", [branch]))


def conditional(model: Any) -> None:
    branch = helper.make_graph([], "branch", [], [])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def function(model: Any) -> None:
    model.functions.append(
        helper.make_function("own", "Evil", [], [], [], [helper.make_opsetid("", 17)])
    )


def training_graph(model: Any) -> None:
    model.training_info.add()


def foreign_node(model: Any) -> None:
    model.graph.node[0].domain = "com.microsoft"


def foreign_opset(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))


def other_operator(model: Any) -> None:
    model.graph.node[0].op_type = "ImageDecoder"


def sparse_initializer(model: Any) -> None:
    model.graph.sparse_initializer.add()


def sparse_attribute(model: Any) -> None:
    attribute = model.graph.node[0].attribute.add(name="x", type=AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.dims.append(1)


def strings(model: Any) -> None:
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"x"]))


def string_type(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="s", data_type=TensorProto.STRING))


def unknown_type(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="s", dims=[0]))


def too_large(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [2**20, 2**20]


def too_large_without_data(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="s", data_type=1, dims=[2**40]))


def too_large_beside_nothing(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="s", data_type=1, dims=[0, -1]))


def too_many_dimensions(model: Any) -> None:
    model.graph.initializer.append(TensorProto(name="s", data_type=1, dims=[1] * 9))


def nothing_at_all(model: Any) -> None:
    model.Clear()


def two_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def no_input(model: Any) -> None:
    del model.graph.input[:]


def other_input_name(model: Any) -> None:
    model.graph.input[0].name = "image"


def other_input_type(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def other_input_rank(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim.pop()


def unknown_input_rank(model: Any) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def no_input_type(model: Any) -> None:
    model.graph.input[0].ClearField("type")


def sequence_input(model: Any) -> None:
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def other_height(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 5


def fixed_batch(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def fixed_width(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 64


def other_output_name(model: Any) -> None:
    model.graph.output[0].name = "Identity:0"


def other_num_classes(model: Any) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 37


HOSTILE: dict[Callable[[Any], None], str] = {
    external_data: r"tensor of a bundle.*field 13 \(external data\)",
    external_location_only: r"lie in the bundle.*location 1 \(external\)",
    external_attribute: r"tensor of a bundle.*field 13 \(external data\)",
    external_attribute_list: r"lie in the bundle.*location 1 \(external\)",
    subgraph: r"attribute of a bundle.*field 6 \(a subgraph\)",
    subgraphs: r"attribute of a bundle.*field 11 \(subgraphs\)",
    conditional: "only operators that our export makes.*'If'",
    function: r"model of a bundle.*field 25 \(local functions\)",
    training_graph: r"model of a bundle.*field 20 \(training graphs\)",
    foreign_node: "operators of ONNX itself only.*'Cast' of the domain 'com.microsoft'",
    foreign_opset: "operators of ONNX itself only.*opset import of the domain 'ai.onnx.ml'",
    other_operator: "only operators that our export makes.*'ImageDecoder'",
    sparse_initializer: r"graph of a bundle.*field 15 \(sparse tensors\)",
    sparse_attribute: r"attribute of a bundle.*field 22 \(a sparse tensor\)",
    strings: r"tensor of a bundle.*field 6 \(strings\)",
    string_type: r"of the types \[1, 2, 3, 6, 7, 9, 10, 11\]. Received: 8",
    unknown_type: r"of the types .* Received: 0",
    too_large: "hold what they declare.*1048576.*for 12 elements",
    too_large_without_data: "hold what they declare.*for 0 elements",
    too_large_beside_nothing: r"hold what they declare.*\[0, 18446744073709551615\]",
    too_many_dimensions: "up to 8 dims",
    nothing_at_all: "has a graph. Received: none",
    two_inputs: r"one input, 'images'.*\('more', 1, \(1,\)\)",
    no_input: r"one input, 'images'.*Received: '\[\]'",
    other_input_name: r"one input, 'images'.*\('image', 2",
    other_input_type: r"one input, 'images'.*\('images', 1",
    other_input_rank: r"one input, 'images'.*\(None, None, 4\)\)",
    unknown_input_rank: r"one input, 'images'.*\('images', 2, None\)",
    no_input_type: r"one input, 'images'.*\('images', 0, None\)",
    sequence_input: "type of a bundle.*field 4",
    other_height: r"one input, 'images'.*\(None, None, 5, 3\)",
    fixed_batch: r"one input, 'images'.*\(1, None, 4, 3\)",
    fixed_width: r"one input, 'images'.*\(None, 64, 4, 3\)",
    other_output_name: "one output, 'logits'.*'Identity:0'",
    other_num_classes: r"one output, 'logits'.*\(None, None, 37\)",
}


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_a_hostile_graph_is_refused(
    spoil: Callable[[Any], None],
    tmp_path: Path,
    tiny_model: MakeModel,
    metadata: BundleMetadata,
) -> None:
    model = tiny_model()
    spoil(model)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(packed(model, metadata))
    with pytest.raises(BundleError, match=HOSTILE[spoil]) as caught:
        read_bundle(path)
    assert str(caught.value).startswith(f"Can't use '{path}' as a bundle. ")
    assert "\n" not in str(caught.value)


def test_values_between_nodes_are_checked_too(
    tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    model = tiny_model()
    model.graph.value_info.append(helper.make_tensor_value_info("floats", 1, [None, None, 4, 3]))
    assert parse_bundle(packed(model, metadata)).metadata == metadata
    model.graph.value_info[0].type.optional_type.elem_type.tensor_type.elem_type = 1
    with pytest.raises(BundleError, match=r"type of a bundle.*field 9"):
        parse_bundle(packed(model, metadata))


def test_a_fixed_width_must_be_the_pipelines(
    tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    model = tiny_model()
    fixed_width(model)
    fixed = dataclasses.replace(
        metadata, pipeline=dataclasses.replace(metadata.pipeline, fixed_width=64)
    )
    assert Bundle(model.SerializeToString(), fixed).metadata == fixed


# ---- Files that are no bundles


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "1 to 67108864 bytes. Received: none"),
        (pickle.dumps({"weights": [1, 2, 3]}), "field 64"),
        (
            b"PK\x03\x04" + bytes(30),
            "field 10 .no field that our export writes.*crnn-captcha train",
        ),
        (b"\x00" * 100, "field 0"),
        (b"\xff" * 100, "up to 10 bytes"),
        (b"\x3a", "end in the middle of a number"),
        (b"\x3a\x05abc", "3 bytes where 5 are announced"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7fabc", "3 bytes where 9223372036854775807"),
        (b"\x3b", "one graph of wire type 2. Received: another, of wire type 3"),
        (b"\x38\x01", "one graph of wire type 2. Received: another, of wire type 0"),
        (b"\x3a\x00\x3a\x00", "one graph of wire type 2. Received: another"),
        (b"\x08\x01\x08\x01", "one ir_version"),
        (b"\x72\x02\x0a\x00", "metadata named 'crnn_captcha'"),
        (b"\x72\x03\x0a\x01\xff", "key is UTF-8"),
        (b"\x72\x02\x0a\x00" * 2, "each metadata key once"),
        (b"\x3a\x00", "metadata named 'crnn_captcha'. Received: '.*'. Use a file"),
    ],
)
def test_what_is_no_bundle_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=message):
        read_bundle(path)


def test_a_cut_bundle_is_refused(bundle_path: Path) -> None:
    data = bundle_path.read_bytes()
    for size in range(len(data)):
        with pytest.raises(BundleError):
            parse_bundle(data[:size])


def test_a_bundle_has_a_largest_size(
    bundle_path: Path, metadata: BundleMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = bundle_path.stat().st_size
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", size)
    graph = read_bundle(bundle_path).graph
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", size - 1)
    with pytest.raises(BundleError, match=f"1 to {size - 1} bytes. Received: more"):
        read_bundle(bundle_path)
    with pytest.raises(BundleError, match=f"1 to {size - 1} bytes. Received: {size + 1}"):
        Bundle(graph + b"x", metadata)


def test_a_bundle_has_most_fields(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 20)
    with pytest.raises(BundleError, match=r"up to 20 fields\. Received: more"):
        read_bundle(bundle_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.onnx", r"A bundle is a file. Received: .*missing.onnx' \(no such file\)"),
        ("", r"A bundle is a file. Received: .* \(a folder or device\)"),
        ("null\0character", "A bundle is a file"),
        ("x" * 300, "Can't read the bundle"),
    ],
)
def test_a_path_that_is_no_file_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message):
        read_bundle(tmp_path / name)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_bundle_or_a_bundle_error(data: bytes) -> None:
    with contextlib.suppress(BundleError):
        parse_bundle(data)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_a_bundle_or_a_bundle_error(
    bundle_path: Path, data: st.DataObject
) -> None:
    damaged = bytearray(bundle_path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged) - 1))
        stop = start + data.draw(st.integers(0, 3))
        damaged[start:stop] = data.draw(st.binary(max_size=5))
    with contextlib.suppress(BundleError):
        parse_bundle(bytes(damaged))


# ---- Metadata


def with_metadata(model: Any, text: str) -> bytes:
    data: bytes = model.SerializeToString()
    return onnx_graph.append_metadata(data, METADATA_KEY, text)


def changed(metadata: BundleMetadata, **changes: object) -> str:
    return json.dumps(json.loads(metadata.to_json()) | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, "bundles up to format 2. Received: format 3. Upgrade it: pip"),
        ({"format_version": 0}, "integer from 1. Received: 0"),
        ({"format_version": True}, "integer from 1. Received: True"),
        ({"format_version": "1"}, "integer from 1. Received: '1'"),
        ({"format_version": None}, "integer from 1. Received: None"),
        ({"blank": 3}, "blank is class 0. Received: 3"),
        ({"blank": False}, r"blank \(int\).*blank \(bool\)"),
        ({"charset": ["a"]}, r"charset \(str\).*charset \(list\)"),
        ({"charset": ""}, "must be usable.*at least one character"),
        ({"charset": "abca"}, "must be usable.*each character once"),
        ({"charset": "ab\x1b"}, r"10000 printable characters. Received: 3, 'ab\\x1b'"),
        ({"charset": "ab\ud800"}, "10000 printable characters"),
        ({"charset": "a" * 10_001}, "10000 printable characters. Received: 10001, '.*…"),
        ({"charset": "abcd"}, r"one output, 'logits'.*\(None, None, 5\)"),
        ({"training": []}, r"training \(dict\).*training \(list\)"),
        ({"preprocessing": []}, r"preprocessing \(dict\).*preprocessing \(list\)"),
        ({"preprocessing": {}}, "must be usable.*'stages'"),
        (
            {
                "preprocessing": {
                    "stages": [{"name": "sharpen", "parameters": {}}],
                    "width_multiple": 16,
                    "fixed_width": 0,
                }
            },
            "must be usable.*A preprocessing stage is one of.*Received: 'sharpen'",
        ),
        ({"more": 1}, r"more \(int\)"),
        ({"temperature": 1}, r"temperature \(float\).*temperature \(int\)"),
        ({"temperature": None}, r"temperature \(float\).*temperature \(NoneType\)"),
        ({"temperature": 0.04}, r"temperature is a number from 0\.05 to 20\.0\. Received: 0\.04"),
        ({"temperature": 20.1}, r"temperature is a number from 0\.05 to 20\.0\. Received: 20\.1"),
        ({"temperature": -1.0}, r"temperature is a number from .* Received: -1\.0"),
        ({"format_version": 1}, r"Received: .*temperature \(float\)"),
    ],
)
def test_metadata_are_checked(
    changes: dict[str, object], message: str, tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    with pytest.raises(BundleError, match=message):
        parse_bundle(with_metadata(tiny_model(), changed(metadata, **changes)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "metadata are JSON"),
        ("{", "metadata are JSON"),
        ("[" * 100_000, "metadata are JSON"),
        ("[1]", "are an object"),
        ("{}", "integer from 1. Received: None"),
        ('{"format_version": 1}', r"format_version \(int\), charset \(str\)"),
        ('{"format_version": NaN}', "metadata are JSON. Received: NaN is not finite"),
        ('{"format_version": 1e999}', "metadata are JSON. Received: 1e999 is not finite"),
        ('{"format_version": 1' + "0" * 5000 + "}", "metadata are JSON"),
        ('{"blank": 0, "blank": 0}', "a key stands twice"),
        ('"' + "x" * 2**20 + '"', "up to 1048576 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_metadata_are_one_json_object(text: str, message: str, tiny_model: MakeModel) -> None:
    with pytest.raises(BundleError, match=message):
        parse_bundle(with_metadata(tiny_model(), text))


def test_metadata_keep_finite_fractions(metadata: BundleMetadata) -> None:
    facts = {"exact_match": 0.75, "versions": {"keras": "3.15"}, "notes": [None, True, "é"]}
    described = dataclasses.replace(metadata, training=facts)
    assert BundleMetadata.from_json(described.to_json()) == described


@pytest.mark.parametrize("temperature", [0.05, 0.1 + 0.2, 1.0, 2, 20.0])
def test_a_temperature_is_kept_to_the_last_digit(
    temperature: float, tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    described = dataclasses.replace(metadata, temperature=temperature)
    assert parse_bundle(packed(tiny_model(), described)).metadata == described
    assert json.loads(described.to_json())["temperature"] == temperature


def test_bundles_of_before_there_was_a_temperature_are_read(
    tiny_model: MakeModel, metadata: BundleMetadata
) -> None:
    old = json.loads(metadata.to_json()) | {"format_version": 1}
    del old["temperature"]
    read = parse_bundle(with_metadata(tiny_model(), json.dumps(old))).metadata
    assert read == dataclasses.replace(metadata, format_version=1)
    assert read.temperature == 1.0
    assert json.loads(read.to_json()) == old
    with pytest.raises(BundleError, match=r"no temperature other than 1\. Received: 1\.5\. Use fo"):
        dataclasses.replace(read, temperature=1.5)


@pytest.mark.parametrize("path", packaged_bundles().values(), ids=lambda path: path.stem)
def test_bundles_in_the_package_are_read(path: Path) -> None:
    assert read_bundle(path).metadata.temperature > 0


@pytest.mark.parametrize("temperature", [True, "1", None, float("nan"), float("inf"), 0])
def test_no_other_temperature_can_be_written(temperature: object, metadata: BundleMetadata) -> None:
    with pytest.raises(BundleError, match=re.escape(f"Received: {temperature!r}.")):
        dataclasses.replace(metadata, temperature=temperature)  # type: ignore[arg-type]


@pytest.mark.parametrize("fact", [object(), np.float32(1), float("nan"), {1, 2}])
def test_training_facts_are_json(fact: object, metadata: BundleMetadata) -> None:
    with pytest.raises(BundleError, match="training facts are finite JSON values"):
        dataclasses.replace(metadata, training={"fact": fact}).to_json()


def test_metadata_are_checked_before_they_are_written() -> None:
    pipeline = Pipeline((Stage("resize_height", {"height": 4}),))
    with pytest.raises(BundleError, match="printable"):
        BundleMetadata(Charset("a\n"), pipeline, {})
    with pytest.raises(BundleError, match=re.escape("blank is class 0. Received: 1")):
        BundleMetadata(Charset("a"), pipeline, {}, blank=1)
    with pytest.raises(BundleError, match="Upgrade"):
        BundleMetadata(Charset("a"), pipeline, {}, format_version=3)


def test_constant_attributes_are_checked(tiny_model: MakeModel, metadata: BundleMetadata) -> None:
    model = tiny_model()
    value = numpy_helper.from_array(np.zeros(3, np.float32), "value")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["more"], value=value))
    model.graph.node.insert(1, helper.make_node("Constant", [], ["half"], value_float=0.5))
    assert parse_bundle(packed(model, metadata)).metadata == metadata
    model.graph.node[0].attribute[0].t.dims[:] = [2**30]
    with pytest.raises(BundleError, match="hold what they declare"):
        parse_bundle(packed(model, metadata))
