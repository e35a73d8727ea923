"""Runs in the child. Defines the format of the weight files that the ONNX engine maps.

There is one file per stem of a model. It contains the arrays of one U-Net, little-endian float32,
in the order and with the axes that ONNX operators expect, so ONNX Runtime can map them into memory
without conversion. The arrays are the same for all of Spleeter's U-Nets. Every change of the format
requires a new `stemsplit.core.conversion_messages.LAYOUT`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.child.engines.network_definitions import (
    FILTERS,
    KERNEL_SIZE,
    LAST_KERNEL_SIZE,
    LAYERS,
    NORMALISATION_VARIABLES,
    variable_name,
)
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FILE_NAME = "weights"
"""Name of each file, in a folder named after the stem's number."""

_ALIGNMENT = 64
"""Alignment of each array in bytes: a cache line of most processors."""

_ITEM_BYTES = np.dtype(np.float32).itemsize

Phase = tuple[int, int]
"""Rows and columns of a transposed convolution's output, each even (0) or odd (1)."""

PHASES: tuple[Phase, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
"""All phases, in the order of their kernels."""


def is_by_phases(layer: int) -> bool:
    """Return whether a transposed convolution is computed as one plain convolution per phase.

    That is faster, except for the last layer. For the first layer, the gain hardly justifies the
    memory (docs/decisions/0013-a-second-engine.md, "Time"). Layers count from 0 in each U-Net.
    """
    return 0 < layer < LAYERS["conv2d_transpose"] - 1


def phase_name(name: str, phase: Phase | None) -> str:
    """Return the name of the part of array `name` that belongs to `phase`; None is the whole."""
    return name if phase is None else f"{name}[{phase[0]},{phase[1]}]"


def _taps(phase: int) -> slice:
    """Select the taps of a transposed convolution that contribute to a phase, in input order.

    They are 3 and 1, or 4, 2 and 0; for the derivation, see
    `stemsplit.child.engines.tensorflow.unet_graph.phase_kernel`.
    """
    return slice(KERNEL_SIZE - 2 + phase, None, -2)


@dataclass(frozen=True, kw_only=True)
class Array:
    """One array of the file.

    Attributes:
        name: name in the graph.
        layer_type: Keras's name of the layer's type.
        layer: number of the layer among those of its type in one U-Net, from 0.
        variable: name of the layer's variable that the array is derived from.
        stored_shape: shape of that variable in the checkpoint.
        phase: phase of the layer's output that the array belongs to; None for all of the output.
        offset: position of the array in the file, in bytes.
    """

    name: str
    layer_type: str
    layer: int
    variable: str
    stored_shape: tuple[int, ...]
    phase: Phase | None
    offset: int

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array in the file."""
        return self.converted(np.empty(self.stored_shape, np.float32)).shape

    @property
    def size_bytes(self) -> int:
        """Size of the array in the file."""
        return math.prod(self.shape) * _ITEM_BYTES

    def checkpoint_name(self, stem: int) -> str:
        """Return the variable's name in a checkpoint, for a stem of the model, from 0."""
        return variable_name(self.layer_type, self.layer, self.variable, stem)

    def converted(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert the variable to the array.

        Keras stores kernels as `(height, width, in, out)`, and those of transposed convolutions as
        `(height, width, out, in)`. ONNX expects `(out, in, height, width)`, also for a phase, and
        for transposed convolutions `(in, out, height, width)`.

        Args:
            stored: float32 array of `stored_shape`.

        Returns:
            a view of `stored`, of shape `shape`.
        """
        if self.variable != "kernel":
            return stored
        if self.phase is None:
            return stored.transpose(3, 2, 0, 1)
        rows, columns = map(_taps, self.phase)
        return stored[rows, columns].transpose(2, 3, 0, 1)


_DECODER_FILTERS = (*reversed(FILTERS[:-1]), 1)
"""Output channels of the transposed convolutions."""


@cache
def arrays() -> tuple[Array, ...]:
    """Return all arrays of a U-Net, in the order of the file."""
    result: list[Array] = []
    end = 0
    for layer_type, layer, variable, shape, phase in _variables():
        array = Array(
            name=phase_name(f"{layer_type}_{layer}/{variable}", phase),
            layer_type=layer_type,
            layer=layer,
            variable=variable,
            stored_shape=shape,
            phase=phase,
            offset=-(-end // _ALIGNMENT) * _ALIGNMENT,
        )
        result.append(array)
        end = array.offset + array.size_bytes
    return tuple(result)


def _variables() -> Iterator[tuple[str, int, str, tuple[int, ...], Phase | None]]:
    """Yield layer type, layer, variable, stored shape and phase of each array."""
    inputs = STEREO
    for layer, filters in enumerate(FILTERS):
        yield "conv2d", layer, "kernel", (KERNEL_SIZE, KERNEL_SIZE, inputs, filters), None
        yield "conv2d", layer, "bias", (filters,), None
        inputs = filters
        for variable in NORMALISATION_VARIABLES if layer < len(FILTERS) - 1 else ():
            yield "batch_normalization", layer, variable, (filters,), None
    for layer, outputs in enumerate(_DECODER_FILTERS):
        shape = (KERNEL_SIZE, KERNEL_SIZE, outputs, inputs)
        for phase in PHASES if is_by_phases(layer) else (None,):
            yield "conv2d_transpose", layer, "kernel", shape, phase
        yield "conv2d_transpose", layer, "bias", (outputs,), None
        for variable in NORMALISATION_VARIABLES:
            yield "batch_normalization", len(FILTERS) + layer, variable, (outputs,), None
        inputs = 2 * outputs  # including the skip connection
    last_kernel = (LAST_KERNEL_SIZE, LAST_KERNEL_SIZE, 1, STEREO)
    yield "conv2d", len(FILTERS), "kernel", last_kernel, None
    yield "conv2d", len(FILTERS), "bias", (STEREO,), None
