"""Compare the conversion quality of stemsplit, ffmpeg and sox.

Each installed program converts the same files on its command line, with its default options; the
tables show the errors in the results. Run with `python benchmarks/audio_quality.py`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from common import COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Convert = Callable[[Path, Path, int | None, str | None], list[str | Path]]
    """Builds a command line from source, target, sample rate and bit depth; None: as the source."""

RATE, FRAMES = 44_100, 1 << 18
HIGHEST_HERTZ = 20_000
_FFMPEG_CODECS = {"16": "pcm_s16le", "24": "pcm_s24le", "32f": "pcm_f32le"}


def _stemsplit(source: Path, target: Path, rate: int | None, depth: str | None) -> list[str | Path]:
    options = [] if rate is None else ["--sample-rate", str(rate)]
    options += [] if depth is None else ["--bit-depth", depth]
    name = f"{target.stem}.{{ext}}"
    return [COMMAND, "convert", source, "-o", target.parent, "--name", name, "-q", *options]


def _ffmpeg(*filters: str) -> Convert:
    def convert(
        source: Path, target: Path, rate: int | None, depth: str | None
    ) -> list[str | Path]:
        options = [] if rate is None else ["-ar", str(rate)]
        options += ["-c:a", _FFMPEG_CODECS[depth or "32f"]]
        return ["ffmpeg", "-loglevel", "error", "-y", "-i", source, *filters, *options, target]

    return convert


def _sox(source: Path, target: Path, rate: int | None, depth: str | None) -> list[str | Path]:
    bits = {None: [], "16": ["-b", "16"], "24": ["-b", "24"]}.get(
        depth, ["-e", "float", "-b", "32"]
    )
    effect = [] if rate is None else ["rate", "-v", str(rate)]
    return ["sox", "-V1", source, *bits, target, *effect]


def _programs() -> dict[str, Convert]:
    programs: dict[str, Convert] = {"stemsplit convert": _stemsplit}
    if shutil.which("ffmpeg"):
        programs["ffmpeg"] = _ffmpeg()
        programs["ffmpeg, triangular dither"] = _ffmpeg("-dither_method", "triangular")
    if shutil.which("sox"):
        programs["sox, rate -v"] = _sox
    return programs


def main() -> None:
    """Print the two tables."""
    print(f"{environment()}\n")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        print(
            "| program | 44.1 -> 48 -> 44.1 kHz, change up to 20 kHz | loudest image "
            "| 96 -> 44.1 kHz, a tone at 30 kHz comes back at |"
        )
        print("|---|---|---|---|")
        for title, convert in _programs().items():
            if "dither" not in title:
                print(f"| {title} | {_rates(convert, folder)} |", flush=True)
        print(
            "\n| program | 16 -> 24 -> 16 bit | 24 -> 16 bit: mean error, steps "
            "| power, steps² | correlation with the signal | loudest line |"
        )
        print("|---|---|---|---|---|---|")
        for title, convert in _programs().items():
            print(f"| {title} | {_depths(convert, folder)} |", flush=True)


def _run(convert: Convert, source: Path, rate: int | None = None, depth: str | None = None) -> Path:
    target = source.parent / "out" / f"{source.stem}-{rate}-{depth}.wav"
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    subprocess.run(convert(source, target, rate, depth), check=True, capture_output=True)
    return target


def _tones() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return forty tones of -38 dBFS up to 20 kHz, each on a bin of the spectrum."""
    bins = np.linspace(10, HIGHEST_HERTZ * FRAMES / RATE, 40).astype(np.int64)
    time = np.arange(FRAMES)
    tones = sum(np.sin(2 * np.pi * bin_ * time / FRAMES + bin_) for bin_ in bins) / 80
    return bins, np.asarray(tones, np.float32)


def _rates(convert: Convert, folder: Path) -> str:
    bins, tones = _tones()
    source = folder / "tones.wav"
    soundfile.write(source, np.tile(tones, 3)[:, None], RATE, subtype="FLOAT")
    at_48_khz = _run(convert, source, 48_000, "32f")
    back, _ = soundfile.read(_run(convert, at_48_khz, RATE, "32f"))
    before, after = (np.abs(np.fft.rfft(x)) for x in (tones, back[FRAMES : 2 * FRAMES]))
    change = np.max(np.abs(20 * np.log10(after[bins] / before[bins])))
    image = 20 * np.log10(np.max(np.delete(after, bins)) / np.max(before))
    high = folder / "high.wav"
    tone = 0.5 * np.sin(2 * np.pi * 30_000 * np.arange(96_000 * 2) / 96_000)
    soundfile.write(high, tone, 96_000, subtype="FLOAT")
    folded, _ = soundfile.read(_run(convert, high, RATE, "32f"))
    middle = folded[RATE // 2 : RATE // 2 + RATE]
    alias = 20 * np.log10(max(np.sqrt(2 * np.mean(middle**2)) / 0.5, 1e-12))
    return f"{change:.4f} dB | {image:.0f} dB | {alias:.0f} dB"


def _depths(convert: Convert, folder: Path) -> str:
    music = folder / "music16.wav"
    steps = np.random.default_rng(0).integers(-9_000, 9_000, (RATE, 2)).astype(np.int16)
    soundfile.write(music, steps, RATE, subtype="PCM_16")
    back = _run(convert, _run(convert, music, None, "24"), None, "16")
    same = np.array_equal(soundfile.read(back, dtype="int16")[0], steps)
    tone = 3.3 * np.sin(2 * np.pi * 997 * np.arange(FRAMES) / RATE)
    exact = np.rint(tone * 256) / 256  # multiples of a 24-bit step
    soft = folder / "soft.wav"
    soundfile.write(soft, exact / 2**15, RATE, subtype="PCM_24")
    written, _ = soundfile.read(_run(convert, soft, None, "16"), dtype="int16")
    error = written - exact
    power = np.abs(np.fft.rfft(error * np.hanning(FRAMES))) ** 2
    line = 10 * np.log10(np.max(power[2:]) / np.mean(power[2:]))
    return (
        f"{'the same' if same else 'changed'} | {np.mean(error):+.4f} | {np.var(error):.3f} "
        f"| {np.corrcoef(error, exact)[0, 1]:+.4f} | {line:.0f} dB over the mean"
    )


if __name__ == "__main__":
    main()
