"""Runs in the child. Reads sound files through FFmpeg's libraries, using PyAV.

Covers what libsndfile does not read: AAC and ALAC in MP4, WMA, WavPack, Monkey's Audio, the audio
of films, MP3 files that do not declare their length, and channel layouts that the file declares.
Audio keeps its time: packets that cannot be decoded and gaps between timestamps become silence.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
import av.error
import numpy as np

from stemsplit.audio.av_frames import samples_of
from stemsplit.audio.data_loss import Gap, add_gap, position
from stemsplit.audio.readers.base import NotReadableError
from stemsplit.audio.readers.format_changes import (
    MAX_NOTES,
    FormatConverter,
    StreamFormat,
    format_change_note,
)
from stemsplit.audio.readers.libav_stream_info import (
    HAVE_NO_TIMESTAMPS,
    audio_info,
    channel_names,
    declared_frames,
    gapless_frames,
    is_mp4,
    open_container,
    to_samples,
)
from stemsplit.audio.readers.packets import MAX_SILENCE_SECONDS, PacketDecoder, is_caused_by_file
from stemsplit.audio.readers.timestamps import Timeline
from stemsplit.audio.readers.track_selection import select_track
from stemsplit.audio.sample_blocks import silence, split_block
from stemsplit.core.audio_info import MAX_FRAMES_PER_BYTE
from stemsplit.core.errors import BadInputError
from stemsplit.core.format_rates import frames_at
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.audio.containers.parts import Part

_RESTARTABLE = frozenset({"mpegts", "mpeg", "ogg"})
"""Containers whose timestamps start anew where a broadcast or recording was restarted."""

_MAX_RESTARTABLE_PAUSE_SECONDS = 10.0
"""Longest pause in those containers, that of FFmpeg's `dts_delta_threshold`."""

_MAX_PAUSE_SECONDS = 3600.0
"""Longest pause in other containers, if they declare no duration."""

_MAX_ROUNDING_SECONDS = 1 / 600
"""The coarsest unit in which edit lists of MP4 files usually count."""

_MAX_PADDING_FRAMES = 16_384
"""More than any encoder adds after the music; AAC has up to three frames of 2,048."""

_MISCOUNTED_CHANNELS = 8
"""Number of plane pointers in an FFmpeg frame. PyAV 18 looks for one plane too many in planar
frames with at least as many channels."""


class LibavReader:
    """A part opened with FFmpeg's libraries; see `stemsplit.audio.readers.base.Reader`."""

    has_failed = False
    tolerance_seconds = 0.25
    """Containers that count in milliseconds, or in whole frames of a codec, end inexactly."""

    def __init__(self, path: Path, part: Part, audio_track: str | None = None) -> None:
        """Open `part` of `path`, and read its header and its first frame; see `select_track`.

        Raises:
            NotReadableError: if FFmpeg cannot read it.
            BadInputError: if FFmpeg recognises it, but can decode no audio in it.
        """
        self._path = path
        self.silences: list[Gap] = []
        self.notes: list[str] = []
        self._rate = 0
        self._start = 0
        self._lost_at_start = 0
        self._interleaver: av.AudioResampler | None = None
        self._max_frames = path.stat().st_size * MAX_FRAMES_PER_BYTE
        self._file = part.open(path)
        try:
            self._container = open_container(self._file, part.demuxer)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self._file.close()
            if not is_caused_by_file(error):
                raise
            raise NotReadableError(getattr(error, "strerror", "") or str(error)) from error
        try:
            self._stream = select_track(self._container, path.name, audio_track, self.notes)
            self._decoder = PacketDecoder(self._container, self._stream, path.name)
            self._gapless = gapless_frames(self._container, self._stream)
            self._frames = self._decoder.decode()
            self._first = self._read_first_frame()
            self.channels = channel_names(self._first)
            self.info = audio_info(
                self._container, self._stream, self._first, self._declared_frames()
            )
        except BaseException:
            self.close()
            raise
        self._format = self._format_of(self._first)

    def _read_first_frame(self) -> av.AudioFrame:
        frames = (frame for frame in self._frames if isinstance(frame, av.AudioFrame))
        first = next(frames, None)
        if first is None:
            raise BadInputError(
                f"{quoted(self._path.name)} has a header, but none of its samples can be decoded.",
                "It is damaged: export it again or restore it from a backup.",
            )
        self._rate = first.sample_rate
        if first.pts is not None:  # audio may start later than its film
            self._start = self._samples(first.pts, first.time_base)
            timestamp = self._decoder.first_timestamp
            if self._decoder.has_lost_packets and timestamp is not None:
                # The first packets could not be decoded. Samples before 0 are encoder padding.
                start = max(self._samples(timestamp, first.time_base), 0)
                max_lost = round(MAX_SILENCE_SECONDS * self._rate)
                self._lost_at_start = min(max(self._start - start, 0), max_lost)
                self._start = start
        return first

    def _declared_frames(self) -> int | None:
        frames = declared_frames(
            self._container,
            self._stream,
            self._rate,
            gapless=self._gapless,
            start=self._start,
            delay=self._delay,
        )
        return frames if frames is not None and 0 < frames <= self._max_frames else None

    @property
    def delay_seconds(self) -> float:
        """When the audio starts on the file's clock."""
        return self._delay / self._rate

    @property
    def _delay(self) -> int:
        """The same in samples; 0 if the audio starts at once, or early because of padding."""
        return self._start if self._start > self.tolerance_seconds * self._rate else 0

    def _samples(self, ticks: int, time_base: Fraction | None) -> int:
        return to_samples(ticks, time_base, self._rate)

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Reader.blocks`.

        Decodes from the beginning, whatever `start` is: after a seek, lossy decoders return other
        samples, and not every container records where a sample is.
        """
        del start
        at = 0
        for decoded in _without_padding(self._decode(), self._music_end):
            for block in split_block(decoded):
                yield at, block
                at += len(block)

    def _decode(self) -> Iterator[NDArray[np.float32]]:
        """Decode all frames in the format of the first one, with silence for lost audio."""
        timeline = self._new_timeline()
        yield from self._silence(timeline, self._lost_at_start)
        current, converter = self._format, None
        frame: av.AudioFrame | float | None = self._first
        while frame is not None:
            if isinstance(frame, float):
                yield from self._silence(timeline, round(frame * self._rate))
            else:
                gap = self._add_to_timeline(timeline, frame)
                if self._format_of(frame) != current or (gap and converter is not None):
                    if converter is not None:
                        yield converter.finish()
                    current = self._format_of(frame)
                    converter = self._new_converter(current, timeline.position)
                yield from silence(gap, self.info.channels)
                samples = samples_of(self._interleaved(frame))
                yield samples if converter is None else converter.push(samples)
            frame = next(self._frames, None)
        if converter is not None:
            yield converter.finish()

    def _new_timeline(self) -> Timeline:
        duration = self._container.duration
        is_restartable = self._container.format.name in _RESTARTABLE
        if is_restartable or duration is None:
            max_seconds = _MAX_RESTARTABLE_PAUSE_SECONDS if is_restartable else _MAX_PAUSE_SECONDS
            return Timeline(self._rate, max_gap=max_seconds * self._rate, end=self._max_frames)
        end = self._samples(duration, Fraction(1, av.time_base)) + self._rate
        return Timeline(self._rate, max_gap=self._max_frames, end=min(self._max_frames, end))

    def _silence(self, timeline: Timeline, frames: int) -> Iterator[NDArray[np.float32]]:
        """Yield silence in place of a packet that could not be decoded."""
        add_gap(self.silences, timeline.position, frames)
        timeline.advance(frames)
        yield from silence(frames, self.info.channels)

    def _add_to_timeline(self, timeline: Timeline, frame: av.AudioFrame) -> int:
        """Return how many samples of silence must precede a frame, by its timestamp."""
        timestamp, at = None, timeline.position
        if frame.pts is not None and self._container.format.name not in HAVE_NO_TIMESTAMPS:
            timestamp = self._samples(frame.pts, frame.time_base) - self._start
        samples = frames_at(frame.samples, frame.sample_rate, self._rate)
        gap = timeline.add_frame(timestamp, samples)
        add_gap(self.silences, at, gap)
        if timeline.jump and len(self.notes) < MAX_NOTES:
            self.notes.append(
                f"{quoted(self._path.name)} has timestamps that jump by "
                f"{timeline.jump / self._rate:.2f} s at {position(at / self._rate)}, as after a "
                "restarted recording; the rest was appended without a gap."
            )
        return gap

    @staticmethod
    def _format_of(frame: av.AudioFrame) -> StreamFormat:
        return StreamFormat(frame.sample_rate, channel_names(frame))

    def _new_converter(self, source: StreamFormat, at: int) -> FormatConverter | None:
        """Return a converter from `source` to the format of the first frame; None if equal."""
        if source == self._format:
            return None
        if len(self.notes) < MAX_NOTES:
            seconds = at / self._rate
            self.notes.append(format_change_note(self._path.name, self._format, source, seconds))
        return FormatConverter(source, self._format)

    def _interleaved(self, frame: av.AudioFrame) -> av.AudioFrame:
        """Interleave the channels of a frame whose planes PyAV would miscount."""
        if not frame.format.is_planar or len(frame.layout.channels) < _MISCOUNTED_CHANNELS:
            return frame
        if self._interleaver is None:
            self._interleaver = av.AudioResampler(
                frame.format.packed.name, frame.layout, frame.sample_rate
            )
        (interleaved,) = self._interleaver.resample(frame)
        return interleaved

    def _music_end(self) -> int | None:
        """Return the end of the music known so far, as MP4 files declare it; None if unknown."""
        end_seconds = self._decoder.end_seconds
        if not is_mp4(self._container) or end_seconds is None:
            return None
        if self._gapless is not None:
            return self._gapless
        end = round(end_seconds * self._rate) - self._start
        if self._stream.duration is not None:
            declared = self._samples(self._stream.duration, self._stream.time_base)
            if end - declared > _MAX_ROUNDING_SECONDS * self._rate:
                return declared
        return end

    def close(self) -> None:
        """See `Reader.close`."""
        self._container.close()
        self._file.close()


def _without_padding(
    blocks: Iterator[NDArray[np.float32]], known_end: Callable[[], int | None]
) -> Iterator[NDArray[np.float32]]:
    """Remove the padding that encoders add after the music.

    Samples after its end are held back until there is more music or the file ends. If they exceed
    any encoder's padding, the file declares a wrong end, which is then ignored.

    `known_end` returns the frame at which the music known so far ends; None if unknown.
    """
    held: NDArray[np.float32] | None = None
    yielded, is_trusted = 0, True
    for block in blocks:
        ready = block if held is None else np.concatenate((held, block))
        end = known_end() if is_trusted else None
        if end is not None and yielded + len(ready) - end > _MAX_PADDING_FRAMES:
            end, is_trusted = None, False
        count = len(ready) if end is None else min(max(end - yielded, 0), len(ready))
        if count:
            yield ready[:count]
        yielded += count
        held = ready[count:] if count < len(ready) else None
