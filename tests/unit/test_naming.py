"""Templates to names: safe on every system, and never outside of the output folder."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.core.errors import UsageError
from stemsplit.core.probe import Tags
from stemsplit.library import naming
from stemsplit.library.naming import DEFAULT_NAME, Template, safe_name, same_place
from stemsplit.library.scan import Track

TAGS = Tags(
    title="So What", artist="AC/DC", album="Kind of: Blue", genre="Jazz", track=3, year=1959
)


def _name(template: str, path: str = "/m/a/song.flac", folder: str = "a", tags: Tags = TAGS) -> str:
    track = Track(path=Path(path), folder=Path(folder))
    files = Template.parse(template).files(track, tags, ["vocals"], model="2stems", ext="wav")
    return str(files["vocals"])


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (DEFAULT_NAME, "a/song/vocals.wav"),
        ("{filename}/{instrument}.{codec}", "song/vocals.wav"),
        ("{foldername}/{stem}/{track}.{ext}", "a/vocals/song.wav"),
        ("{artist}/{album}/{tracknumber} {stem}.{ext}", "AC_DC/Kind of_ Blue/03 vocals.wav"),
        ("{title} ({stem}).{ext}", "So What (vocals).wav"),
        ("{albumartist}/{year} {genre} {discnumber}/{stem}.{ext}", "AC_DC/1959 Jazz 0/vocals.wav"),
        ("{model}//{track}.{source_ext}/./{stem}.{ext}", "2stems/song.flac/vocals.wav"),
        ("{{{track}}}/{stem}.{ext}", "{song}/vocals.wav"),
    ],
)  # fmt: skip
def test_placeholders(template: str, expected: str) -> None:
    """Ours, those of tags, and Spleeter's."""
    assert _name(template) == expected


@pytest.mark.parametrize(
    ("path", "track"),
    [("/m/Symphony No. 5", "Symphony No. 5"), ("/m/a.b.MP3", "a.b"), ("/m/x.dat", "x.dat")],
)
def test_only_endings_of_music_are_cut(path: str, track: str) -> None:
    """A dot in a name is not the beginning of an ending."""
    assert _name("{track} {stem}.{ext}", path=path) == f"{track} vocals.wav"


def test_missing_tags_have_stand_ins() -> None:
    """A file without tags still gets a name, the same one every time."""
    name = _name("{artist}/{album}/{tracknumber} {title}/{stem}.{ext}", tags=Tags())
    assert name == "Unknown artist/Unknown album/00 song/vocals.wav"


def test_an_id_tells_files_apart_that_have_one_name() -> None:
    """It depends on the path alone."""
    one, other = (_name("{id}/{stem}.{ext}", path=path) for path in ("/a/x.wav", "/b/x.wav"))
    assert one != other
    assert one == _name("{id}/{stem}.{ext}", path="/a/x.wav")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{track}.{ext}", "same for every stem"),
        ("{stem}/{track}", "no ending"),
        ("../{stem}.{ext}", "upwards"),
        ("/music/{stem}.{ext}", "root"),
        ("C:/{stem}.{ext}", "root"),
        ("{artits}/{stem}.{ext}", "Did you mean {artist}"),
        ("{track.__class__}/{stem}.{ext}", "unknown"),
        ("{track!r}/{stem}.{ext}", "special form"),
        ("{tracknumber:03}/{stem}.{ext}", "special form"),
        ("{date}/{stem}.{ext}", "Did you mean {year}"),
        ("{}/{stem}.{ext}", "unknown"),
        ("{track/{stem}.{ext}", "cannot be read"),
        ("x{relpath}/{stem}.{ext}", "joined"),
        ("", "same for every stem"),
    ],
)
def test_templates_that_cannot_be(template: str, complaint: str) -> None:
    """Each is refused before any work, with what to write instead."""
    with pytest.raises(UsageError) as caught:
        Template.parse(template)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("AC/DC", "AC_DC"),
        ('a:b*c?d"e<f>g|h\\i', "a_b_c_d_e_f_g_h_i"),
        ("line\nbreak\x1b[2J\x7f\u2028", "line_break_[2J__"),
        (".hidden", "_hidden"),
        ("..", "__"),
        ("...", "___"),
        ("song.", "song_"),
        ("song . ", "song___"),
        ("CON", "CON_"),
        ("con.tar", "con_.tar"),
        ("LPT1", "LPT1_"),
        ("nul." + "x" * 251, "nul_." + "x" * 250),
        ("concert", "concert"),
        ("-rf", "-rf"),
        ("💃🏽 👩‍👩‍👧", "💃🏽 👩‍👩‍👧"),
        (os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe9")),
        ("", "_"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    """What some system cannot store becomes an underscore; all else stays."""
    assert safe_name(name) == safe


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_keep_their_unicode_form(form: str) -> None:
    """A name is found again as its owner typed it."""
    name = unicodedata.normalize(form, "Café Ängström")  # type: ignore[arg-type]
    assert _name(DEFAULT_NAME, path=f"/m/{name}.wav", folder=".") == f"{name}/vocals.wav"


def test_forms_and_cases_are_one_place() -> None:
    """Some file systems take them for the same, so they are never used for two tracks."""
    forms = {unicodedata.normalize(form, "É") for form in ("NFC", "NFD")} | {"é"}  # type: ignore[arg-type]
    assert len({same_place(Path(form)) for form in forms}) == 1


def test_long_names_are_cut_at_whole_characters() -> None:
    """255 bytes are the most; the stem and the ending are never what is cut."""
    long = "ä" * 125 + ".wav"
    (_, name) = Path(_name("{relpath}/{track} ({stem}).{ext}", path=f"/m/{long}")).parts
    assert len(os.fsencode(name)) <= 255
    assert name.endswith("ä (vocals).wav")
    assert len(name) > 120
    folder = "音" * 100  # as Windows and macOS allow, and not the output's file system
    (name, _, _) = Path(_name(DEFAULT_NAME, folder=folder)).parts
    assert name == "音" * 85
    exact = "x" * 251
    assert _name(DEFAULT_NAME, path=f"/m/{exact}.wav", folder=".") == f"{exact}/vocals.wav"


names = st.text(
    st.characters(codec=None, exclude_characters="/\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=300,
).filter(lambda name: name not in {".", ".."})


@given(name=names, value=st.text(max_size=300))
def test_nothing_leads_out_of_the_output_folder(name: str, value: str) -> None:
    """Whatever a file is called and whatever its tags say."""
    tags = Tags(artist=value, title=value, album=value, genre=value)
    template = "{relpath}/{artist}/{title}/{track} {genre} {album}/{stem}.{ext}"
    path = Path(_name(template, path=f"/m/{name}", folder=name, tags=tags))
    assert len(path.parts) == 5
    assert not path.is_absolute()
    assert not naming._is_reserved(path.name)
    for part in path.parts:
        assert part.strip(". ") == part.rstrip(". ").lstrip(" ")
        assert len(os.fsencode(part)) <= 255
        assert not set(part) & set('<>:"/\\|?*\0\n\r\t')
