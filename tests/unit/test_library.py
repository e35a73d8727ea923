"""From inputs to tracks, from tracks to folders, from work folders to published stems."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemsplit.errors import UnwritableError, UsageError
from stemsplit.library.plan import existing_stems, folder_name, plan
from stemsplit.library.publish import (
    WORK_PREFIX,
    check_writable,
    discard,
    make_work_folder,
    publish,
)
from stemsplit.library.scan import Problem, Track, scan

STEMS = ("vocals", "accompaniment")
NAMES = frozenset({*STEMS, "drums"})


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


def test_a_folder_gives_its_audio_files_in_order(music: Path) -> None:
    """Recursive, sorted, audio only, hidden ones left out; each keeps its folder."""
    tracks = [one for one in scan([music]) if isinstance(one, Track)]
    assert [(str(one.folder), one.path.name) for one in tracks] == [
        (".", "top.flac"),
        ("a", "one.wav"),
        ("b", "two.MP3"),
    ]


def test_a_file_is_found_once(music: Path) -> None:
    """Named itself, through its folder and through a link: one track."""
    link = music / "link.flac"
    link.symlink_to(music / "top.flac")
    found = list(scan([music / "top.flac", music, link]))
    assert sum(one.path.name in {"top.flac", "link.flac"} for one in found) == 1


def test_a_file_named_itself_may_have_any_ending(music: Path) -> None:
    """Only folders are filtered by name; what a person names is tried."""
    (found,) = scan([music / "a/cover.jpg"])
    assert isinstance(found, Track)


def test_inputs_that_lead_nowhere_are_problems(tmp_path: Path) -> None:
    """A missing path and a folder without audio each get a sentence and a remedy."""
    (tmp_path / "empty").mkdir()
    found = list(scan([tmp_path / "missing.wav", tmp_path / "empty"]))
    assert [type(one) for one in found] == [Problem, Problem]
    messages = [one.message for one in found if isinstance(one, Problem)]
    assert "does not exist" in messages[0]
    assert "no audio files" in messages[1]


def test_tracks_keep_their_place_below_the_output(tmp_path: Path) -> None:
    """OUT / folder below the input / name without ending."""
    track = Track(path=Path("/music/a/one.two.wav"), folder=Path("a"))
    (job,) = plan([track], tmp_path, STEMS, NAMES)
    assert job.destination_path == tmp_path / "a" / "one.two"


@pytest.mark.parametrize("second", ["/y/song.flac", "/y/SONG.wav"])
def test_two_tracks_never_share_a_folder(tmp_path: Path, second: str) -> None:
    """A clash is found before any work and names both, also where only the case differs."""
    tracks = [Track(path=Path(path), folder=Path()) for path in ("/x/song.wav", second)]
    with pytest.raises(UsageError) as caught:
        plan(tracks, tmp_path, STEMS, NAMES)
    assert "/x/song.wav" in caught.value.message
    assert second in caught.value.message


def test_stems_of_an_earlier_run_are_no_tracks(tmp_path: Path) -> None:
    """A library separated into itself: what bears a stem's name beside a track's stems is ours."""
    library = [
        "song.wav",
        "song/vocals.wav",
        "song/drums.flac",
        "song/live.wav",
        "other/vocals.wav",
    ]
    tracks = [Track(path=tmp_path / name, folder=Path(name).parent) for name in library]
    found = [
        str(job.source_path.relative_to(tmp_path)) for job in plan(tracks, tmp_path, STEMS, NAMES)
    ]
    assert found == ["song.wav", "song/live.wav", "other/vocals.wav"]


def test_an_output_folder_among_the_inputs_is_left_out(music: Path) -> None:
    """Stems that lie below the folder of inputs are not found as tracks."""
    stem = music / "stems" / "top" / "vocals.wav"
    stem.parent.mkdir(parents=True)
    stem.touch()
    assert stem in [one.path for one in scan([music])]
    assert stem not in [one.path for one in scan([music], music / "stems")]


def test_a_name_that_no_system_takes_is_a_problem() -> None:
    """A name of 300 characters: a sentence, no traceback."""
    (found,) = scan([Path("x" * 300)])
    assert isinstance(found, Problem)
    assert "cannot be read" in found.message


@pytest.mark.parametrize("name", ["...wav", "..wav", "....", ".wav", "a.wav", "a"])
def test_no_name_leads_out_of_the_output_folder(name: str) -> None:
    """Names made of dots become names made of underscores."""
    folder = folder_name(Path(name))
    assert folder.strip(".")
    assert Path("out", folder).parent == Path("out")


def test_finds_the_stems_that_are_there(tmp_path: Path) -> None:
    """Only stems of the wanted format count."""
    (job,) = plan([Track(path=Path("song.wav"), folder=Path())], tmp_path, STEMS, NAMES)
    job.destination_path.mkdir()
    (job.destination_path / "vocals.wav").touch()
    (job.destination_path / "accompaniment.flac").touch()
    assert existing_stems(job, "wav") == [job.destination_path / "vocals.wav"]


def _finished(destination: Path, text: str) -> Path:
    work = make_work_folder(destination)
    (work / "vocals.wav").write_text(text)
    return work


def test_publishing_shows_all_files_at_once(tmp_path: Path) -> None:
    """Before, there is a hidden folder and nothing else; after, the track and nothing else."""
    destination = tmp_path / "deep" / "song"
    work = _finished(destination, "new")
    assert work.name.startswith(WORK_PREFIX)
    assert not destination.exists()
    publish(work, destination, ["vocals.wav"])
    assert (destination / "vocals.wav").read_text() == "new"
    assert list((tmp_path / "deep").iterdir()) == [destination]


def test_publishing_into_an_existing_folder_keeps_its_other_files(tmp_path: Path) -> None:
    """A stem replaces the older one of its name; a person's own notes stay."""
    destination = tmp_path / "song"
    destination.mkdir()
    (destination / "vocals.wav").write_text("old")
    (destination / "notes.txt").write_text("mine")
    publish(_finished(destination, "new"), destination, ["vocals.wav"])
    assert (destination / "vocals.wav").read_text() == "new"
    assert (destination / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [destination]


def test_published_folders_have_ordinary_permissions(tmp_path: Path) -> None:
    """The track's folder is as readable as any that its owner makes."""
    (tmp_path / "plain").mkdir()
    destination = tmp_path / "song"
    publish(_finished(destination, "new"), destination, ["vocals.wav"])
    assert destination.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_discarding_never_raises(tmp_path: Path) -> None:
    """A work folder that is gone already is no error."""
    discard(tmp_path / "gone")


def test_an_output_below_a_file_is_unwritable(tmp_path: Path) -> None:
    """The sentence names the folder and the system's reason."""
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match="cannot be written"):
        check_writable(tmp_path / "file" / "out")
