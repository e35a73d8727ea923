"""Runs in the child. One track from its file to the files that are made of it.

Covers what surrounds a separation or a conversion: the source, the engine, the form of what is
written, and how far the work is.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec

from stemsplit.audio.bit_usage import uses_more_bits
from stemsplit.audio.channels import STEREO_PLACES
from stemsplit.audio.decode import Decoder
from stemsplit.audio.encode import StemWriter, free_bytes, gain_for
from stemsplit.audio.tagging.copy_tags import SourceTags
from stemsplit.audio.write_format import DITHERED_BITS, WriteFormat, clip_of
from stemsplit.child.outputs import Residual, convert, render
from stemsplit.child.process import peak_rss_bytes
from stemsplit.child.separation import separate, separate_at_once
from stemsplit.core.audio_info import pcm_bytes
from stemsplit.core.child_entry import resolve
from stemsplit.core.errors import REINSTALL, BadInputError, DamagedError, DiskFullError, EngineError
from stemsplit.core.formats import LOSSY, MOST_FLAC_CHANNELS, frames_at, stem_depth, stem_rate
from stemsplit.core.messages import (
    Finished,
    Progress,
    Ready,
    Separated,
    Started,
    Transferring,
    Warned,
    send,
)
from stemsplit.core.outcome import TrackWarning, WarningKind
from stemsplit.core.settings import CONVERTED, RESIDUAL
from stemsplit.core.text import mebibytes, quoted
from stemsplit.storage import remote
from stemsplit.storage.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from multiprocessing.connection import Connection

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.child.engines import EngineLoader, WholeFileLoader
    from stemsplit.child.outputs import Separation
    from stemsplit.child.process import Watch
    from stemsplit.core.audio_info import AudioInfo
    from stemsplit.core.messages import Message, Task
    from stemsplit.core.outcome import StemFile
    from stemsplit.core.settings import Settings

PRELOADED = "stemsplit.child.fork_server_preload"
"""The last module that a fork server imports."""

_TICK_SECONDS = 1.0
"""The least time between two words on how far the work is, those at a segment's end apart."""


def was_preloaded(settings: Settings) -> bool:
    """Tell whether what the work needs was in memory when the child was born."""
    module = settings.loader.partition(":")[0] or PRELOADED
    return module in sys.modules


def work_on(pipe: Connection, watch: Watch, task: Task) -> Finished:
    """Separate or convert one track into the task's work folder.

    Args:
        pipe: is told how far it is.
        watch: knows whether it is to end.
        task: what is to be done.

    Raises:
        StemsplitError: if it cannot be done.
    """
    alive = _Alive(pipe, watch)
    with _brought_here(task, alive) as here:
        finished = _work_on(here, alive)
        for stem in finished.stems if task.staging else ():
            target = task.shown_from / stem.file_name
            remote.send(task.staging_path / stem.file_name, target, alive.transfer)
    return finished


@contextlib.contextmanager
def _brought_here(task: Task, alive: _Alive) -> Iterator[Task]:
    """Have a source that is remote on this machine within this.

    Raises:
        BadInputError: if it is not there any more.
        UnreachableError: if it cannot be fetched.
    """
    source = task.job.source_path
    if not is_remote(source):
        yield task
        return
    folder = task.staging_path / "source"
    folder.mkdir()
    copy = folder / source.name
    try:
        try:
            remote.fetch(source, copy, alive.transfer)
        except FileNotFoundError as error:
            raise BadInputError(
                f"{quoted(source)} is not there any more.", "Check the address."
            ) from error
        job = msgspec.structs.replace(task.job, source=os.fsencode(copy))
        yield msgspec.structs.replace(task, job=job)
    finally:
        # Before the work folder is shown, which may be by one rename of all that is in it.
        shutil.rmtree(folder, ignore_errors=True)


def _work_on(task: Task, alive: _Alive) -> Finished:
    with _opened(task) as source:
        alive.say(Started(info=_stretch(source)))
        form = _form(task, source, alive)
        _require_channels(form, len(_channels(task, source)), source)
        _require_room(task, form, source)
        rendering = _rendering(task, form, source, alive)
        alive.say(Ready())
        # Closed before the source is: threads of it may still be reading.
        with contextlib.closing(rendering):
            written = _write(task, form, source, rendering, alive)
        _warn_of_levels(task, written, alive)
    return Finished(
        stems=written,
        audio_seconds=written[0].frames / form.sample_rate,
        peak_rss_bytes=peak_rss_bytes(),
        warnings=alive.warnings,
    )


def _opened(task: Task) -> Decoder:
    return Decoder(
        task.job.source_path,
        start_seconds=task.settings.start_seconds,
        duration_seconds=task.settings.duration_seconds,
        audio_track=task.settings.audio_track,
    )


def _stretch(source: Decoder) -> AudioInfo:
    """Give what is known of a source, its length being that of what is taken of it."""
    return msgspec.structs.replace(source.info, frames=source.expected_frames)


def _form(task: Task, source: Decoder, alive: _Alive) -> WriteFormat:
    settings, info = task.settings, source.info
    bit_depth = stem_depth(settings.format, settings.bit_depth, info)
    sample_rate = stem_rate(settings.format, settings.sample_rate, info.sample_rate)
    return WriteFormat(
        format=settings.format,
        bit_depth=bit_depth,
        sample_rate=sample_rate,
        bit_rate=settings.bit_rate,
        clip=clip_of(settings.clip, settings.format, bit_depth),
        dither=(
            settings.format not in LOSSY
            and bit_depth == str(DITHERED_BITS)
            and _takes_bits_away(task, info, sample_rate, alive)
        ),
    )


def _takes_bits_away(task: Task, info: AudioInfo, sample_rate: int, alive: _Alive) -> bool:
    """Tell whether 16 bits do not hold all that is written.

    A stem is computed in floating point, and so is another sample rate. Samples that only pass
    through need as many bits as they use, which may be fewer than their file declares.
    """
    if task.settings.separates or sample_rate != info.sample_rate:
        return True
    if info.floating and task.settings.clip == "rescale":
        return True  # it may be made quieter
    if info.bits is not None and not info.floating and info.bits <= DITHERED_BITS:
        return False
    with _opened(task) as source:
        return any(uses_more_bits(block, DITHERED_BITS) for block in source.blocks(alive.tick))


def _require_channels(form: WriteFormat, channels: int, source: Decoder) -> None:
    if form.format == "flac" and channels > MOST_FLAC_CHANNELS:
        raise BadInputError(
            f"{quoted(source.path.name)} has {channels} channels; FLAC holds "
            f"{MOST_FLAC_CHANNELS} at most.",
            "Use --format wav.",
        )


def _require_room(task: Task, form: WriteFormat, source: Decoder) -> None:
    """Fail before the work rather than after it where the disk clearly cannot hold the stems."""
    if form.format != "wav":
        return  # compressed: no telling
    frames = frames_at(source.expected_frames or 0, source.info.sample_rate, form.sample_rate)
    channels = len(_channels(task, source))
    needed = pcm_bytes(frames, channels, form.bit_depth) * len(task.job.stems)
    if form.clip == "rescale":  # until it is known by how much
        needed += pcm_bytes(frames, channels, "32f") * len(task.job.stems)
    free = free_bytes(task.staging_path)
    if needed > free:
        disk, remedy = (
            ("for temporary files", "Make room there, or set TMPDIR to another folder.")
            if task.staging
            else (
                "of the output folder",
                "Make room, or name another folder with -o, and run the same command again.",
            )
        )
        raise DiskFullError(
            f"The disk {disk} has {mebibytes(free)} left, and what is made of "
            f"{quoted(task.job.source_path.name)} takes {mebibytes(needed)}.",
            remedy,
        )


def _channels(task: Task, source: Decoder) -> tuple[str, ...]:
    """Give the channels that are written: those of the source where it is only converted."""
    if not task.settings.separates and (
        task.settings.format not in LOSSY or source.info.channels == 1
    ):
        return source.channels
    return STEREO_PLACES


def _rendering(
    task: Task, form: WriteFormat, source: Decoder, alive: _Alive
) -> Generator[tuple[NDArray[np.float32], ...], None, None]:
    """Get ready to give the samples of each file that is written, piece by piece."""
    if not task.settings.separates:
        return convert(
            source,
            sample_rate=form.sample_rate,
            channels=len(_channels(task, source)),
            on_block=alive.tick,
        )
    stems = tuple(stem for stem in task.job.stems if stem != RESIDUAL)
    return render(
        source,
        _separation(task, stems),
        stems=len(stems),
        sample_rate=form.sample_rate,
        residual=_residual(task, form, source),
        on_block=alive.tick,
        on_segment=alive.tell,
    )


def _residual(task: Task, form: WriteFormat, source: Decoder) -> Residual | None:
    if not task.settings.residual:
        return None
    clamped = form.clip == "clamp" and form.bits is not None
    return Residual(source.info.sample_rate, form.sample_rate, clamped=clamped)


def _separation(task: Task, stems: tuple[str, ...]) -> Separation:
    """Load the engine and give what it does."""
    from stemsplit.audio.transforms import best_transform  # SciPy, which no conversion needs

    settings = task.settings
    loader = _imported(settings.loader)
    if settings.mwf:
        load_whole = cast("WholeFileLoader", loader)
        with _importing(settings.loader, ImportError):
            whole = load_whole(settings.model, task.model_path, task.resources.threads)
        return partial(separate_at_once, engine=whole, stems=stems)
    load = cast("EngineLoader", loader)
    with _importing(settings.loader, ImportError):  # somebody else's engine may import only now
        engine = load(
            settings.model, task.model_path, task.resources.threads, lean=task.resources.lean
        )
    if tuple(stem for stem in engine.stems if stem in stems) != stems:
        raise EngineError(f"The engine separates {engine.stems}, not {stems}.", REINSTALL)
    return partial(
        separate,
        engine=engine,
        transform=best_transform(),
        stems=stems,
        high_band=settings.high_band,
        overlapped=task.resources.threads > 1 and not task.resources.lean,
    )


def _imported(engine: str) -> object:
    with _importing(engine, Exception):  # broken installations raise all kinds
        loader = resolve(engine)
        if not callable(loader):
            raise TypeError("it is not a function")
        return loader


@contextlib.contextmanager
def _importing(engine: str, faults: type[Exception]) -> Iterator[None]:
    """Say in a sentence that the engine's libraries are not as they should be."""
    try:
        yield
    except faults as error:
        is_ours = engine.startswith("stemsplit.")
        raise EngineError(
            f"The engine {'' if is_ours else f'{quoted(engine)} '}cannot be imported "
            f"({type(error).__name__}: {error}).",
            REINSTALL
            if is_ours
            else "Settings.engine names a function, as module:function, of a module that the "
            "program itself can import.",
        ) from error


def _write(
    task: Task,
    form: WriteFormat,
    source: Decoder,
    rendering: Iterator[tuple[NDArray[np.float32], ...]],
    alive: _Alive,
) -> tuple[StemFile, ...]:
    writers: list[StemWriter] = []
    try:
        writers.extend(
            StemWriter(
                task.staging_path,
                stem,
                form,
                expected_frames=source.most_frames(form.sample_rate),
                channels=_channels(task, source),
                seed=number,
            )
            for number, stem in enumerate(task.job.stems)
        )
        frames = 0
        for blocks in rendering:
            for writer, block in zip(writers, blocks, strict=True):
                writer.write(block)
            frames += len(blocks[0])
            alive.progress(len(blocks[0]) / form.sample_rate)
        if frames == 0:
            raise BadInputError(
                f"{quoted(source.path.name)} is shorter than one sample at {form.sample_rate} Hz.",
                "There is nothing in it to write.",
            )
        _judge_loss(task, source, alive)
        gain = gain_for(max(writer.peak for writer in writers))
        for writer in writers:
            for _ in writer.level(gain):
                alive.tick()
        alive.say(Separated())
        tags = SourceTags.of(task.job.source_path) if task.settings.tags else None
        return tuple(_finish(alive, writer, tags) for writer in writers)
    finally:
        for writer in writers:
            writer.abandon()


def _judge_loss(task: Task, source: Decoder, alive: _Alive) -> None:
    """Send what there is to know of a source that was read to its end.

    Raises:
        DamagedError: if too much of it is lost, unless that is accepted.
    """
    for note in source.notes():
        alive.warn(WarningKind.NOTE, note)
    loss = source.loss()
    if loss is None:
        return
    if not loss.is_tolerable and not task.settings.accept_damaged:
        raise DamagedError(
            loss.text,
            "Restore it from a backup, or use --accept-damaged to write what is there.",
        )
    alive.warn(WarningKind.DAMAGED, loss.text)


class _Alive:
    """Tells the supervisor how far the work is, and makes the work end if it is asked to.

    From any thread.
    """

    def __init__(self, pipe: Connection, watch: Watch) -> None:
        self._pipe = pipe
        self._speaking = threading.Lock()
        self._watch = watch
        self._seconds = 0.0
        self._told_at = time.monotonic()
        self._warnings: list[TrackWarning] = []

    @property
    def warnings(self) -> tuple[TrackWarning, ...]:
        """Return all warnings that were sent."""
        return tuple(self._warnings)

    def warn(self, kind: WarningKind, text: str) -> None:
        """Send a warning."""
        self._warnings.append(TrackWarning(kind=kind, text=text))
        self.say(Warned(kind=kind, text=text))

    def progress(self, seconds: float) -> None:
        """Note that so many more seconds of audio are written."""
        self._seconds += seconds
        self._watch.check()

    def tick(self) -> None:
        """Tell now and then how far it is, and that something is going on."""
        self._watch.check()
        if time.monotonic() - self._told_at >= _TICK_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Tell how far it is."""
        self._told_at = time.monotonic()
        self.say(Progress(audio_seconds=self._seconds))

    def transfer(self) -> None:
        """Tell now and then that a file is on its way."""
        self._watch.check()
        if time.monotonic() - self._told_at >= _TICK_SECONDS:
            self._told_at = time.monotonic()
            self.say(Transferring())

    def say(self, message: Message) -> None:
        """Say something else."""
        with self._speaking:
            send(self._pipe, message)


def _finish(alive: _Alive, writer: StemWriter, tags: SourceTags | None) -> StemFile:
    """Finish one stem, and say so: flushing and reading back a long one takes its time."""
    stem, complaint = writer.finish(tags)
    if complaint:
        alive.warn(WarningKind.NOTE, complaint)
    alive.tell()
    return stem


def _warn_of_levels(task: Task, stems: tuple[StemFile, ...], alive: _Alive) -> None:
    """Send what was done to samples beyond full scale, if there were any."""
    name = quoted(task.job.source_path.name)
    if stems[0].gain < 1:
        decibels = -20 * math.log10(stems[0].gain)
        alive.warn(
            WarningKind.NOTE,
            f"{name}: it was made {decibels:.1f} dB quieter, all files alike, so that none clips.",
        )
        return
    clipped = [stem for stem in stems if stem.clipped_samples]
    if not clipped:
        return
    found = ", ".join(
        f"{stem.clipped_samples:,}" + ("" if stem.stem == CONVERTED else f" in {stem.stem}")
        for stem in clipped
    )
    alive.warn(
        WarningKind.CLIPPED,
        f"{name}: samples beyond full scale were clamped ({found}); `--clip rescale` makes all of "
        "it quieter instead, `--bit-depth 32f` keeps them.",
    )
