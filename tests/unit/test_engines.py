"""The choice of the engine, depending on the installed libraries."""

from __future__ import annotations

import pytest

from stemsplit.core.errors import EngineError, UsageError
from stemsplit.core.settings import LOADERS, Settings
from stemsplit.executors.plan_local_pool import workload_of
from stemsplit.journal.job_records import settings_key
from stemsplit.models.engines import ENGINES, engine_of, installed, missing_of, name_of, resolved
from stemsplit.supervisor.prediction import Workload

TENSORFLOW = {"tensorflow", "spleeter"}
ONNX = {"onnxruntime", "crc32c"}


@pytest.mark.parametrize(
    ("libraries", "engines"),
    [
        (TENSORFLOW | ONNX, ("tensorflow", "onnx")),
        (TENSORFLOW, ("tensorflow",)),
        (ONNX, ("onnx",)),
        (ONNX | {"tensorflow"}, ("onnx",)),
        ({"onnxruntime"}, ()),
    ],
)
def test_the_first_engine_that_is_installed_is_used(
    libraries: set[str], engines: tuple[str, ...]
) -> None:
    """An engine counts as installed only if it has all of its libraries."""
    assert installed(has=libraries.__contains__) == engines
    if engines:
        assert resolved(Settings(), has=libraries.__contains__).engine == engines[0]
    else:
        with pytest.raises(EngineError, match="No engine is installed") as caught:
            resolved(Settings(), has=libraries.__contains__)
        assert "light" in caught.value.remedy


@pytest.mark.parametrize("engine", LOADERS)
def test_a_named_engine_is_used_or_is_an_error(engine: str) -> None:
    """The other engine does not replace it."""
    other = {"tensorflow": ONNX, "onnx": TENSORFLOW}[engine]
    settings = resolved(Settings(engine=engine), has=(TENSORFLOW | ONNX).__contains__)
    assert settings.engine == engine
    assert name_of(settings.loader) == engine
    with pytest.raises(EngineError, match=f"The {engine} engine needs"):
        resolved(Settings(engine=engine), has=other.__contains__)
    assert missing_of(engine, has=other.__contains__)


def test_the_wiener_filter_needs_spleeter() -> None:
    """Without Spleeter, the remedy does not suggest the other engine."""
    assert resolved(Settings(mwf=True), has=TENSORFLOW.__contains__).engine == "tensorflow"
    assert name_of(resolved(Settings(mwf=True), has=TENSORFLOW.__contains__).loader) == "tensorflow"
    with pytest.raises(EngineError, match="not installed") as caught:
        resolved(Settings(mwf=True), has=ONNX.__contains__)
    assert "--engine onnx" not in caught.value.remedy
    with pytest.raises(UsageError, match="--mwf uses Spleeter's own filter"):
        resolved(Settings(mwf=True, engine="onnx"), has=(TENSORFLOW | ONNX).__contains__)


def test_unknown_engines_are_refused() -> None:
    """The error lists the known engines; third-party loaders stay, and conversions need none."""
    with pytest.raises(UsageError, match="Unknown engine “jax”") as caught:
        resolved(Settings(engine="jax"))
    assert "auto, tensorflow, onnx" in caught.value.remedy
    third_party = Settings(engine="my.module:load")
    assert resolved(third_party, has=set[str]().__contains__) is third_party
    assert name_of(third_party.loader) == "my.module:load"
    conversion = Settings(what="conversion")
    assert resolved(conversion, has=set[str]().__contains__) is conversion


def test_facts_of_an_engine() -> None:
    """Each engine has its row; other loaders count as TensorFlow."""
    assert tuple(ENGINES) == tuple(LOADERS)
    for engine in ENGINES:
        assert engine_of(Settings(engine=engine)).name == engine
    for settings in (Settings(engine="my.module:load"), Settings(mwf=True, engine="tensorflow")):
        assert engine_of(settings).name == "tensorflow"


def test_an_engine_may_not_support_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow for Windows lacks the C functions that the engine calls."""
    monkeypatch.setattr("sys.platform", "win32")
    assert installed(has=(TENSORFLOW | ONNX).__contains__) == ("onnx",)


def test_both_engines_share_a_settings_key() -> None:
    """A track is not separated again only because the engine has changed."""
    keys = {settings_key(Settings(engine=engine)) for engine in ("auto", *LOADERS)}
    assert len(keys) == 1
    assert settings_key(Settings(engine="my.module:load")) not in keys


@pytest.mark.parametrize(
    ("settings", "workload"),
    [
        (Settings(engine="tensorflow", model="5stems"), Workload(kind="tensorflow", stems=5)),
        (Settings(engine="onnx"), Workload(kind="onnx", stems=2)),
        (Settings(engine="tensorflow", mwf=True), Workload(kind="whole", stems=2)),
        (Settings(engine="my.module:load"), Workload(kind="tensorflow", stems=2)),
        (Settings(what="conversion"), Workload(kind="conversion", stems=0)),
    ],
)
def test_the_workload_of_settings(settings: Settings, workload: Workload) -> None:
    """Each engine has its row of predictions; third-party engines count as TensorFlow."""
    assert workload_of(settings) == workload
