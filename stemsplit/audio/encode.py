"""Runs in both. Stems to files: quantised, verified, flushed to disk.

Writes into a folder that nobody looks at yet. Making the finished folder visible is the
supervisor's part (`stemsplit.library.publish`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Final

import numpy as np
import soundfile

from stemsplit.audio.paths import sound_path
from stemsplit.errors import DiskFullError, StemsplitError, UnwritableError, says_disk_is_full
from stemsplit.job import MODEL_SAMPLE_RATE, StemFile, pcm_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.audio.tags import SourceTags
    from stemsplit.job import BitDepth, StemFormat

_SUBTYPES: Final = {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}
_RIFF_LIMIT_BYTES = 2**32 - 2**20
"""RIFF counts bytes in 32 bits; a mebibyte is left for the headers."""

_ROOM_FOR_A_HEADER_BYTES = 2**16


def container_of(stem_format: StemFormat, bit_depth: BitDepth, frames: int, channels: int) -> str:
    """Choose libsndfile's name of the container: `RF64` for a WAV past 4 GiB (EBU Tech 3306)."""
    if stem_format == "flac":
        return "FLAC"
    too_long = pcm_bytes(frames, channels, bit_depth) > _RIFF_LIMIT_BYTES
    return "RF64" if too_long else "WAV"


def quantise(samples: NDArray[np.float32], bits: int) -> tuple[NDArray[np.int32], int]:
    """Round samples to whole steps of a bit depth and clamp them to full scale.

    libsndfile's own conversion cuts the lower bits off, half a step too low on average.

    Args:
        samples: float32, any shape, finite; full scale is -1..1.
        bits: 16 or 24.

    Returns:
        the steps, left-aligned in int32 as libsndfile takes them, and how many samples were
        beyond full scale and were clamped.
    """
    scale = np.float32(2 ** (bits - 1))  # a power of two: the product is exact
    steps = np.rint(samples * scale)
    clipped = int(np.count_nonzero((steps > scale - 1) | (steps < -scale)))
    np.clip(steps, -scale, scale - 1, out=steps)
    return steps.astype(np.int32) << (32 - bits), clipped


class StemWriter:
    """Writes one stem, block by block.

    Args:
        folder: where to write; exists and belongs to this track alone.
        stem: `vocals`, `drums`, ...
        stem_format: `wav` or `flac`.
        bit_depth: `16`, `24` or `32f`.
        expected_frames: what the file will about hold, to choose its container; 0 if unknown.
        channels: of every block.

    Raises:
        UnwritableError, DiskFullError: if the file cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        *,
        stem_format: StemFormat,
        bit_depth: BitDepth,
        expected_frames: int,
        channels: int,
    ) -> None:
        """Create the file."""
        self._stem = stem
        self._path = folder / f"{stem}.{stem_format}"
        self._bits = None if bit_depth == "32f" else int(bit_depth)
        self._frames = 0
        self._peak = 0.0
        self._clipped = 0
        try:
            # Opened by Python first, because its error says why and libsndfile's does not.
            self._path.touch(exist_ok=False)
            self._file = soundfile.SoundFile(
                sound_path(self._path),
                "w",
                samplerate=MODEL_SAMPLE_RATE,
                channels=channels,
                format=container_of(stem_format, bit_depth, expected_frames, channels),
                subtype=_SUBTYPES[bit_depth],
            )
        except (OSError, soundfile.LibsndfileError) as error:
            raise write_error(self._path.parent, error) from error

    def write(self, block: NDArray[np.float32]) -> None:
        """Append `(frames, channels)` float32.

        Raises:
            DiskFullError: if the disk is full.
            UnwritableError: if it fails in another way.
            StemsplitError: if a sample is not finite, which would be a fault of the engine.
        """
        peak = float(np.max(np.abs(block), initial=0.0))
        if not np.isfinite(peak):
            raise StemsplitError(
                f"the engine produced samples that are not finite numbers in “{self._stem}”.",
                "Check the weights with `stemsplit models verify`; report this if they are right.",
            )
        self._peak = max(self._peak, peak)
        try:
            if self._bits is None:
                self._file.write(block)
            else:
                steps, clipped = quantise(block, self._bits)
                self._clipped += clipped
                self._file.write(steps)
        except (OSError, soundfile.LibsndfileError, AssertionError) as error:
            raise write_error(self._path.parent, error) from error
        self._frames += len(block)

    def finish(self, tags: SourceTags | None = None) -> tuple[StemFile, str]:
        """Close the file, give it its tags, flush it to disk, and read its header back.

        Returns:
            the finished stem, and a sentence if it got no tags; else an empty one.

        Raises:
            DiskFullError, UnwritableError: if it did not arrive whole.
        """
        try:
            self._file.close()
            complaint = "" if tags is None else tags.write(self._path, self._stem)
            fsync(self._path)
            written = soundfile.info(sound_path(self._path))
        except (OSError, soundfile.LibsndfileError) as error:
            raise write_error(self._path.parent, error) from error
        if (written.frames, written.samplerate) != (self._frames, MODEL_SAMPLE_RATE):
            raise write_error(
                self._path.parent,
                OSError(f"{self._path.name} holds {written.frames} of {self._frames} frames"),
            )
        stem = StemFile(
            stem=self._stem,
            file_name=self._path.name,
            frames=self._frames,
            peak=self._peak,
            clipped_samples=self._clipped,
        )
        return stem, complaint

    def abandon(self) -> None:
        """Close the file without caring for its contents."""
        try:
            self._file.close()
        except (OSError, soundfile.LibsndfileError):
            return


def write_error(folder: Path, error: Exception) -> StemsplitError:
    """Say why a write below `folder` failed: the disk is full, or something else.

    libsndfile reports neither reliably, so the disk itself is asked as well.
    """
    if says_disk_is_full(error) or "No space left" in str(error) or _has_no_room(folder):
        return DiskFullError(
            "The disk of the output folder is full.",
            "Make room, or name another folder with -o, and run the same command again.",
        )
    return UnwritableError(
        f"The output folder cannot be written ({getattr(error, 'strerror', None) or error}).",
        "Check its permissions and the disk, or name another folder with -o.",
    )


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
