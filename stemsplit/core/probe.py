"""What a probe of an audio file found, without decoding it. No I/O."""

from __future__ import annotations

import msgspec

from stemsplit.core.units import Count, Seconds

_BYTES_A_SECOND = 44_100 * 4
"""Of uncompressed music on a CD: a guess at the length of a file that does not say."""


_LOSSY_BYTES_A_SECOND = 192_000 / 8
"""Of what is compressed, at 192 kbit/s, likewise."""


_FILM_BYTES_A_SECOND = 500_000
"""Of a film at 4 Mbit/s, likewise."""


class Tags(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a file's tags a name can be made of; empty or None where it does not say."""

    title: str = ""
    artist: str = ""
    albumartist: str = ""
    album: str = ""
    genre: str = ""
    track: int | None = None
    disc: int | None = None
    year: int | None = None


class Probe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A first look into one file.

    Attributes:
        size_bytes: of the file.
        modified_ns: when it was last written to, in nanoseconds since 1970.
        seconds: duration; None where it was not found.
        sample_rate: in Hz; None likewise.
        tags: what the file is called.
        is_film: whether its name says that it is mostly picture.
        is_lossy: whether its name says that it is compressed, where nothing else tells its length.
        is_other: what it is instead, if its content is surely no sound: `image/jpeg`, ...
        sample: of its content, as `sample_of` returns it; empty where it is not known.
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
        """The duration, or a guess from the size."""
        if self.seconds is not None:
            return self.seconds
        lossy = _LOSSY_BYTES_A_SECOND if self.is_lossy else _BYTES_A_SECOND
        return self.size_bytes / (_FILM_BYTES_A_SECOND if self.is_film else lossy)
