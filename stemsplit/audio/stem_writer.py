"""Runs in the child. Writes one stem: peaks, clipping, quantisation, tags, verification.

Writes into a staging folder. Publishing it is the task of the supervisor
(`stemsplit.storage.publish`).
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from stemsplit.audio.decode import Decoder
from stemsplit.audio.disk_writes import explain_write_error, fsync
from stemsplit.audio.levels import count_beyond_full_scale, peaks_of_parts
from stemsplit.audio.quantise import quantise
from stemsplit.audio.sample_blocks import BLOCK_FRAMES
from stemsplit.audio.sample_writers import open_writer
from stemsplit.core.errors import BadInputError, StemsplitError
from stemsplit.core.outcome import StemFile
from stemsplit.core.time_series import TimeSeriesRecorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.audio.tagging.copy_tags import SourceTags
    from stemsplit.audio.write_format import WriteFormat

RESCALED_PEAK = 1 - 2.0**-12
"""Peak after rescaling: full scale minus a margin for dither and for the error of lossy codecs."""

_MP3_SURPLUS_FRAMES = 47
"""LAME appends up to 46 frames, a millisecond, to a file that exceeds whole blocks of 1,152 frames
by fewer frames than that."""

_OVERVIEW_STEP_FRAMES = 1024
_MAX_OVERVIEW_STEPS = 400
"""More than a drawing of a waveform is wide; small enough for a page of thousands of them."""

_LIBRARY_ERRORS = (OSError, ValueError, AssertionError, soundfile.LibsndfileError)
"""Exceptions of the audio libraries; those of PyAV derive from the first two."""


class StemWriter:
    """Writes one stem, block by block.

    Args:
        folder: existing folder to write to; no other track uses it.
        stem: `vocals`, `drums`, ...
        write_format: container, bit depth, rates, clipping and dither.
        expected_frames: approximate length of the file, which determines its container; 0 if
            unknown.
        channels: name of each channel of every block.
        seed: seed of the dither noise; the same samples and seed produce the same file.

    Attributes:
        peak: largest absolute sample so far.

    Raises:
        UnwritableError, DiskFullError: if the file cannot be created.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        write_format: WriteFormat,
        *,
        expected_frames: int,
        channels: Sequence[str],
        seed: int = 0,
    ) -> None:
        self._stem = stem
        self._write_format = write_format
        self._channels = len(channels)
        self._random = np.random.Generator(np.random.SFC64(seed)) if write_format.dither else None
        self._path = folder / f"{stem}.{write_format.format}"
        self._unscaled_path = folder / f"{stem}.unscaled"
        self._gain = 1.0
        self._frames = 0
        self.peak = 0.0
        self._overview = TimeSeriesRecorder(_OVERVIEW_STEP_FRAMES, _MAX_OVERVIEW_STEPS)
        self._clipped = 0
        with self._explained_errors():
            # Python creates the file first: unlike libsndfile's, its error contains the reason.
            self._path.touch(exist_ok=False)
            self._writer = open_writer(
                self._path, write_format, expected_frames=expected_frames, channels=channels
            )
            # The gain of `rescale` is known only after the last block: keep the samples until then.
            rescales = write_format.clip == "rescale"
            self._unscaled = self._unscaled_path.open("xb") if rescales else None

    def write(self, block: NDArray[np.float32]) -> None:
        """Append a block, `(frames, channels)` float32.

        Raises:
            DiskFullError: if the disk is full.
            UnwritableError: if writing fails for another reason.
            StemsplitError: if a sample is not finite, which is a fault of the engine.
        """
        peak = self._measure(block)
        if not math.isfinite(peak):
            raise StemsplitError(
                f"The engine produced non-finite samples in “{self._stem}”.",
                "Check the weights with `stemsplit models verify`; if they are correct, report "
                "this.",
            )
        self.peak = max(self.peak, peak)
        self._frames += len(block)
        with self._explained_errors():
            if self._unscaled is not None:
                self._unscaled.write(np.ascontiguousarray(block, np.float32).data)
            else:
                self._encode(block)

    def _measure(self, block: NDArray[np.float32]) -> float:
        """Add a block to the waveform overview, and return its peak."""
        if not len(block):
            return 0.0
        step = int(self._overview.step)
        starts = [0, *range(step - self._frames % step, len(block), step)]
        peaks = peaks_of_parts(block, starts)
        for start, peak in zip(starts, peaks.tolist(), strict=True):
            self._overview.add(self._frames + start, peak)
        return float(peaks.max())

    def apply_gain(self, gain: float) -> Iterator[None]:
        """Write the samples that were kept for `rescale`; yields after each block.

        Args:
            gain: factor for every sample, more than 0 and at most 1.

        Raises:
            DiskFullError, UnwritableError: as `write`.
        """
        if self._unscaled is None:
            return
        self._gain = gain
        with self._explained_errors():
            self._unscaled.close()
            self._unscaled = None
            with self._unscaled_path.open("rb") as file:
                count = BLOCK_FRAMES * self._channels
                while len(values := np.fromfile(file, np.float32, count)):
                    self._encode(values.reshape(-1, self._channels) * np.float32(gain))
                    yield
            self._unscaled_path.unlink()

    def _encode(self, block: NDArray[np.float32]) -> None:
        bits = self._write_format.bits
        if bits is not None:
            steps, clipped = quantise(block, bits, self._random)
            self._clipped += clipped
            self._writer.write(steps)
            return
        if self._write_format.clip == "clamp":
            self._clipped += count_beyond_full_scale(block)
            block = np.clip(block, -1, 1)
        self._writer.write(block)

    def finish(self, tags: SourceTags | None = None) -> tuple[StemFile, str]:
        """Close the file, write its tags, flush it to disk, and verify its header.

        Returns:
            the finished stem, and a sentence about tags that were not copied, empty if all were.

        Raises:
            DiskFullError, UnwritableError: if the file is incomplete.
        """
        with self._explained_errors():
            self._writer.close()
            tag_problem = "" if tags is None else tags.write(self._path, self._stem)
            fsync(self._path)
            with Decoder(self._path) as written:
                frames, rate = written.info.frames or 0, written.info.sample_rate
        surplus = _MP3_SURPLUS_FRAMES if self._write_format.format == "mp3" else 0
        if not 0 <= frames - self._frames <= surplus or rate != self._write_format.sample_rate:
            raise explain_write_error(
                self._path.parent,
                OSError(f"{self._path.name} contains {frames} of {self._frames} frames"),
            )
        stem = StemFile(
            stem=self._stem,
            file_name=self._path.name,
            frames=frames,
            peak=self.peak,
            clipped_samples=self._clipped,
            sample_rate=self._write_format.sample_rate,
            gain=self._gain,
            waveform_overview=quantise_overview(self._overview.series().values, self._gain),
        )
        return stem, tag_problem

    def abandon(self) -> None:
        """Close the file and ignore errors; its contents are undefined."""
        with contextlib.suppress(*_LIBRARY_ERRORS):
            if self._unscaled is not None:
                self._unscaled.close()
            self._writer.close()

    @contextlib.contextmanager
    def _explained_errors(self) -> Iterator[None]:
        try:
            yield
        except (*_LIBRARY_ERRORS, BadInputError) as error:
            raise explain_write_error(self._path.parent, error) from error


def quantise_overview(peaks: Iterable[float | None], gain: float) -> bytes:
    """Return peaks as one byte each; 255 is full scale and anything beyond it."""
    return bytes(min(round(255 * gain * (peak or 0.0)), 255) for peak in peaks)


def gain_for(peak: float) -> float:
    """Return the gain that keeps all samples within full scale; 1.0 if all are."""
    return 1.0 if peak <= 1.0 else RESCALED_PEAK / peak
