"""Runs in the child. Loads TensorFlow's C library and declares the functions that are used.

The TensorFlow wheel contains the library as a file, except on Windows. Loading it takes a tenth of
the time of `import tensorflow` and a third of the memory, and runs no TensorFlow code, so a process
that has loaded it can still fork. Only the documented C API is used (`tensorflow/c/c_api.h` and
`tensorflow/c/tf_tstring.h` of TensorFlow 2.12), which Semantic Versioning covers.
"""

from __future__ import annotations

import ctypes
import os
import sys
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stemsplit.child.engines.library_environment import set_library_environment

POINTER = ctypes.c_void_p

_FILE_NAMES = {"linux": "libtensorflow_cc.so.2", "darwin": "libtensorflow_cc.2.dylib"}

_RESOURCE_EXHAUSTED = 8
"""`TF_RESOURCE_EXHAUSTED` of `tensorflow/c/tf_status.h`."""


class DataType(IntEnum):
    """`TF_DataType` of `tensorflow/c/tf_datatype.h`."""

    FLOAT = 1
    INT32 = 3
    STRING = 7


class LibraryError(Exception):
    """The library is missing or has reported an error."""


class Output(ctypes.Structure):
    """`TF_Output`: one output of an operation in a graph."""

    _fields_ = (("operation", POINTER), ("index", ctypes.c_int))


class Library:
    """The loaded library; its functions are attributes, with their argument and result types."""

    _SIGNATURES: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
        ("TF_NewStatus", POINTER, ()),
        ("TF_DeleteStatus", None, (POINTER,)),
        ("TF_GetCode", ctypes.c_int, (POINTER,)),
        ("TF_Message", ctypes.c_char_p, (POINTER,)),
        ("TF_NewGraph", POINTER, ()),
        ("TF_NewOperation", POINTER, (POINTER, ctypes.c_char_p, ctypes.c_char_p)),
        ("TF_AddInput", None, (POINTER, Output)),
        ("TF_AddInputList", None, (POINTER, POINTER, ctypes.c_int)),
        ("TF_FinishOperation", POINTER, (POINTER, POINTER)),
        ("TF_SetAttrType", None, (POINTER, ctypes.c_char_p, ctypes.c_int)),
        ("TF_SetAttrTypeList", None, (POINTER, ctypes.c_char_p, POINTER, ctypes.c_int)),
        ("TF_SetAttrBool", None, (POINTER, ctypes.c_char_p, ctypes.c_ubyte)),
        ("TF_SetAttrInt", None, (POINTER, ctypes.c_char_p, ctypes.c_int64)),
        ("TF_SetAttrIntList", None, (POINTER, ctypes.c_char_p, POINTER, ctypes.c_int)),
        ("TF_SetAttrFloat", None, (POINTER, ctypes.c_char_p, ctypes.c_float)),
        ("TF_SetAttrString", None, (POINTER, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)),
        ("TF_SetAttrShape", None, (POINTER, ctypes.c_char_p, POINTER, ctypes.c_int)),
        ("TF_SetAttrTensor", None, (POINTER, ctypes.c_char_p, POINTER, POINTER)),
        ("TF_NewSessionOptions", POINTER, ()),
        ("TF_DeleteSessionOptions", None, (POINTER,)),
        ("TF_SetConfig", None, (POINTER, ctypes.c_char_p, ctypes.c_size_t, POINTER)),
        ("TF_NewSession", POINTER, (POINTER, POINTER, POINTER)),
        (
            "TF_SessionRun",
            None,
            (
                *(POINTER, POINTER),
                *(POINTER, POINTER, ctypes.c_int),
                *(POINTER, POINTER, ctypes.c_int),
                *(POINTER, ctypes.c_int, POINTER, POINTER),
            ),
        ),
        ("TF_AllocateTensor", POINTER, (ctypes.c_int, POINTER, ctypes.c_int, ctypes.c_size_t)),
        ("TF_DeleteTensor", None, (POINTER,)),
        ("TF_TensorType", ctypes.c_int, (POINTER,)),
        ("TF_NumDims", ctypes.c_int, (POINTER,)),
        ("TF_Dim", ctypes.c_int64, (POINTER, ctypes.c_int)),
        ("TF_TensorData", POINTER, (POINTER,)),
        ("TF_StringInit", None, (POINTER,)),
        ("TF_StringCopy", None, (POINTER, ctypes.c_char_p, ctypes.c_size_t)),
    )

    def __init__(self, path: Path) -> None:
        """Load the library.

        Raises:
            OSError: if the file cannot be loaded.
            AttributeError: if it lacks a function.
        """
        self._functions = ctypes.CDLL(os.fspath(path))
        for name, result, arguments in self._SIGNATURES:
            function = getattr(self._functions, name)
            function.restype, function.argtypes = result, arguments

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - ctypes functions are untyped
        return getattr(self._functions, name)

    def checked(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 - likewise
        """Call a function and check the status that it takes as its last argument.

        Args:
            function: name of the function.
            arguments: its arguments without the status.

        Raises:
            MemoryError: if TensorFlow ran out of memory.
            LibraryError: if TensorFlow reported any other error.
        """
        status = self.TF_NewStatus()
        try:
            result = getattr(self, function)(*arguments, status)
            code = self.TF_GetCode(status)
            if code:
                message = self.TF_Message(status).decode(errors="replace")
                raise (MemoryError if code == _RESOURCE_EXHAUSTED else LibraryError)(message)
            return result
        finally:
            self.TF_DeleteStatus(status)


def library_path() -> Path | None:
    """Return the path of the installed library; None if the wheel does not contain it."""
    name, package = _FILE_NAMES.get(sys.platform), find_spec("tensorflow")
    if name is None or package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name(name)
    return path if path.is_file() else None


@cache
def load_library() -> Library:
    """Load the library once per process.

    Raises:
        LibraryError: if it is missing or cannot be loaded.
    """
    path = library_path()
    if path is None:
        raise LibraryError("TensorFlow is installed, but its library was not found")
    set_library_environment()
    try:
        return Library(path)
    except (OSError, AttributeError) as error:
        raise LibraryError(f"TensorFlow's library cannot be loaded: {error}") from error
