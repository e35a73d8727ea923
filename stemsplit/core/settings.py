"""Runs in both. How the tracks of a batch are separated or converted, and written."""

from __future__ import annotations

from typing import Literal

import msgspec

MODEL_SAMPLE_RATE = 44_100
"""The one sample rate that Spleeter's models were trained at, in Hz."""


STEREO = 2
"""Channels that Spleeter's models take and give."""


StemFormat = Literal["wav", "flac", "mp3", "ogg", "opus", "m4a"]


BitDepth = Literal["16", "24", "32f", "source"]


SampleRate = int | Literal["source"]


Clip = Literal["clamp", "rescale", "none"]


HighBand = Literal["zeros", "average"]


What = Literal["separation", "conversion"]


CONVERTED = "converted"
"""Stands for a stem where a track is converted and not separated."""


RESIDUAL = "residual"
"""The name of what the stems leave of the mix."""


AUTOMATIC = "auto"


LOADERS = {
    "tensorflow": "stemsplit.child.engines.tensorflow:load",
    "onnx": "stemsplit.child.engines.onnx:load",
}
"""Engines by their names, each with the `module:function` that builds it inside the child."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the tracks of a batch are separated, or only converted, and written.

    Attributes:
        what: is done with them. A conversion changes no more than format, bit depth, sample rate
            and extent.
        model: a name of the catalogue, as `stemsplit models list` shows it.
        stems: which of the model's stems are written, in its order; None is all of them.
        residual: whether what the written stems leave of the mix is written as well.
        high_band: what the stems hold above the frequencies that the model looks at: nothing, or
            a share of the mix by the average mask.
        mwf: whether Spleeter's multichannel Wiener filter works on the whole file, in memory that
            grows with its length.
        start_seconds: where in the source to begin, 0 or more.
        duration_seconds: how much of it to take, more than 0; None is all the rest.
        format: the container of the stems.
        bit_depth: bits a sample of `wav` and `flac`; `32f` is 32-bit floating point and goes with
            `wav` alone, `source` is as many as the source has.
        sample_rate: of the stems, in Hz, or that of the source. The model always works at
            `MODEL_SAMPLE_RATE`.
        bit_rate: of the lossy formats, in bits a second; None is each one's own.
        clip: what becomes of samples beyond full scale: they are clamped, the stems of a track are
            made quieter together, or they are kept, as `32f` can. None clamps, but keeps with
            `32f`.
        threads: how many threads the network may use in one child, at least 1; None shares the
            processors among the children that run at once. A retry may use fewer.
        tags: whether the stems get the tags and the cover of the source.
        engine: what runs the network: `tensorflow`, `onnx`, or `auto` for the first of them that
            is installed. Or `module:function` that builds one inside the child.
        audio_track: which audio track of a film is taken, by its number from 1 or its language;
            None is the one that the file calls its default, or its first. Of files with one track
            that one is taken in any case.
        accept_damaged: whether what is there of a damaged file is written, with a warning, however
            much of it is lost. Otherwise a track that lost more than 5 % fails with the reason
            `damaged`.
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
        """Whether tracks are separated, and not only converted."""
        return self.what == "separation"

    @property
    def loader(self) -> str:
        """`module:function` that loads what separates, if anything does."""
        if not self.separates:
            return ""
        return _WHOLE_FILE_LOADER if self.mwf else LOADERS.get(self.engine, self.engine)

    def seconds_of(self, source_seconds: float) -> float:
        """Give how much is taken of a source that is so long."""
        rest = max(source_seconds - self.start_seconds, 0.0)
        return rest if self.duration_seconds is None else min(rest, self.duration_seconds)


_WHOLE_FILE_LOADER = "stemsplit.child.engines.spleeter:load_whole_file"
"""What `mwf` needs: the Wiener filter is Spleeter's."""
