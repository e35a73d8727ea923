"""Runs in both. The tags that are copied, and where each kind of file keeps them.

Only what is named here is copied. So what is no longer true of a stem stays behind: ReplayGain and
other loudness, checksums, acoustic fingerprints, identifiers of the recording.
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
"""The fields that are copied, and what a person calls each."""


class _Pictures(mediafile.MP3ImageStorageStyle):  # type: ignore[misc]
    """Pictures in ID3 tags, also several without a description; mediafile keeps one of those."""

    def store(self, mutagen_file: Any, frames: list[Any]) -> None:  # noqa: ANN401 - any of mutagen's
        """Put all pictures into the tags."""
        for number, frame in enumerate(frames):
            frame.salt = " " * number
        super().store(mutagen_file, frames)


class Fields(mediafile.MediaFile):  # type: ignore[misc]
    """The tags of one file, as attributes.

    Beside those of mediafile all artists, album artists and composers, where mediafile has the
    first alone, and numbers as text, since some are called A1.
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
        """Return the fields of what mutagen has opened already.

        Args:
            mgfile: one of mutagen's kinds of file, or a class of the same name.
        """
        self = cls.__new__(cls)
        self.mgfile = mgfile
        return self

    def assign(self, name: str, value: Any) -> None:  # noqa: ANN401 - of any field
        """Set one field, in the form that `stemsplit.audio.tagging.reader.ReadTags` has it.

        Raises:
            ValueError, TypeError, mutagen.MutagenError, struct.error: if this kind of file cannot
                hold the value.
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
        """Take back one field that was set in part."""
        more = {"track": ("tracktotal",), "disc": ("disctotal",)}.get(name, ())
        for one in ("year",) if name == "date" else (*more, name):
            delattr(self, one)
