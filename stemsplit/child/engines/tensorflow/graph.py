"""Runs in the child. Builds graphs of TensorFlow operations."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from stemsplit.child.engines.tensorflow.c_library import DataType, Output, load_library
from stemsplit.child.engines.tensorflow.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_Input = Output | list[Output]
_Attribute = (
    DataType
    | bool
    | int
    | float
    | str
    | tuple[int, ...]
    | list[int]
    | list[DataType]
    | np.ndarray[Any, Any]
)


class Graph:
    """A graph of operations. Never freed, because the process is short-lived."""

    def __init__(self) -> None:
        self._library = load_library()
        self.handle = self._library.TF_NewGraph()
        self._count = 0

    def add(self, op_type: str, /, *inputs: _Input, **attributes: _Attribute) -> Output:
        """Add an operation.

        Args:
            op_type: TensorFlow's name of the operation, such as `Conv2D`.
            inputs: outputs of other operations; a list for an input that takes a list.
            attributes: attributes by TensorFlow's names. A tuple is a shape, a list contains
                integers or types.

        Returns:
            the operation's first output; `outputs_of` returns all of them.

        Raises:
            LibraryError: if TensorFlow rejects the operation, for example because shapes do not
                match.
        """
        library = self._library
        self._count += 1
        description = library.TF_NewOperation(
            self.handle, op_type.encode(), f"{op_type}_{self._count}".encode()
        )
        for value in inputs:
            if isinstance(value, Output):
                library.TF_AddInput(description, value)
            else:
                library.TF_AddInputList(description, (Output * len(value))(*value), len(value))
        for name, attribute in attributes.items():
            self._set_attribute(description, name.encode(), attribute)
        return Output(library.checked("TF_FinishOperation", description), 0)

    def _set_attribute(self, description: int, name: bytes, value: _Attribute) -> None:
        library = self._library
        match value:
            case DataType():
                library.TF_SetAttrType(description, name, value)
            case bool():
                library.TF_SetAttrBool(description, name, value)
            case int():
                library.TF_SetAttrInt(description, name, value)
            case float():
                library.TF_SetAttrFloat(description, name, value)
            case str():
                text = value.encode()
                library.TF_SetAttrString(description, name, text, len(text))
            case tuple():
                sizes = (ctypes.c_int64 * len(value))(*value)
                library.TF_SetAttrShape(description, name, sizes, len(value))
            case [DataType(), *_]:
                types = (ctypes.c_int * len(value))(*value)
                library.TF_SetAttrTypeList(description, name, types, len(value))
            case list():
                numbers = (ctypes.c_int64 * len(value))(*value)
                library.TF_SetAttrIntList(description, name, numbers, len(value))
            case np.ndarray():
                tensor = Tensor.from_array(value)
                library.checked("TF_SetAttrTensor", description, name, tensor.handle)
            case _:
                raise TypeError(f"{name.decode()} is a {type(value).__name__}")

    def placeholder(self, data_type: DataType, shape: Sequence[int] | None = None) -> Output:
        """Add an input that each run feeds with a tensor; a `shape` of None accepts any shape."""
        if shape is None:
            return self.add("Placeholder", dtype=data_type)
        return self.add("Placeholder", dtype=data_type, shape=tuple(shape))

    def constant(self, values: Iterable[int] | int) -> Output:
        """Add an int32 constant, a scalar or a vector."""
        array = np.array(values if isinstance(values, int) else list(values), np.int32)
        return self.add("Const", dtype=DataType.INT32, value=array)


def outputs_of(first: Output, count: int) -> list[Output]:
    """Return the first `count` outputs of the operation whose first output is `first`."""
    return [Output(first.operation, index) for index in range(count)]
