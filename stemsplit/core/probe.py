"""Runs in the supervisor. What is known of an audio file before it is separated. Pure."""

from __future__ import annotations

import msgspec

from stemsplit.core.units import Count, Seconds

_BYTES_PER_SECOND = 44_100 * 4
"""Uncompressed CD audio, to estimate the duration of a file that does not declare one."""
_LOSSY_BYTES_PER_SECOND = 192_000 / 8
"""Compressed audio at 192 kbit/s, likewise."""
_FILM_BYTES_PER_SECOND = 500_000
"""A film at 4 Mbit/s, likewise."""


class Tags(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tags that a template of names can use; empty or None if the file lacks them."""

    title: str = ""
    artist: str = ""
    albumartist: str = ""
    album: str = ""
    genre: str = ""
    track: int | None = None
    disc: int | None = None
    year: int | None = None


class Probe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of probing one file, without decoding it.

    Attributes:
        size_bytes: size of the file.
        modified_ns: time of the last modification, in nanoseconds since 1970.
        seconds: duration; None if unknown.
        sample_rate: in Hz; None if unknown.
        tags: tags for names.
        is_film: whether the extension is that of a video format.
        is_lossy: whether the extension is that of a lossy format, to estimate the duration.
        is_other: MIME type of content that is not audio, such as `image/jpeg`; else empty.
        sample: hash of a sample of the content (`stemsplit.library.probe.sample_hash`); empty if
            unknown.
    """

    size_bytes: Count
    modified_ns: int
    seconds: Seconds | None = None
    sample_rate: Count | None = None
    tags: Tags = Tags()
    is_film: bool = False
    is_lossy: bool = False
    is_other: str = ""
    sample: bytes = b""

    @property
    def likely_seconds(self) -> float:
        """The duration, or an estimate from the size."""
        if self.seconds is not None:
            return self.seconds
        lossy = _LOSSY_BYTES_PER_SECOND if self.is_lossy else _BYTES_PER_SECOND
        return self.size_bytes / (_FILM_BYTES_PER_SECOND if self.is_film else lossy)
