"""Runs in the supervisor. Validates settings and resolves what they leave open."""

from __future__ import annotations

import math

import msgspec

from stemsplit.core.errors import UsageError
from stemsplit.core.format_rates import require_possible
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted
from stemsplit.models.catalogue import find_model, stems_to_write
from stemsplit.models.engines import resolved


def check_settings(settings: Settings, *, jobs: int | None) -> Settings:
    """Validate settings and return them in canonical form, with the name of the engine.

    Args:
        settings: settings of a batch.
        jobs: number of children, if the user chose it.

    Raises:
        UsageError: if a value is invalid, or values contradict each other.
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
            f"Invalid settings: {error}.", "See the field types in stemsplit.Settings."
        ) from error
    stems = stems_to_write(settings)
    _check_combination(settings)
    require_possible(settings.format, settings.sample_rate, settings.bit_rate)
    if not settings.separates:
        return settings
    settings = resolved(settings)
    model = find_model(settings.model)
    chosen = tuple(stem for stem in stems if stem in model.stems)
    return msgspec.structs.replace(
        settings, model=model.name, stems=None if chosen == model.stems else chosen
    )


def _check_combination(settings: Settings) -> None:
    track = settings.audio_track
    if track is not None and not (track.isalpha() or (track.isdecimal() and int(track))):
        raise UsageError(
            f"Invalid audio track: {quoted(track)}.",
            "Use its number, starting at 1, or a language such as en or deu.",
        )
    if settings.format == "flac" and settings.bit_depth == "32f":
        raise UsageError(
            "FLAC does not support floating-point samples.", "Use --format wav, or --bit-depth 24."
        )
    integers = settings.format == "wav" and settings.bit_depth in {"16", "24"}
    if settings.clip == "none" and (integers or settings.format == "flac"):
        raise UsageError(
            "Integer samples cannot exceed full scale.",
            "Use --bit-depth 32f with --format wav, or --clip clamp or rescale.",
        )
    if settings.mwf and settings.high_band != "zeros":
        raise UsageError("--high-band cannot be combined with --mwf.", "Remove one of them.")
    if not settings.separates and (settings.stems or settings.residual or settings.mwf):
        raise UsageError(
            "stems, residual and mwf do not apply to conversions.", "Remove them from the settings."
        )
    if not math.isfinite(settings.start_seconds) or settings.start_seconds < 0:
        raise UsageError("--start must be 0 or more.", "Use a time such as 90s or 1:30.")
    duration = settings.duration_seconds
    if duration is not None and not 0 < duration < math.inf:
        raise UsageError("--duration must be more than 0.", "Use a time such as 90s or 1:30.")
