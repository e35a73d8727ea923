"""Runs in the child. Builds Spleeter's U-Net as a graph of TensorFlow operations.

The network is `apply_unet` of `spleeter.model.functions.unet`, after Jansson et al., "Singing voice
separation with deep U-Net convolutional networks" (ISMIR 2017). The graph has the same operations
in the same order as Spleeter's, so the results are the same. Two of them are replaced, because
TensorFlow executes them slowly:

- The last transposed convolution has one filter. It is computed as a convolution with one filter
  for each of the four phases of its output (`phase_kernel`), which are then interleaved. The sums
  have the same terms in a different order.
- The leaky ReLU is computed as max(x, 0.2 x), which is identical to the last bit.

One graph serves all stems: each run feeds the weights of one stem.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.child.engines.network_definitions import (
    FILTERS,
    KERNEL_SIZE,
    LAST_DILATION,
    LAST_KERNEL_SIZE,
    LEAKY_SLOPE,
    NORM_EPSILON,
    NORMALISATION_VARIABLES,
    variable_name,
)
from stemsplit.child.engines.tensorflow.c_library import DataType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemsplit.child.engines.network_definitions import Activation
    from stemsplit.child.engines.tensorflow.c_library import Output
    from stemsplit.child.engines.tensorflow.graph import Graph

_FLOAT = DataType.FLOAT
_STRIDES = [1, 2, 2, 1]
_DILATIONS = [1, LAST_DILATION, LAST_DILATION, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One array of weights of a U-Net.

    Attributes:
        layer_type: Keras's name of the layer's type.
        layer: number of the layer among those of its type in one U-Net, from 0.
        variable: name of the array in its layer.
        shape: shape of the array in the checkpoint.
        by_phases: whether the graph takes the result of `phase_kernel` instead of the array.
        placeholder: the graph's input for the array.
    """

    layer_type: str
    layer: int
    variable: str
    shape: tuple[int, ...]
    by_phases: bool
    placeholder: Output

    def checkpoint_name(self, stem: int) -> str:
        """Return the array's name in a checkpoint, for a stem of the model, from 0."""
        return variable_name(self.layer_type, self.layer, self.variable, stem)


def phase_kernel(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert the kernel of a transposed convolution of stride 2 to one for all output phases.

    With "same" padding, sample j of the output is the sum of input sample i times tap k over all
    2 i + k - 1 = j (the transpose of a convolution whose padding begins with one zero). For even
    j = 2 m, these are taps 3 and 1 on inputs m - 1 and m. For odd j = 2 m + 1, they are taps 4, 2
    and 0 on inputs m - 1, m and m + 1. The same holds on the other axis.

    Args:
        kernel: `(5, 5, 1, channels)` float32.

    Returns:
        `(3, 3, channels, 4)` float32. A convolution with it followed by TensorFlow's
        `DepthToSpace` equals the transposed convolution.
    """
    padded = np.pad(kernel[:, :, 0], [(0, 1), (0, 1), (0, 0)])
    taps = np.array([[3, 4], [1, 2], [5, 0]])  # by input and phase; 5 is the zero padding
    by_phase = padded[taps][:, :, taps]  # input, phase, input, phase, channel
    return np.ascontiguousarray(by_phase.transpose(0, 2, 4, 1, 3)).reshape(3, 3, -1, 4)


class UNet:
    """The U-Net of one stem in a graph.

    Attributes:
        estimate: the output, `(1, frames, bins, 2)` float32: the estimated magnitudes of the stem,
            or the logits for a softmax over all stems.
        weights: all weights that a run must feed.
    """

    def __init__(
        self,
        graph: Graph,
        magnitudes: Output,
        shape: tuple[int, int, int, int],
        *,
        encoder_activation: Activation,
        decoder_activation: Activation,
        logits: bool,
    ) -> None:
        """Add the network to a graph.

        Args:
            graph: receives the operations.
            magnitudes: float32 magnitudes of the mix.
            shape: their shape, `(1, frames, bins, 2)`; frames and bins are multiples of 64.
            encoder_activation: activation on the contracting path.
            decoder_activation: activation on the expansive path.
            logits: whether to omit the final sigmoid and its product with the magnitudes.
        """
        self._graph = graph
        self._last_axis = graph.constant(-1)
        self.weights: list[Weight] = []
        self._layers: Counter[str] = Counter()
        skipped = self._encoded(magnitudes, shape[3], encoder_activation)
        output = skipped[-1]
        for depth in reversed(range(len(FILTERS))):
            if depth < len(FILTERS) - 1:
                output = graph.add(
                    "ConcatV2", [skipped[depth], output], self._last_axis,
                    N=2, T=_FLOAT, Tidx=DataType.INT32,
                )  # fmt: skip
            size = (1, shape[1] >> depth, shape[2] >> depth, FILTERS[depth - 1] if depth else 1)
            inputs = FILTERS[depth] * (1 if depth == len(FILTERS) - 1 else 2)
            transposed = self._transposed(output, inputs, size)
            output = self._normalised(self._activated(transposed, decoder_activation), size[3])
        kernel = (LAST_KERNEL_SIZE, LAST_KERNEL_SIZE, 1, shape[3])
        output = self._convolved(output, kernel, strides=[1, 1, 1, 1], dilations=_DILATIONS)
        if not logits:
            mask = graph.add("Sigmoid", output, T=_FLOAT)
            output = graph.add("Mul", mask, magnitudes, T=_FLOAT)
        self.estimate = output

    def _encoded(self, features: Output, channels: int, activation: Activation) -> list[Output]:
        """Add the encoder and return the output of each convolution, for the skip connections."""
        skipped = []
        for filters in FILTERS:
            kernel = (KERNEL_SIZE, KERNEL_SIZE, channels, filters)
            convolved = self._convolved(features, kernel, strides=_STRIDES)
            skipped.append(convolved)
            features = self._activated(self._normalised(convolved, filters), activation)
            channels = filters
        # Like Spleeter, also normalise and activate the coarsest layer, although nothing uses it.
        return skipped

    def _weight(
        self, layer_type: str, variable: str, shape: tuple[int, ...], *, by_phases: bool = False
    ) -> Output:
        placeholder = self._graph.placeholder(_FLOAT, None if by_phases else shape)
        weight = Weight(
            layer_type=layer_type,
            layer=self._layers[layer_type],
            variable=variable,
            shape=shape,
            by_phases=by_phases,
            placeholder=placeholder,
        )
        self.weights.append(weight)
        return placeholder

    def _biased(self, features: Output, layer_type: str, channels: int) -> Output:
        bias = self._weight(layer_type, "bias", (channels,))
        self._layers[layer_type] += 1
        return self._graph.add("BiasAdd", features, bias, T=_FLOAT)

    def _convolved(
        self, features: Output, kernel: tuple[int, int, int, int], **attributes: list[int]
    ) -> Output:
        weight = self._weight("conv2d", "kernel", kernel)
        convolved = self._graph.add(
            "Conv2D", features, weight, T=_FLOAT, padding="SAME", **attributes
        )
        return self._biased(convolved, "conv2d", kernel[3])

    def _transposed(self, features: Output, inputs: int, size: tuple[int, int, int, int]) -> Output:
        graph, channels = self._graph, size[3]
        by_phases = channels == 1
        shape = (KERNEL_SIZE, KERNEL_SIZE, channels, inputs)
        kernel = self._weight("conv2d_transpose", "kernel", shape, by_phases=by_phases)
        if by_phases:
            phases = graph.add(
                "Conv2D", features, kernel, T=_FLOAT, strides=[1, 1, 1, 1], padding="SAME"
            )
            transposed = graph.add("DepthToSpace", phases, T=_FLOAT, block_size=2)
        else:
            transposed = graph.add(
                "Conv2DBackpropInput", graph.constant(size), kernel, features,
                T=_FLOAT, strides=_STRIDES, padding="SAME",
            )  # fmt: skip
        return self._biased(transposed, "conv2d_transpose", channels)

    def _normalised(self, features: Output, channels: int) -> Output:
        layer_type = "batch_normalization"
        weights = [self._weight(layer_type, name, (channels,)) for name in NORMALISATION_VARIABLES]
        self._layers[layer_type] += 1
        return self._graph.add(
            "FusedBatchNormV3", features, *weights,
            T=_FLOAT, U=_FLOAT, epsilon=NORM_EPSILON, is_training=False,
        )  # fmt: skip

    def _activated(self, features: Output, activation: Activation) -> Output:
        add = self._graph.add
        match activation:
            case "ReLU":
                return add("Relu", features, T=_FLOAT)
            case "ELU":
                return add("Elu", features, T=_FLOAT)
            case "LeakyReLU":
                slope = add("Const", dtype=_FLOAT, value=np.array(LEAKY_SLOPE, np.float32))
                return add("Maximum", features, add("Mul", features, slope, T=_FLOAT), T=_FLOAT)
