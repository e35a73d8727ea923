"""Runs in the child. Spleeter's U-Nets in TensorFlow's own library: the engine that is used.

The network is `stemsplit.child.engines.unet`, after Spleeter's configuration files, and takes its
weights from the files of Spleeter's releases. Spleeter's transforms are left out, because they work
on the whole file at once. `stemsplit.child.engines.spleeter` is the same by Spleeter's own
functions, and takes this one's place where TensorFlow comes without its library, as on Windows.

Importing this module loads the library and runs nothing in it, so that a fork server may do so and
stay fit for forking.
"""

from __future__ import annotations

import contextlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.libtensorflow import (
    DataType,
    Graph,
    LibraryError,
    Session,
    Tensor,
    library_path,
    open_library,
    results,
)
from stemsplit.child.engines.ratio_mask import EXPONENT, ratio_masks, softmax_estimates
from stemsplit.child.engines.unet import UNet, phases_of
from stemsplit.errors import EngineError
from stemsplit.job import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.child.engines import Engine

CHECKPOINT = "model"
"""The prefix of the weights' files in Spleeter's releases."""


class TensorFlowEngine:
    """A model of Spleeter's; see `Engine`.

    One graph serves all instruments, one after the other. Their weights stay in memory, or are read
    again for every segment, from files that the system keeps in its cache; memory then does not
    grow with the number of instruments.

    Args:
        model: its name in the catalogue.
        configuration: of Spleeter's.
        folder: holds the weights.
        threads: of each operation.
        lean: whether weights are read again for every segment.

    Raises:
        LibraryError: if the weights cannot be read, or are others.
    """

    def __init__(
        self, model: str, configuration: dict[str, Any], folder: Path, threads: int, *, lean: bool
    ) -> None:
        """Build the graph and read the weights."""
        self._model = model
        self._stems = tuple(configuration["instrument_list"])
        self._bins = int(configuration["F"])
        self._softmax = configuration["model"]["type"].endswith(".softmax_unet")
        shape = (1, SEGMENT_FRAMES, self._bins, STEREO)
        graph = Graph()
        self._place = graph.placeholder(DataType.FLOAT, shape)
        parameters = configuration["model"]["params"]
        self._network = UNet(
            graph,
            self._place,
            shape,
            down=parameters.get("conv_activation", "LeakyReLU"),
            up=parameters.get("deconv_activation", "ReLU"),
            logits=self._softmax,
        )
        self._magnitudes = Tensor.of(np.zeros(shape, np.float32))
        self._restore = _Restore(graph, self._network, folder / CHECKPOINT)
        self._session = Session(graph, threads)
        self._weights: list[list[Tensor]] = []
        for instrument in range(len(self._stems)):
            # Also where they are not kept, to learn now whether all are there.
            weights = self._restore.run(self._session, instrument)
            if not lean:
                self._weights.append(weights)
            del weights

    @property
    def model(self) -> str:
        """See `Engine.model`."""
        return self._model

    @property
    def stems(self) -> tuple[str, ...]:
        """See `Engine.stems`."""
        return self._stems

    @property
    def bins(self) -> int:
        """See `Engine.bins`."""
        return self._bins

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        self._magnitudes.array[0] = magnitudes
        estimates = [self._estimate(number) for number in range(len(self._stems))]
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

    def __init__(self, graph: Graph, network: UNet, prefix: Path) -> None:
        self._network = network
        count = len(network.weights)
        places = [graph.placeholder(DataType.STRING) for _ in range(3)]
        self._prefix, self._names, _slices = places
        first = graph.add("RestoreV2", *places, dtypes=[DataType.FLOAT] * count)
        self._restored = results(first, count)
        self._always = [
            (self._prefix, Tensor.of_strings([bytes(prefix)], scalar=True)),
            (_slices, Tensor.of_strings([b""] * count)),  # all of each array
        ]

    def run(self, session: Session, instrument: int) -> list[Tensor]:
        """Give the tensors in the order of the network's weights."""
        weights = self._network.weights
        stored = [weight.stored_as(instrument, self._network.layers) for weight in weights]
        names = Tensor.of_strings([name.encode() for name in stored])
        tensors = session.run([*self._always, (self._names, names)], self._restored)
        for number, (weight, name) in enumerate(zip(weights, stored, strict=True)):
            if tensors[number].shape != weight.shape:
                raise LibraryError(f"{name} is {tensors[number].shape}, not {weight.shape}")
            if weight.by_phases:
                tensors[number] = Tensor.of(phases_of(tensors[number].array))
        return tensors


def load(model: str, folder: Path, threads: int, *, lean: bool = False) -> Engine:
    """Load a model.

    Args:
        model: the name of one of Spleeter's configurations, such as `2stems-16kHz`.
        folder: holds `model.index` and `model.data-00000-of-00001`.
        threads: for TensorFlow's operations, at least 1.
        lean: whether to keep one instrument's weights in memory at a time; the masks are the same.

    Raises:
        EngineError: if the configuration is not one that can be streamed, or TensorFlow refuses
            the weights.
    """
    if library_path() is None:
        from stemsplit.child.engines import spleeter

        return spleeter.load(model, folder, threads, lean=lean)
    configuration = _configuration(model)
    with _told(model, folder):
        return TensorFlowEngine(model, configuration, folder, threads, lean=lean)


def _configuration(model: str) -> dict[str, Any]:
    """Read one of Spleeter's configurations without its code, which imports TensorFlow's package.

    Raises:
        EngineError: if it is not one that can be streamed.
    """
    text = files("spleeter.resources").joinpath(f"{model}.json").read_text()
    configuration: dict[str, Any] = json.loads(text)
    require_streamable(model, configuration)
    return configuration


def require_streamable(model: str, configuration: dict[str, Any]) -> None:
    """Raise `EngineError` if a configuration is not one that can be separated by segments."""
    if configuration["T"] != SEGMENT_FRAMES or configuration["separation_exponent"] != EXPONENT:
        raise EngineError(f"the configuration of {model} is not one that stemsplit can stream.")


@contextlib.contextmanager
def _told(model: str, folder: Path) -> Iterator[None]:
    """Say in a sentence why weights could not be loaded."""
    try:
        yield
    except LibraryError as error:
        raise cannot_load(model, folder, error) from error


def cannot_load(model: str, folder: Path, error: Exception) -> EngineError:
    """Say in a sentence why weights could not be loaded."""
    return EngineError(
        f"TensorFlow cannot load the weights of {model} from {folder}: "
        f"{str(error).splitlines()[0]}",
        f"Run `stemsplit models verify {model}`, then `stemsplit models fetch {model}`.",
    )


with contextlib.suppress(LibraryError):  # told when a model is loaded
    if library_path() is not None:
        open_library()
