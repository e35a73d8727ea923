"""Runs in the child. The TensorFlow engine: Spleeter's U-Nets in TensorFlow's C library.

This is the default engine. It reads the checkpoints of Spleeter's releases and builds the networks
with `stemsplit.child.engines.tensorflow.unet_graph`. It does not use Spleeter's own transforms,
which process the whole file at once.

Importing this module loads the library but runs no TensorFlow code, so a fork server that has
imported it can still fork.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.network_definitions import CHECKPOINT_PREFIX, network_of
from stemsplit.child.engines.ratio_mask import ratio_masks, softmax_estimates
from stemsplit.child.engines.tensorflow.c_library import DataType, LibraryError, load_library
from stemsplit.child.engines.tensorflow.graph import Graph, outputs_of
from stemsplit.child.engines.tensorflow.session import Session
from stemsplit.child.engines.tensorflow.tensor import Tensor
from stemsplit.child.engines.tensorflow.unet_graph import UNet, phase_kernel
from stemsplit.child.engines.weight_errors import translate_weight_errors
from stemsplit.core.errors import REINSTALL, EngineError
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.child.engines.protocols import Engine


class TensorFlowEngine:
    """A Spleeter model in TensorFlow. Implements `Engine`.

    One graph serves all stems, one at a time. The weights stay in memory, or are read again for
    every segment, from the operating system's file cache. In the second case, memory does not grow
    with the number of stems. Arguments as `load`.

    Raises:
        LibraryError: if the weights cannot be read or belong to another network.
    """

    def __init__(self, model: str, folder: Path, threads: int, *, lean: bool) -> None:
        self.model = model
        network = network_of(model)
        self.stems = network.stems
        self.bins = network.bins
        self._softmax = network.softmax
        shape = (1, SEGMENT_FRAMES, self.bins, STEREO)
        graph = Graph()
        self._input = graph.placeholder(DataType.FLOAT, shape)
        self._network = UNet(
            graph,
            self._input,
            shape,
            encoder_activation=network.encoder_activation,
            decoder_activation=network.decoder_activation,
            logits=self._softmax,
        )
        self._magnitudes = Tensor.from_array(np.zeros(shape, np.float32))
        stems = len(self.stems)
        self._reader = _WeightReader(graph, self._network, folder / CHECKPOINT_PREFIX, stems)
        self._session = Session(graph, threads)
        self._weights: list[list[Tensor]] = []
        for stem in range(stems):
            # Read them even if they are not kept, to fail now if one is missing.
            weights = self._reader.read(self._session, stem)
            if not lean:
                self._weights.append(weights)
            del weights

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        self._magnitudes.array[0] = magnitudes
        estimates = [self._estimate(stem) for stem in range(len(self.stems))]
        if self._softmax:
            estimates = softmax_estimates(estimates, magnitudes)
        return ratio_masks(estimates)

    def _estimate(self, stem: int) -> NDArray[np.float32]:
        weights = self._weights[stem] if self._weights else self._reader.read(self._session, stem)
        placeholders = [weight.placeholder for weight in self._network.weights]
        feeds = [(self._input, self._magnitudes), *zip(placeholders, weights, strict=True)]
        (output,) = self._session.run(feeds, [self._network.estimate])
        estimate: NDArray[np.float32] = output.array[0]
        return estimate


class _WeightReader:
    """Reads the weights of a stem from a checkpoint with TensorFlow's `RestoreV2` operation."""

    def __init__(self, graph: Graph, network: UNet, prefix: Path, stems: int) -> None:
        self._weights = network.weights
        count = len(network.weights)
        # Inputs of RestoreV2: prefix, tensor_names, shape_and_slices (empty for the whole tensor).
        placeholders = [graph.placeholder(DataType.STRING) for _ in range(3)]
        first = graph.add("RestoreV2", *placeholders, dtypes=[DataType.FLOAT] * count)
        self._restored = outputs_of(first, count)
        prefix_tensor = Tensor.from_strings([bytes(prefix)], scalar=True)
        slices = Tensor.from_strings([b""] * count)
        self._names = [
            [weight.checkpoint_name(stem) for weight in network.weights] for stem in range(stems)
        ]
        self._feeds = []
        for names in self._names:
            name_tensor = Tensor.from_strings([name.encode() for name in names])
            tensors = (prefix_tensor, name_tensor, slices)
            self._feeds.append([*zip(placeholders, tensors, strict=True)])

    def read(self, session: Session, stem: int) -> list[Tensor]:
        """Return the tensors of a stem, in the order of the network's weights."""
        tensors = session.run(self._feeds[stem], self._restored)
        for number, (weight, name) in enumerate(zip(self._weights, self._names[stem], strict=True)):
            if tensors[number].shape != weight.shape:
                raise LibraryError(f"{name} is {tensors[number].shape}, not {weight.shape}")
            if weight.by_phases:
                tensors[number] = Tensor.from_array(phase_kernel(tensors[number].array))
        return tensors


def load(model: str, folder: Path, threads: int, *, lean: bool = False) -> Engine:
    """Load a model. This is an `EngineLoader`.

    The folder contains `model.index` and `model.data-00000-of-00001`. A lean engine keeps only one
    stem's weights in memory at a time; the masks are the same.

    Raises:
        EngineError: if the model is unknown, TensorFlow cannot load the weights, or the library
            cannot be loaded.
    """
    try:
        load_library()
    except LibraryError as error:
        raise EngineError(
            f"The tensorflow engine cannot be used: {error}.", f"{REINSTALL} Or use --engine onnx."
        ) from error
    with translate_weight_errors(model, folder, LibraryError):
        return TensorFlowEngine(model, folder, threads, lean=lean)


with contextlib.suppress(LibraryError):  # `load` reports the error
    load_library()
