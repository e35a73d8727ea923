"""Runs at development time. Writes the ONNX engine's graphs into the folder `graphs`.

    python -m stemsplit.child.engines.onnx.write_graphs

It needs the package `onnx`, which is larger than all graphs together. There is one graph for each
network structure, shared by all stems and models that have it. The graph contains the position of
its weights in a file (ONNX's external data), and the engine chooses the file. A test compares the
files with the output of this module.

The network is `apply_unet` of `spleeter.model.functions.unet` (spleeter 2.4.2), with the padding of
TensorFlow's "same" (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2): 3 samples
in all for a kernel of 5 and a stride of 2, one of them in front. Most transposed convolutions are
written as plain ones (`stemsplit.child.engines.weights.converted_file.is_by_phases`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.network_definitions import (
    FILTERS,
    KERNEL_SIZE,
    LAST_DILATION,
    LAST_KERNEL_SIZE,
    LEAKY_SLOPE,
    NETWORKS,
    NORM_EPSILON,
    NORMALISATION_VARIABLES,
)
from stemsplit.child.engines.onnx.engine import ESTIMATE, MAGNITUDES, graph_path
from stemsplit.child.engines.weights import converted_file
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from stemsplit.child.engines.network_definitions import Activation, Network

_OPSET = 17
_IR_VERSION = 8
"""Version from 2022, which ONNX Runtime reads since version 1.12."""

_STRIDED: dict[str, Any] = {
    "kernel_shape": [KERNEL_SIZE] * 2,
    "strides": [2, 2],
    "pads": [1, 1, 2, 2],
}
_LAST_PADDING = LAST_DILATION * (LAST_KERNEL_SIZE - 1) // 2


class _Graph:
    """Collects constants and operators; numbers the operators' outputs."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, TensorProto] = {}

    def add(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        output = output or f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def integers(self, *values: int) -> str:
        name = str(list(values))
        self.constants[name] = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        return name

    def float_one(self) -> str:
        self.constants["1.0"] = helper.make_tensor("1.0", TensorProto.FLOAT, [], [1])
        return "1.0"

    def convolved(self, features: str, layer: int, **attributes: Any) -> str:  # noqa: ANN401
        weights = [f"conv2d_{layer}/{name}" for name in ("kernel", "bias")]
        return self.add("Conv", features, *weights, **attributes)

    def transposed(self, features: str, layer: int, bins: int) -> str:
        """Add a transposed convolution whose output has `bins` bins."""
        kernel, bias = (f"conv2d_transpose_{layer}/{name}" for name in ("kernel", "bias"))
        if not converted_file.is_by_phases(layer):
            return self.add("ConvTranspose", features, kernel, bias, **_STRIDED)
        phases = {
            (row, column): self.add(
                "Conv",
                features,
                converted_file.phase_name(kernel, (row, column)),
                bias,
                kernel_shape=[2 + row, 2 + column],
                pads=[1, 1, row, column],
            )
            for row, column in converted_file.PHASES
        }
        # Interleave even and odd columns, then rows: (1, channels, rows, row phase, columns,
        # column phase). `DepthToSpace` would be slower.
        rows = []
        for row in (0, 1):
            columns = [
                self.add("Unsqueeze", phases[row, column], self.integers(4)) for column in (0, 1)
            ]
            interleaved = self.add("Concat", *columns, axis=4)
            rows.append(self.add("Unsqueeze", interleaved, self.integers(3)))
        return self.add("Reshape", self.add("Concat", *rows, axis=3), self.integers(0, 0, -1, bins))

    def normalised(self, features: str, layer: int) -> str:
        weights = [f"batch_normalization_{layer}/{name}" for name in NORMALISATION_VARIABLES]
        return self.add("BatchNormalization", features, *weights, epsilon=NORM_EPSILON)

    def activated(self, features: str, activation: Activation) -> str:
        match activation:
            case "ReLU":
                return self.add("Relu", features)
            case "ELU":
                return self.add("Elu", features)
            case "LeakyReLU":
                return self.add("LeakyRelu", features, alpha=LEAKY_SLOPE)


def make_graph(network: Network) -> onnx.ModelProto:
    """Return the graph of one U-Net of a network.

    Its input is `(1, frames, bins, 2)` float32 magnitudes. Its output has the same shape: the
    magnitudes of the stem, or the logits for a softmax over all stems. Inside, arrays have the
    shape `(1, channels, frames, bins)`.
    """
    graph = _Graph()
    mix = graph.add("Transpose", MAGNITUDES, perm=[0, 3, 1, 2])
    features, skipped = mix, []
    for layer in range(len(FILTERS)):
        if layer:
            normalised = graph.normalised(features, layer - 1)
            features = graph.activated(normalised, network.encoder_activation)
        features = graph.convolved(features, layer, **_STRIDED)
        skipped.append(features)
    for layer in range(len(FILTERS)):
        if layer:
            features = graph.add("Concat", skipped[-1 - layer], features, axis=1)
        bins = network.bins >> (len(FILTERS) - 1 - layer)
        transposed = graph.transposed(features, layer, bins)
        features = graph.activated(transposed, network.decoder_activation)
        features = graph.normalised(features, len(FILTERS) + layer)
    features = graph.convolved(
        features,
        len(FILTERS),
        kernel_shape=[LAST_KERNEL_SIZE] * 2,
        dilations=[LAST_DILATION] * 2,
        pads=[_LAST_PADDING] * 4,
    )
    if not network.softmax:
        # Not `Sigmoid`: ONNX Runtime's has an error of 1e-8 near 0, where most values are, and a
        # mask is a ratio of such values.
        exponential = graph.add("Exp", graph.add("Neg", features))
        features = graph.add("Div", mix, graph.add("Add", exponential, graph.float_one()))
    graph.add("Transpose", features, perm=[0, 2, 3, 1], output=ESTIMATE)
    shape = [1, SEGMENT_FRAMES, network.bins, STEREO]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "unet",
            [helper.make_tensor_value_info(MAGNITUDES, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(ESTIMATE, TensorProto.FLOAT, shape)],
            [*map(_external_tensor, converted_file.arrays()), *graph.constants.values()],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="stemsplit",
    )
    # `onnx.checker` requires the files of weights; shape inference finds mismatches without them.
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    return model


def _external_tensor(array: converted_file.Array) -> TensorProto:
    """Return a tensor that refers to an array in the file of weights."""
    tensor = TensorProto(name=array.name, dims=array.shape, data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    location = {
        "location": converted_file.FILE_NAME,
        "offset": array.offset,
        "length": array.size_bytes,
    }
    for key, value in location.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def main() -> None:
    """Write the graph of every network structure."""
    for network in NETWORKS.values():
        graph_path(network).write_bytes(make_graph(network).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
