"""Runs in the child. The file of weights from which the ONNX engine's networks are made.

There is one file for each stem of a model. It holds the arrays of one U-Net one after the other,
float32 and little-endian, in the order and with the axes in which ONNX's operators take them, so
that ONNX Runtime maps them into memory as they are. All of Spleeter's U-Nets have the same arrays.
A change of any of this is another `stemsplit.conversion.LAYOUT`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.child.engines.networks import FILTERS, KERNEL, LAST_KERNEL, layer_name
from stemsplit.job import STEREO

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


@dataclass(frozen=True, kw_only=True)
class Array:
    """One array of the file.

    Attributes:
        name: in the graph.
        kind: of its layer, as Keras names it.
        layer: number of the layer among those of its kind in one U-Net, from 0.
        variable: name of the layer's variable that it is made of.
        stored_shape: of that variable.
        outputs: which of the layer's output channels it has.
        offset: where in the file it begins, in bytes.
    """

    name: str
    kind: str
    layer: int
    variable: str
    stored_shape: tuple[int, ...]
    outputs: slice
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
        `(height, width, out, in)`. ONNX has `(out, in, height, width)` and the reverse of it.
        """
        if self.variable != "kernel":
            return stored[self.outputs]
        kernel = stored.transpose(3, 2, 0, 1)
        return kernel[:, self.outputs] if self.kind == "conv2d_transpose" else kernel


_UPWARDS = (*reversed(FILTERS[:-1]), 1)
"""Output channels of the transposed convolutions."""

_PARTS = (1, 1, 1, 2, 4, 1)
"""Into how many groups of output channels each transposed convolution is divided.

ONNX Runtime computes one as a product of matrices, whose result is 25 numbers for each input sample
and output channel, and adds these up. For the largest layer that is 52 MB at once."""


def parts_of(layer: int) -> list[slice]:
    """Give the output channels of each part of a transposed convolution."""
    outputs = _UPWARDS[layer]
    step = outputs // _PARTS[layer]
    return [slice(first, first + step) for first in range(0, outputs, step)]


def part_name(name: str, part: slice) -> str:
    """Name a part of an array."""
    return name if part == slice(None) else f"{name}[{part.start}:{part.stop}]"


@cache
def arrays() -> tuple[Array, ...]:
    """Give all arrays of a U-Net, in the order of the file."""
    found: list[Array] = []
    end = 0
    for kind, layer, variable, shape, part in _variables():
        array = Array(
            name=part_name(f"{kind}_{layer}/{variable}", part),
            kind=kind,
            layer=layer,
            variable=variable,
            stored_shape=shape,
            outputs=part,
            offset=-(-end // _ALIGNMENT) * _ALIGNMENT,
        )
        found.append(array)
        end = array.offset + array.size_bytes
    return tuple(found)


def _variables() -> Iterator[tuple[str, int, str, tuple[int, ...], slice]]:
    whole = slice(None)
    inputs = STEREO
    for layer, filters in enumerate(FILTERS):
        yield "conv2d", layer, "kernel", (KERNEL, KERNEL, inputs, filters), whole
        yield "conv2d", layer, "bias", (filters,), whole
        inputs = filters
        for variable in NORMALISATION if layer < len(FILTERS) - 1 else ():
            yield "batch_normalization", layer, variable, (filters,), whole
    for layer in range(len(FILTERS)):
        outputs = _UPWARDS[layer]
        for part in parts_of(layer):
            shape = (KERNEL, KERNEL, outputs, inputs)
            yield "conv2d_transpose", layer, "kernel", shape, part
            yield "conv2d_transpose", layer, "bias", (outputs,), part
        for variable in NORMALISATION:
            yield "batch_normalization", len(FILTERS) + layer, variable, (outputs,), whole
        inputs = 2 * outputs  # beside what was skipped
    yield "conv2d", len(FILTERS), "kernel", (LAST_KERNEL, LAST_KERNEL, 1, STEREO), whole
    yield "conv2d", len(FILTERS), "bias", (STEREO,), whole
