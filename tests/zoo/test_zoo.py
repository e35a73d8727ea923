"""Awkward files through the installed command: all of their music, at its time, or a word on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from beasts import Beast, as_pcm, beasts, whole
from sounds import RATE, tape

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.xdist_group("zoo")
"""The files are made and converted once, for all tests."""

BEASTS = {beast.name: beast for beast in beasts()}
UNTOLD_SECONDS = 0.05
"""The least loss of which a person is told; encoders that declare no delay shift by less."""

_EDGE_SECONDS = 0.1


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write all files."""
    folder, scratch = tmp_path_factory.mktemp("zoo"), tmp_path_factory.mktemp("scratch")
    for beast in BEASTS.values():
        (folder / beast.name).write_bytes(beast.make(scratch))
    return folder


def _run(
    command: str, folder: Path, names: list[str], output: Path, *options: str
) -> dict[str, Any]:
    """Run the installed command over files; return the last event of each, by its name."""
    stem = "/{stem}" if command == "separate" else ""
    name = f"{{source_ext}}/{{track}}{stem}.{{ext}}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "stemsplit", command, "--json", "--output", str(output)),
            *("--name", name, *options, *(str(folder / one) for one in names)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ended = [event for event in events if event["type"] in {"track_done", "track_failed"}]
    return {event["source"].rpartition("/")[2]: event for event in ended}


CONVERTED = ("--sample-rate", "44100", "--format", "wav", "--bit-depth", "32f", "--no-tags")


@pytest.fixture(scope="session")
def converted(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Convert all of them at once."""
    return _run("convert", zoo, list(BEASTS), tmp_path_factory.mktemp("out"), *CONVERTED)


@pytest.fixture(scope="session")
def accepted(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Convert those that must fail as damaged, as far as they go."""
    names = [beast.name for beast in BEASTS.values() if beast.reason == "damaged"]
    output = tmp_path_factory.mktemp("accepted")
    return _run("convert", zoo, names, output, *CONVERTED, "--accept-damaged")


def test_there_are_enough_of_them() -> None:
    """And no two have one name."""
    assert len(beasts()) == len(BEASTS) >= 150


@pytest.mark.parametrize("name", BEASTS)
def test_gives_all_of_its_music_at_its_time(
    name: str, converted: dict[str, Any], accepted: dict[str, Any]
) -> None:
    """Or fails with the right reason; and what is lost is told."""
    beast, event = BEASTS[name], converted[name]
    reason = event.get("reason", "done")
    assert reason == beast.reason, event.get("message")
    if beast.reason == "bad_input":
        assert event["message"]
        assert event["remedy"]
        return
    if beast.reason == "damaged":
        assert " s of " in event["message"]
        assert "missing" in event["message"]
        event = accepted[name]
    assert frozenset(event["warning_kinds"]) == beast.warned, event["warnings"]
    _check(beast, event)


def _check(beast: Beast, event: dict[str, Any]) -> None:
    samples, _ = soundfile.read(event["stems"][0]["path"], dtype="float32", always_2d=True)
    seconds = len(samples) / RATE
    if beast.seconds:
        assert seconds == pytest.approx(beast.seconds, abs=beast.slack + UNTOLD_SECONDS)
    for stretch in beast.holds:
        first, last = stretch.first + _EDGE_SECONDS, stretch.first + stretch.seconds - _EDGE_SECONDS
        wanted = tape(stretch.tape)[round(first * RATE) : round(last * RATE)]
        at = stretch.at + _EDGE_SECONDS
        late, likeness = _lateness(samples, wanted, at)
        assert likeness > 0.8, stretch
        assert abs(late) <= beast.slack, stretch


def _lateness(
    samples: NDArray[np.float32], wanted: NDArray[np.float32], at: float
) -> tuple[float, float]:
    """Find a stretch near a time: how many seconds late it is, and how like it is, 1 at most."""
    slack = round(3 * UNTOLD_SECONDS * RATE)
    first = round(at * RATE) - slack
    near = np.zeros((len(wanted) + 2 * slack), np.float64)
    left = samples[max(first, 0) : first + len(near), 0]
    near[max(-first, 0) : max(-first, 0) + len(left)] = left
    pattern = wanted[:, 0].astype(np.float64)
    if not np.any(near):
        return 0.0, 0.0
    size = 1 << (len(near) + len(pattern)).bit_length()
    spectrum = np.fft.rfft(near, size) * np.conj(np.fft.rfft(pattern, size))
    products = np.fft.irfft(spectrum, size)[: 2 * slack + 1]
    best = int(np.argmax(products))
    part = near[best : best + len(pattern)]
    norm = np.sqrt(np.sum(part**2) * np.sum(pattern**2))
    return (best - slack) / RATE, float(products[best] / norm) if norm else 0.0


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("name", BEASTS)
def test_ffmpeg_finds_no_more(
    name: str, zoo: Path, converted: dict[str, Any], accepted: dict[str, Any]
) -> None:
    """What FFmpeg's own command decodes is not longer than what comes out."""
    event = accepted.get(name, converted[name])
    if event["type"] != "track_done":
        pytest.skip("it is refused")
    found = subprocess.run(
        [
            *("ffmpeg", "-v", "quiet", "-i", str(zoo / name), "-map", "0:a:0"),
            *("-f", "s16le", "-ac", "1", "-ar", "8000", "-"),
        ],
        capture_output=True,
        check=False,
    )
    stem, seconds = event["stems"][0], len(found.stdout) / 16_000
    # It keeps what an encoder has put around the second of two songs.
    padding = 2 * UNTOLD_SECONDS if "joined" in name else 0.0
    assert stem["frames"] / stem["sample_rate"] >= seconds - padding - UNTOLD_SECONDS


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_dts_under_a_wav_header_is_decoded(zoo: Path, tmp_path: Path) -> None:
    """As on CDs with DTS sound: 16-bit samples that play as noise."""
    encode = ["ffmpeg", "-v", "error", "-i", str(zoo / "wav chunk behind.wav"), "-c:a", "dca"]
    subprocess.run([*encode, "-strict", "-2", str(tmp_path / "a.dts")], check=True)
    (tmp_path / "dts.wav").write_bytes(as_pcm((tmp_path / "a.dts").read_bytes()))
    event = _run("convert", tmp_path, ["dts.wav"], tmp_path / "out", *CONVERTED)["dts.wav"]
    _check(Beast(name="dts", make=lambda _: b"", holds=(whole(),)), event)


SEPARATED = [
    name
    for name in BEASTS
    if any(
        part in name
        for part in ("size of 0.", "constant garbage", "chain.", "joined.mp3", "aac gap", "one bit")
    )
    and BEASTS[name].reason == "done"
]


@pytest.mark.real
def test_separating_gives_as_much(zoo: Path, tmp_path: Path, converted: dict[str, Any]) -> None:
    """The stems of some of them are as long as what converting gives, with the same warnings."""
    names = sorted(set(SEPARATED) | {name for name in BEASTS if name.endswith((".m4a", ".flac"))})
    separated = _run("separate", zoo, names, tmp_path, "--no-tags")
    assert len(names) >= 20
    for name in names:
        alike = converted[name]
        assert separated[name]["type"] == alike["type"], separated[name]
        if alike["type"] == "track_done":
            assert separated[name]["warning_kinds"] == alike["warning_kinds"] or (
                "clipped" in separated[name]["warning_kinds"]
            )
            frames = {stem["frames"] for stem in separated[name]["stems"]}
            assert frames == {alike["stems"][0]["frames"]}
