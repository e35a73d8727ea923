"""The journal: its schema, recovery after a crash, concurrent readers, and errors."""

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
from stemsplit.journal.job_records import JobEntry, JobState, Provenance
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.recovery import Recovery, recover, remove_staging_folders
from stemsplit.journal.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from stemsplit.journal.stem_records import pending_stems
from stemsplit.journal.writer import Journal
from stemsplit.storage.publish import STAGING_PREFIX, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = Settings()
STEMS = ("vocals", "accompaniment")
WARNINGS = (
    TrackWarning(kind=WarningKind.DAMAGED, text="It is truncated."),
    TrackWarning(kind=WarningKind.NOTE, text="It is old."),
    TrackWarning(kind=WarningKind.NOTE, text="It is dusty."),
)


@dataclass
class Scenario:
    """An output folder with its journal, and steps of a run."""

    output: Path
    path: Path
    journal: Journal

    def job(self, name: str = "song") -> Job:
        """Return the job of a track."""
        paths = {stem: self.output / name / f"{stem}.wav" for stem in STEMS}
        return Job.of(Path("/music", f"{name}.wav"), paths)

    def begin_run(self, *names: str) -> None:
        """Begin a run with these tracks."""
        self.journal.begin_run(
            SETTINGS,
            [
                JobEntry(
                    job=self.job(name),
                    wanted=Provenance(source_bytes=1, source_modified_ns=2, settings="{}"),
                    predicted_seconds=60.0,
                    state=JobState.WAITING,
                )
                for name in names
            ],
            version="1",
        )

    def start_attempt(self, name: str = "song", number: int = 1) -> Path:
        """Begin an attempt, and return its staging folder with finished stems."""
        staging = self.output / f"{STAGING_PREFIX}{name}{number}"
        self.journal.begin_attempt(
            self.job(name),
            SETTINGS,
            Resources(),
            number=number,
            staging_folder=staging,
            preloaded=True,
        )
        staging.mkdir()
        for stem in STEMS:
            (staging / f"{stem}.wav").write_bytes(os.fsencode(f"{name} {stem}"))
        return staging

    def begin_publishing(self, staging: Path, name: str = "song") -> dict[str, Path]:
        """Begin to publish the stems of a track, and return their destinations."""
        paths = self.job(name).paths
        destinations = {f"{stem}.wav": paths[stem] for stem in STEMS}
        pending = pending_stems(staging, destinations, self.output)
        self.journal.begin_publishing(self.job(name), pending, overwrite=False, warnings=WARNINGS)
        return destinations

    def state_of(self, name: str = "song") -> JobState:
        """Return the state of a track."""
        return self.journal.job_records()[self.journal.job_key(self.job(name))].state


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    """An empty output folder."""
    output = tmp_path / "out"
    output.mkdir()
    with Journal(tmp_path / "journal", output) as journal:
        yield Scenario(output, tmp_path / "journal", journal)


def _attempt(reason: Reason = Reason.DONE, **more: object) -> Attempt:
    return Attempt(number=1, resources=Resources(), reason=reason, seconds=30.0, **more)  # type: ignore[arg-type]


def test_the_database_survives_power_cuts_and_network_folders(scenario: Scenario) -> None:
    """Commits are synchronous; network folders do not support a write-ahead log."""
    database = scenario.journal._db
    assert database.execute("PRAGMA synchronous").fetchone() == (3,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_the_states_of_a_track(scenario: Scenario) -> None:
    """They are waiting, running, publishing and done; each attempt is recorded."""
    scenario.begin_run("song", "other")
    assert scenario.state_of() is JobState.WAITING
    scenario.start_attempt()
    assert scenario.state_of() is JobState.RUNNING
    scenario.journal.end_attempt(scenario.job(), _attempt(Reason.CRASHED, exit_code=-11))
    assert scenario.state_of() is JobState.WAITING
    staging = scenario.start_attempt(number=2)
    destinations = scenario.begin_publishing(staging)
    assert scenario.state_of() is JobState.PUBLISHING
    publish(staging, destinations)
    attempt = _attempt(peak_pss_bytes=7, private_bytes=5)
    outcome = Outcome(
        job=scenario.job(), reason=Reason.DONE, audio_seconds=60.0, attempts=(attempt,)
    )
    scenario.journal.record_outcome(outcome)
    assert scenario.state_of() is JobState.DONE
    rows = scenario.journal._db.execute(
        "SELECT number, reason, exit_code, peak_pss_bytes FROM attempts"
    ).fetchall()
    assert rows == [(1, "crashed", -11, None), (2, "done", None, 7)]
    assert scenario.journal.state_counts() == {
        JobState.DONE: (1, 60.0),
        JobState.WAITING: (1, 60.0),
    }


def test_predictions_learn_from_the_same_model_on_this_machine(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed attempts do not count, nor do those of another machine with the same folder."""
    scenario.begin_run("a", "b", "c")
    for name, reason in (("a", Reason.DONE), ("b", Reason.STALLED)):
        scenario.begin_publishing(scenario.start_attempt(name), name)
        outcome = Outcome(
            job=scenario.job(name),
            reason=reason,
            audio_seconds=60.0,
            attempts=(_attempt(reason, private_bytes=5),),
        )
        scenario.journal.record_outcome(outcome)
    (past,) = scenario.journal.past_attempts(SETTINGS, preloaded=True)
    assert (past.private_bytes, past.audio_seconds, past.seconds) == (5, 60.0, 30.0)
    assert (past.lean, past.threads) == (False, 1)
    assert scenario.journal.past_attempts(SETTINGS, preloaded=False) == []
    assert scenario.journal.past_attempts(Settings(model="4stems"), preloaded=True) == []
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert scenario.journal.past_attempts(SETTINGS, preloaded=True) == []


def test_probes_are_stored(scenario: Scenario) -> None:
    """All of their fields are stored."""
    probe = Probe(size_bytes=1, modified_ns=2, seconds=3.5, tags=Tags(title="Café", year=1959))
    scenario.journal.record_probes({b"/music/caf\xe9.wav": probe})
    assert scenario.journal.probes() == {b"/music/caf\xe9.wav": probe}


def test_recovery_after_a_crash_during_the_separation(scenario: Scenario) -> None:
    """The staging folder is deleted, and the track is waiting again."""
    scenario.begin_run("song")
    staging = scenario.start_attempt()
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=1)
    assert not staging.exists()
    assert scenario.state_of() is JobState.WAITING
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=0)


def test_recovery_deletes_no_folder_outside_the_output(scenario: Scenario, tmp_path: Path) -> None:
    """A staging folder outside of it means that the journal is damaged."""
    scenario.begin_run("song")
    precious = tmp_path / "precious"
    precious.mkdir()
    scenario.journal.begin_attempt(
        scenario.job(), SETTINGS, Resources(), number=1, staging_folder=precious, preloaded=True
    )
    with pytest.raises(StemsplitError, match="is damaged"):
        recover(scenario.journal, scenario.output)
    assert precious.exists()


def test_recovery_follows_no_links_out_of_the_output(scenario: Scenario, tmp_path: Path) -> None:
    """A staging folder behind such a link is not deleted."""
    scenario.begin_run("song")
    (tmp_path / "elsewhere" / ".stemsplit-1").mkdir(parents=True)
    (scenario.output / "link").symlink_to(tmp_path / "elsewhere")
    scenario.journal.begin_attempt(
        scenario.job(),
        SETTINGS,
        Resources(),
        number=1,
        staging_folder=scenario.output / "link" / ".stemsplit-1",
        preloaded=True,
    )
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=1)
    assert (tmp_path / "elsewhere" / ".stemsplit-1").exists()


@pytest.mark.parametrize("published", [0, 1, 2])
def test_recovery_after_a_crash_during_publication(scenario: Scenario, published: int) -> None:
    """The remaining stems are published, and the track is done."""
    scenario.begin_run("song")
    staging = scenario.start_attempt()
    destinations = scenario.begin_publishing(staging)
    scenario.job().destination_path.mkdir()
    for name, path in list(destinations.items())[:published]:
        (staging / name).rename(path)
    assert recover(scenario.journal, scenario.output) == Recovery(published=1, dropped=0)
    assert {path.read_text() for path in destinations.values()} == {
        "song vocals",
        "song accompaniment",
    }
    assert scenario.state_of() is JobState.DONE
    assert not staging.exists()


def test_recovery_keeps_the_warnings_of_a_track(scenario: Scenario) -> None:
    """Each kind is counted once per track, as soon as the track is done."""
    scenario.begin_run("song", "other")
    scenario.begin_publishing(scenario.start_attempt())
    assert not scenario.journal.warning_counts(), "it is not done yet"
    recover(scenario.journal, scenario.output)
    assert scenario.journal.warning_counts() == {WarningKind.DAMAGED: 1, WarningKind.NOTE: 1}


def test_warnings_of_failed_tracks_do_not_count(scenario: Scenario) -> None:
    """A failed track counts as a failure."""
    scenario.begin_run("song")
    scenario.start_attempt()
    scenario.journal.record_outcome(
        Outcome(job=scenario.job(), reason=Reason.DAMAGED, warnings=WARNINGS)
    )
    assert not scenario.journal.warning_counts()


def test_recovery_does_not_accept_older_stems_as_new_ones(scenario: Scenario) -> None:
    """If the staging folder is empty, the track is waiting again."""
    scenario.begin_run("song")
    staging = scenario.start_attempt()
    destinations = scenario.begin_publishing(staging)
    scenario.job().destination_path.mkdir()
    for path in destinations.values():
        path.write_text("an older stem")
    for file in staging.iterdir():
        file.unlink()
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=1)
    assert scenario.state_of() is JobState.WAITING


def test_recovery_does_not_replace_untracked_files(scenario: Scenario) -> None:
    """The next run will refuse the track."""
    scenario.begin_run("song")
    destinations = scenario.begin_publishing(scenario.start_attempt())
    scenario.job().destination_path.mkdir()
    destinations["vocals.wav"].write_text("mine")
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=1)
    assert destinations["vocals.wav"].read_text() == "mine"


def test_a_stem_that_cannot_be_published_does_not_block_further_runs(scenario: Scenario) -> None:
    """The track is tried again and reports why it fails."""
    scenario.begin_run("song")
    destinations = scenario.begin_publishing(scenario.start_attempt())
    destinations["vocals.wav"].mkdir(parents=True)
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=1)


def test_a_partly_published_track_is_never_discarded(scenario: Scenario) -> None:
    """The other stem stays staged until it can be published."""
    scenario.begin_run("song")
    staging = scenario.start_attempt()
    destinations = scenario.begin_publishing(staging)
    scenario.job().destination_path.mkdir()
    (staging / "vocals.wav").rename(destinations["vocals.wav"])
    obstacle = destinations["accompaniment.wav"]
    obstacle.mkdir()
    for _ in range(2):
        assert recover(scenario.journal, scenario.output) == Recovery(
            published=0, dropped=0, stuck=1
        )
        assert scenario.state_of() is JobState.PUBLISHING
        assert (staging / "accompaniment.wav").read_text() == "song accompaniment"
    obstacle.rmdir()
    assert recover(scenario.journal, scenario.output) == Recovery(published=1, dropped=0)
    assert obstacle.read_text() == "song accompaniment"


def test_overwriting_discards_a_partly_published_track(scenario: Scenario) -> None:
    """With `--overwrite`, all of its stems are made again."""
    scenario.begin_run("song")
    staging = scenario.start_attempt()
    destinations = scenario.begin_publishing(staging)
    scenario.job().destination_path.mkdir()
    (staging / "vocals.wav").rename(destinations["vocals.wav"])
    destinations["accompaniment.wav"].mkdir()
    recovery = recover(scenario.journal, scenario.output, overwrite=True)
    assert recovery == Recovery(published=0, dropped=1)
    assert not staging.exists()


def test_a_single_published_stem_can_be_replaced(scenario: Scenario) -> None:
    """The journal owns it, even though the other stem is lost."""
    scenario.begin_run("song")
    staging = scenario.start_attempt()
    destinations = scenario.begin_publishing(staging)
    scenario.job().destination_path.mkdir()
    (staging / "vocals.wav").rename(destinations["vocals.wav"])
    (staging / "accompaniment.wav").unlink()
    staging.rmdir()
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=1)
    assert list(scenario.journal.owned_files()) == [b"song/vocals.wav"]


def test_recovery_after_a_failed_batch(scenario: Scenario) -> None:
    """A published but unrecorded track is done; a running one is waiting again."""
    scenario.begin_run("song", "other")
    staging = scenario.start_attempt()
    publish(staging, scenario.begin_publishing(staging))
    scenario.start_attempt("other")
    assert recover(scenario.journal, scenario.output) == Recovery(published=1, dropped=1)
    assert (scenario.state_of(), scenario.state_of("other")) == (JobState.DONE, JobState.WAITING)
    assert scenario.journal.unfinished_jobs() == []


def test_a_failure_during_publication_keeps_the_attempt_open(scenario: Scenario) -> None:
    """The stems on disk can still be published."""
    scenario.begin_run("song")
    scenario.begin_publishing(scenario.start_attempt())
    outcome = Outcome(
        job=scenario.job(), reason=Reason.UNWRITABLE, message="No.", attempts=(_attempt(),)
    )
    scenario.journal.record_outcome(outcome)
    assert scenario.state_of() is JobState.PUBLISHING
    assert len(scenario.journal.unfinished_jobs()) == 1
    scenario.journal.cancel_publishing(scenario.job())
    scenario.journal.record_outcome(outcome)
    assert scenario.state_of() is JobState.FAILED


def test_the_journal_can_be_read_during_a_transaction(scenario: Scenario) -> None:
    """`status` and `--dry-run` read a journal that is in use."""
    scenario.begin_run("song")
    with (
        JournalReader(scenario.path, scenario.output) as reader,
        scenario.journal._transaction() as db,
    ):
        db.execute("UPDATE jobs SET message = 'half'")
        assert reader.state_counts() == {JobState.WAITING: (1, 60.0)}


def test_a_journal_of_a_newer_version_is_refused(scenario: Scenario) -> None:
    """This version might misread it."""
    scenario.journal._db.execute("PRAGMA user_version = 99")
    with pytest.raises(StemsplitError, match="newer version of stemsplit"):
        Journal(scenario.path, scenario.output)


def test_a_journal_without_a_schema_counts_as_missing(tmp_path: Path) -> None:
    """Its run has just begun, or was killed at the very beginning."""
    assert JournalReader.open_existing(tmp_path / "journal", tmp_path) is None
    sqlite3.connect(tmp_path / "journal").close()
    (tmp_path / "journal").touch()
    assert JournalReader.open_existing(tmp_path / "journal", tmp_path) is None
    Journal(tmp_path / "journal", tmp_path).__exit__()
    journal = JournalReader.open_existing(tmp_path / "journal", tmp_path)
    assert journal is not None
    journal.__exit__()


@pytest.mark.parametrize(
    ("path", "uri"),
    [("/music/a b/?#", "file:///music/a%20b/%3F%23"), ("//nas/music", "file:////nas/music")],
)
def test_uris_of_databases(monkeypatch: pytest.MonkeyPatch, path: str, uri: str) -> None:
    """`pathlib` makes the server of a Windows network share the host of the URI."""
    if path.startswith("//"):
        monkeypatch.setattr(Path, "as_uri", lambda _self: "file://nas/music")
    assert _uri(Path(path)) == uri


def test_an_interrupted_migration_is_repeated(tmp_path: Path) -> None:
    """Schema and version change in one transaction."""
    path = tmp_path / "journal"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("BEGIN; CREATE TABLE runs (id INTEGER); ROLLBACK;")
    with Journal(path, tmp_path) as journal:
        assert journal.job_records() == {}


def test_a_damaged_journal_is_reported(tmp_path: Path) -> None:
    """The error has a remedy."""
    (tmp_path / "journal").write_text("no database" * 1000)
    with pytest.raises(StemsplitError, match=r"is damaged.*Move it away"):
        Journal(tmp_path / "journal", tmp_path)


def test_a_full_disk_and_a_read_only_one_are_different_errors(scenario: Scenario) -> None:
    """A failed transaction writes nothing."""
    scenario.begin_run("song")
    pages = scenario.journal._db.execute("PRAGMA page_count").fetchone()[0]
    scenario.journal._db.execute(f"PRAGMA max_page_count = {pages}")
    probe = Probe(size_bytes=1, modified_ns=2, tags=Tags(title="x" * 10**5))
    with pytest.raises(DiskFullError):
        scenario.journal.record_probes({b"/x": probe})
    assert scenario.journal.probes() == {}, "the transaction was rolled back"
    scenario.journal._db.execute("PRAGMA query_only = ON")
    with pytest.raises(UnwritableError):
        scenario.journal.record_probes({b"/x": probe})


def test_names_need_not_be_utf_8(scenario: Scenario) -> None:
    """Paths are stored as bytes."""
    name = os.fsdecode(b"caf\xe9 \xff")
    scenario.begin_run(name)
    destinations = scenario.begin_publishing(scenario.start_attempt(name), name)
    recover(scenario.journal, scenario.output)
    assert all(path.exists() for path in destinations.values())
    assert scenario.state_of(name) is JobState.DONE


def test_missing_hashes_of_sources_are_added(scenario: Scenario) -> None:
    """The next run that finds the file unchanged adds the hash; later runs keep it."""

    def recorded_hashes(modified_ns: int, sample: bytes) -> tuple[bytes, bytes]:
        wanted = Provenance(
            source_bytes=1, source_modified_ns=modified_ns, settings="{}", sample=sample
        )
        entry = JobEntry(
            job=scenario.job(), wanted=wanted, predicted_seconds=1, state=JobState.DONE
        )
        scenario.journal.begin_run(SETTINGS, [entry], version="1")
        record = scenario.journal.job_records()[scenario.journal.job_key(scenario.job())]
        assert record.published is not None
        return record.wanted.sample, record.published.sample

    scenario.begin_run("song")
    publish(
        scenario.output / ".stemsplit-song1", scenario.begin_publishing(scenario.start_attempt())
    )
    scenario.journal.record_outcome(
        Outcome(job=scenario.job(), reason=Reason.DONE, attempts=(_attempt(),))
    )
    assert recorded_hashes(3, b"another time") == (b"", b"")
    assert recorded_hashes(2, b"first") == (b"first", b"first")
    assert recorded_hashes(2, b"second") == (b"first", b"first")


def test_a_journal_of_an_older_version_is_migrated(tmp_path: Path) -> None:
    """Done tracks stay done, and new columns are empty."""
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
    # A dry run reads the journal without migrating it.
    with JournalReader(tmp_path / "journal", tmp_path) as reader:
        assert reader.past_attempts(Settings(), preloaded=True) == []
        assert reader.job_records()[b"a"].wanted.sample == b""
    with Journal(tmp_path / "journal", tmp_path) as journal:
        assert journal.version == SCHEMA_VERSION
        assert journal.job_records()[b"a"].state is JobState.DONE
        assert journal._db.execute("SELECT stem, number FROM stems").fetchall() == [(None, None)]
        assert journal._db.execute("SELECT warnings FROM jobs").fetchall() == [("[]",)]


def test_an_unreadable_probe_is_ignored(scenario: Scenario) -> None:
    """A wrong sample rate in the header of a file must not make the journal unusable."""
    rate = Probe(size_bytes=1, modified_ns=2, sample_rate=2**63)
    scenario.journal.record_probes(
        {b"/liar.aiff": rate, b"/b.wav": Probe(size_bytes=3, modified_ns=4)}
    )
    assert [*scenario.journal.probes()] == [b"/b.wav"]


def test_only_staging_folders_of_ended_attempts_are_deleted(
    scenario: Scenario, tmp_path: Path
) -> None:
    """Those of a pool without a journal stay, and so do folders behind a link out of the output."""
    scenario.begin_run("song")
    ended = scenario.start_attempt()
    scenario.journal.end_attempt(scenario.job(), _attempt(Reason.CRASHED))
    running = scenario.start_attempt(number=2)
    other = scenario.output / f"{STAGING_PREFIX}{'0' * 32}"
    other.mkdir()
    linked = tmp_path / "elsewhere" / ended.name
    linked.mkdir(parents=True)
    (scenario.output / "link").symlink_to(linked.parent)
    remove_staging_folders(
        scenario.journal, scenario.output, [scenario.output / "link", scenario.output / "absent"]
    )
    assert not ended.exists()
    assert running.exists()
    assert other.exists()
    assert linked.exists()


def test_an_overlong_name_of_a_staging_folder_is_ignored(scenario: Scenario) -> None:
    """A journal of unknown origin may contain any name."""
    scenario.begin_run("song")
    destinations = scenario.begin_publishing(scenario.start_attempt())
    long = STAGING_PREFIX + "x" * 300
    scenario.journal._db.execute("UPDATE attempts SET work_folder = ?", (long.encode(),))
    assert recover(scenario.journal, scenario.output) == Recovery(published=0, dropped=1)
    assert not any(path.exists() for path in destinations.values())
