"""Runs in both. Audio files through libsndfile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from stemsplit.audio.channels import USUAL
from stemsplit.audio.readers import NotReadableError
from stemsplit.audio.sample_blocks import BLOCK_FRAMES
from stemsplit.audio.sndfile_paths import sound_path
from stemsplit.core.audio_info import MOST_FRAMES_A_BYTE, AudioInfo
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.audio.containers.parts import Part

_GET_CHANNEL_MAP = 0x1100
_PLACES = {
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
"""What libsndfile makes of a name alone, `x.au` or `x.vox`, where there is no header."""


class SndfileReader:
    """One part that libsndfile has opened; see `stemsplit.audio.readers.Reader`."""

    silences = ()
    notes = ()
    late_seconds = 0.0
    tolerated_seconds = 0.0

    def __init__(self, path: Path, part: Part) -> None:
        """Open `part` of `path` and read its header.

        Raises:
            NotReadableError: if libsndfile cannot make anything of it.
        """
        self._stream = None if part.pieces is None else part.open(path)
        try:
            # As bytes: a file name need not be valid UTF-8.
            self._file = soundfile.SoundFile(self._stream or sound_path(path))
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
        self.gave_up = False
        self.channels, self.are_named = self._channels()

    def _channels(self) -> tuple[tuple[str, ...], bool]:
        """Give the name of each channel, and whether the file itself tells them.

        python-soundfile has no word for libsndfile's command, so its inner parts are asked.
        """
        count = self._file.channels
        places = soundfile._ffi.new("int[]", count)  # noqa: SLF001 - see above
        told = soundfile._snd.sf_command(  # noqa: SLF001 - likewise
            self._file._file,  # noqa: SLF001 - likewise
            _GET_CHANNEL_MAP,
            places,
            soundfile._ffi.sizeof(places),  # noqa: SLF001 - likewise
        )
        if told and count > STEREO:
            return tuple(_PLACES.get(place, "?") for place in places), True
        return USUAL.get(count, ("?",) * count), False

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Reader.blocks`; in a lossless file it goes to `start` at once."""
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
        # raises without the count. NaN, which no lossy or integer decoder produces, marks the
        # part that was not reached.
        block = np.full((BLOCK_FRAMES, self.info.channels), np.nan, np.float32)
        try:
            return self._file.read(out=block), False
        except soundfile.LibsndfileError:
            self.gave_up = True
            unreached = np.flatnonzero(np.isnan(block[:, 0]))
            return (block[: unreached[0]] if len(unreached) else block), True

    def close(self) -> None:
        """See `Reader.close`."""
        self._file.close()
        self._close_stream()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _plausible(frames: int, size_bytes: int) -> int | None:
    """Give None for a length that cannot be: unknown (libsndfile's 2**63 - 1) or damaged."""
    return frames if frames <= size_bytes * MOST_FRAMES_A_BYTE else None
