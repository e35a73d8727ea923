"""How many bits samples truly use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio.bit_usage import UsedBits, uses_more_bits


def _used(samples: object) -> int | None:
    found = UsedBits()
    found.add(np.asarray(samples, np.float32))
    return found.bits


@given(st.integers(2, 24), st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1))
def test_padding_is_found_out(bits: int, steps: list[int]) -> None:
    """Samples on the steps of a depth never seem to need more than it; one odd step needs it."""
    scale = 2.0 ** (bits - 1)
    samples = np.array([step % (2**bits) - scale for step in steps]) / scale
    used = _used(samples)
    assert used is not None
    assert used <= bits
    assert not uses_more_bits(samples.astype(np.float32), bits)
    odd = np.append(samples, 1 / scale)
    assert _used(odd) == bits
    assert uses_more_bits(odd.astype(np.float32), bits - 1)


def test_silence_and_floating_point() -> None:
    """Silence needs one bit; a third needs as many as float32 has there."""
    assert _used([0.0, 0.0]) == 1
    assert _used([1 / 3]) == 26, "25 bits behind the point, and the sign"
    assert _used([1e-9]) is None


@pytest.mark.parametrize("bits", [8, 16, 20, 24])
def test_blocks_add_up(bits: int) -> None:
    """What one block needs, the stream needs."""
    found = UsedBits()
    found.add(np.zeros((10, 2), np.float32))
    found.add(np.full((10, 2), 2.0 ** -(bits - 1), np.float32))
    found.add(np.full((10, 2), 0.5, np.float32))
    assert found.bits == bits
