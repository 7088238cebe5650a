"""Checks an ONNX model's bytes before a runtime sees them.

A model from somebody else may point to files outside of itself, hold programs (functions,
subgraphs), name operators of other libraries or store tensors far larger than their data. What our
own export writes has none of that, so everything beyond it is refused. How much memory and time its
operators take isn't known before they run: where bundles come from strangers, limit the process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from crnn_captcha.errors import BundleError
from crnn_captcha.protobuf import FIXED32, FIXED64, VARINT, Content, Field, Message, Reader, encode

OPERATORS = frozenset(
    # What Keras exports by way of tf2onnx for the layers that our networks have (convolution,
    # normalisation, pooling, LSTM, dense), in the forms that it may take in other versions, and
    # what quantising the weights adds. None of them opens a file or holds a graph.
    """
    Add AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv
    ConvInteger DequantizeLinear Div DynamicQuantizeLinear Expand Gather Gemm GlobalAveragePool
    Identity LSTM LayerNormalization MatMul MatMulInteger Max MaxPool Mul Neg Pad Pow
    QuantizeLinear Range Reciprocal ReduceMean ReduceProd ReduceSum Relu Reshape ReverseSequence
    Shape Sigmoid Slice Softmax Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze
    """.split()  # noqa: SIM905
)
DOMAINS = frozenset({"", "ai.onnx"})  # two names of one
MAX_RANK = 8
MAX_DIM = 2**31 - 1
_METADATA_FIELD = 14
_ADVICE = "Use a file that `crnn-captcha train` or `crnn-captcha export` wrote."

# ONNX's numbers for the types of tensors' elements (onnx.proto, TensorProto.DataType).
_FLOAT, _UINT8, _INT8, _INT32, _INT64, _BOOL, _FLOAT16, _DOUBLE = 1, 2, 3, 6, 7, 9, 10, 11
_ELEMENT_BYTES = {
    _FLOAT: 4,
    _UINT8: 1,
    _INT8: 1,
    _INT32: 4,
    _INT64: 8,
    _BOOL: 1,
    _FLOAT16: 2,
    _DOUBLE: 8,
}

# onnx.proto of ONNX 1.23, cut to what our export writes. Fields that are missing here are refused,
# so that a later version of ONNX can't slip something in.
_MODEL = Message(
    "model",
    {
        1: Field("ir_version", VARINT),
        2: Field("producer_name"),
        3: Field("producer_version"),
        4: Field("domain"),
        5: Field("model_version", VARINT),
        6: Field("doc_string"),
        7: Field("graph"),
        8: Field("opset_import", many=True),
        _METADATA_FIELD: Field("metadata_props", many=True),
    },
    {20: "training graphs", 25: "local functions"},
)
_ENTRY = Message("metadata entry", {1: Field("key"), 2: Field("value")})
_OPSET = Message("opset import", {1: Field("domain"), 2: Field("version", VARINT)})
_GRAPH = Message(
    "graph",
    {
        1: Field("node", many=True),
        2: Field("name"),
        5: Field("initializer", many=True),
        10: Field("doc_string"),
        11: Field("input", many=True),
        12: Field("output", many=True),
        13: Field("value_info", many=True),
    },
    {15: "sparse tensors"},
)
_NODE = Message(
    "node",
    {
        1: Field("input", many=True),
        2: Field("output", many=True),
        3: Field("name"),
        4: Field("op_type"),
        5: Field("attribute", many=True),
        6: Field("doc_string"),
        7: Field("domain"),
    },
)
_ATTRIBUTE = Message(
    "attribute",
    {
        1: Field("name"),
        2: Field("f", FIXED32),
        3: Field("i", VARINT),
        4: Field("s"),
        5: Field("t"),
        7: Field("floats", FIXED32, many=True),
        8: Field("ints", VARINT, many=True),
        9: Field("strings", many=True),
        10: Field("tensors", many=True),
        13: Field("doc_string"),
        20: Field("type", VARINT),
    },
    {6: "a subgraph", 11: "subgraphs", 22: "a sparse tensor", 23: "sparse tensors"},
)
_TENSOR = Message(
    "tensor",
    {
        1: Field("dims", VARINT, many=True),
        2: Field("data_type", VARINT),
        4: Field("float_data", FIXED32, many=True),
        5: Field("int32_data", VARINT, many=True),
        7: Field("int64_data", VARINT, many=True),
        8: Field("name"),
        9: Field("raw_data"),
        10: Field("double_data", FIXED64, many=True),
        12: Field("doc_string"),
        14: Field("data_location", VARINT),
    },
    {6: "strings", 13: "external data"},
)
_VALUE = Message("value", {1: Field("name"), 2: Field("type"), 3: Field("doc_string")})
_TYPE = Message("type", {1: Field("tensor_type"), 6: Field("denotation")})
_TENSOR_TYPE = Message("tensor type", {1: Field("elem_type", VARINT), 2: Field("shape")})
_SHAPE = Message("shape", {1: Field("dim", many=True)})
_DIM = Message(
    "dimension", {1: Field("dim_value", VARINT), 2: Field("dim_param"), 3: Field("denotation")}
)


@dataclass(frozen=True)
class Signature:
    """What an input or output is called and how it is shaped.

    Attributes:
        name: of the value.
        data_type: ONNX's number of its elements' type.
        dims: its dimensions, None where one is unknown; None if not even the rank is known.
    """

    name: str
    data_type: int
    dims: tuple[int | None, ...] | None


def append_metadata(model: bytes, key: str, value: str) -> bytes:
    """An ONNX model's bytes with one more entry in its `metadata_props`.

    Protobuf messages are joined by concatenation, so the model itself is left as it is.
    """
    return model + encode(_METADATA_FIELD, encode(1, key.encode()) + encode(2, value.encode()))


def read_metadata(model: bytes) -> dict[str, str]:
    """The `metadata_props` of an ONNX model's bytes.

    Raises:
        BundleError: if the bytes are broken or a key stands twice.
    """
    reader = Reader()
    parts = reader.read(memoryview(model), _MODEL).parts("metadata_props")
    entries = [reader.read(part, _ENTRY) for part in parts]
    keys = [entry.text("key") for entry in entries]
    if len(set(keys)) < len(keys):
        raise BundleError(f"A bundle has each metadata key once. Received: {shorten(str(keys))}.")
    return {key: entry.text("value") for key, entry in zip(keys, entries, strict=True)}


def check_graph(
    model: bytes, *, fixed_width: int, height: int, channels: int, num_classes: int
) -> None:
    """Checks that a model is safe to run and takes and gives what is expected.

    Its one input `images` must be uint8 (batch, width, height, channels), its one output `logits`
    float32 (batch, time_steps, num_classes).

    Args:
        model: an ONNX model's bytes.
        fixed_width: the width that images have in pixels, 0 if it varies.
        height: the height that images have in pixels.
        channels: that images have.
        num_classes: the characters and the blank.

    Raises:
        BundleError: if the model is broken, unsafe or doesn't fit.
    """
    reader = Reader()
    content = reader.read(memoryview(model), _MODEL)
    for part in content.parts("opset_import"):
        _check_domain(reader.read(part, _OPSET).text("domain"), "an opset import")
    if not content.parts("graph"):
        raise BundleError(f"A bundle has a graph. Received: none. {_ADVICE}")
    graph = reader.read(content.parts("graph")[0], _GRAPH)
    for part in graph.parts("node"):
        _check_node(reader, part)
    for part in graph.parts("initializer"):
        _check_tensor(reader, part)
    for part in graph.parts("value_info"):
        _read_signature(reader, part)
    inputs = [_read_signature(reader, part) for part in graph.parts("input")]
    outputs = [_read_signature(reader, part) for part in graph.parts("output")]
    # By dimension: what it is where the graph states it; 0 if it must not be fixed; None: any.
    images = Signature("images", _UINT8, (0, fixed_width, height, channels))
    _check_signature("input", inputs, images)
    _check_signature("output", outputs, Signature("logits", _FLOAT, (None, None, num_classes)))


def shorten(text: str) -> str:
    """`text` quoted, cut where it would fill the screen."""
    return repr(text) if len(text) <= 300 else f"{text[:300]!r}…"


def _check_domain(domain: str, where: str) -> None:
    if domain not in DOMAINS:
        raise BundleError(
            f"A bundle uses the operators of ONNX itself only. Received: {where} of the domain "
            f"{shorten(domain)}. {_ADVICE}"
        )


def _check_node(reader: Reader, part: memoryview) -> None:
    node = reader.read(part, _NODE)
    operator = node.text("op_type")
    _check_domain(node.text("domain"), f"the operator {shorten(operator)}")
    if operator not in OPERATORS:
        raise BundleError(
            f"A bundle has only operators that our export makes. Received: {shorten(operator)}. "
            f"{_ADVICE}"
        )
    for attribute_part in node.parts("attribute"):
        attribute = reader.read(attribute_part, _ATTRIBUTE)
        for tensor in (*attribute.parts("t"), *attribute.parts("tensors")):
            _check_tensor(reader, tensor)


def _check_tensor(reader: Reader, part: memoryview) -> None:
    tensor = reader.read(part, _TENSOR)
    if location := tensor.number("data_location"):
        raise BundleError(
            f"A bundle's tensors lie in the bundle. Received: data location {location} (external)."
        )
    data_type = tensor.number("data_type")
    if data_type not in _ELEMENT_BYTES:
        raise BundleError(
            f"A bundle's tensors are of the types {sorted(_ELEMENT_BYTES)}. Received: {data_type}."
        )
    raw = tensor.held_bytes("raw_data") // _ELEMENT_BYTES[data_type]
    held = raw or tensor.held_bytes("float_data", "int32_data", "int64_data", "double_data")
    dims = tensor.numbers("dims", most=MAX_RANK)
    if math.prod(dims) > held or max(dims, default=0) > MAX_DIM:  # the latter beside a 0
        raise BundleError(
            f"A bundle's tensors hold what they declare. Received: the shape {dims} with data "
            f"for {held} elements at most."
        )


def _read_signature(reader: Reader, part: memoryview) -> Signature:
    def inner(content: Content, name: str, message: Message) -> Content:
        return reader.read(next(iter(content.parts(name)), memoryview(b"")), message)

    value = reader.read(part, _VALUE)
    tensor_type = inner(inner(value, "type", _TYPE), "tensor_type", _TENSOR_TYPE)
    dims: tuple[int | None, ...] | None = None
    if tensor_type.parts("shape"):
        shape = inner(tensor_type, "shape", _SHAPE)
        contents = [reader.read(dim, _DIM) for dim in shape.parts("dim")]
        dims = tuple(c.number("dim_value") if "dim_value" in c.values else None for c in contents)
    return Signature(value.text("name"), tensor_type.number("elem_type"), dims)


def _check_signature(kind: str, received: list[Signature], expected: Signature) -> None:
    if not (len(received) == 1 and _fits(received[0], expected)):
        found = shorten(str([(one.name, one.data_type, one.dims) for one in received]))
        raise BundleError(
            f"A bundle's graph has one {kind}, '{expected.name}', of element type "
            f"{expected.data_type} and dimensions {expected.dims} (0: not fixed, None: any). "
            f"Received: {found}. {_ADVICE}"
        )


def _fits(received: Signature, expected: Signature) -> bool:
    if received.dims is None or expected.dims is None or len(received.dims) != len(expected.dims):
        return False
    return (received.name, received.data_type) == (expected.name, expected.data_type) and all(
        dim is None or wanted is None or dim == wanted
        for dim, wanted in zip(received.dims, expected.dims, strict=True)
    )
