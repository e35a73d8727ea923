"""The pool of futures, with real children and engines that are quick, slow, or fail."""

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
    """A song of two minutes, some ten segments."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(song, (30, 1)), 44_100)
    return path


def test_futures_are_completed(
    songs: list[Path], tmp_path: Path, start_method: StartMethod
) -> None:
    """Each gives its outcome, with files in place, as with `concurrent.futures`."""
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


def test_a_failure_is_raised_with_its_story(song_file: Path, tmp_path: Path) -> None:
    """The exception has the outcome, and its notes tell the story and the log."""
    with StemPool(Settings(engine="fake_engines:dying"), retries=0) as pool:
        future = pool.submit(song_file, tmp_path / "out")
        with pytest.raises(TrackError, match="SIGSEGV") as error:
            future.result(timeout=60)
        missing = pool.submit(tmp_path / "missing.wav", tmp_path / "out")
        bad = missing.exception(timeout=60)
    assert error.value.outcome.attempts[0].exit_code == -11
    if sys.version_info >= (3, 11):  # before, exceptions have no notes
        notes = "\n".join(error.value.__notes__)
        assert "gone, SIGSEGV" in notes
        assert "something is wrong" in notes
    assert isinstance(bad, TrackError)
    assert bad.outcome.reason is Reason.BAD_INPUT


def test_a_running_track_can_be_cancelled(
    long_song: Path, songs: list[Path], tmp_path: Path, start_method: StartMethod
) -> None:
    """Its child ends, nothing of it is written, and the next one has its turn."""
    under_way = threading.Event()
    with StemPool(
        SLOW,
        jobs=1,
        start_method=start_method,
        on_message=lambda _future, message: (
            under_way.set() if isinstance(message, Progress) else None
        ),
    ) as pool:
        running = pool.submit(long_song, tmp_path / "out")
        waiting = pool.submit(songs[0], tmp_path / "out")
        last = pool.submit(songs[1], tmp_path / "out")
        assert under_way.wait(30)
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


def test_an_error_in_the_block_ends_everything(long_song: Path, tmp_path: Path) -> None:
    """The pool does not go on with hours of work that nobody waits for."""
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), StemPool(SLOW, jobs=1) as pool:  # noqa: PT012
        future = pool.submit(long_song, tmp_path / "out")
        raise ZeroDivisionError
    assert future.cancelled()
    assert time.monotonic() - began < 30
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(long_song, tmp_path / "out")


def test_what_cannot_work_is_told_to_every_future(songs: list[Path], tmp_path: Path) -> None:
    """Not even one track fits: each future raises the same clear error."""
    with StemPool(HALF, max_ram="100MiB") as pool:
        futures = [pool.submit(songs[0], tmp_path / "out")]
        error = futures[0].exception(timeout=30)
        assert isinstance(error, InsufficientMemoryError)
        with pytest.raises(InsufficientMemoryError, match="the budget is 100 MiB"):
            pool.submit(songs[1], tmp_path / "out")


def test_two_tracks_of_one_name_are_refused(songs: list[Path], tmp_path: Path) -> None:
    """Also stems that are there already, unless they are to be replaced."""
    out = tmp_path / "out"
    with StemPool(HALF) as pool:
        first = pool.submit(songs[0], out)
        with pytest.raises(UsageError, match="Another track"):
            pool.submit(songs[0], out)
        first.result(timeout=60)
        with pytest.raises(UsageError, match="holds stems already"):
            pool.submit(songs[0], out)
    with StemPool(HALF, overwrite=True) as pool:
        assert pool.submit(songs[0], out).result(timeout=60).reason is Reason.DONE


def test_two_pools_share_one_fork_server(songs: list[Path], tmp_path: Path) -> None:
    """It ends with the last of them; the other one's end does not disturb the first."""
    with StemPool(HALF) as first:
        early = first.submit(songs[0], tmp_path / "first")
        early.result(timeout=60)
        with StemPool(HALF) as second:
            assert second.submit(songs[1], tmp_path / "second").result(60).stems
        assert first.submit(songs[2], tmp_path / "first").result(60).stems


def test_a_pool_that_is_never_used_costs_nothing(tmp_path: Path) -> None:
    """No thread, no process; bad settings are refused at once."""
    with StemPool(HALF, max_ram="1GiB"):
        pass
    with pytest.raises(UsageError, match="max-ram cannot be"):
        StemPool(max_ram="plenty")
    with pytest.raises(UsageError, match="not 0"):
        StemPool(jobs=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_daemon_is_told_that_it_may_start_no_processes(songs: list[Path], method: str) -> None:
    """Where multiprocessing would end it with an AssertionError, as in Celery's default pool."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    with multiprocessing.get_context(method).Pool(1) as pool:
        told = pool.apply_async(separate_in_a_daemon, [str(songs[0])]).get(120)
    assert len(told) == 2
    assert all("daemonic process" in one and "--pool threads" in one for one in told)


def test_a_copy_of_the_program_has_pools_of_its_own(songs: list[Path], tmp_path: Path) -> None:
    """After a fork with an open pool: the copy is told that it is not its own, and makes one."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    with StemPool(HALF) as pool:
        assert pool.submit(songs[0], tmp_path / "out").result(60).stems
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:  # no assertion of pytest's may leave this process
            said = []
            try:
                with pytest.raises(UsageError, match="Make a StemPool after the fork"):
                    pool.submit(songs[1], tmp_path / "copy")
                pool.shutdown()
                with StemPool(HALF) as own:
                    said.append(str(own.submit(songs[2], tmp_path / "copy").result(60).reason))
            except BaseException as error:  # noqa: BLE001 - it is told
                said.append(repr(error))
            os.write(writer, "".join(said).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as told:
            assert told.read() == "done"
        os.waitpid(pid, 0)
        assert pool.submit(songs[3], tmp_path / "out").result(60).stems


def _kinds(kind: type[BaseException]) -> list[type[BaseException]]:
    return [kind, *(more for below in kind.__subclasses__() for more in _kinds(below))]


def test_every_error_can_be_sent_to_another_process(songs: list[Path], tmp_path: Path) -> None:
    """As by a pool of a program's own, or Celery: it says the same there."""
    with StemPool(Settings(engine="fake_engines:raises"), retries=0) as pool:
        failed = pool.submit(songs[0], tmp_path / "out").exception(60)
    assert isinstance(failed, TrackError)
    copy = pickle.loads(pickle.dumps(failed))  # noqa: S301 - it was just written
    assert type(copy) is TrackError
    assert str(copy) == str(failed)
    assert copy.outcome == failed.outcome
    for kind in _kinds(StemsplitError):
        if kind is TrackError or kind.__name__.startswith("_"):
            continue
        error = kind("It is so.", "Do this.")
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - likewise
        assert type(again) is kind
        assert isinstance(again, StemsplitError)
        assert (again.message, again.remedy) == ("It is so.", "Do this.")


@pytest.mark.parametrize(
    "engine", ["no_such_module:load", "fake_engines:no_such_function", "fake_engines:__doc__"]
)
def test_an_engine_that_there_is_not(songs: list[Path], tmp_path: Path, engine: str) -> None:
    """A sentence that names it and says where it is looked for; once."""
    with StemPool(Settings(engine=engine)) as pool:
        failed = pool.submit(songs[0], tmp_path / "out").exception(60)
    assert isinstance(failed, TrackError)
    assert f"The engine “{engine}” cannot be imported" in failed.message
    assert "Settings.engine" in failed.remedy
    assert len(failed.outcome.attempts) == 1
