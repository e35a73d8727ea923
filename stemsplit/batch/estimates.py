"""Runs in the supervisor. Estimates audio length, time and output size of a batch from probes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stemsplit.core.audio_info import pcm_bytes
from stemsplit.core.format_rates import LOSSY, stem_rate
from stemsplit.core.settings import MODEL_SAMPLE_RATE, STEREO
from stemsplit.models.catalogue import stems_to_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.core.audio_info import PcmDepth
    from stemsplit.core.probe import Probe
    from stemsplit.core.settings import Settings
    from stemsplit.library.destinations import PlannedTrack
    from stemsplit.supervisor.pool_plan import PoolPlan

_ASSUMED_DEPTH: PcmDepth = "24"
"""Bit depth assumed for a source, which a probe does not read."""

_FLAC_RATIO = 0.6
"""Size of FLAC stems relative to uncompressed ones, rounded up (docs/libraries.md)."""


def estimated_audio_seconds(probe: Probe, settings: Settings) -> float:
    """Return how much of a track is separated, in seconds, estimated if the header lacks it."""
    return settings.seconds_of(probe.likely_seconds)


def known_audio_seconds(probe: Probe, settings: Settings) -> float:
    """Return how much of a track is separated, in seconds; infinity if the header lacks it.

    For predictions of memory, where an estimate could be too low.
    """
    return settings.seconds_of(math.inf if probe.seconds is None else probe.seconds)


def estimated_stem_bytes(probe: Probe, settings: Settings) -> int:
    """Return the estimated size of a track's stems together."""
    stems = len(stems_to_write(settings))
    seconds = estimated_audio_seconds(probe, settings)
    source_rate = probe.sample_rate or MODEL_SAMPLE_RATE
    frames = round(seconds * stem_rate(settings.format, settings.sample_rate, source_rate))
    # All stems are held as floats until the gain that avoids clipping is known.
    held = pcm_bytes(frames, STEREO, "32f") * stems if settings.clip == "rescale" else 0
    lossy = LOSSY.get(settings.format)
    if lossy is not None:
        return round(seconds * (settings.bit_rate or lossy.bit_rate) / 8) * stems + held
    depth = _ASSUMED_DEPTH if settings.bit_depth == "source" else settings.bit_depth
    pcm = pcm_bytes(frames, STEREO, depth) * stems
    return round(pcm * (_FLAC_RATIO if settings.format == "flac" else 1)) + held


def predicted_track_seconds(track: PlannedTrack, settings: Settings, plan: PoolPlan) -> float:
    """Return the predicted wall time of a track, from its child's start to its end."""
    seconds = estimated_audio_seconds(track.probe, settings)
    return plan.forecast.seconds(seconds, plan.concurrency.resources)


def predicted_batch_seconds(
    tracks: Sequence[PlannedTrack], settings: Settings, plan: PoolPlan
) -> float:
    """Return the predicted wall time of a batch, whose tracks run in parallel."""
    seconds = [predicted_track_seconds(track, settings, plan) for track in tracks]
    return max(sum(seconds) / plan.concurrency.workers, max(seconds, default=0.0))
