"""The facts about Spleeter's networks, compared with Spleeter's files and the catalogue."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from stemsplit.audio.stft import FRAME_LENGTH, HOP_LENGTH, SEGMENT_FRAMES
from stemsplit.child.engines.network_definitions import NETWORKS
from stemsplit.child.engines.ratio_mask import EXPONENT
from stemsplit.core.settings import MODEL_SAMPLE_RATE, STEREO
from stemsplit.models.catalogue import MODELS


@pytest.mark.parametrize("model", NETWORKS)
def test_a_network_matches_the_configuration_of_spleeter(model: str) -> None:
    """All facts that an engine needs are equal."""
    pytest.importorskip("spleeter", reason="Spleeter's files are not installed")
    configuration = json.loads(files("spleeter.resources").joinpath(f"{model}.json").read_text())
    network = NETWORKS[model]
    assert network.stems == tuple(configuration["instrument_list"])
    assert network.bins == configuration["F"]
    assert (configuration["T"], configuration["frame_length"], configuration["frame_step"]) == (
        SEGMENT_FRAMES,
        FRAME_LENGTH,
        HOP_LENGTH,
    )
    assert (configuration["sample_rate"], configuration["n_channels"]) == (
        MODEL_SAMPLE_RATE,
        STEREO,
    )
    assert configuration["separation_exponent"] == EXPONENT
    assert configuration["model"]["type"] == (
        "unet.softmax_unet" if network.softmax else "unet.unet"
    )
    parameters = configuration["model"]["params"]
    assert network.encoder_activation == parameters.pop("conv_activation", "LeakyReLU")
    assert network.decoder_activation == parameters.pop("deconv_activation", "ReLU")
    assert not parameters, "unknown parameters, such as conv_n_filters"


def test_networks_match_the_catalogue() -> None:
    """Names, stems and highest frequencies are equal."""
    assert {*NETWORKS} == {*MODELS}
    for name, network in NETWORKS.items():
        assert network.stems == MODELS[name].stems
        highest = network.bins / FRAME_LENGTH * MODEL_SAMPLE_RATE
        assert round(highest) == MODELS[name].highest_hertz
