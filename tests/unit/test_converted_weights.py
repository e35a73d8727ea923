"""The ONNX engine's files of weights: made once, whole, and again where something is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from checkpoints import write_random_weights

from stemsplit.core.errors import ModelError
from stemsplit.models import converted, store
from stemsplit.models.catalogue import find
from stemsplit.models.converted import ensure_converted, fault_of

if TYPE_CHECKING:
    from pathlib import Path

MODEL = find("2stems")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights, whose names are those of 2stems."""
    return write_random_weights("2stems", tmp_path_factory.mktemp("original"), seed=3)


@pytest.fixture
def folder(tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it as the model 2stems of a folder of models."""
    monkeypatch.setenv("STEMSPLIT_MODELS", str(tmp_path))
    shutil.copytree(original, tmp_path / "2stems")
    return tmp_path / "2stems"


def _left(models: Path) -> set[str]:
    """Name what is in a folder of models, and in that of converted ones, but for locks."""
    found = [*models.iterdir(), *(models / converted.FOLDER).glob("*")]
    return {path.name for path in found if path.suffix != ".lock"}


def _written(path: Path) -> tuple[int, int]:
    """What changes where a file is written again; the time of its last reading may change."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def test_it_is_made_once(folder: Path) -> None:
    """With a word about it the first time; the second time nothing is touched."""
    notes: list[str] = []
    place = ensure_converted(MODEL, folder, note=notes.append)
    assert notes == ["the weights of 2stems are converted for the engine onnx"]
    files = sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())
    assert [str(file) for file in files] == ["0/weights", "1/weights", "manifest.json"]
    before = [_written(place / file) for file in files]
    assert ensure_converted(find("2stems-16kHz"), folder, note=notes.append) == place
    assert [_written(place / file) for file in files] == before
    assert len(notes) == 1
    assert _left(folder.parent) == {"2stems", converted.FOLDER, place.name}


def test_children_keep_what_they_use(folder: Path, original: Path, tmp_path: Path) -> None:
    """The published weights are fetched again, or are others now: what was made of them stays."""
    place = ensure_converted(MODEL, folder)
    shutil.rmtree(folder)
    assert fault_of(place) is None
    shutil.copytree(original, folder)
    assert ensure_converted(MODEL, folder) == place
    others = write_random_weights("2stems", tmp_path / "others", seed=4)
    assert ensure_converted(MODEL, others) != place
    assert fault_of(place) is None


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        ("flip", "is damaged"),
        ("cut", "is damaged"),
        ("remove", "cannot be read"),
        ("no manifest", "has no manifest"),
        ("strange manifest", "has no manifest"),
    ],
)
def test_what_is_wrong_is_made_again(folder: Path, harm: str, words: str) -> None:
    """And named; the result is what it was."""
    place = ensure_converted(MODEL, folder)
    weights, manifest = place / "1" / "weights", place / "manifest.json"
    whole, told = weights.read_bytes(), manifest.read_bytes()
    match harm:
        case "flip":
            weights.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
        case "cut":
            weights.write_bytes(whole[:-4])
        case "remove":
            weights.unlink()
        case "no manifest":
            manifest.unlink()
        case "strange manifest":
            manifest.write_bytes(b"[]")
    notes: list[str] = []
    ensure_converted(MODEL, folder, note=notes.append)
    assert len(notes) == 1
    assert words in notes[0]
    assert weights.read_bytes() == whole
    assert manifest.read_bytes() == told


@pytest.mark.parametrize(("file", "harm"), [("index", 40), ("data-00000-of-00001", 5000)])
def test_damaged_weights_are_refused(folder: Path, file: str, harm: int) -> None:
    """In one sentence with what to do; nothing is left behind."""
    path = folder / f"model.{file}"
    stored = bytearray(path.read_bytes())
    stored[harm] ^= 0x10
    path.write_bytes(stored)
    with pytest.raises(ModelError, match="damaged") as caught:
        ensure_converted(MODEL, folder)
    assert "stemsplit models fetch 2stems" in caught.value.remedy
    assert _left(folder.parent) == {"2stems", converted.FOLDER}


def test_a_converter_that_breaks_off_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last word."""
    program = "import sys; sys.exit('it is broken')"
    monkeypatch.setattr(converted, "run_module", lambda _name: (sys.executable, "-c", program))
    with pytest.raises(ModelError, match=r"cannot be converted \(it is broken\)"):
        ensure_converted(MODEL, folder)


def test_a_converter_that_hangs_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network disk that does not answer; with what to do, and no traceback."""
    program = "import time; time.sleep(60)"
    monkeypatch.setattr(converted, "run_module", lambda _name: (sys.executable, "-c", program))
    monkeypatch.setattr(converted, "_SECONDS", 0.5)
    with pytest.raises(ModelError, match=r"were not converted in 0\.5 s") as caught:
        ensure_converted(MODEL, folder)
    assert "STEMSPLIT_MODELS" in caught.value.remedy


def test_where_models_cannot_be_written_the_cache_takes_it(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an administrator has put them; if that cannot be written either, it is said."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(store, "cache_folder", lambda: cache)
    (folder.parent / converted.FOLDER).write_text("no folder")  # a place that root cannot write to
    place = ensure_converted(MODEL, folder)
    assert place.is_relative_to(cache)
    notes: list[str] = []
    assert ensure_converted(MODEL, folder, note=notes.append) == place
    assert not notes
    shutil.rmtree(cache)
    cache.write_text("no folder")
    with pytest.raises(ModelError, match="cannot be written") as caught:
        ensure_converted(MODEL, folder)
    assert "STEMSPLIT_MODELS" in caught.value.remedy


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal")
def test_a_conversion_that_is_killed_is_made_again(folder: Path) -> None:
    """At any moment, with the process that it has started or without: whole or not there."""
    program = (
        "from pathlib import Path\n"
        "from stemsplit.models.catalogue import find\n"
        "from stemsplit.models.converted import ensure_converted\n"
        f"ensure_converted(find('2stems'), Path({str(folder)!r}))\n"
    )
    moments = np.random.default_rng(0)
    killed = 0
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", program], start_new_session=True) as running:
            time.sleep(moments.uniform(0.3, 1.6))
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                killed += 1
        for place in (folder.parent / converted.FOLDER).glob("2stems-*"):
            assert fault_of(place) is None
            shutil.rmtree(place)
    assert killed
    place = ensure_converted(MODEL, folder)
    assert fault_of(place) is None
    assert _left(folder.parent) == {"2stems", converted.FOLDER, place.name}
