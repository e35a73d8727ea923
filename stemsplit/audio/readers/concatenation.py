"""Runs in the child. Reads all parts of a file as one stream, each at its time, in one format."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from stemsplit.audio.containers.find_parts import find_parts
from stemsplit.audio.data_loss import NEGLIGIBLE_SECONDS, Gap, add_gap
from stemsplit.audio.readers.expected_length import ExpectedLength
from stemsplit.audio.readers.format_changes import (
    MAX_NOTES,
    FormatConverter,
    StreamFormat,
    format_change_note,
)
from stemsplit.audio.readers.open_part import open_part
from stemsplit.audio.readers.sndfile import SndfileReader
from stemsplit.audio.sample_blocks import silence
from stemsplit.core.audio_info import MAX_FRAMES_PER_BYTE
from stemsplit.core.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.audio.containers.parts import Part
    from stemsplit.audio.readers.base import Reader


class ConcatenatedReader:
    """All parts of a file, in the format of the first; see `stemsplit.audio.readers.base.Reader`.

    Attributes:
        missing: the gap at the end of each joined file that ends too early.
        is_cut_off: whether one of the joined files ends too early by an unknown amount.
    """

    def __init__(self, path: Path, audio_track: str | None = None) -> None:
        """Find the parts of a file and open the first one that can be read.

        Args:
            path: the file, which is not empty.
            audio_track: see `stemsplit.audio.readers.track_selection.select_track`.

        Raises:
            BadInputError: if no part can be read, or there is no such track.
            OSError: if the file cannot be read.
        """
        self._path, self._audio_track = path, audio_track
        self._parts = find_parts(path)
        self._silences: list[Gap] = []
        self._notes: list[str] = []
        self.missing: list[Gap] = []
        self.is_cut_off = False
        self._reader = self._open_first()
        self._reader_start = 0
        self._is_reader_finished = False
        self.channels = self._reader.channels
        self.info = msgspec.structs.replace(self._reader.info, frames=self._expected_frames())
        self._format = StreamFormat(self.info.sample_rate, self.channels)
        self._yielded = self._first_pass_end = 0
        self._needs_second_pass = False

    def _open_first(self) -> Reader:
        """Open the first part that can be read, and drop those before it."""
        while True:
            try:
                return open_part(self._path, self._parts[0], self._audio_track)
            except BadInputError:
                if len(self._parts) == 1:
                    raise
                del self._parts[0]

    def _expected_frames(self) -> int | None:
        """Return the total number of frames; None if it is unknown before they are read."""
        info = self._reader.info
        if len(self._parts) == 1 and self._parts[0].counted_seconds is None:
            return info.frames
        total = Fraction()
        for part in self._parts:
            if part.counted_seconds is None:
                return None
            total += part.lost_seconds + part.counted_seconds
        return round(total * info.sample_rate)

    @property
    def silences(self) -> list[Gap]:
        """The silence in place of lost audio, in the blocks read so far."""
        if self._is_reader_finished:
            return self._silences
        current = (
            gap._replace(start=self._reader_start + gap.start) for gap in self._reader.silences
        )
        return [*self._silences, *(gap for gap in current if gap.start >= self._first_pass_end)]

    @property
    def notes(self) -> list[str]:
        """Notes about the file for the user, one sentence each."""
        current = () if self._is_reader_finished else self._reader.notes
        return list(dict.fromkeys([*self._notes, *current]))

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Reader.blocks`."""
        yield from self._read(self._parts, start)
        if self._needs_second_pass:
            # Read the file again in another way, and yield only what is new.
            self._first_pass_end = self._yielded
            self.missing, self.is_cut_off = [], False
            parts = find_parts(self._path, thorough=True)
            if parts == self._parts:
                parts = [replace(part, can_use_libsndfile=False) for part in parts]
            yield from self._read(parts, 0, is_second_pass=True)

    def _read(
        self, parts: Sequence[Part], start: int, *, is_second_pass: bool = False
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        rate = self.info.sample_rate
        max_frames = self._path.stat().st_size * MAX_FRAMES_PER_BYTE
        length = ExpectedLength(parts[0], 0, rate, max_frames)
        at = 0
        for index, part in enumerate(parts):
            if index and part.is_file_start:
                self._end_file(length, at)
                length = ExpectedLength(part, at, rate, max_frames)
            if (index or is_second_pass) and not self._open(part):
                length.add_unreadable(part)
                continue
            reader = self._reader
            lost = length.frames_lost_before(part, reader, at)
            for block in silence(lost, len(self.channels)):
                if at >= self._yielded:
                    add_gap(self._silences, at, len(block))
                yield from self._only_new(at, block)
                at += len(block)
            self._reader_start = part_start = at
            for offset, block in self._converted(part, start if len(parts) == 1 else 0, at):
                at = part_start + offset + len(block)
                yield from self._only_new(part_start + offset, block)
            self._finish_reader()
            length.add(part, reader, part_start, at)
            if not is_second_pass and _may_have_more(reader, at - part_start):
                self._needs_second_pass = True
                return
        self._end_file(length, at)

    def _open(self, part: Part) -> bool:
        """Replace the reader by one for `part`; return False if the part cannot be opened."""
        try:
            reader = open_part(self._path, part, self._audio_track)
        except BadInputError:
            return False
        self._reader.close()
        self._reader, self._is_reader_finished = reader, False
        return True

    def _only_new(
        self, at: int, block: NDArray[np.float32]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the frames of a block that were not yielded before, if any."""
        known = min(max(self._yielded - at, 0), len(block))
        if known < len(block):
            self._yielded = at + len(block)
            yield at + known, block[known:]

    def _converted(
        self, part: Part, start: int, at: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Read a part in the format of the first one, without encoder padding."""
        reader, offset = self._reader, 0
        source = StreamFormat(reader.info.sample_rate, reader.channels)
        seconds = part.counted_seconds
        end = None if seconds is None else round(seconds * source.sample_rate)
        blocks = _up_to(end, reader.blocks(start))
        if source == self._format:
            yield from blocks
            return
        if len(self._notes) < MAX_NOTES:
            seconds_before = at / self._format.sample_rate
            self._notes.append(
                format_change_note(self._path.name, self._format, source, seconds_before)
            )
        converter = FormatConverter(source, self._format)
        for _, block in blocks:
            converted = converter.push(block)
            yield offset, converted
            offset += len(converted)
        yield offset, converter.finish()

    def _finish_reader(self) -> None:
        """Store the silences and notes of the current reader before it is replaced."""
        self._silences, self._notes = self.silences, self.notes
        self._is_reader_finished = True

    def _end_file(self, length: ExpectedLength, at: int) -> None:
        """Note what is missing at the end of one of the joined files."""
        # Frames of the first pass count even if the second one cannot read them.
        at = max(at, self._yielded)
        missing = length.missing_frames(at)
        if missing > 0:
            self.missing.append(Gap(at, missing))
        self.is_cut_off = self.is_cut_off or length.is_cut_off

    def close(self) -> None:
        """See `Reader.close`."""
        self._reader.close()


def _up_to(
    end: int | None, blocks: Iterator[tuple[int, NDArray[np.float32]]]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield blocks up to the frame `end`; all of them if it is None."""
    for at, block in blocks:
        kept = block if end is None else block[: max(end - at, 0)]
        if len(kept):
            yield at, kept
        if len(kept) < len(block):
            return


def _may_have_more(reader: Reader, frames: int) -> bool:
    """Return whether a file may hold more than the `frames` that a reader found."""
    if reader.has_failed:
        return True
    expected = reader.info.frames
    is_short = (
        expected is not None and expected - frames > NEGLIGIBLE_SECONDS * reader.info.sample_rate
    )
    return isinstance(reader, SndfileReader) and is_short
