"""Runs in the child. Executes a job: reads the source, separates or converts it, writes files."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import msgspec

from stemsplit.audio.stem_writer import StemWriter, gain_for
from stemsplit.audio.tagging.copy_tags import SourceTags
from stemsplit.child.choose_output_format import (
    choose_format,
    output_channels,
    require_disk_space,
    require_supported_channels,
)
from stemsplit.child.engine_loader import load_separator
from stemsplit.child.outputs import Residual, converted_blocks, stem_blocks
from stemsplit.child.process import peak_rss_bytes
from stemsplit.child.progress_reporter import ProgressReporter
from stemsplit.child.source_file import local_source, open_source
from stemsplit.core.errors import BadInputError, DamagedError
from stemsplit.core.messages import Finished, Ready, Separated, Started
from stemsplit.core.outcome import WarningKind
from stemsplit.core.settings import CONVERTED, RESIDUAL
from stemsplit.core.text import quoted
from stemsplit.storage import remote_files

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from multiprocessing.connection import Connection

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.audio.decode import Decoder
    from stemsplit.audio.write_format import WriteFormat
    from stemsplit.child.process import SupervisorListener
    from stemsplit.core.messages import Task
    from stemsplit.core.outcome import StemFile

    Blocks = tuple[NDArray[np.float32], ...]


def run_job(pipe: Connection, listener: SupervisorListener, task: Task) -> Finished:
    """Separate or convert one track into the task's staging folder.

    Raises:
        StemsplitError: if the job fails.
    """
    reporter = ProgressReporter(pipe, listener)
    with local_source(task, reporter) as local_task:
        finished = _run(local_task, reporter)
        for stem in finished.stems if task.remote_staging else ():
            target = task.publish_from / stem.file_name
            staged = task.staging_path / stem.file_name
            remote_files.send(staged, target, reporter.report_transfer_if_due)
    return finished


def _run(task: Task, reporter: ProgressReporter) -> Finished:
    with open_source(task) as source:
        selected = msgspec.structs.replace(source.info, frames=source.expected_frames)
        reporter.send(Started(info=selected))
        write_format = choose_format(task, source, reporter)
        channels = output_channels(task, source)
        require_supported_channels(write_format, len(channels), source)
        require_disk_space(task, write_format, len(channels), source)
        blocks = _output_blocks(task, write_format, len(channels), source, reporter)
        reporter.send(Ready())
        # Close the generator before the source, because its threads may still be reading.
        with contextlib.closing(blocks):
            stems = _write(task, write_format, channels, source, blocks, reporter)
        _warn_of_levels(task, stems, reporter)
    return Finished(
        stems=stems,
        audio_seconds=stems[0].frames / write_format.sample_rate,
        peak_rss_bytes=peak_rss_bytes(),
        warnings=reporter.warnings,
    )


def _output_blocks(
    task: Task,
    write_format: WriteFormat,
    channels: int,
    source: Decoder,
    reporter: ProgressReporter,
) -> Generator[Blocks, None, None]:
    """Return a generator of the blocks of all files; load the engine first if one is needed."""
    if not task.settings.separates:
        return converted_blocks(
            source,
            sample_rate=write_format.sample_rate,
            channels=channels,
            on_block=reporter.report_if_due,
        )
    stems = tuple(stem for stem in task.job.stems if stem != RESIDUAL)
    residual = None
    if task.settings.residual:
        clamped = write_format.clip == "clamp" and write_format.bits is not None
        residual = Residual(source.info.sample_rate, write_format.sample_rate, clamped=clamped)
    return stem_blocks(
        source,
        load_separator(task, stems),
        stems=len(stems),
        sample_rate=write_format.sample_rate,
        residual=residual,
        on_block=reporter.report_if_due,
        on_segment=reporter.report,
    )


def _write(
    task: Task,
    write_format: WriteFormat,
    channels: Sequence[str],
    source: Decoder,
    blocks: Iterator[Blocks],
    reporter: ProgressReporter,
) -> tuple[StemFile, ...]:
    writers: list[StemWriter] = []
    try:
        writers.extend(
            StemWriter(
                task.staging_path,
                stem,
                write_format,
                expected_frames=source.max_frames(write_format.sample_rate),
                channels=channels,
                seed=number,
            )
            for number, stem in enumerate(task.job.stems)
        )
        frames = 0
        for stem_parts in blocks:
            for writer, block in zip(writers, stem_parts, strict=True):
                writer.write(block)
            frames += len(stem_parts[0])
            reporter.add_written(len(stem_parts[0]) / write_format.sample_rate)
        if frames == 0:
            raise BadInputError(
                f"{quoted(source.path.name)} is shorter than one sample at "
                f"{write_format.sample_rate} Hz.",
                "Use a longer file, or a higher --sample-rate.",
            )
        _report_loss(task, source, reporter)
        gain = gain_for(max(writer.peak for writer in writers))
        for writer in writers:
            for _ in writer.apply_gain(gain):
                reporter.report_if_due()
        reporter.send(Separated())
        tags = SourceTags.of(task.job.source_path) if task.settings.tags else None
        return tuple(_finish(writer, tags, reporter) for writer in writers)
    finally:
        for writer in writers:
            writer.abandon()


def _report_loss(task: Task, source: Decoder, reporter: ProgressReporter) -> None:
    """Send notes and warnings about a source that was read to its end.

    Raises:
        DamagedError: if the source lost more than is tolerated and the settings do not accept it.
    """
    for note in source.notes():
        reporter.warn(WarningKind.NOTE, note)
    loss = source.loss()
    if loss is None:
        return
    if not loss.is_tolerable and not task.settings.accept_damaged:
        raise DamagedError(
            loss.text,
            "Restore it from a backup, or use --accept-damaged to write what can be read.",
        )
    reporter.warn(WarningKind.DAMAGED, loss.text)


def _finish(writer: StemWriter, tags: SourceTags | None, reporter: ProgressReporter) -> StemFile:
    """Finish one file and report progress, because flushing and verifying a long file is slow."""
    stem, tag_warning = writer.finish(tags)
    if tag_warning:
        reporter.warn(WarningKind.NOTE, tag_warning)
    reporter.report()
    return stem


def _warn_of_levels(task: Task, stems: tuple[StemFile, ...], reporter: ProgressReporter) -> None:
    """Warn if samples beyond full scale were clamped or turned down."""
    name = quoted(task.job.source_path.name)
    if stems[0].gain < 1:
        decibels = -20 * math.log10(stems[0].gain)
        reporter.warn(
            WarningKind.NOTE,
            f"{name}: all files were turned down by {decibels:.1f} dB, so that none clips.",
        )
        return
    clipped = [stem for stem in stems if stem.clipped_samples]
    if not clipped:
        return
    counts = ", ".join(
        f"{stem.clipped_samples:,}" + ("" if stem.stem == CONVERTED else f" in {stem.stem}")
        for stem in clipped
    )
    reporter.warn(
        WarningKind.CLIPPED,
        f"{name}: samples beyond full scale were clamped ({counts}); use `--clip rescale` to turn "
        "the whole track down instead, or `--bit-depth 32f` to keep them.",
    )
