"""`StemPool` with real children, and with fast, slow and failing engines."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from daemonic import separate_in_a_daemon

from stemsplit import Reason, Settings, StemPool, TrackError, as_completed
from stemsplit.core.errors import InsufficientMemoryError, StemsplitError, UsageError
from stemsplit.core.messages import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit import Outcome
    from stemsplit.supervisor.launcher import StartMethod

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

HALF = Settings(engine="fake_engines:half")
SLOW = Settings(engine="fake_engines:slow")


@pytest.fixture
def songs(song_file: Path, tmp_path: Path) -> list[Path]:
    """Four copies of a song."""
    paths = [tmp_path / f"song {number}.wav" for number in range(4)]
    for path in paths:
        path.write_bytes(song_file.read_bytes())
    return paths


@pytest.fixture
def long_song(song: NDArray[np.float32], tmp_path: Path) -> Path:
    """A song of two minutes, about ten segments."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(song, (30, 1)), 44_100)
    return path


def test_futures_are_completed(
    songs: list[Path], tmp_path: Path, start_method: StartMethod
) -> None:
    """`as_completed` yields each future with its outcome, after the stems are published."""
    with StemPool(HALF, max_ram="4GiB", start_method=start_method) as pool:
        futures: dict[concurrent.futures.Future[Outcome], Path] = {
            pool.submit(song, tmp_path / "out"): song for song in songs
        }
        for future in as_completed(futures, timeout=60):
            outcome = future.result()
            assert outcome.reason is Reason.DONE
            folder = tmp_path / "out" / futures[future].stem
            assert outcome.job.destination_path == folder
            assert {path.name for path in folder.iterdir()} == {"vocals.wav", "accompaniment.wav"}


def test_a_failure_is_raised_with_its_outcome(song_file: Path, tmp_path: Path) -> None:
    """The notes of the exception contain the story and the log."""
    with StemPool(Settings(engine="fake_engines:dying"), retries=0) as pool:
        future = pool.submit(song_file, tmp_path / "out")
        with pytest.raises(TrackError, match="SIGSEGV") as error:
            future.result(timeout=60)
        missing = pool.submit(tmp_path / "missing.wav", tmp_path / "out")
        bad = missing.exception(timeout=60)
    assert error.value.outcome.attempts[0].exit_code == -11
    if sys.version_info >= (3, 11):  # before, exceptions have no notes
        notes = "\n".join(error.value.__notes__)
        assert "exited: SIGSEGV" in notes
        assert "something is wrong" in notes
    assert isinstance(bad, TrackError)
    assert bad.outcome.reason is Reason.BAD_INPUT


def test_a_running_track_can_be_cancelled(
    long_song: Path, songs: list[Path], tmp_path: Path, start_method: StartMethod
) -> None:
    """Its child exits, its stems are not written, and the next track starts."""
    has_progress = threading.Event()
    with StemPool(
        SLOW,
        jobs=1,
        start_method=start_method,
        on_message=lambda _future, message: (
            has_progress.set() if isinstance(message, Progress) else None
        ),
    ) as pool:
        running = pool.submit(long_song, tmp_path / "out")
        waiting = pool.submit(songs[0], tmp_path / "out")
        last = pool.submit(songs[1], tmp_path / "out")
        assert has_progress.wait(30)
        assert waiting.cancel()
        assert running.cancel()
        done, not_done = concurrent.futures.wait([running, waiting, last], timeout=60)
        assert not not_done
        assert len(done) == 3
    assert running.cancelled()
    assert waiting.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        running.result()
    assert last.result().reason is Reason.DONE
    assert not last.cancel(), "it is done"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [songs[1].stem]


def test_an_error_in_the_with_block_cancels_all_tracks(long_song: Path, tmp_path: Path) -> None:
    """The block ends soon, although the running track is long."""
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), StemPool(SLOW, jobs=1) as pool:  # noqa: PT012
        future = pool.submit(long_song, tmp_path / "out")
        raise ZeroDivisionError
    assert future.cancelled()
    assert time.monotonic() - began < 30
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(long_song, tmp_path / "out")


def test_every_future_raises_insufficient_memory(songs: list[Path], tmp_path: Path) -> None:
    """The budget is too small for a single track."""
    with StemPool(HALF, max_ram="100MiB") as pool:
        futures = [pool.submit(songs[0], tmp_path / "out")]
        error = futures[0].exception(timeout=30)
        assert isinstance(error, InsufficientMemoryError)
        with pytest.raises(InsufficientMemoryError, match="the budget is 100 MiB"):
            pool.submit(songs[1], tmp_path / "out")


def test_a_second_track_with_the_same_destination_is_refused(
    songs: list[Path], tmp_path: Path
) -> None:
    """Existing stems are refused as well, except with `overwrite`."""
    out = tmp_path / "out"
    with StemPool(HALF) as pool:
        first = pool.submit(songs[0], out)
        with pytest.raises(UsageError, match="Another track"):
            pool.submit(songs[0], out)
        first.result(timeout=60)
        with pytest.raises(UsageError, match="already holds stems"):
            pool.submit(songs[0], out)
    with StemPool(HALF, overwrite=True) as pool:
        assert pool.submit(songs[0], out).result(timeout=60).reason is Reason.DONE


def test_two_pools_share_one_fork_server(songs: list[Path], tmp_path: Path) -> None:
    """The first pool still works after the second has ended."""
    with StemPool(HALF) as first:
        early = first.submit(songs[0], tmp_path / "first")
        early.result(timeout=60)
        with StemPool(HALF) as second:
            assert second.submit(songs[1], tmp_path / "second").result(60).stems
        assert first.submit(songs[2], tmp_path / "first").result(60).stems


def test_an_unused_pool_starts_nothing(tmp_path: Path) -> None:
    """Invalid arguments are refused at once."""
    with StemPool(HALF, max_ram="1GiB"):
        pass
    with pytest.raises(UsageError, match="Invalid max-ram"):
        StemPool(max_ram="plenty")
    with pytest.raises(UsageError, match="not 0"):
        StemPool(jobs=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemonic_process_is_refused(songs: list[Path], method: str) -> None:
    """Multiprocessing would raise AssertionError there, for example in Celery's default pool."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    with multiprocessing.get_context(method).Pool(1) as pool:
        messages = pool.apply_async(separate_in_a_daemon, [str(songs[0])]).get(120)
    assert len(messages) == 2
    assert all("daemonic process" in text and "--pool threads" in text for text in messages)


def test_a_forked_copy_of_the_program_needs_its_own_pool(songs: list[Path], tmp_path: Path) -> None:
    """A pool from before the fork refuses tracks in the copy; a new pool works."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    with StemPool(HALF) as pool:
        assert pool.submit(songs[0], tmp_path / "out").result(60).stems
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:  # pytest's exceptions must not leave this process
            results = []
            try:
                with pytest.raises(UsageError, match="Create a StemPool after the fork"):
                    pool.submit(songs[1], tmp_path / "copy")
                pool.shutdown()
                with StemPool(HALF) as new_pool:
                    results.append(
                        str(new_pool.submit(songs[2], tmp_path / "copy").result(60).reason)
                    )
            except BaseException as error:  # noqa: BLE001 - reported to the parent
                results.append(repr(error))
            os.write(writer, "".join(results).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as from_copy:
            assert from_copy.read() == "done"
        os.waitpid(pid, 0)
        assert pool.submit(songs[3], tmp_path / "out").result(60).stems


def _with_subclasses(error: type[BaseException]) -> list[type[BaseException]]:
    subclasses = error.__subclasses__()
    return [error, *(found for subclass in subclasses for found in _with_subclasses(subclass))]


def test_every_error_can_be_pickled(songs: list[Path], tmp_path: Path) -> None:
    """Process pools and Celery send errors to other processes; message and remedy are kept."""
    with StemPool(Settings(engine="fake_engines:raises"), retries=0) as pool:
        failed = pool.submit(songs[0], tmp_path / "out").exception(60)
    assert isinstance(failed, TrackError)
    copy = pickle.loads(pickle.dumps(failed))  # noqa: S301 - just pickled
    assert type(copy) is TrackError
    assert str(copy) == str(failed)
    assert copy.outcome == failed.outcome
    for error_class in _with_subclasses(StemsplitError):
        if error_class is TrackError or error_class.__name__.startswith("_"):
            continue
        error = error_class("It failed.", "Do this.")
        unpickled = pickle.loads(pickle.dumps(error))  # noqa: S301 - just pickled
        assert type(unpickled) is error_class
        assert isinstance(unpickled, StemsplitError)
        assert (unpickled.message, unpickled.remedy) == ("It failed.", "Do this.")


@pytest.mark.parametrize(
    "engine", ["no_such_module:load", "fake_engines:no_such_function", "fake_engines:__doc__"]
)
def test_a_missing_engine_is_reported(songs: list[Path], tmp_path: Path, engine: str) -> None:
    """The message names the engine, the remedy names the setting, and nothing is retried."""
    with StemPool(Settings(engine=engine)) as pool:
        failed = pool.submit(songs[0], tmp_path / "out").exception(60)
    assert isinstance(failed, TrackError)
    assert f"The engine “{engine}” cannot be imported" in failed.message
    assert "Settings.engine" in failed.remedy
    assert len(failed.outcome.attempts) == 1
