"""`--engine`: what each separates, and what the command, its report and doctor say of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from stemsplit.core.settings import LOADERS
from stemsplit.models.engines import installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]


@pytest.fixture(params=LOADERS)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine that is installed."""
    name: str = request.param
    if name not in installed():
        pytest.skip(f"the engine {name} is not installed")
    return name


@pytest.mark.parametrize("start", ["usual", "small budget"])
def test_an_engine_separates_and_is_named(
    stemsplit: Callable[..., Any], song_file: Path, engine: str, start: str
) -> None:
    """In the events, in the report, in the words of --verbose; also one stem at a time."""
    budget = [] if start == "usual" else ["--max-ram", "330MiB" if engine == "onnx" else "560MiB"]
    command = ("separate", song_file, "-o", "out", "--engine", engine, *budget)
    ran = stemsplit(*command, "--json")
    assert ran.code == 0, ran.err
    events = [json.loads(line) for line in ran.out.splitlines()]
    (began,) = [event for event in events if event["type"] == "batch_started"]
    (pool,) = [event for event in events if event["type"] == "pool_started"]
    assert began["engine"] == engine
    assert pool["lean"] == (start != "usual")
    assert f", engine {engine}, " in stemsplit("report", "out").out
    assert f"engine: {engine}" in stemsplit(*command, "--overwrite", "--verbose").err


def test_the_engines_write_the_same_stems(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """From file to file, to 1e-5 of full scale; and what one has done the other leaves."""
    if installed() != tuple(LOADERS):
        pytest.skip("one engine alone is installed")
    stems = []
    for engine in LOADERS:
        ran = stemsplit(
            "separate", song_file, "-o", engine, "--engine", engine, "--bit-depth", "32f"
        )
        assert ran.code == 0, ran.err
        stems.append(soundfile.read(tmp_path / engine / "song" / "vocals.wav")[0])
    assert np.max(np.abs(stems[0] - stems[1])) <= 1e-5
    ran = stemsplit(
        "separate", song_file, "-o", "tensorflow", "--engine", "onnx", "--bit-depth", "32f"
    )
    assert "0 separated, 1 done already" in ran.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (
            ["--engine", "jax"],
            2,
            "There is no engine “jax”. The engines are auto, tensorflow, onnx.",
        ),
        (["--engine", "onnx", "--mwf"], 2, "--mwf is Spleeter's own filter"),
    ],
)
def test_engines_that_cannot_be(
    stemsplit: Callable[..., Any], song_file: Path, options: list[str], code: int, words: str
) -> None:
    """One sentence, before anything is made."""
    ran = stemsplit("separate", song_file, "-o", "out", *options)
    assert ran.code == code
    assert words in ran.err
    assert not (song_file.parent / "out").exists()


def test_the_filter_without_spleeter(stemsplit: Callable[..., Any], song_file: Path) -> None:
    """Where it cannot be installed, the sentence says where it can."""
    if "tensorflow" in installed():
        pytest.skip("Spleeter is installed")
    ran = stemsplit("separate", song_file, "-o", "out", "--mwf")
    assert ran.code == 1
    assert "needs tensorflow and spleeter, which are not installed" in ran.err
    assert "Python 3.10 or 3.11" in ran.err


def test_doctor_tells_which_engine_is_used(stemsplit: Callable[..., Any]) -> None:
    """And the versions of all that are installed."""
    told = json.loads(stemsplit("doctor", "--json").out)
    found = [check["found"] for check in told["checks"] if check["name"] == "engines"]
    assert len(found) == len(LOADERS)
    assert sum(line.endswith("; it is used") for line in found) == 1
    (used,) = [line for line in found if line.endswith("; it is used")]
    assert used.startswith(installed()[0])
