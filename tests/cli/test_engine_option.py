"""`--engine`: the stems of each engine, and its name in events, reports and `doctor`."""

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
    """Each installed engine."""
    name: str = request.param
    if name not in installed():
        pytest.skip(f"the engine {name} is not installed")
    return name


@pytest.mark.parametrize("memory", ["default", "small budget"])
def test_an_engine_separates_and_is_named(
    stemsplit: Callable[..., Any], song_file: Path, engine: str, memory: str
) -> None:
    """Events, the report and `--verbose` name it, also with one instrument at a time."""
    budget = (
        [] if memory == "default" else ["--max-ram", "330MiB" if engine == "onnx" else "560MiB"]
    )
    command = ("separate", song_file, "-o", "out", "--engine", engine, *budget)
    result = stemsplit(*command, "--json")
    assert result.code == 0, result.err
    events = [json.loads(line) for line in result.out.splitlines()]
    (started,) = [event for event in events if event["type"] == "batch_started"]
    (pool,) = [event for event in events if event["type"] == "pool_started"]
    assert started["engine"] == engine
    assert pool["lean"] == (memory != "default")
    assert f", engine {engine}, " in stemsplit("report", "out").out
    assert f"engine: {engine}" in stemsplit(*command, "--overwrite", "--verbose").err


def test_the_engines_write_the_same_stems(
    stemsplit: Callable[..., Any], song_file: Path, tmp_path: Path
) -> None:
    """They differ by at most 1e-5 of full scale; one engine skips what the other has done."""
    if installed() != tuple(LOADERS):
        pytest.skip("only one engine is installed")
    stems = []
    for engine in LOADERS:
        result = stemsplit(
            "separate", song_file, "-o", engine, "--engine", engine, "--bit-depth", "32f"
        )
        assert result.code == 0, result.err
        stems.append(soundfile.read(tmp_path / engine / "song" / "vocals.wav")[0])
    assert np.max(np.abs(stems[0] - stems[1])) <= 1e-5
    result = stemsplit(
        "separate", song_file, "-o", "tensorflow", "--engine", "onnx", "--bit-depth", "32f"
    )
    assert "0 separated, 1 already done" in result.out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--engine", "jax"],
            2,
            "Unknown engine “jax”. The engines are auto, tensorflow, onnx.",
        ),
        (["--engine", "onnx", "--mwf"], 2, "--mwf uses Spleeter's own filter"),
    ],
)
def test_invalid_engines_are_refused(
    stemsplit: Callable[..., Any],
    song_file: Path,
    tmp_path: Path,
    options: list[str],
    code: int,
    message: str,
) -> None:
    """The message is one sentence, and nothing is written."""
    result = stemsplit("separate", song_file, "-o", "out", *options)
    assert result.code == code
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_mwf_without_spleeter_is_an_error(stemsplit: Callable[..., Any], song_file: Path) -> None:
    """The message says what is missing, and where Spleeter can be installed."""
    if "tensorflow" in installed():
        pytest.skip("Spleeter is installed")
    result = stemsplit("separate", song_file, "-o", "out", "--mwf")
    assert result.code == 1
    assert "needs tensorflow and spleeter, which are not installed" in result.err
    assert "Python 3.11 on Linux" in result.err


def test_doctor_shows_the_selected_engine(stemsplit: Callable[..., Any]) -> None:
    """It has a line for each engine."""
    report = json.loads(stemsplit("doctor", "--json").out)
    found = [check["found"] for check in report["checks"] if check["name"] == "engines"]
    assert len(found) == len(LOADERS)
    assert sum(line.endswith("; selected") for line in found) == 1
    (selected,) = [line for line in found if line.endswith("; selected")]
    assert selected.startswith(installed()[0])
