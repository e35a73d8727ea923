"""Fixtures for all tests: the installed command, the real weights, and generated audio.

Also prints the tables of the equality tests after the tests.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

import hypothesis
import installed_command
import pytest
import soundfile
from campaign import small_disk
from checkpoints import write_random_weights
from installed_command import COMMAND, CommandResult
from parallel import XDIST_WORKER
from tables import Table

from stemsplit.api.demo.song import make_song
from stemsplit.child.engines.library_environment import set_library_environment
from stemsplit.cli.settings import OTHER_VARIABLES, PREFIX
from stemsplit.core.errors import ModelError
from stemsplit.core.settings import MODEL_SAMPLE_RATE
from stemsplit.models.catalogue import find_model
from stemsplit.models.converted import ensure_converted
from stemsplit.models.download import ensure
from stemsplit.models.store import models_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# Before any import of TensorFlow, so that Spleeter uses the same kernels as the children. Without
# AVX-512 VNNI TensorFlow would not use oneDNN, and would round differently.
set_library_environment()

# The duration of an example depends on the machine and its load.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

pytest_plugins = ["browser_fixture", "cluster_fixtures", "fault_fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the number of manipulated folders, of which a long run has thousands."""
    parser.addoption("--folders", type=int, default=300, help="manipulated output folders")


REQUIRE_REAL = bool(os.environ.get("STEMSPLIT_REQUIRE_REAL"))
"""Set in CI, where tests fail instead of being skipped if the real weights are missing."""


@pytest.fixture(scope="session", autouse=True)
def _default_signal_handlers() -> None:
    """Restore ignored signals: under nohup, or in a background job, children would inherit them."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _separate_temporary_folder() -> None:
    """Give each worker of pytest-xdist its own folder, for the checks for leftover files."""
    if XDIST_WORKER is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = folder = tempfile.mkdtemp(prefix=XDIST_WORKER)
        # Removed when this process exits, after multiprocessing's folder in it (priority -100).
        Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-200)


@pytest.fixture(scope="session", autouse=True)
def _no_user_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ignore the settings of the user who runs the tests."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("no-settings"))
    for name in [*os.environ]:
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES:
            del os.environ[name]


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The models folder, with the real 2stems weights."""
    try:
        ensure(find_model("2stems").weights)
    except ModelError as error:
        if REQUIRE_REAL:
            raise
        pytest.skip(f"no real weights: {error}")
    return models_folder()


@pytest.fixture(scope="session")
def weights(
    real_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, Path]]:
    """Return a model's weights folders: as published, and converted for the engine onnx.

    The weights of 2stems are real; all others are random.
    """
    folders: dict[str, tuple[Path, Path]] = {}

    def folders_of(model: str) -> tuple[Path, Path]:
        name = find_model(model).weights.name
        if name not in folders:
            published = (
                real_models / name
                if name == "2stems"
                else write_random_weights(name, tmp_path_factory.mktemp(name), seed=11)
            )
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv("STEMSPLIT_MODELS", str(published.parent))
                folders[name] = published, ensure_converted(find_model(model), published)
        return folders[name]

    return folders_of


@pytest.fixture
def stemsplit(tmp_path: Path) -> Callable[..., CommandResult]:
    """Run the installed command in `tmp_path`; `environment` adds variables."""

    def run(*arguments: str | bytes | Path, **environment: str) -> CommandResult:
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
        )
        return CommandResult(
            done.returncode,
            done.stdout.decode(errors="backslashreplace"),
            done.stderr.decode(errors="backslashreplace"),
        )

    return run


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small disk of a size such as `1m`; skip the test if that is not possible."""
    with contextlib.ExitStack() as disks:

        def mount_disk(size: str) -> Path:
            try:
                return disks.enter_context(small_disk(tmp_path, size))
            except OSError as error:
                pytest.skip(str(error))

        yield mount_disk


@pytest.fixture
def start_batch() -> Callable[..., contextlib.AbstractContextManager[subprocess.Popen[str]]]:
    """Start a batch in a folder, as `installed_command.start_batch` does."""
    return installed_command.start_batch


@pytest.fixture(scope="session")
def song() -> NDArray[np.float32]:
    """Four seconds of the demo's song, `(frames, 2)` float32 at 44.1 kHz."""
    return make_song(4.0).mix


@pytest.fixture(scope="session")
def song_file(song: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The song as a 24-bit WAV file."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    soundfile.write(path, song, MODEL_SAMPLE_RATE, subtype="PCM_24")
    return path


@pytest.fixture(scope="session")
def spleeter_stems() -> Callable[..., dict[str, NDArray[np.float32]]]:
    """Separate a mix with Spleeter itself, as `references.spleeter_stems` does."""
    pytest.importorskip("tensorflow", reason="Spleeter is not installed")
    import references

    return references.spleeter_stems


_STEMS = Table(
    "largest difference of any stem, full scale = 1",
    "| model | samples | from Spleeter | below the stem | from exact "
    "| Spleeter from exact | from Spleeter with its own FFT |",
)
_ENGINES = Table(
    "largest difference between the engines onnx and tensorflow",
    "| model | audio | masks | stems, full scale = 1 |",
)


@pytest.fixture
def stem_table(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a row to the table of stems."""
    return _STEMS.adder(request)


@pytest.fixture
def engine_table(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a row to the table of engines."""
    return _ENGINES.adder(request)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables after the tests."""
    for table in (_STEMS, _ENGINES):
        table.show(terminalreporter)
