"""The form of the ONNX engine's weights."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy_unet import convolved, transposed

from stemsplit.child.engines.weights import converted_file
from stemsplit.core.weight_conversion import LAYOUT


def test_another_form_has_another_number() -> None:
    """Else files of the old form would be read as if they were of the new one."""
    form = repr([(one.name, one.shape, one.offset) for one in converted_file.arrays()])
    digest = hashlib.sha256(form.encode()).hexdigest()
    assert (LAYOUT, digest[:16]) == (2, "3ce53d0469f43619"), "change LAYOUT, and this"


@pytest.mark.parametrize("phase", converted_file.PHASES)
def test_a_phase_of_a_transposed_convolution(phase: converted_file.Phase) -> None:
    """As a plain convolution, against the definition: j = 2 i + k - 1 on both axes."""
    random = np.random.default_rng(5)
    stored = random.standard_normal((5, 5, 3, 2)).astype(np.float32)
    source = random.standard_normal((4, 6, 2)).astype(np.float32)
    whole = transposed(source.astype(np.float64), stored.astype(np.float64))
    (array,) = (
        one
        for one in converted_file.arrays()
        if (one.layer, one.variable, one.phase) == (1, "kernel", phase)
    )
    # Without its last row or column of taps it has nothing to be padded for at that edge.
    missing = [(0, 1 - odd) for odd in phase]
    kernel = np.pad(array.of(stored), [(0, 0), (0, 0), *missing]).transpose(2, 3, 1, 0)
    found = convolved(source.astype(np.float64), kernel.astype(np.float64))
    np.testing.assert_allclose(found, whole[phase[0] :: 2, phase[1] :: 2], atol=1e-5)
