"""Tags: probing files, and copying tags from a source to its stems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mediafile
import mutagen.flac
import mutagen.id3
import numpy as np
import pytest
import soundfile
from tagged_files import SONG, picture

from stemsplit.audio.tagging.copy_tags import SourceTags
from stemsplit.core.probe import Probe, Tags
from stemsplit.library.probe import has_media_head, probe_file, sample_hash

if TYPE_CHECKING:
    from pathlib import Path

COVER = picture("PNG")


def _source(folder: Path, ext: str) -> Path:
    """Write a file with all fields that are copied and some that must not be."""
    path = folder / f"song.{ext}"
    soundfile.write(path, SONG, 44_100)
    media = mediafile.MediaFile(path)
    media.title, media.artist, media.album = "So What", "Miles Davis", "Kind of Blue"
    media.track, media.tracktotal, media.year, media.genre = 1, 5, 1959, "Jazz"
    media.images = [mediafile.Image(data=COVER, type=mediafile.ImageType.front)]
    media.rg_track_gain, media.rg_track_peak = -7.5, 0.9
    media.acoustid_fingerprint, media.mb_trackid = "AQAD", "0000"
    media.save()
    return path


@pytest.mark.parametrize("ext", ["flac", "ogg", "mp3", "wav", "aiff"])
@pytest.mark.parametrize("stem_ext", ["wav", "flac"])
def test_tags_are_copied_to_the_stems(tmp_path: Path, ext: str, stem_ext: str) -> None:
    """The title gets the name of the stem; loudness and fingerprints are not copied."""
    source = _source(tmp_path, ext)
    stem = tmp_path / f"vocals.{stem_ext}"
    soundfile.write(stem, SONG, 44_100, subtype="PCM_24")
    before, _ = soundfile.read(stem, dtype="int32")
    assert SourceTags.of(source).write(stem, "vocals") == ""
    media = mediafile.MediaFile(stem)
    assert media.title == "So What (vocals)"
    assert (media.artist, media.album, media.genre) == ("Miles Davis", "Kind of Blue", "Jazz")
    assert (media.track, media.tracktotal, media.year) == (1, 5, 1959)
    assert [image.data for image in media.images] == [COVER]
    assert (media.acoustid_fingerprint, media.mb_trackid) == (None, None)
    names = " ".join(media.mgfile.tags.keys()).lower()
    assert "replaygain" not in names
    assert "acoustid" not in names
    after, rate = soundfile.read(stem, dtype="int32")
    assert rate == 44_100
    np.testing.assert_array_equal(after, before)


def test_a_float_wav_keeps_its_samples(tmp_path: Path) -> None:
    """Tags are written after the samples and change none of them."""
    stem = tmp_path / "vocals.wav"
    soundfile.write(stem, SONG, 44_100, subtype="FLOAT")
    assert SourceTags.of(_source(tmp_path, "flac")).write(stem, "vocals") == ""
    read, _ = soundfile.read(stem, dtype="float32")
    np.testing.assert_array_equal(read, SONG)


def test_a_source_without_tags_leaves_the_stem_unchanged(tmp_path: Path) -> None:
    """Not one byte of the file changes."""
    soundfile.write(tmp_path / "song.wav", SONG, 44_100)
    stem = tmp_path / "vocals.wav"
    soundfile.write(stem, SONG, 44_100)
    before = stem.read_bytes()
    assert SourceTags.of(tmp_path / "song.wav").write(stem, "vocals") == ""
    assert stem.read_bytes() == before


def test_a_missing_title_is_replaced_by_the_file_name(tmp_path: Path) -> None:
    """Players can then distinguish the stems."""
    source = _source(tmp_path, "flac")
    media = mediafile.MediaFile(source)
    media.title = None
    media.save()
    stem = tmp_path / "drums.flac"
    soundfile.write(stem, SONG, 44_100)
    SourceTags.of(source).write(stem, "drums")
    assert mediafile.MediaFile(stem).title == "song (drums)"


def test_a_container_without_tags_is_reported(tmp_path: Path) -> None:
    """An RF64 file, used for a WAV above 4 GiB, stays intact."""
    stem = tmp_path / "vocals.wav"
    soundfile.write(stem, SONG, 44_100, format="RF64")
    before = stem.read_bytes()
    tags = SourceTags.of(_source(tmp_path, "mp3"))
    assert tags.write(stem, "vocals") == (
        "“song.mp3”: its tags could not be copied (a WAV file above 4 GiB cannot store tags; "
        "--format flac can)."
    )
    assert tags.write(stem, "vocals") == "", "reported once for all stems of a track"
    assert stem.read_bytes() == before


def test_a_partly_tagged_stem_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while tags are written must not leave a damaged file."""
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
def test_a_probe_reads_duration_and_tags(tmp_path: Path, ext: str) -> None:
    """It does not decode audio."""
    path = _source(tmp_path, ext)
    probe = probe_file(path, path.stat())
    assert probe.seconds == pytest.approx(1.0, abs=0.1)
    assert probe.tags == Tags(
        title="So What",
        artist="Miles Davis",
        album="Kind of Blue",
        genre="Jazz",
        track=1,
        year=1959,
    )
    assert probe.size_bytes == path.stat().st_size


@pytest.mark.parametrize(
    ("content", "other"),
    [
        (COVER, "image/png"),
        (b"PK\x03\x04" + b"\0" * 99, "application/zip"),
        (b"la la la", ""),
        (b"", ""),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", ""),
        (b"ID3\x04\0\0\x7f\x7f\x7f\x7f", ""),
        (b"fLaC\x80\xff\xff\xff", ""),
        (b"OggS" + b"\xff" * 99, ""),
    ],
)
def test_a_probe_of_damaged_files_raises_nothing(
    tmp_path: Path, content: bytes, other: str
) -> None:
    """Files that are certainly not audio get their type."""
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    probe = probe_file(path, path.stat())
    assert (probe.seconds, probe.is_other) == (None, other)
    assert probe.likely_seconds == len(content) / 176_400


def test_an_unknown_duration_is_estimated() -> None:
    """The estimate assumes uncompressed audio of that size."""
    assert Probe(size_bytes=176_400 * 60, modified_ns=0).likely_seconds == 60


def test_a_sample_hash_covers_head_middle_tail_and_size(tmp_path: Path) -> None:
    """It does not read every byte, because thousands of files are probed."""
    path = tmp_path / "song.wav"
    content = bytearray(200_000)
    path.write_bytes(content)
    expected = sample_hash(path)
    assert len(expected) == 16
    for at in (0, 16_000, 100_000, 199_999):
        content[at] = 1
        path.write_bytes(content)
        assert sample_hash(path) != expected, at
        content[at] = 0
    path.write_bytes(content[:-1])
    assert sample_hash(path) != expected
    path.write_bytes(content)
    assert sample_hash(path) == expected == probe_file(path, path.stat()).sample
    assert sample_hash(tmp_path / "absent") == b""


def test_audio_is_detected_by_content(tmp_path: Path) -> None:
    """The file name does not matter."""
    for ext in ("wav", "flac", "ogg", "mp3", "aiff"):
        soundfile.write(tmp_path / f"x.{ext}", SONG, 44_100)
        (tmp_path / f"x.{ext}").rename(tmp_path / "x")
        assert has_media_head(tmp_path / "x"), ext
    (tmp_path / "x").write_bytes(b"MThd\0\0\0\x06")
    assert not has_media_head(tmp_path / "x"), "MIDI is not audio"
    assert not has_media_head(tmp_path / "absent")
