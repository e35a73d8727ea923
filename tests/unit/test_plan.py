"""Where stems go, and what is left to do: the decisions, over real files and a real journal."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace as replace_probe

from stemsplit.batch.decisions import Action, Known, RedoPolicy, decide, known, see, wanted_of
from stemsplit.core.errors import OutputExistsError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Attempt, Outcome, Reason
from stemsplit.core.probe import Probe
from stemsplit.core.settings import Settings
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.records import Entry, JobState, coming_stems, places_below, settings_key
from stemsplit.journal.writer import Journal
from stemsplit.library.destinations import Namer, PlannedTrack, place
from stemsplit.library.naming import DEFAULT_NAME, Template
from stemsplit.library.scan import Track
from stemsplit.storage.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.batch.decisions import Decision

STEMS = ("vocals", "accompaniment")
NAMES = frozenset({*STEMS, "drums"})
PROBE = Probe(size_bytes=1000, modified_ns=5, seconds=60.0)
SETTINGS = Settings()
WISH = RedoPolicy(settings=settings_key(SETTINGS), version="1")


def _namer(output: Path, name: str = DEFAULT_NAME) -> Namer:
    return Namer(
        output=output,
        template=Template.parse(name),
        model="2stems",
        stems=STEMS,
        first=STEMS[0],
        ext="wav",
    )


def _place(output: Path, *tracks: tuple[str, str], name: str = DEFAULT_NAME) -> list[PlannedTrack]:
    found = [(Track(path=Path(path), folder=Path(folder)), PROBE) for path, folder in tracks]
    return place(found, _namer(output, name), NAMES)


def test_tracks_keep_their_place_below_the_output(tmp_path: Path) -> None:
    """OUT / folder below the input / name without ending."""
    (one,) = _place(tmp_path, ("/music/a/one.two.wav", "a"))
    assert one.job.destination_path == tmp_path / "a" / "one.two"
    assert one.job.paths["vocals"] == tmp_path / "a" / "one.two" / "vocals.wav"


@pytest.mark.parametrize(
    ("one", "other", "example"),
    [
        ("/x/song.wav", "/x/song.flac", "{source_ext}"),
        ("/x/song.wav", "/y/song.wav", "{foldername}"),
        ("/x/song.wav", "/x/SONG.wav", "{id}"),
        ("/x/song*.wav", "/x/song?.wav", "{id}"),
        ("/x/s\u00f3ng.wav", "/x/so\u0301ng.wav", "{id}"),
    ],
)
def test_two_tracks_never_share_a_place(tmp_path: Path, one: str, other: str, example: str) -> None:
    """Both are refused and told apart by what helps; the others are done."""
    planned = _place(tmp_path, (one, "."), (other, "."), ("/z/third.wav", "."))
    first, second, third = (
        decide(each, see(each.job), Known(record=None, owned=frozenset()), WISH) for each in planned
    )
    assert (first.action, second.action, third.action) == (
        Action.REFUSE,
        Action.REFUSE,
        Action.DO,
    )
    assert other in first.why
    assert one in second.why
    assert example in first.remedy
    name = first.remedy.split("'")[1]
    apart = _place(tmp_path, (one, "."), (other, "."), name=name)
    assert [each.clash for each in apart] == [None, None]


def test_a_file_where_another_track_wants_a_folder_is_a_clash(tmp_path: Path) -> None:
    """`a/vocals.wav` cannot be a stem and the folder of another track's stems."""
    planned = _place(tmp_path, ("/x/a.wav", "."), ("/x/a/vocals.wav.mp3", "a"))
    assert all(each.clash is not None for each in planned)


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


def test_stems_whose_source_is_gone_are_no_tracks(tmp_path: Path) -> None:
    """In a library separated into itself the journal knows them."""
    path = tmp_path / "gone" / "vocals.wav"
    track = Track(path=path, folder=Path("gone"))
    namer = _namer(tmp_path)
    assert len(place([(track, PROBE)], namer, NAMES)) == 1
    assert place([(track, PROBE)], namer, NAMES, [b"gone/vocals.wav"]) == []


@dataclass
class World:
    """An output folder with a journal and one track."""

    output: Path
    journal: Journal
    planned: PlannedTrack
    redo_policy: RedoPolicy = WISH

    def decide(self, planned: PlannedTrack | None = None, **redo_policy: object) -> Decision:
        """Decide about the track as things stand."""
        planned = planned or self.planned
        seen = see(planned.job)
        what = known(planned, seen, self.journal.records(), self.journal.owned(), self.output)
        return decide(planned, seen, what, replace(self.redo_policy, **redo_policy))  # type: ignore[arg-type]

    def enlist(
        self, settings: Settings = SETTINGS, *, overwrite: bool = False, left: bool = False
    ) -> None:
        """Begin a run with the track."""
        agreed = None
        if overwrite:
            below = places_below(self.planned.job, self.output)
            agreed = {below[stem]: mark for stem, mark in see(self.planned.job).marks.items()}
        entry = Entry(
            job=self.planned.job,
            wanted=wanted_of(
                self.planned, replace(self.redo_policy, settings=settings_key(settings))
            ),
            predicted_seconds=60,
            state=JobState.DONE if left else JobState.WAITING,
            agreed=agreed,
        )
        self.journal.begin_run(settings, [entry], version="1")

    def end(
        self, reason: Reason, text: str = "stem", settings: Settings = SETTINGS, **enlist: bool
    ) -> None:
        """Let an attempt at the track end."""
        job, work = self.planned.job, self.output / ".work"
        self.enlist(settings, **enlist)
        self.journal.attempt_begins(
            job, settings, Resources(), number=1, staging_folder=work, preloaded=False
        )
        if reason is Reason.DONE:
            work.mkdir()
            for stem in job.stems:
                (work / f"{stem}.wav").write_text(text)
            moves = {f"{stem}.wav": path for stem, path in job.paths.items()}
            coming = coming_stems(work, moves, self.output)
            self.journal.publishing(job, coming, overwrite=bool(enlist.get("overwrite")))
            publish(work, moves)
        attempt = Attempt(number=1, resources=Resources(), reason=reason, seconds=1)
        self.journal.settled(
            Outcome(job=job, reason=reason, message=f"it was {reason}.", attempts=(attempt,))
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty output folder."""
    output = tmp_path / "out"
    output.mkdir()
    (planned,) = _place(output, ("/music/song.wav", "."))
    with Journal(tmp_path / "journal", output) as journal:
        yield World(output, journal, planned)


def _another(world: World, path: str = "/elsewhere/song.wav", **probe: object) -> PlannedTrack:
    (planned,) = _place(world.output, (path, "."))
    changed = {"size_bytes": PROBE.size_bytes, "modified_ns": PROBE.modified_ns} | probe
    return replace(planned, probe=Probe(**changed))  # type: ignore[arg-type]


def test_a_new_track_is_done_and_then_left(world: World) -> None:
    """The plain case."""
    assert (world.decide().action, world.decide().why) == (Action.DO, "new")
    world.end(Reason.DONE)
    assert (world.decide().action, world.decide().why) == (Action.LEAVE, "done")


def test_a_changed_file_is_done_again(world: World) -> None:
    """By its size, and by its time."""
    world.end(Reason.DONE)
    for change in ({"size_bytes": 1001}, {"modified_ns": 6 * 10**9}):
        decision = world.decide(_another(world, "/music/song.wav", **change))
        assert (decision.action, decision.why) == (Action.DO, "the file has changed")


@pytest.mark.parametrize("apart", [3600, -3600, 3601, -3599])
@pytest.mark.parametrize("reason", [Reason.DONE, Reason.CRASHED])
def test_daylight_saving_does_nothing_again(world: World, apart: int, reason: Reason) -> None:
    """The time of a file on FAT shifts by an hour: it stays done, or failed, as it was."""
    at = PROBE.modified_ns + apart * 10**9
    world.planned = replace(world.planned, probe=replace_probe(PROBE, sample=b"x" * 16))
    world.end(reason)
    left = Action.LEAVE if reason is Reason.DONE else Action.LEAVE_FAILED
    same = _another(world, "/music/song.wav", modified_ns=at, sample=b"x" * 16)
    assert world.decide(same).action is left
    moved = _another(world, modified_ns=at, sample=b"x" * 16)
    assert world.decide(moved).action is left, "on a disk that is mounted elsewhere as well"
    changed = _another(world, "/music/song.wav", modified_ns=at, sample=b"y" * 16)
    assert world.decide(changed).action is Action.DO


def test_daylight_saving_makes_no_stem_a_stranger(world: World) -> None:
    """What lies on FAT is still ours when it is to be made again; an edited one is not."""
    world.end(Reason.DONE)
    vocals = world.planned.job.paths["vocals"]
    at = vocals.stat().st_mtime_ns
    settings = settings_key(Settings(bit_depth="16"))
    for apart, action in ((3600, Action.DO), (-3600, Action.DO), (7200, Action.REFUSE)):
        os.utime(vocals, ns=(0, at + apart * 10**9))
        assert world.decide(settings=settings).action is action


def test_changed_settings_do_it_again(world: World) -> None:
    """What the stems do not depend on changes nothing."""
    world.end(Reason.DONE)
    decision = world.decide(settings=settings_key(Settings(bit_depth="16")))
    assert (decision.action, decision.why) == (Action.DO, "the settings have changed")
    assert world.decide(settings=settings_key(Settings(threads=3))).action is Action.LEAVE


def test_vanished_stems_are_made_again(world: World) -> None:
    """One of them is enough."""
    world.end(Reason.DONE)
    world.planned.job.paths["vocals"].unlink()
    assert (world.decide().action, world.decide().why) == (Action.DO, "its stems are gone: vocals")


def test_a_stem_that_somebody_changed_is_not_replaced_unasked(world: World) -> None:
    """An edited stem is left where the track is done, and guarded where it would be done again."""
    world.end(Reason.DONE)
    world.planned.job.paths["vocals"].write_text("edited")
    assert world.decide().action is Action.LEAVE
    world.planned.job.paths["accompaniment"].unlink()
    decision = world.decide()
    assert decision.action is Action.REFUSE
    assert "vocals.wav” was changed by somebody" in decision.why
    assert world.decide(overwrite=True).action is Action.DO


def test_a_moved_source_is_the_same_track(world: World) -> None:
    """A disk that is mounted elsewhere today changes nothing; all other rules hold as well."""
    world.end(Reason.DONE)
    moved = _another(world)
    assert world.decide(moved).action is Action.LEAVE
    bit_depth = settings_key(Settings(bit_depth="16"))
    assert world.decide(moved, settings=bit_depth).why == "the settings have changed"
    world.planned.job.paths["vocals"].unlink()
    assert world.decide(moved).why == "its stems are gone: vocals"
    world.end(Reason.CRASHED)
    assert world.decide(moved).action is Action.LEAVE_FAILED


def test_a_source_that_moved_and_changed_later_is_still_the_same(world: World) -> None:
    """The journal follows it."""
    world.end(Reason.DONE)
    world.planned = _another(world)
    world.enlist(left=True)
    changed = _another(world, modified_ns=99 * 10**9)
    assert (world.decide(changed).action, world.decide(changed).why) == (
        Action.DO,
        "the file has changed",
    )


def test_a_track_keeps_its_place_when_another_wants_it(world: World) -> None:
    """`song.mp3` comes to lie beside `song.wav`, which is done: that stays done."""
    world.end(Reason.DONE)
    old, new = _place(world.output, ("/music/song.wav", "."), ("/music/song.mp3", "."))
    assert world.decide(old).action is Action.LEAVE
    assert world.decide(new).action is Action.REFUSE


def test_two_files_that_look_alike_are_two(world: World, tmp_path: Path) -> None:
    """Equal in size and time, as unpacked files may be: only one that is gone has moved."""
    first = tmp_path / "01.wav"
    first.touch()
    (world.planned,) = _place(world.output, (str(first), "."))
    world.end(Reason.DONE)
    second = tmp_path / "b" / "01.wav"
    second.parent.mkdir()
    second.touch()
    other = replace(world.planned, track=Track(path=second, folder=Path()))
    other = replace(other, job=Job.of(second, other.job.paths))
    assert world.decide(other).action is Action.REFUSE
    second.unlink()
    second.symlink_to(first)
    assert world.decide(other).action is Action.LEAVE, "the same file by another path"
    second.unlink()
    first.rename(second)
    assert world.decide(other).action is Action.LEAVE, "moved"


def test_a_slip_does_not_make_all_be_done_again(world: World) -> None:
    """Enlisted with other settings by mistake, and not reached: its stems are the right ones."""
    world.end(Reason.DONE)
    world.enlist(Settings(bit_depth="16"))
    assert (world.decide().action, world.decide().why) == (Action.LEAVE, "done")


def test_back_to_a_smaller_model(world: World) -> None:
    """The stems of the first run are ours, though those of the second do not replace them all."""
    world.end(Reason.DONE)
    two, four = world.planned, Settings(model="4stems")
    paths = {stem: two.job.destination_path / f"{stem}.wav" for stem in ("vocals", "drums")}
    world.planned = replace(two, job=Job.of(two.track.path, paths))
    world.end(Reason.DONE, settings=four)
    assert (world.decide(two).action, world.decide(two).why) == (
        Action.DO,
        "the settings have changed",
    )


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


def test_damage_stays_failed_until_it_is_accepted(world: World) -> None:
    """Accepting it is enough; `--retry-failed` alone works, and is not recommended."""
    world.end(Reason.DAMAGED)
    decision = world.decide()
    assert (decision.action, decision.reason) == (Action.LEAVE_FAILED, Reason.DAMAGED)
    assert "--retry-failed" not in decision.remedy
    accepted = world.decide(accept_damaged=True)
    assert (accepted.action, accepted.why) == (Action.DO, "failed, to be tried again")
    assert world.decide(retry_failed=True).action is Action.DO


def test_to_accept_damage_does_nothing_else_again(world: World) -> None:
    """Other failures stay; what is done stays done."""
    world.end(Reason.CRASHED)
    assert world.decide(accept_damaged=True).action is Action.LEAVE_FAILED
    world.end(Reason.DONE)
    accepting = settings_key(Settings(accept_damaged=True))
    assert world.decide(settings=accepting, accept_damaged=True).action is Action.LEAVE


@pytest.mark.parametrize("reason", ["disk_full", "unwritable", "cancelled", "no_memory"])
def test_failures_of_the_machine_are_tried_again(world: World, reason: str) -> None:
    """They say nothing about the track."""
    world.end(Reason(reason))
    assert world.decide().action is Action.DO


def test_an_interrupted_overwrite_goes_on_without_the_option(world: World) -> None:
    """A track to be overwritten is not done until it was, whatever its old stems are."""
    world.end(Reason.DONE)
    world.planned.job.paths["vocals"].write_text("edited")
    world.enlist(overwrite=True)
    assert (world.decide().action, world.decide().why) == (Action.DO, "not done yet")
    world.planned.job.paths["vocals"].write_text("edited again")
    assert world.decide().action is Action.REFUSE, "that was not agreed to"


def test_stems_of_nobody_knows_whom(world: World) -> None:
    """All there: done, as far as one can tell. Some: refused. Overwritten only when asked."""
    paths = world.planned.job.paths
    paths["vocals"].parent.mkdir()
    paths["vocals"].touch()
    assert world.decide().action is Action.REFUSE
    assert world.decide(overwrite=True).action is Action.DO
    paths["accompaniment"].touch()
    assert world.decide().action is Action.LEAVE
    world.enlist(overwrite=True)
    assert (world.decide().action, world.decide().why) == (Action.DO, "not done yet")


def test_a_file_that_appears_meanwhile_is_not_replaced(world: World) -> None:
    """Nor one that is edited meanwhile: looked at again when the stems are to be shown."""
    paths = world.planned.job.paths
    paths["vocals"].parent.mkdir()
    paths["vocals"].write_text("mine")
    with pytest.raises(OutputExistsError, match="made or changed by somebody"):
        world.end(Reason.DONE)
    shutil.rmtree(world.output / ".work")
    world.end(Reason.DONE, overwrite=True)
    assert paths["vocals"].read_text() == "stem"
    paths["vocals"].write_text("edited")
    with pytest.raises(OutputExistsError):
        world.end(Reason.DONE)


def test_stems_that_could_not_all_be_shown_are_told(world: World) -> None:
    """By the next run; a plan that is made before it says that it will do the rest."""
    world.enlist()
    job, work = world.planned.job, world.output / ".work"
    world.journal.attempt_begins(
        job, SETTINGS, Resources(), number=1, staging_folder=work, preloaded=False
    )
    work.mkdir()
    for stem in STEMS:
        (work / f"{stem}.wav").touch()
    moves = {f"{stem}.wav": path for stem, path in job.paths.items()}
    coming = coming_stems(work, moves, world.output)
    world.journal.publishing(job, coming, overwrite=False)
    assert "could not be put" in world.decide().why
    assert world.decide().action is Action.REFUSE
    assert world.decide(recovered=False).action is Action.LEAVE


def test_obstacles(world: World) -> None:
    """A file where a folder must be, a folder where a file must be, a link that leads nowhere."""
    world.planned.job.destination_path.touch()
    assert "song” is in the way" in world.decide().why
    world.planned.job.destination_path.unlink()
    vocals = world.planned.job.paths["vocals"]
    vocals.mkdir(parents=True)
    assert "vocals.wav” is in the way" in world.decide(overwrite=True).why
    vocals.rmdir()
    vocals.symlink_to(world.output / "a disk that is not there" / "vocals.wav")
    assert world.decide().action is Action.REFUSE


def test_what_cannot_be_looked_at_is_not_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network disk that answers with an error must not make everything be done again."""
    world.end(Reason.DONE)

    def fail(_self: Path, **_more: object) -> os.stat_result:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "stat", fail)
    decision = world.decide()
    assert decision.action is Action.REFUSE
    assert "cannot be looked at (Input/output error)" in decision.why


def test_a_place_is_relative_so_that_the_output_can_be_moved(world: World, tmp_path: Path) -> None:
    """The folder renamed, the journal with it: nothing is done again."""
    world.end(Reason.DONE)
    moved = tmp_path / "moved"
    world.output.rename(moved)
    (planned,) = _place(moved, ("/music/song.wav", "."))
    with JournalReader(tmp_path / "journal", moved) as journal:
        seen = see(planned.job)
        what = known(planned, seen, journal.records(), journal.owned(), moved)
    assert decide(planned, seen, what, WISH).action is Action.LEAVE
    assert what.owned == set(STEMS)
