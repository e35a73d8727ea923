"""Runs in both. Audio files through FFmpeg's libraries, by way of PyAV.

Covers what libsndfile does not read: AAC and ALAC in MP4, WMA, WavPack, Monkey's Audio, the sound
of films, MP3 that does not say how long it is, and channels whose arrangement the file declares.
Sound stays at its time: what cannot be decoded, and what timestamps leave out, becomes silence.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from stemsplit.audio.av_frames import samples_of
from stemsplit.audio.channels import USUAL
from stemsplit.audio.data_loss import Silence, note_silence, position
from stemsplit.audio.readers import NotReadableError
from stemsplit.audio.readers.format_changes import Adapter, change_of
from stemsplit.audio.readers.packets import MOST_CONCEALED_SECONDS, Packets, is_of_the_file
from stemsplit.audio.readers.timestamps import Timeline
from stemsplit.audio.readers.track_selection import choose_track
from stemsplit.audio.sample_blocks import in_pieces, silence
from stemsplit.core.audio_info import MOST_FRAMES_A_BYTE, AudioInfo
from stemsplit.core.errors import BadInputError
from stemsplit.core.formats import frames_at
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.audio.containers.parts import Part

_OPTIONS = {"protocol_whitelist": "none"}
"""A file is read through an open descriptor; one that names others, as a playlist does, gets none
of them."""

_TOLERANT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}  # noqa: PLR2004
)
"""A file is read whatever its tags are in; PyAV 19 takes any by itself."""

_CLOCKLESS = frozenset({"mp3", "aac", "ac3", "eac3", "dts", "loas"})
"""Streams of frames without timestamps; FFmpeg counts."""

_GUESSED = _CLOCKLESS | {"mpeg", "mpegts"}
"""Containers that do not say how long they are; FFmpeg guesses from the bit rate."""

_RESTARTED = frozenset({"mpegts", "mpeg", "ogg"})
"""Containers in which timestamps begin anew where a broadcast or recording was restarted."""

_LONGEST_PAUSE_SECONDS = 10.0
"""In those; FFmpeg's own `dts_delta_threshold`."""

_MOST_PAUSE_SECONDS = 3600.0
"""In others, where no duration is declared."""

_LARGEST_ROUNDING = 1 / 600
"""In seconds: the coarsest clock in which edit lists of MP4 files usually count."""

_MOST_PADDING_FRAMES = 16_384
"""More than any encoder puts behind the music; AAC has up to three frames of 2,048."""

_MOST_NOTES = 3

_MISCOUNTED_CHANNELS = 8
"""With as many planes as FFmpeg has pointers in a frame, PyAV 18 looks for one more."""

_GAPLESS = re.compile(r"\s*(?:[0-9A-Fa-f]+\s+){3}(?P<frames>[0-9A-Fa-f]+)")
"""Apple's `iTunSMPB`: zero, samples before and behind the music, samples of music; hexadecimal."""

_MATROSKA_DURATION = re.compile(r"(?P<h>\d+):(?P<m>\d+):(?P<s>\d+(?:\.\d+)?)")
"""How Matroska says when a stream ends; the container's own duration is that of a whole film."""

_PCM_BITS = re.compile(r"pcm_[suf](?P<bits>\d+)")
_USUALLY_LOSSY = frozenset({"dca"})
"""Codecs that have a lossless variant, which FFmpeg does not tell from the usual one: DTS."""

_BITS_OF_FORMAT = {"u8": 8, "s16": 16, "s32": 24, "s64": 64}
"""Lossless codecs put up to 24 bits into words of 32, at their upper end."""


class LibavReader:
    """One part that FFmpeg's libraries have opened; see `stemsplit.audio.readers.Reader`."""

    gave_up = False
    tolerated_seconds = 0.25
    """Containers that count in milliseconds, or in whole frames of a codec, end inexactly."""

    def __init__(self, path: Path, part: Part, audio_track: str | None = None) -> None:
        """Open `part` of `path`, read its header and its first frame.

        Args:
            path: the file.
            part: of it.
            audio_track: the number of an audio track, from 1, or a language; None for the default.

        Raises:
            NotReadableError: if FFmpeg cannot make anything of it.
            BadInputError: if it is something, but has no sound that can be decoded.
        """
        self._path = path
        self.silences: list[Silence] = []
        self.notes: list[str] = []
        self._rate = 0
        self._origin = 0
        self._lost_first = 0
        self._interleaver: av.AudioResampler | None = None
        self._size_bytes = path.stat().st_size
        self._file = part.open(path)
        try:
            self._container = av.open(
                self._file, "r", format=part.demuxer or None, options=_OPTIONS, **_TOLERANT
            )
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self._file.close()
            if not is_of_the_file(error):
                raise
            raise NotReadableError(getattr(error, "strerror", "") or str(error)) from error
        try:
            self._stream = choose_track(self._container, path.name, audio_track, self.notes)
            self._packets = Packets(self._container, self._stream, path.name)
            self._gapless = self._gapless_frames()
            self._frames = self._packets.decoded()
            self._first = self._first_frame()
            self.info = self._declared()
        except BaseException:
            self.close()
            raise
        self.channels = _names(self._first)

    def _first_frame(self) -> av.AudioFrame:
        first = next((one for one in self._frames if isinstance(one, av.AudioFrame)), None)
        if first is None:
            raise BadInputError(
                f"{quoted(self._path.name)} has a header, but none of its samples can be decoded.",
                "It is damaged: export it again or restore it from a backup.",
            )
        self._rate = first.sample_rate
        if first.pts is not None:  # sound may begin later than its film
            self._origin = self._samples(first.pts, first.time_base)
            timestamp = self._packets.first_timestamp
            if self._packets.has_lost and timestamp is not None:
                # What came before could not be decoded; before 0 there is what encoders put there.
                began = max(self._samples(timestamp, first.time_base), 0)
                most = round(MOST_CONCEALED_SECONDS * self._rate)
                self._lost_first = min(max(self._origin - began, 0), most)
                self._origin = began
        return first

    def _declared(self) -> AudioInfo:
        frame, codec = self._first, self._stream.codec_context
        sample = frame.format.packed.name
        pcm = _PCM_BITS.match(codec.name)
        lossless = pcm is not None or (codec.codec.lossless and codec.name not in _USUALLY_LOSSY)
        return AudioInfo(
            format=self._container.format.name.partition(",")[0].upper(),
            subtype=codec.name.upper(),
            sample_rate=frame.sample_rate,
            channels=len(frame.layout.channels),
            frames=self._declared_frames(),
            bits=_bits(pcm, sample) if lossless else None,
            floating=lossless and sample in {"flt", "dbl"},
        )

    def _declared_frames(self) -> int | None:
        """Give the length in samples; close to the truth where the container counts otherwise."""
        if self._container.format.name in _GUESSED:
            return None
        if self._gapless is not None:
            frames = self._gapless
        elif self._stream.duration is not None:
            frames = self._samples(self._stream.duration, self._stream.time_base)
            frames -= 0 if self._container.format.name.startswith("mov") else self._late
        elif found := _MATROSKA_DURATION.fullmatch(self._stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = (float(found[part]) for part in "hms")
            ends = 3600 * hours + 60 * minutes + seconds
            frames = round(ends * self._rate) - self._origin
        elif self._container.duration is not None and len(self._container.streams) == 1:
            frames = self._samples(self._container.duration, Fraction(1, av.time_base))
            frames -= self._late
        else:
            return None
        return frames if 0 < frames <= self._most_frames else None

    @property
    def late_seconds(self) -> float:
        """When the sound begins by the file's clock."""
        return self._late / self._rate

    @property
    def _late(self) -> int:
        """The same in samples; 0 where it begins at once, or early, as encoders' padding does."""
        return self._origin if self._origin > self.tolerated_seconds * self._rate else 0

    @property
    def _most_frames(self) -> int:
        return self._size_bytes * MOST_FRAMES_A_BYTE

    def _samples(self, ticks: int, clock: Fraction | None) -> int:
        return round(ticks * (clock or Fraction(1, self._rate)) * self._rate)

    def _gapless_frames(self) -> int | None:
        told = {**self._container.metadata, **self._stream.metadata}.get("iTunSMPB", "")
        found = _GAPLESS.match(told)
        return (int(found["frames"], 16) or None) if found else None

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Reader.blocks`.

        It decodes from the beginning, whatever `start` is: after a jump, lossy decoders give other
        samples than they do on their way, and not every container knows where a sample lies.
        """
        del start
        at = 0
        for piece in self._trimmed(self._pieces()):
            for block in in_pieces(piece):
                yield at, block
                at += len(block)

    def _pieces(self) -> Iterator[NDArray[np.float32]]:
        """Decode, with silence where something is lost, and all in the form of the first frame."""
        timeline = self._timeline()
        yield from self._silence(timeline, self._lost_first)
        form, adapter = self._form_of(self._first), None
        frame: av.AudioFrame | float | None = self._first
        while frame is not None:
            if isinstance(frame, float):
                yield from self._silence(timeline, round(frame * self._rate))
            else:
                gap = self._gap(timeline, frame)
                if self._form_of(frame) != form or (gap and adapter is not None):
                    if adapter is not None:
                        yield adapter.finish()
                    form = self._form_of(frame)
                    adapter = self._adapter(*form, timeline.position)
                yield from silence(gap, self.info.channels)
                samples = samples_of(self._interleaved(frame))
                yield samples if adapter is None else adapter.push(samples)
            frame = next(self._frames, None)
        if adapter is not None:
            yield adapter.finish()

    def _timeline(self) -> Timeline:
        container, end = self._container, None
        restarts = self._container.format.name in _RESTARTED
        if container.duration is not None:
            end = self._samples(container.duration, Fraction(1, av.time_base)) + self._rate
        longest = _LONGEST_PAUSE_SECONDS if restarts else _MOST_PAUSE_SECONDS
        most = self._most_frames
        return Timeline(
            self._rate,
            longest_gap=longest * self._rate if restarts or end is None else most,
            end=most if end is None or restarts else min(most, end),
        )

    def _silence(self, timeline: Timeline, frames: int) -> Iterator[NDArray[np.float32]]:
        """Put silence in the place of a packet that could not be decoded."""
        note_silence(self.silences, timeline.position, frames)
        timeline.take_silence(frames)
        yield from silence(frames, self.info.channels)

    def _gap(self, timeline: Timeline, frame: av.AudioFrame) -> int:
        """Return how many samples of silence belong before a frame, by its timestamp."""
        timestamp, at = None, timeline.position
        if frame.pts is not None and self._container.format.name not in _CLOCKLESS:
            timestamp = self._samples(frame.pts, frame.time_base) - self._origin
        samples = frames_at(frame.samples, frame.sample_rate, self._rate)
        gap = timeline.gap_before(timestamp, samples)
        note_silence(self.silences, at, gap)
        if timeline.jumped and len(self.notes) < _MOST_NOTES:
            self.notes.append(
                f"{quoted(self._path.name)} has timestamps that jump by "
                f"{timeline.jumped / self._rate:.2f} s at {position(at / self._rate)}, as where a "
                "recording was restarted; what follows was appended."
            )
        return gap

    @staticmethod
    def _form_of(frame: av.AudioFrame) -> tuple[int, tuple[str, ...]]:
        return frame.sample_rate, _names(frame)

    def _adapter(self, rate: int, channels: tuple[str, ...], at: int) -> Adapter | None:
        """Get ready for frames of another form than the first one's; None where it is the same."""
        own = (self.info.sample_rate, self.channels)
        if (rate, channels) == own:
            return None
        if len(self.notes) < _MOST_NOTES:
            note = change_of(self._path.name, own, (rate, channels), at / own[0])
            self.notes.append(note)
        return Adapter(rate, channels, *own)

    def _interleaved(self, frame: av.AudioFrame) -> av.AudioFrame:
        """Put the channels of a frame into one plane where PyAV would miscount the planes."""
        if not frame.format.is_planar or len(frame.layout.channels) < _MISCOUNTED_CHANNELS:
            return frame
        if self._interleaver is None:
            self._interleaver = av.AudioResampler(
                frame.format.packed.name, frame.layout, frame.sample_rate
            )
        (interleaved,) = self._interleaver.resample(frame)
        return interleaved

    def _trimmed(self, pieces: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Leave out what an encoder has put behind the music, as far as an MP4 file tells.

        What lies behind the end is held back until there is more music or no more of the file. If
        that gets longer than any encoder's padding, the file is wrong about its end.
        """
        held: NDArray[np.float32] | None = None
        given, is_trusted = 0, True
        for piece in pieces:
            ready = piece if held is None else np.concatenate((held, piece))
            end = self._end() if is_trusted else None
            if end is not None and given + len(ready) - end > _MOST_PADDING_FRAMES:
                end, is_trusted = None, False
            count = len(ready) if end is None else min(max(end - given, 0), len(ready))
            if count:
                yield ready[:count]
            given += count
            held = ready[count:] if count < len(ready) else None

    def _end(self) -> int | None:
        """Give the end of what is known to be music so far; None if there is no telling."""
        ends = self._packets.end_seconds
        if not self._container.format.name.startswith("mov") or ends is None:
            return None
        if self._gapless is not None:
            return self._gapless
        end = round(ends * self._rate) - self._origin
        if self._stream.duration is not None:
            declared = self._samples(self._stream.duration, self._stream.time_base)
            if end - declared > _LARGEST_ROUNDING * self._rate:
                return declared
        return end

    def close(self) -> None:
        """See `Reader.close`."""
        self._container.close()
        self._file.close()


def _names(frame: av.AudioFrame) -> tuple[str, ...]:
    """Name the channels of a frame, in the usual order where the file does not say."""
    names = tuple(one.name for one in frame.layout.channels)
    is_arranged = not {"NONE", "UNK", ""} & set(names)
    return names if is_arranged else USUAL.get(len(names), ("?",) * len(names))


def _bits(pcm: re.Match[str] | None, sample_format: str) -> int:
    return int(pcm["bits"]) if pcm else _BITS_OF_FORMAT.get(sample_format, 32)
