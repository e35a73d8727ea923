"""Runs in both. Audio files to blocks of float32 samples, through libsndfile.

Covers what libsndfile reads, and finds out when a file ends before its header says. It does not
convert: sample rate and channels are the file's own.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Self

import numpy as np
import soundfile

from stemsplit.audio.mpeg import declares_length, end_of_audio
from stemsplit.audio.paths import sound_path
from stemsplit.errors import BadInputError
from stemsplit.job import MOST_FRAMES_A_BYTE, AudioInfo
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

BLOCK_FRAMES = 65_536
"""Frames a block: 1.5 s at 44.1 kHz, 512 KiB in stereo."""

_MPEG_SLACK_BYTES = 4096
"""What may be left of an MP3 after its last sample: less than three of the longest frames."""

_UNKNOWN_LENGTH_BYTES = 0x7FFF_0000
"""A length field from here on means "written to a pipe, length not known", as ffmpeg writes it."""

_SIZE_MISMATCH = re.compile(
    r"^\s*(?P<chunk>RIFF|riff|FORM|data|SSND|Data Size)\s*:\s*(?P<declared>\d+)"
    r"\s*\(should be (?P<actual>\d+)\)",
    re.MULTILINE,
)
"""How libsndfile's log says that a chunk claims more bytes than the file has."""


class Decoder:
    """One open audio file. A context manager.

    Attributes:
        info: what the header declares.
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` and read its header.

        Raises:
            BadInputError: if it is missing, not audio, empty, or without samples.
        """
        self.path = path
        self._file = _open(path)
        self._descriptor: int | None = None
        if self._file.format == "MP3" and not declares_length(path):
            # Opened by a descriptor, its position tells in the end whether all of it was read.
            self._file.close()
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self._file = soundfile.SoundFile(self._descriptor, closefd=True)
        self._frames_read = 0
        self._stopped_by: Exception | None = None
        self.info = AudioInfo(
            format=self._file.format,
            subtype=self._file.subtype,
            sample_rate=self._file.samplerate,
            channels=self._file.channels,
            frames=_plausible(self._file.frames, path.stat().st_size),
        )
        if self.info.frames == 0:
            self._file.close()
            raise BadInputError(
                f"{quoted(path.name)} has a header but no samples.", "Export or record it again."
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
        self._file.close()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read the file from its start.

        Yields:
            `(frames, channels)` float32 of up to `BLOCK_FRAMES` frames. A new array each time.

        Raises:
            BadInputError: at a sample that is not a finite number, or if nothing can be decoded.
        """
        while self._stopped_by is None:
            block = self._next_block()
            if not len(block):
                break
            self._refuse_non_finite(block)
            self._frames_read += len(block)
            yield block
        self._refuse_unread_rest()
        if self._frames_read == 0:
            raise BadInputError(
                f"{quoted(self.path.name)} has a header, but none of its samples can be decoded.",
                "It is damaged: export it again or restore it from a backup.",
            )

    def cut_off(self) -> str:
        """Say, after the last block, how much of the file is missing; empty if it is whole."""
        name = quoted(self.path.name)
        missing = self._missing_frames()
        if missing:
            share = missing / (missing + self._frames_read)
            return (
                f"{name} is cut off: {missing / self.info.sample_rate:.2f} s of "
                f"{(missing + self._frames_read) / self.info.sample_rate:.2f} s ({share:.0%}) "
                "are missing at its end; what is there was separated."
            )
        if self.info.format == "OGG" and not ends_with_final_ogg_page(self.path):
            return (
                f"{name} is cut off: its last Ogg page is missing, so there is no telling how much "
                f"is gone; the {self._frames_read / self.info.sample_rate:.2f} s that are there "
                "were separated."
            )
        return ""

    def _next_block(self) -> NDArray[np.float32]:
        # libsndfile's decoders fill what they can before they fail, but python-soundfile then
        # raises without the count. NaN, which no lossy or integer decoder produces, marks the
        # part that was not reached.
        block = np.full((BLOCK_FRAMES, self.info.channels), np.nan, np.float32)
        try:
            return self._file.read(out=block)
        except soundfile.LibsndfileError as error:
            self._stopped_by = error
            unreached = np.flatnonzero(np.isnan(block[:, 0]))
            return block[: unreached[0]] if len(unreached) else block

    def _refuse_non_finite(self, block: NDArray[np.float32]) -> None:
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            frame = self._frames_read + int(np.argmin(finite))
            raise BadInputError(
                f"{quoted(self.path.name)} has a sample that is not a finite number at "
                f"{frame / self.info.sample_rate:.3f} s.",
                "The program that wrote it went wrong: export it again, or as integer PCM.",
            )

    def _refuse_unread_rest(self) -> None:
        """Refuse an MP3 whose length libsndfile took for shorter than it is."""
        if self._descriptor is None:
            return
        unread = end_of_audio(self.path) - os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if unread > _MPEG_SLACK_BYTES:
            raise BadInputError(
                f"{quoted(self.path.name)} has a variable bit rate and does not say how long it "
                f"is; libsndfile stops {unread:,} bytes before its end.",
                "Give it a header, without loss, by `ffmpeg -i IN -c copy OUT.mp3`.",
            )

    def _missing_frames(self) -> int:
        if self._descriptor is not None or self.info.frames is None:
            return 0  # the length was a guess, or is not known
        if self._frames_read < self.info.frames:
            return self.info.frames - self._frames_read
        for match in sorted(
            _SIZE_MISMATCH.finditer(self._file.extra_info),
            key=lambda found: found["chunk"] in {"RIFF", "riff", "FORM"},  # the data chunk is exact
        ):
            declared, actual = int(match["declared"]), int(match["actual"])
            if actual < declared < _UNKNOWN_LENGTH_BYTES:
                return round(self._frames_read * (declared - actual) / actual)
        return 0


def ends_with_final_ogg_page(path: Path) -> bool:
    """Tell whether an Ogg file ends with a whole page that bears the end-of-stream flag.

    The page layout is that of RFC 3533, section 6: "OggS", version, flags (0x04 is end of stream),
    20 further bytes, the number of lacing values, the lacing values, whose sum is the body's size.
    """
    header_bytes, flags_at, end_of_stream = 27, 5, 0x04
    largest_page = header_bytes + 255 + 255 * 255
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - largest_page, 0))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if len(page) < header_bytes or len(page) < header_bytes + page[26]:
        return False
    lacing = page[header_bytes : header_bytes + page[26]]
    whole = len(page) >= header_bytes + len(lacing) + sum(lacing)
    return whole and bool(page[flags_at] & end_of_stream)


def _plausible(frames: int, size_bytes: int) -> int | None:
    """Give None for a length that cannot be: unknown (libsndfile's 2**63 - 1) or damaged."""
    return frames if frames <= size_bytes * MOST_FRAMES_A_BYTE else None


def _open(path: Path) -> soundfile.SoundFile:
    name = quoted(path.name)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise BadInputError(f"{name} does not exist.", "Check the path.") from None
    except OSError as error:
        raise BadInputError(
            f"{name} cannot be opened ({error.strerror}).", "Check the path and its permissions."
        ) from error
    if not path.is_file():
        raise BadInputError(f"{name} is not a file.", "Name an audio file.")
    if size == 0:
        raise BadInputError(f"{name} is empty (0 bytes).", "Copy or download it again.")
    try:
        # As bytes: a file name need not be valid UTF-8.
        return soundfile.SoundFile(sound_path(path))
    except soundfile.LibsndfileError as error:
        if not os.access(path, os.R_OK):
            raise BadInputError(
                f"{name} may not be read.", "Give yourself permission to read it."
            ) from error
        reason = error.error_string.strip(" .") or "not in a form that libsndfile reads"
        if reason.startswith("File does not exist"):  # said of an MP3 without a single frame, too
            reason = "its contents are of no known kind"
        raise BadInputError(
            f"{name} is not an audio file that stemsplit can read ({reason}).",
            "WAV, FLAC, Ogg, MP3, AIFF and what else libsndfile knows can be read; convert others, "
            "for example with `ffmpeg -i IN OUT.flac`.",
        ) from error
