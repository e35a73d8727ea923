"""Runs in the child. The networks of Spleeter's models, and the names of their variables.

The configurations are those of `spleeter/resources/*.json` in spleeter 2.4.2, the hyperparameters
those of `apply_unet` in `spleeter.model.functions.unet`. They are repeated here because Spleeter
cannot be installed everywhere; a test compares the configurations with Spleeter's files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from stemsplit.core.errors import REINSTALL, EngineError

Activation = Literal["ReLU", "ELU", "LeakyReLU"]

CHECKPOINT_PREFIX = "model"
"""File name prefix of the checkpoints in Spleeter's releases."""

FILTERS = (16, 32, 64, 128, 256, 512)
"""Filters of the encoder's convolutions: the default of `conv_n_filters`, which no model sets."""
KERNEL_SIZE = 5
"""Kernel size of the encoder's and decoder's convolutions on both axes; their stride is 2."""
LAST_KERNEL_SIZE = 4
LAST_DILATION = 2
"""Kernel size and dilation of the last convolution on both axes; its stride is 1."""
LEAKY_SLOPE = 0.2
"""Slope of the leaky ReLU below zero."""
NORM_EPSILON = 1e-3
"""Epsilon of batch normalisation: the Keras default, which Spleeter does not change."""

LAYERS = {"conv2d": 7, "conv2d_transpose": 6, "batch_normalization": 12}
"""Number of layers in one U-Net, by Keras's name of the layer type."""
NORMALISATION_VARIABLES = ("gamma", "beta", "moving_mean", "moving_variance")
"""Variables of a batch normalisation layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One of Spleeter's configurations, which has one U-Net per stem.

    Attributes:
        stems: `instrument_list`.
        bins: `F`, the number of frequency bins from 0 Hz up that the network processes.
        encoder_activation: `conv_activation`.
        decoder_activation: `deconv_activation`.
        softmax: whether a softmax over all stems computes the masks (`unet.softmax_unet`) instead
            of a sigmoid in each U-Net (`unet.unet`).
    """

    stems: tuple[str, ...]
    bins: int
    encoder_activation: Activation = "LeakyReLU"
    decoder_activation: Activation = "ReLU"
    softmax: bool = False


_BINS = {"": 1024, "-16kHz": 1536}
"""`Network.bins` by suffix of the model's name: up to 11 kHz or 16 kHz."""

_NETWORKS_11KHZ = {
    "2stems": Network(stems=("vocals", "accompaniment"), bins=_BINS[""]),
    "4stems": Network(
        stems=("vocals", "drums", "bass", "other"),
        bins=_BINS[""],
        encoder_activation="ELU",
        decoder_activation="ELU",
    ),
    "5stems": Network(
        stems=("vocals", "piano", "drums", "bass", "other"),
        bins=_BINS[""],
        encoder_activation="ELU",
        decoder_activation="ELU",
        softmax=True,
    ),
}

NETWORKS = {
    f"{name}{suffix}": replace(network, bins=bins)
    for name, network in _NETWORKS_11KHZ.items()
    for suffix, bins in _BINS.items()
}
"""The network of each model, by the model's name."""


def network_of(model: str) -> Network:
    """Return the network of a model, such as `2stems-16kHz`.

    Raises:
        EngineError: if there is no model of that name.
    """
    if model not in NETWORKS:
        raise EngineError(f"Unknown model: {model}.", REINSTALL)
    return NETWORKS[model]


def layer_name(layer_type: str, number: int) -> str:
    """Return the name that Keras gives a layer: `conv2d`, `conv2d_1`, `conv2d_2`, ...

    Args:
        layer_type: one of `LAYERS`.
        number: number of the layer among those of its type in the whole model, from 0. Spleeter
            builds all U-Nets in one graph: the first `conv2d` of the second stem is `conv2d_7`.
    """
    return f"{layer_type}_{number}" if number else layer_type


def variable_name(layer_type: str, layer: int, variable: str, stem: int) -> str:
    """Return the name of a variable in a checkpoint.

    Args:
        layer_type: one of `LAYERS`.
        layer: number of the layer among those of its type in one U-Net, from 0.
        variable: name of the variable in the layer, such as `kernel`.
        stem: number of the stem in the model, from 0.
    """
    return f"{layer_name(layer_type, layer + stem * LAYERS[layer_type])}/{variable}"
