"""`stemsplit doctor`, on this installation and on ones that are broken in earnest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stemsplit.models.engines import ENGINES, installed

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

COMMAND = Path(sys.executable).with_name("stemsplit")


def _checks(told: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for check in json.loads(told)["checks"]:
        found.setdefault(check["name"], []).append(check)
    return found


def test_a_healthy_installation(stemsplit: Callable[..., Any]) -> None:
    """Every line is ok or a warning, and two seconds were separated in earnest."""
    ran = stemsplit("doctor", "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["healthy"] is True
    checks = _checks(ran.out)
    assert list(checks) == [
        "terminal",
        "settings",
        "Python",
        "packages",
        "engines",
        "models",
        "memory",
        "processors",
        "disk",
        "start of children",
        "keep awake",
        "separation",
    ]
    assert checks["separation"][0]["state"] == "ok"
    assert "2 s of a song" in checks["separation"][0]["found"]
    assert "soundfile" in checks["packages"][0]["found"]
    text = stemsplit("doctor")
    assert text.code == 0
    assert "ok      separation: 2 s of a song in" in text.out
    assert text.out.splitlines()[-1].startswith("All that is needed is there.")


def test_a_model_that_was_damaged(
    real_models: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """One byte is wrong: it says which file, and what to do."""
    shutil.copytree(real_models, tmp_path / "models")
    with (tmp_path / "models/2stems/model.data-00000-of-00001").open("r+b") as file:
        file.seek(100_000)
        file.write(b"!")
    ran = stemsplit("doctor", STEMSPLIT_MODELS=str(tmp_path / "models"))
    assert ran.code == 1
    assert "failed  models: The model file" in ran.out
    assert "its SHA-256 differs" in ran.out
    assert "Run `stemsplit models fetch 2stems`" in ran.out
    assert ran.out.splitlines()[-1] == "2 of these must be mended first."


def test_no_model_is_no_fault(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """It will be fetched; nothing is downloaded unasked."""
    ran = stemsplit("doctor", "--json", STEMSPLIT_MODELS=str(tmp_path / "none"))
    assert ran.code == 0
    checks = _checks(ran.out)
    assert checks["models"][0]["state"] == "warning"
    assert checks["separation"][0]["found"].startswith("It was not tried")
    assert not (tmp_path / "none").exists()


def test_it_looks_at_what_is_set(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """Another model, a cap, and a file that cannot be."""
    (tmp_path / "stemsplit.toml").write_text('[separate]\nmodel = "4stems"\nmax-ram = "1GiB"\n')
    checks = _checks(stemsplit("doctor", "--json").out)
    assert checks["settings"][0]["found"] == str(tmp_path / "stemsplit.toml")
    assert "all processes would take 1,024 MiB at most" in checks["memory"][0]["found"]
    assert any("4stems is not in" in one["found"] for one in checks["models"])
    (tmp_path / "stemsplit.toml").write_text('[separate]\nmax-ram = "much"\n')
    ran = stemsplit("doctor", "--json")
    assert ran.code == 1
    (settings,) = _checks(ran.out)["settings"]
    assert settings["state"] == "failed"
    assert "max-ram cannot be" in settings["found"]


_BROKEN = {
    "tensorflow": "The engine tensorflow cannot be used: TensorFlow is installed without its "
    "library",
    "onnx": "The engine cannot be imported (ImportError: cannot open shared object file)",
}
"""What is said of an engine whose own library is not whole."""


@pytest.mark.parametrize(
    ("module", "check", "says"),
    [
        ("soundfile.py", "separation", "ImportError: cannot open shared object file"),
        (
            f"{ENGINES[installed()[0]].libraries[0]}/__init__.py",
            "separation",
            f"engine_unavailable: {_BROKEN[installed()[0]]}.",
        ),
    ],
)
def test_a_package_that_cannot_be_imported(
    module: str, check: str, says: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """A library that is missing on the system, or a TensorFlow that is not whole."""
    shadow = tmp_path / "shadow" / module
    shadow.parent.mkdir(parents=True)
    shadow.write_text('raise ImportError("cannot open shared object file")')
    ran = stemsplit("doctor", "--json", PYTHONPATH=str(tmp_path / "shadow"))
    assert ran.code == 1
    (found,) = _checks(ran.out)[check]
    assert found["state"] == "failed"
    assert says in found["found"]
    assert "fresh virtual environment" in found["remedy"]


def test_a_package_of_the_wrong_version(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """What another program has upgraded is named, with the command that puts it right."""
    name = "multiprocessing-logging"
    info = tmp_path / "shadow" / "multiprocessing_logging-0.5.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.5.0\n")
    ran = stemsplit("doctor", "--json", PYTHONPATH=str(tmp_path / "shadow"))
    assert ran.code == 1
    bad = [one for one in _checks(ran.out)["packages"] if one["state"] == "failed"]
    assert len(bad) == 1
    assert bad[0]["found"].startswith(f"{name} 0.5.0; needed is")
    assert f"-m pip install --force-reinstall '{name}" in bad[0]["remedy"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="resource limits are POSIX's")
def test_a_machine_that_is_too_small(tmp_path: Path) -> None:
    """With 600 MiB of address space: what a track takes, and what to do."""
    limited = ["bash", "-c", 'ulimit -v 600000; exec "$@"', "-", str(COMMAND), "doctor", "--json"]
    ran = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    (found,) = _checks(ran.stdout)["memory"]
    assert found["found"].startswith("One track takes about")
    assert "--min-free" in found["remedy"]
