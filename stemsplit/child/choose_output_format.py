"""Runs in the child. Chooses the format of the files to write and checks that they fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.audio.bit_usage import uses_more_bits
from stemsplit.audio.channels import STEREO_CHANNELS
from stemsplit.audio.disk_writes import free_bytes
from stemsplit.audio.write_format import DITHERED_BITS, WriteFormat, resolve_clip
from stemsplit.child.source_file import open_source
from stemsplit.core.audio_info import pcm_bytes
from stemsplit.core.errors import (
    FREE_DISK_SPACE,
    FREE_TEMPORARY_SPACE,
    BadInputError,
    DiskFullError,
)
from stemsplit.core.format_rates import LOSSY, MAX_FLAC_CHANNELS, frames_at, stem_depth, stem_rate
from stemsplit.core.text import mebibytes, quoted

if TYPE_CHECKING:
    from stemsplit.audio.decode import Decoder
    from stemsplit.child.progress_reporter import ProgressReporter
    from stemsplit.core.audio_info import AudioInfo
    from stemsplit.core.messages import Task


def choose_format(task: Task, source: Decoder, reporter: ProgressReporter) -> WriteFormat:
    """Return the format of the files to write.

    A conversion to 16 bits may read the whole source once, to decide whether to dither.
    """
    settings, info = task.settings, source.info
    bit_depth = stem_depth(settings.format, settings.bit_depth, info)
    sample_rate = stem_rate(settings.format, settings.sample_rate, info.sample_rate)
    return WriteFormat(
        format=settings.format,
        bit_depth=bit_depth,
        sample_rate=sample_rate,
        bit_rate=settings.bit_rate,
        clip=resolve_clip(settings.clip, settings.format, bit_depth),
        dither=(
            settings.format not in LOSSY
            and bit_depth == str(DITHERED_BITS)
            and _loses_bits(task, info, sample_rate, reporter)
        ),
    )


def _loses_bits(task: Task, info: AudioInfo, sample_rate: int, reporter: ProgressReporter) -> bool:
    """Return whether 16 bits cannot represent all samples to write.

    Stems and resampled audio are computed in floating point. Samples that are only copied need as
    many bits as they use, which may be fewer than the file declares.
    """
    if task.settings.separates or sample_rate != info.sample_rate:
        return True
    if info.floating and task.settings.clip == "rescale":
        return True  # a gain may be applied
    if info.bits is not None and not info.floating and info.bits <= DITHERED_BITS:
        return False
    with open_source(task) as source:
        return any(
            uses_more_bits(block, DITHERED_BITS) for block in source.blocks(reporter.report_if_due)
        )


def output_channels(task: Task, source: Decoder) -> tuple[str, ...]:
    """Return the channels to write: the source's for a lossless or mono conversion, else stereo."""
    if not task.settings.separates and (
        task.settings.format not in LOSSY or source.info.channels == 1
    ):
        return source.channels
    return STEREO_CHANNELS


def require_supported_channels(write_format: WriteFormat, channels: int, source: Decoder) -> None:
    """Raise `BadInputError` if the format does not support the number of channels."""
    if write_format.format == "flac" and channels > MAX_FLAC_CHANNELS:
        raise BadInputError(
            f"{quoted(source.path.name)} has {channels} channels; FLAC supports at most "
            f"{MAX_FLAC_CHANNELS}.",
            "Use --format wav.",
        )


def require_disk_space(
    task: Task, write_format: WriteFormat, channels: int, source: Decoder
) -> None:
    """Raise `DiskFullError` if the disk clearly has too little space for the files to write."""
    if write_format.format != "wav":
        return  # the size of compressed files is unknown
    frames = frames_at(
        source.expected_frames or 0, source.info.sample_rate, write_format.sample_rate
    )
    files = len(task.job.stems)
    needed = pcm_bytes(frames, channels, write_format.bit_depth) * files
    if write_format.clip == "rescale":  # also stores all samples until the gain is known
        needed += pcm_bytes(frames, channels, "32f") * files
    free = free_bytes(task.staging_path)
    if needed > free:
        disk, remedy = (
            ("for temporary files", FREE_TEMPORARY_SPACE)
            if task.remote_staging
            else ("of the output folder", FREE_DISK_SPACE)
        )
        raise DiskFullError(
            f"The disk {disk} has {mebibytes(free)} left, but the output of "
            f"{quoted(task.job.source_path.name)} needs {mebibytes(needed)}.",
            remedy,
        )
