"""Spleeter's network in NumPy, from its definition, as a reference for every engine.

It uses float64, or float32 where that is exact enough, and follows `apply_unet` of
`spleeter.model.functions.unet` (spleeter 2.4.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stemsplit.child.engines.network_definitions import CHECKPOINT_PREFIX, layer_name, network_of
from stemsplit.child.engines.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]


def numpy_masks(
    model: str,
    folder: Path,
    magnitudes: NDArray[np.float32],
    dtype: type[np.float64 | np.float32] = np.float64,
) -> list[Array]:
    """Return the masks of a segment; see `stemsplit.child.engines.protocols.Engine.masks`."""
    network = network_of(model)
    checkpoint = Checkpoint(folder / CHECKPOINT_PREFIX)
    mix: Array = magnitudes.astype(dtype)
    outputs = [
        _unet(checkpoint, stem, mix, (network.encoder_activation, network.decoder_activation))
        for stem in range(len(network.stems))
    ]
    if network.softmax:
        exponentials = np.exp(np.array(outputs) - np.max(outputs, axis=0))
        estimates = exponentials / exponentials.sum(axis=0) * mix
    else:
        estimates = mix / (1 + np.exp(-np.array(outputs)))
    squares = estimates**2
    return list((squares + 1e-10 / len(squares)) / (squares.sum(axis=0) + 1e-10))


def _unet(checkpoint: Checkpoint, stem: int, mix: Array, activations: tuple[str, str]) -> Array:
    def weights(layer_type: str, layers: int, layer: int, name: str) -> Array:
        stored = checkpoint.tensor(f"{layer_name(layer_type, layer + stem * layers)}/{name}")
        return stored.astype(mix.dtype)

    def normalised(values: Array, layer: int) -> Array:
        gamma, beta, mean, variance = (
            weights("batch_normalization", 12, layer, name)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        result: Array = (values - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        return result

    down, up = (_ACTIVATIONS[name] for name in activations)
    values, skip_connections = mix, []
    for layer in range(6):
        if layer:
            values = down(normalised(values, layer - 1))
        values = convolved(values, weights("conv2d", 7, layer, "kernel"), stride=2)
        values = values + weights("conv2d", 7, layer, "bias")
        skip_connections.append(values)
    for layer in range(6):
        if layer:
            values = np.concatenate([skip_connections[5 - layer], values], axis=2)
        values = transposed(values, weights("conv2d_transpose", 6, layer, "kernel"))
        values = up(values + weights("conv2d_transpose", 6, layer, "bias"))
        values = normalised(values, 6 + layer)
    values = convolved(values, weights("conv2d", 7, 6, "kernel"), dilation=2)
    return values + weights("conv2d", 7, 6, "bias")


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "ReLU": lambda x: np.maximum(x, 0),
    "LeakyReLU": lambda x: np.maximum(x, 0.2 * x),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
}


def convolved(values: Array, kernel: Array, *, stride: int = 1, dilation: int = 1) -> Array:
    """Convolve with "same" padding; an odd element is added at the end."""
    size = dilation * (kernel.shape[0] - 1) + 1
    padding = size - stride
    edges = (padding // 2, padding - padding // 2)
    padded = np.pad(values, [edges, edges, (0, 0)])
    windows: Array = sliding_window_view(padded, (size, size), axis=(0, 1))  # type: ignore[call-overload]
    windows = windows[::stride, ::stride, :, ::dilation, ::dilation]
    result: Array = np.tensordot(windows, kernel, axes=([2, 3, 4], [2, 0, 1]))
    return result


def transposed(values: Array, kernel: Array) -> Array:
    """Apply a transposed convolution of stride 2: tap k of sample i adds to sample 2 i + k - 1."""
    rows, columns, _ = values.shape
    size = kernel.shape[0]
    summed = np.zeros((2 * rows + size, 2 * columns + size, kernel.shape[2]), values.dtype)
    for down, right in np.ndindex(size, size):
        part = values @ kernel[down, right].T
        summed[down : down + 2 * rows : 2, right : right + 2 * columns : 2] += part
    return summed[1 : 1 + 2 * rows, 1 : 1 + 2 * columns]
