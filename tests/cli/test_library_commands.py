"""Libraries by the installed command, with the real model: lists, plans, status, a second run."""

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
def at_work(
    library: Path, tmp_path: Path, separating: Callable[..., Any]
) -> Iterator[subprocess.Popen[str]]:
    """The command, at its first track."""
    with separating(tmp_path, library) as running:
        yield running


def test_a_second_terminal(
    at_work: subprocess.Popen[str], stemsplit: Callable[..., Any], library: Path
) -> None:
    """It is told how far the batch is, what a plan would be, and that it must not write there."""
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
    assert f"running (process {at_work.pid} on" in text.out
    assert "0 done, 0 failed, 3 left" in text.out
    assert "times real time" in text.out
    second = stemsplit("separate", library, "-o", "out")
    assert second.code == 11
    assert f"process {at_work.pid}" in second.err
    plan = stemsplit("separate", library, "-o", "out", "--dry-run")
    assert plan.code == 0
    assert "3 to separate" in plan.out


def test_after_a_kill(
    at_work: subprocess.Popen[str], stemsplit: Callable[..., Any], library: Path, tmp_path: Path
) -> None:
    """`status` says so; the next run removes what is half-done, and does what is left."""
    at_work.send_signal(signal.SIGKILL)
    at_work.wait()
    text = stemsplit("status", "out").out
    assert "killed" in text
    assert "3 left" in text
    ran = stemsplit("separate", library, "-o", "out")
    assert ran.code == 0
    assert "the last run did not end well" in ran.err
    assert len(list((tmp_path / "out").rglob("vocals.wav"))) == 3
    assert not list((tmp_path / "out").rglob(".stemsplit-*"))
    summary = json.loads((tmp_path / "out/.stemsplit/summary.json").read_text())
    assert (summary["done"], summary["failures"], summary["exit_code"]) == (3, [], 0)
    text = stemsplit("status", "out").out
    assert "with exit code 0" in text
    assert "3 done, 0 failed, 0 left" in text


def test_lists_and_names(library: Path, tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """`find -print0 | stemsplit separate --from-file -` keeps the tree; a name may differ."""
    with subprocess.Popen(
        ["find", "music", "-name", "short*", "-print0"], cwd=tmp_path, stdout=subprocess.PIPE
    ) as finding:
        listed = subprocess.run(
            [COMMAND, "separate", "--from-file", "-", "-o", "out", "--no-tags"],
            cwd=tmp_path,
            stdin=finding.stdout,
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
    ran = stemsplit("separate", library / "a b", "-o", "named", "--name", name, "--format", "flac")
    assert ran.code == 0
    stem = tmp_path / "named/Someone/Live_ (vocals).flac"
    assert mediafile.MediaFile(stem).title == "Live? (vocals)"


def test_a_plan_is_printed_and_nothing_is_done(
    library: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """Tracks, their duration, and what it takes; as text and as JSON."""
    (library / "notes.mp3").write_text("la la la")
    plan = stemsplit("separate", library, "-o", "out", "--dry-run", "--until", "00:00")
    assert plan.code == 0
    lines = plan.out.splitlines()
    stem = tmp_path / "out" / "long 1" / "vocals.wav"
    assert any(line.endswith(f"long 1.flac (3:00): new -> {stem}") for line in lines)
    assert "4 to separate" in lines
    for word in ("audio 6:04; time about", "memory about", "disk about", "of 4 until"):
        assert word in plan.out
    told = stemsplit("separate", library, "-o", "out", "-n", "--json").out.splitlines()
    kinds = [json.loads(line)["type"] for line in told]
    assert kinds == ["batch_started", *["track_planned"] * 4, "plan_made"]
    assert not (tmp_path / "out").exists()


def test_keeping_awake_where_that_cannot_be(library: Path, stemsplit: Callable[..., Any]) -> None:
    """A plain note, and the batch goes on."""
    ran = stemsplit(
        "separate", library / "a b", "-o", "out", "--keep-awake", DBUS_SESSION_BUS_ADDRESS=""
    )
    assert ran.code == 0
    assert "cannot be kept awake" in ran.err or os.name != "posix"
