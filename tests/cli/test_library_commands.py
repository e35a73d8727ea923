"""Batches of folders with the real model: lists, dry runs, `status`, and a second run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mediafile
import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

COMMAND = Path(sys.executable).with_name("stemsplit")


@pytest.fixture
def library(song: NDArray[np.float32], tmp_path: Path) -> Path:
    """Two tracks of three minutes and one of four seconds."""
    folder = tmp_path / "music"
    (folder / "a b").mkdir(parents=True)
    for name in ("long 1.flac", "long 2.flac"):
        soundfile.write(folder / name, np.tile(song, (45, 1)), 44_100)
    soundfile.write(folder / "a b" / "short.flac", song, 44_100)
    return folder


@pytest.fixture
def running_batch(
    library: Path, tmp_path: Path, start_batch: Callable[..., Any]
) -> Iterator[subprocess.Popen[str]]:
    """The command while it separates its first track."""
    with start_batch(tmp_path, library) as running:
        yield running


def test_a_second_terminal(
    running_batch: subprocess.Popen[str], stemsplit: Callable[..., Any], library: Path
) -> None:
    """It can show the progress and a dry run, but cannot write to the same folder."""
    deadline = time.monotonic() + 10
    while True:
        report = json.loads(stemsplit("status", "out", "--json").out)
        if any(track["audio_seconds"] for track in report["now"]["running"]):
            break
        assert time.monotonic() < deadline
    assert report["running"]
    assert (report["done"], report["failed"], report["left"]) == (0, 0, 3)
    assert report["audio_seconds_left"] == pytest.approx(364, abs=1)
    now = report["now"]
    assert now["speed"] > 1
    assert 0 < now["seconds_left"] < 364
    assert 0 < now["memory_bytes"] < now["max_ram_bytes"]
    assert Path(now["running"][0]["source"]).name.startswith("long")
    text = stemsplit("status", "out")
    assert text.code == 0
    assert f"running (process {running_batch.pid} on" in text.out
    assert "0 done, 0 failed, 3 left" in text.out
    assert "times real time" in text.out
    second = stemsplit("separate", library, "-o", "out")
    assert second.code == 11
    assert f"process {running_batch.pid}" in second.err
    plan = stemsplit("separate", library, "-o", "out", "--dry-run")
    assert plan.code == 0
    assert "3 to separate" in plan.out


def test_a_killed_batch_can_be_resumed(
    running_batch: subprocess.Popen[str],
    stemsplit: Callable[..., Any],
    library: Path,
    tmp_path: Path,
) -> None:
    """`status` reports the kill; the next run removes partial files and finishes the batch."""
    running_batch.send_signal(signal.SIGKILL)
    running_batch.wait()
    text = stemsplit("status", "out").out
    assert "killed" in text
    assert "3 left" in text
    result = stemsplit("separate", library, "-o", "out")
    assert result.code == 0
    assert "the last run did not finish cleanly" in result.err
    assert len(list((tmp_path / "out").rglob("vocals.wav"))) == 3
    assert not list((tmp_path / "out").rglob(".stemsplit-*"))
    summary = json.loads((tmp_path / "out/.stemsplit/summary.json").read_text())
    assert (summary["done"], summary["failures"], summary["exit_code"]) == (3, [], 0)
    text = stemsplit("status", "out").out
    assert "with exit code 0" in text
    assert "3 done, 0 failed, 0 left" in text


def test_input_lists_and_name_templates(
    library: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """`find -print0 | stemsplit separate --from-file -` keeps folders; `--name` replaces them."""
    with subprocess.Popen(
        ["find", "music", "-name", "short*", "-print0"], cwd=tmp_path, stdout=subprocess.PIPE
    ) as find:
        listed = subprocess.run(
            [COMMAND, "separate", "--from-file", "-", "-o", "out", "--no-tags"],
            cwd=tmp_path,
            stdin=find.stdout,
            check=True,
            capture_output=True,
            text=True,
        )
    assert "1 separated" in listed.stdout
    assert (tmp_path / "out/music/a b/short/vocals.wav").exists()
    media = mediafile.MediaFile(library / "a b/short.flac")
    media.title, media.artist = "Live?", "Someone"
    media.save()
    name = "{artist}/{title} ({stem}).{ext}"
    result = stemsplit(
        "separate", library / "a b", "-o", "named", "--name", name, "--format", "flac"
    )
    assert result.code == 0
    stem = tmp_path / "named/Someone/Live_ (vocals).flac"
    assert mediafile.MediaFile(stem).title == "Live? (vocals)"


def test_a_dry_run_writes_nothing(
    library: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """It prints the tracks, their durations and the expected resources, as text or JSON."""
    (library / "notes.mp3").write_text("la la la")
    plan = stemsplit("separate", library, "-o", "out", "--dry-run", "--until", "00:00")
    assert plan.code == 0
    lines = plan.out.splitlines()
    stem = tmp_path / "out" / "long 1" / "vocals.wav"
    assert any(line.endswith(f"long 1.flac (3:00): new -> {stem}") for line in lines)
    assert "4 to separate" in lines
    for text in ("audio 6:04; time about", "memory about", "disk about", "of 4 until"):
        assert text in plan.out
    events = stemsplit("separate", library, "-o", "out", "-n", "--json").out.splitlines()
    types = [json.loads(line)["type"] for line in events]
    assert types == ["batch_started", *["track_planned"] * 4, "plan_made"]
    assert not (tmp_path / "out").exists()


def test_keep_awake_without_a_desktop_session(library: Path, stemsplit: Callable[..., Any]) -> None:
    """A note is printed and the batch continues."""
    result = stemsplit(
        "separate", library / "a b", "-o", "out", "--keep-awake", DBUS_SESSION_BUS_ADDRESS=""
    )
    assert result.code == 0
    assert "cannot be kept awake" in result.err or os.name != "posix"
