"""Runs in both. Audio files to blocks of float32 samples.

Covers which library reads a file, what a file must have to be of use, and a stretch of it. It does
not convert: sample rate and channels are the file's own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.loss import Loss
from stemsplit.audio.readers import NotReadableError
from stemsplit.audio.readers.sndfile import SndfileReader
from stemsplit.errors import BadInputError
from stemsplit.formats import frames_at
from stemsplit.job import STEREO
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from stemsplit.audio.readers import Reader


_LEAST_BIT_RATE = 32_000
"""In bits a second, of music without a declared length."""


LEAST_SOURCE_RATE = 1_000
"""In Hz; a conversion from less would make thousands of samples of each."""

_DOUBT_SECONDS = 0.25
"""By how much a header may be wrong about where a file ends."""


class Decoder:
    """One open audio file, or a stretch of it. A context manager.

    Attributes:
        info: what the header declares of the whole file.
        path: the file.
        channels: the name of each channel, as `stemsplit.audio.channels` knows them.
        frames_given: how many frames the blocks so far have held.
    """

    def __init__(
        self, path: Path, *, start_seconds: float = 0.0, duration_seconds: float | None = None
    ) -> None:
        """Open `path` and read its header.

        Args:
            path: the file.
            start_seconds: where to begin, to the nearest sample.
            duration_seconds: how much to give, to the nearest sample; None is all the rest.

        Raises:
            BadInputError: if it is missing, not audio, empty, without samples, or not that long.
        """
        self.path = path
        self._reader = _open(path)
        self.info = self._reader.info
        self.channels = self._reader.channels
        self.frames_given = 0
        self._position = 0
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
        frames = self.info.frames
        if self.info.sample_rate < LEAST_SOURCE_RATE:
            raise BadInputError(
                f"{quoted(self.path.name)} has {self.info.sample_rate} samples a second, which is "
                "no sound.",
                "Its header may be wrong: export it again.",
            )
        if frames == 0:
            raise BadInputError(
                f"{quoted(self.path.name)} has a header but no samples.",
                "Export or record it again.",
            )
        # Not every header is exact; where it is a near thing, reading tells.
        if frames is not None and self._start > frames + _DOUBT_SECONDS * self.info.sample_rate:
            raise self._too_short(frames)

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
            BadInputError: at a sample that is not a finite number, or if nothing can be decoded.
        """
        for at, whole in self._reader.blocks(self._start):
            on_block()
            self._position = at + len(whole)
            first = max(self._start - at, 0)
            block = whole[first:]
            if self._most is not None:
                block = block[: self._most - self.frames_given]
            if len(block):
                self._refuse_non_finite(block, at + first)
                self.frames_given += len(block)
                yield block
            if self.frames_given == self._most:
                return
        if self.frames_given == 0:
            raise self._empty()

    def cut_off(self) -> str:
        """Say, after the last block, what of the file is missing or damaged; empty if it is whole.

        Where the end of the file was not reached, because no more was asked for, it is not known.
        """
        if self._most is not None and self.frames_given == self._most:
            return self._reader.damage()
        return self._reader.lacks(self._position) or self._reader.damage()

    def loss(self) -> Loss | None:
        """Return, after the last block, what is missing or was replaced by silence, if anything."""
        text = self.cut_off()
        if not text:
            return None
        rate = self.info.sample_rate
        expected = max(self.info.frames or 0, self._position)
        lost = max(expected - self._position, 1)
        return Loss(expected_seconds=max(expected, 1) / rate, lost_seconds=lost / rate, text=text)

    def notes(self) -> tuple[str, ...]:
        """Return sentences about the file that a person may want to read; none of them a loss."""
        return ()

    def _refuse_non_finite(self, block: NDArray[np.float32], at: int) -> None:
        if np.isfinite(block.sum()):
            return  # a sum is finite only if all of its terms are
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            frame = at + int(np.argmin(finite))
            raise BadInputError(
                f"{quoted(self.path.name)} has a sample that is not a finite number at "
                f"{frame / self.info.sample_rate:.3f} s.",
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


def _open(path: Path) -> Reader:
    """Open a file with the library that serves it best.

    libsndfile is asked first: it gives Spleeter's own samples of what both read, takes less memory,
    and knows when a file is cut off. FFmpeg's libraries know more formats, and which channel is
    which in FLAC and Ogg.
    """
    _require_file(path)
    reader: SndfileReader | None = None
    with contextlib.suppress(NotReadableError):
        reader = SndfileReader(path)
        if reader.info.channels <= STEREO or reader.are_named or not _names_elsewhere(reader):
            return reader
    from stemsplit.audio.readers.libav import LibavReader

    try:
        other = LibavReader(path)
    except (NotReadableError, BadInputError) as error:
        if reader is not None:
            return reader
        raise error if isinstance(error, BadInputError) else _unknown(path, str(error)) from error
    if reader is not None:
        reader.close()
    return other


def _names_elsewhere(reader: SndfileReader) -> bool:
    """Tell whether a file says which channel is which where libsndfile does not look."""
    return reader.info.format in {"FLAC", "OGG"}


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


def _unknown(path: Path, why: str) -> BadInputError:
    return BadInputError(
        f"{quoted(path.name)} is not an audio file that stemsplit can read ({why.rstrip('.')}).",
        "Neither libsndfile nor FFmpeg knows it: check what it is, or export it again.",
    )
