"""Protobuf's wire format: messages as their fields, without a schema.

Source: https://protobuf.dev/programming-guides/encoding/. Enough for models: no groups, no signed varints.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        number: which one, by the message's definition.
        content: of a length-delimited field its bytes, of a fixed one its 4 or 8; empty for a varint.
        value: of a varint; 0 for the others.
        whole: the field as it stands in the message, its tag included.
    """

    number: int
    content: memoryview
    value: int
    whole: memoryview


def fields_of(message: memoryview) -> Iterator[Field]:
    """The fields in their order.

    Raises:
        ValueError: this is no message, or a truncated one.
    """
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        content_at, value = at, 0
        if wire_type == _VARINT:
            value, at = _read_varint(message, at)
            content_at = at
        elif wire_type == _BYTES:
            length, content_at = _read_varint(message, at)
            at = content_at + length
        elif wire_type in (_FIXED64, _FIXED32):
            at += 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"no protobuf message: wire type {wire_type} at byte {start}")
        if at > len(message):
            raise ValueError(f"a truncated protobuf message: field {number} ends beyond it")
        yield Field(number, message[content_at:at], value, message[start:at])


def packed_varints(content: memoryview) -> Iterator[int]:
    """The numbers of a packed repeated field."""
    at = 0
    while at < len(content):
        value, at = _read_varint(content, at)
        yield value


def bytes_field(number: int, content: bytes | memoryview) -> bytes:
    """A length-delimited field: bytes, a string, a message or packed numbers."""
    return varint(number << 3 | _BYTES) + varint(len(content)) + bytes(content)


def text_field(number: int, text: str) -> bytes:
    return bytes_field(number, text.encode())


def varint_field(number: int, value: int) -> bytes:
    """An integer from 0 to 2⁶⁴ − 1; an enum."""
    return varint(number << 3 | _VARINT) + varint(value)


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Its value, and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a truncated protobuf message: it ends within a number")
