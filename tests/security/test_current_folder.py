"""Modules in the current folder are not imported, whichever process is started in it."""

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
from hostile import every_configuration

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


def write_recording_modules(folder: Path, log: Path) -> None:
    """Write a module with the name of each standard and installed module."""
    names = {*sys.stdlib_module_names, *packages_distributions(), "stemsplit", "sitecustomize"}
    for name in names:
        if name.isidentifier():
            (folder / f"{name}.py").write_text(_MODULE.format(log=str(log)))


@pytest.fixture
def music_folder(tmp_path: Path, song_file: Path) -> Iterator[Path]:
    """A folder with a song and modules that record that they were imported."""
    log = tmp_path / "executed"
    folder = tmp_path / "music"
    folder.mkdir()
    shutil.copy(song_file, folder / "song.wav")
    write_recording_modules(folder, log)
    yield folder
    assert not log.exists(), f"executed: {log.read_text().split()}"


def _run(folder: Path, *command: str | Path, **environment: str) -> str:
    completed = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@every_configuration
def test_a_batch_imports_nothing_from_the_current_folder(
    music_folder: Path, options: tuple[str, ...]
) -> None:
    """The processes are started by a fork server, by spawn, and by Ray."""
    _run(music_folder, COMMAND, "separate", "song.wav", "-o", "out", *options)
    assert {path.name for path in (music_folder / "out" / "song").iterdir()} == {
        "vocals.wav",
        "accompaniment.wav",
    }


def test_other_commands_import_nothing_from_the_current_folder(
    music_folder: Path, tmp_path: Path
) -> None:
    """The processes include those of `inspect`, pip, and the conversion of weights."""
    models = {"STEMSPLIT_MODELS": str(tmp_path / "models")}
    _run(music_folder, COMMAND, "models", "fetch", "2stems", **models)
    _run(music_folder, COMMAND, "separate", "song.wav", "-o", "stems", "--engine", "onnx", **models)
    _run(music_folder, COMMAND, "doctor")
    _run(music_folder, COMMAND, "convert", "song.wav", "-o", "out", "--format", "flac")
    _run(music_folder, COMMAND, "inspect", "song.wav")
    _run(music_folder, COMMAND, "status", "out")
    _run(music_folder, COMMAND, "report", "out", "--html", "page.html")
    _run(music_folder, COMMAND, "config", "separate")


def test_children_of_python_m_do_not_search_the_current_folder(
    tmp_path: Path, song_file: Path
) -> None:
    """`python -m` itself searches it first to import `stemsplit`."""
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
    settings = stemsplit.Settings(engine="custom_engine:load")
    with stemsplit.StemPool(settings, start_method=sys.argv[2]) as pool:
        print(pool.submit(sys.argv[1], "out").result().reason)
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("is_current", [True, False])
def test_a_program_can_import_from_its_own_folder(
    tmp_path: Path, song_file: Path, method: str, *, is_current: bool
) -> None:
    """An engine and a copy of stemsplit are imported from it, wherever the program is run."""
    program = tmp_path / "program"
    program.mkdir()
    (program / "main.py").write_text(_PROGRAM)
    shutil.copy(
        Path(__file__).parents[1] / "faults" / "fake_engines.py",
        program / "custom_engine.py",
    )
    with (program / "custom_engine.py").open("a") as engine:
        engine.write("\nload = half\n")
    shutil.copytree(
        Path(stemsplit.__file__).parent,
        program / "stemsplit",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    printed = _run(
        program if is_current else elsewhere,
        *(sys.executable, program / "main.py", song_file, method),
    )
    assert printed.split() == ["done"]


_CHILDREN = """\
import importlib.util, multiprocessing, sys, types
from multiprocessing import resource_tracker

sys.modules["tomli"] = types.ModuleType("tomli")  # compat imports it in Python 3.10
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")
@pytest.mark.parametrize("python", PYTHONS)
def test_multiprocessing_imports_nothing_from_the_current_folder(
    music_folder: Path, tmp_path: Path, python: str
) -> None:
    """Each Python version has its own options for that; 3.10 has none."""
    program = tmp_path / "children.py"
    program.write_text(_CHILDREN.format(compat=stemsplit.core.compat.__file__))
    printed = _run(music_folder, python, program)
    assert printed.split() == ["spawn", "child", "forkserver", "child"]
