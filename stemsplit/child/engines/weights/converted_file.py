"""Runs in the child. The file of weights from which the ONNX engine's networks are made.

There is one file for each stem of a model. It holds the arrays of one U-Net one after the other,
float32 and little-endian, in the order and with the axes in which ONNX's operators take them, so
that ONNX Runtime maps them into memory as they are. All of Spleeter's U-Nets have the same arrays.
A change of any of this is another `stemsplit.core.weight_conversion.LAYOUT`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.child.engines.spleeter_models import FILTERS, KERNEL, LAST_KERNEL, layer_name
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FILE_NAME = "weights"
"""Of each file, in a folder that is named after its stem's number."""

_ALIGNMENT = 64
"""Each array begins at a multiple of this, a cache line of most processors."""

_ITEM_BYTES = np.dtype(np.float32).itemsize

LAYERS = {"conv2d": 7, "conv2d_transpose": 6, "batch_normalization": 12}
"""How many layers of each kind, as Keras names them, a U-Net has."""

NORMALISATION = ("gamma", "beta", "moving_mean", "moving_variance")


Phase = tuple[int, int]
"""Rows and columns of a transposed convolution's output: the even ones (0) or the odd ones (1)."""

PHASES: tuple[Phase, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))
"""All four, in the order of their kernels."""


def is_by_phases(layer: int) -> bool:
    """Whether a transposed convolution is computed as a plain one for each phase of its output.

    That is quicker, but not for the last one, and for the first one it is hardly worth the memory
    (docs/decisions/0013-a-second-engine.md, "Time").
    """
    return 0 < layer < LAYERS["conv2d_transpose"] - 1


def phase_name(name: str, phase: Phase | None) -> str:
    """Name what belongs to a phase."""
    return name if phase is None else f"{name}[{phase[0]},{phase[1]}]"


def _taps(phase: int) -> slice:
    """Give the taps of a transposed convolution that reach a phase, in the order of its input.

    They are 3 and 1, or 4, 2 and 0; `stemsplit.child.engines.tensorflow.unet_graph.phases_of` says
    why.
    """
    return slice(KERNEL - 2 + phase, None, -2)


@dataclass(frozen=True, kw_only=True)
class Array:
    """One array of the file.

    Attributes:
        name: in the graph.
        kind: of its layer, as Keras names it.
        layer: number of the layer among those of its kind in one U-Net, from 0.
        variable: name of the layer's variable that it is made of.
        stored_shape: of that variable.
        phase: of the layer's output, along both axes, to which it belongs; None if to all of it.
        offset: where in the file it begins, in bytes.
    """

    name: str
    kind: str
    layer: int
    variable: str
    stored_shape: tuple[int, ...]
    phase: Phase | None
    offset: int

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the array in the file."""
        return self.of(np.empty(self.stored_shape, np.float32)).shape

    @property
    def size_bytes(self) -> int:
        """Of the array in the file."""
        return math.prod(self.shape) * _ITEM_BYTES

    def variable_of(self, stem: int) -> str:
        """Give the name of its variable in a checkpoint, for a stem of the model, from 0."""
        return f"{layer_name(self.kind, self.layer + stem * LAYERS[self.kind])}/{self.variable}"

    def of(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        """Make it of the variable.

        Keras keeps kernels as `(height, width, in, out)`, of transposed convolutions as
        `(height, width, out, in)`. ONNX has `(out, in, height, width)`, also for a phase, and of
        transposed convolutions `(in, out, height, width)`.
        """
        if self.variable != "kernel":
            return stored
        if self.phase is None:
            return stored.transpose(3, 2, 0, 1)
        rows, columns = map(_taps, self.phase)
        return stored[rows, columns].transpose(2, 3, 0, 1)


_UPWARDS = (*reversed(FILTERS[:-1]), 1)
"""Output channels of the transposed convolutions."""


@cache
def arrays() -> tuple[Array, ...]:
    """Give all arrays of a U-Net, in the order of the file."""
    found: list[Array] = []
    end = 0
    for kind, layer, variable, shape, phase in _variables():
        array = Array(
            name=phase_name(f"{kind}_{layer}/{variable}", phase),
            kind=kind,
            layer=layer,
            variable=variable,
            stored_shape=shape,
            phase=phase,
            offset=-(-end // _ALIGNMENT) * _ALIGNMENT,
        )
        found.append(array)
        end = array.offset + array.size_bytes
    return tuple(found)


def _variables() -> Iterator[tuple[str, int, str, tuple[int, ...], Phase | None]]:
    inputs = STEREO
    for layer, filters in enumerate(FILTERS):
        yield "conv2d", layer, "kernel", (KERNEL, KERNEL, inputs, filters), None
        yield "conv2d", layer, "bias", (filters,), None
        inputs = filters
        for variable in NORMALISATION if layer < len(FILTERS) - 1 else ():
            yield "batch_normalization", layer, variable, (filters,), None
    for layer in range(len(FILTERS)):
        outputs = _UPWARDS[layer]
        shape = (KERNEL, KERNEL, outputs, inputs)
        for phase in PHASES if is_by_phases(layer) else (None,):
            yield "conv2d_transpose", layer, "kernel", shape, phase
        yield "conv2d_transpose", layer, "bias", (outputs,), None
        for variable in NORMALISATION:
            yield "batch_normalization", len(FILTERS) + layer, variable, (outputs,), None
        inputs = 2 * outputs  # beside what was skipped
    yield "conv2d", len(FILTERS), "kernel", (LAST_KERNEL, LAST_KERNEL, 1, STEREO), None
    yield "conv2d", len(FILTERS), "bias", (STEREO,), None
