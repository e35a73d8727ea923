"""The command without any audio: usage, models, errors before the work."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stemsplit import __version__
from stemsplit.models.catalogue import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "STEMSPLIT_RELEASE_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["separate", "a.wav"], "--output"),
        (["separate", "-o", "out"], "nothing to separate"),
        (["separate", "a.wav", "-o", "out", "--bitdepth", "16"], "--bit-depth"),
        (["separate", "a.wav", "-o", "out", "--bit-depth", "12"], "--bit-depth"),
        (["separate", "a.wav", "-o", "out", "--jobs", "many"], "--jobs"),
        (["separate", "a.wav", "-o", "out", "-m", "4stem"], "Did you mean 4stems?"),
        (["separate", "a.wav", "-o", "out", "--format", "flac", "--bit-depth", "32f"], "FLAC"),
        (["seperate", "a.wav"], "separate"),
        (["models", "path", "6stems"], "no model"),
        (["separate", "a.wav", "-o", "out", "--name", "{stem}/{trakc}.{ext}"], "mean {track}"),
        (["separate", "a.wav", "-o", "out", "--name", "../{stem}.{ext}"], "upwards"),
        (["separate", "a.wav", "-o", "out", "--until", "25:00"], "07:00"),
        (["separate", "a.wav", "-o", "out", "--order", "random"], "--order"),
        (["separate", "a.wav", "-o", "out", "--nice", "20"], "0 to 19"),
        (["separate", "-o", "out", "--from-file", "absent"], "list “absent” cannot be read"),
        (["separate", "-o", "out", "--from-file", "-"], "standard input names no files"),
        (["separate", "a.wav", "-o", ""], "has no name"),
        (["status", "out"], "Nothing was separated"),
    ],
)
def test_a_wrong_command_line_is_usage(
    stemsplit: Callable[..., Any], tmp_path: Path, arguments: list[str], words: str
) -> None:
    """Exit code 2, one line that names the mistake, and nothing done."""
    ran = stemsplit(*arguments)
    assert ran.code == 2
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_two_tracks_of_one_name_are_refused(stemsplit: Callable[..., Any], tmp_path: Path) -> None:
    """The clash is found before any work; both are named, and how to tell them apart."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "song.wav").touch()
    ran = stemsplit("separate", "a/song.wav", "b/song.wav", "-o", "out")
    assert ran.code == 3
    assert "a/song.wav" in ran.err
    assert "b/song.wav" in ran.err
    assert "{foldername}" in ran.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".stemsplit"]


def test_nothing_but_missing_files(stemsplit: Callable[..., Any], tmp_path: Path) -> None:
    """Exit code 3 without a model, a child or an output folder."""
    ran = stemsplit("separate", "missing.wav", "-o", "out", STEMSPLIT_MODELS="none", **OFFLINE)
    assert ran.code == 3
    assert "does not exist" in ran.err
    assert not (tmp_path / "out").exists()


def test_version_and_help(stemsplit: Callable[..., Any]) -> None:
    """Both answer at once and leave with 0."""
    assert stemsplit("--version").out.strip() == __version__
    ran = stemsplit("separate", "--help")
    assert ran.code == 0
    for option in ("--output", "--model", "--format", "--bit-depth", "--jobs", "--json"):
        assert option in ran.out


def test_no_network_and_no_model(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """One sentence that says both and what to do; exit code 1; no half-filled folders."""
    ran = stemsplit(
        "separate", song_file, "-o", "out", STEMSPLIT_MODELS=str(tmp_path / "models"), **OFFLINE
    )
    assert ran.code == 1
    last = ran.err.splitlines()[-1]
    assert "cannot be fetched" in last
    assert "stemsplit models import 2stems" in last
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".stemsplit"]
    assert not (tmp_path / "models" / "2stems").exists()


@pytest.mark.real
def test_a_model_with_an_altered_file(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path, real_models: Path
) -> None:
    """The file is named, the remedy given; no stem is made of garbage."""
    shutil.copytree(real_models / "2stems", tmp_path / "models" / "2stems")
    weights = tmp_path / "models/2stems/model.data-00000-of-00001"
    with weights.open("r+b") as file:
        file.seek(40_000_000)
        file.write(b"\0" * 64)
    models = {"STEMSPLIT_MODELS": str(tmp_path / "models")}
    ran = stemsplit("separate", song_file, "-o", "out", **models)
    assert ran.code == 1
    assert "model.data-00000-of-00001" in ran.err
    assert "stemsplit models fetch 2stems" in ran.err
    verified = stemsplit("models", "verify", **models)
    assert verified.code == 1
    assert "SHA-256 differs" in verified.err
    brought = stemsplit("models", "import", "2stems", real_models / "2stems", **models)
    assert brought.code == 0
    assert stemsplit("models", "verify", "2stems", **models).code == 0


def test_models_are_listed_with_their_place(stemsplit: Callable[..., Any], tmp_path: Path) -> None:
    """Every model of the catalogue; where a model would be; and that none is there."""
    models = {"STEMSPLIT_MODELS": str(tmp_path / "models")}
    listed = stemsplit("models", "list", **models)
    assert all(name in listed.out for name in MODELS)
    assert "yes" not in listed.out
    place = stemsplit("models", "path", "4stems-16kHz", **models).out.strip()
    assert Path(place) == tmp_path / "models" / "4stems"
    nothing = stemsplit("models", "verify", **models)
    assert nothing.code == 1
    assert "stemsplit models fetch 2stems" in nothing.err
