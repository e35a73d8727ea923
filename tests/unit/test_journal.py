"""The journal: its schema, what a crash leaves, who may read, what is wrong told in a sentence."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stemsplit.core.errors import DiskFullError, StemsplitError, UnwritableError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Attempt, Outcome, Reason, TrackWarning, WarningKind
from stemsplit.core.probe import Probe, Tags
from stemsplit.core.settings import Settings
from stemsplit.journal.database import _uri
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.records import Entry, JobState, Wanted, coming_stems
from stemsplit.journal.recovery import Recovery, recover, sweep
from stemsplit.journal.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from stemsplit.journal.writer import Journal
from stemsplit.storage.publish import STAGING_PREFIX, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings()
STEMS = ("vocals", "accompaniment")
WARNINGS = (
    TrackWarning(kind=WarningKind.DAMAGED, text="It is cut."),
    TrackWarning(kind=WarningKind.NOTE, text="It is old."),
    TrackWarning(kind=WarningKind.NOTE, text="It is dusty."),
)


@dataclass
class World:
    """An output folder with its journal."""

    output: Path
    path: Path
    journal: Journal

    def job(self, name: str = "song") -> Job:
        """Give a track."""
        paths = {stem: self.output / name / f"{stem}.wav" for stem in STEMS}
        return Job.of(Path("/music", f"{name}.wav"), paths)

    def begin(self, *names: str) -> None:
        """Begin a run over tracks."""
        self.journal.begin_run(
            SETTINGS,
            [
                Entry(
                    job=self.job(name),
                    wanted=Wanted(source_bytes=1, source_modified_ns=2, settings="{}"),
                    predicted_seconds=60.0,
                    state=JobState.WAITING,
                )
                for name in names
            ],
            version="1",
        )

    def start(self, name: str = "song", number: int = 1) -> Path:
        """Begin an attempt, and give its work folder with finished stems in it."""
        work = self.output / f"{STAGING_PREFIX}{name}{number}"
        self.journal.attempt_begins(
            self.job(name),
            SETTINGS,
            Resources(),
            number=number,
            staging_folder=work,
            preloaded=True,
        )
        work.mkdir()
        for stem in STEMS:
            (work / f"{stem}.wav").write_bytes(os.fsencode(f"{name} {stem}"))
        return work

    def show(self, work: Path, name: str = "song") -> dict[str, Path]:
        """Note that the stems will be shown, and where."""
        paths = self.job(name).paths
        moves = {f"{stem}.wav": paths[stem] for stem in STEMS}
        coming = coming_stems(work, moves, self.output)
        self.journal.publishing(self.job(name), coming, overwrite=False, warnings=WARNINGS)
        return moves

    def state(self, name: str = "song") -> JobState:
        """Give the state of a track."""
        return self.journal.records()[self.journal.place_of(self.job(name))].state


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty one."""
    output = tmp_path / "out"
    output.mkdir()
    with Journal(tmp_path / "journal", output) as journal:
        yield World(output, tmp_path / "journal", journal)


def _attempt(reason: Reason = Reason.DONE, **more: object) -> Attempt:
    return Attempt(number=1, resources=Resources(), reason=reason, seconds=30.0, **more)  # type: ignore[arg-type]


def test_survives_a_power_cut_and_a_network_folder(world: World) -> None:
    """Committed is on disk, and there is no write-ahead log, which network folders cannot hold."""
    database = world.journal._db
    assert database.execute("PRAGMA synchronous").fetchone() == (3,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_track_from_beginning_to_end(world: World) -> None:
    """Waiting, running, publishing, done; with its attempts, peaks and timings."""
    world.begin("song", "other")
    assert world.state() is JobState.WAITING
    world.start()
    assert world.state() is JobState.RUNNING
    world.journal.attempt_ended(world.job(), _attempt(Reason.CRASHED, exit_code=-11))
    assert world.state() is JobState.WAITING
    work = world.start(number=2)
    moves = world.show(work)
    assert world.state() is JobState.PUBLISHING
    publish(work, moves)
    attempt = _attempt(peak_pss_bytes=7, private_bytes=5)
    outcome = Outcome(job=world.job(), reason=Reason.DONE, audio_seconds=60.0, attempts=(attempt,))
    world.journal.settled(outcome)
    assert world.state() is JobState.DONE
    rows = world.journal._db.execute(
        "SELECT number, reason, exit_code, peak_pss_bytes FROM attempts"
    ).fetchall()
    assert rows == [(1, "crashed", -11, None), (2, "done", None, 7)]
    assert world.journal.counts() == {JobState.DONE: (1, 60.0), JobState.WAITING: (1, 60.0)}


def test_predictions_learn_from_the_same_model_on_this_machine(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished attempts only, and none of another machine that had the folder before."""
    world.begin("a", "b", "c")
    for name, reason in (("a", Reason.DONE), ("b", Reason.STALLED)):
        world.show(world.start(name), name)
        outcome = Outcome(
            job=world.job(name),
            reason=reason,
            audio_seconds=60.0,
            attempts=(_attempt(reason, private_bytes=5),),
        )
        world.journal.settled(outcome)
    (past,) = world.journal.past(SETTINGS, preloaded=True)
    assert (past.private_bytes, past.audio_seconds, past.seconds) == (5, 60.0, 30.0)
    assert (past.lean, past.threads) == (False, 1)
    assert world.journal.past(SETTINGS, preloaded=False) == []
    assert world.journal.past(Settings(model="4stems"), preloaded=True) == []
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert world.journal.past(SETTINGS, preloaded=True) == []


def test_first_looks_are_kept(world: World) -> None:
    """With all that was found."""
    look = Probe(size_bytes=1, modified_ns=2, seconds=3.5, tags=Tags(title="Café", year=1959))
    world.journal.remember({b"/music/caf\xe9.wav": look})
    assert world.journal.probes() == {b"/music/caf\xe9.wav": look}


def test_after_a_death_while_separating(world: World) -> None:
    """The work folder goes, the track is to be done again; what is not ours stays."""
    world.begin("song")
    work = world.start()
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=1)
    assert not work.exists()
    assert world.state() is JobState.WAITING
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=0)


def test_a_journal_cannot_make_other_folders_go(world: World, tmp_path: Path) -> None:
    """Whatever stands in it: no path that leads out of the output folder is believed."""
    world.begin("song")
    precious = tmp_path / "precious"
    precious.mkdir()
    world.journal.attempt_begins(
        world.job(), SETTINGS, Resources(), number=1, staging_folder=precious, preloaded=True
    )
    with pytest.raises(StemsplitError, match="is damaged"):
        recover(world.journal, world.output)
    assert precious.exists()


def test_a_link_cannot_make_other_folders_go(world: World, tmp_path: Path) -> None:
    """A work folder behind a link that leads out of the output folder is left alone."""
    world.begin("song")
    (tmp_path / "elsewhere" / ".stemsplit-1").mkdir(parents=True)
    (world.output / "link").symlink_to(tmp_path / "elsewhere")
    world.journal.attempt_begins(
        world.job(),
        SETTINGS,
        Resources(),
        number=1,
        staging_folder=world.output / "link" / ".stemsplit-1",
        preloaded=True,
    )
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=1)
    assert (tmp_path / "elsewhere" / ".stemsplit-1").exists()


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_after_a_death_while_publishing(world: World, shown: int) -> None:
    """However many stems are in place: the rest follows, and the track is done."""
    world.begin("song")
    work = world.start()
    moves = world.show(work)
    world.job().destination_path.mkdir()
    for name, path in list(moves.items())[:shown]:
        (work / name).rename(path)
    assert recover(world.journal, world.output) == Recovery(shown=1, dropped=0)
    assert {path.read_text() for path in moves.values()} == {"song vocals", "song accompaniment"}
    assert world.state() is JobState.DONE
    assert not work.exists()


def test_a_death_while_publishing_loses_no_warning(world: World) -> None:
    """A track that the next run shows is known to be damaged; counted once, whatever it has."""
    world.begin("song", "other")
    world.show(world.start())
    assert not world.journal.warned(), "it is not done yet"
    recover(world.journal, world.output)
    assert world.journal.warned() == {WarningKind.DAMAGED: 1, WarningKind.NOTE: 1}


def test_only_done_tracks_are_counted(world: World) -> None:
    """One that failed is among the failures."""
    world.begin("song")
    world.start()
    world.journal.settled(Outcome(job=world.job(), reason=Reason.DAMAGED, warnings=WARNINGS))
    assert not world.journal.warned()


def test_old_stems_are_not_taken_for_new_ones(world: World) -> None:
    """The work folder is lost, older stems are there: the track is to be done again."""
    world.begin("song")
    work = world.start()
    moves = world.show(work)
    world.job().destination_path.mkdir()
    for path in moves.values():
        path.write_text("an older one")
    for file in work.iterdir():
        file.unlink()
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=1)
    assert world.state() is JobState.WAITING


def test_what_somebody_made_meanwhile_is_not_replaced(world: World) -> None:
    """Between a crash and the next run: the track is to be done again, and will be refused."""
    world.begin("song")
    moves = world.show(world.start())
    world.job().destination_path.mkdir()
    moves["vocals.wav"].write_text("mine")
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=1)
    assert moves["vocals.wav"].read_text() == "mine"


def test_a_stem_that_cannot_be_shown_does_not_block_all_further_runs(world: World) -> None:
    """Something lies in the way by now: the track is tried again, and tells why it fails."""
    world.begin("song")
    moves = world.show(world.start())
    moves["vocals.wav"].mkdir(parents=True)
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=1)


def test_half_of_a_track_is_never_thrown_away(world: World) -> None:
    """One stem is shown, the other cannot be: it is kept until it can."""
    world.begin("song")
    work = world.start()
    moves = world.show(work)
    world.job().destination_path.mkdir()
    (work / "vocals.wav").rename(moves["vocals.wav"])
    obstacle = moves["accompaniment.wav"]
    obstacle.mkdir()
    for _ in range(2):
        assert recover(world.journal, world.output) == Recovery(shown=0, dropped=0, stuck=1)
        assert world.state() is JobState.PUBLISHING
        assert (work / "accompaniment.wav").read_text() == "song accompaniment"
    obstacle.rmdir()
    assert recover(world.journal, world.output) == Recovery(shown=1, dropped=0)
    assert obstacle.read_text() == "song accompaniment"


def test_half_of_a_track_is_given_up_where_all_is_done_again(world: World) -> None:
    """With `--overwrite` nothing of it is of use any more."""
    world.begin("song")
    work = world.start()
    moves = world.show(work)
    world.job().destination_path.mkdir()
    (work / "vocals.wav").rename(moves["vocals.wav"])
    moves["accompaniment.wav"].mkdir()
    recovery = recover(world.journal, world.output, overwrite=True)
    assert recovery == Recovery(shown=0, dropped=1)
    assert not work.exists()


def test_what_was_shown_alone_can_be_replaced(world: World) -> None:
    """One stem is shown and the other lost: the one is ours, and no obstacle."""
    world.begin("song")
    work = world.start()
    moves = world.show(work)
    world.job().destination_path.mkdir()
    (work / "vocals.wav").rename(moves["vocals.wav"])
    (work / "accompaniment.wav").unlink()
    work.rmdir()
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=1)
    assert list(world.journal.owned()) == [b"song/vocals.wav"]


def test_a_batch_that_ends_in_trouble_is_brought_in_order(world: World) -> None:
    """What was shown and could not be noted is done; what was running is waiting."""
    world.begin("song", "other")
    work = world.start()
    publish(work, world.show(work))
    world.start("other")
    assert recover(world.journal, world.output) == Recovery(shown=1, dropped=1)
    assert (world.state(), world.state("other")) == (JobState.DONE, JobState.WAITING)
    assert world.journal.unfinished() == []


def test_a_failure_while_half_is_shown_keeps_the_attempt_open(world: World) -> None:
    """So that what is on disk can still be put in place."""
    world.begin("song")
    world.show(world.start())
    outcome = Outcome(
        job=world.job(), reason=Reason.UNWRITABLE, message="No.", attempts=(_attempt(),)
    )
    world.journal.settled(outcome)
    assert world.state() is JobState.PUBLISHING
    assert len(world.journal.unfinished()) == 1
    world.journal.taken_back(world.job())
    world.journal.settled(outcome)
    assert world.state() is JobState.FAILED


def test_others_may_read_while_it_is_written(world: World) -> None:
    """`status` and `--dry-run` look into a journal in use."""
    world.begin("song")
    with (
        JournalReader(world.path, world.output) as reader,
        world.journal._transaction() as db,
    ):
        db.execute("UPDATE jobs SET message = 'half'")
        assert reader.counts() == {JobState.WAITING: (1, 60.0)}


def test_a_journal_of_the_future_is_refused(world: World) -> None:
    """Rather than misread."""
    world.journal._db.execute("PRAGMA user_version = 99")
    with pytest.raises(StemsplitError, match="newer stemsplit"):
        Journal(world.path, world.output)


def test_a_journal_without_a_schema_is_none_yet(tmp_path: Path) -> None:
    """A reader that comes a moment too early, or after a kill at the very beginning."""
    assert JournalReader.read(tmp_path / "journal", tmp_path) is None
    sqlite3.connect(tmp_path / "journal").close()
    (tmp_path / "journal").touch()
    assert JournalReader.read(tmp_path / "journal", tmp_path) is None
    Journal(tmp_path / "journal", tmp_path).__exit__()
    journal = JournalReader.read(tmp_path / "journal", tmp_path)
    assert journal is not None
    journal.__exit__()


@pytest.mark.parametrize(
    ("path", "uri"),
    [("/music/a b/?#", "file:///music/a%20b/%3F%23"), ("//nas/music", "file:////nas/music")],
)
def test_paths_as_sqlite_takes_them(monkeypatch: pytest.MonkeyPatch, path: str, uri: str) -> None:
    """Among them a network share of Windows, which `pathlib` gives as a host."""
    if path.startswith("//"):
        monkeypatch.setattr(Path, "as_uri", lambda _self: "file://nas/music")
    assert _uri(Path(path)) == uri


def test_an_interrupted_migration_is_done_again(tmp_path: Path) -> None:
    """Schema and version change together or not at all."""
    path = tmp_path / "journal"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("BEGIN; CREATE TABLE runs (id INTEGER); ROLLBACK;")
    with Journal(path, tmp_path) as journal:
        assert journal.records() == {}


def test_a_damaged_journal_gets_a_sentence(tmp_path: Path) -> None:
    """And what to do."""
    (tmp_path / "journal").write_text("no database" * 1000)
    with pytest.raises(StemsplitError, match=r"is damaged.*Move it away"):
        Journal(tmp_path / "journal", tmp_path)


def test_a_full_disk_and_a_forbidden_one_are_told_apart(world: World) -> None:
    """A database that may not grow, and one that may not be written."""
    world.begin("song")
    pages = world.journal._db.execute("PRAGMA page_count").fetchone()[0]
    world.journal._db.execute(f"PRAGMA max_page_count = {pages}")
    look = Probe(size_bytes=1, modified_ns=2, tags=Tags(title="x" * 10**5))
    with pytest.raises(DiskFullError):
        world.journal.remember({b"/x": look})
    assert world.journal.probes() == {}, "nothing half-written"
    world.journal._db.execute("PRAGMA query_only = ON")
    with pytest.raises(UnwritableError):
        world.journal.remember({b"/x": look})


def test_names_that_are_not_utf_8(world: World) -> None:
    """Paths are bytes from end to end."""
    name = os.fsdecode(b"caf\xe9 \xff")
    world.begin(name)
    moves = world.show(world.start(name), name)
    recover(world.journal, world.output)
    assert all(path.exists() for path in moves.values())
    assert world.state(name) is JobState.DONE


def test_samples_of_files_that_an_older_stemsplit_has_done(world: World) -> None:
    """Are noted by the next run that finds the file as it was, and by no other."""

    def left(modified_ns: int, sample: bytes) -> tuple[bytes, bytes]:
        wanted = Wanted(
            source_bytes=1, source_modified_ns=modified_ns, settings="{}", sample=sample
        )
        entry = Entry(job=world.job(), wanted=wanted, predicted_seconds=1, state=JobState.DONE)
        world.journal.begin_run(SETTINGS, [entry], version="1")
        record = world.journal.records()[world.journal.place_of(world.job())]
        assert record.published is not None
        return record.wanted.sample, record.published.sample

    world.begin("song")
    publish(world.output / ".stemsplit-song1", world.show(world.start()))
    world.journal.settled(Outcome(job=world.job(), reason=Reason.DONE, attempts=(_attempt(),)))
    assert left(3, b"another time") == (b"", b"")
    assert left(2, b"first") == (b"first", b"first")
    assert left(2, b"second") == (b"first", b"first")


def test_a_journal_of_an_older_stemsplit_is_brought_up_to_date(tmp_path: Path) -> None:
    """What was done by it is still done, and what came later is empty."""
    with contextlib.closing(sqlite3.connect(tmp_path / "journal")) as database, database:
        database.executescript(MIGRATIONS[0])
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("PRAGMA user_version = 1")
        database.executescript(
            """
            INSERT INTO runs (began, version, host, pid, settings, unrecorded, refused, overwrite)
            VALUES (1, '0', 'here', 1, '{}', 0, '[]', 0);
            INSERT INTO jobs (place, run, source, source_bytes, source_modified_ns, settings,
                version, state, reason, published_settings, published_bytes, published_modified_ns)
            VALUES (x'61', 1, x'2f61', 1, 2, '{}', '0', 'done', 'done', '{}', 1, 2);
            INSERT INTO stems VALUES (x'61', 1, 3, 4);
            """
        )
    with JournalReader(tmp_path / "journal", tmp_path) as reader:  # as a plan does, first of all
        assert reader.past(Settings(), preloaded=True) == []
        assert reader.records()[b"a"].wanted.sample == b""
    with Journal(tmp_path / "journal", tmp_path) as journal:
        assert journal.version == SCHEMA_VERSION
        assert journal.records()[b"a"].state is JobState.DONE
        assert journal._db.execute("SELECT stem, number FROM stems").fetchall() == [(None, None)]
        assert journal._db.execute("SELECT warnings FROM jobs").fetchall() == [("[]",)]


def test_a_probe_that_cannot_be_read_is_made_again(world: World) -> None:
    """A file whose header lies must not make a healthy journal a damaged one."""
    rate = Probe(size_bytes=1, modified_ns=2, sample_rate=2**63)
    world.journal.remember({b"/liar.aiff": rate, b"/b.wav": Probe(size_bytes=3, modified_ns=4)})
    assert [*world.journal.probes()] == [b"/b.wav"]


def test_work_folders_of_ended_attempts_go_and_others_stay(world: World, tmp_path: Path) -> None:
    """Those of a pool without a journal, and what is behind a link that leads out."""
    world.begin("song")
    ended = world.start()
    world.journal.attempt_ended(world.job(), _attempt(Reason.CRASHED))
    running = world.start(number=2)
    other = world.output / f"{STAGING_PREFIX}{'0' * 32}"
    other.mkdir()
    behind = tmp_path / "elsewhere" / ended.name
    behind.mkdir(parents=True)
    (world.output / "link").symlink_to(behind.parent)
    sweep(world.journal, world.output, [world.output / "link", world.output / "absent"])
    assert not ended.exists()
    assert running.exists()
    assert other.exists()
    assert behind.exists()


def test_a_work_folder_that_no_system_holds_is_no_error(world: World) -> None:
    """A stranger's journal may name anything."""
    world.begin("song")
    moves = world.show(world.start())
    long = STAGING_PREFIX + "x" * 300
    world.journal._db.execute("UPDATE attempts SET work_folder = ?", (long.encode(),))
    assert recover(world.journal, world.output) == Recovery(shown=0, dropped=1)
    assert not any(path.exists() for path in moves.values())
