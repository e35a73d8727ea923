"""`stemsplit doctor` on this installation and on broken ones."""

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


def _checks(output: str) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for check in json.loads(output)["checks"]:
        found.setdefault(check["name"], []).append(check)
    return found


def test_a_healthy_installation(stemsplit: Callable[..., Any]) -> None:
    """No check fails, and two seconds of audio are separated."""
    result = stemsplit("doctor", "--json")
    assert result.code == 0
    assert json.loads(result.out)["healthy"] is True
    checks = _checks(result.out)
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
        "child processes",
        "keep awake",
        "separation",
    ]
    assert checks["separation"][0]["state"] == "ok"
    assert "2 s of audio" in checks["separation"][0]["found"]
    assert "soundfile" in checks["packages"][0]["found"]
    text = stemsplit("doctor")
    assert text.code == 0
    assert "ok      separation: 2 s of audio in" in text.out
    assert text.out.splitlines()[-1].startswith("Ready.")


def test_a_damaged_model_file_fails(
    real_models: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """One wrong byte is enough; the check names the file and the remedy."""
    shutil.copytree(real_models, tmp_path / "models")
    with (tmp_path / "models/2stems/model.data-00000-of-00001").open("r+b") as file:
        file.seek(100_000)
        file.write(b"!")
    result = stemsplit("doctor", STEMSPLIT_MODELS=str(tmp_path / "models"))
    assert result.code == 1
    assert "failed  models: The model file" in result.out
    assert "wrong SHA-256" in result.out
    assert "Run `stemsplit models fetch 2stems`" in result.out
    assert result.out.splitlines()[-1] == "Not ready. 2 checks failed."


def test_a_missing_model_is_a_warning(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """A batch would download it; `doctor` downloads nothing."""
    result = stemsplit("doctor", "--json", STEMSPLIT_MODELS=str(tmp_path / "none"))
    assert result.code == 0
    checks = _checks(result.out)
    assert checks["models"][0]["state"] == "warning"
    assert checks["separation"][0]["found"].startswith("Not tested")
    assert not (tmp_path / "none").exists()


def test_checks_use_the_current_settings(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """The settings file has another model and a memory limit, and then an invalid value."""
    (tmp_path / "stemsplit.toml").write_text('[separate]\nmodel = "4stems"\nmax-ram = "1GiB"\n')
    checks = _checks(stemsplit("doctor", "--json").out)
    assert checks["settings"][0]["found"] == str(tmp_path / "stemsplit.toml")
    assert "limits: 1,024 MiB in total" in checks["memory"][0]["found"]
    assert any("4stems is not in" in check["found"] for check in checks["models"])
    (tmp_path / "stemsplit.toml").write_text('[separate]\nmax-ram = "much"\n')
    result = stemsplit("doctor", "--json")
    assert result.code == 1
    (settings,) = _checks(result.out)["settings"]
    assert settings["state"] == "failed"
    assert "Invalid max-ram: “much”" in settings["found"]


_BROKEN = {
    "tensorflow": "The tensorflow engine cannot be used: TensorFlow is installed, but its "
    "library was not found",
    "onnx": "The engine cannot be imported (ImportError: cannot open shared object file)",
}
"""What the check finds if the library of an engine is broken."""


@pytest.mark.parametrize(
    ("module", "check", "message"),
    [
        ("soundfile.py", "separation", "ImportError: cannot open shared object file"),
        (
            f"{ENGINES[installed()[0]].libraries[0]}/__init__.py",
            "separation",
            f"engine_unavailable: {_BROKEN[installed()[0]]}.",
        ),
    ],
)
def test_a_package_that_cannot_be_imported_fails(
    module: str, check: str, message: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """A system library is missing, or an engine is incomplete."""
    shadow = tmp_path / "shadow" / module
    shadow.parent.mkdir(parents=True)
    shadow.write_text('raise ImportError("cannot open shared object file")')
    result = stemsplit("doctor", "--json", PYTHONPATH=str(tmp_path / "shadow"))
    assert result.code == 1
    (found,) = _checks(result.out)[check]
    assert found["state"] == "failed"
    assert message in found["found"]
    assert "fresh virtual environment" in found["remedy"]


def test_a_package_of_the_wrong_version_fails(
    tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """The check names the package and the command that replaces it."""
    name = "multiprocessing-logging"
    info = tmp_path / "shadow" / "multiprocessing_logging-0.5.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.5.0\n")
    result = stemsplit("doctor", "--json", PYTHONPATH=str(tmp_path / "shadow"))
    assert result.code == 1
    failed = [check for check in _checks(result.out)["packages"] if check["state"] == "failed"]
    assert len(failed) == 1
    assert failed[0]["found"].startswith(f"{name} 0.5.0; required: ")
    assert f"-m pip install --force-reinstall '{name}" in failed[0]["remedy"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs resource limits")
def test_a_machine_with_too_little_memory_fails(tmp_path: Path) -> None:
    """With 600 MiB of address space, the check says what a track needs and what to do."""
    command = ["bash", "-c", 'ulimit -v 600000; exec "$@"', "-", str(COMMAND), "doctor", "--json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    (found,) = _checks(result.stdout)["memory"]
    assert found["found"].startswith("One track needs about")
    assert "--min-free" in found["remedy"]
