"""Runs in the child. Spleeter's own separation of whole files, for its Wiener filter.

The one file that imports TensorFlow's Python package. It does so and runs nothing in it, so that a
fork server may import it and stay fit for forking.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stemsplit.child.engines.library_errors import loading, prepare_environment
from stemsplit.child.engines.spleeter_models import CHECKPOINT

prepare_environment()

import tensorflow as tf
from spleeter.model import EstimatorSpecBuilder
from spleeter.utils.configuration import load_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class WienerEngine:
    """Spleeter's own graph with its multichannel Wiener filter; see `WholeFileEngine`.

    The filter, of the package norbert, averages over the whole file, so it cannot be streamed.
    Weights are restored as variables: frozen into constants they would take twice the memory and
    gain no time.
    """

    def __init__(self, model: str, folder: Path, threads: int) -> None:
        """Build the graph and restore the weights."""
        configuration = load_configuration(f"spleeter:{model}") | {"MWF": True}
        options = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads,
            inter_op_parallelism_threads=1,  # one U-Net after the other
            device_count={"GPU": 0},
        )
        with tf.Graph().as_default():
            shape = (None, configuration["n_channels"])
            self._waveform = tf.compat.v1.placeholder(tf.float32, shape)
            features = {"waveform": self._waveform}
            self._outputs = EstimatorSpecBuilder(features, configuration).outputs
            self._session = tf.compat.v1.Session(config=options)
            tf.compat.v1.train.Saver().restore(self._session, str(folder / CHECKPOINT))

    def separate(
        self, mix: NDArray[np.float32], stems: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """See `WholeFileEngine.separate`."""
        wanted = [self._outputs[stem] for stem in stems]
        return tuple(self._session.run(wanted, {self._waveform: mix}))


def load_whole_file(model: str, folder: Path, threads: int) -> WienerEngine:
    """Load a model for whole files, with the multichannel Wiener filter.

    Args:
        model: the name of one of Spleeter's configurations, such as `2stems-16kHz`.
        folder: holds `model.index` and `model.data-00000-of-00001`.
        threads: for TensorFlow's operations, at least 1.

    Raises:
        EngineError: if TensorFlow refuses the weights.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with loading(model, folder, tf.errors.OpError, ValueError):
        return WienerEngine(model, folder, threads)
