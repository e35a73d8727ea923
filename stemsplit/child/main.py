"""Runs in the child. The whole life of one child process: one task, one answer, exit.

Covers what surrounds a separation: the file, the engine, the stems, and turning every error into a
message. How it stands to the supervisor is `stemsplit.child.process`, the separation itself
`stemsplit.child.separate`.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, cast

from stemsplit.audio.decode import Decoder
from stemsplit.audio.encode import StemWriter, free_bytes
from stemsplit.audio.resample import resample, to_stereo
from stemsplit.audio.stft import ScipyTransform
from stemsplit.audio.tags import SourceTags
from stemsplit.child.process import Watch, peak_rss_bytes, settle_in
from stemsplit.child.separate import separate
from stemsplit.entry import resolve
from stemsplit.errors import (
    BadInputError,
    DiskFullError,
    EngineError,
    StemsplitError,
)
from stemsplit.job import MODEL_SAMPLE_RATE, STEREO, Reason, pcm_bytes
from stemsplit.messages import (
    Failed,
    Finished,
    Hello,
    Progress,
    Ready,
    Started,
    Task,
    Warned,
    decode_task,
    send,
)
from stemsplit.text import mebibytes, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.child.engines import Engine, EngineLoader
    from stemsplit.job import AudioInfo, StemFile


def main(pipe: Connection, log_channel: Connection, packed_task: bytes) -> None:
    """Separate one track and report on `pipe`; exits with 1 if that failed."""
    task = decode_task(packed_task)
    preloaded = task.settings.engine.partition(":")[0] in sys.modules
    settle_in(log_channel, nice=task.nice)
    watch = Watch(pipe)
    send(pipe, Hello(preloaded=preloaded))
    try:
        finished = _separate_file(pipe, watch, task)
    except Exception as error:  # noqa: BLE001 - every error becomes a message
        send(pipe, _failure(error))
        sys.exit(1)
    send(pipe, finished)


def _separate_file(pipe: Connection, watch: Watch, task: Task) -> Finished:
    with Decoder(task.job.source_path) as source:
        _require_mono_or_stereo(source)
        send(pipe, Started(info=source.info))
        expected_frames = _expected_frames(source.info)
        _require_room(task, expected_frames)
        engine = _load_engine(task)
        if engine.stems != task.job.stems:
            raise EngineError(f"the engine separates {engine.stems}, not {task.job.stems}.")
        send(pipe, Ready())
        stems = _write_stems(pipe, watch, task, _mix(source), engine, expected_frames)
        for text in (source.cut_off(), _clipping(task, stems)):
            if text:
                send(pipe, Warned(text=text))
    return Finished(
        stems=stems,
        audio_seconds=stems[0].frames / MODEL_SAMPLE_RATE,
        peak_rss_bytes=peak_rss_bytes(),
    )


def _require_mono_or_stereo(source: Decoder) -> None:
    channels = source.info.channels
    if channels > STEREO:
        raise BadInputError(
            f"{quoted(source.path.name)} has {channels} channels; Spleeter knows mono and stereo.",
            "Mix it down first, for example with `ffmpeg -i IN -ac 2 OUT.flac`.",
        )


def _expected_frames(info: AudioInfo) -> int:
    """Length of the stems, 0 where the file does not say how long it is."""
    return round((info.frames or 0) * MODEL_SAMPLE_RATE / info.sample_rate)


def _require_room(task: Task, frames: int) -> None:
    """Fail before the work rather than after it where the disk clearly cannot hold the stems."""
    if task.settings.format != "wav":
        return  # compressed: no telling
    needed = pcm_bytes(frames, STEREO, task.settings.bit_depth) * len(task.job.stems)
    free = free_bytes(task.work_path)
    if needed > free:
        raise DiskFullError(
            f"The disk of the output folder has {mebibytes(free)} left, and the stems of "
            f"{quoted(task.job.source_path.name)} take {mebibytes(needed)}.",
            "Make room, or name another folder with -o, and run the same command again.",
        )


def _load_engine(task: Task) -> Engine:
    try:
        load = cast("EngineLoader", resolve(task.settings.engine))
    except Exception as error:  # broken installations raise all kinds
        raise EngineError(
            f"The engine cannot be imported ({type(error).__name__}: {error}).",
            "Reinstall stemsplit in a fresh virtual environment of Python 3.11.",
        ) from error
    return load(task.settings.model, task.model_path, task.effort.threads, lean=task.effort.lean)


def _mix(source: Decoder) -> Iterable[NDArray[np.float32]]:
    converted = resample(
        source.blocks(),
        source_rate=source.info.sample_rate,
        target_rate=MODEL_SAMPLE_RATE,
        channels=source.info.channels,
    )
    return to_stereo(converted)


def _write_stems(
    pipe: Connection,
    watch: Watch,
    task: Task,
    mix: Iterable[NDArray[np.float32]],
    engine: Engine,
    expected_frames: int,
) -> tuple[StemFile, ...]:
    writers: list[StemWriter] = []
    frames = 0
    try:
        writers.extend(
            StemWriter(
                task.work_path,
                stem,
                stem_format=task.settings.format,
                bit_depth=task.settings.bit_depth,
                expected_frames=expected_frames,
                channels=STEREO,
            )
            for stem in engine.stems
        )
        for blocks in separate(mix, engine, ScipyTransform()):
            for writer, block in zip(writers, blocks, strict=True):
                writer.write(block)
            frames += len(blocks[0])
            send(pipe, Progress(audio_seconds=frames / MODEL_SAMPLE_RATE))
            watch.check()
        if frames == 0:
            raise BadInputError(
                f"{quoted(task.job.source_path.name)} is shorter than one sample at 44.1 kHz.",
                "There is nothing in it to separate.",
            )
        tags = SourceTags.of(task.job.source_path) if task.settings.tags else None
        return tuple(_finish(pipe, writer, frames, tags) for writer in writers)
    finally:
        for writer in writers:
            writer.abandon()


def _finish(pipe: Connection, writer: StemWriter, frames: int, tags: SourceTags | None) -> StemFile:
    """Finish one stem, and say so: flushing and reading back a long one takes its time."""
    stem, complaint = writer.finish(tags)
    if complaint:
        send(pipe, Warned(text=complaint))
    send(pipe, Progress(audio_seconds=frames / MODEL_SAMPLE_RATE))
    return stem


def _clipping(task: Task, stems: tuple[StemFile, ...]) -> str:
    clipped = [stem for stem in stems if stem.clipped_samples]
    if not clipped:
        return ""
    found = ", ".join(f"{stem.clipped_samples:,} in {stem.stem}" for stem in clipped)
    return (
        f"{quoted(task.job.source_path.name)}: samples beyond full scale were clamped ({found}); "
        "`--bit-depth 32f` keeps them."
    )


def _failure(error: Exception) -> Failed:
    story = "".join(traceback.format_exception(error))
    if isinstance(error, StemsplitError):
        return Failed(
            reason=Reason.of(error),
            message=error.message,
            remedy=error.remedy,
            traceback=story,
            peak_rss_bytes=peak_rss_bytes(),
        )
    if isinstance(error, MemoryError):
        return Failed(
            reason=Reason.OVER_RAM_CAP,
            message="The child could not get the memory that it asked the system for.",
            remedy="Close other programs, or choose a smaller model.",
            traceback=story,
            peak_rss_bytes=peak_rss_bytes(),
        )
    return Failed(
        reason=Reason.CRASHED,
        message=f"The child failed with {type(error).__name__}: {error}",
        remedy="Run again with --verbose to see where, and report it.",
        traceback=story,
        peak_rss_bytes=peak_rss_bytes(),
    )
