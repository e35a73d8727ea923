"""Runs in the child. Spleeter's networks: what its configuration files say of each model.

The files are `spleeter/resources/*.json` of spleeter 2.4.2. The facts stand here once more because
Spleeter cannot be installed everywhere; a test holds them against the files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from stemsplit.core.errors import REINSTALL, EngineError

Activation = Literal["ReLU", "ELU", "LeakyReLU"]

CHECKPOINT = "model"
"""The prefix of the weights' files in Spleeter's releases."""

KERNEL = 5
"""Of the convolutions, along both axes; their stride is 2."""
LAST_KERNEL = 4
LAST_DILATION = 2
"""Of the last convolution, whose stride is 1."""
LEAK = 0.2
"""Slope of the leaky rectifier below zero."""
NORM_EPSILON = 1e-3
"""Of batch normalisation: what Keras takes if nothing is said, as Spleeter does not."""
FILTERS = (16, 32, 64, 128, 256, 512)
"""`conv_n_filters` where a configuration has none, as none of Spleeter's has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One of Spleeter's configurations: a U-Net for each stem.

    Attributes:
        stems: `instrument_list`.
        bins: `F`: how many frequency bins it looks at.
        down: `conv_activation`: on the way to coarser layers.
        up: `deconv_activation`: on the way back.
        softmax: whether a softmax over all stems makes the masks (`unet.softmax_unet`); else
            each U-Net has a sigmoid of its own (`unet.unet`).
    """

    stems: tuple[str, ...]
    bins: int
    down: Activation = "LeakyReLU"
    up: Activation = "ReLU"
    softmax: bool = False


_BINS = {"": 1024, "-16kHz": 1536}

_PLAIN = {
    "2stems": Network(stems=("vocals", "accompaniment"), bins=_BINS[""]),
    "4stems": Network(
        stems=("vocals", "drums", "bass", "other"), bins=_BINS[""], down="ELU", up="ELU"
    ),
    "5stems": Network(
        stems=("vocals", "piano", "drums", "bass", "other"),
        bins=_BINS[""],
        down="ELU",
        up="ELU",
        softmax=True,
    ),
}

NETWORKS = {
    f"{name}{suffix}": replace(network, bins=bins)
    for name, network in _PLAIN.items()
    for suffix, bins in _BINS.items()
}
"""Every network by its model's name."""


def network_of(model: str) -> Network:
    """Give the network of a model, by a name such as `2stems-16kHz`.

    Raises:
        EngineError: if there is none of that name.
    """
    if model not in NETWORKS:
        raise EngineError(f"No network is known of a model named {model}.", REINSTALL)
    return NETWORKS[model]


def layer_name(kind: str, number: int) -> str:
    """Name a layer as Keras does: `conv2d`, `conv2d_1`, `conv2d_2`, ...

    Spleeter builds one U-Net after the other in one graph, and Keras numbers the layers of each
    kind through: with 7 layers of the kind `conv2d`, the second stem's first is `conv2d_7`.
    """
    return f"{kind}_{number}" if number else kind
