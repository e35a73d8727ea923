"""Runs in the child. Reads sound files through libsndfile."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from stemsplit.audio.channels import default_channels
from stemsplit.audio.readers.base import NotReadableError
from stemsplit.audio.sample_blocks import BLOCK_FRAMES
from stemsplit.core.audio_info import MAX_FRAMES_PER_BYTE, AudioInfo
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.audio.containers.parts import Part

_GET_CHANNEL_MAP_INFO = 0x1100
_CHANNEL_NAMES = {
    1: "FC",
    2: "FL",
    3: "FR",
    4: "FC",
    5: "FL",
    6: "FR",
    7: "FC",
    8: "BC",
    9: "BL",
    10: "BR",
    11: "LFE",
    12: "FLC",
    13: "FRC",
    14: "SL",
    15: "SR",
}
"""`SFC_GET_CHANNEL_MAP_INFO` and the `SF_CHANNEL_MAP_` numbers of libsndfile's `sndfile.h`."""

_BITS = re.compile(r"PCM_(?:[SU])?(?P<bits>\d+)|ALAC_(?P<alac>\d+)")
_FLOATING = {"FLOAT": 32, "DOUBLE": 64}

_HEADERLESS = "RAW"
"""The format that libsndfile assumes by the extension alone, such as `.vox`, without a header."""


class SndfileReader:
    """A part opened with libsndfile; see `stemsplit.audio.readers.base.Reader`.

    Attributes:
        has_channel_map: whether the file itself names its channels.
    """

    silences = ()
    notes = ()
    delay_seconds = 0.0
    tolerance_seconds = 0.0

    def __init__(self, path: Path, part: Part) -> None:
        """Open `part` of `path` and read its header.

        Raises:
            NotReadableError: if libsndfile cannot read it.
        """
        self._stream = None if part.pieces is None else part.open(path)
        try:
            self._file = soundfile.SoundFile(self._stream or sndfile_path(path))
        except soundfile.LibsndfileError as error:
            self._close_stream()
            raise NotReadableError(error.error_string.strip(" .")) from error
        if self._file.format == _HEADERLESS:
            self.close()
            raise NotReadableError("it has no header")
        subtype = self._file.subtype
        bits = _BITS.fullmatch(subtype)
        self.info = AudioInfo(
            format=self._file.format,
            subtype=subtype,
            sample_rate=self._file.samplerate,
            channels=self._file.channels,
            frames=_plausible(self._file.frames, path.stat().st_size),
            bits=int(bits["bits"] or bits["alac"]) if bits else _FLOATING.get(subtype),
            floating=subtype in _FLOATING,
        )
        self.has_failed = False
        self.channels, self.has_channel_map = self._read_channel_map()

    def _read_channel_map(self) -> tuple[tuple[str, ...], bool]:
        """Return the name of each channel, and whether the file itself names them.

        python-soundfile does not expose this command of libsndfile, so its internals are used.
        """
        count = self._file.channels
        numbers = soundfile._ffi.new("int[]", count)  # noqa: SLF001 - see above
        has_map = soundfile._snd.sf_command(  # noqa: SLF001 - see above
            self._file._file,  # noqa: SLF001 - see above
            _GET_CHANNEL_MAP_INFO,
            numbers,
            soundfile._ffi.sizeof(numbers),  # noqa: SLF001 - see above
        )
        if has_map and count > STEREO:
            return tuple(_CHANNEL_NAMES.get(number, "?") for number in numbers), True
        return default_channels(count), False

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Reader.blocks`; a lossless file is read from `start` on."""
        at = 0
        if start and self.info.bits is not None and self._file.seekable():
            try:
                at = self._file.seek(min(start, self._file.frames))
            except soundfile.LibsndfileError:
                return
        while True:
            block, is_last = self._next_block()
            if len(block):
                yield at, block
            at += len(block)
            if is_last or not len(block):
                return

    def _next_block(self) -> tuple[NDArray[np.float32], bool]:
        # libsndfile's decoders fill what they can before they fail, but python-soundfile then
        # raises without the count. NaN, which no lossy or integer decoder produces, identifies the
        # samples that were not written.
        block = np.full((BLOCK_FRAMES, self.info.channels), np.nan, np.float32)
        try:
            return self._file.read(out=block), False
        except soundfile.LibsndfileError:
            self.has_failed = True
            unwritten = np.flatnonzero(np.isnan(block[:, 0]))
            return (block[: unwritten[0]] if len(unwritten) else block), True

    def close(self) -> None:
        """See `Reader.close`."""
        self._file.close()
        self._close_stream()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()


def sndfile_path(path: Path) -> str | bytes:
    """Return a path for libsndfile: its bytes, which need not be UTF-8; on Windows its text."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _plausible(frames: int, size_bytes: int) -> int | None:
    """Return None for an impossible length: unknown (libsndfile's 2**63 - 1) or damaged."""
    return frames if frames <= size_bytes * MAX_FRAMES_PER_BYTE else None
