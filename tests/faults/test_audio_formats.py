"""All input formats at all sample rates, and damaged files of each, with a fast engine."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from broken_files import FORMATS, LIBAV, SNDFILE, run, write_whole

import stemsplit
from stemsplit.audio.decode import Decoder
from stemsplit.core.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("real_models")

ENGINE = "fake_engines:half"
FRAMES = 30_011
RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)

MUTATIONS = 5


def _supports(ext: str, rate: int) -> bool:
    """Return whether a format supports a sample rate."""
    if ext in {"mp3", "wma"}:
        return rate <= 48_000 and (ext == "mp3" or rate >= 22_050)
    if ext in {"m4a", "aac"}:
        return rate <= 96_000
    return ext not in {"webm", "opus"} or rate == 48_000


def _decoded(path: Path) -> tuple[int, int]:
    """Return the number of frames and the sample rate of a file with `FRAMES` frames."""
    with Decoder(path) as source:
        frames, rate = sum(map(len, source.blocks())), source.info.sample_rate
    if path.suffix not in {".aac", ".wma"}:  # neither stores how much its encoder has added
        assert frames == FRAMES, path.name
    return frames, rate


def test_every_format_is_decoded_at_every_rate(tmp_path: Path) -> None:
    """No frame is lost or added."""
    noise = np.random.default_rng(0).normal(0, 0.05, (FRAMES, 2)).astype(np.float32)
    files = [(rate, ext) for ext in FORMATS for rate in RATES if _supports(ext, rate)]
    assert len(files) > 120
    for rate, ext in files:
        path = tmp_path / f"{rate}.{ext}"
        write_whole(path, noise, rate)
        assert _decoded(path)[1] == rate, path.name


@pytest.mark.parametrize("wanted", ["source", 44_100])
def test_stems_have_as_many_frames_as_their_source(tmp_path: Path, wanted: str | int) -> None:
    """The decoder returns every encoded frame, if the format stores their number."""
    songs = tmp_path / "songs"
    songs.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.05, (FRAMES, 2)).astype(np.float32)
    for ext in FORMATS:
        supported = [rate for rate in RATES if _supports(ext, rate)]
        for rate in {supported[0], 44_100, supported[-1]}.intersection(supported):
            write_whole(songs / f"{rate}.{ext}", noise, rate)
    settings = Settings(engine=ENGINE, sample_rate=wanted, stems=("vocals",))  # type: ignore[arg-type]
    name = "{track} {source_ext}/{stem}.{ext}"
    result = stemsplit.separate([songs], tmp_path / "out", settings, name=name)
    assert result.exit_code == 0, [outcome.message for outcome in result.failures]
    assert len(result.outcomes) > 35
    for outcome in result.outcomes:
        path = outcome.job.source_path
        assert outcome.warnings == (), path.name
        frames, rate = _decoded(path)
        (stem,) = outcome.stems
        expected = frames if wanted == "source" else round(frames * 44_100 / rate)
        info = soundfile.info(outcome.job.paths["vocals"])
        assert (info.frames, stem.frames) == (expected, expected), path.name
        assert info.samplerate == stem.sample_rate == (rate if wanted == "source" else wanted)


@pytest.mark.parametrize("ext", [*SNDFILE, *LIBAV])
def test_every_damaged_file_has_an_outcome(tmp_path: Path, ext: str) -> None:
    """A few random files of each format; `broken_files` separates hundreds."""
    seed = int(time.time())
    results = run(tmp_path, ext, MUTATIONS, seed, ENGINE)
    assert results.unacceptable == [], f"seed {seed}"
    if results.lost:  # FFmpeg may decode more than was encoded after random damage
        warnings.warn(f"seed {seed}: {results.lost}", stacklevel=1)
    assert results.decoder_faults == [], f"seed {seed}: a decoder crashed or exceeded the cap"
    assert results.reasons.total() == MUTATIONS
