"""Runs in the child. Spleeter's own U-Nets in TensorFlow: the reference engine.

The network is built by Spleeter's own functions from Spleeter's own configuration files. Only its
transforms are left out, because those work on the whole file at once. Weights are restored as
variables: frozen into constants they would take twice the memory and gain no time.

Importing this module imports TensorFlow and runs nothing in it, so that a fork server may do so and
stay fit for forking.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read while TensorFlow is imported

import tensorflow as tf
from spleeter.model import get_model_function
from spleeter.utils.configuration import load_configuration

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.ratio_mask import EXPONENT, ratio_masks
from stemsplit.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

MEBIBYTE = 2**20
_BASE_MEBIBYTES = 760
_MEBIBYTES_A_STEM = 75
"""Measured, rounded up: benchmarks/memory.py, docs/benchmarks.md."""

_CHECKPOINT = "model"
"""The prefix of the weights' files in Spleeter's releases."""


class TensorFlowEngine:
    """A model of Spleeter's in a TensorFlow session of its own; see `Engine`."""

    def __init__(
        self, model: str, configuration: dict[str, Any], folder: Path, threads: int
    ) -> None:
        """Build the graph and restore the weights; see `load`."""
        self._model = model
        self._stems = tuple(configuration["instrument_list"])
        self._bins = int(configuration["F"])
        graph = tf.Graph()
        with graph.as_default():
            self._magnitudes = tf.compat.v1.placeholder(
                tf.float32, (1, SEGMENT_FRAMES, self._bins, configuration["n_channels"])
            )
            network = get_model_function(configuration["model"]["type"])
            estimates = network(self._magnitudes, self._stems, configuration["model"]["params"])
            self._estimates = [estimates[f"{stem}_spectrogram"] for stem in self._stems]
            self._session = tf.compat.v1.Session(
                config=tf.compat.v1.ConfigProto(
                    intra_op_parallelism_threads=threads,
                    inter_op_parallelism_threads=1,  # one U-Net after the other
                    device_count={"GPU": 0},
                )
            )
            tf.compat.v1.train.Saver().restore(self._session, str(folder / _CHECKPOINT))

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

    @property
    def needed_memory_bytes(self) -> int:
        """See `Engine.needed_memory_bytes`."""
        return (_BASE_MEBIBYTES + _MEBIBYTES_A_STEM * len(self._stems)) * MEBIBYTE

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        estimates = self._session.run(self._estimates, {self._magnitudes: magnitudes[None]})
        return ratio_masks([estimate[0] for estimate in estimates])


def load(model: str, folder: Path, threads: int) -> TensorFlowEngine:
    """Load a model.

    Args:
        model: the name of one of Spleeter's configurations, such as `2stems-16kHz`.
        folder: holds `model.index` and `model.data-00000-of-00001`.
        threads: for TensorFlow's operations, at least 1.

    Raises:
        EngineError: if the configuration is not one that can be streamed, or TensorFlow refuses
            the weights.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    configuration = load_configuration(f"spleeter:{model}")
    if configuration["T"] != SEGMENT_FRAMES or configuration["separation_exponent"] != EXPONENT:
        raise EngineError(f"the configuration of {model} is not one that stemsplit can stream.")
    try:
        return TensorFlowEngine(model, configuration, folder, threads)
    except (tf.errors.OpError, ValueError) as error:
        raise EngineError(
            f"TensorFlow cannot load the weights of {model} from {folder}: "
            f"{str(error).splitlines()[0]}",
            f"Run `stemsplit models verify {model}`, then `stemsplit models fetch {model}`.",
        ) from error
