"""A folder of music that holds modules runs none of them, whichever process is started in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from common import COMMAND
from hostile import every_way

import stemsplit.core.compat

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

_MODULE = """\
with open({log!r}, "a") as log:
    log.write(__name__ + "\\n")
"""

_VERSIONS = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
PYTHONS = sorted(
    {
        found
        for minor in range(10, 20)
        for found in (
            shutil.which(f"python3.{minor}"),
            *map(str, _VERSIONS.glob(f"3.{minor}.*/bin/python3")),
        )
        if found is not None and "shims" not in found
    }
    | {sys.executable}
)


def poison(folder: Path, log: Path) -> None:
    """Write a module for each name that is in the standard library or installed."""
    names = {*sys.stdlib_module_names, *packages_distributions(), "stemsplit", "sitecustomize"}
    for name in names:
        if name.isidentifier():
            (folder / f"{name}.py").write_text(_MODULE.format(log=str(log)))


@pytest.fixture
def poisoned(tmp_path: Path, song_file: Path) -> Iterator[Path]:
    """A folder with a song, in which every module that is imported leaves its name."""
    log = tmp_path / "executed"
    folder = tmp_path / "music"
    folder.mkdir()
    shutil.copy(song_file, folder / "song.wav")
    poison(folder, log)
    yield folder
    assert not log.exists(), f"executed: {log.read_text().split()}"


def _run(folder: Path, *command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@every_way
def test_a_batch_imports_nothing_from_the_current_folder(
    poisoned: Path, options: tuple[str, ...]
) -> None:
    """By fork server, by spawn, and in all that Ray starts."""
    _run(poisoned, COMMAND, "separate", "song.wav", "-o", "out", *options)
    assert {path.name for path in (poisoned / "out" / "song").iterdir()} == {
        "vocals.wav",
        "accompaniment.wav",
    }


def test_other_commands_import_nothing_from_the_current_folder(
    poisoned: Path, tmp_path: Path
) -> None:
    """The process of `inspect`, children of `convert` and `doctor`, pip, the weights' converter."""
    anew = {"STEMSPLIT_MODELS": str(tmp_path / "models")}
    _run(poisoned, COMMAND, "models", "fetch", "2stems", **anew)
    _run(poisoned, COMMAND, "separate", "song.wav", "-o", "stems", "--engine", "onnx", **anew)
    _run(poisoned, COMMAND, "doctor")
    _run(poisoned, COMMAND, "convert", "song.wav", "-o", "out", "--format", "flac")
    _run(poisoned, COMMAND, "inspect", "song.wav")
    _run(poisoned, COMMAND, "status", "out")
    _run(poisoned, COMMAND, "report", "out", "--html", "page.html")
    _run(poisoned, COMMAND, "config", "separate")


def test_python_m_leaves_the_current_folder_to_the_program_that_it_runs(
    tmp_path: Path, song_file: Path
) -> None:
    """It has imported `stemsplit` with that folder in front; the children import without it."""
    log = tmp_path / "executed"
    (tmp_path / "crc32c.py").write_text(_MODULE.format(log=str(log)))
    (tmp_path / "onnxruntime.py").write_text(_MODULE.format(log=str(log)))
    _run(
        tmp_path,
        *(sys.executable, "-m", "stemsplit", "separate", song_file, "-o", "out"),
        *("--engine", "onnx"),
    )
    assert not log.exists()


_PROGRAM = """\
import sys
import stemsplit

if __name__ == "__main__":
    settings = stemsplit.Settings(engine="engine_of_its_own:load")
    with stemsplit.StemPool(settings, start_method=sys.argv[2]) as pool:
        print(pool.submit(sys.argv[1], "out").result().reason)
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("is_current", [True, False])
def test_a_program_finds_what_lies_beside_it(
    tmp_path: Path, song_file: Path, method: str, *, is_current: bool
) -> None:
    """An engine of its own, and a stemsplit of its own, in its folder, wherever it is run."""
    program = tmp_path / "program"
    program.mkdir()
    (program / "main.py").write_text(_PROGRAM)
    shutil.copy(
        Path(__file__).parents[1] / "faults" / "fake_engines.py",
        program / "engine_of_its_own.py",
    )
    with (program / "engine_of_its_own.py").open("a") as engine:
        engine.write("\nload = half\n")
    shutil.copytree(
        Path(stemsplit.core.compat.__file__).parent,
        program / "stemsplit",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    told = _run(
        program if is_current else elsewhere,
        *(sys.executable, program / "main.py", song_file, method),
    )
    assert told.split() == ["done"]


_CHILDREN = """\
import importlib.util, multiprocessing, sys, types
from multiprocessing import resource_tracker

sys.modules["tomli"] = types.ModuleType("tomli")  # what 3.10 needs for something else
spec = importlib.util.spec_from_file_location("compat", {compat!r})
compat = importlib.util.module_from_spec(spec)
sys.modules["compat"] = compat
spec.loader.exec_module(compat)

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        child = context.Process(target=print, args=(method, "child"))
        with compat.multiprocessing_imports_safely():
            resource_tracker.ensure_running()
            child.start()
        child.join()
        assert child.exitcode == 0, child.exitcode
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server")
@pytest.mark.parametrize("python", PYTHONS)
def test_multiprocessing_s_processes_import_nothing_on_any_python(
    poisoned: Path, tmp_path: Path, python: str
) -> None:
    """With the options of each version for it; 3.10 has none."""
    program = tmp_path / "children.py"
    program.write_text(_CHILDREN.format(compat=stemsplit.core.compat.__file__))
    told = _run(poisoned, python, program)
    assert told.split() == ["spawn", "child", "forkserver", "child"]
