"""Runs in both. All of a file: its parts one behind the other, at their time and in one form."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from stemsplit.audio.containers.find_parts import survey
from stemsplit.audio.data_loss import UNNOTICED_SECONDS, Silence, note_silence
from stemsplit.audio.readers.format_changes import Adapter, change_of
from stemsplit.audio.readers.open_part import open_part
from stemsplit.audio.readers.sndfile import SndfileReader
from stemsplit.audio.sample_blocks import silence
from stemsplit.core.audio_info import MOST_FRAMES_A_BYTE
from stemsplit.core.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.audio.containers.parts import Part
    from stemsplit.audio.readers import Reader

_MOST_GAP_SECONDS = 3600
"""A longer gap between parts is a clock that was set, and no loss."""

_MOST_LOST_FIRST_SECONDS = 30
"""A stream that begins later was not recorded from its beginning."""

_MOST_NOTES = 3


class JoinedReader:
    """All parts of a file, in the form of the first one; see `stemsplit.audio.readers.Reader`.

    Attributes:
        missing: where files within it end before they should, and how much is missing there.
        has_open_end: whether one ends before it should, and there is no telling how much later.
    """

    def __init__(self, path: Path, audio_track: str | None = None) -> None:
        """Find the parts of a file and open the first one that can be read.

        Args:
            path: the file, which is not empty.
            audio_track: see `stemsplit.audio.readers.track_selection.choose_track`.

        Raises:
            BadInputError: if no part can be read, or there is no such track.
            OSError: if the file cannot be read.
        """
        self._path, self._audio_track = path, audio_track
        self._parts = survey(path)
        self._silences: list[Silence] = []
        self._notes: list[str] = []
        self.missing: list[Silence] = []
        self.has_open_end = False
        self._reader = self._first_reader()
        self._reader_began = 0
        self.channels = self._reader.channels
        self.info = msgspec.structs.replace(self._reader.info, frames=self._expected_frames())
        self._is_kept = False
        self._given = self._resumed_at = 0
        self._gave_up = False

    def _first_reader(self) -> Reader:
        """Open the first part that can be read; those before it are nothing, or damage alone."""
        while True:
            try:
                return open_part(self._path, self._parts[0], self._audio_track)
            except BadInputError:
                if len(self._parts) == 1:
                    raise
                del self._parts[0]

    def _expected_frames(self) -> int | None:
        """Return how many frames there will be, as far as that is known before they are read."""
        info = self._reader.info
        if len(self._parts) == 1 and self._parts[0].seconds is None:
            return info.frames
        seconds = [part.seconds for part in self._parts]
        if None in seconds:
            return None
        whole = sum((part.lost_seconds + (part.seconds or 0) for part in self._parts), Fraction())
        return round(whole * info.sample_rate)

    @property
    def silences(self) -> list[Silence]:
        """Where silence stands in the place of what was lost, in what was read so far."""
        if self._is_kept:
            return self._silences
        current = (Silence(self._reader_began + at, count) for at, count in self._reader.silences)
        return [*self._silences, *(one for one in current if one.at >= self._resumed_at)]

    @property
    def notes(self) -> list[str]:
        """Sentences about the file that a person may want to read."""
        current = () if self._is_kept else self._reader.notes
        return list(dict.fromkeys([*self._notes, *current]))

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """See `Reader.blocks`."""
        yield from self._read(self._parts, start)
        if self._gave_up:
            # The same again in another way, of which only what is new is given.
            self._resumed_at = self._given
            self.missing, self.has_open_end = [], False
            parts = survey(self._path, thorough=True)
            if parts == self._parts:
                parts = [replace(part, is_for_libsndfile=False) for part in parts]
            yield from self._read(parts, 0, is_again=True)

    def _read(
        self, parts: Sequence[Part], start: int, *, is_again: bool = False
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        rate = self.info.sample_rate
        most = self._path.stat().st_size * MOST_FRAMES_A_BYTE
        file = _File(parts[0], 0, rate, most)
        at = 0
        for number, part in enumerate(parts):
            if number and part.begins_file:
                self._end(file, at)
                file = _File(part, at, rate, most)
            if (number or is_again) and not self._opens(part):
                file.lacks(part)
                continue
            reader = self._reader
            for block in silence(file.lost_before(part, reader, at), len(self.channels)):
                if at >= self._given:
                    note_silence(self._silences, at, len(block))
                yield from self._new(at, block)
                at += len(block)
            self._reader_began = began = at
            for inside, block in self._in_form(part, start if len(parts) == 1 else 0, at):
                at = began + inside + len(block)
                yield from self._new(began + inside, block)
            self._keep()
            file.holds(part, reader, began, at)
            if not is_again and _has_given_up(reader, at - began):
                self._gave_up = True
                return
        self._end(file, at)

    def _opens(self, part: Part) -> bool:
        try:
            reader = open_part(self._path, part, self._audio_track)
        except BadInputError:
            return False
        self._reader.close()
        self._reader, self._is_kept = reader, False
        return True

    def _new(
        self, at: int, block: NDArray[np.float32]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give what of a block was not given before."""
        known = min(max(self._given - at, 0), len(block))
        if known < len(block):
            self._given = at + len(block)
            yield at + known, block[known:]

    def _in_form(
        self, part: Part, start: int, at: int
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Read a part, in the form of the first one, and no longer than it is by its bytes."""
        reader, inside = self._reader, 0
        own = reader.info.sample_rate, reader.channels
        target = self.info.sample_rate, self.channels
        most = None if part.seconds is None else round(part.seconds * own[0])
        blocks = _until(reader.blocks(start), most)
        if own == target:
            yield from blocks
            return
        if len(self._notes) < _MOST_NOTES:
            self._notes.append(change_of(self._path.name, target, own, at / target[0]))
        adapter = Adapter(*own, *target)
        for _, block in blocks:
            converted = adapter.push(block)
            yield inside, converted
            inside += len(converted)
        yield inside, adapter.finish()

    def _keep(self) -> None:
        """Keep what a reader says before another one takes its place."""
        self._silences, self._notes = self.silences, self.notes
        self._is_kept = True

    def _end(self, file: _File, at: int) -> None:
        """Note what is missing at the end of a file."""
        at = max(at, self._given)  # what was given before counts where it cannot be read again
        missing = file.missing(at)
        if missing > 0:
            self.missing.append(Silence(at, missing))
        self.has_open_end = self.has_open_end or file.is_cut_off

    def close(self) -> None:
        """See `Reader.close`."""
        self._reader.close()


class _File:
    """One of the files that were joined: how long it should be.

    Args:
        part: its first one.
        began: the frame at which it begins.
        rate: of frames, in Hz.
        most: how many frames there can be at all; a header that declares more is believed nothing.
    """

    def __init__(self, part: Part, began: int, rate: int, most: int) -> None:
        self._began, self._rate = began, rate
        declared = (part.declared_seconds or 0.0) * rate
        self._declared = round(declared) if declared <= most else 0
        self._tolerated = round(part.tolerated_seconds * rate)
        self._expected = 0
        self._late = 0
        self._clock: Fraction | None = None
        self.is_cut_off = False

    def lost_before(self, part: Part, reader: Reader, at: int) -> int:
        """Return how many frames are lost between the part before and this one."""
        if part.ends_at is None or reader.info.frames is None:
            is_loss = part.lost_seconds <= _MOST_GAP_SECONDS
            return round(part.lost_seconds * self._rate) if is_loss else 0
        begins_at = part.ends_at - Fraction(reader.info.frames, reader.info.sample_rate)
        if self._clock is None:
            is_late = part.follows_loss and begins_at <= _MOST_LOST_FIRST_SECONDS
            self._clock = Fraction() if is_late else begins_at
        lost = round((begins_at - self._clock) * self._rate) - (at - self._began)
        return lost if 0 < lost <= _MOST_GAP_SECONDS * self._rate else 0

    def lacks(self, part: Part) -> None:
        """Take a part that cannot be read."""
        self._expected += round((part.seconds or 0) * self._rate)

    def holds(self, part: Part, reader: Reader, began: int, ended: int) -> None:
        """Take a part that was read from the frame `began` to the frame `ended`."""
        self.is_cut_off = self.is_cut_off or part.is_cut_off
        self._late = round(reader.late_seconds * self._rate)
        if part.seconds is None and reader.info.seconds is not None:
            end = began + int(reader.info.seconds * self._rate)
            if end - ended > reader.tolerated_seconds * self._rate:
                self._expected = max(self._expected, end - self._began)

    def missing(self, at: int) -> int:
        """Return how many frames are missing at its end, which is `at`."""
        length = at - self._began
        declared = self._declared - (self._late if self._tolerated else 0)
        if declared - length > self._tolerated:
            return max(declared, self._expected) - length
        return self._expected - length


def _until(
    blocks: Iterator[tuple[int, NDArray[np.float32]]], most: int | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Leave out what lies behind the end of a part: an encoder's padding."""
    for at, block in blocks:
        kept = block if most is None else block[: max(most - at, 0)]
        if len(kept):
            yield at, kept
        if len(kept) < len(block):
            return


def _has_given_up(reader: Reader, frames: int) -> bool:
    """Tell whether more may be had than a reader gave."""
    if reader.gave_up:
        return True
    expected = reader.info.frames
    is_short = (
        expected is not None and expected - frames > UNNOTICED_SECONDS * reader.info.sample_rate
    )
    return isinstance(reader, SndfileReader) and is_short
