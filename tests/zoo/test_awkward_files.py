"""Awkward files through the installed command: all audio at its time, or a report of the loss."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from awkward_files import AwkwardFile, as_pcm, audio, awkward_files
from recordings import RATE, recording

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILES = {file.name: file for file in awkward_files()}
NEGLIGIBLE_SECONDS = 0.05
"""The smallest loss that is reported; undeclared delays of encoders are smaller."""

_EDGE_SECONDS = 0.1


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all awkward files."""
    folder, scratch = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("scratch")
    for file in FILES.values():
        (folder / file.name).write_bytes(file.make(scratch))
    return folder


def _run(
    command: str, folder: Path, names: list[str], output: Path, *options: str
) -> dict[str, Any]:
    """Run the installed command on files; return the last event of each file, by its name."""
    stem = "/{stem}" if command == "separate" else ""
    name = f"{{source_ext}}/{{track}}{stem}.{{ext}}"
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "stemsplit", command, "--json", "--output", str(output)),
            *("--name", name, *options, *(str(folder / file) for file in names)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    events = [json.loads(line) for line in completed.stdout.splitlines()]
    results = [event for event in events if event["type"] in {"track_done", "track_failed"}]
    return {event["source"].rpartition("/")[2]: event for event in results}


CONVERT_OPTIONS = ("--sample-rate", "44100", "--format", "wav", "--bit-depth", "32f", "--no-tags")


@pytest.fixture(scope="session")
def converted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The last event of each file after a conversion."""
    return _run("convert", folder, list(FILES), tmp_path_factory.mktemp("out"), *CONVERT_OPTIONS)


@pytest.fixture(scope="session")
def accepted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same for files that fail as damaged, with `--accept-damaged`."""
    names = [file.name for file in FILES.values() if file.reason == "damaged"]
    output = tmp_path_factory.mktemp("accepted")
    return _run("convert", folder, names, output, *CONVERT_OPTIONS, "--accept-damaged")


def test_there_are_at_least_150_files() -> None:
    """Their names are unique."""
    assert len(awkward_files()) == len(FILES) >= 150


@pytest.mark.parametrize("name", FILES)
def test_all_audio_is_converted_at_its_time(
    name: str, converted: dict[str, Any], accepted: dict[str, Any]
) -> None:
    """Otherwise, the file fails for the right reason; every loss is reported."""
    file, event = FILES[name], converted[name]
    reason = event.get("reason", "done")
    assert reason == file.reason, event.get("message")
    if file.reason == "bad_input":
        assert event["message"]
        assert event["remedy"]
        return
    if file.reason == "damaged":
        assert " s of " in event["message"]
        assert "missing" in event["message"]
        event = accepted[name]
    assert frozenset(event["warning_kinds"]) == file.warned, event["warnings"]
    _check(file, event)


def _check(file: AwkwardFile, event: dict[str, Any]) -> None:
    samples, _ = soundfile.read(event["stems"][0]["path"], dtype="float32", always_2d=True)
    seconds = len(samples) / RATE
    if file.seconds:
        assert seconds == pytest.approx(file.seconds, abs=file.slack + NEGLIGIBLE_SECONDS)
    for excerpt in file.excerpts:
        first, last = excerpt.first + _EDGE_SECONDS, excerpt.first + excerpt.seconds - _EDGE_SECONDS
        pattern = recording(excerpt.recording)[round(first * RATE) : round(last * RATE)]
        at = excerpt.at + _EDGE_SECONDS
        delay, similarity = _find(samples, pattern, at)
        assert similarity > 0.8, excerpt
        assert abs(delay) <= file.slack, excerpt


def _find(
    samples: NDArray[np.float32], pattern: NDArray[np.float32], at: float
) -> tuple[float, float]:
    """Find an excerpt near a time; return its delay in seconds and its similarity, up to 1."""
    slack = round(3 * NEGLIGIBLE_SECONDS * RATE)
    first = round(at * RATE) - slack
    nearby = np.zeros((len(pattern) + 2 * slack), np.float64)
    available = samples[max(first, 0) : first + len(nearby), 0]
    nearby[max(-first, 0) : max(-first, 0) + len(available)] = available
    expected = pattern[:, 0].astype(np.float64)
    if not np.any(nearby):
        return 0.0, 0.0
    size = 1 << (len(nearby) + len(expected)).bit_length()
    spectrum = np.fft.rfft(nearby, size) * np.conj(np.fft.rfft(expected, size))
    products = np.fft.irfft(spectrum, size)[: 2 * slack + 1]
    best = int(np.argmax(products))
    part = nearby[best : best + len(expected)]
    norm = np.sqrt(np.sum(part**2) * np.sum(expected**2))
    return (best - slack) / RATE, float(products[best] / norm) if norm else 0.0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("name", FILES)
def test_ffmpeg_decodes_no_more(
    name: str, folder: Path, converted: dict[str, Any], accepted: dict[str, Any]
) -> None:
    """The output of FFmpeg's own command is not longer."""
    event = accepted.get(name, converted[name])
    if event["type"] != "track_done":
        pytest.skip("the file is refused")
    found = subprocess.run(
        [
            *("ffmpeg", "-v", "quiet", "-i", str(folder / name), "-map", "0:a:0"),
            *("-f", "s16le", "-ac", "1", "-ar", "8000", "-"),
        ],
        capture_output=True,
        check=False,
    )
    stem, seconds = event["stems"][0], len(found.stdout) / 16_000
    # FFmpeg keeps the encoder's padding around the second of two songs.
    padding = 2 * NEGLIGIBLE_SECONDS if "joined" in name else 0.0
    assert stem["frames"] / stem["sample_rate"] >= seconds - padding - NEGLIGIBLE_SECONDS


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_dts_under_a_wav_header_is_decoded(folder: Path, tmp_path: Path) -> None:
    """Its 16-bit samples would play as noise, as with CDs that contain DTS."""
    source = folder / "wav trailing chunk.wav"
    encode: list[str | Path] = ["ffmpeg", "-v", "error", "-i", source, "-c:a", "dca"]
    subprocess.run([*encode, "-strict", "-2", tmp_path / "a.dts"], check=True)
    (tmp_path / "dts.wav").write_bytes(as_pcm((tmp_path / "a.dts").read_bytes()))
    event = _run("convert", tmp_path, ["dts.wav"], tmp_path / "out", *CONVERT_OPTIONS)["dts.wav"]
    _check(AwkwardFile(name="dts", make=lambda _: b"", excerpts=(audio(),)), event)


SEPARATED = [
    name
    for name in FILES
    if any(
        part in name
        for part in (
            "declared size 0.",
            "constant garbage",
            "chain.",
            "joined.mp3",
            "aac gap",
            "one byte",
        )
    )
    and FILES[name].reason == "done"
]


@pytest.mark.real
def test_stems_are_as_long_as_converted_files(
    folder: Path, tmp_path: Path, converted: dict[str, Any]
) -> None:
    """Some of the files are separated too, and have the same warnings."""
    names = sorted(SEPARATED)
    separated = _run("separate", folder, names, tmp_path, "--no-tags")
    assert len(names) >= 12
    for name in names:
        expected = converted[name]
        assert separated[name]["type"] == expected["type"], separated[name]
        if expected["type"] == "track_done":
            assert separated[name]["warning_kinds"] == expected["warning_kinds"] or (
                "clipped" in separated[name]["warning_kinds"]
            )
            frames = {stem["frames"] for stem in separated[name]["stems"]}
            assert frames == {expected["stems"][0]["frames"]}
