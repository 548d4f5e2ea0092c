"""ONNX's nodes and tensors, read from their messages and written, without the ONNX package.

Field numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from media.engines.protobuf_wire import bytes_field, fields_of, packed_varints, text_field, varint_field

_INPUT, _OUTPUT, _NAME, _OP_TYPE, _ATTRIBUTE, _DOMAIN = 1, 2, 3, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 3, 8, 20
_INT, _INTS = 2, 7
_DIMS, _DATA_TYPE, _FLOAT_DATA, _INT32_DATA, _TENSOR_NAME, _RAW_DATA = 1, 2, 4, 5, 8, 9

Array: TypeAlias = npt.NDArray[Any]

_DATA_TYPES: dict[int, type[np.generic]] = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
"""TensorProto.DataType → numpy's type, for those that are read and written here."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operator.

    Attributes:
        op_type: `Conv`, `ReduceMean` …
        inputs: names of values; empty for one that is left out.
        outputs: names of values.
        message: its NodeProto.
    """

    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    message: memoryview

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute of one or several integers, none of them negative; empty where it is left out."""
        for field in fields_of(self.message):
            if field.number == _ATTRIBUTE and name_of(field.content, _ATTRIBUTE_NAME) == name:
                return tuple(_integers(field.content))
        return ()

    def reading(self, names: dict[str, str]) -> Node:
        """The same operator with some of its inputs renamed."""
        inputs = [names.get(name, name) for name in self.inputs]
        others = [bytes(field.whole) for field in fields_of(self.message) if field.number != _INPUT]
        message = b"".join([*(text_field(_INPUT, name) for name in inputs), *others])
        return Node(self.op_type, tuple(inputs), self.outputs, memoryview(message))


def read_node(message: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    op_type = ""
    for field in fields_of(message):
        if field.number == _INPUT:
            inputs.append(str(field.content, "utf-8"))
        elif field.number == _OUTPUT:
            outputs.append(str(field.content, "utf-8"))
        elif field.number == _OP_TYPE:
            op_type = str(field.content, "utf-8")
    return Node(op_type, tuple(inputs), tuple(outputs), message)


def new_node(
    op_type: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: int | Sequence[int]
) -> Node:
    """An operator with one output, named after it.

    Args:
        op_type: of the standard operators, or of those of `domain`.
        inputs: names of values.
        output: its name.
        domain: `com.microsoft` for the runtime's own operators.
        attributes: integers of 0 and more.
    """
    fields = [text_field(_INPUT, name) for name in inputs]
    fields += [text_field(_OUTPUT, output), text_field(_NAME, output), text_field(_OP_TYPE, op_type)]
    fields += [bytes_field(_ATTRIBUTE, _attribute(name, value)) for name, value in attributes.items()]
    if domain:
        fields.append(text_field(_DOMAIN, domain))
    return Node(op_type, tuple(inputs), (output,), memoryview(b"".join(fields)))


def read_tensor(message: memoryview) -> Array:
    """The values of a TensorProto: of any type if they are raw, else floats, or bytes written as numbers.

    Raises:
        ValueError: its type or the way it is written is none of those.
    """
    dims: list[int] = []
    numbers: list[int] = []
    data_type = 0
    floats = b""
    raw: memoryview | None = None
    for field in fields_of(message):
        if field.number == _DIMS:
            dims.extend(packed_varints(field.content) if len(field.content) else [field.value])
        elif field.number == _DATA_TYPE:
            data_type = field.value
        elif field.number == _INT32_DATA:
            numbers.extend(packed_varints(field.content) if len(field.content) else [field.value])
        elif field.number == _FLOAT_DATA:
            floats += field.content
        elif field.number == _RAW_DATA:
            raw = field.content
    if data_type not in _DATA_TYPES:
        raise ValueError(f"a tensor of data type {data_type}")
    dtype = np.dtype(_DATA_TYPES[data_type])
    if raw is not None:
        return np.frombuffer(raw, dtype.newbyteorder("<")).reshape(dims)
    if dtype == np.float32:
        return np.frombuffer(floats, dtype.newbyteorder("<")).reshape(dims)
    if dtype not in (np.uint8, np.int8):
        raise ValueError(f"a tensor of {dtype} that is not raw")
    # A negative number is written as one of 64 bits.
    return np.array(numbers, np.uint64).astype(dtype).reshape(dims)


def tensor_message(name: str, values: Array) -> bytes:
    data_type = next(number for number, dtype in _DATA_TYPES.items() if values.dtype == dtype)
    raw = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return b"".join(
        [
            *(varint_field(_DIMS, size) for size in values.shape),
            varint_field(_DATA_TYPE, data_type),
            text_field(_TENSOR_NAME, name),
            bytes_field(_RAW_DATA, raw),
        ]
    )


def tensor_name(message: memoryview) -> str:
    return name_of(message, _TENSOR_NAME)


def name_of(message: memoryview, number: int) -> str:
    """A text field of a message; empty where there is none."""
    return next((str(field.content, "utf-8") for field in fields_of(message) if field.number == number), "")


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        values, kind = [varint_field(_ATTRIBUTE_INT, value)], _INT
    else:
        values, kind = [varint_field(_ATTRIBUTE_INTS, number) for number in value], _INTS
    return b"".join([text_field(_ATTRIBUTE_NAME, name), *values, varint_field(_ATTRIBUTE_TYPE, kind)])


def _integers(attribute: memoryview) -> Iterator[int]:
    for field in fields_of(attribute):
        if field.number == _ATTRIBUTE_INT:
            yield field.value
        elif field.number == _ATTRIBUTE_INTS:
            yield from packed_varints(field.content) if len(field.content) else [field.value]
