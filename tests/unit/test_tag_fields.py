"""Tag fields: a damaged or oversized field is reported, and all others are kept."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

import mutagen.apev2
import mutagen.flac
import mutagen.id3
import mutagen.mp3
import mutagen.mp4
import mutagen.oggvorbis
import pytest
import soundfile
from audio_files import write_libav
from mutagen.id3 import APIC, TCON, TDRC, TIT2, TPE1, TRCK
from tagged_files import (
    SONG,
    flac_picture,
    info_list,
    m4a_with_a_bad_freeform_atom,
    picture,
    tagged_flac,
    tagged_m4a,
    tagged_mp3,
    tags_of,
    wav_with,
)

from stemsplit.audio.stem_writer import StemWriter
from stemsplit.audio.tagging.copy_tags import SourceTags, libav_metadata, unread_sentence
from stemsplit.audio.tagging.read_tags import read_tags
from stemsplit.audio.tagging.tag_values import clean_text, parse_number
from stemsplit.audio.write_format import WriteFormat
from stemsplit.core.settings import CONVERTED
from stemsplit.library.probe import probe_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.core.settings import StemFormat

FORMATS: tuple[StemFormat, ...] = ("wav", "flac", "mp3", "ogg", "opus", "m4a")


def _stem(
    folder: Path, stem_format: StemFormat, tags: SourceTags, name: str = "vocals"
) -> tuple[Path, str]:
    """Write a stem like a child, and return its path and the reported problem."""
    (folder / stem_format).mkdir(exist_ok=True)
    rate = 48_000 if stem_format == "opus" else 44_100
    form = WriteFormat(format=stem_format, sample_rate=rate)
    writer = StemWriter(
        folder / stem_format, name, form, expected_frames=len(SONG), channels=("FL", "FR")
    )
    writer.write(SONG)
    stem, problem = writer.finish(tags)
    return folder / stem_format / stem.file_name, problem


def _values(path: Path) -> tuple[dict[str, Any], str]:
    read = read_tags(path, libav_metadata)
    return dict(read.values), unread_sentence(read, path.name)


@pytest.mark.parametrize("stem_format", FORMATS)
def test_all_values_of_a_field_are_kept(tmp_path: Path, stem_format: StemFormat) -> None:
    """Artists, album artists, composers and genres; two covers with their types."""
    front, back = picture("PNG"), picture("JPEG")
    source = tagged_flac(
        tmp_path / "a.flac",
        [flac_picture(front), flac_picture(back, picture_type=4)],
        title="Song",
        artist=["A", "B"],
        albumartist=["C", "D"],
        composer=["E", "F"],
        genre=["G", "H"],
        tracknumber="3",
        tracktotal="12",
    )
    file, problem = _stem(tmp_path, stem_format, SourceTags.of(source))
    kinds = (0, 0) if stem_format == "m4a" else (3, 4)
    assert problem == ""
    assert tags_of(file) == {
        "title": ["Song (vocals)"],
        "artist": ["A", "B"],
        "albumartist": ["C", "D"],
        "composer": ["E", "F"],
        "genre": ["G", "H"],
        "track": "3/12",
        "pictures": [(kinds[0], front), (kinds[1], back)],
    }
    values, problem = _values(file)
    assert (values["artists"], values["genres"], problem) == (["A", "B"], ["G", "H"], "")


@pytest.mark.parametrize("stem_format", FORMATS)
def test_only_an_unusable_cover_is_dropped(tmp_path: Path, stem_format: StemFormat) -> None:
    """One sentence for all stems names the source and the field."""
    source = tagged_mp3(
        tmp_path / "a.mp3",
        TIT2(encoding=3, text=["Song"]),
        TPE1(encoding=3, text=["Some"]),
        APIC(encoding=3, mime="", type=3, desc="", data=b"no picture"),
    )
    tags = SourceTags.of(source)
    file, problem = _stem(tmp_path, stem_format, tags)
    assert problem == (
        "“a.mp3”: its cover (not a picture of a known type, and it cannot be decoded) could "
        "not be copied; other tags were kept."
    )
    found = tags_of(file)
    assert (found["title"], found["artist"]) == (["Song (vocals)"], ["Some"])
    assert found["pictures"] == []
    assert _stem(tmp_path, stem_format, tags, "drums")[1] == ""


def test_a_track_number_that_is_not_numeric_is_kept_if_possible(tmp_path: Path) -> None:
    """Sides of records have numbers such as A1; M4A stores only integers."""
    source = tagged_mp3(
        tmp_path / "a.mp3", TIT2(encoding=3, text=["Song"]), TRCK(encoding=3, text=["A1"])
    )
    tags = SourceTags.of(source)
    for stem_format in FORMATS:
        file, problem = _stem(tmp_path, stem_format, tags)
        assert tags_of(file)["track"] == ("" if stem_format == "m4a" else "A1")
        assert ("its track number" in problem) == (stem_format == "m4a")
    assert probe_file(source, source.stat()).tags.track is None


def test_one_unusable_cover_of_two_is_dropped(tmp_path: Path) -> None:
    """The other one is copied."""
    pictures = [flac_picture(b"no picture"), flac_picture(picture("PNG"), picture_type=4)]
    source = tagged_flac(tmp_path / "a.flac", pictures)
    file, problem = _stem(tmp_path, "mp3", SourceTags.of(source), CONVERTED)
    assert tags_of(file)["pictures"] == [(4, picture("PNG"))]
    assert "its cover (not a picture" in problem


def test_a_dropped_field_may_be_the_only_one(tmp_path: Path) -> None:
    """The sentence does not mention other tags."""
    source = tagged_flac(tmp_path / "a.flac", tracknumber="A1")
    _, problem = _stem(tmp_path, "m4a", SourceTags.of(source), CONVERTED)
    assert problem == "“a.flac”: its track number (M4A cannot store it) could not be copied."


def test_a_probe_never_raises(tmp_path: Path) -> None:
    """Neither for absurd numbers nor for a deleted file."""
    path = tagged_flac(tmp_path / "a.flac", title="Title", tracknumber="9" * 5000)
    status = path.stat()
    probe = probe_file(path, status)
    assert (probe.tags.title, probe.tags.track, probe.seconds) == ("Title", None, 1.0)
    path.unlink()
    assert probe_file(path, status).tags.title == ""


def test_a_field_that_is_refused_on_saving_is_dropped(tmp_path: Path) -> None:
    """The comments of a FLAC file store at most 16 MiB, which is checked on saving."""
    source = tagged_mp3(
        tmp_path / "a.mp3",
        TIT2(encoding=3, text=["Song"]),
        TPE1(encoding=3, text=["x" * 2**24]),
        TCON(encoding=3, text=["Jazz"]),
        APIC(encoding=3, mime="image/png", type=3, desc="", data=picture("PNG")),
    )
    file, problem = _stem(tmp_path, "flac", SourceTags.of(source))
    assert problem == (
        "“a.mp3”: its artist (FLAC cannot store it) could not be copied; other tags were kept."
    )
    found = tags_of(file)
    assert (found["title"], found["genre"], found["artist"]) == (["Song (vocals)"], ["Jazz"], None)
    assert found["pictures"] == [(3, picture("PNG"))]


@pytest.mark.parametrize("stem_format", FORMATS)
def test_a_title_of_a_mebibyte_is_copied(tmp_path: Path, stem_format: StemFormat) -> None:
    """Every format can store it."""
    source = tagged_flac(tmp_path / "a.flac", title="T" * 2**20)
    file, problem = _stem(tmp_path, stem_format, SourceTags.of(source))
    assert (tags_of(file)["title"], problem) == (["T" * 2**20 + " (vocals)"], "")


def test_only_an_invalid_mp4_atom_is_lost(tmp_path: Path) -> None:
    """For copying as well as for probing."""
    path = m4a_with_a_bad_freeform_atom(tmp_path / "a.m4a")
    with pytest.raises(mutagen.MutagenError):
        mutagen.File(path)
    values, problem = _values(path)
    assert values == {"title": "Title", "artists": ["One", "Two"], "track": ("3", 12)}
    assert problem == (
        "“a.m4a”: some of its tags are damaged and could not be read; others were kept."
    )
    probe = probe_file(path, path.stat())
    assert (probe.tags.title, probe.tags.artist, probe.tags.track) == ("Title", "One", 3)
    assert probe.seconds == pytest.approx(1.0, abs=0.1)


def test_only_an_invalid_flac_picture_is_lost(tmp_path: Path) -> None:
    """With mutagen alone, the artists would be lost as well."""
    path = tagged_flac(
        tmp_path / "a.flac",
        [flac_picture(picture("PNG")), flac_picture(b"x" * 99, mime="image/odd")],
        artist=["A", "B"],
    )
    data = path.read_bytes()
    at = data.index(b"image/odd") - 4
    path.write_bytes(data[:at] + struct.pack(">I", 2**31) + data[at + 4 :])
    with pytest.raises(mutagen.MutagenError):
        mutagen.File(path)
    values, problem = _values(path)
    assert values["artists"] == ["A", "B"]
    assert [image.data for image in values["images"]] == [picture("PNG")]
    assert "some of its tags are damaged" in problem


@pytest.mark.parametrize(
    "make",
    [
        lambda path: soundfile.write(path.with_suffix(".wav"), SONG, 44_100),
        lambda path: soundfile.write(path.with_suffix(".flac"), SONG, 44_100),
        lambda path: soundfile.write(path.with_suffix(".mp3"), SONG, 44_100),
        lambda path: soundfile.write(path.with_suffix(".ogg"), SONG, 44_100),
        lambda path: soundfile.write(path.with_suffix(".aiff"), SONG, 44_100),
        lambda path: soundfile.write(path.with_suffix(".caf"), SONG, 44_100),
        lambda path: soundfile.write(path.with_suffix(".au"), SONG, 44_100),
        lambda path: soundfile.write(path.with_suffix(".w64"), SONG, 44_100),
        lambda path: write_libav(path.with_suffix(".m4a"), SONG, "aac"),
        lambda path: write_libav(path.with_suffix(".mka"), SONG, "flac"),
        lambda path: write_libav(path.with_suffix(".wma"), SONG, "wmav2", bit_rate=128_000),
        lambda path: write_libav(path.with_suffix(".tta"), SONG, "tta"),
        lambda path: write_libav(path.with_suffix(".wv"), SONG, "wavpack"),
        lambda path: path.with_suffix(".wav").write_bytes(b"RIFF\0\0\0\0WAVE"),
        lambda path: path.with_suffix(".mp3").write_bytes(b"la la la"),
        lambda path: path.with_suffix(".mp3").write_bytes(b""),
    ],
)
def test_a_file_without_tags_is_not_reported(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    """There are neither values nor sentences."""
    make(tmp_path / "a")
    (path,) = tmp_path.iterdir()
    assert _values(path) == ({}, "")


@pytest.mark.parametrize("ext", ["mka", "wma", "caf", "au", "tta", "wv", "mov", "avi"])
def test_ffmpeg_reads_tags_of_containers_unknown_to_mutagen(tmp_path: Path, ext: str) -> None:
    """The values are the same as for other containers."""
    import av

    codecs = {"mka": "flac", "wma": "wmav2", "tta": "tta", "wv": "wavpack", "mov": "aac"}
    plain, path = tmp_path / f"plain.{ext}", tmp_path / f"a.{ext}"
    codec = codecs.get(ext, "pcm_s16be" if ext in {"caf", "au"} else "pcm_s16le")
    write_libav(plain, SONG, codec, bit_rate=128_000 if ext == "wma" else 0)
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = source.streams.audio[0]
        copy = target.add_stream_from_template(stream)
        target.metadata.update({"title": "Title", "artist": "Some"})
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    values, problem = _values(path)
    assert (values["title"], values["artists"], problem) == ("Title", ["Some"], "")


def test_id3_and_ape_tags_that_mutagen_ignores_are_read(tmp_path: Path) -> None:
    """APE tags after an MP3, also if ID3 tags lack a field; ID3 tags before FLAC."""
    path = tagged_mp3(tmp_path / "a.mp3", TIT2(encoding=3, text=["Title"]))
    ape = mutagen.apev2.APEv2()
    ape["Title"], ape["Artist"], ape["REPLAYGAIN_TRACK_GAIN"] = "Another", ["A", "B"], "-7 dB"
    ape.save(path)
    assert _values(path) == ({"title": "Title", "artists": ["A", "B"]}, "")
    mutagen.id3.delete(path)
    assert _values(path) == ({"title": "Another", "artists": ["A", "B"]}, "")
    assert probe_file(path, path.stat()).tags.artist == "A"
    flac = tagged_flac(tmp_path / "a.flac", artist="A")
    id3 = mutagen.id3.ID3()
    id3.add(TIT2(encoding=3, text=["Title"]))
    id3.save(tmp_path / "tag")
    flac.write_bytes((tmp_path / "tag").read_bytes() + flac.read_bytes())
    assert _values(flac) == ({"title": "Title", "artists": ["A"]}, "")


def test_old_id3_versions_are_read(tmp_path: Path) -> None:
    """ID3v1 alone, and ID3v2.2 with its own picture format."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, SONG, 44_100)
    plain = path.read_bytes()
    fields = b"Title".ljust(30, b"\0"), b"Some".ljust(30, b"\0"), b"Album".ljust(30, b"\0")
    path.write_bytes(plain + b"TAG" + b"".join(fields) + b"1999" + bytes(28) + b"\0\7" + b"\x08")
    assert _values(path) == (
        {
            "title": "Title",
            "artists": ["Some"],
            "album": "Album",
            "date": (1999, None, None),
            "track": ("7", None),
            "genres": ["Jazz"],
        },
        "",
    )
    cover = picture("PNG")
    frames = b""
    for name, body in ((b"TT2", b"\0Title\0"), (b"PIC", b"\0PNG\x04\0" + cover)):
        frames += name + struct.pack(">I", len(body))[1:] + body
    size = len(frames)
    sizes = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\2\0\0" + sizes + frames + plain)
    values, problem = _values(path)
    assert (values["title"], problem) == ("Title", "")
    assert [(image.type.value, image.data) for image in values["images"]] == [(4, cover)]


@pytest.mark.parametrize(
    ("text", "date", "expected"),
    [
        ("0000", None, ""),
        ("", None, ""),
        ("1959", (1959, None, None), ""),
        ("2004-13-45", (2004, 13, 45), ""),
        ("2004-03-17T10:00:00", (2004, 3, 17), ""),
        ("some time", None, "“a.flac”: its date could not be read; other tags were kept."),
        ("9" * 5000, None, "“a.flac”: its date could not be read; other tags were kept."),
    ],
)
def test_unusual_dates_are_copied_or_reported(
    tmp_path: Path, text: str, date: tuple[int, int | None, int | None] | None, expected: str
) -> None:
    """Incomplete dates are copied; unreadable ones are reported."""
    path = tagged_flac(tmp_path / "a.flac", title="Title", date=text)
    values, problem = _values(path)
    assert (values.get("date"), problem) == (date, expected)
    for stem_format in FORMATS:
        _, problem = _stem(tmp_path, stem_format, SourceTags.of(path))
        assert problem == expected


@pytest.mark.parametrize(
    ("text", "total", "number"),
    [
        ("3", None, ("3", None)),
        ("03/12", None, ("3", 12)),
        (" 3 / 12 ", None, ("3", 12)),
        ("3/12", 9, ("3", 9)),
        ("/12", None, (None, 12)),
        ("A1", 12, ("A1", 12)),
        ("-1", None, ("-1", None)),
        ("0", 0, None),
        ("", None, None),
        (None, None, None),
        ("9" * 5000, None, ("9" * 5000, None)),
    ],
)
def test_track_numbers_are_parsed(
    text: str | None, total: int | None, number: tuple[str | None, int | None] | None
) -> None:
    """`3/12` contains number and total, also in formats with separate fields."""
    assert parse_number(text, total) == number


@pytest.mark.parametrize("stem_format", FORMATS)
def test_nul_bytes_and_lone_surrogates_are_replaced(
    tmp_path: Path, stem_format: StemFormat
) -> None:
    """They neither raise nor end a text."""
    assert clean_text("a\0\ud800b\0") == "a \ufffdb"
    tags = SourceTags({"title": clean_text("a\0\ud800b\0"), "artists": ["A", "B"]}, "song")
    file, problem = _stem(tmp_path, stem_format, tags)
    assert (tags_of(file)["title"], problem) == (["a \ufffdb (vocals)"], "")


def test_nul_bytes_separate_artists(tmp_path: Path) -> None:
    """Some programs write them outside ID3v2.4 as well."""
    path = tagged_m4a(tmp_path / "a.m4a", ART=["A\0B"], nam=["Title\0"])
    assert _values(path) == ({"artists": ["A", "B"], "title": "Title"}, "")


SIZES: dict[str, tuple[tuple[bytes, int, int], ...]] = {
    "mp3": (
        (b"ID3", 3, 10),
        (b"TIT2", 4, 10),
        (b"TPE1", 4, 10),
        (b"TDRC", 4, 10),
        (b"APIC", 4, 10),
    ),
    "ape": ((b"APETAGEX", 8, 24), (b"Title\0", -8, 0), (b"Artist\0", -8, 0), (b"Year\0", -8, 0)),
    "flac": (
        (b"title=", -4, 0),
        (b"artist=", -4, 0),
        (b"date=", -4, 0),
        (b"image/png", -12, 0),
        (b"image/png", 9, 33),
    ),
    "ogg": ((b"title=", -4, 0), (b"artist=", -4, 0), (b"date=", -4, 0)),
    "m4a": (
        (b"moov", -4, 0),
        (b"udta", -4, 0),
        (b"meta", -4, 0),
        (b"ilst", -4, 0),
        (b"\xa9nam", -4, 0),
        (b"\xa9ART", -4, 0),
        (b"\xa9day", -4, 0),
        (b"covr", -4, 0),
        (b"\xa9nam", 4, 8),
        (b"covr", 4, 8),
    ),
    "wav": ((b"LIST", 4, 8), (b"INAM", 4, 8), (b"IART", 4, 8), (b"ICRD", 4, 8)),
}
"""Position of the sizes and flags of tags: first and last byte, relative to each key."""


def _positions(data: bytes, kind: str) -> list[int]:
    found: list[int] = []
    for key, start, end in SIZES[kind]:
        at = data.find(key)
        while at >= 0:
            found += range(at + start, min(at + end, len(data)))
            at = data.find(key, at + 1)
    return found


def _tagged(path: Path, kind: str) -> Path:
    file = path / f"a.{'mp3' if kind == 'ape' else kind}"
    tags: dict[str, str | list[str]] = {"title": "Title", "artist": ["A", "B"], "date": "1999"}
    if kind == "mp3":
        cover = APIC(encoding=3, mime="image/png", type=3, desc="", data=picture("PNG"))
        frames = (TIT2(encoding=3, text=["Title"]), TPE1(encoding=3, text=["A", "B"]))
        return tagged_mp3(file, *frames, TDRC(encoding=3, text=["1999"]), cover)
    if kind == "ape":
        soundfile.write(file, SONG, 44_100)
        ape = mutagen.apev2.APEv2()
        ape["Title"], ape["Artist"], ape["Year"] = "Title", ["A", "B"], "1999"
        ape.save(file)
        return file
    if kind == "flac":
        return tagged_flac(file, [flac_picture(picture("PNG"))], **tags)
    if kind == "ogg":
        soundfile.write(file, SONG, 44_100)
        ogg = mutagen.oggvorbis.OggVorbis(file)
        ogg.update(tags)
        ogg.save()
        return file
    if kind == "wav":
        texts = ((b"INAM", b"Title\0"), (b"IART", b"A\0"), (b"ICRD", b"1999\0"))
        return wav_with(file, info_list(*texts))
    covers = [mutagen.mp4.MP4Cover(picture("PNG"), mutagen.mp4.MP4Cover.FORMAT_PNG)]
    return tagged_m4a(file, nam=["Title"], ART=["A", "B"], day=["1999"], covr=covers)


@pytest.mark.parametrize("kind", list(SIZES))
def test_damaged_tags_never_raise_and_are_always_reported(tmp_path: Path, kind: str) -> None:
    """400 files of each type with wrong sizes or flags report all missing fields."""
    path = _tagged(tmp_path, kind)
    intact, problem = _values(path)
    assert (intact["title"], problem) == ("Title", "")
    data = path.read_bytes()
    positions = _positions(data, kind)
    draws = random.Random(kind)  # noqa: S311 - the same files each time
    silent = []
    reported = 0
    for _ in range(400):
        broken = bytearray(data)
        at = draws.choice(positions)
        broken[at] = draws.choice([0, 1, 127, 128, 255, broken[at] ^ 1, (broken[at] + 1) % 256])
        path.write_bytes(broken)
        values, problem = _values(path)
        probe_file(path, path.stat())
        reported += bool(problem)
        missing = intact.keys() - values.keys()
        if missing and not problem:
            silent.append((data[at - 6 : at + 6], at, broken[at], sorted(missing)))
    assert silent == []
    assert reported >= 20, "some of the files must be damaged"
