"""References for the stems: Spleeter itself, and exact arithmetic."""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs
import tensorflow as tf
from spleeter.model import get_model_function
from spleeter.model.provider import ModelProvider
from spleeter.separator import Separator
from spleeter.utils.configuration import load_configuration

from stemsplit.audio import stft
from stemsplit.audio.fft import fastest_transform
from stemsplit.child.engines.network_definitions import CHECKPOINT_PREFIX
from stemsplit.child.engines.ratio_mask import ratio_masks
from stemsplit.child.separation import separate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemsplit.child.engines.protocols import Engine

    Stems = dict[str, NDArray[np.float32]]

CACHE = platformdirs.user_cache_path("stemsplit-tests") / "spleeter"


def spleeter_stems(
    model: str,
    models: Path,
    mix: NDArray[np.float32],
    *,
    mwf: bool = False,
    mask_extension: str | None = None,
) -> Stems:
    """Separate a whole file with Spleeter's own `Separator`.

    The stems are kept in the user's cache, by everything that they depend on, because Spleeter
    takes most of the time of a comparison.

    Args:
        model: name of a configuration.
        models: folder of models.
        mix: `(frames, 2)`.
        mwf: whether to apply its Wiener filter.
        mask_extension: replaces the one in the configuration.
    """
    weights = models / load_configuration(f"spleeter:{model}")["model_dir"].rpartition("/")[2]
    content = hashlib.sha256(mix.tobytes())
    content.update((weights / f"{CHECKPOINT_PREFIX}.data-00000-of-00001").read_bytes())
    kept = CACHE / f"{content.hexdigest()}-{model}-{mwf}-{mask_extension}-{_arithmetic()}.npz"
    if kept.exists():
        with np.load(kept) as arrays:
            return dict(arrays)
    ModelProvider.DEFAULT_MODEL_PATH = str(models)
    separator = Separator(f"spleeter:{model}", MWF=mwf, multiprocess=False)
    if mask_extension is not None:
        separator._params["mask_extension"] = mask_extension
    stems: Stems = separator.separate(mix)
    CACHE.mkdir(parents=True, exist_ok=True)
    incoming = kept.with_suffix(f".{os.getpid()}")
    with incoming.open("wb") as file:
        np.savez(file, **stems)
    incoming.replace(kept)
    return stems


@cache
def _arithmetic() -> str:
    """Return a hash of what decides how TensorFlow rounds: versions and processor features."""
    versions = [version(name) for name in ("spleeter", "tensorflow", "numpy")]
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        versions += sorted({line for line in text.splitlines() if line.startswith("flags")})
    return hashlib.sha256(repr(versions).encode()).hexdigest()[:16]


def spleeter_masks(model: str, folder: Path, magnitudes: NDArray[np.float32]) -> Stems:
    """Return each stem's mask from the network that Spleeter's own functions build.

    Args:
        model: name of a configuration.
        folder: folder of the weights.
        magnitudes: magnitudes of one segment, `(512, bins, 2)`.
    """
    configuration = load_configuration(f"spleeter:{model}")
    network = configuration["model"]
    stems = configuration["instrument_list"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        source = tf.compat.v1.placeholder(tf.float32, (1, *magnitudes.shape))
        estimates = get_model_function(network["type"])(source, stems, network["params"])
        outputs = [estimates[f"{stem}_spectrogram"] for stem in stems]
        tf.compat.v1.train.Saver().restore(session, str(folder / CHECKPOINT_PREFIX))
        values = session.run(outputs, {source: magnitudes[None]})
    return dict(zip(stems, ratio_masks([estimate[0] for estimate in values]), strict=True))


def streamed_stems(
    engine: Engine,
    mix: NDArray[np.float32],
    transform: stft.Transform | None = None,
    *,
    overlapped: bool = False,
) -> Stems:
    """Separate a whole file as stemsplit does, in blocks of an odd length."""
    blocks = (mix[start : start + 65_537] for start in range(0, len(mix), 65_537))
    steps = separate(blocks, engine, transform or fastest_transform(), overlapped=overlapped)
    parts = [part for step in steps for part in step]
    return {
        stem: np.concatenate([part[index] for part in parts])
        for index, stem in enumerate(engine.stems)
    }


def exact_stems(engine: Engine, mix: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Separate with the same network, but with transforms of the whole file in float64."""
    frames = stft.frame_count(len(mix))
    padded_frames = stft.segment_count(len(mix)) * stft.SEGMENT_FRAMES
    padded = np.zeros((padded_frames * stft.HOP_LENGTH + stft.FRAME_LENGTH, 2))
    padded[stft.FRAME_LENGTH : stft.FRAME_LENGTH + len(mix)] = mix
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(stft.FRAME_LENGTH) / stft.FRAME_LENGTH)
    starts = np.arange(padded_frames) * stft.HOP_LENGTH
    summed = {stem: np.zeros_like(padded) for stem in engine.stems}
    for first in range(0, frames, stft.SEGMENT_FRAMES):
        segment_starts = starts[first : first + stft.SEGMENT_FRAMES]
        sliced = np.stack([padded[start : start + stft.FRAME_LENGTH] for start in segment_starts])
        spectra = np.fft.rfft(sliced * window[:, None], axis=1)
        masks = engine.masks(np.abs(spectra[:, : engine.bins]).astype(np.float32))
        for stem, mask in zip(engine.stems, masks, strict=True):
            masked = np.zeros_like(spectra)
            masked[:, : engine.bins] = mask * spectra[:, : engine.bins]
            inverse = np.fft.irfft(masked, axis=1) * window[:, None] * (2 / 3)
            for start, frame in zip(segment_starts, inverse, strict=True):
                summed[stem][start : start + stft.FRAME_LENGTH] += frame
    inside = slice(stft.FRAME_LENGTH, stft.FRAME_LENGTH + len(mix))
    return {stem: samples[inside] for stem, samples in summed.items()}


class TensorFlowTransform:
    """Spleeter's own transform, which shows that the rest of the arithmetic is exact."""

    def __init__(self) -> None:
        """Create TensorFlow's window."""
        self._window = tf.signal.hann_window(stft.FRAME_LENGTH, periodic=True)

    def forward(self, frames: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Window and transform as `tf.signal.stft` does."""
        spectra: NDArray[np.complex64] = tf.signal.rfft(frames * self._window).numpy()
        return spectra

    def inverse(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Transform back and window as `tf.signal.inverse_stft` does."""
        frames: NDArray[np.float32] = (tf.signal.irfft(spectra) * self._window).numpy()
        return frames
