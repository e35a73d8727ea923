"""Runs in the child. TensorFlow's own C library, without its Python package: graphs, runs, tensors.

The wheel of TensorFlow carries the library as a file (except on Windows). Loading it takes a tenth
of the time of `import tensorflow` and a third of the memory, and runs no code of TensorFlow's, so
that a process that has loaded it may still be forked. What is used here is the documented C API
(`tensorflow/c/c_api.h` and `tensorflow/c/tf_tstring.h` of TensorFlow 2.12), which Semantic
Versioning covers.
"""

from __future__ import annotations

import ctypes
import os
import sys
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemsplit.child.engines.library_errors import prepare_environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from numpy.typing import NDArray

_FILE_NAMES = {"linux": "libtensorflow_cc.so.2", "darwin": "libtensorflow_cc.2.dylib"}

_STRING_BYTES = 24
"""The size of a `TF_TString`."""

_EXHAUSTED = 8
"""`TF_RESOURCE_EXHAUSTED` of `tensorflow/c/tf_status.h`."""

_POINTER = ctypes.c_void_p


class DataType(IntEnum):
    """`TF_DataType` of `tensorflow/c/tf_datatype.h`."""

    FLOAT = 1
    INT32 = 3
    STRING = 7


_NUMPY_TYPES = {DataType.FLOAT: np.dtype(np.float32), DataType.INT32: np.dtype(np.int32)}


class LibraryError(Exception):
    """What TensorFlow says that it could not do."""


class Output(ctypes.Structure):
    """`TF_Output`: one of the results of an operation of a graph."""

    _fields_ = (("operation", _POINTER), ("index", ctypes.c_int))


_Inputs = Output | list[Output]
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


def library_path() -> Path | None:
    """Find the library of the installed TensorFlow; None if its wheel has none."""
    name, package = _FILE_NAMES.get(sys.platform), find_spec("tensorflow")
    if name is None or package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name(name)
    return path if path.is_file() else None


@cache
def _library() -> _Library:
    path = library_path()
    if path is None:
        raise LibraryError("TensorFlow is installed without its library")
    prepare_environment()
    try:
        return _Library(path)
    except (OSError, AttributeError) as error:
        raise LibraryError(f"TensorFlow's library cannot be loaded: {error}") from error


def open_library() -> None:
    """Load the library, which is otherwise done at the first use.

    Raises:
        LibraryError: if there is none, or it cannot be loaded.
    """
    _library()


class _Library:
    """The functions of the library that are used here, with their types."""

    _SIGNATURES: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
        ("TF_NewStatus", _POINTER, ()),
        ("TF_DeleteStatus", None, (_POINTER,)),
        ("TF_GetCode", ctypes.c_int, (_POINTER,)),
        ("TF_Message", ctypes.c_char_p, (_POINTER,)),
        ("TF_NewGraph", _POINTER, ()),
        ("TF_NewOperation", _POINTER, (_POINTER, ctypes.c_char_p, ctypes.c_char_p)),
        ("TF_AddInput", None, (_POINTER, Output)),
        ("TF_AddInputList", None, (_POINTER, _POINTER, ctypes.c_int)),
        ("TF_FinishOperation", _POINTER, (_POINTER, _POINTER)),
        ("TF_SetAttrType", None, (_POINTER, ctypes.c_char_p, ctypes.c_int)),
        ("TF_SetAttrTypeList", None, (_POINTER, ctypes.c_char_p, _POINTER, ctypes.c_int)),
        ("TF_SetAttrBool", None, (_POINTER, ctypes.c_char_p, ctypes.c_ubyte)),
        ("TF_SetAttrInt", None, (_POINTER, ctypes.c_char_p, ctypes.c_int64)),
        ("TF_SetAttrIntList", None, (_POINTER, ctypes.c_char_p, _POINTER, ctypes.c_int)),
        ("TF_SetAttrFloat", None, (_POINTER, ctypes.c_char_p, ctypes.c_float)),
        (
            "TF_SetAttrString",
            None,
            (_POINTER, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
        ),
        ("TF_SetAttrShape", None, (_POINTER, ctypes.c_char_p, _POINTER, ctypes.c_int)),
        ("TF_SetAttrTensor", None, (_POINTER, ctypes.c_char_p, _POINTER, _POINTER)),
        ("TF_NewSessionOptions", _POINTER, ()),
        ("TF_DeleteSessionOptions", None, (_POINTER,)),
        ("TF_SetConfig", None, (_POINTER, ctypes.c_char_p, ctypes.c_size_t, _POINTER)),
        ("TF_NewSession", _POINTER, (_POINTER, _POINTER, _POINTER)),
        (
            "TF_SessionRun",
            None,
            (
                *(_POINTER, _POINTER),
                *(_POINTER, _POINTER, ctypes.c_int),
                *(_POINTER, _POINTER, ctypes.c_int),
                *(_POINTER, ctypes.c_int, _POINTER, _POINTER),
            ),
        ),
        (
            "TF_AllocateTensor",
            _POINTER,
            (ctypes.c_int, _POINTER, ctypes.c_int, ctypes.c_size_t),
        ),
        ("TF_DeleteTensor", None, (_POINTER,)),
        ("TF_TensorType", ctypes.c_int, (_POINTER,)),
        ("TF_NumDims", ctypes.c_int, (_POINTER,)),
        ("TF_Dim", ctypes.c_int64, (_POINTER, ctypes.c_int)),
        ("TF_TensorData", _POINTER, (_POINTER,)),
        ("TF_StringInit", None, (_POINTER,)),
        ("TF_StringCopy", None, (_POINTER, ctypes.c_char_p, ctypes.c_size_t)),
    )

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(os.fspath(path))
        for name, result, arguments in self._SIGNATURES:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._functions = library

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - ctypes has no types
        return getattr(self._functions, name)

    def checked(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 - likewise
        """Call a function whose last argument is a status.

        Raises:
            MemoryError: if TensorFlow found too little of it.
            LibraryError: if it says anything else.
        """
        status = self.TF_NewStatus()
        try:
            result = getattr(self, function)(*arguments, status)
            code = self.TF_GetCode(status)
            if code:
                message = self.TF_Message(status).decode(errors="replace")
                raise MemoryError(message) if code == _EXHAUSTED else LibraryError(message)
            return result
        finally:
            self.TF_DeleteStatus(status)


class Tensor:
    """A tensor in TensorFlow's memory; NumPy sees it through `array`."""

    def __init__(self, handle: int) -> None:
        """Own what the handle points to."""
        self.handle = handle
        self._library = _library()

    @classmethod
    def empty(cls, data_type: DataType, shape: Sequence[int], size_bytes: int) -> Self:
        """Allocate one; what is in it is not defined. Raises `MemoryError`."""
        dimensions = (ctypes.c_int64 * len(shape))(*shape)
        handle = _library().TF_AllocateTensor(data_type, dimensions, len(shape), size_bytes)
        if handle is None:
            raise MemoryError(f"no {size_bytes} bytes for a tensor")
        return cls(handle)

    @classmethod
    def of(cls, values: NDArray[np.float32] | NDArray[np.int32]) -> Self:
        """Copy an array, float32 or int32."""
        data_type = next(key for key, value in _NUMPY_TYPES.items() if value == values.dtype)
        tensor = cls.empty(data_type, values.shape, values.nbytes)
        np.copyto(tensor.array, values)
        return tensor

    @classmethod
    def of_strings(cls, values: Sequence[bytes], *, scalar: bool = False) -> Self:
        """Copy strings into a vector, or the only one of them into a scalar."""
        library = _library()
        shape = () if scalar else (len(values),)
        tensor = cls.empty(DataType.STRING, shape, _STRING_BYTES * len(values))
        first = library.TF_TensorData(tensor.handle)
        for number, value in enumerate(values):
            string = first + number * _STRING_BYTES
            library.TF_StringInit(string)
            library.TF_StringCopy(string, value, len(value))
        return tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        axes = range(self._library.TF_NumDims(self.handle))
        return tuple(self._library.TF_Dim(self.handle, axis) for axis in axes)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What NumPy asks for (its array interface protocol, version 3)."""
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": _NUMPY_TYPES[self._library.TF_TensorType(self.handle)].str,
            "data": (self._library.TF_TensorData(self.handle), False),
        }

    @property
    def array(self) -> NDArray[Any]:
        """The values, float32 or int32, without a copy; keeps the tensor alive."""
        return np.asarray(self)

    def __del__(self) -> None:
        """Give the memory back."""
        self._library.TF_DeleteTensor(self.handle)


class Graph:
    """Operations and how they depend on one another; never freed, as the process is short-lived."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._library = _library()
        self.handle = self._library.TF_NewGraph()
        self._count = 0

    def add(self, kind: str, *inputs: _Inputs, **attributes: _Attribute) -> Output:
        """Add an operation.

        Args:
            kind: TensorFlow's name of it, such as `Conv2D`.
            inputs: results of others; a list where the operation takes one.
            attributes: by TensorFlow's names. A tuple is a shape, a list one of integers or types.

        Returns:
            its first result; `results` gives all.

        Raises:
            LibraryError: if TensorFlow refuses it, for shapes that do not fit for one.
        """
        library = self._library
        self._count += 1
        description = library.TF_NewOperation(
            self.handle, kind.encode(), f"{kind}_{self._count}".encode()
        )
        for one in inputs:
            if isinstance(one, Output):
                library.TF_AddInput(description, one)
            else:
                library.TF_AddInputList(description, (Output * len(one))(*one), len(one))
        for name, value in attributes.items():
            self._set(description, name.encode(), value)
        return Output(library.checked("TF_FinishOperation", description), 0)

    def _set(self, description: int, name: bytes, value: _Attribute) -> None:
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
                tensor = Tensor.of(value)
                library.checked("TF_SetAttrTensor", description, name, tensor.handle)
            case _:
                raise TypeError(f"{name.decode()} is a {type(value).__name__}")

    def placeholder(self, data_type: DataType, shape: Sequence[int] | None = None) -> Output:
        """Add a place for a tensor that each run is given."""
        if shape is None:
            return self.add("Placeholder", dtype=data_type)
        return self.add("Placeholder", dtype=data_type, shape=tuple(shape))

    def constant(self, values: Iterable[int] | int) -> Output:
        """Add integers that never change."""
        array = np.array(values if isinstance(values, int) else list(values), np.int32)
        return self.add("Const", dtype=DataType.INT32, value=array)


def results(first: Output, count: int) -> list[Output]:
    """Give so many results of the operation whose first one is given."""
    return [Output(first.operation, index) for index in range(count)]


class Session:
    """Runs a graph; never closed, as the process is short-lived."""

    def __init__(self, graph: Graph, threads: int) -> None:
        """Open it.

        Args:
            graph: what it runs; nothing may be added to it from the first run on.
            threads: of each operation, at least 1. Operations run one after the other.
        """
        self._library = _library()
        options = self._library.TF_NewSessionOptions()
        try:
            configuration = _configuration(threads)
            self._library.checked("TF_SetConfig", options, configuration, len(configuration))
            self._handle = self._library.checked("TF_NewSession", graph.handle, options)
        finally:
            self._library.TF_DeleteSessionOptions(options)

    def run(self, feeds: Iterable[tuple[Output, Tensor]], wanted: Sequence[Output]) -> list[Tensor]:
        """Compute.

        Args:
            feeds: each placeholder that what is wanted depends on, with its tensor, which is left
                as it is.
            wanted: what to compute.

        Returns:
            one tensor for each of `wanted`.

        Raises:
            MemoryError: if there is too little of it.
            LibraryError: if that fails in another way.
        """
        places, tensors = zip(*feeds, strict=True)
        count = len(places)
        handles = (_POINTER * len(wanted))()
        self._library.checked(
            "TF_SessionRun",
            *(self._handle, None),  # no options
            *((Output * count)(*places), (_POINTER * count)(*(one.handle for one in tensors))),
            *(count, (Output * len(wanted))(*wanted), handles, len(wanted)),
            *(None, 0, None),  # nothing to run without a result, no account of the run
        )
        return [Tensor(handle or 0) for handle in handles]


def _configuration(threads: int) -> bytes:
    """Give a `ConfigProto` (tensorflow/core/protobuf/config.proto), encoded.

    Graphics cards are left out, because a child is to take the memory that was predicted. The graph
    optimiser is left out: it takes as long as half a segment, keeps a copy of the graph, and finds
    nothing to gain in a graph that is made for running.
    """
    no_card = _message(1, _message(1, b"GPU") + _number(2, 0))  # device_count
    no_optimiser = _message(10, _number(19, 1))  # rewrite_options: disable_meta_optimizer
    plain = _message(3, _number(3, -1))  # optimizer_options: opt_level L0
    one_thread_between = _number(5, 1)  # inter_op_parallelism_threads
    graph_options = _message(10, plain + no_optimiser)
    return no_card + _number(2, threads) + one_thread_between + graph_options


def _number(field: int, value: int) -> bytes:
    """Encode one field of a protocol buffer as a number, negative ones as 64 bits."""
    return _varint(field << 3) + _varint(value % 2**64)


def _message(field: int, content: bytes) -> bytes:
    """Encode one field of a protocol buffer as a message."""
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:  # noqa: PLR2004 - seven bits a byte
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
