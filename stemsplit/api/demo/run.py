"""Runs in the supervisor. The demo: generates a song, separates it and scores the stems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from stemsplit.api.demo.song import make_song
from stemsplit.batch import api
from stemsplit.core.errors import ExitCode
from stemsplit.core.settings import MODEL_SAMPLE_RATE, Settings
from stemsplit.storage.publish import check_writable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.batch.events import Event
    from stemsplit.models.download import Progress

SONG_NAME = "demo-song"
MIN_GAIN_DB = 9.0
"""Smallest gain over the mix in dB for each stem. The 2stems model gains 13.7 and 12.1 dB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """SI-SDR of one stem, in dB against the true stem.

    Attributes:
        stem: name of the stem.
        mix: SI-SDR of the mix.
        separated: SI-SDR of the separated stem.
    """

    stem: str
    mix: float
    separated: float

    @property
    def gain(self) -> float:
        """Gain of the separated stem over the mix in dB."""
        return self.separated - self.mix


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Result of the demo.

    Attributes:
        song: path of the mix.
        stems_folder: folder of the separated stems.
        scores: one score per stem; empty if the separation failed.
        exit_code: exit code of the separation.
    """

    song: Path
    stems_folder: Path
    scores: tuple[Score, ...]
    exit_code: ExitCode

    @property
    def passed(self) -> bool:
        """Whether every stem gained at least `MIN_GAIN_DB`."""
        return bool(self.scores) and all(score.gain >= MIN_GAIN_DB for score in self.scores)


def run_demo(
    output: Path,
    *,
    on_event: Callable[[Event], None] = lambda _event: None,
    download_progress: Callable[[str], Progress] | None = None,
) -> DemoResult:
    """Generate the song in `output`, separate it there, and score the stems.

    Raises:
        StemsplitError: as `stemsplit.batch.api.separate` does.
    """
    check_writable(output)
    song = make_song()
    path = output / f"{SONG_NAME}.wav"
    soundfile.write(path, song.mix, MODEL_SAMPLE_RATE, subtype="PCM_24")
    result = api.separate(
        [path],
        output,
        Settings(),
        overwrite=True,
        on_event=on_event,
        download_progress=download_progress,
    )
    scores = []
    for outcome in result.outcomes:
        for stem in outcome.stems:
            truth = getattr(song, stem.stem)
            separated, _ = soundfile.read(
                outcome.job.destination_path / stem.file_name, dtype="float32"
            )
            scores.append(
                Score(
                    stem=stem.stem, mix=si_sdr(song.mix, truth), separated=si_sdr(separated, truth)
                )
            )
    return DemoResult(
        song=path, stems_folder=output / SONG_NAME, scores=tuple(scores), exit_code=result.exit_code
    )


def si_sdr(estimate: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the scale-invariant signal-to-distortion ratio (SI-SDR) in dB.

    As defined by Le Roux, Wisdom, Erdogan and Hershey, "SDR - half-baked or well done?", ICASSP
    2019, equation 3, over all channels at once.

    Args:
        estimate: `(frames, channels)`, float32.
        truth: same shape, not silent.

    Returns:
        dB, higher is better; infinite for an estimate that is exact up to a gain.
    """
    estimated = estimate.astype(np.float64).ravel()
    true = truth.astype(np.float64).ravel()
    target = (estimated @ true) / (true @ true) * true
    noise = estimated - target
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((target @ target) / (noise @ noise)))
