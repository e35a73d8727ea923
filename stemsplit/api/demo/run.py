"""Runs in the supervisor. The demo: make a song, separate it as anybody would, score it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import soundfile

from stemsplit.api.demo.score import si_sdr
from stemsplit.api.demo.song import make_song
from stemsplit.batch import api
from stemsplit.core.errors import ExitCode
from stemsplit.core.settings import MODEL_SAMPLE_RATE, Settings
from stemsplit.storage.publish import check_writable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.batch.events import Event
    from stemsplit.models.fetch import Progress

SONG_NAME = "demo-song"
MARGIN_DB = 9.0
"""What every stem must gain over the mix. The 2stems model gains 13.7 and 12.1 dB on this song."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """SI-SDR of one stem in dB, of the mix and of the separated stem, against the true stem."""

    stem: str
    mix: float
    separated: float

    @property
    def gained(self) -> float:
        """How much nearer to the truth the stem is than the mix."""
        return self.separated - self.mix


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demo found.

    Attributes:
        song: the mix.
        stems_folder: the separated stems.
        scores: one a stem; empty if the separation itself failed.
        exit_code: of the separation.
    """

    song: Path
    stems_folder: Path
    scores: tuple[Score, ...]
    exit_code: ExitCode

    @property
    def passed(self) -> bool:
        """Whether every stem gained `MARGIN_DB`."""
        return bool(self.scores) and all(score.gained >= MARGIN_DB for score in self.scores)


def run_demo(
    output: Path,
    *,
    on_event: Callable[[Event], None] = lambda _event: None,
    download_progress: Callable[[str], Progress] | None = None,
) -> DemoResult:
    """Make the song in `output`, separate it there, and score the stems.

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
                    stem=stem.stem,
                    mix=si_sdr(song.mix, truth),
                    separated=si_sdr(separated, truth),
                )
            )
    return DemoResult(
        song=path,
        stems_folder=output / SONG_NAME,
        scores=tuple(scores),
        exit_code=result.exit_code,
    )
