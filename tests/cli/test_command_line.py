"""The command line without audio: usage, models, and errors before any track starts."""

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
    ("arguments", "message"),
    [
        (["separate", "a.wav"], "-o FOLDER"),
        (["separate", "-o", "out"], "nothing to separate"),
        (["separate", "a.wav", "-o", "out", "--bitdepth", "16"], "--bit-depth"),
        (["separate", "a.wav", "-o", "out", "--bit-depth", "12"], "--bit-depth"),
        (["separate", "a.wav", "-o", "out", "--jobs", "many"], "--jobs"),
        (["separate", "a.wav", "-o", "out", "-m", "4stem"], "Did you mean 4stems?"),
        (["separate", "a.wav", "-o", "out", "--format", "flac", "--bit-depth", "32f"], "FLAC"),
        (["seperate", "a.wav"], "separate"),
        (["models", "path", "6stems"], "Unknown model"),
        (["separate", "a.wav", "-o", "out", "--name", "{stem}/{trakc}.{ext}"], "mean {track}"),
        (["separate", "a.wav", "-o", "out", "--name", "../{stem}.{ext}"], "contains “..”"),
        (["separate", "a.wav", "-o", "out", "--until", "25:00"], "07:00"),
        (["separate", "a.wav", "-o", "out", "--order", "random"], "--order"),
        (["separate", "a.wav", "-o", "out", "--nice", "20"], "0 to 19"),
        (["separate", "-o", "out", "--from-file", "absent"], "list “absent” cannot be read"),
        (["separate", "-o", "out", "--from-file", "-"], "standard input contains no paths"),
        (
            ["separate", "a.wav", "-o", ""],
            "No output folder given. Add -o FOLDER; is a shell variable unset?",
        ),
        (["status", "out"], "Nothing has been separated"),
    ],
)
def test_an_invalid_command_line_is_a_usage_error(
    stemsplit: Callable[..., Any], tmp_path: Path, arguments: list[str], message: str
) -> None:
    """The exit code is 2, one line names the mistake, and nothing is written."""
    result = stemsplit(*arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_tracks_with_the_same_name_are_refused(
    stemsplit: Callable[..., Any], tmp_path: Path
) -> None:
    """The message names both files and a template that distinguishes them."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "song.wav").touch()
    result = stemsplit("separate", "a/song.wav", "b/song.wav", "-o", "out")
    assert result.code == 3
    assert "a/song.wav" in result.err
    assert "b/song.wav" in result.err
    assert "{foldername}" in result.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".stemsplit"]


def test_a_batch_of_missing_files_fails(stemsplit: Callable[..., Any], tmp_path: Path) -> None:
    """The exit code is 3, without a model, a child or an output folder."""
    result = stemsplit("separate", "missing.wav", "-o", "out", STEMSPLIT_MODELS="none", **OFFLINE)
    assert result.code == 3
    assert "does not exist" in result.err
    assert not (tmp_path / "out").exists()


def test_version_and_help(stemsplit: Callable[..., Any]) -> None:
    """Both print to standard output and exit with code 0."""
    assert stemsplit("--version").out.strip() == __version__
    result = stemsplit("separate", "--help")
    assert result.code == 0
    for option in ("--output", "--model", "--format", "--bit-depth", "--jobs", "--json"):
        assert option in result.out


def test_a_missing_model_without_network_is_an_error(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """One sentence has the cause and the remedy; no partial folders are left."""
    result = stemsplit(
        "separate", song_file, "-o", "out", STEMSPLIT_MODELS=str(tmp_path / "models"), **OFFLINE
    )
    assert result.code == 1
    last = result.err.splitlines()[-1]
    assert "Cannot download the model" in last
    assert "stemsplit models import 2stems" in last
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".stemsplit"]
    assert not (tmp_path / "models" / "2stems").exists()


@pytest.mark.real
def test_an_altered_model_file_is_an_error(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path, real_models: Path
) -> None:
    """The message names the file and the remedy; an import replaces the file."""
    shutil.copytree(real_models / "2stems", tmp_path / "models" / "2stems")
    weights = tmp_path / "models/2stems/model.data-00000-of-00001"
    with weights.open("r+b") as file:
        file.seek(40_000_000)
        file.write(b"\0" * 64)
    models = {"STEMSPLIT_MODELS": str(tmp_path / "models")}
    result = stemsplit("separate", song_file, "-o", "out", **models)
    assert result.code == 1
    assert "model.data-00000-of-00001" in result.err
    assert "stemsplit models fetch 2stems" in result.err
    verified = stemsplit("models", "verify", **models)
    assert verified.code == 1
    assert "wrong SHA-256" in verified.err
    imported = stemsplit("models", "import", "2stems", real_models / "2stems", **models)
    assert imported.code == 0
    assert stemsplit("models", "verify", "2stems", **models).code == 0


def test_models_are_listed_without_being_installed(
    stemsplit: Callable[..., Any], tmp_path: Path
) -> None:
    """`list` shows every model, `path` its future folder, and `verify` that none is installed."""
    models = {"STEMSPLIT_MODELS": str(tmp_path / "models")}
    listed = stemsplit("models", "list", **models)
    assert all(name in listed.out for name in MODELS)
    assert "yes" not in listed.out
    folder = stemsplit("models", "path", "4stems-16kHz", **models).out.strip()
    assert Path(folder) == tmp_path / "models" / "4stems"
    verified = stemsplit("models", "verify", **models)
    assert verified.code == 1
    assert "stemsplit models fetch 2stems" in verified.err
    cache = str(tmp_path / "cache")  # converted weights may be there
    removed = stemsplit("models", "remove", "2stems", XDG_CACHE_HOME=cache, **models)
    assert (removed.code, removed.out) == (0, "2stems: not installed\n")
