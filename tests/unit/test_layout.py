"""The form of the ONNX engine's weights."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from stemsplit.child.engines import layout
from stemsplit.conversion import LAYOUT

if TYPE_CHECKING:
    from numpy.typing import NDArray


def test_another_form_has_another_number() -> None:
    """Else files of the old form would be read as if they were of the new one."""
    form = repr([(one.name, one.shape, one.offset) for one in layout.arrays()])
    digest = hashlib.sha256(form.encode()).hexdigest()
    assert (LAYOUT, digest[:16]) == (2, "3ce53d0469f43619"), "change LAYOUT, and this"


@pytest.mark.parametrize("phase", layout.PHASES)
def test_a_phase_of_a_transposed_convolution(phase: layout.Phase) -> None:
    """As a plain convolution, against the definition: j = 2 i + k - 1 on both axes."""
    random = np.random.default_rng(5)
    stored = random.standard_normal((5, 5, 3, 2)).astype(np.float32)
    source = random.standard_normal((4, 6, 2)).astype(np.float32)
    whole = np.zeros((8, 12, 3), np.float32)
    for row, column in np.ndindex(4, 6):
        for down, right in np.ndindex(5, 5):
            at = 2 * row + down - 1, 2 * column + right - 1
            if 0 <= at[0] < 8 and 0 <= at[1] < 12:
                whole[at] += stored[down, right] @ source[row, column]
    (array,) = (
        one
        for one in layout.arrays()
        if (one.layer, one.variable, one.phase) == (1, "kernel", phase)
    )
    found = _convolved(source, array.of(stored), phase)
    np.testing.assert_allclose(found, whole[phase[0] :: 2, phase[1] :: 2], atol=1e-5)


def _convolved(
    source: NDArray[np.float32], kernel: NDArray[np.float32], phase: layout.Phase
) -> NDArray[np.float32]:
    """Convolve `(rows, columns, in)` with `(out, in, height, width)`, padded as in the graph."""
    padded = np.pad(source, [(1, phase[0]), (1, phase[1]), (0, 0)])
    rows, columns, _channels = source.shape
    height, width = kernel.shape[2:]
    seen = np.stack(
        [
            [padded[row : row + height, column : column + width] for column in range(columns)]
            for row in range(rows)
        ]
    )
    found: NDArray[np.float32] = np.einsum("rchwi,oihw->rco", seen, kernel)
    return found
