"""`separate` with faulty engines and files: reasons, exit codes, and no partial files."""

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
from stemsplit.storage import local_files, publish

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemsplit import BatchResult

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]


def _separate(source: Path, out: Path, engine: str, **settings: str) -> BatchResult:
    wanted = Settings(engine=engine, **settings)  # type: ignore[arg-type]
    return separate([source], out, wanted, limits=Limits(retries=0))


def test_masks_of_one_half_write_half_of_the_mix(
    song_file: Path, song: NDArray[np.float32], tmp_path: Path
) -> None:
    """Each stem is half of the mix below the frequency limit of the model."""
    result = _separate(song_file, tmp_path, "fake_engines:half", bit_depth="32f")
    assert result.exit_code == ExitCode.DONE
    (outcome,) = result.outcomes
    stems = [soundfile.read(tmp_path / "song" / stem.file_name)[0] for stem in outcome.stems]
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
    """The outcome has a reason and a message, and no file is written."""
    result = _separate(song_file, tmp_path / "out", engine)
    (outcome,) = result.outcomes
    assert outcome.reason is reason
    assert outcome.message
    assert result.exit_code == exit_code
    assert [path.name for path in (tmp_path / "out").iterdir()] in ([], [".stemsplit"])
    assert list(tmp_path.rglob("*.wav")) == []


def test_a_failed_track_keeps_its_log(song_file: Path, tmp_path: Path) -> None:
    """The log in the output folder has the child's records and the supervisor's story."""
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
        # Two processes write to the log, so that a line of one may interrupt a line of the other.
        assert "Fatal Python error: " in attempt.log_tail
        assert "Segmentation fault" in attempt.log_tail
        assert attempt.log_file is not None
        log = Path(attempt.log_file)
        assert log.parent == tmp_path / "out" / ".stemsplit" / "logs"
        assert "exited: SIGSEGV" in log.read_text()


def test_a_broken_installation_stops_the_batch(song_file: Path, tmp_path: Path) -> None:
    """The first track fails, and the others are not started."""
    second = tmp_path / "second.wav"
    second.write_bytes(song_file.read_bytes())
    third = tmp_path / "third.wav"
    third.write_bytes(song_file.read_bytes())
    settings = Settings(engine="no_such_module:load")
    result = separate([song_file, second, third], tmp_path / "out", settings, jobs=1)
    assert [outcome.reason for outcome in result.outcomes] == [Reason.ENGINE_UNAVAILABLE]
    assert [job.source_path for job in result.not_started] == [second, third]


def test_a_track_that_cannot_be_published_leaves_no_files(
    song_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome has a reason, and the staging folder is removed."""

    def refuse(_folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(local_files, "fsync_folder", refuse)
    result = _separate(song_file, tmp_path / "out", "fake_engines:half")
    assert [outcome.reason for outcome in result.outcomes] == [Reason.UNWRITABLE]
    assert not list((tmp_path / "out").glob(f"{publish.STAGING_PREFIX}*"))


def test_both_start_methods_write_the_same_stems(song_file: Path, tmp_path: Path) -> None:
    """The stems are bit-identical."""
    settings = Settings(engine="fake_engines:half")
    separate([song_file], tmp_path / "forked", settings, start_method="forkserver")
    separate([song_file], tmp_path / "spawned", settings, start_method="spawn")
    for stem in ("vocals.wav", "accompaniment.wav"):
        forked = (tmp_path / "forked/song" / stem).read_bytes()
        assert forked == (tmp_path / "spawned/song" / stem).read_bytes()


@pytest.mark.parametrize("tracks", [1, 2, 3])
def test_two_jobs_finish_every_track(song_file: Path, tmp_path: Path, tracks: int) -> None:
    """Staging folders exist as long as their children, even if no further track waits."""
    sources = [tmp_path / f"{number}.wav" for number in range(tracks)]
    for source in sources:
        source.write_bytes(song_file.read_bytes())
    out = tmp_path / "out"
    result = separate(sources, out, Settings(engine="fake_engines:half"), jobs=2)
    assert [outcome.reason for outcome in result.outcomes] == [Reason.DONE] * tracks
    visible = sorted(path.name for path in out.iterdir() if path.name != ".stemsplit")
    assert visible == [source.stem for source in sources]


@pytest.mark.parametrize("below", ["", "stems"])
def test_stems_inside_the_library_are_not_separated(
    song_file: Path, tmp_path: Path, below: str
) -> None:
    """The second run recognises the stems of the first."""
    music = tmp_path / "music"
    music.mkdir()
    (music / "song.wav").write_bytes(song_file.read_bytes())
    settings = Settings(engine="fake_engines:half")
    first = separate([music], music / below, settings)
    again = separate([music], music / below, settings)
    assert (len(first.outcomes), len(again.outcomes), len(again.skipped)) == (1, 0, 1)


def test_a_file_with_the_name_of_a_track_folder_fails_only_that_track(
    song_file: Path, tmp_path: Path
) -> None:
    """The file is kept, and the other track is separated."""
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
def test_a_track_shorter_than_one_sample_is_bad_input(tmp_path: Path, stem_format: str) -> None:
    """One sample at 192 kHz is less than one at 44.1 kHz."""
    short = tmp_path / "short.wav"
    soundfile.write(short, np.full((1, 2), 0.5), 192_000)
    result = _separate(short, tmp_path / "out", "fake_engines:half", format=stem_format)
    assert [outcome.reason for outcome in result.outcomes] == [Reason.BAD_INPUT]
    assert "shorter than one sample" in result.outcomes[0].message


@pytest.mark.parametrize("declared", [0, 2**36 - 1])
@pytest.mark.parametrize("stem_format", ["wav", "flac"])
def test_a_flac_file_with_an_unknown_or_damaged_length_is_separated(
    song: NDArray[np.float32], tmp_path: Path, declared: int, stem_format: str
) -> None:
    """All samples are read, without a warning about the disk or the length."""
    path = tmp_path / "piped.flac"
    soundfile.write(path, song, 44_100)
    data = bytearray(path.read_bytes())
    # STREAMINFO follows the marker and a block header; its bytes 10-17 end with the 36-bit count.
    field = int.from_bytes(data[18:26], "big") >> 36 << 36 | declared
    data[18:26] = field.to_bytes(8, "big")
    path.write_bytes(data)
    (outcome,) = _separate(path, tmp_path, "fake_engines:half", format=stem_format).outcomes
    assert outcome.reason is Reason.DONE
    assert outcome.warnings == ()
    assert {stem.frames for stem in outcome.stems} == {len(song)}


def test_an_empty_input_name_is_refused(tmp_path: Path) -> None:
    """An unset shell variable must not select the current folder."""
    with pytest.raises(UsageError, match="empty name"):
        separate([""], tmp_path)


def test_clamped_samples_are_reported(tmp_path: Path) -> None:
    """Samples beyond full scale are clamped, and a warning counts them."""
    loud = tmp_path / "loud.wav"
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    soundfile.write(loud, 4 * np.stack([tone, tone], axis=1), 44_100, subtype="FLOAT")
    (outcome,) = _separate(loud, tmp_path / "out", "fake_engines:half").outcomes
    assert outcome.reason is Reason.DONE
    assert "beyond full scale" in outcome.warnings[0].text
    assert all(stem.clipped_samples > 1000 for stem in outcome.stems)
    assert outcome.stems[0].peak == pytest.approx(2, rel=0.01)


def test_the_demo_fails_if_nothing_is_separated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stems that are no better than the mix result in an exit code of 1."""
    monkeypatch.setattr(demo_run, "Settings", lambda **_: Settings(engine="fake_engines:half"))
    assert demo(output=str(tmp_path)) == ExitCode.ERROR
    assert "The demo failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(format="flac", bit_depth="32f"), "FLAC"),
        (Settings(model="3stems"), "3stems"),
        (Settings(threads=0), "threads must be 1 or more"),
    ],
)
def test_invalid_settings_are_refused_before_the_batch_starts(
    song_file: Path, tmp_path: Path, settings: Settings, message: str
) -> None:
    """Not even the output folder is created."""
    with pytest.raises(UsageError, match=message):
        separate([song_file], tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_jobs_must_be_positive(song_file: Path, tmp_path: Path) -> None:
    """The message contains the value."""
    with pytest.raises(UsageError, match="not 0"):
        separate([song_file], tmp_path, jobs=0)
