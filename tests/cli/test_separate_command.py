"""`stemsplit separate` on real audio with the real model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import soundfile

from stemsplit.models.engines import installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

COMMAND = Path(sys.executable).with_name("stemsplit")
STEMS = {"vocals.wav", "accompaniment.wav"}
ENGINE = installed()[0]
IS_FORKED = sys.platform == "linux" and ENGINE == "tensorflow"
LEAN_BUDGET = {"tensorflow": 570, "onnx": 340}[ENGINE]
"""In MiB; too little for all weights at once."""
LEAST_BUDGET = {"tensorflow": "550MiB", "onnx": "300MiB"}[ENGINE]
"""The suggested budget, if the given one is too small for one instrument at a time."""

GOOD = {
    "plain.wav": 44_100 * 4,
    "mono 48k.flac": 44_100 * 4,
    "-dash, naïve 歌.ogg": 44_100 * 4,
    "one sample.wav": 1,
    "a little cut.wav": None,
}
BAD = {
    "missing.wav": "does not exist",
    "empty.wav": "is empty",
    "text.wav": "is a text file, not audio",
    "header.wav": "no samples",
    "nan.wav": "not a finite number",
    "sixteen channels.wav": "16 channels",
    "no music": "no audio files",
    "cut.wav": "is missing at the end",
}


def _visible(output: Path) -> list[str]:
    """Return the entries of an output folder, except stemsplit's own."""
    return sorted(path.name for path in output.iterdir() if path.name != ".stemsplit")


@pytest.fixture(scope="module")
def inputs(song: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad inputs of every type."""
    folder = tmp_path_factory.mktemp("inputs")
    soundfile.write(folder / "plain.wav", song, 44_100)
    at_48k = np.interp(np.arange(4 * 48_000) / 48_000, np.arange(len(song)) / 44_100, song[:, 0])
    soundfile.write(folder / "mono 48k.flac", at_48k, 48_000)
    soundfile.write(folder / "-dash, naïve 歌.ogg", song, 44_100)
    soundfile.write(folder / "one sample.wav", song[1000:1001], 44_100)
    whole = (folder / "plain.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "a little cut.wav").write_bytes(whole[: len(whole) * 97 // 100])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("la la la\n" * 99)
    soundfile.write(folder / "header.wav", np.zeros((0, 2)), 44_100)
    soundfile.write(folder / "nan.wav", np.full((9, 2), np.nan), 44_100, subtype="FLOAT")
    soundfile.write(folder / "sixteen channels.wav", np.zeros((44_100, 16)), 44_100)
    (folder / "no music").mkdir()
    (folder / "no music" / "cover.jpg").touch()
    return folder


@pytest.fixture(scope="module")
def events(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The events of one batch of all inputs, with the exit code as an additional last event."""
    out = tmp_path_factory.mktemp("outputs")
    done = subprocess.run(
        [COMMAND, "separate", "-o", out, "--json", "--", *sorted(GOOD | BAD)],
        cwd=inputs,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [*lines, {"type": "exit", "code": done.returncode, "out": out, "err": done.stderr}]


def _event_of(events: list[dict[str, Any]], event_type: str, name: str) -> dict[str, Any]:
    (found,) = [
        event
        for event in events
        if event["type"] == event_type and Path(event["source"]).name == name
    ]
    return found


@pytest.mark.parametrize(("name", "message"), BAD.items())
def test_each_bad_input_has_a_message(
    events: list[dict[str, Any]], name: str, message: str
) -> None:
    """The message says what is wrong and the remedy what to do; no stem is written."""
    failed = _event_of(events, "track_failed", name)
    assert message in failed["message"]
    assert failed["remedy"]
    assert failed["reason"] == ("damaged" if name == "cut.wav" else "bad_input")
    assert not (events[-1]["out"] / Path(name).stem).exists()


@pytest.mark.parametrize(("name", "frames"), GOOD.items())
def test_good_inputs_are_separated_despite_bad_ones(
    events: list[dict[str, Any]], name: str, frames: int | None
) -> None:
    """All stems, 24-bit at 44.1 kHz, exactly as long as the source."""
    done = _event_of(events, "track_done", name)
    assert {Path(stem["path"]).name for stem in done["stems"]} == STEMS
    for stem in done["stems"]:
        info = soundfile.info(stem["path"])
        assert (info.samplerate, info.channels, info.subtype) == (44_100, 2, "PCM_24")
        assert info.frames == stem["frames"]
        assert frames is None or info.frames == frames


def test_a_slightly_truncated_file_is_separated_with_a_warning(
    events: list[dict[str, Any]],
) -> None:
    """The warning says how much is missing."""
    done = _event_of(events, "track_done", "a little cut.wav")
    assert "0.12 s of 4.00 s" in done["warnings"][0]
    assert done["warning_kinds"] == ["damaged"]
    assert done["audio_seconds"] == pytest.approx(3.88, abs=0.01)
    assert events[-2]["damaged"] == 1


def test_the_rest_of_a_truncated_file_is_separated_if_accepted(
    inputs: Path, stemsplit: Callable[..., Any]
) -> None:
    """It is half of the file, with a warning."""
    result = stemsplit("separate", inputs / "cut.wav", "-o", "out", "--accept-damaged", "--json")
    assert result.code == 0
    done = _event_of(
        [json.loads(line) for line in result.out.splitlines()], "track_done", "cut.wav"
    )
    assert "2.00 s of 4.00 s" in done["warnings"][0]
    assert done["audio_seconds"] == pytest.approx(2, abs=0.01)


def test_the_exit_code_reports_failed_tracks(events: list[dict[str, Any]]) -> None:
    """It is 3, in the last event as in the shell."""
    exited, last = events[-1], events[-2]
    assert exited["code"] == last["exit_code"] == 3
    assert (last["done"], last["failed"]) == (len(GOOD), len(BAD))
    assert exited["err"] == ""


def test_the_output_contains_only_complete_tracks(events: list[dict[str, Any]]) -> None:
    """It has the finished tracks, and no temporary files."""
    out = events[-1]["out"]
    assert _visible(out) == sorted(Path(name).stem for name in GOOD)
    assert all({path.name for path in (out / name).iterdir()} == STEMS for name in _visible(out))


def test_children_start_with_preloaded_libraries(events: list[dict[str, Any]]) -> None:
    """On Linux, children of the TensorFlow engine are forked from a server that has loaded it."""
    started = [event for event in events if event["type"] == "track_started"]
    assert started
    assert all(event["preloaded"] == IS_FORKED for event in started)


def test_a_mono_track_has_equal_channels(events: list[dict[str, Any]]) -> None:
    """Mono goes to both channels, so the channels of a stem are nearly equal."""
    done = _event_of(events, "track_done", "mono 48k.flac")
    stem, _ = soundfile.read(done["stems"][0]["path"])
    assert np.sqrt(np.mean((stem[:, 0] - stem[:, 1]) ** 2)) < 0.2 * np.sqrt(np.mean(stem**2))


def test_finished_tracks_are_skipped(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """They are separated again with `--overwrite`, or if a stem is missing."""
    assert stemsplit("separate", song_file, "-o", "out", "--quiet").code == 0
    vocals = tmp_path / "out/song/vocals.wav"
    first_written = vocals.stat().st_mtime_ns
    repeated = stemsplit("separate", song_file, "-o", "out")
    assert repeated.code == 0
    assert repeated.out == "0 separated, 1 already done.\n"
    assert vocals.stat().st_mtime_ns == first_written
    overwritten = stemsplit("separate", song_file, "-o", "out", "--overwrite")
    assert overwritten.code == 0
    assert vocals.stat().st_mtime_ns > first_written
    (tmp_path / "out/song/accompaniment.wav").unlink()
    assert stemsplit("separate", song_file, "-o", "out").code == 0
    assert (tmp_path / "out/song/accompaniment.wav").exists()


def test_quiet_prints_nothing(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """All tracks succeed, and the stems are 16-bit FLAC files."""
    result = stemsplit(
        "separate", song_file, "-o", "out", "--format", "flac", "--bit-depth", "16", "-q"
    )
    assert (result.code, result.out, result.err) == (0, "", "")
    info = soundfile.info(tmp_path / "out/song/vocals.flac")
    assert (info.format, info.subtype) == ("FLAC", "PCM_16")


def test_the_output_is_plain_lines_without_a_terminal(
    stemsplit: Callable[..., Any], song_file: Path
) -> None:
    """The track and the batch have one line each, without bars or colours."""
    result = stemsplit("separate", song_file, "-o", "out", "--verbose")
    assert "\x1b" not in result.out + result.err
    assert result.out.startswith("[1/1] done: song.wav, 0:04 in ")
    assert "1 separated" in result.out
    assert ("libraries preloaded" if IS_FORKED else "libraries loaded in the child") in result.err


def test_a_file_name_that_is_not_utf_8(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """The folder of the stems has the same bytes as the source's name."""
    source = os.fsencode(tmp_path) + b"/latin-1 \xe9.wav"
    Path(os.fsdecode(source)).write_bytes(song_file.read_bytes())
    result = stemsplit("separate", source, "-o", "out")
    assert result.code == 0
    assert "latin-1 \\xe9.wav" in result.out
    assert [os.fsencode(name) for name in _visible(tmp_path / "out")] == [b"latin-1 \xe9"]


def test_subfolders_are_kept(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """Tracks in subfolders of an input have the same subfolders in the output."""
    for name in ("a/x.wav", "b/x.wav"):
        (tmp_path / "music" / name).parent.mkdir(parents=True)
        (tmp_path / "music" / name).write_bytes(song_file.read_bytes())
    assert stemsplit("separate", "music", "-o", "out", "-q").code == 0
    found = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("vocals.wav")}
    assert found == {"a/x/vocals.wav", "b/x/vocals.wav"}


def test_an_unwritable_output_folder_is_an_error(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """The error is one sentence with exit code 1, before any child starts."""
    (tmp_path / "file").touch()
    result = stemsplit("separate", song_file, "-o", "file/out")
    assert result.code == 1
    assert "cannot be written" in result.err
    assert len(result.err.splitlines()) == 1


@pytest.fixture
def small_disk(mount: Callable[[str], Path]) -> Path:
    """A file system of 1 MiB."""
    return mount("1m")


@pytest.mark.parametrize("stem_format", ["wav", "flac"])
def test_a_full_disk_stops_the_batch(
    stemsplit: Callable[..., Any],
    song: NDArray[np.float32],
    tmp_path: Path,
    small_disk: Path,
    stem_format: str,
) -> None:
    """It is detected before the separation (WAV) or during it (FLAC); no stem is left."""
    soundfile.write(tmp_path / "long.wav", np.tile(song, (8, 1)), 44_100)
    result = stemsplit("separate", "long.wav", "-o", small_disk, "--format", stem_format)
    assert result.code == 1
    assert "The disk of" in result.err
    assert _visible(small_disk) == []


def test_a_disk_that_is_full_from_the_start(
    stemsplit: Callable[..., Any], song_file: Path, small_disk: Path
) -> None:
    """The batch ends with an error and changes nothing."""
    (small_disk / "filler").write_bytes(bytes(2**20))
    result = stemsplit("separate", song_file, "-o", small_disk, "--format", "flac")
    assert result.code == 1
    assert "full" in result.err
    assert _visible(small_disk) == ["filler"]


@pytest.fixture
def long_tracks(song: NDArray[np.float32], tmp_path: Path) -> list[str]:
    """Two tracks of three minutes."""
    names = ["long 1.wav", "long 2.wav"]
    for name in names:
        soundfile.write(tmp_path / name, np.tile(song, (45, 1)), 44_100)
    return names


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGTERM], 143),
    ],
)
def test_a_stopped_batch_leaves_no_partial_files(
    long_tracks: list[str],
    tmp_path: Path,
    signals: list[signal.Signals],
    code: int,
    start_batch: Callable[..., Any],
) -> None:
    """It is stopped during a track; the exit code is that of the last signal."""
    with start_batch(tmp_path, *long_tracks) as running:
        for number in signals:
            running.send_signal(number)
            time.sleep(0.2)
        began = time.monotonic()
        assert running.wait(timeout=30) == code
        assert time.monotonic() - began < 10
        assert running.stderr is not None
        assert "there are no partial files" in running.stderr.read()
    assert _visible(tmp_path / "out") == []


def test_one_interrupt_finishes_the_running_tracks(
    long_tracks: list[str],
    tmp_path: Path,
    start_batch: Callable[..., Any],
) -> None:
    """The first track is done, the second is not started, and the exit code is 130."""
    with start_batch(tmp_path, *long_tracks, "--jobs", "1") as running:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        assert running.returncode == 130
    assert "press Ctrl-C again to stop now" in err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["done"], summary["not_started"], summary["exit_code"]) == (1, 1, 130)
    assert {path.name for path in (tmp_path / "out" / "long 1").iterdir()} == STEMS
    assert _visible(tmp_path / "out") == ["long 1"]


def test_an_interrupt_during_the_last_track_is_not_a_failure(
    long_tracks: list[str],
    tmp_path: Path,
    start_batch: Callable[..., Any],
) -> None:
    """All tracks are done, so the exit code is 0."""
    with start_batch(tmp_path, long_tracks[0]) as running:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
        assert running.returncode == 0


def test_an_interrupt_while_libraries_load(song_file: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches every process of the terminal, but only the supervisor prints a line."""
    with subprocess.Popen(
        [COMMAND, "separate", song_file, "-o", "out", "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert '"batch_started"' in running.stdout.readline()
        time.sleep(0.2)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=30) == 130
        assert running.stderr is not None
        assert len(running.stderr.read().splitlines()) == 1
    assert _visible(tmp_path / "out") == []


def test_a_name_outside_the_encoding_of_the_output(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """Names are printed with escapes, and the batch continues."""
    (tmp_path / "歌.wav").write_bytes(song_file.read_bytes())
    result = stemsplit("separate", "歌.wav", "-o", "out", PYTHONIOENCODING="cp1252")
    assert result.code == 0
    assert "\\u6b4c.wav" in result.out
    assert (tmp_path / "out/歌/vocals.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--max-ram", "100MiB"], 1, f"Use --max-ram {LEAST_BUDGET}"),
        (["--max-ram-per-file", "100MiB"], 1, "--max-ram-per-file allows 100 MiB"),
        (["--min-free", "100%"], 1, "must stay free"),
        (["--max-ram", "plenty"], 2, "Invalid max-ram: “plenty”. Use a size such as 4GiB"),
        (["--stall-timeout", "soon"], 2, "Invalid stall-timeout: “soon”"),
        (["--jobs", "0"], 2, "jobs must be 1 or more"),
        (["--jobs", "many"], 2, "many"),
        (["--retries", "-1"], 2, "retries must be 0 or more"),
    ],
)
def test_invalid_limits_are_refused(
    stemsplit: Callable[..., Any], song_file: Path, arguments: list[str], code: int, message: str
) -> None:
    """One sentence has the remedy, before any child starts."""
    result = stemsplit("separate", song_file, "-o", "out", *arguments)
    assert result.code == code
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_a_small_budget_is_kept_with_one_instrument_at_a_time(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """The whole model does not fit into the budget; the stems are the same."""
    events = {}
    for out, budget in (("roomy", "3GiB"), ("tight", f"{LEAN_BUDGET}MiB")):
        result = stemsplit("separate", song_file, "-o", out, "--json", "--max-ram", budget)
        assert result.code == 0
        lines = [json.loads(line) for line in result.out.splitlines()]
        events[out] = {line["type"]: line for line in lines}
    assert not events["roomy"]["pool_started"]["lean"]
    assert events["tight"]["pool_started"]["lean"]
    assert events["tight"]["batch_done"]["peak_memory_bytes"] < LEAN_BUDGET * 2**20
    for stem in STEMS:
        paths = [tmp_path / out / "song" / stem for out in events]
        if ENGINE == "tensorflow":
            assert paths[0].read_bytes() == paths[1].read_bytes()
        else:  # other kernels compute it, which round differently
            roomy, tight = (soundfile.read(path)[0] for path in paths)
            np.testing.assert_allclose(roomy, tight, atol=1e-5)


def test_a_track_that_exceeds_its_time_limit(
    stemsplit: Callable[..., Any], long_tracks: list[str], tmp_path: Path
) -> None:
    """It is terminated, retried alone, and reported with its story, stacks and log."""
    result = stemsplit(
        "separate", long_tracks[0], "-o", "out", "--timeout", "1s", "--retries", "1", "--verbose"
    )
    assert result.code == 3
    assert "retry: " in result.err
    assert re.search(r"Retrying with (2 threads|1 thread), alone\.", result.err)
    assert "exceeded its time limit of 1 s. Raise --timeout." in result.err
    assert "terminating, timed_out" in result.err
    (log,) = (tmp_path / "out" / ".stemsplit" / "logs").glob("*.2.log")
    assert f"log: {log}" in result.err
    assert "most recent call first" in log.read_text()


def test_a_track_is_retried_if_its_child_is_killed(
    long_tracks: list[str],
    tmp_path: Path,
    start_batch: Callable[..., Any],
) -> None:
    """A second child separates it."""
    with start_batch(tmp_path, long_tracks[0]) as running:
        descendants = psutil.Process(running.pid).children(recursive=True)
        child = max(descendants, key=lambda process: process.memory_full_info().uss)
        child.kill()
        out, _ = running.communicate(timeout=60)
        assert running.returncode == 0
    events = [json.loads(line) for line in out.splitlines()]
    (retried,) = [event for event in events if event["type"] == "track_retried"]
    assert retried["reason"] == "crashed"
    assert retried["exit_code"] == -9
    (done,) = [event for event in events if event["type"] == "track_done"]
    assert done["attempts"] == 2


def test_a_killed_command_leaves_no_partial_files(
    long_tracks: list[str],
    tmp_path: Path,
    start_batch: Callable[..., Any],
) -> None:
    """The watchdog removes them within two seconds of SIGKILL."""
    with start_batch(tmp_path, *long_tracks) as running:
        running.kill()
        running.wait()
        deadline = time.monotonic() + 2
        while _visible(tmp_path / "out"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert stem_files(tmp_path) == []


def stem_files(folder: Path) -> list[Path]:
    """Return the stems below a folder."""
    return [path for path in folder.rglob("*") if path.name in STEMS]
