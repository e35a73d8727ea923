"""Tags: a first look for plans, and from the source to the stems."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import mediafile
import mutagen.flac
import mutagen.id3
import numpy as np
import pytest
import soundfile

from stemsplit.audio.tagging.copy_tags import SourceTags
from stemsplit.core.probe import Probe, Tags
from stemsplit.library.probe import probe, sample_of, sounds

if TYPE_CHECKING:
    from pathlib import Path

SONG = np.random.default_rng(0).uniform(-0.5, 0.5, (44_100, 2)).astype(np.float32)


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0\xff\0\0")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    )


def _source(folder: Path, ext: str) -> Path:
    """Make a file with all that we copy, and with what must stay behind."""
    path = folder / f"song.{ext}"
    soundfile.write(path, SONG, 44_100)
    media = mediafile.MediaFile(path)
    media.title, media.artist, media.album = "So What", "Miles Davis", "Kind of Blue"
    media.track, media.tracktotal, media.year, media.genre = 1, 5, 1959, "Jazz"
    media.images = [mediafile.Image(data=_png(), type=mediafile.ImageType.front)]
    media.rg_track_gain, media.rg_track_peak = -7.5, 0.9
    media.acoustid_fingerprint, media.mb_trackid = "AQAD", "0000"
    media.save()
    return path


@pytest.mark.parametrize("ext", ["flac", "ogg", "mp3", "wav", "aiff"])
@pytest.mark.parametrize("stem_ext", ["wav", "flac"])
def test_tags_go_to_the_stems(tmp_path: Path, ext: str, stem_ext: str) -> None:
    """Title with the stem's name, cover and all; loudness and fingerprints stay behind."""
    source = _source(tmp_path, ext)
    stem = tmp_path / f"vocals.{stem_ext}"
    soundfile.write(stem, SONG, 44_100, subtype="PCM_24")
    before, _ = soundfile.read(stem, dtype="int32")
    assert SourceTags.of(source).write(stem, "vocals") == ""
    media = mediafile.MediaFile(stem)
    assert media.title == "So What (vocals)"
    assert (media.artist, media.album, media.genre) == ("Miles Davis", "Kind of Blue", "Jazz")
    assert (media.track, media.tracktotal, media.year) == (1, 5, 1959)
    assert [image.data for image in media.images] == [_png()]
    assert (media.acoustid_fingerprint, media.mb_trackid) == (None, None)
    names = " ".join(media.mgfile.tags.keys()).lower()
    assert "replaygain" not in names
    assert "acoustid" not in names
    after, rate = soundfile.read(stem, dtype="int32")
    assert rate == 44_100
    np.testing.assert_array_equal(after, before)


def test_a_float_wav_keeps_its_samples(tmp_path: Path) -> None:
    """Tags lie behind the samples and change none."""
    stem = tmp_path / "vocals.wav"
    soundfile.write(stem, SONG, 44_100, subtype="FLOAT")
    assert SourceTags.of(_source(tmp_path, "flac")).write(stem, "vocals") == ""
    read, _ = soundfile.read(stem, dtype="float32")
    np.testing.assert_array_equal(read, SONG)


def test_a_file_without_tags_gives_none(tmp_path: Path) -> None:
    """The stem is left byte for byte as it was."""
    soundfile.write(tmp_path / "song.wav", SONG, 44_100)
    stem = tmp_path / "vocals.wav"
    soundfile.write(stem, SONG, 44_100)
    before = stem.read_bytes()
    assert SourceTags.of(tmp_path / "song.wav").write(stem, "vocals") == ""
    assert stem.read_bytes() == before


def test_a_missing_title_is_the_name_of_the_file(tmp_path: Path) -> None:
    """So that players tell the stems apart."""
    source = _source(tmp_path, "flac")
    media = mediafile.MediaFile(source)
    media.title = None
    media.save()
    stem = tmp_path / "drums.flac"
    soundfile.write(stem, SONG, 44_100)
    SourceTags.of(source).write(stem, "drums")
    assert mediafile.MediaFile(stem).title == "song (drums)"


def test_a_container_that_takes_no_tags_is_told(tmp_path: Path) -> None:
    """RF64, what a WAV past 4 GiB is: whole all the same."""
    stem = tmp_path / "vocals.wav"
    soundfile.write(stem, SONG, 44_100, format="RF64")
    before = stem.read_bytes()
    tags = SourceTags.of(_source(tmp_path, "mp3"))
    assert tags.write(stem, "vocals") == (
        "“song.mp3”: what was made of it got no tags (a WAV file past 4 GiB holds none; --format "
        "flac does)."
    )
    assert tags.write(stem, "vocals") == "", "a track's stems have one sentence together"
    assert stem.read_bytes() == before


def test_a_stem_that_was_left_half_tagged_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up meanwhile must not leave a damaged file."""
    stem = tmp_path / "vocals.flac"
    soundfile.write(stem, SONG, 44_100)

    def fail(_self: object, filething: object = None, **_more: object) -> None:
        del filething
        stem.write_bytes(b"half")
        raise mutagen.MutagenError("No space left on device")

    tags = SourceTags.of(_source(tmp_path, "mp3"))
    monkeypatch.setattr(mutagen.flac.FLAC, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        tags.write(stem, "vocals")


@pytest.mark.parametrize("ext", ["flac", "ogg", "mp3", "wav", "aiff"])
def test_a_first_look(tmp_path: Path, ext: str) -> None:
    """Duration and names, without decoding."""
    path = _source(tmp_path, ext)
    look = probe(path, path.stat())
    assert look.seconds == pytest.approx(1.0, abs=0.1)
    assert look.tags == Tags(
        title="So What",
        artist="Miles Davis",
        album="Kind of Blue",
        genre="Jazz",
        track=1,
        year=1959,
    )
    assert look.size_bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("content", "other"),
    [
        (_png(), "image/png"),
        (b"PK\x03\x04" + b"\0" * 99, "application/zip"),
        (b"la la la", ""),
        (b"", ""),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", ""),
        (b"ID3\x04\0\0\x7f\x7f\x7f\x7f", ""),
        (b"fLaC\x80\xff\xff\xff", ""),
        (b"OggS" + b"\xff" * 99, ""),
    ],
)
def test_files_that_lie_or_are_damaged(tmp_path: Path, content: bytes, other: str) -> None:
    """Nothing is raised; what surely is no sound is named."""
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    look = probe(path, path.stat())
    assert (look.seconds, look.is_other) == (None, other)
    assert look.likely_seconds == len(content) / 176_400


def test_a_duration_that_is_not_known_is_guessed() -> None:
    """From the size, as if it were uncompressed."""
    assert Probe(size_bytes=176_400 * 60, modified_ns=0).likely_seconds == 60


def test_a_sample_sees_head_middle_and_tail(tmp_path: Path) -> None:
    """And the size; not every byte of a large file, since thousands of them are looked at."""
    path = tmp_path / "song.wav"
    content = bytearray(200_000)
    path.write_bytes(content)
    whole = sample_of(path)
    assert len(whole) == 16
    for at in (0, 16_000, 100_000, 199_999):
        content[at] = 1
        path.write_bytes(content)
        assert sample_of(path) != whole, at
        content[at] = 0
    path.write_bytes(content[:-1])
    assert sample_of(path) != whole
    path.write_bytes(content)
    assert sample_of(path) == whole == probe(path, path.stat()).sample
    assert sample_of(tmp_path / "absent") == b""


def test_sound_is_told_by_content(tmp_path: Path) -> None:
    """Whatever its name."""
    for ext in ("wav", "flac", "ogg", "mp3", "aiff"):
        soundfile.write(tmp_path / f"x.{ext}", SONG, 44_100)
        (tmp_path / f"x.{ext}").rename(tmp_path / "x")
        assert sounds(tmp_path / "x"), ext
    (tmp_path / "x").write_bytes(b"MThd\0\0\0\x06")
    assert not sounds(tmp_path / "x"), "notes are no sound"
    assert not sounds(tmp_path / "absent")
