"""Runs in both. Audio files to blocks of float32 samples.

Covers what a file must have to be of use, a stretch of it, and what of it is lost. It does not
convert: sample rate and channels are the file's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.data_loss import Loss, Silence, loss_of
from stemsplit.audio.levels import is_full_scale_noise
from stemsplit.audio.readers.concatenation import JoinedReader
from stemsplit.core.errors import BadInputError
from stemsplit.core.formats import frames_at
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

_JUDGED_FRAMES = 16_384
"""By which noise is told from music."""

_LARGEST_SAMPLE = 1e12
"""More than any integer format holds; the squares of a spectrum of such samples are finite."""

_LEAST_BIT_RATE = 32_000
"""In bits a second, of music without a declared length."""


LEAST_SOURCE_RATE = 1_000
"""In Hz; a conversion from less would make thousands of samples of each."""


class Decoder:
    """One open audio file, or a stretch of it. A context manager.

    Attributes:
        info: what the header declares of the whole file.
        path: the file.
        channels: the name of each channel, as `stemsplit.audio.channels` knows them.
        frames_given: how many frames the blocks so far have held.
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
            path: the file.
            start_seconds: where to begin, to the nearest sample.
            duration_seconds: how much to give, to the nearest sample; None is all the rest.
            audio_track: the number of an audio track, from 1, or a language; None for the default.

        Raises:
            BadInputError: if it is missing, not audio, empty, without samples or copy-protected, or
                has no such track.
        """
        self.path = path
        _require_file(path)
        self._reader = JoinedReader(path, audio_track)
        self.info = self._reader.info
        self.channels = self._reader.channels
        self.frames_given = 0
        self._position = 0
        is_integer = self.info.bits is not None and not self.info.floating
        self._heard: list[NDArray[np.float32]] | None = [] if is_integer else None
        self._start = round(start_seconds * self.info.sample_rate)
        self._most = (
            None
            if duration_seconds is None
            else max(1, round(duration_seconds * self.info.sample_rate))
        )
        try:
            self._require_samples()
        except BadInputError:
            self._reader.close()
            raise

    def _require_samples(self) -> None:
        if self.info.sample_rate < LEAST_SOURCE_RATE:
            raise BadInputError(
                f"{quoted(self.path.name)} has {self.info.sample_rate} samples a second, which is "
                "no sound.",
                "Its header may be wrong: export it again.",
            )
        if self.info.frames == 0:
            raise BadInputError(
                f"{quoted(self.path.name)} has a header but no samples.",
                "Export or record it again.",
            )

    def __enter__(self) -> Self:
        """Give the open file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._reader.close()

    @property
    def expected_frames(self) -> int | None:
        """How many frames the blocks will hold in all, as far as the header can tell."""
        if self.info.frames is None:
            return self._most
        rest = max(self.info.frames - self._start, 0)
        return rest if self._most is None else min(rest, self._most)

    def most_frames(self, sample_rate: int) -> int:
        """Give the most frames that there can be, about; from the file's size if need be."""
        frames = self.expected_frames
        if frames is None:
            bits = self.info.channels * (self.info.bits or 0)
            bits_a_frame = bits or _LEAST_BIT_RATE / self.info.sample_rate
            frames = round(8 * self.path.stat().st_size / bits_a_frame)
        return frames_at(frames, self.info.sample_rate, sample_rate)

    def blocks(self, on_block: Callable[[], None] = lambda: None) -> Iterator[NDArray[np.float32]]:
        """Read the file, or the stretch of it, once.

        Args:
            on_block: is called for each block that was decoded, those before the stretch included.

        Yields:
            `(frames, channels)` float32 of up to `BLOCK_FRAMES` frames. A new array each time.

        Raises:
            BadInputError: at a sample that is not a finite number, if nothing can be decoded, if
                the file ends before `start_seconds`, or if it holds noise at full scale.
        """
        for at, whole in self._reader.blocks(self._start):
            on_block()
            self._position = at + len(whole)
            first = max(self._start - at, 0)
            block = whole[first:]
            if self._most is not None:
                block = block[: self._most - self.frames_given]
            if len(block):
                self._refuse_senseless(block, at + first)
                self._refuse_noise(block)
                self.frames_given += len(block)
                yield block
            if self.frames_given == self._most:
                return
        if self.frames_given == 0:
            raise self._empty()

    def loss(self) -> Loss | None:
        """Return, after the last block, what is missing or was replaced by silence, if anything.

        Where the end of the file was not reached, because no more was asked for, nothing is known
        of what is missing there.
        """
        reader, end = self._reader, self._start + self.frames_given
        is_whole = self._most is None or self.frames_given < self._most
        silences = [
            Silence(max(at, self._start) - self._start, min(at + count, end) - max(at, self._start))
            for at, count in reader.silences
            if at < end and at + count > self._start
        ]
        return loss_of(
            self.path.name,
            rate=self.info.sample_rate,
            frames=self.frames_given,
            silences=silences,
            missing=[Silence(at - self._start, count) for at, count in reader.missing]
            if is_whole
            else (),
            has_open_end=reader.has_open_end and is_whole,
        )

    def notes(self) -> tuple[str, ...]:
        """Return sentences about the file that a person may want to read; none of them a loss."""
        return tuple(self._reader.notes)

    def _refuse_noise(self, block: NDArray[np.float32]) -> None:
        """Judge the first samples that are not silent, once there are enough of them."""
        if self._heard is None or not block.any():
            return
        self._heard.append(block[block.any(axis=1)])
        if sum(map(len, self._heard)) < _JUDGED_FRAMES:
            return
        heard, self._heard = np.concatenate(self._heard), None
        if is_full_scale_noise(heard):
            raise BadInputError(
                f"{quoted(self.path.name)} contains full-scale noise, probably encrypted or "
                "compressed data.",
                "Export or copy it again from the original.",
            )

    def _refuse_senseless(self, block: NDArray[np.float32], at: int) -> None:
        # An extreme that is not a number is never within bounds.
        if not block.size or max(block.max(), -block.min()) <= _LARGEST_SAMPLE:
            return
        frame, channel = np.argwhere(~(np.abs(block) <= _LARGEST_SAMPLE))[0]
        value = block[frame, channel]
        what = (
            f"of {value:.0e}, full scale being 1,"
            if np.isfinite(value)
            else "that is not a finite number"
        )
        raise BadInputError(
            f"{quoted(self.path.name)} has a sample {what} at "
            f"{(at + frame) / self.info.sample_rate:.3f} s.",
            "The program that wrote it went wrong: export it again, or as integer PCM.",
        )

    def _empty(self) -> BadInputError:
        end = self._position or self.info.frames or 0
        if self._start and self._start >= end:
            return self._too_short(end)
        return BadInputError(
            f"{quoted(self.path.name)} has a header, but none of its samples can be decoded.",
            "It is damaged: export it again or restore it from a backup.",
        )

    def _too_short(self, frames: int) -> BadInputError:
        rate = self.info.sample_rate
        return BadInputError(
            f"{quoted(self.path.name)} ends at {frames / rate:.2f} s, before the "
            f"{self._start / rate:.2f} s at which to start.",
            "Name an earlier --start.",
        )


def _require_file(path: Path) -> None:
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
            f"{name} may not be read.", "Give yourself permission to read it."
        ) from error
    except OSError as error:
        raise BadInputError(
            f"{name} cannot be opened ({error.strerror}).", "Check the path and its permissions."
        ) from error
    if not is_file:
        raise BadInputError(f"{name} is not a file.", "Name an audio file.")
    if size == 0:
        raise BadInputError(f"{name} is empty (0 bytes).", "Copy or download it again.")
