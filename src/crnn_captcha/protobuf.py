"""A strict reader of protobuf messages, for files that may come from anybody.

It knows the wire format only (https://protobuf.dev/programming-guides/encoding) and takes nothing
that two readers could understand differently: no unknown fields, no repetition of single ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crnn_captcha.errors import BundleError

MAX_FIELDS = 50_000  # far more than a network has; bounds the time and memory of a check

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


@dataclass(frozen=True)
class Field:
    """A field's name and wire type, and whether it may stand more than once."""

    name: str
    wire_type: int = BYTES
    many: bool = False


@dataclass(frozen=True)
class Message:
    """The fields by number that a message may have, and what some of the others would bring."""

    name: str
    fields: Mapping[int, Field]
    refused: Mapping[int, str] = field(default_factory=dict)


class Content:
    """A message's values: integers of varints, views of all else."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.values: dict[str, list[int | memoryview]] = {}

    def parts(self, name: str) -> list[memoryview]:
        """A field's values but for its integers, none where it is missing."""
        return [value for value in self.values.get(name, []) if isinstance(value, memoryview)]

    def number(self, name: str) -> int:
        """A field's integer, 0 where it is missing, as protobuf has it."""
        numbers = [value for value in self.values.get(name, []) if isinstance(value, int)]
        return numbers[0] if numbers else 0

    def text(self, name: str) -> str:
        """A field's text, empty where it is missing, as protobuf has it."""
        try:
            return "".join(str(part, "utf-8") for part in self.parts(name))
        except UnicodeDecodeError as error:
            raise BundleError(
                f"A {self.message.name}'s {name} is UTF-8. Received: {error.reason}."
            ) from error

    def held_bytes(self, *names: str) -> int:
        """At least as many as there are elements in these fields."""
        values = (value for name in names for value in self.values.get(name, []))
        return sum(1 if isinstance(value, int) else len(value) for value in values)

    def numbers(self, name: str, *, most: int) -> list[int]:
        """A field's integers, be they packed into one value or not.

        Raises:
            BundleError: if there are more than `most`.
        """
        numbers: list[int] = []
        for value in self.values.get(name, []):
            if isinstance(value, int):
                numbers.append(value)
                continue
            position = 0
            while position < len(value) and len(numbers) <= most:
                number, position = _read_varint(value, position)
                numbers.append(number)
        if len(numbers) > most:
            raise BundleError(f"A {self.message.name} has up to {most} {name}. Received: more.")
        return numbers


class Reader:
    """Reads messages one level deep, and no more than `MAX_FIELDS` fields in all."""

    def __init__(self) -> None:
        self.fields_left = MAX_FIELDS

    def read(self, data: memoryview, message: Message) -> Content:
        """The values of `data`.

        Raises:
            BundleError: if it isn't such a message, or has a field that our export doesn't write.
        """
        content = Content(message)
        position = 0
        while position < len(data):
            self.fields_left -= 1
            if self.fields_left < 0:
                raise BundleError(f"A bundle has up to {MAX_FIELDS} fields. Received: more.")
            tag, position = _read_varint(data, position)
            number, wire_type = tag >> 3, tag & 7
            expected = message.fields.get(number)
            if expected is None:
                what = message.refused.get(number, "no field that our export writes")
                raise BundleError(
                    f"A {message.name} of a bundle has only what our export writes. "
                    f"Received: field {number} ({what}). "
                    "Use a file that `crnn-captcha train` or `crnn-captcha export` wrote."
                )
            packed = expected.many and wire_type == BYTES
            values = content.values.setdefault(expected.name, [])
            if (wire_type != expected.wire_type and not packed) or (values and not expected.many):
                # A runtime would skip the one and merge the other: no two readings of one file.
                raise BundleError(
                    f"A {message.name} has one {expected.name} of wire type {expected.wire_type}. "
                    f"Received: another, of wire type {wire_type}."
                )
            value, position = _read_value(data, position, wire_type)
            values.append(value)
        return content


def _read_value(data: memoryview, position: int, wire_type: int) -> tuple[int | memoryview, int]:
    if wire_type == VARINT:
        return _read_varint(data, position)
    if wire_type == BYTES:
        size, position = _read_varint(data, position)
    else:
        size = _FIXED_BYTES[wire_type]
    if size > len(data) - position:
        raise BundleError(
            f"A bundle is whole. Received: {len(data) - position} bytes where {size} are announced."
        )
    return data[position : position + size], position + size


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """A number of up to 64 bits, seven in a byte, and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            raise BundleError("A bundle is whole. Received: the end in the middle of a number.")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise BundleError("A number in a bundle has up to 10 bytes. Received: more.")


def encode(number: int, data: bytes) -> bytes:
    """A field of wire type `BYTES`: its tag, its length and `data`."""
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(data)) + data


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
