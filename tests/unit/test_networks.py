"""What is known of Spleeter's networks, against Spleeter's own files and the catalogue."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from stemsplit.audio.stft import FRAME_LENGTH, HOP_LENGTH, SEGMENT_FRAMES
from stemsplit.child.engines.ratio_mask import EXPONENT
from stemsplit.child.engines.spleeter_models import NETWORKS
from stemsplit.core.settings import MODEL_SAMPLE_RATE, STEREO
from stemsplit.models.catalogue import MODELS


@pytest.mark.parametrize("model", NETWORKS)
def test_a_network_is_what_spleeter_s_file_says(model: str) -> None:
    """Every fact that an engine relies on, for each of the six configurations."""
    pytest.importorskip("spleeter", reason="Spleeter's files are not installed")
    told = json.loads(files("spleeter.resources").joinpath(f"{model}.json").read_text())
    network = NETWORKS[model]
    assert network.stems == tuple(told["instrument_list"])
    assert network.bins == told["F"]
    assert (told["T"], told["frame_length"], told["frame_step"]) == (
        SEGMENT_FRAMES,
        FRAME_LENGTH,
        HOP_LENGTH,
    )
    assert (told["sample_rate"], told["n_channels"]) == (MODEL_SAMPLE_RATE, STEREO)
    assert told["separation_exponent"] == EXPONENT
    assert told["model"]["type"] == ("unet.softmax_unet" if network.softmax else "unet.unet")
    parameters = told["model"]["params"]
    assert network.down == parameters.pop("conv_activation", "LeakyReLU")
    assert network.up == parameters.pop("deconv_activation", "ReLU")
    assert not parameters, "such as conv_n_filters"


def test_networks_are_the_models_of_the_catalogue() -> None:
    """By name, stems and the highest frequency."""
    assert {*NETWORKS} == {*MODELS}
    for name, network in NETWORKS.items():
        assert network.stems == MODELS[name].stems
        highest = network.bins / FRAME_LENGTH * MODEL_SAMPLE_RATE
        assert round(highest) == MODELS[name].highest_hertz
