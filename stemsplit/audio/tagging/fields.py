"""Runs in both. The tag fields that are copied, and how each file type stores them.

Only these fields are copied. Everything that does not apply to a stem is left out: ReplayGain and
other loudness values, checksums, acoustic fingerprints, recording identifiers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mediafile
from mediafile import (
    ASFStorageStyle,
    ListMediaField,
    ListStorageStyle,
    MediaField,
    MP3ListStorageStyle,
    MP3SlashPackStorageStyle,
    MP3StorageStyle,
    MP4ListStorageStyle,
    MP4StorageStyle,
    MP4TupleStorageStyle,
    StorageStyle,
)

if TYPE_CHECKING:
    from typing import Self

FIELDS = {
    "title": "title",
    "artists": "artist",
    "albumartists": "album artist",
    "album": "album",
    "track": "track number",
    "disc": "disc number",
    "date": "date",
    "genres": "genre",
    "composers": "composer",
    "bpm": "tempo",
    "initial_key": "key",
    "comments": "comment",
    "images": "cover",
}
"""Fields that are copied, and their names for users."""


class _Pictures(mediafile.MP3ImageStorageStyle):  # type: ignore[misc]
    """Pictures in ID3 tags. mediafile alone would keep only one without a description."""

    def store(self, mutagen_file: Any, frames: list[Any]) -> None:  # noqa: ANN401 - any of mutagen's
        for number, frame in enumerate(frames):
            frame.salt = " " * number
        super().store(mutagen_file, frames)


class Fields(mediafile.MediaFile):  # type: ignore[misc]
    """The tags of one file, as attributes.

    Extends mediafile by lists of artists, album artists and composers, of which mediafile returns
    only the first, and by track and disc numbers as text, such as A1.
    """

    artists = ListMediaField(
        MP3ListStorageStyle("TPE1"),
        MP4ListStorageStyle("\xa9ART"),
        ListStorageStyle("ARTIST"),
        ASFStorageStyle("Author"),
    )
    albumartists = ListMediaField(
        MP3ListStorageStyle("TPE2"),
        MP4ListStorageStyle("aART"),
        ListStorageStyle("ALBUM ARTIST"),
        ListStorageStyle("ALBUM_ARTIST"),
        ListStorageStyle("ALBUMARTIST"),
        ASFStorageStyle("WM/AlbumArtist"),
    )
    composers = ListMediaField(
        MP3ListStorageStyle("TCOM"),
        MP4ListStorageStyle("\xa9wrt"),
        ListStorageStyle("COMPOSER"),
        ASFStorageStyle("WM/Composer"),
    )
    track = MediaField(
        MP3SlashPackStorageStyle("TRCK", pack_pos=0),
        MP4TupleStorageStyle("trkn", index=0),
        StorageStyle("TRACK"),
        StorageStyle("TRACKNUMBER"),
        ASFStorageStyle("WM/TrackNumber"),
    )
    disc = MediaField(
        MP3SlashPackStorageStyle("TPOS", pack_pos=0),
        MP4TupleStorageStyle("disk", index=0),
        StorageStyle("DISC"),
        StorageStyle("DISCNUMBER"),
        ASFStorageStyle("WM/PartOfSet"),
    )
    date_text = MediaField(
        MP3StorageStyle("TDRC"),
        MP4StorageStyle("\xa9day"),
        StorageStyle("DATE"),
        StorageStyle("YEAR"),
        ASFStorageStyle("WM/Year"),
    )
    images = ListMediaField(
        _Pictures(),
        mediafile.MP4ImageStorageStyle(),
        mediafile.ASFImageStorageStyle(),
        mediafile.VorbisImageStorageStyle(),
        mediafile.FlacImageStorageStyle(),
        mediafile.APEv2ImageStorageStyle(),
        out_type=mediafile.Image,
    )

    @classmethod
    def over(cls, mgfile: object) -> Self:
        """Return the fields of an opened file of mutagen, or of a class with the same name."""
        self = cls.__new__(cls)
        self.mgfile = mgfile
        return self

    def assign(self, name: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """Set a field to a value as in `stemsplit.audio.tagging.read_tags.ReadTags`.

        Raises:
            ValueError, TypeError, mutagen.MutagenError, struct.error: if this file type cannot
                store the value.
        """
        if name in {"track", "disc"}:
            number, total = value
            if number is not None:
                setattr(self, name, number)
            if total is not None:
                setattr(self, f"{name}total", total)
        elif name == "date":
            self.year, self.month, self.day = value
        else:
            setattr(self, name, value)

    def clear(self, name: str) -> None:
        """Remove a field that may be partly set."""
        totals = {"track": ("tracktotal",), "disc": ("disctotal",)}.get(name, ())
        for attribute in ("year",) if name == "date" else (*totals, name):
            delattr(self, attribute)
