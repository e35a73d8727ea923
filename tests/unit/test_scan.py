"""Finding tracks in inputs: folders, patterns, lists, links and exclusions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.batch.notes import scan_notes
from stemsplit.core.errors import UsageError
from stemsplit.core.job import Job
from stemsplit.core.outcome import Outcome, Reason
from stemsplit.core.settings import Settings
from stemsplit.journal.job_records import JobEntry, JobState, Provenance
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.stem_records import pending_stems
from stemsplit.journal.writer import Journal
from stemsplit.library.exclude_patterns import Exclusions
from stemsplit.library.scan import ScanResult, scan
from stemsplit.storage.urls import path_of


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """A small library that also contains other files."""
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


def _pairs(found: ScanResult) -> list[tuple[str, str]]:
    return [(str(track.folder), track.path.name) for track in found.tracks]


def _paths(found: ScanResult) -> list[Path]:
    return [track.path for track in found.tracks]


def _messages(found: ScanResult) -> list[str]:
    return [problem.message for problem in found.problems]


def test_a_folder_leads_to_its_audio_files_in_order(music: Path) -> None:
    """The search is recursive, and hidden files are ignored; each file keeps its folder."""
    assert _pairs(scan([music])) == [(".", "top.flac"), ("a", "one.wav"), ("b", "two.MP3")]


def test_a_file_is_found_once(music: Path) -> None:
    """It may be found directly, in its folder or by a link; duplicates are counted."""
    link = music / "link.flac"
    link.symlink_to(music / "top.flac")
    found = scan([music / "top.flac", music, link])
    assert sum(track.path.name in {"top.flac", "link.flac"} for track in found.tracks) == 1
    assert found.duplicates == 1


def test_a_file_precedes_links_to_it(music: Path) -> None:
    """A folder of links may come first by name."""
    (music / "0 favourites").mkdir()
    (music / "0 favourites" / "best.flac").symlink_to(music / "top.flac")
    assert (".", "top.flac") in _pairs(scan([music]))


def test_an_input_that_is_a_file_may_have_any_extension(music: Path) -> None:
    """Only the contents of folders are filtered by extension."""
    assert _pairs(scan([music / "a/cover.jpg"])) == [(".", "cover.jpg")]


def test_inputs_without_tracks_are_problems(tmp_path: Path) -> None:
    """A missing path and a folder without audio are reported."""
    (tmp_path / "empty").mkdir()
    found = scan([tmp_path / "missing.wav", tmp_path / "empty"])
    assert not found.tracks
    assert "does not exist" in _messages(found)[0]
    assert "no audio files" in _messages(found)[1]


def test_the_output_folder_is_ignored(music: Path) -> None:
    """Stems below an input folder are not tracks."""
    stem = music / "stems" / "top" / "vocals.wav"
    stem.parent.mkdir(parents=True)
    stem.touch()
    assert stem in _paths(scan([music]))
    assert stem not in _paths(scan([music], music / "stems"))


def test_stems_of_other_batches_are_ignored(music: Path) -> None:
    """Stems in the journal of any output folder are ignored; other files there are not."""
    output = music / "karaoke"
    stem, mix = output / "top" / "vocals.wav", output / "my mix.wav"
    stem.parent.mkdir(parents=True)
    for path in (stem, mix):
        path.touch()
    layout = OutputLayout(output)
    layout.folder.mkdir()
    staging = output / ".stemsplit-x"
    staging.mkdir()
    (staging / "vocals.wav").touch()
    job = Job.of(music / "top.flac", {"vocals": stem})
    with Journal(layout.journal, output) as journal:
        wanted = Provenance(source_bytes=0, source_modified_ns=0, settings="{}")
        entry = JobEntry(job=job, wanted=wanted, predicted_seconds=0, state=JobState.WAITING)
        journal.begin_run(Settings(), [entry], version="1")
        pending = pending_stems(staging, {"vocals.wav": stem}, output)
        journal.begin_publishing(job, pending, overwrite=True)
        journal.record_outcome(Outcome(job=job, reason=Reason.DONE))
    for found in (
        scan([music]),
        scan([music / "**" / "*.wav"]),
        scan([music / "karaoke" / "*" / "*.wav", music / "karaoke" / "*.wav"]),
        scan([], listed=[stem, mix]),
        scan([], listed=[music]),
    ):
        assert stem not in _paths(found)
        assert mix in _paths(found)
    assert _paths(scan([stem])) == [stem], "unless it is an input itself"


def test_an_overlong_name_is_a_problem() -> None:
    """No system stores a name of 300 characters."""
    assert "cannot be read" in _messages(scan([Path("x" * 300)]))[0]


def test_links_to_folders_are_followed_once(music: Path) -> None:
    """A folder behind a link is searched after the others; a loop is not."""
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


def test_a_broken_link_is_a_problem(music: Path) -> None:
    """It may point to a missing disk, and is not ignored silently."""
    (music / "gone.mp3").symlink_to(music / "nowhere.mp3")
    assert ["broken link" in text for text in _messages(scan([music]))] == [True]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Reading it could block forever."""
    os.mkfifo(tmp_path / "song.wav")
    assert "pipe" in _messages(scan([tmp_path / "song.wav"]))[0]


def test_content_decides_if_the_extension_is_unknown(music: Path) -> None:
    """FLAC is audio under any name; text is not."""
    soundfile.write(music / "song.flac", np.zeros((9, 2)), 44_100)
    (music / "song.flac").rename(music / "song.of.2019")
    (music / "song").write_bytes((music / "song.of.2019").read_bytes())
    (music / "notes.of.2019").write_text("la la la")
    names = [path.name for path in _paths(scan([music]))]
    assert {"song", "song.of.2019"} < set(names)
    assert "notes.of.2019" not in names


def test_patterns_that_the_shell_did_not_expand(music: Path) -> None:
    """Tracks keep their folder below the fixed part; a pattern without matches is a problem."""
    assert _pairs(scan([music / "**" / "*.wav"])) == [("a", "one.wav")]
    assert _pairs(scan([music / "*" / "*.MP3"])) == [("b", "two.MP3")]
    assert _pairs(scan([music / "[ab]"])) == [("a", "one.wav"), ("b", "two.MP3")]
    assert "Nothing matches" in _messages(scan([music / "*.ogg"]))[0]
    assert _pairs(scan([music / "**" / "a" / "*"])) == [("a", "one.wav")]
    assert _pairs(scan([music / "**"])) == _pairs(scan([music]))


def test_patterns_do_not_follow_loops(music: Path) -> None:
    """Each folder is searched once, even with links to its parent."""
    (music / "a" / "up").symlink_to(music)
    (music / "b" / "up").symlink_to(music)
    assert _pairs(scan([music / "**" / "*.wav"])) == [("a", "one.wav")]


def test_an_address_with_an_unknown_scheme_is_a_problem() -> None:
    """The message shows the address, not its path."""
    message = _messages(scan([path_of("gopher://example.org/song.mp3")]))[0]
    assert message.startswith("URLs that begin with gopher:// cannot be used")


def test_an_existing_name_is_not_a_pattern(tmp_path: Path) -> None:
    """`song [live].wav` is a file if it exists."""
    (tmp_path / "song [live].wav").touch()
    assert _pairs(scan([tmp_path / "song [live].wav"])) == [(".", "song [live].wav")]


def test_listed_files_keep_their_folders(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths keep their folder below the output; absolute paths have none."""
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


def test_files_of_a_playlist_keep_their_folders(music: Path) -> None:
    """Folders and exclude patterns are relative to the folder of the playlist."""
    listed = [Path("a/one.wav"), Path("../music/top.flac"), Path("b")]
    found = scan([], listed=listed, listed_in=music)
    assert _pairs(found) == [("a", "one.wav"), (".", "top.flac"), ("b", "two.MP3")]
    found = scan([], listed=listed, listed_in=music, exclusions=Exclusions(["a", "b/"]))
    assert _pairs(found) == [(".", "top.flac")]
    assert len(found.ignored.excluded_folders) == 2


SYSTEM = (
    "#recycle", "@Recycle", "@Recently-Snapshot", "$RECYCLE.BIN", "RECYCLER", "lost+found",
    ".Trash-1000", ".Trashes", "@eaDir", "System Volume Information", "#snapshot", ".AppleDouble",
    "__MACOSX", "found.000",
)  # fmt: skip


@pytest.mark.parametrize("name", [*SYSTEM, "#RECYCLE", "lost+FOUND"])
def test_trash_and_system_folders_are_ignored(music: Path, name: str) -> None:
    """Case and depth do not matter; an input or pattern may name such a folder."""
    shutil.rmtree(music / ".trash")
    for folder in (music, music / "a"):
        (folder / name / "deeper").mkdir(parents=True)
        (folder / name / "deeper" / "old.wav").touch()
    expected = [(".", "top.flac"), ("a", "one.wav"), ("b", "two.MP3")]
    for found in (scan([music]), scan([music / "**"]), scan([], listed=[music])):
        assert _pairs(found) == expected
        assert len(found.ignored.system) == 2
        (note,) = [note for note in scan_notes(found) if "system" in note]
        assert note == f"2 system folders ignored ({name})"
    found = scan([music / "*" / "*" / "*"])
    matched = set() if name.startswith(".") else {music / name, music / "a" / name}
    assert (_pairs(found), found.ignored.system) == ([], matched)
    for named in (music / name, music / name / "**" / "*.wav", music / "**" / name / "**" / "*"):
        assert "old.wav" in [path.name for path in _paths(scan([named]))]


def test_hidden_audio_is_counted(music: Path) -> None:
    """The folder of a band may begin with a dot; files such as `.DS_Store` do not count."""
    for name in (".38 Special/one.wav", "a/._one.wav", "a/.DS_Store", ".stemsplit/x.wav"):
        (music / name).parent.mkdir(exist_ok=True)
        (music / name).touch()
    found = scan([music])
    hidden = {path.relative_to(music).as_posix() for path in found.ignored.hidden}
    assert hidden == {".38 Special", "a/.hidden.wav"}
    assert "to include one, name it as an input" in " ".join(scan_notes(found))
    assert _pairs(scan([music / ".38 Special"])) == [(".", "one.wav")]
    assert _pairs(scan([music / ".*" / "one.wav"])) == [(".38 Special", "one.wav")]


def test_files_that_are_not_audio_are_counted(music: Path) -> None:
    """The content of a `.ts` file decides; unfinished downloads are ignored."""
    for name in ("one.ts", "two.ts", "x.unknown", "song.mp3.part"):
        (music / "a" / name).write_text("export const x = 1;\n")
    packet = b"\x47\x40\0\x10" + bytes(184)
    (music / "film.ts").write_bytes(packet * 50)
    found = scan([music])
    assert (".", "film.ts") in _pairs(found)
    assert len(found.tracks) == 4
    texts = " ".join(scan_notes(found))
    assert "3 files ignored, not audio by name or content (.ts 2, .unknown 1)" in texts
    assert "1 unfinished file ignored (song.mp3.part)" in texts


@pytest.mark.parametrize(
    ("pattern", "expected"),
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
def test_exclusions(
    music: Path, pattern: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern is a name, a path below the input or a path as typed, and is case-sensitive."""
    (music / "b" / "deep").mkdir()
    for name in ("three.wav", "live.wav"):
        (music / "b" / "deep" / name).touch()
    if pattern == "t*":
        (music / "b" / "two.MP3").rename(music / "b" / "tiny.mp3")
    monkeypatch.chdir(music.parent)
    found = scan([Path("music")], exclusions=Exclusions([pattern]))
    names = [(track.folder / track.path.stem).as_posix() for track in found.tracks]
    assert sorted(names) == sorted(expected.split())
    ignored = found.ignored
    assert bool(ignored.excluded_files or ignored.excluded_folders) is (len(names) < 5)
    found = scan([Path("music/**/*")], exclusions=Exclusions([pattern]))
    assert sorted(names) == sorted(
        (track.folder / track.path.stem).as_posix() for track in found.tracks
    )


def test_exclusions_apply_to_inputs(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell may have expanded `*` to many inputs; the result may be empty, as with restic."""
    monkeypatch.chdir(music)
    inputs = [Path("a"), Path("b/two.MP3"), Path("top.flac")]
    assert _pairs(scan(inputs, exclusions=Exclusions(["b"]))) == [
        (".", "one.wav"),
        (".", "top.flac"),
    ]
    for pattern in ("a", "*", str(music / "a"), f"{music}/a/", "**/one.wav"):
        found = scan([music / "a"], exclusions=Exclusions([pattern]))
        assert (found.tracks, found.problems) == ([], [])
        assert "1 folder excluded" in "".join(scan_notes(found)) or "1 file" in "".join(
            scan_notes(found)
        )
    for inputs in ([music / "*.flac"], [music / "*.flac"] * 2, [music / "**" / "t*.flac"] * 2):
        for pattern in ("top.*", "music"):
            found = scan(inputs, exclusions=Exclusions([pattern]))
            assert (found.tracks, found.problems) == ([], [])


def test_an_exclusion_may_be_a_literal_name(music: Path) -> None:
    """The name may look like a pattern, or have another Unicode normalisation form."""
    for name in ("song [live].wav", "So\u0301lo.wav"):
        (music / name).touch()
    found = scan([music], exclusions=Exclusions(["song [live].wav", "S\u00f3lo.wav"]))
    assert _pairs(found) == [(".", "top.flac"), ("a", "one.wav"), ("b", "two.MP3")]


@pytest.mark.parametrize("pattern", ["", "/", "."])
def test_an_empty_exclusion_is_an_error(pattern: str) -> None:
    """A variable of the shell may be empty."""
    with pytest.raises(UsageError, match="does not name a file or folder"):
        Exclusions([pattern])


def test_an_unreadable_subfolder_is_reported_once(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other folders are searched; an unreadable input is a problem."""
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for found in (scan([music]), scan([music, music]), scan([music / "**" / "*"])):
        assert _pairs(found) == [(".", "top.flac"), ("b", "two.MP3")]
        assert found.problems == []
        assert [problem.path for problem in found.unreadable] == [music / "a"]
    assert "cannot be read (Permission denied)" in " ".join(scan_notes(scan([music])))
    found = scan([music / "a"])
    assert (found.unreadable, len(found.problems)) == ([], 1)
