"""The installed command on real audio with the real model: what a person meets."""

from __future__ import annotations

import json
import os
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
"""MiB: too little for all weights at once."""
LEAST_BUDGET = {"tensorflow": "550MiB", "onnx": "300MiB"}[ENGINE]
"""What is named to whoever allows less than one stem at a time needs."""

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
    """List an output folder without what stemsplit keeps there for itself."""
    return sorted(path.name for path in output.iterdir() if path.name != ".stemsplit")


@pytest.fixture(scope="module")
def inputs(song: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of good and bad input."""
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
    """One batch over all of them; what `--json` printed, with the exit code as last event."""
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


def _of(events: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in events if one["type"] == kind and Path(one["source"]).name == name]
    return found


@pytest.mark.parametrize(("name", "words"), BAD.items())
def test_bad_inputs_get_a_sentence_each(
    events: list[dict[str, Any]], name: str, words: str
) -> None:
    """What is wrong, what to do, and no stem."""
    failed = _of(events, "track_failed", name)
    assert words in failed["message"]
    assert failed["remedy"]
    assert failed["reason"] == ("damaged" if name == "cut.wav" else "bad_input")
    assert not (events[-1]["out"] / Path(name).stem).exists()


@pytest.mark.parametrize(("name", "frames"), GOOD.items())
def test_good_inputs_are_separated_beside_bad_ones(
    events: list[dict[str, Any]], name: str, frames: int | None
) -> None:
    """All stems, 24-bit at 44.1 kHz, exactly as long as the source."""
    done = _of(events, "track_done", name)
    assert {Path(stem["path"]).name for stem in done["stems"]} == STEMS
    for stem in done["stems"]:
        info = soundfile.info(stem["path"])
        assert (info.samplerate, info.channels, info.subtype) == (44_100, 2, "PCM_24")
        assert info.frames == stem["frames"]
        assert frames is None or info.frames == frames


def test_a_file_that_is_a_little_cut_is_separated_with_a_warning(
    events: list[dict[str, Any]],
) -> None:
    """What is there is separated, and the warning says how much is not."""
    done = _of(events, "track_done", "a little cut.wav")
    assert "0.12 s of 4.00 s" in done["warnings"][0]
    assert done["warning_kinds"] == ["damaged"]
    assert done["audio_seconds"] == pytest.approx(3.88, abs=0.01)
    assert events[-2]["damaged"] == 1


def test_what_is_left_of_a_cut_file_is_separated_where_that_is_accepted(
    inputs: Path, stemsplit: Callable[..., Any]
) -> None:
    """Half of it, with a warning."""
    ran = stemsplit("separate", inputs / "cut.wav", "-o", "out", "--accept-damaged", "--json")
    assert ran.code == 0
    done = _of([json.loads(line) for line in ran.out.splitlines()], "track_done", "cut.wav")
    assert "2.00 s of 4.00 s" in done["warnings"][0]
    assert done["audio_seconds"] == pytest.approx(2, abs=0.01)


def test_the_batch_says_how_it_went(events: list[dict[str, Any]]) -> None:
    """Some failed: exit code 3, in the last event as in the shell."""
    exited, last = events[-1], events[-2]
    assert exited["code"] == last["exit_code"] == 3
    assert (last["done"], last["failed"]) == (len(GOOD), len(BAD))
    assert exited["err"] == ""


def test_only_whole_tracks_are_there(events: list[dict[str, Any]]) -> None:
    """The output folder holds the finished tracks and nothing hidden."""
    out = events[-1]["out"]
    assert _visible(out) == sorted(Path(name).stem for name in GOOD)
    assert all({path.name for path in (out / name).iterdir()} == STEMS for name in _visible(out))


def test_children_find_the_libraries_in_memory(events: list[dict[str, Any]]) -> None:
    """On Linux every child is forked from a server that has loaded TensorFlow, where that is."""
    started = [one for one in events if one["type"] == "track_started"]
    assert started
    assert all(one["preloaded"] == IS_FORKED for one in started)


def test_a_mono_track_has_equal_channels(events: list[dict[str, Any]]) -> None:
    """Mono is played on both channels, so its stems' channels are alike."""
    done = _of(events, "track_done", "mono 48k.flac")
    stem, _ = soundfile.read(done["stems"][0]["path"])
    assert np.sqrt(np.mean((stem[:, 0] - stem[:, 1]) ** 2)) < 0.2 * np.sqrt(np.mean(stem**2))


def test_what_is_done_is_not_done_again(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """A second run skips, `--overwrite` does not; a stem that is gone is made again."""
    assert stemsplit("separate", song_file, "-o", "out", "--quiet").code == 0
    vocals = tmp_path / "out/song/vocals.wav"
    first = vocals.stat().st_mtime_ns
    again = stemsplit("separate", song_file, "-o", "out")
    assert again.code == 0
    assert again.out == "0 separated, 1 done already.\n"
    assert vocals.stat().st_mtime_ns == first
    redone = stemsplit("separate", song_file, "-o", "out", "--overwrite")
    assert redone.code == 0
    assert vocals.stat().st_mtime_ns > first
    (tmp_path / "out/song/accompaniment.wav").unlink()
    assert stemsplit("separate", song_file, "-o", "out").code == 0
    assert (tmp_path / "out/song/accompaniment.wav").exists()


def test_formats_and_quiet(stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path) -> None:
    """FLAC at 16 bit; `--quiet` prints nothing when all goes well."""
    ran = stemsplit(
        "separate", song_file, "-o", "out", "--format", "flac", "--bit-depth", "16", "-q"
    )
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    info = soundfile.info(tmp_path / "out/song/vocals.flac")
    assert (info.format, info.subtype) == ("FLAC", "PCM_16")


def test_without_a_terminal_the_output_is_plain_lines(
    stemsplit: Callable[..., Any], song_file: Path
) -> None:
    """No bar, no colour: a line for the track and one for the batch."""
    ran = stemsplit("separate", song_file, "-o", "out", "--verbose")
    assert "\x1b" not in ran.out + ran.err
    assert ran.out.startswith("[1/1] done: song.wav, 0:04 in ")
    assert "1 separated" in ran.out
    assert ("libraries preloaded" if IS_FORKED else "libraries loaded in the child") in ran.err


def test_a_name_that_is_not_utf_8(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """The stems go under the very bytes of the source's name."""
    source = os.fsencode(tmp_path) + b"/latin-1 \xe9.wav"
    Path(os.fsdecode(source)).write_bytes(song_file.read_bytes())
    ran = stemsplit("separate", source, "-o", "out")
    assert ran.code == 0
    assert "latin-1 \\xe9.wav" in ran.out
    assert [os.fsencode(name) for name in _visible(tmp_path / "out")] == [b"latin-1 \xe9"]


def test_a_folder_keeps_its_tree(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """Tracks below a folder go to the same place below the output."""
    for name in ("a/x.wav", "b/x.wav"):
        (tmp_path / "music" / name).parent.mkdir(parents=True)
        (tmp_path / "music" / name).write_bytes(song_file.read_bytes())
    assert stemsplit("separate", "music", "-o", "out", "-q").code == 0
    found = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("vocals.wav")}
    assert found == {"a/x/vocals.wav", "b/x/vocals.wav"}


def test_an_output_folder_that_cannot_be_written(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """One sentence, exit code 1, before any child is started."""
    (tmp_path / "file").touch()
    ran = stemsplit("separate", song_file, "-o", "file/out")
    assert ran.code == 1
    assert "cannot be written" in ran.err
    assert len(ran.err.splitlines()) == 1


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
    """Found out before the work (WAV) or in the midst of it (FLAC): one sentence, no stem."""
    soundfile.write(tmp_path / "long.wav", np.tile(song, (8, 1)), 44_100)
    ran = stemsplit("separate", "long.wav", "-o", small_disk, "--format", stem_format)
    assert ran.code == 1
    assert "The disk of" in ran.err
    assert _visible(small_disk) == []


def test_a_disk_without_any_room(
    stemsplit: Callable[..., Any], song_file: Path, small_disk: Path
) -> None:
    """A disk that is full from the start."""
    (small_disk / "filler").write_bytes(bytes(2**20))
    ran = stemsplit("separate", song_file, "-o", small_disk, "--format", "flac")
    assert ran.code == 1
    assert "full" in ran.err
    assert _visible(small_disk) == ["filler"]


@pytest.fixture
def long_tracks(song: NDArray[np.float32], tmp_path: Path) -> list[str]:
    """Two tracks of three minutes."""
    names = ["long 1.wav", "long 2.wav"]
    for name in names:
        soundfile.write(tmp_path / name, np.tile(song, (45, 1)), 44_100)
    return names


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGTERM], 143),
    ],
)
def test_a_stopped_batch_leaves_nothing_half_written(
    long_tracks: list[str],
    tmp_path: Path,
    sent: list[signal.Signals],
    code: int,
    separating: Callable[..., Any],
) -> None:
    """Stopped in the midst of a track: the exit code says so, and no trace of it is left."""
    with separating(tmp_path, *long_tracks) as running:
        for one in sent:
            running.send_signal(one)
            time.sleep(0.2)
        began = time.monotonic()
        assert running.wait(timeout=30) == code
        assert time.monotonic() - began < 10
        assert running.stderr is not None
        assert "nothing is half-written" in running.stderr.read()
    assert _visible(tmp_path / "out") == []


def test_one_interrupt_finishes_what_is_being_separated(
    long_tracks: list[str],
    tmp_path: Path,
    separating: Callable[..., Any],
) -> None:
    """The first track is done, the second is not begun, and the exit code tells of work left."""
    with separating(tmp_path, *long_tracks, "--jobs", "1") as running:
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
        assert running.returncode == 130
    assert "press Ctrl-C again to stop now" in err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["done"], summary["not_started"], summary["exit_code"]) == (1, 1, 130)
    assert {path.name for path in (tmp_path / "out" / "long 1").iterdir()} == STEMS
    assert _visible(tmp_path / "out") == ["long 1"]


def test_an_interrupt_with_nothing_left_to_start_is_no_failure(
    long_tracks: list[str],
    tmp_path: Path,
    separating: Callable[..., Any],
) -> None:
    """All that there was to do is done: exit code 0."""
    with separating(tmp_path, long_tracks[0]) as running:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
        assert running.returncode == 0


def test_an_interrupt_while_libraries_load(song_file: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches every process of the terminal; only the supervisor answers, in one line."""
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


def test_a_name_outside_the_output_s_encoding(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """Redirected into a file of a narrow encoding, names are spelled out and nothing ends."""
    (tmp_path / "歌.wav").write_bytes(song_file.read_bytes())
    ran = stemsplit("separate", "歌.wav", "-o", "out", PYTHONIOENCODING="cp1252")
    assert ran.code == 0
    assert "\\u6b4c.wav" in ran.out
    assert (tmp_path / "out/歌/vocals.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--max-ram", "100MiB"], 1, f"Allow --max-ram {LEAST_BUDGET}"),
        (["--max-ram-per-file", "100MiB"], 1, "--max-ram-per-file allows 100 MiB"),
        (["--min-free", "100%"], 1, "are to be left free"),
        (["--max-ram", "plenty"], 2, "max-ram cannot be “plenty”. Write a size such as 4GiB"),
        (["--stall-timeout", "soon"], 2, "stall-timeout cannot be “soon”"),
        (["--jobs", "0"], 2, "jobs must be 1 or more"),
        (["--jobs", "many"], 2, "many"),
        (["--retries", "-1"], 2, "retries must be 0 or more"),
    ],
)
def test_limits_that_cannot_be(
    stemsplit: Callable[..., Any], song_file: Path, arguments: list[str], code: int, words: str
) -> None:
    """One sentence with what to do, before any child is started."""
    ran = stemsplit("separate", song_file, "-o", "out", *arguments)
    assert ran.code == code
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_small_budget_is_kept_by_working_leaner(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """Where the whole model does not fit, one instrument at a time does; the stems are the same."""
    events = {}
    for out, budget in (("roomy", "3GiB"), ("tight", f"{LEAN_BUDGET}MiB")):
        ran = stemsplit("separate", song_file, "-o", out, "--json", "--max-ram", budget)
        assert ran.code == 0
        lines = [json.loads(line) for line in ran.out.splitlines()]
        events[out] = {line["type"]: line for line in lines}
    assert not events["roomy"]["pool_started"]["lean"]
    assert events["tight"]["pool_started"]["lean"]
    assert events["tight"]["batch_done"]["peak_memory_bytes"] < LEAN_BUDGET * 2**20
    for stem in STEMS:
        paths = [tmp_path / out / "song" / stem for out in events]
        if ENGINE == "tensorflow":
            assert paths[0].read_bytes() == paths[1].read_bytes()
        else:  # other kernels do it, which round in another way
            roomy, tight = (soundfile.read(path)[0] for path in paths)
            np.testing.assert_allclose(roomy, tight, atol=1e-5)


def test_a_track_that_takes_too_long(
    stemsplit: Callable[..., Any], long_tracks: list[str], tmp_path: Path
) -> None:
    """Ended, tried once more alone, and told with its story, its stack and its log."""
    ran = stemsplit(
        "separate", long_tracks[0], "-o", "out", "--timeout", "1s", "--retries", "1", "--verbose"
    )
    assert ran.code == 3
    assert "again: " in ran.err
    assert "Trying with 2 threads, alone." in ran.err or "Trying with 1 thread, alone." in ran.err
    assert "not done after 1 s, its time limit. Raise --timeout." in ran.err
    assert "to be ended, timed_out" in ran.err
    (log,) = (tmp_path / "out" / ".stemsplit" / "logs").glob("*.2.log")
    assert f"log: {log}" in ran.err
    assert "most recent call first" in log.read_text()


def test_a_child_that_is_killed_is_tried_again(
    long_tracks: list[str],
    tmp_path: Path,
    separating: Callable[..., Any],
) -> None:
    """Somebody ends a child by SIGKILL: the track is done all the same, by a second one."""
    with separating(tmp_path, long_tracks[0]) as running:
        family = psutil.Process(running.pid).children(recursive=True)
        child = max(family, key=lambda process: process.memory_full_info().uss)
        child.kill()
        out, _ = running.communicate(timeout=60)
        assert running.returncode == 0
    events = [json.loads(line) for line in out.splitlines()]
    (retried,) = [event for event in events if event["type"] == "track_retried"]
    assert retried["reason"] == "crashed"
    assert retried["exit_code"] == -9
    (done,) = [event for event in events if event["type"] == "track_done"]
    assert done["attempts"] == 2


def test_a_command_that_is_killed_leaves_no_unfinished_work(
    long_tracks: list[str],
    tmp_path: Path,
    separating: Callable[..., Any],
) -> None:
    """After SIGKILL nothing of it can clean up; the warden does, within two seconds."""
    with separating(tmp_path, *long_tracks) as running:
        running.kill()
        running.wait()
        deadline = time.monotonic() + 2
        while _visible(tmp_path / "out"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert stem_files(tmp_path) == []


def stem_files(folder: Path) -> list[Path]:
    """List the stems below a folder."""
    return [path for path in folder.rglob("*") if path.name in STEMS]
