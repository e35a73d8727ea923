"""Runs in the child. Executes graphs of TensorFlow operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.child.engines.tensorflow.c_library import POINTER, Output, load_library
from stemsplit.child.engines.tensorflow.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stemsplit.child.engines.tensorflow.graph import Graph


class Session:
    """A session, which runs a graph. Never closed, because the process is short-lived."""

    def __init__(self, graph: Graph, threads: int) -> None:
        """Open a session for a graph, which must not change after the first run.

        Operations run one at a time, each on `threads` threads.
        """
        self._library = load_library()
        options = self._library.TF_NewSessionOptions()
        try:
            config = config_proto(threads)
            self._library.checked("TF_SetConfig", options, config, len(config))
            self._handle = self._library.checked("TF_NewSession", graph.handle, options)
        finally:
            self._library.TF_DeleteSessionOptions(options)

    def run(self, feeds: Iterable[tuple[Output, Tensor]], wanted: Sequence[Output]) -> list[Tensor]:
        """Compute outputs of the graph.

        Args:
            feeds: each placeholder that `wanted` depends on, with its tensor. Not modified.
            wanted: the outputs to compute.

        Returns:
            one tensor for each of `wanted`.

        Raises:
            MemoryError: if TensorFlow runs out of memory.
            LibraryError: if the run fails for any other reason.
        """
        placeholders, tensors = zip(*feeds, strict=True)
        count = len(placeholders)
        inputs = (POINTER * count)(*(tensor.handle for tensor in tensors))
        results = (POINTER * len(wanted))()
        self._library.checked(
            "TF_SessionRun",
            *(self._handle, None),  # no run options
            *((Output * count)(*placeholders), inputs, count),
            *((Output * len(wanted))(*wanted), results, len(wanted)),
            *(None, 0, None),  # no target operations, no run metadata
        )
        return [Tensor(handle or 0) for handle in results]


def config_proto(threads: int) -> bytes:
    """Return an encoded `ConfigProto` (`tensorflow/core/protobuf/config.proto`).

    It excludes GPUs, because the memory of a child must match the prediction. It disables the graph
    optimiser, which takes as long as half a segment, keeps a copy of the graph, and finds nothing
    to improve in a graph built for inference.
    """
    no_gpu = _message(1, _message(1, b"GPU") + _number(2, 0))  # device_count
    intra_op_threads = _number(2, threads)  # intra_op_parallelism_threads
    inter_op_threads = _number(5, 1)  # inter_op_parallelism_threads
    no_rewriting = _message(10, _number(19, 1))  # rewrite_options: disable_meta_optimizer
    no_optimisation = _message(3, _number(3, -1))  # optimizer_options: opt_level L0
    return (
        no_gpu + intra_op_threads + inter_op_threads + _message(10, no_optimisation + no_rewriting)
    )


def _number(field: int, value: int) -> bytes:
    """Encode an integer field of a protocol buffer; a negative value takes 64 bits."""
    return _varint(field << 3) + _varint(value % 2**64)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:  # noqa: PLR2004 - seven bits per byte
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
