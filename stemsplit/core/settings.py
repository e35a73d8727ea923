"""Runs in both. How the tracks of a batch are separated or converted, and written."""

from __future__ import annotations

from typing import Literal

import msgspec

MODEL_SAMPLE_RATE = 44_100
"""Sample rate at which Spleeter's models were trained, in Hz."""

STEREO = 2
"""Number of input and output channels of Spleeter's models."""

StemFormat = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a"]
BitDepth = Literal["16", "24", "32f", "source"]
SampleRate = int | Literal["source"]
Clip = Literal["clamp", "rescale", "none"]
HighBand = Literal["zeros", "average"]
What = Literal["separation", "conversion"]

CONVERTED = "converted"
"""Stem name of a track that is converted instead of separated."""

RESIDUAL = "residual"
"""Stem name of the mix minus all written stems."""

AUTOMATIC = "auto"

LOADERS = {
    "tensorflow": "stemsplit.child.engines.tensorflow:load",
    "onnx": "stemsplit.child.engines.onnx:load",
}
"""The `module:function` that loads each engine in the child. Journals store these strings."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the tracks of a batch are separated or converted, and written.

    Attributes:
        what: `separation` or `conversion`. A conversion changes only the format, bit depth,
            sample rate and extent.
        model: name of the model, as in `stemsplit models list`.
        stems: stems to write, in the model's order; None for all of them.
        residual: whether to write the mix minus the written stems as well.
        high_band: content of the stems above the model's highest frequency: `zeros`, or a share
            of the mix by the `average` mask.
        mwf: whether to apply Spleeter's multichannel Wiener filter to the whole file. Its memory
            grows with the length of the file.
        start_seconds: where in the source to start, 0 or more.
        duration_seconds: how much of the source to use, more than 0; None for the rest.
        format: container of the stems.
        bit_depth: bits per sample for `wav` and `flac`. `32f` is 32-bit floating point, for `wav`
            only; `source` keeps the bit depth of the source.
        sample_rate: sample rate of the stems in Hz, or `source`. The model always runs at
            `MODEL_SAMPLE_RATE`.
        bit_rate: bit rate of a lossy format in bit/s; None for the format's default.
        clip: how to handle samples beyond full scale: `clamp` them, `rescale` all stems of the
            track by the same gain, or keep them (`none`, for `32f` only). None clamps, but keeps
            them with `32f`.
        threads: threads of the network in one child, at least 1; None divides the processors
            among the children. A retry may use fewer.
        tags: whether to copy tags and cover art from the source to the stems.
        engine: `tensorflow`, `onnx`, `auto` for the first of them that is installed, or a
            `module:function` that loads an engine in the child.
        audio_track: audio track to read from a file with several, by number from 1 or by
            language; None for the default track, else the first. Ignored for files with one track.
        accept_damaged: whether to write what can be read of a damaged file, however much of it is
            lost, with a warning. Otherwise a track that lost more than 5 % fails as `damaged`.
    """

    what: What = "separation"
    model: str = "2stems"
    stems: tuple[str, ...] | None = None
    residual: bool = False
    high_band: HighBand = "zeros"
    mwf: bool = False
    start_seconds: float = 0.0
    duration_seconds: float | None = None
    format: StemFormat = "wav"
    bit_depth: BitDepth = "24"
    sample_rate: SampleRate = MODEL_SAMPLE_RATE
    bit_rate: int | None = None
    clip: Clip | None = None
    threads: int | None = None
    tags: bool = True
    engine: str = AUTOMATIC
    accept_damaged: bool = False
    audio_track: str | None = None

    @property
    def separates(self) -> bool:
        """Whether tracks are separated, not only converted."""
        return self.what == "separation"

    @property
    def loader(self) -> str:
        """`module:function` that loads the engine; empty for a conversion."""
        if not self.separates:
            return ""
        return _WHOLE_FILE_LOADER if self.mwf else LOADERS.get(self.engine, self.engine)

    def seconds_of(self, source_seconds: float) -> float:
        """Return the duration used of a source that lasts `source_seconds`."""
        rest = max(source_seconds - self.start_seconds, 0.0)
        return rest if self.duration_seconds is None else min(rest, self.duration_seconds)


_WHOLE_FILE_LOADER = "stemsplit.child.engines.spleeter:load_whole_file"
"""Loader for `mwf`: the Wiener filter is Spleeter's own."""
