"""Runs in the child. Spleeter's U-Net as a graph of TensorFlow's operations.

This is `apply_unet` of `spleeter.model.functions.unet` without Keras: the same operations in the
same order, so that the result is Spleeter's own, but for two of them that TensorFlow is slow at.

- The last transposed convolution has one filter. It is computed as a convolution with one filter
  for each of the four phases of its output (`phases_of`), which are then laid side by side. The
  sums are the same, added up in another order.
- A leaky rectifier is the larger of x and 0.2 x, which is the same to the last bit.

One graph serves all instruments; a run is given the weights of one of them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.child.engines.spleeter_models import (
    FILTERS,
    KERNEL,
    LAST_DILATION,
    LAST_KERNEL,
    LEAK,
    NORM_EPSILON,
    layer_name,
)
from stemsplit.child.engines.tensorflow.c_library import DataType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from stemsplit.child.engines.spleeter_models import Activation
    from stemsplit.child.engines.tensorflow.c_library import Graph, Output

_FLOAT = DataType.FLOAT
_STRIDES = [1, 2, 2, 1]
_DILATIONS = [1, LAST_DILATION, LAST_DILATION, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One array of weights that a U-Net needs.

    Attributes:
        kind: of its layer, as Keras names it.
        number: of the layer among those of its kind in one U-Net, from 0.
        name: of the array in its layer.
        shape: of the array, as it is stored.
        by_phases: whether the network takes it as `phases_of` gives it.
        place: where a run takes it from.
    """

    kind: str
    number: int
    name: str
    shape: tuple[int, ...]
    by_phases: bool
    place: Output

    def stored_as(self, instrument: int, layers: Mapping[str, int]) -> str:
        """Give its name in a checkpoint; see `layer_name`.

        Args:
            instrument: of the model, from 0.
            layers: how many of each kind a U-Net has.
        """
        number = self.number + instrument * layers[self.kind]
        return f"{layer_name(self.kind, number)}/{self.name}"


def phases_of(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a kernel of a transposed convolution of stride 2 into one for all phases of its output.

    With "same" padding, sample j of the output is the sum of input sample i times tap k over all
    2 i + k - 1 = j (the transpose of a convolution whose padding begins with one zero). For the
    even j = 2 m these are taps 3 and 1 on inputs m - 1 and m, for the odd j = 2 m + 1 taps 4, 2
    and 0 on m - 1, m and m + 1; likewise on the other axis.

    Args:
        kernel: `(5, 5, 1, channels)` float32.

    Returns:
        `(3, 3, channels, 4)` float32: a convolution with it, and TensorFlow's `DepthToSpace` on
        the result, give what the transposed convolution gives.
    """
    padded = np.pad(kernel[:, :, 0], [(0, 1), (0, 1), (0, 0)])
    taps = np.array([[3, 4], [1, 2], [5, 0]])  # by input and phase; 5 is the zero that was put on
    by_phase = padded[taps][:, :, taps]  # input, phase, input, phase, channel
    return np.ascontiguousarray(by_phase.transpose(0, 2, 4, 1, 3)).reshape(3, 3, -1, 4)


class UNet:
    """A U-Net for one instrument in a graph.

    Attributes:
        estimate: its result, `(1, frames, bins, 2)` float32: the magnitudes of the instrument, or
            with `logits` what a softmax over all instruments makes masks of.
        weights: all that a run must be given.
        layers: how many layers of each kind there are.
    """

    def __init__(
        self,
        graph: Graph,
        magnitudes: Output,
        shape: tuple[int, int, int, int],
        *,
        down: Activation,
        up: Activation,
        logits: bool,
    ) -> None:
        """Add it to a graph.

        Args:
            graph: takes the operations.
            magnitudes: of the mix, float32.
            shape: of them: 1, frames, bins, 2; frames and bins are multiples of 64.
            down: the activation on the way to coarser layers.
            up: on the way back.
            logits: whether the last layer is left as it is.
        """
        self._graph = graph
        self._last_axis = graph.constant(-1)
        self.weights: list[Weight] = []
        self.layers: Counter[str] = Counter()
        skipped = self._downwards(magnitudes, shape[3], down)
        found = skipped[-1]
        for depth in reversed(range(len(FILTERS))):
            if depth < len(FILTERS) - 1:
                found = graph.add(
                    "ConcatV2", [skipped[depth], found], self._last_axis,
                    N=2, T=_FLOAT, Tidx=DataType.INT32,
                )  # fmt: skip
            size = (1, shape[1] >> depth, shape[2] >> depth, FILTERS[depth - 1] if depth else 1)
            inputs = FILTERS[depth] * (1 if depth == len(FILTERS) - 1 else 2)
            found = self._normalised(self._transposed(found, inputs, size, up), size[3])
        kernel = (LAST_KERNEL, LAST_KERNEL, 1, shape[3])
        found = self._convolved(found, kernel, strides=[1, 1, 1, 1], dilations=_DILATIONS)
        if not logits:
            share = graph.add("Sigmoid", found, T=_FLOAT)
            found = graph.add("Mul", share, magnitudes, T=_FLOAT)
        self.estimate = found

    def _downwards(self, found: Output, channels: int, activation: Activation) -> list[Output]:
        """Go down to the coarsest layer; gives each layer's convolution."""
        skipped = []
        for filters in FILTERS:
            kernel = (KERNEL, KERNEL, channels, filters)
            convolved = self._convolved(found, kernel, strides=_STRIDES)
            skipped.append(convolved)
            found = self._activated(self._normalised(convolved, filters), activation)
            channels = filters
        # Spleeter normalises and activates the coarsest layer as well, and uses neither.
        return skipped

    def _weight(
        self, kind: str, name: str, shape: tuple[int, ...], *, by_phases: bool = False
    ) -> Output:
        place = self._graph.placeholder(_FLOAT, None if by_phases else shape)
        weight = Weight(
            kind=kind,
            number=self.layers[kind],
            name=name,
            shape=shape,
            by_phases=by_phases,
            place=place,
        )
        self.weights.append(weight)
        return place

    def _biased(self, found: Output, kind: str, channels: int) -> Output:
        bias = self._weight(kind, "bias", (channels,))
        self.layers[kind] += 1
        return self._graph.add("BiasAdd", found, bias, T=_FLOAT)

    def _convolved(
        self, found: Output, kernel: tuple[int, int, int, int], **how: list[int]
    ) -> Output:
        weight = self._weight("conv2d", "kernel", kernel)
        convolved = self._graph.add("Conv2D", found, weight, T=_FLOAT, padding="SAME", **how)
        return self._biased(convolved, "conv2d", kernel[3])

    def _transposed(
        self, found: Output, inputs: int, size: tuple[int, int, int, int], activation: Activation
    ) -> Output:
        graph, channels = self._graph, size[3]
        by_phases = channels == 1
        shape = (KERNEL, KERNEL, channels, inputs)
        kernel = self._weight("conv2d_transpose", "kernel", shape, by_phases=by_phases)
        if by_phases:
            phases = graph.add(
                "Conv2D", found, kernel, T=_FLOAT, strides=[1, 1, 1, 1], padding="SAME"
            )
            transposed = graph.add("DepthToSpace", phases, T=_FLOAT, block_size=2)
        else:
            transposed = graph.add(
                "Conv2DBackpropInput", graph.constant(size), kernel, found,
                T=_FLOAT, strides=_STRIDES, padding="SAME",
            )  # fmt: skip
        return self._activated(self._biased(transposed, "conv2d_transpose", channels), activation)

    def _normalised(self, found: Output, channels: int) -> Output:
        kind = "batch_normalization"
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        weights = [self._weight(kind, name, (channels,)) for name in names]
        self.layers[kind] += 1
        return self._graph.add(
            "FusedBatchNormV3", found, *weights,
            T=_FLOAT, U=_FLOAT, epsilon=NORM_EPSILON, is_training=False,
        )  # fmt: skip

    def _activated(self, found: Output, activation: Activation) -> Output:
        add = self._graph.add
        match activation:
            case "ReLU":
                return add("Relu", found, T=_FLOAT)
            case "ELU":
                return add("Elu", found, T=_FLOAT)
            case "LeakyReLU":
                leak = add("Const", dtype=_FLOAT, value=np.array(LEAK, np.float32))
                return add("Maximum", found, add("Mul", found, leak, T=_FLOAT), T=_FLOAT)
