"""Runs where stemsplit is developed. Writes the ONNX engine's graphs, in the folder beside it.

    python -m stemsplit.child.engines.onnx.write_graphs

Needs the package `onnx`, which is larger than all that its graphs are. There is one graph for each
kind of network, for all stems and models alike: where its weights are in a file it says itself
(ONNX's external data), in which file the engine. A test makes sure that they are as written here.

The network is `apply_unet` of `spleeter.model.functions.unet` (spleeter 2.4.2), its padding that of
TensorFlow's "same" (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2): 3 samples
in all with a kernel of 5 and a stride of 2, one of them in front. Most transposed convolutions are
written as plain ones, see `layout.is_by_phases`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.onnx.engine import ESTIMATE, MAGNITUDES, graph_path
from stemsplit.child.engines.spleeter_models import (
    FILTERS,
    KERNEL,
    LAST_DILATION,
    LAST_KERNEL,
    LEAK,
    NETWORKS,
    NORM_EPSILON,
)
from stemsplit.child.engines.weights import converted_file
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from stemsplit.child.engines.spleeter_models import Activation, Network

_OPSET = 17
_IR_VERSION = 8
"""Of 2022: what ONNX Runtime has read since version 1.12."""

_STRIDED: dict[str, Any] = {
    "kernel_shape": [KERNEL] * 2,
    "strides": [2, 2],
    "pads": [1, 1, 2, 2],
}
_LAST_PADDING = LAST_DILATION * (LAST_KERNEL - 1) // 2


class _Graph:
    """Collects operators, each with one result that is numbered through, and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def add(self, kind: str, *inputs: str, result: str = "", **attributes: Any) -> str:  # noqa: ANN401
        result = result or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result

    def integers(self, *values: int) -> str:
        name = str(list(values))
        self.constants[name] = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return name

    def one(self) -> str:
        self.constants["1.0"] = helper.make_tensor("1.0", TensorProto.FLOAT, [], [1])
        return "1.0"

    def convolved(self, found: str, layer: int, **how: Any) -> str:  # noqa: ANN401 - of many types
        weights = [f"conv2d_{layer}/{name}" for name in ("kernel", "bias")]
        return self.add("Conv", found, *weights, **how)

    def transposed(self, found: str, layer: int, bins: int) -> str:
        """Add a transposed convolution; `bins` are those of its result."""
        kernel, bias = (f"conv2d_transpose_{layer}/{name}" for name in ("kernel", "bias"))
        if not converted_file.is_by_phases(layer):
            return self.add("ConvTranspose", found, kernel, bias, **_STRIDED)
        phases = {
            (row, column): self.add(
                "Conv",
                found,
                converted_file.phase_name(kernel, (row, column)),
                bias,
                kernel_shape=[2 + row, 2 + column],
                pads=[1, 1, row, column],
            )
            for row, column in converted_file.PHASES
        }
        # Laid into each other, even and odd columns and then rows: (1, channels, rows, row phase,
        # columns, column phase). `DepthToSpace` would be slower.
        rows = []
        for row in (0, 1):
            columns = [
                self.add("Unsqueeze", phases[row, column], self.integers(4)) for column in (0, 1)
            ]
            interlaced = self.add("Concat", *columns, axis=4)
            rows.append(self.add("Unsqueeze", interlaced, self.integers(3)))
        return self.add("Reshape", self.add("Concat", *rows, axis=3), self.integers(0, 0, -1, bins))

    def normalised(self, found: str, layer: int) -> str:
        weights = [f"batch_normalization_{layer}/{name}" for name in converted_file.NORMALISATION]
        return self.add("BatchNormalization", found, *weights, epsilon=NORM_EPSILON)

    def activated(self, found: str, activation: Activation) -> str:
        match activation:
            case "ReLU":
                return self.add("Relu", found)
            case "ELU":
                return self.add("Elu", found)
            case "LeakyReLU":
                return self.add("LeakyRelu", found, alpha=LEAK)


def make_graph(network: Network) -> onnx.ModelProto:
    """Make the graph of one U-Net of a network.

    It takes `(1, frames, bins, 2)` float32 magnitudes and gives as many: of the stem, or with a
    softmax what that makes masks of. Inside, arrays are `(1, channels, frames, bins)`.
    """
    graph = _Graph()
    mix = graph.add("Transpose", MAGNITUDES, perm=[0, 3, 1, 2])
    found, skipped = mix, []
    for layer in range(len(FILTERS)):
        if layer:
            found = graph.activated(graph.normalised(found, layer - 1), network.down)
        found = graph.convolved(found, layer, **_STRIDED)
        skipped.append(found)
    for layer in range(len(FILTERS)):
        if layer:
            found = graph.add("Concat", skipped[-1 - layer], found, axis=1)
        bins = network.bins >> (len(FILTERS) - 1 - layer)
        found = graph.activated(graph.transposed(found, layer, bins), network.up)
        found = graph.normalised(found, len(FILTERS) + layer)
    found = graph.convolved(
        found,
        len(FILTERS),
        kernel_shape=[LAST_KERNEL] * 2,
        dilations=[LAST_DILATION] * 2,
        pads=[_LAST_PADDING] * 4,
    )
    if not network.softmax:
        # Not `Sigmoid`: ONNX Runtime's is off by 1e-8 where it is nearly 0, which is much of it
        # there, and a mask is a ratio of such numbers.
        found = graph.add(
            "Div", mix, graph.add("Add", graph.add("Exp", graph.add("Neg", found)), graph.one())
        )
    graph.add("Transpose", found, perm=[0, 2, 3, 1], result=ESTIMATE)
    shape = [1, SEGMENT_FRAMES, network.bins, STEREO]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "unet",
            [helper.make_tensor_value_info(MAGNITUDES, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(ESTIMATE, TensorProto.FLOAT, shape)],
            [*map(_stored, converted_file.arrays()), *graph.constants.values()],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="stemsplit",
    )
    # The checker would look for the weights; this finds what does not fit together as well.
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return model


def _stored(array: converted_file.Array) -> TensorProto:
    """Say where an array is stored."""
    tensor = TensorProto(name=array.name, dims=array.shape, data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    place = {
        "location": converted_file.FILE_NAME,
        "offset": array.offset,
        "length": array.size_bytes,
    }
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def main() -> None:
    """Write the graph of every kind of network."""
    for network in NETWORKS.values():
        graph_path(network).write_bytes(make_graph(network).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
