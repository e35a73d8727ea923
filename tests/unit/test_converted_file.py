"""The file format of the ONNX engine's weights."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy_unet import convolved, transposed

from stemsplit.child.engines.weights import converted_file
from stemsplit.core.conversion_messages import LAYOUT


def test_a_changed_format_needs_a_new_layout_number() -> None:
    """Otherwise, files in the old format would be read as if they were in the new one."""
    arrays = [(array.name, array.shape, array.offset) for array in converted_file.arrays()]
    digest = hashlib.sha256(repr(arrays).encode()).hexdigest()
    assert (LAYOUT, digest[:16]) == (2, "3ce53d0469f43619"), "change LAYOUT and this digest"


@pytest.mark.parametrize("phase", converted_file.PHASES)
def test_a_phase_of_a_transposed_convolution_is_a_plain_convolution(
    phase: converted_file.Phase,
) -> None:
    """It is compared with the definition: j = 2 i + k - 1 on both axes."""
    random = np.random.default_rng(5)
    stored = random.standard_normal((5, 5, 3, 2)).astype(np.float32)
    source = random.standard_normal((4, 6, 2)).astype(np.float32)
    whole = transposed(source.astype(np.float64), stored.astype(np.float64))
    (array,) = (
        array
        for array in converted_file.arrays()
        if (array.layer, array.variable, array.phase) == (1, "kernel", phase)
    )
    # Without a last row or column of taps, the kernel needs no padding at that edge.
    missing = [(0, 1 - odd) for odd in phase]
    kernel = np.pad(array.converted(stored), [(0, 0), (0, 0), *missing]).transpose(2, 3, 1, 0)
    found = convolved(source.astype(np.float64), kernel.astype(np.float64))
    np.testing.assert_allclose(found, whole[phase[0] :: 2, phase[1] :: 2], atol=1e-5)
