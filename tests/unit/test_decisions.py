"""Destinations of stems and decisions about tracks, with real files and a real journal."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace as replace_probe

from stemsplit.batch.decisions import Action, RedoPolicy, decide, wanted_of
from stemsplit.batch.existing_files import JournalKnowledge, inspect_destination, look_up
from stemsplit.core.errors import OutputExistsError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import Attempt, Outcome, Reason
from stemsplit.core.probe import Probe
from stemsplit.core.settings import Settings
from stemsplit.journal.job_records import JobEntry, JobState, settings_key, stem_paths
from stemsplit.journal.reader import JournalReader
from stemsplit.journal.stem_records import pending_stems
from stemsplit.journal.writer import Journal
from stemsplit.library.destinations import PlannedTrack, StemNamer, assign_destinations
from stemsplit.library.naming import DEFAULT_NAME, Template
from stemsplit.library.tracks import Track
from stemsplit.storage.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.batch.decisions import Decision

STEMS = ("vocals", "accompaniment")
NAMES = frozenset({*STEMS, "drums"})
PROBE = Probe(size_bytes=1000, modified_ns=5, seconds=60.0)
SETTINGS = Settings()
POLICY = RedoPolicy(settings=settings_key(SETTINGS), version="1")


def _namer(output: Path, name: str = DEFAULT_NAME) -> StemNamer:
    return StemNamer(
        output=output,
        template=Template.parse(name),
        model="2stems",
        stems=STEMS,
        first=STEMS[0],
        ext="wav",
    )


def _assign(output: Path, *tracks: tuple[str, str], name: str = DEFAULT_NAME) -> list[PlannedTrack]:
    found = [(Track(path=Path(path), folder=Path(folder)), PROBE) for path, folder in tracks]
    return assign_destinations(found, _namer(output, name), NAMES)


def test_tracks_keep_their_folder_below_the_output(tmp_path: Path) -> None:
    """The path is OUT / folder below the input / name without extension."""
    (planned,) = _assign(tmp_path, ("/music/a/one.two.wav", "a"))
    assert planned.job.destination_path == tmp_path / "a" / "one.two"
    assert planned.job.paths["vocals"] == tmp_path / "a" / "one.two" / "vocals.wav"


@pytest.mark.parametrize(
    ("path", "other", "placeholder"),
    [
        ("/x/song.wav", "/x/song.flac", "{source_ext}"),
        ("/x/song.wav", "/y/song.wav", "{foldername}"),
        ("/x/song.wav", "/x/SONG.wav", "{id}"),
        ("/x/song*.wav", "/x/song?.wav", "{id}"),
        ("/x/s\u00f3ng.wav", "/x/so\u0301ng.wav", "{id}"),
    ],
)
def test_two_tracks_never_share_a_destination(
    tmp_path: Path, path: str, other: str, placeholder: str
) -> None:
    """Both are refused; the remedy suggests a template that gives them different names."""
    planned = _assign(tmp_path, (path, "."), (other, "."), ("/z/third.wav", "."))
    first, second, third = (
        decide(
            track,
            inspect_destination(track.job),
            JournalKnowledge(record=None, owned=frozenset()),
            POLICY,
        )
        for track in planned
    )
    assert (first.action, second.action, third.action) == (
        Action.REFUSE,
        Action.REFUSE,
        Action.SEPARATE,
    )
    assert other in first.why
    assert path in second.why
    assert placeholder in first.remedy
    name = first.remedy.split("'")[1]
    planned = _assign(tmp_path, (path, "."), (other, "."), name=name)
    assert [track.collision for track in planned] == [None, None]


def test_a_file_where_another_track_needs_a_folder_is_a_collision(tmp_path: Path) -> None:
    """`a/vocals.wav` cannot be a stem and the folder of another track's stems."""
    planned = _assign(tmp_path, ("/x/a.wav", "."), ("/x/a/vocals.wav.mp3", "a"))
    assert all(track.collision is not None for track in planned)


@pytest.mark.parametrize("name", [DEFAULT_NAME, "{relpath}/{track} {stem}.{ext}"])
def test_stems_of_an_earlier_run_are_not_tracks(tmp_path: Path, name: str) -> None:
    """In a library separated into itself, a file named like a stem of a track is a stem."""
    flat = name != DEFAULT_NAME
    stems = (
        ["song vocals.wav", "song drums.flac"] if flat else ["song/vocals.wav", "song/drums.flac"]
    )
    library = ["song.wav", *stems, "song/live.wav", "other/vocals.wav"]
    tracks = [(str(tmp_path / file), str(Path(file).parent)) for file in library]
    found = [
        planned.track.path.relative_to(tmp_path)
        for planned in _assign(tmp_path, *tracks, name=name)
    ]
    assert [str(path) for path in found] == ["song.wav", "song/live.wav", "other/vocals.wav"]


def test_stems_of_a_missing_source_are_not_tracks(tmp_path: Path) -> None:
    """In a library separated into itself, the journal records them."""
    path = tmp_path / "missing" / "vocals.wav"
    track = Track(path=path, folder=Path("missing"))
    namer = _namer(tmp_path)
    assert len(assign_destinations([(track, PROBE)], namer, NAMES)) == 1
    assert assign_destinations([(track, PROBE)], namer, NAMES, [b"missing/vocals.wav"]) == []


@dataclass
class Scenario:
    """An output folder with a journal, a track, and runs over it."""

    output: Path
    journal: Journal
    planned: PlannedTrack
    redo_policy: RedoPolicy = POLICY

    def decide(self, planned: PlannedTrack | None = None, **redo_policy: object) -> Decision:
        """Decide about the track in its current state."""
        planned = planned or self.planned
        existing = inspect_destination(planned.job)
        knowledge = look_up(
            planned, existing, self.journal.job_records(), self.journal.owned_files(), self.output
        )
        return decide(planned, existing, knowledge, replace(self.redo_policy, **redo_policy))  # type: ignore[arg-type]

    def begin_run(
        self, settings: Settings = SETTINGS, *, overwrite: bool = False, is_done: bool = False
    ) -> None:
        """Begin a run with the track."""
        replaceable = None
        if overwrite:
            paths = stem_paths(self.planned.job, self.output)
            replaceable = {
                paths[stem]: fingerprint
                for stem, fingerprint in inspect_destination(self.planned.job).fingerprints.items()
            }
        entry = JobEntry(
            job=self.planned.job,
            wanted=wanted_of(
                self.planned, replace(self.redo_policy, settings=settings_key(settings))
            ),
            predicted_seconds=60,
            state=JobState.DONE if is_done else JobState.WAITING,
            replaceable=replaceable,
        )
        self.journal.begin_run(settings, [entry], version="1")

    def run_attempt(
        self, reason: Reason, text: str = "stem", settings: Settings = SETTINGS, **options: bool
    ) -> None:
        """Begin a run, and let an attempt at the track end."""
        job, staging = self.planned.job, self.output / ".staging"
        self.begin_run(settings, **options)
        self.journal.begin_attempt(
            job, settings, Resources(), number=1, staging_folder=staging, preloaded=False
        )
        if reason is Reason.DONE:
            staging.mkdir()
            for stem in job.stems:
                (staging / f"{stem}.wav").write_text(text)
            moves = {f"{stem}.wav": path for stem, path in job.paths.items()}
            pending = pending_stems(staging, moves, self.output)
            self.journal.begin_publishing(job, pending, overwrite=bool(options.get("overwrite")))
            publish(staging, moves)
        attempt = Attempt(number=1, resources=Resources(), reason=reason, seconds=1)
        self.journal.record_outcome(
            Outcome(job=job, reason=reason, message=f"it was {reason}.", attempts=(attempt,))
        )


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    """An empty output folder."""
    output = tmp_path / "out"
    output.mkdir()
    (planned,) = _assign(output, ("/music/song.wav", "."))
    with Journal(tmp_path / "journal", output) as journal:
        yield Scenario(output, journal, planned)


def _with_source(
    scenario: Scenario, path: str = "/elsewhere/song.wav", **probe: object
) -> PlannedTrack:
    (planned,) = _assign(scenario.output, (path, "."))
    changed = {"size_bytes": PROBE.size_bytes, "modified_ns": PROBE.modified_ns} | probe
    return replace(planned, probe=Probe(**changed))  # type: ignore[arg-type]


def test_a_new_track_is_separated_once(scenario: Scenario) -> None:
    """This is the common case."""
    assert (scenario.decide().action, scenario.decide().why) == (Action.SEPARATE, "new")
    scenario.run_attempt(Reason.DONE)
    assert (scenario.decide().action, scenario.decide().why) == (Action.SKIP, "done")


def test_a_changed_source_is_separated_again(scenario: Scenario) -> None:
    """Either its size or its time has changed."""
    scenario.run_attempt(Reason.DONE)
    for change in ({"size_bytes": 1001}, {"modified_ns": 6 * 10**9}):
        decision = scenario.decide(_with_source(scenario, "/music/song.wav", **change))
        assert (decision.action, decision.why) == (Action.SEPARATE, "the file has changed")


@pytest.mark.parametrize("apart", [3600, -3600, 3601, -3599])
@pytest.mark.parametrize("reason", [Reason.DONE, Reason.CRASHED])
def test_daylight_saving_changes_no_decision(
    scenario: Scenario, apart: int, reason: Reason
) -> None:
    """A file on FAT whose time shifted by an hour is unchanged if its content is."""
    modified_ns = PROBE.modified_ns + apart * 10**9
    scenario.planned = replace(scenario.planned, probe=replace_probe(PROBE, sample=b"x" * 16))
    scenario.run_attempt(reason)
    expected = Action.SKIP if reason is Reason.DONE else Action.SKIP_FAILED
    same = _with_source(scenario, "/music/song.wav", modified_ns=modified_ns, sample=b"x" * 16)
    assert scenario.decide(same).action is expected
    moved = _with_source(scenario, modified_ns=modified_ns, sample=b"x" * 16)
    assert scenario.decide(moved).action is expected, "also if the disk is mounted elsewhere"
    changed = _with_source(scenario, "/music/song.wav", modified_ns=modified_ns, sample=b"y" * 16)
    assert scenario.decide(changed).action is Action.SEPARATE


def test_daylight_saving_does_not_disown_a_stem(scenario: Scenario) -> None:
    """A stem on FAT may still be replaced after the shift; an edited stem may not."""
    scenario.run_attempt(Reason.DONE)
    vocals = scenario.planned.job.paths["vocals"]
    modified_ns = vocals.stat().st_mtime_ns
    settings = settings_key(Settings(bit_depth="16"))
    for apart, action in ((3600, Action.SEPARATE), (-3600, Action.SEPARATE), (7200, Action.REFUSE)):
        os.utime(vocals, ns=(0, modified_ns + apart * 10**9))
        assert scenario.decide(settings=settings).action is action


def test_changed_settings_cause_another_separation(scenario: Scenario) -> None:
    """Settings that do not affect the stems do not count."""
    scenario.run_attempt(Reason.DONE)
    decision = scenario.decide(settings=settings_key(Settings(bit_depth="16")))
    assert (decision.action, decision.why) == (Action.SEPARATE, "the settings have changed")
    assert scenario.decide(settings=settings_key(Settings(threads=3))).action is Action.SKIP


def test_missing_stems_cause_another_separation(scenario: Scenario) -> None:
    """One missing stem is enough."""
    scenario.run_attempt(Reason.DONE)
    scenario.planned.job.paths["vocals"].unlink()
    assert (scenario.decide().action, scenario.decide().why) == (
        Action.SEPARATE,
        "stems are missing: vocals",
    )


def test_an_edited_stem_is_replaced_only_on_request(scenario: Scenario) -> None:
    """The track is skipped if it is done, and refused if it must be separated again."""
    scenario.run_attempt(Reason.DONE)
    scenario.planned.job.paths["vocals"].write_text("edited")
    assert scenario.decide().action is Action.SKIP
    scenario.planned.job.paths["accompaniment"].unlink()
    decision = scenario.decide()
    assert decision.action is Action.REFUSE
    assert "vocals.wav” was modified" in decision.why
    assert scenario.decide(overwrite=True).action is Action.SEPARATE


def test_a_moved_source_is_the_same_track(scenario: Scenario) -> None:
    """The disk may be mounted elsewhere; all other rules still apply."""
    scenario.run_attempt(Reason.DONE)
    moved = _with_source(scenario)
    assert scenario.decide(moved).action is Action.SKIP
    bit_depth = settings_key(Settings(bit_depth="16"))
    assert scenario.decide(moved, settings=bit_depth).why == "the settings have changed"
    scenario.planned.job.paths["vocals"].unlink()
    assert scenario.decide(moved).why == "stems are missing: vocals"
    scenario.run_attempt(Reason.CRASHED)
    assert scenario.decide(moved).action is Action.SKIP_FAILED


def test_a_source_that_was_moved_and_then_changed_is_the_same_track(scenario: Scenario) -> None:
    """The journal records its new path."""
    scenario.run_attempt(Reason.DONE)
    scenario.planned = _with_source(scenario)
    scenario.begin_run(is_done=True)
    changed = _with_source(scenario, modified_ns=99 * 10**9)
    assert (scenario.decide(changed).action, scenario.decide(changed).why) == (
        Action.SEPARATE,
        "the file has changed",
    )


def test_a_finished_track_keeps_its_destination(scenario: Scenario) -> None:
    """A later `song.mp3` beside a finished `song.wav` is refused."""
    scenario.run_attempt(Reason.DONE)
    old, new = _assign(scenario.output, ("/music/song.wav", "."), ("/music/song.mp3", "."))
    assert scenario.decide(old).action is Action.SKIP
    assert scenario.decide(new).action is Action.REFUSE


def test_files_with_equal_fingerprints_are_different_tracks(
    scenario: Scenario, tmp_path: Path
) -> None:
    """Unpacked files may be equal in size and time; only a missing file has moved."""
    first = tmp_path / "01.wav"
    first.touch()
    (scenario.planned,) = _assign(scenario.output, (str(first), "."))
    scenario.run_attempt(Reason.DONE)
    second = tmp_path / "b" / "01.wav"
    second.parent.mkdir()
    second.touch()
    other = replace(scenario.planned, track=Track(path=second, folder=Path()))
    other = replace(other, job=Job.of(second, other.job.paths))
    assert scenario.decide(other).action is Action.REFUSE
    second.unlink()
    second.symlink_to(first)
    assert scenario.decide(other).action is Action.SKIP, "the same file by another path"
    second.unlink()
    first.rename(second)
    assert scenario.decide(other).action is Action.SKIP, "moved"


def test_a_mistaken_setting_does_not_redo_finished_tracks(scenario: Scenario) -> None:
    """A run with other settings did not reach the track, so its stems are still valid."""
    scenario.run_attempt(Reason.DONE)
    scenario.begin_run(Settings(bit_depth="16"))
    assert (scenario.decide().action, scenario.decide().why) == (Action.SKIP, "done")


def test_a_return_to_a_smaller_model_replaces_stems(scenario: Scenario) -> None:
    """The journal owns the stems of both models."""
    scenario.run_attempt(Reason.DONE)
    two, four = scenario.planned, Settings(model="4stems")
    paths = {stem: two.job.destination_path / f"{stem}.wav" for stem in ("vocals", "drums")}
    scenario.planned = replace(two, job=Job.of(two.track.path, paths))
    scenario.run_attempt(Reason.DONE, settings=four)
    assert (scenario.decide(two).action, scenario.decide(two).why) == (
        Action.SEPARATE,
        "the settings have changed",
    )


def test_stems_of_another_track_are_not_replaced(scenario: Scenario) -> None:
    """A song of the same name in another folder is refused."""
    scenario.run_attempt(Reason.DONE)
    decision = scenario.decide(_with_source(scenario, size_bytes=7))
    assert decision.action is Action.REFUSE
    assert "/music/song.wav" in decision.why
    assert (
        scenario.decide(_with_source(scenario, size_bytes=7), overwrite=True).action
        is Action.SEPARATE
    )


@pytest.mark.parametrize("reason", ["bad_input", "crashed", "stalled", "over_ram_cap"])
def test_failures_of_the_track_are_retried_only_on_request(scenario: Scenario, reason: str) -> None:
    """Another run does not spend time on the same broken files."""
    scenario.run_attempt(Reason(reason))
    decision = scenario.decide()
    assert (decision.action, decision.reason) == (Action.SKIP_FAILED, Reason(reason))
    assert "--retry-failed" in decision.remedy
    assert scenario.decide(retry_failed=True).action is Action.SEPARATE
    assert scenario.decide(version="2").action is Action.SEPARATE, "a newer version may succeed"
    assert (
        scenario.decide(_with_source(scenario, "/music/song.wav", size_bytes=1)).action
        is Action.SEPARATE
    )


def test_damage_stays_failed_until_it_is_accepted(scenario: Scenario) -> None:
    """Accepting it is enough; `--retry-failed` also works, but is not suggested."""
    scenario.run_attempt(Reason.DAMAGED)
    decision = scenario.decide()
    assert (decision.action, decision.reason) == (Action.SKIP_FAILED, Reason.DAMAGED)
    assert "--retry-failed" not in decision.remedy
    accepted = scenario.decide(accept_damaged=True)
    assert (accepted.action, accepted.why) == (Action.SEPARATE, "failed, to be tried again")
    assert scenario.decide(retry_failed=True).action is Action.SEPARATE


def test_accepting_damage_retries_nothing_else(scenario: Scenario) -> None:
    """Other failed tracks stay failed, and finished tracks stay done."""
    scenario.run_attempt(Reason.CRASHED)
    assert scenario.decide(accept_damaged=True).action is Action.SKIP_FAILED
    scenario.run_attempt(Reason.DONE)
    accepting = settings_key(Settings(accept_damaged=True))
    assert scenario.decide(settings=accepting, accept_damaged=True).action is Action.SKIP


@pytest.mark.parametrize("reason", ["disk_full", "unwritable", "cancelled", "no_memory"])
def test_failures_of_the_machine_are_retried(scenario: Scenario, reason: str) -> None:
    """They do not depend on the track."""
    scenario.run_attempt(Reason(reason))
    assert scenario.decide().action is Action.SEPARATE


def test_an_interrupted_overwrite_continues_without_the_option(scenario: Scenario) -> None:
    """The track is not done until its stems are replaced, even if they are complete."""
    scenario.run_attempt(Reason.DONE)
    scenario.planned.job.paths["vocals"].write_text("edited")
    scenario.begin_run(overwrite=True)
    assert (scenario.decide().action, scenario.decide().why) == (Action.SEPARATE, "not done yet")
    scenario.planned.job.paths["vocals"].write_text("edited again")
    assert scenario.decide().action is Action.REFUSE, (
        "the user did not agree to replace this version"
    )


def test_untracked_stems(scenario: Scenario) -> None:
    """The track is skipped if all stems exist, and refused if only some do."""
    paths = scenario.planned.job.paths
    paths["vocals"].parent.mkdir()
    paths["vocals"].touch()
    assert scenario.decide().action is Action.REFUSE
    assert scenario.decide(overwrite=True).action is Action.SEPARATE
    paths["accompaniment"].touch()
    assert scenario.decide().action is Action.SKIP
    scenario.begin_run(overwrite=True)
    assert (scenario.decide().action, scenario.decide().why) == (Action.SEPARATE, "not done yet")


def test_a_file_created_during_an_attempt_is_not_replaced(scenario: Scenario) -> None:
    """The same is true of a stem that was edited; both are checked before publishing."""
    paths = scenario.planned.job.paths
    paths["vocals"].parent.mkdir()
    paths["vocals"].write_text("mine")
    with pytest.raises(OutputExistsError, match="created or changed while"):
        scenario.run_attempt(Reason.DONE)
    shutil.rmtree(scenario.output / ".staging")
    scenario.run_attempt(Reason.DONE, overwrite=True)
    assert paths["vocals"].read_text() == "stem"
    paths["vocals"].write_text("edited")
    with pytest.raises(OutputExistsError):
        scenario.run_attempt(Reason.DONE)


def test_stems_that_could_not_all_be_published_are_reported(scenario: Scenario) -> None:
    """The next run refuses the track; a dry run before it expects to publish the rest."""
    scenario.begin_run()
    job, staging = scenario.planned.job, scenario.output / ".staging"
    scenario.journal.begin_attempt(
        job, SETTINGS, Resources(), number=1, staging_folder=staging, preloaded=False
    )
    staging.mkdir()
    for stem in STEMS:
        (staging / f"{stem}.wav").touch()
    moves = {f"{stem}.wav": path for stem, path in job.paths.items()}
    pending = pending_stems(staging, moves, scenario.output)
    scenario.journal.begin_publishing(job, pending, overwrite=False)
    assert "could not be published" in scenario.decide().why
    assert scenario.decide().action is Action.REFUSE
    assert scenario.decide(recovered=False).action is Action.SKIP


def test_obstacles_are_refused(scenario: Scenario) -> None:
    """They are a file instead of a folder, a folder instead of a file, or a broken link."""
    scenario.planned.job.destination_path.touch()
    assert "song” is in the way" in scenario.decide().why
    scenario.planned.job.destination_path.unlink()
    vocals = scenario.planned.job.paths["vocals"]
    vocals.mkdir(parents=True)
    assert "vocals.wav” is in the way" in scenario.decide(overwrite=True).why
    vocals.rmdir()
    vocals.symlink_to(scenario.output / "missing disk" / "vocals.wav")
    assert scenario.decide().action is Action.REFUSE


def test_an_inaccessible_stem_is_not_missing(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a network disk must not cause another separation."""
    scenario.run_attempt(Reason.DONE)

    def fail(_self: Path, **_more: object) -> os.stat_result:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "stat", fail)
    decision = scenario.decide()
    assert decision.action is Action.REFUSE
    assert "cannot be accessed (Input/output error)" in decision.why


def test_destinations_are_relative_so_that_the_output_can_be_moved(
    scenario: Scenario, tmp_path: Path
) -> None:
    """Nothing is separated again after the output folder and its journal were moved."""
    scenario.run_attempt(Reason.DONE)
    moved = tmp_path / "moved"
    scenario.output.rename(moved)
    (planned,) = _assign(moved, ("/music/song.wav", "."))
    with JournalReader(tmp_path / "journal", moved) as journal:
        existing = inspect_destination(planned.job)
        knowledge = look_up(planned, existing, journal.job_records(), journal.owned_files(), moved)
    assert decide(planned, existing, knowledge, POLICY).action is Action.SKIP
    assert knowledge.owned == set(STEMS)
