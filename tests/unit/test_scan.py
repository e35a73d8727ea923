"""From inputs to tracks: folders, patterns, lists, links, lies."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.errors import UsageError
from stemsplit.job import Job, Outcome, Reason, Settings
from stemsplit.library.journal import Journal
from stemsplit.library.lists import read_list
from stemsplit.library.records import Entry, JobState, Wanted, coming_stems
from stemsplit.library.scan import Found, scan
from stemsplit.library.state import State
from stemsplit.remote import path_of


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
    state = State(output)
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
    assert [str(path) for path in read_list(io.BytesIO(text), "list")] == paths


@pytest.mark.parametrize(
    "text", ["/music/a.wav\n".encode("utf-16-le"), b"RIFF\x12\0\0\0WAVE", b"\xff\xfe\x00\xd8"]
)
def test_what_is_no_list_is_refused(text: bytes) -> None:
    """Rather than taking each letter for a path, one of which is the root of all files."""
    with pytest.raises(UsageError, match="no list of files"):
        read_list(io.BytesIO(text), "list")


def test_an_empty_list_is_an_error() -> None:
    """An upstream command that failed must not look like success."""
    with pytest.raises(UsageError, match="names no files"):
        read_list(io.BytesIO(b"\n"), "standard input")
