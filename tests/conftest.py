"""What every test may need: the installed command, the real model, audio made on the spot.

Also prints, after the tests, the table of differences that the equality tests measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import soundfile
from campaign import small_disk
from checkpoints import write_random_weights
from parallel import XDIST_WORKER
from tables import Table

from stemsplit.api.demo.song import make_song
from stemsplit.child.engines.library_errors import prepare_environment
from stemsplit.cli.settings import NO_OPTIONS, PREFIX
from stemsplit.core.errors import ModelError
from stemsplit.core.settings import MODEL_SAMPLE_RATE
from stemsplit.models.catalogue import find
from stemsplit.models.converted import ensure_converted
from stemsplit.models.fetch import ensure
from stemsplit.models.store import models_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

# Before anything imports TensorFlow: Spleeter is to be held against with the kernels that children
# ask for. Without AVX-512 VNNI TensorFlow would leave oneDNN out of it, and differ in its rounding.
prepare_environment()

# How long an example takes depends on the machine and on what else it does.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

pytest_plugins = ["browser_fixture", "cluster_fixtures", "fault_fixtures"]

REQUIRE_REAL = bool(os.environ.get("STEMSPLIT_REQUIRE_REAL"))
"""Set by CI: a test of the real engine that would be skipped fails instead."""

COMMAND = Path(sys.executable).with_name("stemsplit")


@pytest.fixture(scope="session", autouse=True)
def _signals_are_not_ignored() -> None:
    """Under nohup, or as a job in the background, ignored signals would be inherited by all."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _place_of_its_own() -> None:
    """Where tests run in several processes, one's temporary files are not another's left-overs."""
    if XDIST_WORKER is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = folder = tempfile.mkdtemp(prefix=XDIST_WORKER)
        # Goes when this process ends, after multiprocessing's own folder in it (priority -100).
        Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-200)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a person has set up for himself is no part of the tests."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("no-settings"))
    for name in [*os.environ]:
        if name.startswith(PREFIX) and name not in NO_OPTIONS:
            del os.environ[name]


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The folder of models, with the real 2stems weights in it."""
    try:
        ensure(find("2stems").weights)
    except ModelError as error:
        if REQUIRE_REAL:
            raise
        pytest.skip(f"no real weights: {error}")
    return models_folder()


@pytest.fixture(scope="session")
def weights(
    real_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Path]]:
    """Give the folders of a model's weights, as published and converted for the engine onnx.

    They are the real ones of 2stems, else random ones.
    """
    made: dict[str, tuple[Path, Path]] = {}

    def folders_of(model: str) -> tuple[Path, Path]:
        name = find(model).weights.name
        if name not in made:
            published = (
                real_models / name
                if name == "2stems"
                else write_random_weights(name, tmp_path_factory.mktemp(name), seed=11)
            )
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv("STEMSPLIT_MODELS", str(published.parent))
                made[name] = published, ensure_converted(find(model), published)
        return made[name]

    return folders_of


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def stemsplit(tmp_path: Path) -> Callable[..., Ran]:
    """Run the installed command in a folder of its own; `environment` adds variables."""

    def run(*arguments: str | bytes | Path, **environment: str) -> Ran:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )
        return Ran(
            done.returncode,
            done.stdout.decode(errors="backslashreplace"),
            done.stderr.decode(errors="backslashreplace"),
        )

    return run


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small disk of a size such as `1m`; skips where that cannot be."""
    with contextlib.ExitStack() as disks:

        def small(size: str) -> Path:
            try:
                return disks.enter_context(small_disk(tmp_path, size))
            except OSError as error:
                pytest.skip(str(error))

        yield small


@contextlib.contextmanager
def _at_work(folder: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [COMMAND, "separate", *arguments, "-o", "out", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if '"track_progress"' in line:
                break
        visible = [path for path in (folder / "out").iterdir() if path.name != ".stemsplit"]
        assert visible, "the track is being worked on"
        yield running
        running.kill()


@pytest.fixture
def separating() -> Callable[..., contextlib.AbstractContextManager[subprocess.Popen[str]]]:
    """Run the command in a folder, into `out`, up to the first segment of its first track."""
    return _at_work


@pytest.fixture(scope="session")
def song() -> NDArray[np.float32]:
    """Four seconds of the demo's song, `(frames, 2)` float32 at 44.1 kHz."""
    return make_song(4.0).mix


@pytest.fixture(scope="session")
def song_file(song: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a 24-bit WAV file."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, song, MODEL_SAMPLE_RATE, subtype="PCM_24")
    return path


@pytest.fixture(scope="session")
def spleeter_stems() -> Callable[..., dict[str, NDArray[np.float32]]]:
    """What Spleeter itself makes of a mix (`references.spleeter_stems`)."""
    pytest.importorskip("tensorflow", reason="Spleeter, to compare with, is not installed")
    import references

    return references.spleeter_stems


_STEMS = Table(
    "largest difference of any stem, full scale = 1",
    "| model | samples | from Spleeter | below the stem | from exact "
    "| Spleeter from exact | from Spleeter with its own FFT |",
)
_ENGINES = Table(
    "engine onnx from engine tensorflow, largest difference",
    "| model | of what | masks | stems, full scale = 1 |",
)


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take one row of the table of stems."""
    return _STEMS.adder(request)


@pytest.fixture
def table_of_engines(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Take one row of the table that compares the engines."""
    return _ENGINES.adder(request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables after the tests."""
    for one in (_STEMS, _ENGINES):
        one.show(terminalreporter)
