"""Which engine is used, where which libraries are installed."""

from __future__ import annotations

import pytest

from stemsplit.core.errors import EngineError, UsageError
from stemsplit.core.settings import LOADERS, Settings
from stemsplit.executors.pool_planning import workload_of
from stemsplit.journal.records import settings_key
from stemsplit.models.engines import ENGINES, engine_of, installed, missing_of, name_of, resolved
from stemsplit.supervisor.prediction import Workload

TENSORFLOW = {"tensorflow", "spleeter"}
ONNX = {"onnxruntime", "crc32c"}


@pytest.mark.parametrize(
    ("there", "engines"),
    [
        (TENSORFLOW | ONNX, ("tensorflow", "onnx")),
        (TENSORFLOW, ("tensorflow",)),
        (ONNX, ("onnx",)),
        (ONNX | {"tensorflow"}, ("onnx",)),
        ({"onnxruntime"}, ()),
    ],
)
def test_the_first_engine_that_is_installed_is_used(
    there: set[str], engines: tuple[str, ...]
) -> None:
    """TensorFlow with Spleeter, or else the other; an engine lacks nothing or is not there."""
    assert installed(has=there.__contains__) == engines
    if engines:
        assert resolved(Settings(), has=there.__contains__).engine == engines[0]
    else:
        with pytest.raises(EngineError, match="No engine is installed") as caught:
            resolved(Settings(), has=there.__contains__)
        assert "light" in caught.value.remedy


@pytest.mark.parametrize("engine", LOADERS)
def test_an_engine_that_is_named_is_used_or_missed(engine: str) -> None:
    """The other one does not take its place."""
    every, other = TENSORFLOW | ONNX, {"tensorflow": ONNX, "onnx": TENSORFLOW}[engine]
    found = resolved(Settings(engine=engine), has=every.__contains__)
    assert found.engine == engine
    assert name_of(found.loader) == engine
    with pytest.raises(EngineError, match=f"The engine {engine} needs"):
        resolved(Settings(engine=engine), has=other.__contains__)
    assert missing_of(engine, has=other.__contains__)


def test_the_filter_is_spleeter_s() -> None:
    """Where Spleeter is not, the sentence says where it could be."""
    assert resolved(Settings(mwf=True), has=TENSORFLOW.__contains__).engine == "tensorflow"
    assert name_of(resolved(Settings(mwf=True), has=TENSORFLOW.__contains__).loader) == "tensorflow"
    with pytest.raises(EngineError, match="not installed") as caught:
        resolved(Settings(mwf=True), has=ONNX.__contains__)
    assert "--engine onnx" not in caught.value.remedy
    with pytest.raises(UsageError, match="--mwf is Spleeter's own filter"):
        resolved(Settings(mwf=True, engine="onnx"), has=(TENSORFLOW | ONNX).__contains__)


def test_names_that_are_none() -> None:
    """Refused with those that there are; somebody's own engine stays, and conversions need none."""
    with pytest.raises(UsageError, match="no engine “jax”") as caught:
        resolved(Settings(engine="jax"))
    assert "auto, tensorflow, onnx" in caught.value.remedy
    own = Settings(engine="my.module:load")
    assert resolved(own, has=set[str]().__contains__) is own
    assert name_of(own.loader) == "my.module:load"
    conversion = Settings(what="conversion")
    assert resolved(conversion, has=set[str]().__contains__) is conversion


def test_what_is_known_of_an_engine() -> None:
    """Each has its row; what is loaded by other means is taken to be as TensorFlow is."""
    assert tuple(ENGINES) == tuple(LOADERS)
    for engine in ENGINES:
        assert engine_of(Settings(engine=engine)).name == engine
    for settings in (Settings(engine="my.module:load"), Settings(mwf=True, engine="tensorflow")):
        assert engine_of(settings).name == "tensorflow"


def test_an_engine_does_not_serve_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow for Windows lacks what the engine calls, whoever has installed it."""
    monkeypatch.setattr("sys.platform", "win32")
    assert installed(has=(TENSORFLOW | ONNX).__contains__) == ("onnx",)


def test_a_library_that_one_engine_began_another_one_finishes() -> None:
    """What was done by one is not done again because the other is used now."""
    keys = {settings_key(Settings(engine=engine)) for engine in ("auto", *LOADERS)}
    assert len(keys) == 1
    assert settings_key(Settings(engine="my.module:load")) not in keys


@pytest.mark.parametrize(
    ("settings", "way"),
    [
        (Settings(engine="tensorflow", model="5stems"), Workload(kind="tensorflow", stems=5)),
        (Settings(engine="onnx"), Workload(kind="onnx", stems=2)),
        (Settings(engine="tensorflow", mwf=True), Workload(kind="whole", stems=2)),
        (Settings(engine="my.module:load"), Workload(kind="tensorflow", stems=2)),
        (Settings(what="conversion"), Workload(kind="conversion", stems=0)),
    ],
)
def test_what_is_predicted_for(settings: Settings, way: Workload) -> None:
    """Each has its row of the table; of somebody else's engine nothing better is known."""
    assert workload_of(settings) == way
