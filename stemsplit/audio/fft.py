"""Runs in the child. Fourier transforms of windowed frames, with SciPy or NumPy.

SciPy is installed with Spleeter; NumPy is always installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.stft import FRAME_LENGTH, hann_window

try:
    import scipy.fft
except ImportError:
    HAS_SCIPY = False
else:
    HAS_SCIPY = True

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemsplit.audio.stft import Transform


def fastest_transform() -> Transform:
    """Return SciPy's transform, which is faster, if SciPy is installed; else NumPy's."""
    if HAS_SCIPY:
        return ScipyTransform()
    return NumpyTransform()


class ScipyTransform:
    """SciPy's pocketfft in float32, which is closer to the exact result than TensorFlow's."""

    def __init__(self) -> None:
        self._window = hann_window()

    def forward(self, frames: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Window and transform; see `Transform.forward`."""
        return scipy.fft.rfft(frames * self._window, axis=-1, overwrite_x=True)

    def inverse(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Transform back and window; see `Transform.inverse`."""
        frames = scipy.fft.irfft(spectra, n=FRAME_LENGTH, axis=-1, overwrite_x=True)
        frames *= self._window
        return frames


class NumpyTransform:
    """NumPy's pocketfft: forward in float64, inverse in float32 (in float64 before NumPy 2).

    NumPy's forward transform takes four times as long in float32 as in float64 (NumPy 2.5: 38 ms
    and 9 ms for 512 frames; SciPy: 3 ms).
    """

    def __init__(self) -> None:
        self._window = hann_window()
        self._exact_window = self._window.astype(np.float64)

    def forward(self, frames: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Window and transform; see `Transform.forward`."""
        return np.fft.rfft(frames * self._exact_window).astype(np.complex64)

    def inverse(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Transform back and window; see `Transform.inverse`."""
        frames = np.fft.irfft(spectra, n=FRAME_LENGTH).astype(np.float32, copy=False)
        frames *= self._window
        return frames
