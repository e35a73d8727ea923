"""Runs in both. Samples to files: levelled, quantised, verified, flushed to disk.

Writes into a folder that nobody looks at yet. Making the finished folder visible is the
supervisor's part (`stemsplit.storage.publish`).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from stemsplit.audio.decode import Decoder
from stemsplit.audio.levels import beyond_full_scale, peaks_of
from stemsplit.audio.sample_blocks import BLOCK_FRAMES
from stemsplit.audio.write_format import WriteFormat
from stemsplit.audio.writers import open_writer
from stemsplit.core.errors import (
    BadInputError,
    DiskFullError,
    StemsplitError,
    UnwritableError,
    says_disk_is_full,
)
from stemsplit.core.outcome import StemFile
from stemsplit.core.time_series import TimeSeriesRecorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.audio.tagging.copy_tags import SourceTags


RESCALED_PEAK = 1 - 2.0**-12
"""The peak of what was made quieter: full scale, less what dither adds and lossy codecs err by."""

_MP3_SURPLUS_FRAMES = 47
"""LAME gives up to 46 frames too many, a millisecond, where so many more than whole blocks of 1,152
were written."""

_OUTLINE_STEP_FRAMES = 1024
_MOST_OUTLINE_STEPS = 400
"""More than a drawing of a waveform is wide, less than a page of thousands of them would feel."""

_NOT_WRITTEN = (OSError, ValueError, AssertionError, soundfile.LibsndfileError)
"""What the libraries raise; PyAV's errors are of the first two kinds."""

_ROOM_FOR_A_HEADER_BYTES = 2**16


def tpdf_noise(random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Give noise of a triangular distribution from -1 to 1 step.

    As the sum of two uniform ones it makes the mean and the power of the rounding error independent
    of the signal (Lipshitz, Wannamaker and Vanderkooy, "Quantization and dither", JAES 40, 1992).
    """
    return random.random(shape) - random.random(shape)


def quantise(
    samples: NDArray[np.float32], bits: int, random: np.random.Generator | None = None
) -> tuple[NDArray[np.int32], int]:
    """Round samples to whole steps of a bit depth and clamp them to full scale.

    libsndfile's own conversion cuts the lower bits off, half a step too low on average.

    Args:
        samples: float32, any shape, finite; full scale is -1..1.
        bits: 16 or 24.
        random: makes the noise to dither with; None rounds without.

    Returns:
        the steps, left-aligned in int32 as libsndfile takes them, and how many samples were
        beyond -1..1. (Full scale itself is one step more than there is at the positive end.)
    """
    scale = np.float32(2 ** (bits - 1))  # a power of two: the product is exact
    exact = samples * scale
    clipped = beyond_full_scale(samples)
    steps = np.rint(exact if random is None else exact + tpdf_noise(random, samples.shape))
    np.clip(steps, -scale, scale - 1, out=steps)
    return steps.astype(np.int32) << (32 - bits), clipped


class StemWriter:
    """Writes one stem, block by block.

    Args:
        folder: where to write; exists and belongs to this track alone.
        stem: `vocals`, `drums`, ...
        form: how.
        expected_frames: what the file will about hold, to choose its container; 0 if unknown.
        channels: the name of each channel of every block.
        seed: of the noise to dither with: the same samples then give the same file.

    Raises:
        UnwritableError, DiskFullError: if the file cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        form: WriteFormat,
        *,
        expected_frames: int,
        channels: Sequence[str],
        seed: int = 0,
    ) -> None:
        """Create the file."""
        self._stem = stem
        self._form = form
        self._channels = len(channels)
        self._random = np.random.Generator(np.random.SFC64(seed)) if form.dither else None
        self._path = folder / f"{stem}.{form.format}"
        self._unlevelled = folder / f"{stem}.unlevelled"
        self._gain = 1.0
        self._frames = 0
        self._peak = 0.0
        self._waveform_overview = TimeSeriesRecorder(_OUTLINE_STEP_FRAMES, _MOST_OUTLINE_STEPS)
        self._clipped = 0
        with self._told():
            # Opened by Python first, because its error says why and libsndfile's does not.
            self._path.touch(exist_ok=False)
            self._sink = open_writer(
                self._path, form, expected_frames=expected_frames, channels=channels
            )
            # What is to be made quieter waits until it is known by how much.
            self._waiting = self._unlevelled.open("xb") if form.clip == "rescale" else None

    @property
    def peak(self) -> float:
        """The largest absolute sample so far."""
        return self._peak

    def write(self, block: NDArray[np.float32]) -> None:
        """Append `(frames, channels)` float32.

        Raises:
            DiskFullError: if the disk is full.
            UnwritableError: if it fails in another way.
            StemsplitError: if a sample is not finite, which would be a fault of the engine.
        """
        peak = self._trace(block)
        if not math.isfinite(peak):
            raise StemsplitError(
                f"the engine produced samples that are not finite numbers in “{self._stem}”.",
                "Check the weights with `stemsplit models verify`; report this if they are right.",
            )
        self._peak = max(self._peak, peak)
        self._frames += len(block)
        with self._told():
            if self._waiting is not None:
                self._waiting.write(np.ascontiguousarray(block, np.float32).data)
            else:
                self._put(block)

    def _trace(self, block: NDArray[np.float32]) -> float:
        """Take a block into the outline, and give its peak."""
        if not len(block):
            return 0.0
        step = int(self._waveform_overview.step)
        starts = [0, *range(step - self._frames % step, len(block), step)]
        peaks = peaks_of(block, starts)
        for start, peak in zip(starts, peaks.tolist(), strict=True):
            self._waveform_overview.add(self._frames + start, peak)
        return float(peaks.max())

    def level(self, gain: float) -> Iterator[None]:
        """Write what has waited, made quieter; yields now and then, because it takes its time.

        Args:
            gain: what every sample is multiplied by, more than 0 and at most 1.

        Raises:
            DiskFullError, UnwritableError: as `write`.
        """
        if self._waiting is None:
            return
        self._gain = gain
        with self._told():
            self._waiting.close()
            self._waiting = None
            with self._unlevelled.open("rb") as file:
                count = BLOCK_FRAMES * self._channels
                while len(values := np.fromfile(file, np.float32, count)):
                    self._put(values.reshape(-1, self._channels) * np.float32(gain))
                    yield
            self._unlevelled.unlink()

    def _put(self, block: NDArray[np.float32]) -> None:
        bits = self._form.bits
        if bits is not None:
            steps, clipped = quantise(block, bits, self._random)
            self._clipped += clipped
            self._sink.write(steps)
            return
        if self._form.clip == "clamp":
            self._clipped += beyond_full_scale(block)
            block = np.clip(block, -1, 1)
        self._sink.write(block)

    def finish(self, tags: SourceTags | None = None) -> tuple[StemFile, str]:
        """Close the file, give it its tags, flush it to disk, and read its header back.

        Returns:
            the finished stem, and a sentence if it got no tags; else an empty one.

        Raises:
            DiskFullError, UnwritableError: if it did not arrive whole.
        """
        with self._told():
            self._sink.close()
            complaint = "" if tags is None else tags.write(self._path, self._stem)
            fsync(self._path)
            with Decoder(self._path) as written:
                found, rate = written.info.frames or 0, written.info.sample_rate
        surplus = _MP3_SURPLUS_FRAMES if self._form.format == "mp3" else 0
        if not 0 <= found - self._frames <= surplus or rate != self._form.sample_rate:
            raise write_error(
                self._path.parent,
                OSError(f"{self._path.name} holds {found} of {self._frames} frames"),
            )
        stem = StemFile(
            stem=self._stem,
            file_name=self._path.name,
            frames=found,
            peak=self._peak,
            clipped_samples=self._clipped,
            sample_rate=self._form.sample_rate,
            gain=self._gain,
            waveform_overview=waveform_overview_of(
                self._waveform_overview.curve().values, self._gain
            ),
        )
        return stem, complaint

    def abandon(self) -> None:
        """Close the file without caring for its contents."""
        with contextlib.suppress(*_NOT_WRITTEN):
            if self._waiting is not None:
                self._waiting.close()
            self._sink.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in a sentence why the file could not be written."""
        try:
            yield
        except (*_NOT_WRITTEN, BadInputError) as error:
            raise write_error(self._path.parent, error) from error


def waveform_overview_of(peaks: Iterable[float | None], gain: float) -> bytes:
    """Give levels of 0..1 in 8 bits each; what is beyond is drawn as full scale."""
    return bytes(min(round(255 * gain * (peak or 0.0)), 255) for peak in peaks)


def gain_for(peak: float) -> float:
    """Give what samples are multiplied by so that none is beyond full scale: 1 if none is."""
    return 1.0 if peak <= 1.0 else RESCALED_PEAK / peak


def write_error(folder: Path, error: Exception) -> StemsplitError:
    """Say why a write below `folder` failed: the disk is full, or something else.

    The libraries report neither reliably, so the disk itself is asked as well.
    """
    if says_disk_is_full(error) or "No space left" in str(error) or _has_no_room(folder):
        return DiskFullError(
            "The disk of the output folder is full.",
            "Make room, or name another folder with -o, and run the same command again.",
        )
    if _is_too_large(folder):
        return UnwritableError(
            "A stem is too large for this disk, which holds no files of that size.",
            "Use --format flac, whose files are smaller, or name a folder on another disk with -o.",
        )
    return UnwritableError(
        f"The output folder cannot be written ({getattr(error, 'strerror', None) or error}).",
        "Check its permissions and the disk, or name another folder with -o.",
    )


def _is_too_large(folder: Path) -> bool:
    """Find out whether a file in the folder cannot grow any more: FAT ends at 4 GiB."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            try:
                with file.open("ab") as end:
                    end.write(bytes(_ROOM_FOR_A_HEADER_BYTES))
            except OSError as error:
                if error.errno == errno.EFBIG:
                    return True
    return False


def _has_no_room(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return free_bytes(folder) < _ROOM_FOR_A_HEADER_BYTES
    return False


def free_bytes(folder: Path) -> int:
    """Bytes that an ordinary user may still write to the disk of `folder`."""
    return shutil.disk_usage(folder).free


def fsync(path: Path) -> None:
    """Wait until a file is on disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
