"""Runs in the child. Separates whole files with Spleeter and its multichannel Wiener filter.

This is the only module that imports the Python package of TensorFlow. It runs no TensorFlow code
on import, so a fork server that has imported it can still fork.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stemsplit.child.engines.library_environment import set_library_environment
from stemsplit.child.engines.network_definitions import CHECKPOINT_PREFIX
from stemsplit.child.engines.weight_errors import translate_weight_errors

set_library_environment()

import tensorflow as tf
from spleeter.model import EstimatorSpecBuilder
from spleeter.utils.configuration import load_configuration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class WienerEngine:
    """Spleeter's own graph with its multichannel Wiener filter. Implements `WholeFileEngine`.

    The filter, from the package norbert, averages over the whole file and cannot be streamed.
    Weights are restored as variables: frozen into constants, they would need twice the memory and
    save no time.
    """

    def __init__(self, model: str, folder: Path, threads: int) -> None:
        configuration = load_configuration(f"spleeter:{model}") | {"MWF": True}
        options = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads,
            inter_op_parallelism_threads=1,  # one U-Net at a time
            device_count={"GPU": 0},
        )
        with tf.Graph().as_default():
            shape = (None, configuration["n_channels"])
            self._waveform = tf.compat.v1.placeholder(tf.float32, shape)
            features = {"waveform": self._waveform}
            self._outputs = EstimatorSpecBuilder(features, configuration).outputs
            self._session = tf.compat.v1.Session(config=options)
            tf.compat.v1.train.Saver().restore(self._session, str(folder / CHECKPOINT_PREFIX))

    def separate(
        self, mix: NDArray[np.float32], stems: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """See `WholeFileEngine.separate`."""
        wanted = [self._outputs[stem] for stem in stems]
        return tuple(self._session.run(wanted, {self._waveform: mix}))


def load_whole_file(model: str, folder: Path, threads: int) -> WienerEngine:
    """Load a model for whole files. This is a `WholeFileLoader`.

    The folder contains `model.index` and `model.data-00000-of-00001`.

    Raises:
        EngineError: if TensorFlow cannot load the weights.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with translate_weight_errors(model, folder, tf.errors.OpError, ValueError):
        return WienerEngine(model, folder, threads)
