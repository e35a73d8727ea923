"""Runs in the child. Tensors in TensorFlow's memory, which NumPy accesses without a copy."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from stemsplit.child.engines.tensorflow.c_library import DataType, load_library

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

_STRING_BYTES = 24
"""`sizeof(TF_TString)` (`tensorflow/c/tf_tstring.h`)."""

_NUMPY_TYPES = {DataType.FLOAT: np.dtype(np.float32), DataType.INT32: np.dtype(np.int32)}


class Tensor:
    """A tensor in TensorFlow's memory; `array` is a NumPy view of it."""

    def __init__(self, handle: int) -> None:
        """Take ownership of the `TF_Tensor` that `handle` points to."""
        self.handle = handle
        self._library = load_library()

    @classmethod
    def allocate(cls, data_type: DataType, shape: Sequence[int], size_bytes: int) -> Self:
        """Allocate a tensor without initialising it; raise `MemoryError` if that fails."""
        dimensions = (ctypes.c_int64 * len(shape))(*shape)
        handle = load_library().TF_AllocateTensor(data_type, dimensions, len(shape), size_bytes)
        if handle is None:
            raise MemoryError(f"no {size_bytes} bytes for a tensor")
        return cls(handle)

    @classmethod
    def from_array(cls, values: NDArray[np.float32] | NDArray[np.int32]) -> Self:
        """Copy a float32 or int32 array."""
        data_type = next(key for key, dtype in _NUMPY_TYPES.items() if dtype == values.dtype)
        tensor = cls.allocate(data_type, values.shape, values.nbytes)
        np.copyto(tensor.array, values)
        return tensor

    @classmethod
    def from_strings(cls, values: Sequence[bytes], *, scalar: bool = False) -> Self:
        """Copy strings into a vector, or a single string into a scalar."""
        library = load_library()
        shape = () if scalar else (len(values),)
        tensor = cls.allocate(DataType.STRING, shape, _STRING_BYTES * len(values))
        first = library.TF_TensorData(tensor.handle)
        for number, value in enumerate(values):
            string = first + number * _STRING_BYTES
            library.TF_StringInit(string)
            library.TF_StringCopy(string, value, len(value))
        return tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        axes = range(self._library.TF_NumDims(self.handle))
        return tuple(self._library.TF_Dim(self.handle, axis) for axis in axes)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """NumPy's array interface, version 3."""
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": _NUMPY_TYPES[self._library.TF_TensorType(self.handle)].str,
            "data": (self._library.TF_TensorData(self.handle), False),
        }

    @property
    def array(self) -> NDArray[Any]:
        """The float32 or int32 values, without a copy; the array keeps the tensor alive."""
        return np.asarray(self)

    def __del__(self) -> None:
        self._library.TF_DeleteTensor(self.handle)
