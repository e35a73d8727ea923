"""Which modules import what, in fresh interpreters."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
import wave
from importlib.util import find_spec
from pathlib import Path

import pytest

import stemsplit

HEAVY = {
    "numpy",
    "scipy",
    "soundfile",
    "tensorflow",
    "spleeter",
    "rich",
    "cyclopts",
    "psutil",
    "msgspec",
}


def _imported_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    completed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(completed.stdout.split())


def _modules() -> list[str]:
    found = pkgutil.walk_packages(stemsplit.__path__, "stemsplit.", onerror=lambda _name: None)
    return sorted(module.name for module in found)


def _is_folder(name: str) -> bool:
    return (Path(stemsplit.__file__).parent.parent / name.replace(".", "/")).is_dir()


OUTSIDE_CHILD = [name for name in _modules() if not name.startswith("stemsplit.child")]


def test_the_package_imports_nothing_heavy() -> None:
    """`import stemsplit` is cheap, because every child repeats it."""
    assert not _imported_by("import stemsplit") & HEAVY


def test_the_entry_point_imports_nothing_heavy() -> None:
    """Children import the program's main module again."""
    assert not _imported_by("import stemsplit.__main__, stemsplit.core.child_entry") & HEAVY


def test_no_module_outside_the_child_imports_tensorflow() -> None:
    """All these modules are imported together, in one interpreter."""
    imported = _imported_by(f"import {', '.join(OUTSIDE_CHILD)}")
    assert "numpy" in imported, "the demo and the audio modules use arrays"
    assert not imported & {"tensorflow", "spleeter", "onnxruntime", "keras", "pandas"}


def test_the_supervisor_of_a_batch_imports_no_array_library() -> None:
    """The supervisor of ten thousand tracks must stay small."""
    supervising = "import stemsplit.batch.api, stemsplit.cli.app, stemsplit.supervisor.pool"
    assert not _imported_by(supervising) & {"numpy", "scipy", "soundfile", "tensorflow"}


def test_ray_is_imported_only_for_a_cluster() -> None:
    """Ray is an extra, and its import takes 0.8 s and 60 MB."""
    statement = (
        "import stemsplit.batch.api, stemsplit.cli.app, stemsplit.executors.base, "
        "stemsplit.executors.ray_cluster.shard_worker"
    )
    assert "ray" not in _imported_by(statement)


def test_the_child_does_not_require_tensorflow() -> None:
    """Everything in the child except the engine itself runs without TensorFlow."""
    imported = _imported_by("import stemsplit.child.main, stemsplit.child.engines.ratio_mask")
    assert not imported & {"tensorflow", "spleeter", "onnxruntime"}


_COUNT = """
import sys
from stemsplit.__main__ import main
sys.argv = ["stemsplit", *sys.argv[1:]]
before = {*sys.modules}
main()
new = {*sys.modules} - before
own = {name for name in new if name.startswith("stemsplit")}
others = {name for name in new - own if name.partition(".")[0] not in sys.stdlib_module_names}
print(len(own), len(others), *{name.partition(".")[0] for name in others}, file=sys.stderr)
"""


def _imported_by_command(*arguments: str | Path) -> tuple[int, int, set[str]]:
    """Return the numbers of our own and third-party modules, and the third-party packages."""
    completed = subprocess.run(
        [sys.executable, "-c", _COUNT, *arguments], check=True, capture_output=True, text=True
    )
    own, others, *packages = completed.stderr.split()
    return int(own), int(others), {*packages}


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--help",), (), ("completion", "bash"), ("completion", "zsh")]
)
def test_what_a_shell_asks_needs_no_other_package(arguments: tuple[str, ...]) -> None:
    """The answer comes at once: `stemsplit completion` runs whenever a shell starts."""
    own, others, _ = _imported_by_command(*arguments)
    assert own <= 4
    assert others == 0


def test_status_and_resume_import_only_what_they_need(tmp_path: Path) -> None:
    """A command that processes nothing imports no arrays, and `status` reads no tags."""
    source, output = tmp_path / "song.wav", tmp_path / "out"
    with wave.open(str(source), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(bytes(44_100))
    _imported_by_command("convert", source, "-o", output, "--quiet")
    own, others, packages = _imported_by_command("status", output)
    assert own <= 55
    assert others <= 150
    assert not packages & {"numpy", "soundfile", "av", "mediafile", "mutagen", "psutil"}
    own, others, packages = _imported_by_command("convert", source, "-o", output, "--quiet")
    assert own <= 165
    assert others <= 235
    assert not packages & {"numpy", "soundfile", "av"}


@pytest.mark.parametrize("name", [name for name in _modules() if not _is_folder(name)])
def test_every_module_says_where_it_runs(name: str) -> None:
    """Its docstring begins with the process that it runs in."""
    text = _docstring(name)
    assert text is not None
    assert text.startswith(
        (
            "Runs in the supervisor.",
            "Runs in the child.",
            "Runs in both.",
            "Runs in a process of its own.",
            "Runs in the fork server.",
            "Runs in the watchdog.",
            "Runs in a Ray worker.",
            "Runs in a Ray actor.",
            "Runs at development time.",
        )
    )


def _docstring(name: str) -> str | None:
    """Return the docstring of a module, which may need packages that are not installed."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text()))


def test_the_tensorflow_engine_does_not_import_the_package() -> None:
    """It loads only the C library, in a tenth of the time and with a third of the memory."""
    imported = _imported_by(
        "import stemsplit.child.main, stemsplit.child.engines.tensorflow.engine"
    )
    assert not imported & {"tensorflow", "spleeter"}


@pytest.mark.parametrize("engine", ["tensorflow", "spleeter"])
def test_a_preloaded_fork_server_has_one_thread(engine: str) -> None:
    """A process with more threads must not fork; TensorFlow is loaded, but never run."""
    program = (
        f"import stemsplit.child.main, stemsplit.child.engines.{engine}\n"
        "import stemsplit.child.fork_server_preload, psutil\n"
        "print(psutil.Process().num_threads())"
    )
    from stemsplit.models.engines import installed
    from stemsplit.supervisor.session import SESSION

    if "tensorflow" not in installed():
        pytest.skip("TensorFlow is not installed")
    with SESSION.environment():
        completed = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        )
    assert completed.stdout.strip() == "1"
