"""Runs in the child. Spleeter's U-Nets in TensorFlow's own library: the engine that is used.

The network is `stemsplit.child.engines.tensorflow.unet_graph`, after Spleeter's configuration
files, and takes its weights from the files of Spleeter's releases. Spleeter's transforms are left
out, because they work on the whole file at once.

Importing this module loads the library and runs nothing in it, so that a fork server may do so and
stay fit for forking.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.library_errors import loading
from stemsplit.child.engines.ratio_mask import ratio_masks, softmax_estimates
from stemsplit.child.engines.spleeter_models import CHECKPOINT, network_of
from stemsplit.child.engines.tensorflow.c_library import (
    DataType,
    Graph,
    LibraryError,
    Session,
    Tensor,
    open_library,
    results,
)
from stemsplit.child.engines.tensorflow.unet_graph import UNet, phases_of
from stemsplit.core.errors import REINSTALL, EngineError
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.child.engines import Engine


class TensorFlowEngine:
    """A model of Spleeter's; see `Engine`.

    One graph serves all instruments, one after the other. Their weights stay in memory, or are read
    again for every segment, from files that the system keeps in its cache; memory then does not
    grow with the number of instruments.

    Args:
        model: its name in the catalogue.
        folder: holds the weights.
        threads: of each operation.
        lean: whether weights are read again for every segment.

    Attributes:
        model, stems, bins: see `Engine`.

    Raises:
        LibraryError: if the weights cannot be read, or are others.
    """

    def __init__(self, model: str, folder: Path, threads: int, *, lean: bool) -> None:
        """Build the graph and read the weights."""
        self.model = model
        network = network_of(model)
        self.stems = network.stems
        self.bins = network.bins
        self._softmax = network.softmax
        shape = (1, SEGMENT_FRAMES, self.bins, STEREO)
        graph = Graph()
        self._place = graph.placeholder(DataType.FLOAT, shape)
        self._network = UNet(
            graph,
            self._place,
            shape,
            down=network.down,
            up=network.up,
            logits=self._softmax,
        )
        self._magnitudes = Tensor.of(np.zeros(shape, np.float32))
        instruments = len(self.stems)
        self._restore = _Restore(graph, self._network, folder / CHECKPOINT, instruments)
        self._session = Session(graph, threads)
        self._weights: list[list[Tensor]] = []
        for instrument in range(instruments):
            # Also where they are not kept, to learn now whether all are there.
            weights = self._restore.run(self._session, instrument)
            if not lean:
                self._weights.append(weights)
            del weights

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        self._magnitudes.array[0] = magnitudes
        estimates = [self._estimate(number) for number in range(len(self.stems))]
        if self._softmax:
            estimates = softmax_estimates(estimates, magnitudes)
        return ratio_masks(estimates)

    def _estimate(self, instrument: int) -> NDArray[np.float32]:
        weights = (
            self._weights[instrument]
            if self._weights
            else self._restore.run(self._session, instrument)
        )
        places = [weight.place for weight in self._network.weights]
        feeds = [(self._place, self._magnitudes), *zip(places, weights, strict=True)]
        (found,) = self._session.run(feeds, [self._network.estimate])
        estimate: NDArray[np.float32] = found.array[0]
        return estimate


class _Restore:
    """Reads an instrument's weights with TensorFlow's own operation for that."""

    def __init__(self, graph: Graph, network: UNet, prefix: Path, instruments: int) -> None:
        self._weights = network.weights
        count = len(network.weights)
        places = [graph.placeholder(DataType.STRING) for _ in range(3)]
        first = graph.add("RestoreV2", *places, dtypes=[DataType.FLOAT] * count)
        self._restored = results(first, count)
        where = Tensor.of_strings([bytes(prefix)], scalar=True)
        all_of_each = Tensor.of_strings([b""] * count)
        self._names = [
            [weight.stored_as(instrument, network.layers) for weight in network.weights]
            for instrument in range(instruments)
        ]
        self._feeds = [
            list(zip(places, (where, _strings(names), all_of_each), strict=True))
            for names in self._names
        ]

    def run(self, session: Session, instrument: int) -> list[Tensor]:
        """Give the tensors in the order of the network's weights."""
        tensors = session.run(self._feeds[instrument], self._restored)
        for number, (weight, name) in enumerate(
            zip(self._weights, self._names[instrument], strict=True)
        ):
            if tensors[number].shape != weight.shape:
                raise LibraryError(f"{name} is {tensors[number].shape}, not {weight.shape}")
            if weight.by_phases:
                tensors[number] = Tensor.of(phases_of(tensors[number].array))
        return tensors


def _strings(names: list[str]) -> Tensor:
    return Tensor.of_strings([name.encode() for name in names])


def load(model: str, folder: Path, threads: int, *, lean: bool = False) -> Engine:
    """Load a model.

    Args:
        model: the name of one of Spleeter's configurations, such as `2stems-16kHz`.
        folder: holds `model.index` and `model.data-00000-of-00001`.
        threads: for TensorFlow's operations, at least 1.
        lean: whether to keep one instrument's weights in memory at a time; the masks are the same.

    Raises:
        EngineError: if there is no such model, TensorFlow refuses the weights, or its library
            cannot be loaded.
    """
    try:
        open_library()
    except LibraryError as error:
        raise EngineError(
            f"The engine tensorflow cannot be used: {error}.",
            f"{REINSTALL} Or give --engine onnx.",
        ) from error
    with loading(model, folder, LibraryError):
        return TensorFlowEngine(model, folder, threads, lean=lean)


with contextlib.suppress(LibraryError):  # told when a model is loaded
    open_library()
