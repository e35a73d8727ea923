"""Runs in the child. The ONNX engine: Spleeter's U-Nets in ONNX Runtime.

It is for systems without TensorFlow. `stemsplit.child.engines.onnx.write_graphs` wrote the graphs
in the folder `graphs`. The weights are those of Spleeter's releases, in the format of
`stemsplit.child.engines.weights.converted_file`. ONNX Runtime maps a file of weights into memory.
The arrays that it uses unchanged, a third of the weights, have no second copy and are shared by all
children. It rearranges the kernels of plain convolutions for the processor and releases the file's.

All stems share one memory arena for the arrays between the operators. The decision record
docs/decisions/0013-a-second-engine.md lists the attempts to reduce it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.library_environment import set_library_environment
from stemsplit.child.engines.network_definitions import network_of
from stemsplit.child.engines.ratio_mask import ratio_masks, softmax_estimates
from stemsplit.core.errors import EngineError
from stemsplit.core.settings import STEREO

set_library_environment()

import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stemsplit.child.engines.network_definitions import Network

MAGNITUDES, ESTIMATE = "magnitudes", "estimate"
"""Names of the graphs' input and output."""

_OUT_OF_MEMORY = re.compile("bad_alloc|[Ff]ailed to allocate|out of memory")
"""ONNX Runtime's messages when it runs out of memory."""

_CPU = "CPUExecutionProvider"
_LOG_ERRORS = 3
_ARENA = {"arena_extend_strategy": 0, "initial_chunk_size_bytes": 2**20}
"""Grow to the next power of two. In measurements, requests fit best into a few regions that start
small: 232 MiB, compared with 269 MiB if the arena grows by exactly what is requested."""

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 2**23
"""Blocks from this size on return to the system when they are freed (mallopt(3)). By default,
glibc's threshold grows to 32 MiB, which keeps all memory that was needed to create the sessions. A
smaller threshold would also return the smaller arrays of each segment, and a segment would take a
fifth longer."""


class OnnxEngine:
    """A Spleeter model in ONNX Runtime. Implements `Engine`; arguments and errors as `load`.

    A lean engine creates each stem's session for one run only, so that memory does not grow with
    the number of stems.
    """

    def __init__(self, model: str, folder: Path, threads: int, *, lean: bool) -> None:
        """Create the sessions, even if they are not kept, to fail now if a file is missing."""
        network = network_of(model)
        self.model = model
        self.stems = network.stems
        self.bins = network.bins
        self._softmax = network.softmax
        self._graph = graph_path(network).read_bytes()
        self._folder = folder
        self._threads = threads
        shape = (1, SEGMENT_FRAMES, network.bins, STEREO)
        self._estimates = [np.empty(shape, np.float32) for _ in self.stems]
        _return_large_blocks()
        _register_shared_arena()
        self._sessions: list[ort.InferenceSession] = []
        self._optimisation = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if lean:  # leaves the kernels as they are; a run takes a quarter longer
            self._optimisation = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        for stem in range(len(self.stems)):
            session = self._session(stem)
            if not lean:
                self._sessions.append(session)
            del session

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        wrap = ort.OrtValue.ortvalue_from_numpy  # does not copy the array
        network_input = wrap(magnitudes[None])
        for stem, estimate in enumerate(self._estimates):
            session = self._sessions[stem] if self._sessions else self._session(stem)
            binding = session.io_binding()
            binding.bind_ortvalue_input(MAGNITUDES, network_input)
            binding.bind_ortvalue_output(ESTIMATE, wrap(estimate))
            with self._translated_errors("run"):
                session.run_with_iobinding(binding)
        estimates = [estimate[0] for estimate in self._estimates]
        if self._softmax:
            estimates = softmax_estimates(estimates, magnitudes)
        return ratio_masks(estimates)

    def _session(self, stem: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1  # one operator at a time
        options.graph_optimization_level = self._optimisation
        options.log_severity_level = _LOG_ERRORS
        # Otherwise, each run allocates one block for all arrays, which fits only one graph.
        options.enable_mem_pattern = False
        folder = self._folder / str(stem)
        entries = {
            "session.use_env_allocators": "1",
            # Packing a kernel of a transposed convolution makes a second copy and saves no time.
            "session.disable_prepacking": "1",
            # Spinning threads take processor time from the other children.
            "session.intra_op.allow_spinning": "0",
            "session.model_external_initializers_file_folder_path": os.fspath(folder),
        }
        with self._translated_errors("load the weights of"):
            for key, value in entries.items():
                options.add_session_config_entry(key, value)
            return ort.InferenceSession(self._graph, options, providers=[_CPU])

    @contextlib.contextmanager
    def _translated_errors(self, action: str) -> Iterator[None]:
        """Translate ONNX Runtime's exceptions, which have no common base class.

        Raises:
            MemoryError: if ONNX Runtime ran out of memory.
            EngineError: in place of any other exception.
        """
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            if _OUT_OF_MEMORY.search(first_line):
                raise MemoryError(first_line) from error
            raise EngineError(
                f"ONNX Runtime cannot {action} {self.model} from {self._folder}: {first_line}",
                "Run the same command again, which verifies the weights first. If that does not "
                "help, run `stemsplit doctor`.",
            ) from error


def graph_path(network: Network) -> Path:
    """Return the path of the graph of a network's U-Nets."""
    activations = f"{network.encoder_activation}-{network.decoder_activation}".lower()
    suffix = "-softmax" if network.softmax else ""
    return Path(__file__).with_name("graphs") / f"unet-{network.bins}-{activations}{suffix}.onnx"


def load(model: str, folder: Path, threads: int, *, lean: bool = False) -> OnnxEngine:
    """Load a model from its converted weights. This is an `EngineLoader`.

    A lean engine keeps only one stem's session in memory at a time. Its masks differ by up to 1e-5,
    because other kernels compute them.

    Raises:
        EngineError: if the model is unknown, or ONNX Runtime cannot load the weights.
    """
    return OnnxEngine(model, folder, threads, lean=lean)


@cache
def _return_large_blocks() -> None:
    """Set glibc's threshold for large blocks; other allocators do not need it."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


@cache
def _register_shared_arena() -> None:
    """Make all sessions of this process allocate from one arena."""
    cpu = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(_ARENA))
