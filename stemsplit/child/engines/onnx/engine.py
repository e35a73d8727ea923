"""Runs in the child. Spleeter's U-Nets in ONNX Runtime: the engine where TensorFlow is not.

The graphs beside this file were written by `stemsplit.child.engines.onnx.write_graphs`, the
weights are those of Spleeter's releases in the layout of
`stemsplit.child.engines.weights.converted_file`. ONNX Runtime maps a file of weights into memory,
so that what it takes as it is has no second copy, and is shared by all children: a third of the
weights. Kernels of plain convolutions it lays out anew for the processor at hand, and lets go of
the file's.

Memory for the arrays between the operators comes from one arena for all stems. What was tried to
keep it small is in docs/decisions/0013-a-second-engine.md.
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
from stemsplit.child.engines.library_errors import prepare_environment
from stemsplit.child.engines.ratio_mask import ratio_masks, softmax_estimates
from stemsplit.child.engines.spleeter_models import network_of
from stemsplit.core.errors import EngineError
from stemsplit.core.settings import STEREO

prepare_environment()

import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from stemsplit.child.engines.spleeter_models import Network

MAGNITUDES, ESTIMATE = "magnitudes", "estimate"
"""Input and output of the graphs."""

_TOO_LITTLE_MEMORY = re.compile("bad_alloc|[Ff]ailed to allocate|out of memory")
"""How it says so."""

_CPU = "CPUExecutionProvider"
_ONLY_ERRORS = 3
_ARENA = {"arena_extend_strategy": 0, "initial_chunk_size_bytes": 2**20}
"""Grows to the next power of two. What has been asked for fits together best in few regions that
begin small, by trial: 232 MiB against 269 where it grows by just what is asked for."""

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 2**23
"""Blocks of this size go back to the system when they are freed (mallopt(3)). By itself glibc comes
to keep those of up to 32 MiB, and so all that was needed to make the networks. To get the smaller
arrays of each segment anew would take a fifth more time."""


class OnnxEngine:
    """A model of Spleeter's in ONNX Runtime; see `Engine`.

    Args:
        model: its name in the catalogue.
        folder: holds the converted weights.
        threads: of each operator.
        lean: whether each network is made for a run and dropped after it, so that memory does not
            grow with the number of stems.

    Attributes:
        model, stems, bins: see `Engine`.

    Raises:
        EngineError: if ONNX Runtime refuses the weights.
    """

    def __init__(self, model: str, folder: Path, threads: int, *, lean: bool) -> None:
        """Make the networks; where they are not kept, too, to learn now whether all is there."""
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
        _give_back_large_blocks()
        _share_an_arena()
        self._kept: list[ort.InferenceSession] = []
        self._level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if lean:  # leaves the kernels as they are, which takes a quarter more time
            self._level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        for number in range(len(self.stems)):
            session = self._session(number)
            if not lean:
                self._kept.append(session)
            del session

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        for number, estimate in enumerate(self._estimates):
            session = self._kept[number] if self._kept else self._session(number)
            run = session.io_binding()
            run.bind_ortvalue_input(MAGNITUDES, _in_place(magnitudes[None]))
            run.bind_ortvalue_output(ESTIMATE, _in_place(estimate))
            with self._refusals("run"):
                session.run_with_iobinding(run)
        estimates = [estimate[0] for estimate in self._estimates]
        if self._softmax:
            estimates = softmax_estimates(estimates, magnitudes)
        return ratio_masks(estimates)

    def _session(self, number: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1  # one operator after the other
        options.graph_optimization_level = self._level
        options.log_severity_level = _ONLY_ERRORS
        # Else each run would have a block of its own for all arrays, which fits one graph alone.
        options.enable_mem_pattern = False
        folder = self._folder / str(number)
        entries = {
            "session.use_env_allocators": "1",
            # A packed kernel of a transposed convolution would be a second copy, and gain nothing.
            "session.disable_prepacking": "1",
            # Threads that wait for work would take the time of the other children.
            "session.intra_op.allow_spinning": "0",
            "session.model_external_initializers_file_folder_path": os.fspath(folder),
        }
        with self._refusals("load the weights of"):
            for key, value in entries.items():
                options.add_session_config_entry(key, value)
            return ort.InferenceSession(self._graph, options, providers=[_CPU])

    @contextlib.contextmanager
    def _refusals(self, what: str) -> Iterator[None]:
        """Say in a sentence what ONNX Runtime cannot do; what it raises has no common class.

        Raises:
            MemoryError: if it found too little of it.
            EngineError: if it is anything else.
        """
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            if _TOO_LITTLE_MEMORY.search(first):
                raise MemoryError(first) from error
            raise EngineError(
                f"ONNX Runtime cannot {what} {self.model} from {self._folder}: {first}",
                "Run the same command again, which looks after the weights first; run `stemsplit "
                "doctor` if that does not help.",
            ) from error


def graph_path(network: Network) -> Path:
    """Find the graph of a network's U-Nets."""
    kind = f"{network.down}-{network.up}".lower() + ("-softmax" if network.softmax else "")
    return Path(__file__).with_name("graphs") / f"unet-{network.bins}-{kind}.onnx"


def load(model: str, folder: Path, threads: int, *, lean: bool = False) -> OnnxEngine:
    """Load a model.

    Args:
        model: the name of one of Spleeter's configurations, such as `2stems-16kHz`.
        folder: of its converted weights.
        threads: for each operator, at least 1.
        lean: whether to keep one stem's network in memory at a time; the masks are then 1e-5 from
            what they are otherwise, because other kernels compute them.

    Raises:
        EngineError: if there is no such model, or ONNX Runtime refuses the weights.
    """
    return OnnxEngine(model, folder, threads, lean=lean)


@cache
def _give_back_large_blocks() -> None:
    """Set glibc's allocator so; others have no such function, or no such habit."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


@cache
def _share_an_arena() -> None:
    """Let all sessions of this process take their memory from one arena."""
    cpu = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(cpu, ort.OrtArenaCfg(_ARENA))


def _in_place(values: NDArray[np.float32]) -> ort.OrtValue:
    """Let ONNX Runtime see an array without a copy."""
    return ort.OrtValue.ortvalue_from_numpy(values)
