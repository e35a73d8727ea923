"""Runs in the child. Spleeter's own functions in TensorFlow's Python package: the reference.

Covers what `stemsplit.child.engines.tensorflow` does without that package, for systems on which
TensorFlow comes without its library; and whole files with Spleeter's Wiener filter. The network is
built by Spleeter from its own configuration files. Weights are restored as variables: frozen into
constants they would take twice the memory and gain no time.

Importing this module imports TensorFlow and Spleeter and runs nothing in them, so that a fork
server may do so and stay fit for forking.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from stemsplit.child.engines.configuration import (
    loading,
    prepare_environment,
    read_configuration,
)
from stemsplit.child.engines.networks import CHECKPOINT, layer_name

prepare_environment()

import tensorflow as tf
from spleeter.model import EstimatorSpecBuilder, get_model_function
from spleeter.model.functions.unet import apply_unet
from spleeter.utils.configuration import load_configuration

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.ratio_mask import ratio_masks, softmax_estimates
from stemsplit.errors import REINSTALL, EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_REFUSALS = (tf.errors.OpError, ValueError)
"""What TensorFlow raises about weights."""

_LAYER = re.compile(r"(?P<kind>.+?)(?:_(?P<number>\d+))?")
"""How Keras names the layers of one kind: `conv2d`, `conv2d_1`, `conv2d_2`, ..."""


class SpleeterEngine:
    """A model of Spleeter's in a TensorFlow session of its own; see `Engine`.

    Attributes:
        model, stems, bins: see `Engine`.
    """

    def __init__(self, model: str, configuration: dict[str, Any], threads: int) -> None:
        """Keep the configuration and open an empty graph and its session."""
        self.model = model
        self._type = str(configuration["model"]["type"])
        self._params = configuration["model"]["params"]
        self.stems = tuple(configuration["instrument_list"])
        self.bins = int(configuration["F"])
        self._graph = tf.Graph()
        with self._graph.as_default():
            self._magnitudes = tf.compat.v1.placeholder(
                tf.float32, (1, SEGMENT_FRAMES, self.bins, configuration["n_channels"])
            )
            self._session = tf.compat.v1.Session(config=_session_options(threads))

    def restore(self, folder: Path) -> None:
        """Build all U-Nets and restore their weights."""
        with self._graph.as_default():
            network = get_model_function(self._type)
            estimates = network(self._magnitudes, self.stems, self._params)
            self._estimates = [estimates[f"{stem}_spectrogram"] for stem in self.stems]
            tf.compat.v1.train.Saver().restore(self._session, str(folder / CHECKPOINT))

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        estimates = self._session.run(self._estimates, {self._magnitudes: magnitudes[None]})
        return ratio_masks([estimate[0] for estimate in estimates])


class LeanSpleeterEngine(SpleeterEngine):
    """The same with one instrument's U-Net in memory at a time.

    One graph serves all instruments. Their weights are restored into it in turn for every segment,
    from files that the system keeps in its cache. Memory then does not grow with the number of
    instruments.
    """

    def restore(self, folder: Path) -> None:
        """Build one U-Net, and restore every instrument's weights into it once."""
        self._checkpoint = str(folder / CHECKPOINT)
        self._softmax = self._type.rpartition(".")[2] == "softmax_unet"
        with self._graph.as_default():
            self._output = apply_unet(
                self._magnitudes, params=self._params, output_mask_logit=self._softmax
            )
            variables = tf.compat.v1.global_variables()
            self._savers = [
                tf.compat.v1.train.Saver(_variables_of(instrument, variables)).saver_def
                for instrument in range(len(self.stems))
            ]
        for saver in self._savers:
            self._restore_with(saver)

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """See `Engine.masks`."""
        outputs = []
        for saver in self._savers:
            self._restore_with(saver)
            run = self._session.run(self._output, {self._magnitudes: magnitudes[None]})
            outputs.append(run[0])
        if self._softmax:
            outputs = softmax_estimates(outputs, magnitudes)
        return ratio_masks(outputs)

    def _restore_with(self, saver: Any) -> None:  # noqa: ANN401 - TensorFlow has no types
        checkpoint = {saver.filename_tensor_name: self._checkpoint}
        self._session.run(saver.restore_op_name, checkpoint)


class WienerEngine:
    """Spleeter's own graph with its multichannel Wiener filter; see `WholeFileEngine`.

    The filter, of the package norbert, averages over the whole file, so it cannot be streamed.
    """

    def __init__(self, model: str, folder: Path, threads: int) -> None:
        """Build the graph and restore the weights."""
        configuration = load_configuration(f"spleeter:{model}") | {"MWF": True}
        with tf.Graph().as_default():
            shape = (None, configuration["n_channels"])
            self._waveform = tf.compat.v1.placeholder(tf.float32, shape)
            features = {"waveform": self._waveform}
            self._outputs = EstimatorSpecBuilder(features, configuration).outputs
            self._session = tf.compat.v1.Session(config=_session_options(threads))
            tf.compat.v1.train.Saver().restore(self._session, str(folder / CHECKPOINT))

    def separate(
        self, mix: NDArray[np.float32], stems: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """See `WholeFileEngine.separate`."""
        wanted = [self._outputs[stem] for stem in stems]
        return tuple(self._session.run(wanted, {self._waveform: mix}))


def _session_options(threads: int) -> Any:  # noqa: ANN401 - TensorFlow has no types
    return tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=1,  # one U-Net after the other
        device_count={"GPU": 0},
    )


def _variables_of(instrument: int, variables: list[Any]) -> dict[str, Any]:
    """Map the names that an instrument's variables have in a checkpoint to those of one U-Net."""
    numbers: dict[str, set[int]] = defaultdict(set)
    places = []
    for variable in variables:
        layer, _, name = variable.op.name.rpartition("/")
        found = _LAYER.fullmatch(layer)
        if found is None:
            raise EngineError(
                f"Spleeter's network has a variable of no layer: {layer}/{name}.", REINSTALL
            )
        number = int(found["number"] or 0)
        numbers[found["kind"]].add(number)
        places.append((variable, found["kind"], number, name))
    return {
        layer_name(kind, number + instrument * len(numbers[kind])) + f"/{name}": variable
        for variable, kind, number, name in places
    }


def load(model: str, folder: Path, threads: int, *, lean: bool = False) -> SpleeterEngine:
    """Load a model.

    Args:
        model: the name of one of Spleeter's configurations, such as `2stems-16kHz`.
        folder: holds `model.index` and `model.data-00000-of-00001`.
        threads: for TensorFlow's operations, at least 1.
        lean: whether to keep one instrument's U-Net in memory at a time; the masks are the same.

    Raises:
        EngineError: if the configuration is not one that can be streamed, or TensorFlow refuses
            the weights.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    configuration = read_configuration(model)
    engine = (LeanSpleeterEngine if lean else SpleeterEngine)(model, configuration, threads)
    with loading(model, folder, *_REFUSALS):
        engine.restore(folder)
    return engine


def load_whole_file(model: str, folder: Path, threads: int) -> WienerEngine:
    """Load a model for whole files, with the multichannel Wiener filter.

    Args:
        model: as for `load`.
        folder: likewise.
        threads: likewise.

    Raises:
        EngineError: if TensorFlow refuses the weights.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with loading(model, folder, *_REFUSALS):
        return WienerEngine(model, folder, threads)
