"""Batches over libraries with full disks, unusual names, battery power and changing files."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import campaign
import mediafile
import msgspec
import numpy as np
import psutil
import pytest
import soundfile

from stemsplit import Control, separate, status
from stemsplit.batch import events
from stemsplit.core.errors import DiskFullError, StemsplitError, UnwritableError, UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.outcome import Reason
from stemsplit.core.settings import Settings
from stemsplit.executors import start_gates
from stemsplit.journal.job_records import JobState
from stemsplit.journal.reader import JournalReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from stemsplit.core.limits import Order
    from stemsplit.core.settings import BitDepth, StemFormat

pytestmark = pytest.mark.usefixtures("real_models")

HALF = Settings(engine="fake_engines:half")
SLOW = Settings(engine="fake_engines:slow")
STEMS = {"vocals.wav", "accompaniment.wav"}
SEVEN = ["a.wav", "b.wav", "c.wav", "d.wav", "e.wav", "f.wav", "g.wav"]


@pytest.fixture
def library(tmp_path: Path, song_file: Path) -> Path:
    """Seven tracks of four seconds."""
    folder = tmp_path / "library"
    folder.mkdir()
    for name in SEVEN:
        shutil.copy(song_file, folder / name)
    return folder


def _states(output: Path) -> dict[str, JobState]:
    with JournalReader(output / ".stemsplit/journal.sqlite3", output) as journal:
        return {
            Path(os.fsdecode(record.source)).name: record.state
            for record in journal.job_records().values()
        }


def _complete_tracks(output: Path) -> list[str]:
    """Return the visible tracks, after checking that none is incomplete."""
    tracks = list(campaign.visible_tracks(output))
    for track in tracks:
        assert {file.name for file in track.iterdir()} == STEMS
    assert not list(output.rglob(".stemsplit-*"))
    return sorted(str(track.relative_to(output)) for track in tracks)


# Disks


@pytest.fixture
def small_disk(mount: Callable[[str], Path]) -> Path:
    """A disk of 16 MiB, which has space for little more than seven tracks."""
    return mount("16m")


def _fatal_error(
    library: Path, output: Path, on_event: Callable[[events.Event], None]
) -> StemsplitError:
    """Run a batch; return the error that stops it, which a track or the journal may cause."""
    try:
        result = separate([library], output, HALF, jobs=2, on_event=on_event)
    except StemsplitError as error:
        return error
    assert result.stopped
    last = result.failures[-1]
    classes = {Reason.DISK_FULL: DiskFullError, Reason.UNWRITABLE: UnwritableError}
    return classes[last.reason](last.message)


def test_a_disk_that_fills_up_during_a_batch(library: Path, small_disk: Path) -> None:
    """The batch stops with an error; with free space, the same command finishes it."""
    filler, output = small_disk / "filler", small_disk / "out"

    def fill(event: events.Event) -> None:
        if isinstance(event, events.TrackDone) and not filler.exists():
            with filler.open("wb") as file:
                while True:
                    try:
                        file.write(bytes(2**16))
                        file.flush()
                    except OSError:
                        break

    with pytest.raises(DiskFullError):
        raise _fatal_error(library, output, fill)
    done = _complete_tracks(output)
    assert 1 <= len(done) < len(SEVEN)
    filler.unlink()
    result = separate([library], output, HALF, jobs=2)
    assert result.exit_code == 0
    assert len(result.skipped) >= len(done) - 1
    assert _complete_tracks(output) == [Path(name).stem for name in SEVEN]


def test_a_batch_ends_before_the_disk_is_full(
    library: Path, small_disk: Path, song: NDArray[np.float32]
) -> None:
    """A track that does not fit is not started, and the others are done."""
    soundfile.write(library / "z long.wav", np.tile(song, (12, 1)), 44_100)
    result = separate([library], small_disk, HALF, jobs=1)
    assert result.exit_code == 1
    (failure,) = result.failures
    assert failure.reason is Reason.DISK_FULL
    assert failure.attempts == ()
    assert "z long.wav" in failure.message
    assert len(_complete_tracks(small_disk)) == 7
    assert shutil.disk_usage(small_disk).free > 2**20


def test_a_folder_that_becomes_read_only_during_a_batch(library: Path, tmp_path: Path) -> None:
    """The batch stops with a message; when the folder is writable, the same command finishes it."""
    output = tmp_path / "out"
    command: list[str | Path] = [
        sys.executable,
        campaign.__file__,
        "--run",
        library,
        output,
        "fake_engines:slow",
    ]
    if os.geteuid() == 0:  # root ignores permissions unless the capabilities are dropped
        if shutil.which("setpriv") is None:
            pytest.skip("root ignores permissions without setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while not list(campaign.visible_tracks(output)) and time.monotonic() < deadline:
            time.sleep(0.01)
        for folder in (output, output / ".stemsplit"):
            folder.chmod(0o555)
        assert running.wait(timeout=60) == 1
        assert running.stderr is not None
        assert "cannot be written" in running.stderr.read()
    for folder in (output, output / ".stemsplit"):
        folder.chmod(0o755)
    visible = [path.name for path in output.iterdir() if not path.name.startswith(".")]
    assert 1 <= len(visible) < len(SEVEN)
    assert all({file.name for file in (output / name).iterdir()} == STEMS for name in visible)
    assert separate([library], output, SLOW, jobs=2).exit_code == 0
    assert _complete_tracks(output) == [Path(name).stem for name in SEVEN]


# Names

UNUSUAL_NAMES = {
    "plain.wav": "plain",
    "-rf.wav": "-rf",
    " leading space.wav": " leading space",
    "trailing dot..wav": "trailing dot_",
    "trailing space .wav": "trailing space_",
    "many... .wav": "many____",
    "new\nline.wav": "new_line",
    "tab\tand \x1b[31mred.wav": "tab_and _[31mred",
    "what?.wav": "what_",
    'q"uo*t|e<s>.wav': "q_uo_t_e_s_",
    "back\\slash.wav": "back_slash",
    "a:b.wav": "a_b",
    "CON.wav": "CON_",
    "nul.tar.wav": "nul_.tar",
    "💃🏽 👩‍👩‍👧 歌.wav": "💃🏽 👩‍👩‍👧 歌",
    "%s {stem} $HOME `id` 'x'.wav": "%s {stem} $HOME `id` 'x'",
    "[live] *.wav": "[live] _",
    unicodedata.normalize("NFC", "Ångström.wav"): unicodedata.normalize("NFC", "Ångström"),
    "nfd/" + unicodedata.normalize("NFD", "Ångström.wav"): "nfd/"
    + unicodedata.normalize("NFD", "Ångström"),
    "trailing./dir /song.wav": "trailing_/dir_/song",
    "x" * 251 + ".wav": "x" * 251,
    "ä" * 125 + ".wav": "ä" * 125,
    os.fsdecode(b"latin-1 caf\xe9.wav"): os.fsdecode(b"latin-1 caf\xe9"),
    "vocals.wav": "vocals",
    "no ending": "no ending",
}


def test_unusual_names_are_separated(song: NDArray[np.float32], tmp_path: Path) -> None:
    """Each track has its documented name, the next run recognises it, and nothing else exists."""
    library, output = tmp_path / "library", tmp_path / "out"
    for name in UNUSUAL_NAMES:
        path = library / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            soundfile.write(file, song[:4410], 44_100, format="WAV")
    result = separate([library], output, HALF, jobs=2)
    assert [outcome.message for outcome in result.failures] == []
    assert _complete_tracks(output) == sorted(UNUSUAL_NAMES.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["library", "out"]
    again = separate([library], output, HALF, jobs=2)
    assert (len(again.skipped), again.outcomes) == (len(UNUSUAL_NAMES), ())


def test_names_from_tags_stay_inside_the_output_folder(
    song: NDArray[np.float32], tmp_path: Path
) -> None:
    """Tags may contain path separators and `..`."""
    source = tmp_path / "song.flac"
    soundfile.write(source, song, 44_100)
    media = mediafile.MediaFile(source)
    media.artist, media.album, media.title = "../../etc", "/", "..\\x\0\n"
    media.save()
    output = tmp_path / "deep" / "out"
    name = "{artist}/{album}/{title}/{stem}.{ext}"
    assert separate([source], output, HALF, name=name).exit_code == 0
    assert _complete_tracks(output) == ["_._.._etc/_/_._x__"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "song.flac"]


def test_tracks_may_share_folders(library: Path, tmp_path: Path) -> None:
    """With a folder per stem, and with one folder for all stems."""
    for name in ("{stem}/{track}.{ext}", "{track} ({stem}).{ext}"):
        output = tmp_path / name[:3]
        assert separate([library], output, HALF, jobs=2, name=name).exit_code == 0
        files = [path for path in output.rglob("*.wav") if path.is_file()]
        assert len(files) == 2 * len(SEVEN)
        assert not list(output.rglob(".stemsplit-*"))
        assert len(separate([library], output, HALF, name=name).skipped) == len(SEVEN)


# Repeated runs


def test_only_changed_and_new_tracks_are_separated(
    library: Path, tmp_path: Path, song_file: Path
) -> None:
    """A changed source, a missing stem and a new track; all other stems stay untouched."""
    output = tmp_path / "out"
    separate([library], output, HALF, jobs=2)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.wav")}
    (library / "a.wav").write_bytes((library / "a.wav").read_bytes()[:-6])
    (output / "b/vocals.wav").unlink()
    shutil.copy(song_file, library / "new.wav")
    result = separate([library], output, HALF, jobs=2)
    assert sorted(outcome.job.source_path.stem for outcome in result.outcomes) == ["a", "b", "new"]
    after = {path: path.stat().st_mtime_ns for path in output.rglob("*.wav")}
    kept = [path for path in before if path.parent.name not in {"a", "b"}]
    assert all(before[path] == after[path] for path in kept)
    assert all(before[output / "a" / name] != after[output / "a" / name] for name in STEMS)


def test_failed_tracks_are_reported_until_they_are_retried(library: Path, tmp_path: Path) -> None:
    """Later runs skip and report the track with exit code 3; `status` lists it as well."""
    output = tmp_path / "out"
    (library / "b.wav").write_text("la la la")
    emitted: list[events.Event] = []
    assert separate([library], output, HALF, jobs=2).exit_code == 3
    again = separate([library], output, HALF, on_event=emitted.append)
    assert (again.exit_code, again.outcomes) == (3, ())
    assert [job.source_path.name for job in again.failed_earlier] == ["b.wav"]
    (failed,) = [event for event in emitted if isinstance(event, events.TrackFailed)]
    assert failed.earlier
    assert "--retry-failed" in failed.remedy
    report = status(output)
    assert (report.done, report.failed, report.left) == (6, 1, 0)
    assert [Path(failure.source).name for failure in report.failures] == ["b.wav"]
    retried = separate([library], output, HALF, retry_failed=True)
    assert [outcome.reason for outcome in retried.outcomes] == [Reason.BAD_INPUT]


def test_an_earlier_run_improves_the_prediction(song: NDArray[np.float32], tmp_path: Path) -> None:
    """Three tracks of 40 s are enough, also for the prediction of the next run."""
    sources = [tmp_path / f"{number}.wav" for number in range(4)]
    for source in sources:
        soundfile.write(source, np.tile(song, (10, 1)), 44_100)

    def predicted() -> events.PlanMade:
        emitted: list[events.Event] = []
        separate(sources, tmp_path / "out", HALF, jobs=1, dry_run=True, on_event=emitted.append)
        (plan,) = [event for event in emitted if isinstance(event, events.PlanMade)]
        return plan

    before = predicted()
    separate(sources[:3], tmp_path / "out", HALF, jobs=1)
    after = predicted()
    assert (before.separate, after.separate) == (4, 1)
    assert after.predicted_seconds < before.predicted_seconds / 4 / 2


def test_a_dry_run_writes_nothing(library: Path, tmp_path: Path) -> None:
    """It reports the plan, and does not create the output folder."""
    emitted: list[events.Event] = []
    output = tmp_path / "out"
    result = separate([library], output, HALF, dry_run=True, on_event=emitted.append)
    assert (result.exit_code, result.outcomes) == (0, ())
    assert not output.exists()
    plan = emitted[-1]
    assert isinstance(plan, events.PlanMade)
    assert plan.separate == 7
    assert plan.audio_seconds == pytest.approx(28, abs=0.1)
    assert plan.predicted_bytes == pytest.approx(28 * 44_100 * 2 * 3 * 2, rel=0.01)
    assert [event.why for event in emitted if isinstance(event, events.TrackPlanned)] == ["new"] * 7


def test_status_counts_only_the_selected_duration(library: Path, tmp_path: Path) -> None:
    """With a duration of one second, one second of each track is left."""
    control = Control()
    control.drain()
    one_second = msgspec.structs.replace(HALF, duration_seconds=1.0)
    result = separate([library], tmp_path / "out", one_second, control=control)
    assert len(result.not_started) == 7
    assert status(tmp_path / "out").audio_seconds_left == pytest.approx(7, abs=0.1)


# Overnight


def test_until_starts_only_tracks_that_finish_in_time(library: Path, tmp_path: Path) -> None:
    """A track of an hour is left for the next run, and shorter ones are done."""
    hour = np.zeros(44_100 * 3600, np.int16)
    soundfile.write(library / "0 hour.wav", hour, 44_100)
    # Between one and two minutes from now: enough for four seconds of audio, not for an hour.
    until = (dt.datetime.now() + dt.timedelta(minutes=2)).strftime("%H:%M")  # noqa: DTZ005
    result = separate([library], tmp_path / "out", HALF, jobs=2, until=until)
    assert result.exit_code == 10
    assert [job.source_path.name for job in result.late] == ["0 hour.wav"]
    assert result.not_started == result.late
    assert len(result.outcomes) == 7
    assert _states(tmp_path / "out")["0 hour.wav"] is JobState.WAITING
    (library / "0 hour.wav").unlink()
    shutil.copy(library / "a.wav", library / "0 hour.wav")
    assert separate([library], tmp_path / "out", HALF).exit_code == 0


def test_a_batch_waits_while_on_battery(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No track starts until power is restored, and then all are done."""
    restored_at = time.monotonic() + 2

    class Battery:
        percent = 50

        @property
        def power_plugged(self) -> bool:
            return time.monotonic() > restored_at

    monkeypatch.setattr(psutil, "sensors_battery", Battery, raising=False)
    monkeypatch.setattr(start_gates, "_POWER_SECONDS", 0.1)
    started: list[float] = []
    notes: list[str] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.TrackStarted):
            started.append(time.monotonic())
        if isinstance(event, events.Note):
            notes.append(event.text)

    result = separate(
        [library], tmp_path / "out", HALF, jobs=2, on_battery="pause", on_event=listen
    )
    assert result.exit_code == 0
    assert min(started) > restored_at
    assert notes == [
        "on battery: no new tracks until power is restored",
        "power restored: continuing",
    ]


def test_children_have_a_lower_priority(library: Path, tmp_path: Path) -> None:
    """The priority of children is lowered by `nice`, that of this process is not."""
    niceness: list[int] = []
    before = set(psutil.Process().children(recursive=True))

    def listen(event: events.Event) -> None:
        if isinstance(event, events.TrackProgress):
            for process in set(psutil.Process().children(recursive=True)) - before:
                with contextlib.suppress(psutil.NoSuchProcess):  # it may have exited meanwhile
                    niceness.append(process.nice())

    separate([library], tmp_path / "out", SLOW, jobs=2, limits=Limits(nice=7), on_event=listen)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert set(niceness) == {own, own + 7}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("given", ["b", "a", "c"]),
        ("path", ["a", "b", "c"]),
        ("shortest", ["c", "b", "a"]),
        ("newest", ["a", "c", "b"]),
    ],
)
def test_tracks_run_in_the_requested_order(
    song: NDArray[np.float32], tmp_path: Path, order: Order, expected: list[str]
) -> None:
    """As given, by path, shortest first, or newest first."""
    sources = [tmp_path / name for name in ("b.wav", "a.wav", "c.wav")]
    for source, seconds, age in zip(sources, (2, 3, 1), (30, 10, 20), strict=True):
        soundfile.write(source, song[: 44_100 * seconds], 44_100)
        os.utime(source, (time.time() - age, time.time() - age))
    result = separate(sources, tmp_path / "out", HALF, jobs=1, order=order)
    assert [outcome.job.source_path.stem for outcome in result.outcomes] == expected


# Tags


def _tagged(folder: Path, song: NDArray[np.float32]) -> Path:
    source = folder / "song.flac"
    soundfile.write(source, song, 44_100)
    media = mediafile.MediaFile(source)
    media.title, media.artist, media.rg_track_gain = "So What", "Miles Davis", -7.5
    media.save()
    return source


@pytest.mark.parametrize(
    ("stem_format", "bit_depth"), [("wav", "24"), ("wav", "32f"), ("flac", "16")]
)
def test_stems_have_the_tags_of_their_source(
    song: NDArray[np.float32], tmp_path: Path, stem_format: StemFormat, bit_depth: BitDepth
) -> None:
    """Without tags, the samples are the same."""
    source = _tagged(tmp_path, song)
    for name, tags in (("with", True), ("without", False)):
        settings = msgspec.structs.replace(HALF, format=stem_format, bit_depth=bit_depth, tags=tags)
        result = separate([source], tmp_path / name, settings)
        assert (result.exit_code, result.outcomes[0].warnings) == (0, ())
    stem = f"song/vocals.{stem_format}"
    media = mediafile.MediaFile(tmp_path / "with" / stem)
    assert (media.title, media.artist) == ("So What (vocals)", "Miles Davis")
    assert media.rg_track_gain is None
    assert mediafile.MediaFile(tmp_path / "without" / stem).title is None
    samples = [soundfile.read(tmp_path / name / stem)[0] for name in ("with", "without")]
    np.testing.assert_array_equal(*samples)


# Files of the user


def test_a_file_created_during_the_batch_is_not_replaced(library: Path, tmp_path: Path) -> None:
    """The file appears at the destination of a stem while other tracks are separated."""
    output = tmp_path / "out"
    existing = output / "g" / "vocals.wav"

    def create(event: events.Event) -> None:
        if isinstance(event, events.TrackStarted) and not existing.exists():
            existing.parent.mkdir(parents=True)
            existing.write_text("mine")

    result = separate([library], output, HALF, jobs=1, on_event=create)
    (failure,) = result.failures
    assert failure.reason is Reason.OUTPUT_EXISTS
    assert existing.read_text() == "mine"
    assert [path.name for path in existing.parent.iterdir()] == ["vocals.wav"]
    assert separate([library], output, HALF).exit_code == 3
    assert status(output).failed == 1
    assert separate([library], output, HALF, overwrite=True).exit_code == 0
    assert existing.read_text(errors="replace") != "mine"


def test_a_partly_published_track_is_completed_by_a_later_run(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second stem cannot replace its predecessor at first; both are kept."""
    output = tmp_path / "out"
    for name in SEVEN[1:]:
        (library / name).unlink()
    assert separate([library], output, HALF).exit_code == 0
    old = {name: (output / "a" / name).read_bytes() for name in STEMS}
    real_replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.name == "accompaniment.wav":
            raise PermissionError(13, "Permission denied")
        return real_replace(self, target)

    with_16_bits = msgspec.structs.replace(HALF, bit_depth="16")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        result = separate([library], output, with_16_bits)
        assert [outcome.reason for outcome in result.failures] == [Reason.UNWRITABLE]
        assert (output / "a/accompaniment.wav").read_bytes() == old["accompaniment.wav"]
        again = separate([library], output, with_16_bits)
        assert "could not be published" in again.failures[0].message
    notes: list[str] = []

    def collect(event: events.Event) -> None:
        if isinstance(event, events.Note):
            notes.append(event.text)

    assert separate([library], output, with_16_bits, on_event=collect).outcomes == ()
    assert any("1 track published now" in note for note in notes)
    assert all(soundfile.info(output / "a" / name).subtype == "PCM_16" for name in STEMS)
    assert _complete_tracks(output) == ["a"]


def test_a_failing_event_handler_loses_no_finished_track(library: Path, tmp_path: Path) -> None:
    """The journal agrees with the visible tracks, and the same command finishes the batch."""
    output = tmp_path / "out"

    def fail(event: events.Event) -> None:
        if isinstance(event, events.TrackDone):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        separate([library], output, HALF, jobs=2, on_event=fail)
    done = _complete_tracks(output)
    assert done
    states = _states(output)
    assert [Path(name).stem for name, state in states.items() if state is JobState.DONE] == done
    result = separate([library], output, HALF, jobs=2)
    assert (result.exit_code, len(result.skipped)) == (0, len(done))


def test_status_reports_missing_inputs_as_a_failure(library: Path, tmp_path: Path) -> None:
    """As with a disk that is not mounted; `status` describes this run, not the one before."""
    output = tmp_path / "out"
    assert separate([library], output, HALF, jobs=2).exit_code == 0
    library.rename(tmp_path / "elsewhere")
    assert separate([library], output, HALF).exit_code == 3
    report = status(output)
    assert (report.exit_code, report.failed, report.done) == (3, 1, 0)


def test_a_collision_fails_only_its_own_tracks(
    library: Path, tmp_path: Path, song_file: Path
) -> None:
    """A song in two formats has one destination; both fail, and all others are done."""
    shutil.copy(song_file, library / "a.flac")
    result = separate([library], tmp_path / "out", HALF, jobs=2)
    assert result.exit_code == 3
    assert [outcome.reason for outcome in result.failures] == [Reason.OUTPUT_EXISTS] * 2
    assert "{source_ext}" in result.failures[0].remedy
    assert _complete_tracks(tmp_path / "out") == [Path(name).stem for name in SEVEN[1:]]


def test_a_string_instead_of_a_list_is_refused(tmp_path: Path) -> None:
    """Each of its characters would be a path, and `/` the whole file system."""
    with pytest.raises(UsageError, match="must be a list of paths"):
        separate("/music/a.flac", tmp_path / "out")
