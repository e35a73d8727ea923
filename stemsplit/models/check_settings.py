"""Runs in the supervisor. Settings: refused where they contradict each other, else complete."""

from __future__ import annotations

import math

import msgspec

from stemsplit.core.errors import UsageError
from stemsplit.core.formats import require_possible
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted
from stemsplit.models.catalogue import find, written
from stemsplit.models.engines import resolved


def checked(settings: Settings, *, jobs: int | None) -> Settings:
    """Refuse settings that cannot be or that contradict each other; give them in their usual form.

    The engine is named in them, where it was left open.

    Raises:
        UsageError: with what is wrong and what to do.
        EngineError: if the engine is not installed.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs must be 1 or more, not {jobs}.")
    if settings.threads is not None and settings.threads < 1:
        raise UsageError(f"threads must be 1 or more, not {settings.threads}.")
    try:
        msgspec.convert(msgspec.structs.asdict(settings), Settings)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"The settings cannot be: {error}.", "Look at the types of stemsplit.Settings."
        ) from error
    stems = written(settings)
    _require_together(settings)
    require_possible(settings.format, settings.sample_rate, settings.bit_rate)
    if not settings.separates:
        return settings
    settings = resolved(settings)
    model = find(settings.model)
    chosen = tuple(stem for stem in stems if stem in model.stems)
    return msgspec.structs.replace(
        settings, model=model.name, stems=None if chosen == model.stems else chosen
    )


def _require_together(settings: Settings) -> None:
    """Refuse settings that contradict each other."""
    track = settings.audio_track
    if track is not None and not (track.isalpha() or (track.isdecimal() and int(track))):
        raise UsageError(
            f"The audio track cannot be {quoted(track)}.",
            "Write its number, from 1, or a language such as en or deu.",
        )
    if settings.format == "flac" and settings.bit_depth == "32f":
        raise UsageError(
            "FLAC holds no floating-point samples.", "Use --format wav, or --bit-depth 24."
        )
    integers = settings.format == "wav" and settings.bit_depth in {"16", "24"}
    if settings.clip == "none" and (integers or settings.format == "flac"):
        raise UsageError(
            "Samples of integers cannot go beyond full scale.",
            "Use --bit-depth 32f with --format wav, or --clip clamp or rescale.",
        )
    if settings.mwf and settings.high_band != "zeros":
        raise UsageError(
            "The Wiener filter of --mwf has no high band to choose.",
            "Leave --high-band or --mwf out.",
        )
    if not settings.separates and (settings.stems or settings.residual or settings.mwf):
        raise UsageError(
            "A conversion separates nothing.", "Leave stems, residual and mwf out of its settings."
        )
    if not math.isfinite(settings.start_seconds) or settings.start_seconds < 0:
        raise UsageError("A track cannot start before its beginning.", "Give --start 0 or more.")
    duration = settings.duration_seconds
    if duration is not None and not 0 < duration < math.inf:
        raise UsageError("Nothing would be taken of a track.", "Give --duration more than 0.")
