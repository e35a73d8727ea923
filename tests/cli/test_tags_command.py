"""`stemsplit convert` on files with unusual tags; mutagen itself reads the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mutagen.id3
import pytest
from tagged_files import (
    flac_picture,
    info_list,
    m4a_with_a_bad_freeform_atom,
    picture,
    tagged_flac,
    tagged_mp3,
    tags_of,
    wav_with,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BROKEN_WEBP = b"RIFF\xd0\x07\0\0WEBPVP8 " + bytes(2000)


@pytest.mark.parametrize("stem_format", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_tags_are_copied_to_every_format(
    stemsplit: Callable[..., Any], tmp_path: Path, stem_format: str
) -> None:
    """All artists and both covers are copied; each file that lost a tag has one sentence."""
    front, back = picture("PNG"), picture("JPEG")
    tagged_flac(
        tmp_path / "two.flac",
        [flac_picture(front), flac_picture(back, picture_type=4)],
        title="Song",
        artist=["A", "B"],
        albumartist=["C", "D"],
        composer=["E", "F"],
        genre=["G", "H"],
        tracknumber="3/12",
    )
    m4a_with_a_bad_freeform_atom(tmp_path / "bad.m4a")
    wav_with(
        tmp_path / "info.wav", info_list((b"INAM", "Für".encode("cp1252")), (b"IART", b"Some\0"))
    )
    tagged_mp3(
        tmp_path / "webp.mp3",
        mutagen.id3.TIT2(encoding=3, text=["Song"]),
        mutagen.id3.APIC(encoding=3, mime="image/webp", type=3, desc="", data=BROKEN_WEBP),
    )
    tagged_mp3(
        tmp_path / "large.mp3",
        mutagen.id3.TIT2(encoding=3, text=["Large"]),
        mutagen.id3.APIC(encoding=3, mime="", type=3, desc="", data=picture("PNG", (2600, 2400))),
    )
    sources = ("two.flac", "bad.m4a", "info.wav", "webp.mp3", "large.mp3")
    result = stemsplit("convert", *sources, "-o", "out", "-f", stem_format)
    assert result.code == 0, result.err
    picture_types = (0, 0) if stem_format == "m4a" else (3, 4)
    assert tags_of(tmp_path / f"out/two.{stem_format}") == {
        "title": ["Song"],
        "artist": ["A", "B"],
        "albumartist": ["C", "D"],
        "composer": ["E", "F"],
        "genre": ["G", "H"],
        "track": "3/12",
        "pictures": [(picture_types[0], front), (picture_types[1], back)],
    }
    found = {
        name: tags_of(tmp_path / f"out/{name}.{stem_format}") for name in ("bad", "info", "webp")
    }
    assert {name: tags["title"] for name, tags in found.items()} == {
        "bad": ["Title"],
        "info": ["Für"],
        "webp": ["Song"],
    }
    assert (found["bad"]["artist"], found["info"]["artist"]) == (["One", "Two"], ["Some"])
    large: Any = tags_of(tmp_path / f"out/large.{stem_format}")["pictures"]
    assert len(large) == 1, "scaled down or unchanged, but not dropped"
    expected = [
        "note: “bad.m4a”: some of its tags are damaged and could not be read; others were kept."
    ]
    if stem_format == "m4a":
        expected.append(
            "note: “webp.mp3”: its cover (image/webp, which M4A cannot store, and it cannot be "
            "decoded) could not be copied; other tags were kept."
        )
    assert sorted(line for line in result.err.splitlines() if "could not be" in line) == expected


def test_file_names_use_riff_info_and_readable_tags(
    stemsplit: Callable[..., Any], tmp_path: Path
) -> None:
    """A file with damaged tags is named after its readable tags."""
    wav_with(tmp_path / "1.wav", info_list((b"INAM", b"Song\0"), (b"IART", b"Some\0")))
    m4a_with_a_bad_freeform_atom(tmp_path / "2.m4a")
    name = "{artist} - {title}.{ext}"
    result = stemsplit("convert", "1.wav", "2.m4a", "-o", "out", "--name", name)
    assert result.code == 0, result.err
    assert {path.name for path in (tmp_path / "out").glob("*.wav")} == {
        "Some - Song.wav",
        "One - Title.wav",
    }
