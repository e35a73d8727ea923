"""Converted weights of the ONNX engine: created once, verified, and replaced if invalid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from checkpoints import write_random_weights

from stemsplit.core.errors import ModelError
from stemsplit.models import converted, store, weight_forms
from stemsplit.models.catalogue import find_model
from stemsplit.models.converted import ensure_converted, fault_of
from stemsplit.models.engines import FormName

if TYPE_CHECKING:
    from pathlib import Path

MODEL = find_model("2stems")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random weights named like those of 2stems."""
    return write_random_weights("2stems", tmp_path_factory.mktemp("original"), seed=3)


@pytest.fixture
def folder(tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the random weights, as 2stems in a folder of models; the user's cache is empty."""
    monkeypatch.setenv("STEMSPLIT_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(original, tmp_path / "2stems")
    return tmp_path / "2stems"


def _names(models: Path) -> set[str]:
    """Return the names of all files and folders, without locks."""
    found = [*models.iterdir(), *(models / converted.FOLDER).glob("*")]
    return {path.name for path in found if path.suffix != ".lock"}


def _identity(path: Path) -> tuple[int, int]:
    """Return what changes when a file is rewritten; its access time may change."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def test_weights_are_converted_once(folder: Path) -> None:
    """The first conversion is noted; a second call changes no file."""
    notes: list[str] = []
    converted_folder = ensure_converted(MODEL, folder, note=notes.append)
    assert notes == ["converting the weights of 2stems for the onnx engine"]
    files = sorted(
        path.relative_to(converted_folder) for path in converted_folder.rglob("*") if path.is_file()
    )
    assert [str(file) for file in files] == ["0/weights", "1/weights", "manifest.json"]
    before = [_identity(converted_folder / file) for file in files]
    assert (
        ensure_converted(find_model("2stems-16kHz"), folder, note=notes.append) == converted_folder
    )
    assert [_identity(converted_folder / file) for file in files] == before
    assert len(notes) == 1
    assert _names(folder.parent) == {"2stems", converted.FOLDER, converted_folder.name}


def test_converted_weights_outlive_the_published_ones(
    folder: Path, original: Path, tmp_path: Path
) -> None:
    """Running children may still use them when the published weights are replaced."""
    converted_folder = ensure_converted(MODEL, folder)
    shutil.rmtree(folder)
    assert fault_of(converted_folder) is None
    shutil.copytree(original, folder)
    assert ensure_converted(MODEL, folder) == converted_folder
    others = write_random_weights("2stems", tmp_path / "others", seed=4)
    assert ensure_converted(MODEL, others) != converted_folder
    assert fault_of(converted_folder) is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", "is damaged"),
        ("cut", "is damaged"),
        ("remove", "is unreadable"),
        ("no manifest", "manifest is missing"),
        ("invalid manifest", "manifest is missing"),
    ],
)
def test_invalid_weights_are_converted_again(folder: Path, damage: str, message: str) -> None:
    """The note names the fault, and the result is the same as before."""
    converted_folder = ensure_converted(MODEL, folder)
    weights, manifest = converted_folder / "1" / "weights", converted_folder / "manifest.json"
    weights_before, manifest_before = weights.read_bytes(), manifest.read_bytes()
    match damage:
        case "flip":
            changed = bytearray(weights_before)
            changed[1000] ^= 1
            weights.write_bytes(changed)
        case "cut":
            weights.write_bytes(weights_before[:-4])
        case "remove":
            weights.unlink()
        case "no manifest":
            manifest.unlink()
        case "invalid manifest":
            manifest.write_bytes(b"[]")
    notes: list[str] = []
    ensure_converted(MODEL, folder, note=notes.append)
    assert len(notes) == 1
    assert message in notes[0]
    assert weights.read_bytes() == weights_before
    assert manifest.read_bytes() == manifest_before


@pytest.mark.parametrize(("file", "offset"), [("index", 40), ("data-00000-of-00001", 5000)])
def test_damaged_weights_are_refused(folder: Path, file: str, offset: int) -> None:
    """The error suggests a fetch, and no partial result remains."""
    path = folder / f"model.{file}"
    stored = bytearray(path.read_bytes())
    stored[offset] ^= 0x10
    path.write_bytes(stored)
    with pytest.raises(ModelError, match="damaged") as caught:
        ensure_converted(MODEL, folder)
    assert "stemsplit models fetch 2stems" in caught.value.remedy
    assert _names(folder.parent) == {"2stems", converted.FOLDER}


def test_a_failed_conversion_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error includes the last message of the process."""
    program = "import sys; sys.exit('it is broken')"
    monkeypatch.setattr(converted, "run_module", lambda _name: (sys.executable, "-c", program))
    with pytest.raises(ModelError, match=r"Cannot convert the weights of 2stems \(it is broken\)"):
        ensure_converted(MODEL, folder)


def test_a_conversion_that_hangs_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network disk may not respond; the error suggests another folder."""
    program = "import time; time.sleep(60)"
    monkeypatch.setattr(converted, "run_module", lambda _name: (sys.executable, "-c", program))
    monkeypatch.setattr(converted, "_TIMEOUT_SECONDS", 0.5)
    with pytest.raises(ModelError, match=r"took more than 0\.5 s") as caught:
        ensure_converted(MODEL, folder)
    assert "STEMSPLIT_MODELS" in caught.value.remedy


def test_the_cache_is_used_if_the_folder_of_models_is_not_writable(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the cache is not writable either, the error suggests another folder."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(store, "cache_folder", lambda: cache)
    (folder.parent / converted.FOLDER).write_text("a file")  # not even root can write below it
    converted_folder = ensure_converted(MODEL, folder)
    assert converted_folder.is_relative_to(cache)
    notes: list[str] = []
    assert ensure_converted(MODEL, folder, note=notes.append) == converted_folder
    assert not notes
    shutil.rmtree(cache)
    cache.write_text("a file")
    with pytest.raises(ModelError, match="is not writable") as caught:
        ensure_converted(MODEL, folder)
    assert "STEMSPLIT_MODELS" in caught.value.remedy


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_killed_conversion_is_repeated(folder: Path) -> None:
    """Converted weights are either complete or absent, whenever the processes are killed."""
    program = (
        "from pathlib import Path\n"
        "from stemsplit.models.catalogue import find_model\n"
        "from stemsplit.models.converted import ensure_converted\n"
        f"ensure_converted(find_model('2stems'), Path({str(folder)!r}))\n"
    )
    moments = np.random.default_rng(0)
    incoming = folder.parent / converted.FOLDER
    killed = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as running:
            while running.poll() is None and not any(incoming.glob(".*")):
                time.sleep(0.005)
            time.sleep(moments.uniform(0.0, 0.3))
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                killed += 1
        for path in (folder.parent / converted.FOLDER).glob("2stems-*"):
            assert fault_of(path) is None
            shutil.rmtree(path)
    assert killed
    converted_folder = ensure_converted(MODEL, folder)
    assert fault_of(converted_folder) is None
    assert _names(folder.parent) == {"2stems", converted.FOLDER, converted_folder.name}


def test_removing_a_model_removes_all_forms_of_its_weights(folder: Path) -> None:
    """The converted weights of another model stay."""
    converted_folder = ensure_converted(MODEL, folder)
    other = converted_folder.parent / "4stems-2-0123456789abcdef"
    other.mkdir()
    assert converted.verify(MODEL, folder) == converted_folder
    for was_installed in (True, False):
        for form in get_args(FormName):
            assert weight_forms.forget(form, MODEL) is was_installed
    assert not folder.exists()
    assert not converted_folder.exists()
    assert other.is_dir()
    with pytest.raises(ModelError, match="is not on this machine"):
        weight_forms.verify("published", MODEL)
    with pytest.raises(ModelError, match="is not on this machine"):
        weight_forms.verify("converted", MODEL)
