"""Where stems go, and what is left to do: the decisions, over real files and a real journal."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stemsplit.errors import UsageError
from stemsplit.job import Attempt, Effort, Outcome, Reason, Settings
from stemsplit.library.journal import Entry, JobState, Journal, settings_key
from stemsplit.library.naming import DEFAULT_NAME, Template
from stemsplit.library.plan import Action, Namer, Placed, Wish, decide, place, see
from stemsplit.library.probe import Probe
from stemsplit.library.scan import Track

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.library.plan import Decision

STEMS = ("vocals", "accompaniment")
NAMES = frozenset({*STEMS, "drums"})
PROBE = Probe(size_bytes=1000, modified_ns=5, seconds=60.0)
SETTINGS = Settings()
WISH = Wish(settings=settings_key(SETTINGS), version="1")


def _namer(output: Path, name: str = DEFAULT_NAME) -> Namer:
    return Namer(
        output=output, template=Template.parse(name), model="2stems", stems=STEMS, ext="wav"
    )


def _place(output: Path, *tracks: tuple[str, str], name: str = DEFAULT_NAME) -> list[Placed]:
    found = [(Track(path=Path(path), folder=Path(folder)), PROBE) for path, folder in tracks]
    return place(found, _namer(output, name), NAMES)


def test_tracks_keep_their_place_below_the_output(tmp_path: Path) -> None:
    """OUT / folder below the input / name without ending."""
    (one,) = _place(tmp_path, ("/music/a/one.two.wav", "a"))
    assert one.job.destination_path == tmp_path / "a" / "one.two"
    assert one.job.paths["vocals"] == tmp_path / "a" / "one.two" / "vocals.wav"


@pytest.mark.parametrize(
    "second", ["/y/song.flac", "/y/SONG.wav", "/y/song?.wav", "/y/so\u0301ng.wav"]
)
def test_two_tracks_never_share_a_place(tmp_path: Path, second: str) -> None:
    """A clash is found before any work and names both, also where only case or form differ."""
    first = {"/y/song?.wav": "/x/song*.wav", "/y/so\u0301ng.wav": "/x/s\u00f3ng.wav"}
    one = first.get(second, "/x/song.wav")
    with pytest.raises(UsageError) as caught:
        _place(tmp_path, (one, "."), (second, "."), ("/z/other.wav", "."))
    assert one in caught.value.message
    assert second in caught.value.message
    assert len(_place(tmp_path, (one, "."), (second, "."), name="{id}/{stem}.{ext}")) == 2


def test_a_file_where_another_track_wants_a_folder_is_a_clash(tmp_path: Path) -> None:
    """`a/vocals.wav` cannot be a stem and the folder of another track's stems."""
    with pytest.raises(UsageError, match="both be written"):
        _place(tmp_path, ("/x/a.wav", "."), ("/x/a/vocals.wav.mp3", "a"))


def test_all_clashes_are_counted(tmp_path: Path) -> None:
    """A person should not meet them one after the other."""
    tracks = [(f"/{folder}/{number}.wav", ".") for number in range(5) for folder in "xy"]
    with pytest.raises(UsageError, match="4 more such pairs"):
        _place(tmp_path, *tracks)


@pytest.mark.parametrize("name", [DEFAULT_NAME, "{relpath}/{track} {stem}.{ext}"])
def test_stems_of_an_earlier_run_are_no_tracks(tmp_path: Path, name: str) -> None:
    """A library separated into itself: what bears the name that a track's stem has is ours."""
    flat = name != DEFAULT_NAME
    ours = (
        ["song vocals.wav", "song drums.flac"] if flat else ["song/vocals.wav", "song/drums.flac"]
    )
    library = ["song.wav", *ours, "song/live.wav", "other/vocals.wav"]
    tracks = [(str(tmp_path / file), str(Path(file).parent)) for file in library]
    found = [one.track.path.relative_to(tmp_path) for one in _place(tmp_path, *tracks, name=name)]
    assert [str(path) for path in found] == ["song.wav", "song/live.wav", "other/vocals.wav"]


@dataclass
class World:
    """An output folder with a journal and one track."""

    output: Path
    journal: Journal
    placed: Placed
    wish: Wish = WISH

    def decide(self, placed: Placed | None = None, **wish: object) -> Decision:
        """Decide about the track as things stand."""
        placed = placed or self.placed
        record = self.journal.records().get(self.journal.place_of(placed.job))
        return decide(
            placed,
            see(placed.job, self.output),
            record,
            replace(self.wish, **wish),  # type: ignore[arg-type]
            self.output,
        )

    def enlist(self) -> None:
        """Begin a run with the track."""
        entry = Entry(
            job=self.placed.job,
            source_bytes=PROBE.size_bytes,
            source_modified_ns=PROBE.modified_ns,
            predicted_seconds=60,
            state=JobState.WAITING,
        )
        self.journal.begin_run(SETTINGS, [entry], version="1")

    def end(self, reason: Reason, text: str = "stem") -> None:
        """Let an attempt at the track end."""
        job, work = self.placed.job, self.output / ".work"
        self.enlist()
        self.journal.attempt_begins(job, SETTINGS, Effort(), number=1, work=work, preloaded=False)
        if reason is Reason.DONE:
            work.mkdir()
            for stem in STEMS:
                (work / f"{stem}.wav").write_text(text)
            self.journal.publishing(job, {f"{s}.wav": job.paths[s] for s in STEMS}, work)
            job.destination_path.mkdir(exist_ok=True)
            for stem in STEMS:
                (work / f"{stem}.wav").replace(job.paths[stem])
            work.rmdir()
        attempt = Attempt(number=1, effort=Effort(), reason=reason, seconds=1)
        self.journal.settled(
            Outcome(job=job, reason=reason, message=f"it was {reason}.", attempts=(attempt,))
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty output folder."""
    output = tmp_path / "out"
    output.mkdir()
    (placed,) = _place(output, ("/music/song.wav", "."))
    with Journal(tmp_path / "journal", output, writable=True) as journal:
        yield World(output, journal, placed)


def _another(world: World, path: str = "/elsewhere/song.wav", **probe: object) -> Placed:
    (placed,) = _place(world.output, (path, "."))
    changed = {"size_bytes": PROBE.size_bytes, "modified_ns": PROBE.modified_ns} | probe
    return replace(placed, probe=Probe(**changed))  # type: ignore[arg-type]


def test_a_new_track_is_done_and_then_left(world: World) -> None:
    """The plain case."""
    assert (world.decide().action, world.decide().why) == (Action.DO, "new")
    world.end(Reason.DONE)
    assert (world.decide().action, world.decide().why) == (Action.LEAVE, "done")


def test_a_changed_file_is_done_again(world: World) -> None:
    """By its size, and by its time."""
    world.end(Reason.DONE)
    for change in ({"size_bytes": 1001}, {"modified_ns": 6}):
        decision = world.decide(_another(world, "/music/song.wav", **change))
        assert (decision.action, decision.why) == (Action.DO, "the file has changed")


def test_changed_settings_do_it_again(world: World) -> None:
    """What the stems do not depend on changes nothing."""
    world.end(Reason.DONE)
    decision = world.decide(settings=settings_key(Settings(bit_depth="16")))
    assert (decision.action, decision.why) == (Action.DO, "the settings have changed")
    assert world.decide(settings=settings_key(Settings(threads=3))).action is Action.LEAVE


def test_vanished_stems_are_made_again(world: World) -> None:
    """One of them is enough."""
    world.end(Reason.DONE)
    world.placed.job.paths["vocals"].unlink()
    assert (world.decide().action, world.decide().why) == (Action.DO, "its stems are gone: vocals")


def test_a_stem_that_somebody_changed_is_not_replaced_unasked(world: World) -> None:
    """An edited stem is left where the track is done, and guarded where it would be done again."""
    world.end(Reason.DONE)
    world.placed.job.paths["vocals"].write_text("edited")
    assert world.decide().action is Action.LEAVE
    world.placed.job.paths["accompaniment"].unlink()
    decision = world.decide()
    assert decision.action is Action.REFUSE
    assert "vocals.wav” was changed by somebody" in decision.why
    assert world.decide(overwrite=True).action is Action.DO


def test_a_moved_source_is_the_same_track(world: World) -> None:
    """A disk that is mounted elsewhere today changes nothing."""
    world.end(Reason.DONE)
    assert world.decide(_another(world)).action is Action.LEAVE


def test_another_track_s_stems_are_not_replaced(world: World) -> None:
    """Two runs over two folders with a song of one name: the second is told, not overwritten."""
    world.end(Reason.DONE)
    decision = world.decide(_another(world, size_bytes=7))
    assert decision.action is Action.REFUSE
    assert "/music/song.wav" in decision.why
    assert world.decide(_another(world, size_bytes=7), overwrite=True).action is Action.DO


@pytest.mark.parametrize("reason", ["bad_input", "crashed", "stalled", "over_ram_cap"])
def test_failures_of_the_track_stay_until_asked(world: World, reason: str) -> None:
    """Another run does not spend the night on the same broken files."""
    world.end(Reason(reason))
    decision = world.decide()
    assert (decision.action, decision.reason) == (Action.LEAVE_FAILED, Reason(reason))
    assert "--retry-failed" in decision.remedy
    assert world.decide(retry_failed=True).action is Action.DO
    assert world.decide(version="2").action is Action.DO, "a newer stemsplit may do better"
    assert world.decide(_another(world, "/music/song.wav", size_bytes=1)).action is Action.DO


@pytest.mark.parametrize("reason", ["disk_full", "unwritable", "cancelled", "no_memory"])
def test_failures_of_the_machine_are_tried_again(world: World, reason: str) -> None:
    """They say nothing about the track."""
    world.end(Reason(reason))
    assert world.decide().action is Action.DO


def test_an_interrupted_overwrite_goes_on_without_the_option(world: World) -> None:
    """A track to be overwritten is not done until it was, though its old stems are there."""
    world.end(Reason.DONE)
    world.enlist()
    assert (world.decide().action, world.decide().why) == (Action.DO, "not done yet")


def test_stems_of_nobody_knows_whom(world: World) -> None:
    """All there: done, as far as one can tell. Some: refused. Overwritten only when asked."""
    paths = world.placed.job.paths
    paths["vocals"].parent.mkdir()
    paths["vocals"].touch()
    assert world.decide().action is Action.REFUSE
    assert world.decide(overwrite=True).action is Action.DO
    paths["accompaniment"].touch()
    assert world.decide().action is Action.LEAVE
    world.enlist()
    assert world.decide().action is Action.LEAVE, "though a run was killed before it came to it"


def test_obstacles(world: World) -> None:
    """A file where a folder must be, and a folder where a file must be."""
    world.placed.job.destination_path.touch()
    assert "song” is in the way" in world.decide().why
    world.placed.job.destination_path.unlink()
    world.placed.job.paths["vocals"].mkdir(parents=True)
    assert "vocals.wav” is in the way" in world.decide(overwrite=True).why


def test_a_place_is_relative_so_that_the_output_can_be_moved(world: World, tmp_path: Path) -> None:
    """The folder renamed, the journal with it: nothing is done again."""
    world.end(Reason.DONE)
    moved = tmp_path / "moved"
    world.output.rename(moved)
    (placed,) = _place(moved, ("/music/song.wav", "."))
    with Journal(tmp_path / "journal", moved, writable=False) as journal:
        record = journal.records()[journal.place_of(placed.job)]
        decision = decide(placed, see(placed.job, moved), record, WISH, moved)
    assert decision.action is Action.LEAVE
    assert os.fsdecode(record.stems[0].path) == "song/vocals.wav"
