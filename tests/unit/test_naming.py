"""Names of stems from templates: valid on every system and inside the output folder."""

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
from stemsplit.library.naming import DEFAULT_NAME, Template, path_key, safe_name
from stemsplit.library.tracks import Track

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
    """They stand for parts of paths, tags and settings; Spleeter's names are accepted too."""
    assert _name(template) == expected


@pytest.mark.parametrize(
    ("path", "track"),
    [("/m/Symphony No. 5", "Symphony No. 5"), ("/m/a.b.MP3", "a.b"), ("/m/x.dat", "x.dat")],
)
def test_only_extensions_of_audio_are_removed(path: str, track: str) -> None:
    """A dot in a name need not begin an extension."""
    assert _name("{track} {stem}.{ext}", path=path) == f"{track} vocals.wav"


def test_missing_tags_have_default_values() -> None:
    """A file without tags always gets the same name."""
    name = _name("{artist}/{album}/{tracknumber} {title}/{stem}.{ext}", tags=Tags())
    assert name == "Unknown artist/Unknown album/00 song/vocals.wav"


def test_an_id_distinguishes_files_with_the_same_name() -> None:
    """It depends only on the path."""
    first, second = (_name("{id}/{stem}.{ext}", path=path) for path in ("/a/x.wav", "/b/x.wav"))
    assert first != second
    assert first == _name("{id}/{stem}.{ext}", path="/a/x.wav")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{track}.{ext}", "same for every stem"),
        ("{stem}/{track}", "no extension"),
        ("../{stem}.{ext}", "contains “..”"),
        ("/music/{stem}.{ext}", "absolute"),
        ("C:/{stem}.{ext}", "absolute"),
        ("{artits}/{stem}.{ext}", "Did you mean {artist}"),
        ("{track.__class__}/{stem}.{ext}", "unknown"),
        ("{track!r}/{stem}.{ext}", "format or conversion"),
        ("{tracknumber:03}/{stem}.{ext}", "format or conversion"),
        ("{date}/{stem}.{ext}", "Did you mean {year}"),
        ("{}/{stem}.{ext}", "unknown"),
        ("{track/{stem}.{ext}", "Invalid name template"),
        ("x{relpath}/{stem}.{ext}", "only part of a name"),
        ("", "same for every stem"),
    ],
)
def test_invalid_templates_are_refused(template: str, message: str) -> None:
    """The error gives the reason or a suggestion."""
    with pytest.raises(UsageError) as caught:
        Template.parse(template)
    assert message in str(caught.value)


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
    """Characters that some system cannot store become underscores."""
    assert safe_name(name) == safe


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_keep_their_unicode_normalisation_form(form: str) -> None:
    """The user finds a name exactly as typed."""
    name = unicodedata.normalize(form, "Café Ängström")  # type: ignore[arg-type]
    assert _name(DEFAULT_NAME, path=f"/m/{name}.wav", folder=".") == f"{name}/vocals.wav"


def test_normalisation_form_and_case_do_not_distinguish_paths() -> None:
    """Some file systems treat such names as equal, so two tracks must not use them."""
    forms = {unicodedata.normalize(form, "É") for form in ("NFC", "NFD")} | {"é"}  # type: ignore[arg-type]
    assert len({path_key(Path(form)) for form in forms}) == 1


def test_long_names_are_shortened_to_whole_characters() -> None:
    """A name has at most 255 bytes, and keeps its stem and extension."""
    long = "ä" * 125 + ".wav"
    (_, name) = Path(_name("{relpath}/{track} ({stem}).{ext}", path=f"/m/{long}")).parts
    assert len(os.fsencode(name)) <= 255
    assert name.endswith("ä (vocals).wav")
    assert len(name) > 120
    folder = "音" * 100  # Windows and macOS allow this, but not every file system
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
def test_every_path_is_inside_the_output_folder(name: str, value: str) -> None:
    """The name of the file and its tags may be any text."""
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
