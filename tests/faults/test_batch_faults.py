"""The library call with engines that go wrong: reasons, exit codes, and nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from stemsplit import Limits, Reason, Settings, separate
from stemsplit.api.demo import run as demo_run
from stemsplit.cli.commands.demo import demo
from stemsplit.core.errors import ExitCode, UsageError
from stemsplit.storage import publish

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemsplit import BatchResult

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]


def _separate(source: Path, out: Path, engine: str, **settings: str) -> BatchResult:
    wanted = Settings(engine=engine, **settings)  # type: ignore[arg-type]
    return separate([source], out, wanted, limits=Limits(retries=0))


def test_half_masks_write_half_the_mix(
    song_file: Path, song: NDArray[np.float32], tmp_path: Path
) -> None:
    """Through a child and files, each stem is half of what of the mix lies below bin F."""
    result = _separate(song_file, tmp_path, "fake_engines:half", bit_depth="32f")
    assert result.exit_code == ExitCode.DONE
    (outcome,) = result.outcomes
    stems = [soundfile.read(tmp_path / "song" / one.file_name)[0] for one in outcome.stems]
    np.testing.assert_array_equal(stems[0], stems[1])
    assert stems[0].shape == song.shape
    assert np.sqrt(np.mean((2 * stems[0] - song) ** 2)) < 0.2 * np.sqrt(np.mean(song**2))


@pytest.mark.parametrize(
    ("engine", "reason", "exit_code"),
    [
        ("fake_engines:nan", Reason.CRASHED, ExitCode.SOME_FAILED),
        ("fake_engines:raises", Reason.CRASHED, ExitCode.SOME_FAILED),
        ("fake_engines:dying", Reason.CRASHED, ExitCode.SOME_FAILED),
        ("fake_engines:unpicklable", Reason.CRASHED, ExitCode.SOME_FAILED),
        ("fake_engines:other_stems", Reason.ENGINE_UNAVAILABLE, ExitCode.ERROR),
        ("no_such_module:load", Reason.ENGINE_UNAVAILABLE, ExitCode.ERROR),
    ],
)
def test_a_broken_engine_writes_nothing(
    song_file: Path, tmp_path: Path, engine: str, reason: Reason, exit_code: ExitCode
) -> None:
    """Whatever the engine does, there is a reason, a sentence, and not one file."""
    result = _separate(song_file, tmp_path / "out", engine)
    (outcome,) = result.outcomes
    assert outcome.reason is reason
    assert outcome.message
    assert result.exit_code == exit_code
    assert [path.name for path in (tmp_path / "out").iterdir()] in ([], [".stemsplit"])
    assert list(tmp_path.rglob("*.wav")) == []


def test_a_failure_keeps_its_log_and_tells_its_story(song_file: Path, tmp_path: Path) -> None:
    """The log lies below the output folder, with what was logged and the supervisor's account."""
    result = separate(
        [song_file],
        tmp_path / "out",
        Settings(engine="fake_engines:dying"),
        limits=Limits(retries=1),
    )
    (outcome,) = result.outcomes
    assert [attempt.resources.alone for attempt in outcome.attempts] == [False, True]
    for attempt in outcome.attempts:
        assert attempt.exit_code == -11
        assert "something is wrong with (512, 1024, 2)" in attempt.log_tail
        # Two processes write to the log: a line of one may stand within a line of the other.
        assert "Fatal Python error: " in attempt.log_tail
        assert "Segmentation fault" in attempt.log_tail
        assert attempt.log_file is not None
        log = Path(attempt.log_file)
        assert log.parent == tmp_path / "out" / ".stemsplit" / "logs"
        assert "gone, SIGSEGV" in log.read_text()


def test_what_every_track_would_meet_stops_the_batch(song_file: Path, tmp_path: Path) -> None:
    """A broken installation fails once, not ten thousand times."""
    second = tmp_path / "second.wav"
    second.write_bytes(song_file.read_bytes())
    third = tmp_path / "third.wav"
    third.write_bytes(song_file.read_bytes())
    settings = Settings(engine="no_such_module:load")
    result = separate([song_file, second, third], tmp_path / "out", settings, jobs=1)
    assert [outcome.reason for outcome in result.outcomes] == [Reason.ENGINE_UNAVAILABLE]
    assert [job.source_path for job in result.not_started] == [second, third]


def test_a_track_that_cannot_be_published_leaves_nothing(
    song_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last rename fails, the reason is told and the work folder is gone."""

    def refuse(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(publish, "_fsync_folder", refuse)
    result = _separate(song_file, tmp_path / "out", "fake_engines:half")
    assert [outcome.reason for outcome in result.outcomes] == [Reason.UNWRITABLE]
    assert not list((tmp_path / "out").glob(f"{publish.STAGING_PREFIX}*"))


def test_spawned_children_give_the_same_stems(song_file: Path, tmp_path: Path) -> None:
    """Where there is no fork server, spawn does the same work."""
    settings = Settings(engine="fake_engines:half")
    separate([song_file], tmp_path / "forked", settings, start_method="forkserver")
    separate([song_file], tmp_path / "spawned", settings, start_method="spawn")
    for stem in ("vocals.wav", "accompaniment.wav"):
        forked = (tmp_path / "forked/song" / stem).read_bytes()
        assert forked == (tmp_path / "spawned/song" / stem).read_bytes()


@pytest.mark.parametrize("tracks", [1, 2, 3])
def test_two_at_a_time_finish_every_track(song_file: Path, tmp_path: Path, tracks: int) -> None:
    """Work folders live as long as their children, also when no further track is waiting."""
    sources = [tmp_path / f"{number}.wav" for number in range(tracks)]
    for source in sources:
        source.write_bytes(song_file.read_bytes())
    out = tmp_path / "out"
    result = separate(sources, out, Settings(engine="fake_engines:half"), jobs=2)
    assert [outcome.reason for outcome in result.outcomes] == [Reason.DONE] * tracks
    visible = sorted(path.name for path in out.iterdir() if path.name != ".stemsplit")
    assert visible == [source.stem for source in sources]


@pytest.mark.parametrize("below", ["", "stems"])
def test_a_library_is_separated_into_itself_once(
    song_file: Path, tmp_path: Path, below: str
) -> None:
    """The second run finds its own stems and takes them for what they are."""
    music = tmp_path / "music"
    music.mkdir()
    (music / "song.wav").write_bytes(song_file.read_bytes())
    settings = Settings(engine="fake_engines:half")
    first = separate([music], music / below, settings)
    again = separate([music], music / below, settings)
    assert (len(first.outcomes), len(again.outcomes), len(again.skipped)) == (1, 0, 1)


def test_a_file_in_the_way_fails_its_own_track_alone(song_file: Path, tmp_path: Path) -> None:
    """Where a file bears the name of the track's folder, the others go on."""
    other = tmp_path / "other.wav"
    other.write_bytes(song_file.read_bytes())
    out = tmp_path / "out"
    out.mkdir()
    (out / "song").write_text("mine")
    result = separate([song_file, other], out, Settings(engine="fake_engines:half"))
    assert [outcome.reason for outcome in result.outcomes] == [Reason.OUTPUT_EXISTS, Reason.DONE]
    assert (out / "song").read_text() == "mine"
    assert result.exit_code == ExitCode.SOME_FAILED


@pytest.mark.parametrize("stem_format", ["wav", "flac"])
def test_less_than_one_sample_is_too_short(tmp_path: Path, stem_format: str) -> None:
    """One sample at 192 kHz is none at 44.1: a sentence, and the batch goes on."""
    short = tmp_path / "short.wav"
    soundfile.write(short, np.full((1, 2), 0.5), 192_000)
    result = _separate(short, tmp_path / "out", "fake_engines:half", format=stem_format)
    assert [outcome.reason for outcome in result.outcomes] == [Reason.BAD_INPUT]
    assert "shorter than one sample" in result.outcomes[0].message


@pytest.mark.parametrize("declared", [0, 2**36 - 1])
@pytest.mark.parametrize("stem_format", ["wav", "flac"])
def test_a_flac_whose_length_is_unknown_or_damaged(
    song: NDArray[np.float32], tmp_path: Path, declared: int, stem_format: str
) -> None:
    """As written to a pipe, or with a broken header: all samples, no alarm about disk or length."""
    path = tmp_path / "piped.flac"
    soundfile.write(path, song, 44_100)
    data = bytearray(path.read_bytes())
    # STREAMINFO follows the marker and a block header; the count is the low 36 bits of bytes 10-17.
    field = int.from_bytes(data[18:26], "big") >> 36 << 36 | declared
    data[18:26] = field.to_bytes(8, "big")
    path.write_bytes(data)
    (outcome,) = _separate(path, tmp_path, "fake_engines:half", format=stem_format).outcomes
    assert outcome.reason is Reason.DONE
    assert outcome.warnings == ()
    assert {stem.frames for stem in outcome.stems} == {len(song)}


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    """An unset variable of the shell must not mean the current folder."""
    with pytest.raises(UsageError, match="empty name"):
        separate([""], tmp_path)


def test_clamped_samples_are_reported(tmp_path: Path) -> None:
    """A stem beyond full scale is clamped with a warning that counts the samples."""
    loud = tmp_path / "loud.wav"
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    soundfile.write(loud, 4 * np.stack([tone, tone], axis=1), 44_100, subtype="FLOAT")
    (outcome,) = _separate(loud, tmp_path / "out", "fake_engines:half").outcomes
    assert outcome.reason is Reason.DONE
    assert "beyond full scale" in outcome.warnings[0].text
    assert all(stem.clipped_samples > 1000 for stem in outcome.stems)
    assert outcome.stems[0].peak == pytest.approx(2, rel=0.01)


def test_the_demo_fails_when_nothing_was_separated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A separation that gains nothing is no success: the exit code says so."""
    monkeypatch.setattr(demo_run, "Settings", lambda **_: Settings(engine="fake_engines:half"))
    assert demo(output=str(tmp_path)) == ExitCode.ERROR
    assert "the demo failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(format="flac", bit_depth="32f"), "FLAC"),
        (Settings(model="3stems"), "3stems"),
        (Settings(threads=0), "threads must be 1 or more"),
    ],
)
def test_settings_that_contradict_are_refused_at_once(
    song_file: Path, tmp_path: Path, settings: Settings, words: str
) -> None:
    """Before any work, and before the output folder is made."""
    with pytest.raises(UsageError, match=words):
        separate([song_file], tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_jobs_must_be_positive(song_file: Path, tmp_path: Path) -> None:
    """The value stands in the sentence."""
    with pytest.raises(UsageError, match="not 0"):
        separate([song_file], tmp_path, jobs=0)
