"""Runs in the child. Decodes audio files, or parts of them, to blocks of float32 samples.

Checks that a file is usable and reports what is lost. Sample rate and channels stay those of the
file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.data_loss import Gap, Loss, loss_of
from stemsplit.audio.levels import is_full_scale_noise
from stemsplit.audio.readers.concatenation import ConcatenatedReader
from stemsplit.core.errors import BadInputError
from stemsplit.core.format_rates import frames_at
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

_NOISE_CHECK_FRAMES = 16_384
"""Number of frames that are checked for noise."""

_LARGEST_SAMPLE = 1e12
"""Beyond the range of any integer format; the squared spectrum of such samples is still finite."""

_MIN_BIT_RATE = 32_000
"""Assumed for lossy files that declare no length, in bits per second."""

MIN_SOURCE_RATE = 1_000
"""In Hz; converting from a lower rate would produce thousands of samples from each."""


class Decoder:
    """An open audio file, or a part of one. A context manager.

    Attributes:
        info: contents of the header, for the whole file.
        path: path of the file.
        channels: name of each channel, as in `stemsplit.audio.channels`.
        frames_read: number of frames in the blocks so far.
    """

    def __init__(
        self,
        path: Path,
        *,
        start_seconds: float = 0.0,
        duration_seconds: float | None = None,
        audio_track: str | None = None,
    ) -> None:
        """Open `path` and read its header.

        Args:
            path: path of the file.
            start_seconds: where to start, rounded to the nearest sample.
            duration_seconds: how much to read, rounded to the nearest sample; None for the rest.
            audio_track: number of an audio track, from 1, or a language; None for the default.

        Raises:
            BadInputError: if the file is missing, empty, not audio, without samples or
                copy-protected, or has no such track.
        """
        self.path = path
        _check_file(path)
        self._reader = ConcatenatedReader(path, audio_track)
        self.info = self._reader.info
        self.channels = self._reader.channels
        self.frames_read = 0
        self._position = 0
        is_integer = self.info.bits is not None and not self.info.floating
        self._noise_check: list[NDArray[np.float32]] | None = [] if is_integer else None
        self._start = round(start_seconds * self.info.sample_rate)
        self._limit = (
            None
            if duration_seconds is None
            else max(1, round(duration_seconds * self.info.sample_rate))
        )
        try:
            self._check_header()
        except BadInputError:
            self._reader.close()
            raise

    def _check_header(self) -> None:
        if self.info.sample_rate < MIN_SOURCE_RATE:
            raise BadInputError(
                f"{quoted(self.path.name)} has a sample rate of {self.info.sample_rate} Hz, which "
                "is too low for audio.",
                "Its header may be wrong: export it again.",
            )
        if self.info.frames == 0:
            raise BadInputError(
                f"{quoted(self.path.name)} has a header but no samples.",
                "Export or record it again.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def expected_frames(self) -> int | None:
        """Number of frames that all blocks will contain, according to the header."""
        if self.info.frames is None:
            return self._limit
        rest = max(self.info.frames - self._start, 0)
        return rest if self._limit is None else min(rest, self._limit)

    def max_frames(self, sample_rate: int) -> int:
        """Return the approximate maximum of frames at a sample rate, if necessary from the size."""
        frames = self.expected_frames
        if frames is None:
            pcm_bits = self.info.channels * (self.info.bits or 0)
            bits_per_frame = pcm_bits or _MIN_BIT_RATE / self.info.sample_rate
            frames = round(8 * self.path.stat().st_size / bits_per_frame)
        return frames_at(frames, self.info.sample_rate, sample_rate)

    def blocks(self, on_block: Callable[[], None] = lambda: None) -> Iterator[NDArray[np.float32]]:
        """Read the file, or the part of it, once.

        Args:
            on_block: called for each decoded block, including those before the part.

        Yields:
            `(frames, channels)` float32 of up to `BLOCK_FRAMES` frames. A new array each time.

        Raises:
            BadInputError: if a sample is not a finite number or is absurdly large, if nothing can
                be decoded, if the file ends before `start_seconds`, or if it contains noise at
                full scale.
        """
        for position, block in self._reader.blocks(self._start):
            on_block()
            self._position = position + len(block)
            first = max(self._start - position, 0)
            part = block[first:]
            if self._limit is not None:
                part = part[: self._limit - self.frames_read]
            if len(part):
                self._check_range(part, position + first)
                self._check_noise(part)
                self.frames_read += len(part)
                yield part
            if self.frames_read == self._limit:
                return
        if self.frames_read == 0:
            raise self._nothing_decoded()

    def loss(self) -> Loss | None:
        """Return what is missing or was replaced with silence; call it after the last block.

        If only a part was read, the loss after its end is unknown and not included.
        """
        reader, end = self._reader, self._start + self.frames_read
        reached_end = self._limit is None or self.frames_read < self._limit
        silences = [
            Gap(
                max(start, self._start) - self._start,
                min(start + count, end) - max(start, self._start),
            )
            for start, count in reader.silences
            if start < end and start + count > self._start
        ]
        return loss_of(
            self.path.name,
            rate=self.info.sample_rate,
            frames=self.frames_read,
            silences=silences,
            missing=[Gap(start - self._start, count) for start, count in reader.missing]
            if reached_end
            else (),
            is_cut_off=reader.is_cut_off and reached_end,
        )

    def notes(self) -> tuple[str, ...]:
        """Return sentences about the file for the user; none of them is about a loss."""
        return tuple(self._reader.notes)

    def _check_noise(self, block: NDArray[np.float32]) -> None:
        """Collect the first frames that are not silent, and check them once there are enough."""
        if self._noise_check is None or not block.any():
            return
        self._noise_check.append(block[block.any(axis=1)])
        if sum(map(len, self._noise_check)) < _NOISE_CHECK_FRAMES:
            return
        samples, self._noise_check = np.concatenate(self._noise_check), None
        if is_full_scale_noise(samples):
            raise BadInputError(
                f"{quoted(self.path.name)} contains full-scale noise, probably encrypted or "
                "compressed data.",
                "Export or copy it again from the original.",
            )

    def _check_range(self, block: NDArray[np.float32], position: int) -> None:
        # NaN compares false, so that it never passes.
        if not block.size or max(block.max(), -block.min()) <= _LARGEST_SAMPLE:
            return
        frame, channel = np.argwhere(~(np.abs(block) <= _LARGEST_SAMPLE))[0]
        value = block[frame, channel]
        what = (
            f"of {value:.0e} (full scale is 1)"
            if np.isfinite(value)
            else "that is not a finite number"
        )
        raise BadInputError(
            f"{quoted(self.path.name)} has a sample {what} at "
            f"{(position + frame) / self.info.sample_rate:.3f} s.",
            "The program that wrote the file is at fault: export it again, or as integer PCM.",
        )

    def _nothing_decoded(self) -> BadInputError:
        end = self._position or self.info.frames or 0
        if self._start and self._start >= end:
            rate = self.info.sample_rate
            return BadInputError(
                f"{quoted(self.path.name)} ends at {end / rate:.2f} s, before the "
                f"{self._start / rate:.2f} s at which to start.",
                "Use an earlier --start.",
            )
        return BadInputError(
            f"{quoted(self.path.name)} has a header, but none of its samples can be decoded.",
            "It is damaged: export it again or restore it from a backup.",
        )


def _check_file(path: Path) -> None:
    name = quoted(path.name)
    try:
        size = path.stat().st_size
        is_file = path.is_file()
        if is_file:
            path.open("rb").close()
    except FileNotFoundError:
        raise BadInputError(f"{name} does not exist.", "Check the path.") from None
    except PermissionError as error:
        raise BadInputError(
            f"Permission to read {name} was denied.", "Change the permissions of the file."
        ) from error
    except OSError as error:
        raise BadInputError(
            f"{name} cannot be opened ({error.strerror}).", "Check the path and its permissions."
        ) from error
    if not is_file:
        raise BadInputError(f"{name} is not a file.", "Specify an audio file.")
    if size == 0:
        raise BadInputError(f"{name} is empty (0 bytes).", "Copy or download it again.")
