"""Runs in both. Audio files through libsndfile.

Covers what libsndfile reads, and finds out when a file ends before its header says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from stemsplit.audio import mpeg, ogg
from stemsplit.audio.blocks import BLOCK_FRAMES
from stemsplit.audio.channels import USUAL
from stemsplit.audio.paths import sound_path
from stemsplit.audio.readers import NotReadableError, missing
from stemsplit.job import MOST_FRAMES_A_BYTE, STEREO, AudioInfo
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_UNKNOWN_LENGTH_BYTES = 0x7FFF_0000
"""A length field from here on means "written to a pipe, length not known", as ffmpeg writes it."""

_SIZE_MISMATCH = re.compile(
    r"^\s*(?P<chunk>RIFF|riff|FORM|data|SSND|Data Size)\s*:\s*(?P<declared>\d+)"
    r"\s*\(should be (?P<actual>\d+)\)",
    re.MULTILINE,
)
"""How libsndfile's log says that a chunk claims more bytes than the file has."""

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


class SndfileReader:
    """One file that libsndfile has opened; see `stemsplit.audio.readers.Reader`."""

    def __init__(self, path: Path) -> None:
        """Open `path` and read its header.

        Raises:
            NotReadableError: if libsndfile cannot make anything of it, or would cut it off.
        """
        self._path = path
        try:
            # As bytes: a file name need not be valid UTF-8.
            self._file = soundfile.SoundFile(sound_path(path))
        except soundfile.LibsndfileError as error:
            raise NotReadableError(error.error_string.strip(" .")) from error
        unread = self._what_is_unread()
        if unread:
            self._file.close()
            raise NotReadableError(unread)
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
        self._torn = False
        self.channels, self.are_named = self._channels()

    def _what_is_unread(self) -> str:
        """Say why libsndfile would stop before the end; empty if it would not."""
        if self._file.format == "MP3" and not mpeg.declares_length(self._path):
            return "it does not say how long it is, and libsndfile guesses"
        joined = {"MP3": mpeg.is_longer_than_it_says, "OGG": ogg.has_second_stream}
        if self._file.format in joined and joined[self._file.format](self._path):
            return "it is several files in one, and libsndfile stops after the first"
        return ""

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
            self._torn = True
            unreached = np.flatnonzero(np.isnan(block[:, 0]))
            return (block[: unreached[0]] if len(unreached) else block), True

    def damage(self) -> str:
        """See `Reader.damage`; libsndfile's decoders end at damage, or hide it."""
        return ""

    def lacks(self, frames_read: int) -> str:
        """See `Reader.lacks`."""
        name, rate = quoted(self._path.name), self.info.sample_rate
        frames = self._missing_frames(frames_read)
        if frames and self._torn:
            whole = frames + frames_read
            return (
                f"{name} is cut off or damaged at {frames_read / rate:.2f} s and cannot be decoded "
                f"from there on: {frames / rate:.2f} s of {whole / rate:.2f} s "
                f"({frames / whole:.0%}) are missing; what is there was used."
            )
        if frames:
            return missing(name, frames, frames_read, rate)
        if self.info.format == "OGG" and not ogg.ends_with_final_page(self._path):
            return (
                f"{name} is cut off: its last Ogg page is missing, so there is no telling how much "
                f"is gone; the {frames_read / rate:.2f} s that are there were used."
            )
        return ""

    def _missing_frames(self, frames_read: int) -> int:
        if self.info.frames is None:
            return 0  # the length is not known
        if frames_read < self.info.frames:
            return self.info.frames - frames_read
        for match in sorted(
            _SIZE_MISMATCH.finditer(self._file.extra_info),
            key=lambda found: found["chunk"] in {"RIFF", "riff", "FORM"},  # the data chunk is exact
        ):
            declared, actual = int(match["declared"]), int(match["actual"])
            if actual < declared < _UNKNOWN_LENGTH_BYTES:
                return round(frames_read * (declared - actual) / actual)
        return 0

    def close(self) -> None:
        """See `Reader.close`."""
        self._file.close()


def _plausible(frames: int, size_bytes: int) -> int | None:
    """Give None for a length that cannot be: unknown (libsndfile's 2**63 - 1) or damaged."""
    return frames if frames <= size_bytes * MOST_FRAMES_A_BYTE else None
