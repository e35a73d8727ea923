"""From inputs to tracks: folders, patterns, lists, links, lies."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.batch.event_factory import left_out
from stemsplit.core.errors import UsageError
from stemsplit.core.job import Job
from stemsplit.core.outcome import Outcome, Reason
from stemsplit.core.settings import Settings
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.records import Entry, JobState, Wanted, coming_stems
from stemsplit.journal.writer import Journal
from stemsplit.library.exclusion import Exclusions
from stemsplit.library.input_lists import read_list
from stemsplit.library.scan import Found, scan
from stemsplit.storage.remote import path_of


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A small library with things in it that are not music."""
    for name in (
        "b/two.MP3",
        "a/one.wav",
        "a/cover.jpg",
        "a/.hidden.wav",
        ".trash/old.wav",
        "top.flac",
    ):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "music"


def _pairs(found: Found) -> list[tuple[str, str]]:
    return [(str(one.folder), one.path.name) for one in found.tracks]


def _messages(found: Found) -> list[str]:
    return [one.message for one in found.problems]


def test_a_folder_gives_its_audio_files_in_order(music: Path) -> None:
    """Recursive, sorted, audio only, hidden ones left out; each keeps its folder."""
    assert _pairs(scan([music])) == [(".", "top.flac"), ("a", "one.wav"), ("b", "two.MP3")]


def test_a_file_is_found_once(music: Path) -> None:
    """Named itself, through its folder and through a link: one track, the others are counted."""
    link = music / "link.flac"
    link.symlink_to(music / "top.flac")
    found = scan([music / "top.flac", music, link])
    assert sum(one.path.name in {"top.flac", "link.flac"} for one in found.tracks) == 1
    assert found.duplicates == 1


def test_a_link_does_not_take_a_file_s_place(music: Path) -> None:
    """A list of favourites made of links, which comes first by name, changes nothing."""
    (music / "0 favourites").mkdir()
    (music / "0 favourites" / "best.flac").symlink_to(music / "top.flac")
    assert (".", "top.flac") in _pairs(scan([music]))


def test_a_file_named_itself_may_have_any_ending(music: Path) -> None:
    """Only folders are filtered by name; what a person names is tried."""
    assert _pairs(scan([music / "a/cover.jpg"])) == [(".", "cover.jpg")]


def test_inputs_that_lead_nowhere_are_problems(tmp_path: Path) -> None:
    """A missing path and a folder without audio each get a sentence and a remedy."""
    (tmp_path / "empty").mkdir()
    found = scan([tmp_path / "missing.wav", tmp_path / "empty"])
    assert not found.tracks
    assert "does not exist" in _messages(found)[0]
    assert "no audio files" in _messages(found)[1]


def test_an_output_folder_among_the_inputs_is_left_out(music: Path) -> None:
    """Stems that lie below the folder of inputs are not found as tracks."""
    stem = music / "stems" / "top" / "vocals.wav"
    stem.parent.mkdir(parents=True)
    stem.touch()
    assert stem in [one.path for one in scan([music]).tracks]
    assert stem not in [one.path for one in scan([music], music / "stems").tracks]


def test_stems_of_another_batch_are_no_tracks(music: Path) -> None:
    """What the journal of any output folder knows is left out, what else lies there is not."""
    output = music / "karaoke"
    stem, mix = output / "top" / "vocals.wav", output / "my mix.wav"
    stem.parent.mkdir(parents=True)
    for path in (stem, mix):
        path.touch()
    state = OutputLayout(output)
    state.folder.mkdir()
    work = output / ".stemsplit-x"
    work.mkdir()
    (work / "vocals.wav").touch()
    job = Job.of(music / "top.flac", {"vocals": stem})
    with Journal(state.journal, output) as journal:
        wanted = Wanted(source_bytes=0, source_modified_ns=0, settings="{}")
        entry = Entry(job=job, wanted=wanted, predicted_seconds=0, state=JobState.WAITING)
        journal.begin_run(Settings(), [entry], version="1")
        coming = coming_stems(work, {"vocals.wav": stem}, output)
        journal.publishing(job, coming, overwrite=True)
        journal.settled(Outcome(job=job, reason=Reason.DONE))
    for found in (
        scan([music]),
        scan([music / "**" / "*.wav"]),
        scan([music / "karaoke" / "*" / "*.wav", music / "karaoke" / "*.wav"]),
        scan([], listed=[stem, mix]),
        scan([], listed=[music]),
    ):
        assert stem not in [one.path for one in found.tracks]
        assert mix in [one.path for one in found.tracks]
    assert [one.path for one in scan([stem]).tracks] == [stem], "unless it is named itself"


def test_a_name_that_no_system_takes_is_a_problem() -> None:
    """A name of 300 characters: a sentence, no traceback."""
    assert "cannot be read" in _messages(scan([Path("x" * 300)]))[0]


def test_links_to_folders_are_followed_once_and_never_in_circles(music: Path) -> None:
    """A second disk behind a link is searched; a loop is not, and real folders come first."""
    disk = music.parent / "disk"
    disk.mkdir()
    (disk / "far.ogg").touch()
    (music / "0 disk").symlink_to(disk)
    (music / "0 same").symlink_to(music / "a")
    (music / "a" / "loop").symlink_to(music)
    (music / "b" / "itself").symlink_to(music / "b" / "itself")
    found = scan([music])
    assert _pairs(found) == [
        (".", "top.flac"),
        ("a", "one.wav"),
        ("b", "two.MP3"),
        ("0 disk", "far.ogg"),
    ]
    assert found.duplicates == 0


def test_a_broken_link_is_told(music: Path) -> None:
    """A song that is a link to a disk that is not there is not passed over in silence."""
    (music / "gone.mp3").symlink_to(music / "nowhere.mp3")
    assert ["leads nowhere" in text for text in _messages(scan([music]))] == [True]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """It would be waited for for ever."""
    os.mkfifo(tmp_path / "song.wav")
    assert "pipe" in _messages(scan([tmp_path / "song.wav"]))[0]


def test_content_decides_where_an_ending_says_nothing(music: Path) -> None:
    """A FLAC called like nothing in particular is music; text called so is not."""
    soundfile.write(music / "song.flac", np.zeros((9, 2)), 44_100)
    (music / "song.flac").rename(music / "song.of.2019")
    (music / "song").write_bytes((music / "song.of.2019").read_bytes())
    (music / "notes.of.2019").write_text("la la la")
    names = [one.path.name for one in scan([music]).tracks]
    assert {"song", "song.of.2019"} < set(names)
    assert "notes.of.2019" not in names


def test_patterns_that_the_shell_did_not_expand(music: Path) -> None:
    """`**` keeps the tree below what comes before it; what matches nothing is told."""
    assert _pairs(scan([music / "**" / "*.wav"])) == [("a", "one.wav")]
    assert _pairs(scan([music / "*" / "*.MP3"])) == [("b", "two.MP3")]
    assert _pairs(scan([music / "[ab]"])) == [("a", "one.wav"), ("b", "two.MP3")]
    assert "Nothing matches" in _messages(scan([music / "*.ogg"]))[0]
    assert _pairs(scan([music / "**" / "a" / "*"])) == [("a", "one.wav")]
    assert _pairs(scan([music / "**"])) == _pairs(scan([music]))


def test_patterns_do_not_go_in_circles(music: Path) -> None:
    """Two links upwards, and each folder is searched once."""
    (music / "a" / "up").symlink_to(music)
    (music / "b" / "up").symlink_to(music)
    assert _pairs(scan([music / "**" / "*.wav"])) == [("a", "one.wav")]


def test_an_address_of_a_kind_that_nobody_knows() -> None:
    """It is shown as it was written, and is no path of this machine."""
    message = _messages(scan([path_of("gopher://example.org/song.mp3")]))[0]
    assert message.startswith("Addresses that begin with gopher:// cannot be used")


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    """`song [live].wav` exists, so it is meant."""
    (tmp_path / "song [live].wav").touch()
    assert _pairs(scan([tmp_path / "song [live].wav"])) == [(".", "song [live].wav")]


def test_listed_files_keep_their_folders(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path of a list has a place below the output; an absolute one has none to keep."""
    monkeypatch.chdir(music)
    listed = [Path("./a/one.wav"), Path("b/../b/two.MP3"), music / "top.flac", Path("../music/a")]
    expected = [("a", "one.wav"), ("b", "two.MP3"), (".", "top.flac")]
    assert _pairs(scan([], listed=listed)) == expected
    monkeypatch.chdir(music.parent)
    assert _pairs(scan([], listed=[Path("music"), Path("music/a/one.wav")])) == [
        ("music", "top.flac"),
        ("music/a", "one.wav"),
        ("music/b", "two.MP3"),
    ]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (b"a b.wav\n\nc.wav", ["a b.wav", "c.wav"]),
        (b"a.wav\r\n#b.wav\r\n", ["a.wav", "#b.wav"]),
        (b"a\nb.wav\0-c.wav\0", ["a\nb.wav", "-c.wav"]),
        (b"caf\xe9.wav\n", [os.fsdecode(b"caf\xe9.wav")]),
        (b"\xef\xbb\xbfa.wav\r\n", ["a.wav"]),
        ("é/a.wav\r\nb.wav".encode("utf-16"), ["é/a.wav", "b.wav"]),
    ],
)
def test_lists_have_lines_or_nuls(text: bytes, paths: list[str]) -> None:
    """With a NUL anywhere, newlines belong to names; Windows' line ends do not."""
    assert [str(path) for path in read_list(io.BytesIO(text), "list").paths] == paths


@pytest.mark.parametrize(
    "text", ["/music/a.wav\n".encode("utf-16-le"), b"RIFF\x12\0\0\0WAVE", b"\xff\xfe\x00\xd8"]
)
def test_what_is_no_list_is_refused(text: bytes) -> None:
    """Rather than taking each letter for a path, one of which is the root of all files."""
    with pytest.raises(UsageError, match="no list of files"):
        read_list(io.BytesIO(text), "list")


@pytest.mark.parametrize(
    ("name", "text", "paths", "base"),
    [
        ("list.txt", b"#EXTINF:9,Artist - Song\na.wav\n#b.wav\n", ["a.wav", "#b.wav"], None),
        ("list.txt", b"#EXTRA.wav\n./#EXT.wav\n", ["#EXTRA.wav", "#EXT.wav"], None),
        ("x/list.m3u", b"# by hand\r\n#EXTALB:x\r\na.wav\r\n", ["a.wav"], "x"),
        ("x/list.M3U8", "\ufeff#EXTM3U\n#EXT-X-VERSION:3\né.wav".encode(), ["é.wav"], "x"),
        ("x/list", b"#EXTM3U\n# by hand\na.wav\n", ["a.wav"], "x"),
        (None, b"#EXTM3U\n# by hand\na.wav\n", ["a.wav"], None),
        ("list.txt", b"#EXTINF\0#b.wav\0", ["#EXTINF", "#b.wav"], None),
        ("list.txt", b"file:///m/a%20b%C3%A9.wav\n", ["/m/a bé.wav"], None),
        (
            "list.m3u",
            b"file://localhost/m/100%25.wav\nFILE:/m/b.wav\n",
            ["/m/100%.wav", "/m/b.wav"],
            ".",
        ),
    ],
)
def test_playlists(
    name: str | None,
    text: bytes,
    paths: list[str],
    base: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their directives and comments are no files, and their paths are relative to them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "#EXTRA.wav").touch()
    found = read_list(io.BytesIO(text), "list", None if name is None else Path(name))
    assert [str(path) for path in found.paths] == paths
    assert found.base == (None if base is None else Path(base))


def test_what_a_playlist_names_keeps_its_folder(music: Path) -> None:
    """Below the playlist's own, wherever the command is run; patterns leave out below it, too."""
    listed = [Path("a/one.wav"), Path("../music/top.flac"), Path("b")]
    found = scan([], listed=listed, listed_in=music)
    assert _pairs(found) == [("a", "one.wav"), (".", "top.flac"), ("b", "two.MP3")]
    found = scan([], listed=listed, listed_in=music, exclusions=Exclusions(["a", "b/"]))
    assert _pairs(found) == [(".", "top.flac")]
    assert len(found.left_out.excluded_folders) == 2


SYSTEM = (
    "#recycle", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN", "RECYCLER", "lost+found",
    ".Trash-1000", ".Trashes", "@eaDir", "System Volume Information", "#snapshot", ".AppleDouble",
    "__MACOSX", "found.000",
)  # fmt: skip


@pytest.mark.parametrize("name", [*SYSTEM, "#RECYCLE", "lost+FOUND"])
def test_trash_and_system_folders_are_left_out(music: Path, name: str) -> None:
    """At any depth, whatever the case; by patterns as well; unless such a folder is named."""
    shutil.rmtree(music / ".trash")
    for folder in (music, music / "a"):
        (folder / name / "deeper").mkdir(parents=True)
        (folder / name / "deeper" / "old.wav").touch()
    usual = [(".", "top.flac"), ("a", "one.wav"), ("b", "two.MP3")]
    for found in (scan([music]), scan([music / "**"]), scan([], listed=[music])):
        assert _pairs(found) == usual
        assert len(found.left_out.system) == 2
        (text,) = [one for one in left_out(found) if "system" in one]
        assert text == f"2 system folders left out ({name})"
    found = scan([music / "*" / "*" / "*"])
    met = set() if name.startswith(".") else {music / name, music / "a" / name}
    assert (_pairs(found), found.left_out.system) == ([], met)
    for named in (music / name, music / name / "**" / "*.wav", music / "**" / name / "**" / "*"):
        assert "old.wav" in [one.path.name for one in scan([named]).tracks]


def test_hidden_music_is_counted(music: Path) -> None:
    """A band's folder may begin with a dot; what a Mac keeps beside each file is no music."""
    for name in (".38 Special/one.wav", "a/._one.wav", "a/.DS_Store", ".stemsplit/x.wav"):
        (music / name).parent.mkdir(exist_ok=True)
        (music / name).touch()
    found = scan([music])
    hidden = {path.relative_to(music).as_posix() for path in found.left_out.hidden}
    assert hidden == {".38 Special", "a/.hidden.wav"}
    assert "to take one, give it as an input" in " ".join(left_out(found))
    assert _pairs(scan([music / ".38 Special"])) == [(".", "one.wav")]
    assert _pairs(scan([music / ".*" / "one.wav"])) == [(".38 Special", "one.wav")]


def test_what_is_no_audio_by_name_or_content_is_counted(music: Path) -> None:
    """TypeScript gives no failures; a film of that ending is taken; downloads are left to end."""
    for name in ("one.ts", "two.ts", "x.nobody-knows", "song.mp3.part"):
        (music / "a" / name).write_text("export const x = 1;\n")
    packet = b"\x47\x40\0\x10" + bytes(184)
    (music / "film.ts").write_bytes(packet * 50)
    found = scan([music])
    assert (".", "film.ts") in _pairs(found)
    assert len(found.tracks) == 4
    texts = " ".join(left_out(found))
    assert (
        "3 files left out, audio neither by name nor by content (.ts 2, .nobody-knows 1)" in texts
    )
    assert "1 unfinished file left out (song.mp3.part)" in texts


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("two.MP3", "top a/one b/deep/three b/deep/live"),
        ("two.mp3", "top a/one b/two b/deep/three b/deep/live"),
        ("*.wav", "top b/two"),
        ("b", "top a/one"),
        ("b/", "top a/one"),
        ("top.flac/", "top a/one b/two b/deep/three b/deep/live"),
        ("deep", "top a/one b/two"),
        ("/deep", "top a/one b/two b/deep/three b/deep/live"),
        ("/b/deep", "top a/one b/two"),
        ("b/*", "top a/one"),
        ("b/**", "top a/one"),
        ("*/deep/live*", "top a/one b/two b/deep/three"),
        ("**/live.wav", "top a/one b/two b/deep/three"),
        ("music/b", "top a/one"),
        ("*/top.flac", "top a/one b/two b/deep/three b/deep/live"),
        ("one", "top a/one b/two b/deep/three b/deep/live"),
        ("t*", "a/one b/deep/live"),
        ("[ab]", "top"),
    ],
)
def test_exclusions(music: Path, pattern: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names at any depth, paths below the input or as typed, `**`, upper and lower case."""
    (music / "b" / "deep").mkdir()
    for name in ("three.wav", "live.wav"):
        (music / "b" / "deep" / name).touch()
    if pattern == "t*":
        (music / "b" / "two.MP3").rename(music / "b" / "tiny.mp3")
    monkeypatch.chdir(music.parent)
    found = scan([Path("music")], exclusions=Exclusions([pattern]))
    names = [(one.folder / one.path.stem).as_posix() for one in found.tracks]
    assert sorted(names) == sorted(left.split())
    out = found.left_out
    assert bool(out.excluded_files or out.excluded_folders) is (len(names) < 5)
    everywhere = scan([Path("music/**/*")], exclusions=Exclusions([pattern]))
    assert sorted((one.folder / one.path.stem).as_posix() for one in everywhere.tracks) == sorted(
        names
    )


def test_exclusions_hold_for_inputs_too(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in restic: a shell's `*` names files one by one; that nothing is left is no failure."""
    monkeypatch.chdir(music)
    inputs = [Path("a"), Path("b/two.MP3"), Path("top.flac")]
    assert _pairs(scan(inputs, exclusions=Exclusions(["b"]))) == [
        (".", "one.wav"),
        (".", "top.flac"),
    ]
    for pattern in ("a", "*", str(music / "a"), f"{music}/a/", "**/one.wav"):
        found = scan([music / "a"], exclusions=Exclusions([pattern]))
        assert (found.tracks, found.problems) == ([], [])
        assert "1 folder excluded" in "".join(left_out(found)) or "1 file" in "".join(
            left_out(found)
        )
    for inputs in ([music / "*.flac"], [music / "*.flac"] * 2, [music / "**" / "t*.flac"] * 2):
        for pattern in ("top.*", "music"):
            found = scan(inputs, exclusions=Exclusions([pattern]))
            assert (found.tracks, found.problems) == ([], [])


def test_exclusions_of_names_that_look_like_patterns(music: Path) -> None:
    """`song [live].wav` means that file; so does a name that a disk keeps in another form."""
    for name in ("song [live].wav", "So\u0301lo.wav"):
        (music / name).touch()
    found = scan([music], exclusions=Exclusions(["song [live].wav", "S\u00f3lo.wav"]))
    assert _pairs(found) == [(".", "top.flac"), ("a", "one.wav"), ("b", "two.MP3")]


@pytest.mark.parametrize("pattern", ["", "/", "."])
def test_a_pattern_that_names_nothing_is_an_error(pattern: str) -> None:
    """As where a variable of the shell is empty."""
    with pytest.raises(UsageError, match="names nothing"):
        Exclusions([pattern])


def test_a_subfolder_that_cannot_be_read_is_told_once(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is beside it is found; one that is an input itself is a problem."""
    listed = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for found in (scan([music]), scan([music, music]), scan([music / "**" / "*"])):
        assert _pairs(found) == [(".", "top.flac"), ("b", "two.MP3")]
        assert found.problems == []
        assert [one.path for one in found.unreadable] == [music / "a"]
    assert "cannot be read (Permission denied)" in " ".join(left_out(scan([music])))
    found = scan([music / "a"])
    assert (found.unreadable, len(found.problems)) == ([], 1)


def test_an_empty_list_is_an_error() -> None:
    """An upstream command that failed must not look like success."""
    with pytest.raises(UsageError, match="names no files"):
        read_list(io.BytesIO(b"\n"), "standard input")
