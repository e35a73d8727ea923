"""What may be imported where, seen from fresh interpreters."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
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
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def _modules() -> list[str]:
    found = pkgutil.walk_packages(stemsplit.__path__, "stemsplit.", onerror=lambda _name: None)
    return sorted(module.name for module in found)


PARENT_SIDE = [name for name in _modules() if not name.startswith("stemsplit.child")]


def test_the_package_imports_nothing_heavy() -> None:
    """`import stemsplit` costs nothing: every child does it again."""
    assert not _imported_by("import stemsplit") & HEAVY


def test_the_entry_point_imports_nothing_heavy() -> None:
    """Spawned and forked children re-import the program's main module."""
    assert not _imported_by("import stemsplit.__main__, stemsplit.core.child_entry") & HEAVY


def test_no_module_of_the_parent_s_side_imports_tensorflow() -> None:
    """All of them together, in one fresh interpreter."""
    imported = _imported_by(f"import {', '.join(PARENT_SIDE)}")
    assert "numpy" in imported, "the demo and the audio modules do use arrays"
    assert not imported & {"tensorflow", "spleeter", "onnxruntime", "keras", "pandas"}


def test_the_supervisor_of_a_batch_imports_no_arrays() -> None:
    """What supervises ten thousand tracks stays small."""
    supervising = "import stemsplit.batch.api, stemsplit.cli.app, stemsplit.supervisor.pool"
    assert not _imported_by(supervising) & {"numpy", "scipy", "soundfile", "tensorflow"}


def test_ray_is_imported_for_a_cluster_alone() -> None:
    """It is an extra, and takes 0.8 s and 60 MB."""
    everyday = (
        "import stemsplit.batch.api, stemsplit.cli.app, stemsplit.executors.base, "
        "stemsplit.executors.ray_cluster.shard_worker"
    )
    assert "ray" not in _imported_by(everyday)


def test_the_child_s_loop_does_not_assume_tensorflow() -> None:
    """Everything in the child but the engine's own file runs without TensorFlow."""
    imported = _imported_by("import stemsplit.child.main, stemsplit.child.engines.ratio_mask")
    assert not imported & {"tensorflow", "spleeter", "onnxruntime"}


@pytest.mark.parametrize("name", _modules())
def test_every_module_says_where_it_runs(name: str) -> None:
    """The docstring begins with the process that the module belongs to."""
    text = _docstring(name)
    assert text is not None
    assert text.startswith(
        (
            "Runs in the supervisor.",
            "Runs in the child",
            "Runs in both.",
            "Runs in a process of its own.",
            "Runs in the fork server",
            "Runs in the warden.",
            "Runs in a worker of Ray's.",
            "Runs in an actor of Ray's",
            "Runs where stemsplit is developed.",
        )
    )


def _docstring(name: str) -> str | None:
    """Read it without importing the module, which may need what is not installed here."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text()))


def test_the_engine_that_is_used_does_without_tensorflow_s_package() -> None:
    """It is the library alone that is loaded: a tenth of the time, a third of the memory."""
    imported = _imported_by(
        "import stemsplit.child.main, stemsplit.child.engines.tensorflow.engine"
    )
    assert not imported & {"tensorflow", "spleeter"}


@pytest.mark.parametrize("engine", ["tensorflow", "spleeter"])
def test_a_preloaded_fork_server_has_one_thread(engine: str) -> None:
    """A process with more threads must not be forked: TensorFlow is loaded, never run."""
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
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        )
    assert done.stdout.strip() == "1"
