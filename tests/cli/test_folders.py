"""Folders as users have them, on the command line; no model is needed."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from audio_files import write_libav

import stemsplit as library
from stemsplit.core.errors import UsageError
from stemsplit.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

COMMAND = Path(sys.executable).with_name("stemsplit")
RATE = 44_100
NS_PER_SECOND = 10**9

CONTAINERS = [
    ("weba", "libopus", 0), ("voc", "pcm_s16le", 0), ("asf", "mp2", 25), ("avi", "mp2", 25),
    ("mpg", "mp2", 25), ("ts", "mp2", 25), ("m4v", "aac", 25), ("3gp", "aac", 25),
    ("flv", "aac", 0), ("m2ts", "ac3", 25), ("vob", "mp2", 25), ("f4v", "aac", 0),
    ("mk3d", "mp2", 0), ("w64", "pcm_s16le", 0), ("tta", "tta", 0), ("eac3", "eac3", 0),
]  # fmt: skip
_WRITTEN_AS = {"weba": "webm", "mk3d": "mkv"}


def _write_dff(path: Path, seconds: int = 1) -> None:
    """Write a DSDIFF file, as from a ripped SACD: two channels of silence at 2.8224 MHz."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">Q", len(content)) + content

    channels = chunk(b"CHNL", struct.pack(">H", 2) + b"SLFTSRGT")
    compression = chunk(b"CMPR", b"DSD \x0enot compressed\0")
    properties = b"SND " + chunk(b"FS  ", struct.pack(">I", 64 * RATE)) + channels + compression
    samples = b"\x69" * (2 * 8 * RATE * seconds)
    form = b"DSD " + chunk(b"FVER", b"\x01\x05\0\0") + chunk(b"PROP", properties)
    path.write_bytes(chunk(b"FRM8", form + chunk(b"DSD ", samples)))


@pytest.fixture
def tone() -> NDArray[np.float32]:
    """One second of a sine wave, in stereo."""
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    return np.repeat(wave.astype(np.float32)[:, None], 2, axis=1)


@pytest.fixture
def music(tmp_path: Path, tone: NDArray[np.float32]) -> Path:
    """A folder with five short files."""
    for name in ("1.wav", "2.wav", "a/3.wav", "Podcasts/4.wav", "Podcasts/old/5.wav"):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone, RATE)
    return tmp_path / "music"


def test_every_container_is_found(
    stemsplit: Callable[..., Any], tmp_path: Path, tone: NDArray[np.float32]
) -> None:
    """Each is converted with its audio; TypeScript files, named like films, are ignored."""
    folder = tmp_path / "music"
    folder.mkdir()
    for extension, codec, pictures in CONTAINERS:
        rate = 48_000 if codec == "libopus" else RATE
        written = folder / f"{extension}.{_WRITTEN_AS.get(extension, extension)}"
        write_libav(written, tone, codec, rate=rate, pictures=pictures)
        written.rename(folder / f"{extension}.{extension}")
    _write_dff(folder / "dff.dff")
    (folder / "ts.ts").rename(folder / "film without an extension")
    shutil.copy(folder / "film without an extension", folder / "ts.ts")
    for name in ("index.ts", "app.d.ts", "module.mts"):
        (folder / name).write_text("export const x: number = 1;\n" * 30)
    result = stemsplit("convert", "music", "-o", "out")
    assert result.code == 0, result.err
    expected = {*(extension for extension, *_ in CONTAINERS), "dff", "film without an extension"}
    assert {path.stem for path in (tmp_path / "out").glob("*.wav")} == expected
    assert "3 files ignored, not audio by name or content (.ts 2, .mts 1)" in result.err
    for path in (tmp_path / "out").glob("*.wav"):
        samples, rate = soundfile.read(path)
        assert 0.9 <= len(samples) / rate <= 1.25, path
        assert path.stem == "dff" or 0.15 < np.abs(samples).max() < 0.6, path


def test_system_folders_are_ignored_and_counted(stemsplit: Callable[..., Any], music: Path) -> None:
    """Deleted files are not converted, unless their folder is an input itself."""
    for name in ("#recycle", "a/@eaDir", "a/$RECYCLE.BIN", ".38 Special"):
        (music / name).mkdir()
        shutil.copy(music / "1.wav", music / name / "x.wav")
    result = stemsplit("convert", "music", "-o", "out", "--dry-run", "--json")
    events = [json.loads(line) for line in result.out.splitlines()]
    notes = [event["text"] for event in events if event["type"] == "note"]
    assert events[-1]["separate"] == 5
    assert notes == [
        "3 system folders ignored (#recycle, $RECYCLE.BIN, @eaDir)",
        "1 hidden file or folder ignored (.38 Special); to include one, name it as an input",
    ]
    result = stemsplit("convert", "music", "-o", "out")
    assert (result.code, "5 converted" in result.out, notes[0] in result.err) == (0, True, True)
    named = stemsplit("convert", "music/#recycle", "-o", "trash")
    assert (named.code, "1 converted" in named.out) == (0, True)


def test_an_unreadable_subfolder(music: Path, tmp_path: Path) -> None:
    """It causes a warning and exit code 3, as in restic; as an input, it is a failure."""
    command: list[str | Path] = [COMMAND, "convert"]
    if os.geteuid() == 0:  # not bound by permissions unless the capabilities are dropped
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to drop its capabilities")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, check=False, capture_output=True, text=True
        )

    for mode, folder in ((0o000, "a"), (0o444, "Podcasts")):  # 0o444 can be listed, but not entered
        (music / folder).chmod(mode)
    try:
        result = run("music", "-o", "out")
        planned = run("music", "-o", "out", "-n")
        named = run("music/a", "-o", "out")
    finally:
        for folder in ("a", "Podcasts"):
            (music / folder).chmod(0o755)
    assert result.returncode == planned.returncode == named.returncode == 3
    for folder in ("a", "Podcasts"):
        warning = f"warning: “music/{folder}” cannot be read (Permission denied)."
        assert result.stderr.count(warning) == planned.stderr.count(warning) == 1
        assert f"  not read: music/{folder}\n" in result.stderr
    assert "2 converted, 2 folders not read" in result.stderr
    assert "failed" not in result.stderr
    assert "2 done, 2 folders not read" in planned.stdout
    assert "failed: music/a: “music/a” cannot be read" in named.stderr
    summary = json.loads((tmp_path / "out/.stemsplit/summary.json").read_text())
    assert (summary["failed"], summary["exit_code"]) == (1, 3)
    again = run("music", "-o", "out")
    assert (again.returncode, "3 converted, 2 already done" in again.stdout) == (0, True)


def test_a_playlist_can_be_the_input_list(
    stemsplit: Callable[..., Any], music: Path, tmp_path: Path
) -> None:
    """It contains directives, relative paths and a URL with escapes, as players write them."""
    (music / "1.wav").rename(music / "1 é.wav")
    url = f"{(music / '1 é.wav').as_uri()}\r\n"
    assert "%20" in url
    (music / "a" / "best.m3u8").write_text(
        f"#EXTM3U\r\n#EXTINF:1,Someone - Song\r\n3.wav\r\n# more\r\n../2.wav\r\n{url}",
        encoding="utf-8",
        newline="",
    )
    result = stemsplit("convert", "--from-file", "music/a/best.m3u8", "-o", "out")
    assert result.code == 0, result.err
    assert {path.name for path in (tmp_path / "out").glob("*.wav")} == {"1 é.wav", "2.wav", "3.wav"}


def test_daylight_saving_repeats_no_tracks(stemsplit: Callable[..., Any], music: Path) -> None:
    """A shift of all times by an hour is ignored; an edit during the shift is detected."""
    assert stemsplit("convert", "music", "-o", "out").code == 0
    times = {path: path.stat().st_mtime_ns for path in music.rglob("*.wav")}
    for shift in (3600, -3600, 3601):
        for path, modified in times.items():
            os.utime(path, ns=(0, modified + shift * NS_PER_SECOND))
        result = stemsplit("convert", "music", "-o", "out")
        assert (result.code, result.out) == (0, "0 converted, 5 already done.\n")
    edited = music / "1.wav"
    content = bytearray(edited.read_bytes())
    content[len(content) // 2] ^= 1
    edited.write_bytes(content)
    os.utime(edited, ns=(0, times[edited] + 3600 * NS_PER_SECOND))
    os.utime(music / "2.wav", ns=(0, times[edited] + 7200 * NS_PER_SECOND))
    result = stemsplit("convert", "music", "-o", "out", "--dry-run")
    assert result.out.count("the file has changed") == 2
    assert "2 to convert, 3 done" in result.out


def test_exclude_patterns(stemsplit: Callable[..., Any], music: Path, tmp_path: Path) -> None:
    """Options, files and variables set them; notes report what they match or do not match."""
    (tmp_path / "stemsplit.toml").write_text('[convert]\nexclude = ["Podcasts", "2,*"]\n')

    def plan(*options: str, **environment: str) -> tuple[int, set[str], str]:
        result = stemsplit(
            "convert", music.name, "-o", "out", "-n", "--json", *options, **environment
        )
        events = [json.loads(line) for line in result.out.splitlines()]
        names = {Path(event["source"]).name for event in events if event["type"] == "track_planned"}
        notes = [event["text"] for event in events if event["type"] == "note"]
        return result.code, names, " ".join(notes)

    note = "1 folder excluded by --exclude (Podcasts) --exclude “2,*” matched nothing"
    assert plan() == (0, {"1.wav", "2.wav", "3.wav"}, note)
    options = ("--exclude", "[12].wav", "--exclude", "Podcasts/old")
    note = "2 files and 1 folder excluded by --exclude (1.wav, 2.wav, old)"
    assert plan(*options) == (0, {"3.wav", "4.wav"}, note)
    assert plan(STEMSPLIT_EXCLUDE="1.wav\n/a/\n")[1] == {"2.wav", "4.wav", "5.wav"}
    assert plan("--exclude", "*") == (0, set(), "1 folder excluded by --exclude (music)")
    shown = json.loads(stemsplit("config", "convert", "--json").out)["settings"]
    assert ["Podcasts", "2,*"] in [
        setting["value"] for setting in shown if setting["option"] == "exclude"
    ]
    result = stemsplit("convert", "music", "-o", "out", "--exclude", "")
    assert (result.code, "does not name a file or folder" in result.err) == (2, True)


def test_limit_splits_a_batch_into_several_runs(stemsplit: Callable[..., Any], music: Path) -> None:
    """Each run continues where the last one stopped, with exit code 0."""
    assert music.exists()
    planned = stemsplit("convert", "music", "-o", "out", "-n", "--limit", "2", "--order", "path")
    assert planned.out.count("\nlater: ") == 3
    assert "2 to convert, 3 left for another run" in planned.out
    for done, left in ((0, 3), (2, 1), (4, 0)):
        result = stemsplit("convert", "music", "-o", "out", "--limit", "2", "--order", "path")
        assert result.code == 0, result.err
        counts = [f"{min(2, 5 - done)} converted"]
        counts += [f"{done} already done"] if done else []
        counts += [f"{left} left for another run"] if left else []
        assert result.out.splitlines()[-1].partition(";")[0] == ", ".join(counts)
        assert (
            f"{done + min(2, 5 - done)} done, 0 failed, {left} left"
            in stemsplit("status", "out").out
        )
    again = stemsplit("convert", "music", "-o", "out", "--overwrite", "--limit", "2")
    assert "2 converted, 3 left for another run" in again.out
    rest = stemsplit("convert", "music", "-o", "out")
    assert "3 converted, 2 already done" in rest.out, "the others are still to be overwritten"
    assert stemsplit("convert", "music", "-o", "out", "--limit", "0").code == 2


def test_the_python_api_has_the_same_options(music: Path, tmp_path: Path) -> None:
    """Exclude patterns, a limit and a list of inputs have the same effect."""
    settings = Settings(what="conversion")
    events: list[Any] = []
    result = library.separate(
        [music], tmp_path / "out", settings, exclude=["Podcasts"], limit=2, on_event=events.append
    )
    assert (len(result.outcomes), len(result.put_off), result.exit_code) == (2, 1, 0)
    assert events[-1].put_off == 1
    listed = library.separate(
        [], tmp_path / "out", settings, listed=["3.wav"], listed_in=music / "a", dry_run=True
    )
    assert (len(listed.problems), len(listed.outcomes)) == (0, 0)
    with pytest.raises(UsageError, match="exclude must be a list of patterns"):
        library.separate([music], tmp_path / "out", settings, exclude="Podcasts")
    with pytest.raises(UsageError, match="Invalid limit: 0"):
        library.separate([music], tmp_path / "out", settings, limit=0)
