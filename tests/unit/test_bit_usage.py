"""Measuring how many bits samples use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio.bit_usage import BitUsageMeter, uses_more_bits


def _used(samples: object) -> int | None:
    meter = BitUsageMeter()
    meter.add(np.asarray(samples, np.float32))
    return meter.bits


@given(st.integers(2, 24), st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1))
def test_padded_bits_do_not_count(bits: int, steps: list[int]) -> None:
    """Samples on the steps of a depth need at most that depth; an odd step needs all of it."""
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
    """Silence needs one bit; 1/3 needs as many bits as float32 has."""
    assert _used([0.0, 0.0]) == 1
    assert _used([1 / 3]) == 26, "25 fractional bits and the sign"
    assert _used([1e-9]) is None


@pytest.mark.parametrize("bits", [8, 16, 20, 24])
def test_a_stream_uses_the_bits_of_all_its_blocks(bits: int) -> None:
    """The block with the finest steps determines the result."""
    meter = BitUsageMeter()
    meter.add(np.zeros((10, 2), np.float32))
    meter.add(np.full((10, 2), 2.0 ** -(bits - 1), np.float32))
    meter.add(np.full((10, 2), 0.5, np.float32))
    assert meter.bits == bits
