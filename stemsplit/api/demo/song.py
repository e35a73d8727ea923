"""Runs in the supervisor. Generates a synthetic song: a source-filter voice over a small band.

The same arguments always return the same samples, so that figures can be compared. The voice is a
source-filter model (G. Fant, Acoustic Theory of Speech Production, 1960): a train of glottal pulses
with vibrato through formant resonators, with the vowel formants of Peterson and Barney (1952) and a
burst of noise at each onset for a consonant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.core.settings import MODEL_SAMPLE_RATE as RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Response = Callable[[NDArray[np.complex128]], NDArray[np.complex128]]
    """Transfer function of a filter at points of the z plane."""

BEATS_PER_SECOND = 1.8
_CHORDS = ((57, 60, 64), (53, 57, 60), (48, 52, 55), (55, 59, 62))  # Am F C G, MIDI notes
_BEATS_PER_BREATH = 8
_DECAY_SAMPLES = 2**14
"""After this, the impulse response of the narrowest resonator has decayed to 1e-30."""
_MELODY = (69, 72, 76, 74, 72, 69, 67, 65, 69, 72, 67, 64, 67, 71, 74, 71)

# Formant frequencies and bandwidths in Hz, and linear gains.
_VOWELS = {
    "a": ((730, 1090, 2440, 3400), (90, 110, 170, 250), (1.0, 0.5, 0.25, 0.12)),
    "i": ((270, 2290, 3010, 3600), (60, 100, 150, 250), (1.0, 0.35, 0.25, 0.12)),
    "u": ((300, 870, 2240, 3300), (60, 90, 150, 250), (1.0, 0.35, 0.1, 0.06)),
    "e": ((530, 1840, 2480, 3500), (70, 100, 160, 250), (1.0, 0.45, 0.28, 0.12)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Song:
    """A mix with its true stems.

    Attributes:
        vocals: `(frames, 2)` float32 at 44.1 kHz.
        accompaniment: same shape, rate and type. The mix is the sum of the two.
    """

    vocals: NDArray[np.float32]
    accompaniment: NDArray[np.float32]

    @property
    def mix(self) -> NDArray[np.float32]:
        """The sum of the two stems, below full scale."""
        return self.vocals + self.accompaniment


def make_song(seconds: float = 20.0, seed: int = 0) -> Song:
    """Return a song.

    Args:
        seconds: duration, more than 0.
        seed: seed of consonants, drums and vibrato.
    """
    frames = round(seconds * RATE)
    random = np.random.default_rng(seed)
    voice = _voice(frames, random)
    band = _band(frames, random)
    voice *= 0.30 / np.max(np.abs(voice))
    band *= 0.55 / np.max(np.abs(band))
    return Song(vocals=voice.astype(np.float32), accompaniment=band.astype(np.float32))


def _voice(frames: int, random: np.random.Generator) -> NDArray[np.float64]:
    beat = round(RATE / BEATS_PER_SECOND)
    voice = np.zeros(frames + 2 * beat)
    vowels = list(_VOWELS.values())
    for number, start in enumerate(range(0, frames, beat)):
        if (number + 1) % _BEATS_PER_BREATH == 0:
            continue
        note = _sung_note(_MELODY[number % len(_MELODY)], beat, vowels[number % 4], random)
        voice[start : start + len(note)] += note
    dry = voice[:frames]
    return np.stack([dry + 0.12 * _echo(dry, 0.031), dry + 0.12 * _echo(dry, 0.037)], axis=1)


def _sung_note(
    midi: int,
    beat: int,
    vowel: tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    length = round(0.95 * beat)
    time = np.arange(length) / RATE
    depth = 0.012 * np.minimum(time / 0.25, 1)
    pitch = _hertz(midi) * (1 + depth * np.sin(2 * np.pi * 5.6 * time + random.uniform(0, 6)))
    pitch *= 1 - 0.06 * np.exp(-time / 0.03)  # the pitch slides up to the note
    phase = np.cumsum(pitch) / RATE
    # One pulse per period, with the glottal spectrum's slope of -12 dB per octave.
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source = _filtered(pulses, lambda z: z**2 / (z**2 - 1.86 * z + 0.8649))
    source += 0.004 * random.standard_normal(length)
    sung = np.zeros(length)
    for frequency, bandwidth, gain in zip(*vowel, strict=True):
        sung += gain * _resonator(source, frequency, bandwidth)
    sung *= _envelope(length, attack=0.04, release=0.09)
    sung = np.append(np.diff(sung), 0.0)  # lip radiation
    sung /= np.max(np.abs(sung))
    consonant = round(0.07 * RATE)
    hiss = _filtered(random.standard_normal(consonant), _between(4000, 9000))
    sung[:consonant] += 0.35 * hiss / np.max(np.abs(hiss)) * np.hanning(consonant)
    return sung


def _band(frames: int, random: np.random.Generator) -> NDArray[np.float64]:
    beat = round(RATE / BEATS_PER_SECOND)
    left = np.zeros(frames + 8 * beat)
    right = np.zeros_like(left)

    def play(start: int, sound: NDArray[np.float64], gain: float, pan: float = 0.5) -> None:
        left[start : start + len(sound)] += gain * (1 - pan) * 2 * sound
        right[start : start + len(sound)] += gain * pan * 2 * sound

    for number, start in enumerate(range(0, frames, beat)):
        chord = _CHORDS[number // 4 % len(_CHORDS)]
        play(start, _kick(), 0.9)
        if number % 2:
            play(start, _snare(random), 0.5)
        for half in (0, beat // 2):
            play(start + half, _hi_hat(random), 0.22, 0.65)
            play(start + half, _bass(chord[0] - 24, beat // 2), 0.5)
        if number % 4 == 0:
            for voice, midi in enumerate(chord):
                play(start, _square(midi, 4 * beat), 0.09, 0.25 + 0.25 * voice)
    return np.stack([left[:frames], right[:frames]], axis=1)


def _kick() -> NDArray[np.float64]:
    time = np.arange(round(0.22 * RATE)) / RATE
    return np.sin(2 * np.pi * (48 * time - 6 * np.exp(-time / 0.03))) * np.exp(-time / 0.07)


def _snare(random: np.random.Generator) -> NDArray[np.float64]:
    time = np.arange(round(0.2 * RATE)) / RATE
    noise = random.standard_normal(len(time)) * np.exp(-time / 0.05)
    return 0.6 * noise + 0.5 * np.sin(2 * np.pi * 185 * time) * np.exp(-time / 0.06)


def _hi_hat(random: np.random.Generator) -> NDArray[np.float64]:
    time = np.arange(round(0.08 * RATE)) / RATE
    noise = random.standard_normal(len(time)) * np.exp(-time / 0.018)
    return _filtered(noise, _above(7000))


def _bass(midi: int, length: int) -> NDArray[np.float64]:
    time = np.arange(length) / RATE
    saw = 2 * _phase(midi, time) - 1
    filtered = _filtered(saw, _below(600))
    return filtered * _envelope(length, attack=0.005, release=0.05)


def _square(midi: int, length: int) -> NDArray[np.float64]:
    time = np.arange(length) / RATE
    square = np.where(_phase(midi, time) < 0.5, 1.0, -1.0)  # noqa: PLR2004 - half a period
    filtered = _filtered(square, _below(2500))
    return filtered * _envelope(length, attack=0.02, release=0.2)


def _phase(midi: int, time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the phase of a tone as a fraction of its period, 0 to 1."""
    return 2 * np.pi * _hertz(midi) * time % (2 * np.pi) / (2 * np.pi)


def _hertz(midi: int) -> float:
    return 440.0 * 2 ** ((midi - 69) / 12)


def _envelope(length: int, *, attack: float, release: float) -> NDArray[np.float64]:
    points = (0, round(attack * RATE), length - round(release * RATE), length)
    return np.interp(np.arange(length), points, (0, 1, 1, 0))


def _echo(sound: NDArray[np.float64], delay: float) -> NDArray[np.float64]:
    shift = round(delay * RATE)
    return np.concatenate([np.zeros(shift), sound])[: len(sound)]


def _resonator(
    source: NDArray[np.float64], frequency: float, bandwidth: float
) -> NDArray[np.float64]:
    """Klatt's second-order digital resonator (J. Acoust. Soc. Am. 67, 1980, eq. 2)."""
    radius = np.exp(-np.pi * bandwidth / RATE)
    second = -(radius**2)
    first = 2 * radius * np.cos(2 * np.pi * frequency / RATE)
    gain = 1 - first - second
    return _filtered(source, lambda z: gain * z**2 / (z**2 - first * z - second))


def _filtered(sound: NDArray[np.float64], response: Response) -> NDArray[np.float64]:
    """Apply a recursive filter in the frequency domain.

    The response is sampled at enough points of the unit circle that the decaying tail does not wrap
    around to the beginning.
    """
    points = 2 ** int(np.ceil(np.log2(len(sound) + _DECAY_SAMPLES)))
    circle = np.exp(2j * np.pi * np.arange(points // 2 + 1) / points)
    return np.fft.irfft(np.fft.rfft(sound, points) * response(circle), points)[: len(sound)]


def _below(edge: float) -> Response:
    """Return a second-order Butterworth low-pass filter, by the bilinear transform.

    With s = (z - 1) / (z + 1), a frequency f maps to |s| = tan(pi f / RATE).
    """
    w = _warped(edge)
    return lambda z: w**2 / ((s := _s(z)) ** 2 + np.sqrt(2) * w * s + w**2)


def _above(edge: float) -> Response:
    """Return the high-pass filter: s / w in the low-pass becomes w / s."""
    w = _warped(edge)
    return lambda z: (s := _s(z)) ** 2 / (s**2 + np.sqrt(2) * w * s + w**2)


def _between(low: float, high: float) -> Response:
    """Return the band-pass filter: s / w becomes (s^2 + w_low w_high) / (w_high - w_low) / s."""
    width, middle = _warped(high) - _warped(low), _warped(low) * _warped(high)

    def response(z: NDArray[np.complex128]) -> NDArray[np.complex128]:
        s = _s(z)
        above, below = s**2 + middle, width * s
        return below**2 / (above**2 + np.sqrt(2) * above * below + below**2)

    return response


def _warped(frequency: float) -> float:
    return float(np.tan(np.pi * frequency / RATE))


def _s(z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return (z - 1) / (z + 1)
