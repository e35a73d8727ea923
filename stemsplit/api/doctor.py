"""Runs in the supervisor. Checks whether stemsplit works on this machine.

Each check returns one line with what it found and, if something is wrong, what to do. Checks leave
no changes behind, except that weights are converted for the engine that needs them. The final
separation runs in a temporary folder.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from packaging.requirements import Requirement

from stemsplit.core.compat import StrEnum
from stemsplit.core.errors import REINSTALL, StemsplitError
from stemsplit.core.limits import Limits
from stemsplit.core.outcome import Reason
from stemsplit.core.settings import AUTOMATIC, Settings
from stemsplit.core.text import counted, mebibytes, printable
from stemsplit.core.version import DISTRIBUTION, __version__
from stemsplit.executors.plan_local_pool import plan_pool, start_method_of
from stemsplit.models import published, store
from stemsplit.models.catalogue import MODELS, find_model
from stemsplit.models.engines import ENGINES, installed, missing_of, resolved
from stemsplit.storage.urls import is_remote
from stemsplit.supervisor import host_resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SONG_SECONDS = 2.0
_LOW_SPACE_BYTES = 2 * 2**30
"""Enough for the stems of a dozen songs of four minutes, with 120 MiB each."""


class State(StrEnum):
    """Result of a check; a `warning` prevents nothing."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check.

    Attributes:
        name: what was checked.
        state: `ok`, `warning` or `failed`.
        found: one line.
        remedy: what to do; empty if nothing is wrong.
    """

    name: str
    state: State = State.OK
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The intended use of the installation, which the checks assume.

    Attributes:
        settings, limits, jobs: as in `stemsplit.separate`.
        output: output folder; None for the current folder.
    """

    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
    jobs: int | None = None
    output: Path | None = None


def examine(plans: Plans) -> Iterator[Check]:
    """Run all checks in order. The separation, which takes some seconds, is the last."""
    for name, check in _CHECKS.items():
        try:
            yield from check(plans)
        except StemsplitError as error:
            yield Check(name=name, state=State.FAILED, found=error.message, remedy=error.remedy)
        except OSError as error:
            yield Check(name=name, state=State.FAILED, found=printable(f"{error}."))
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
            found = f"The check failed ({type(error).__name__}: {error})."
            yield Check(name=name, state=State.FAILED, found=printable(found), remedy=REINSTALL)


def _python(_plans: Plans) -> Iterator[Check]:
    version = platform.python_version()
    found = f"Python {version}, {platform.machine()}, {platform.system()}; stemsplit {__version__}"
    required = Requirement(f"python{metadata.metadata(DISTRIBUTION)['Requires-Python']}")
    state, remedy = State.OK, ""
    if not required.specifier.contains(version, prereleases=True):
        state, remedy = State.FAILED, f"Use Python {required.specifier}. {REINSTALL}"
    elif sys.prefix == sys.base_prefix:
        found += "; no virtual environment"
        state = State.WARNING
        remedy = "A virtual environment keeps the packages of other programs apart."
    yield Check(name="Python", state=state, found=found, remedy=remedy)


def _packages(_plans: Plans) -> Iterator[Check]:
    found = []
    for text in metadata.requires(DISTRIBUTION) or []:
        required = Requirement(text)
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(required.name)
        except metadata.PackageNotFoundError:
            version = ""
        if version and required.specifier.contains(version, prereleases=True):
            found.append(f"{required.name} {version}")
            continue
        yield Check(
            name="packages",
            state=State.FAILED,
            found=f"{required.name} {version or 'is missing'}; required: "
            f"{required.specifier or 'any version'}",
            remedy=f"Run `{printable(sys.executable)} -m pip install --force-reinstall '{text}'`, "
            f"or: {REINSTALL}",
        )
    # A package may be listed twice, with a bound for some systems.
    yield Check(name="packages", found=", ".join(dict.fromkeys(found)))


def _engines(plans: Plans) -> Iterator[Check]:
    available = installed()
    used = plans.settings.engine
    if used == AUTOMATIC:
        used = available[0] if available else ""
    # If the settings name an engine that is not installed, the next command uses none.
    use = "selected by --engine auto" if plans.settings.engine == AUTOMATIC else "selected"
    for engine, known in ENGINES.items():
        if missing := missing_of(engine):
            found = f"{engine}: not installed ({', '.join(missing)})"
        else:
            library = known.libraries[0]
            # The distribution that contains a library may have another name.
            distribution = metadata.packages_distributions().get(library, [library])[0]
            found = f"{engine}: {library} {metadata.version(distribution)}"
        yield Check(name="engines", found=f"{found}; {use}" if engine == used else found)
    if not available:
        resolved(plans.settings)  # raises with the remedy


def _models(plans: Plans) -> Iterator[Check]:
    folder = store.models_folder()
    by_weights = {model.weights.name: model.weights for model in MODELS.values()}
    needed = find_model(plans.settings.model).weights.name
    absent = []
    for weights in by_weights.values():
        if not published.is_present(weights):
            absent.append(weights.name)
            continue
        try:
            published.verify(weights)
        except StemsplitError as error:
            yield Check(name="models", state=State.FAILED, found=error.message, remedy=error.remedy)
            continue
        unknown = published.unchecked(weights, folder / weights.name)
        source = "as first installed" if unknown else "as published"
        yield Check(name="models", found=f"{weights.name}: all files are {source}")
    if needed in absent:
        yield Check(
            name="models",
            state=State.WARNING,
            found=f"{needed} is not in {printable(folder)}",
            remedy="It is downloaded at its first use, or now with "
            f"`stemsplit models fetch {needed}`.",
        )
    if others := [name for name in absent if name != needed]:
        found = f"not installed, downloaded at first use: {', '.join(others)}"
        yield Check(name="models", found=found)


def _memory(plans: Plans) -> Iterator[Check]:
    settings = resolved(plans.settings)
    memory = host_resources.host_memory(host_resources.limiting_groups())
    plan = plan_pool(
        settings,
        plans.limits,
        jobs=plans.jobs,
        tracks=None,
        preloaded=start_method_of(settings) == "forkserver",
    )
    concurrency, budget = plan.concurrency, plan.budget
    yield Check(
        name="memory",
        found=f"{mebibytes(memory.available_bytes)} of {mebibytes(memory.total_bytes)} free; "
        f"limits: {mebibytes(budget.total_bytes)} in total, "
        f"{mebibytes(plan.cap_bytes(concurrency.resources))} per track, "
        f"{mebibytes(budget.min_free_bytes)} kept free",
    )
    lean = ", one instrument at a time" if concurrency.resources.lean else ""
    yield Check(
        name="processors",
        found=f"{host_resources.processors()}; {concurrency.workers} at a time, "
        f"{counted(concurrency.resources.threads, 'thread')} each{lean}",
    )


def _disk(plans: Plans) -> Iterator[Check]:
    output = plans.output or Path.cwd()
    if is_remote(output):  # local disk space matters only for temporary files
        output = Path(tempfile.gettempdir())
    while not output.exists():  # the first run creates it
        output = output.parent
    folders = {"stems": output, "temporary files": Path(tempfile.gettempdir())}
    for content, folder in folders.items():
        free = shutil.disk_usage(folder).free
        found = f"{mebibytes(free)} free for {content}, in {printable(folder)}"
        if free < _LOW_SPACE_BYTES:
            yield Check(
                name="disk",
                state=State.WARNING,
                found=found,
                remedy="The stems of a song of four minutes take 120 MiB in 24 bits; less with "
                "--format flac or mp3 (docs/libraries.md).",
            )
        else:
            yield Check(name="disk", found=found)


def _start_method(plans: Plans) -> Iterator[Check]:
    found = {
        "forkserver": "fork server: children start with the engine's libraries in memory",
        "spawn": "spawn: each child loads the engine's libraries",
    }
    yield Check(name="child processes", found=found[start_method_of(resolved(plans.settings))])


def _awake(_plans: Plans) -> Iterator[Check]:
    from wakepy import keep

    with keep.running(on_fail="pass") as mode:
        if mode.active:
            yield Check(name="keep awake", found=f"--keep-awake works ({mode.active_method})")
            return
    yield Check(
        name="keep awake",
        state=State.WARNING,
        found="--keep-awake does not work: no desktop session supports it",
        remedy="Disable sleep in the settings of the system.",
    )


def _separation(plans: Plans) -> Iterator[Check]:
    weights = find_model(plans.settings.model).weights
    if not published.is_present(weights):
        yield Check(
            name="separation",
            state=State.WARNING,
            found=f"Not tested: {weights.name} is not installed.",
            remedy=f"Run `stemsplit models fetch {weights.name}`, then run this check again.",
        )
        return
    import soundfile

    from stemsplit.api.demo.song import make_song
    from stemsplit.batch import api

    with tempfile.TemporaryDirectory(prefix="stemsplit-doctor-") as folder:
        song = Path(folder, "song.wav")
        soundfile.write(song, make_song(_SONG_SECONDS).mix, 44_100)
        began = time.monotonic()
        result = api.separate(
            [song],
            Path(folder, "stems"),
            plans.settings,
            limits=msgspec.structs.replace(plans.limits, retries=0),
        )
        seconds = time.monotonic() - began
    if not result.outcomes:
        problem = result.problems[0]
        yield Check(name="separation", state=State.FAILED, found=problem.message)
        return
    outcome = result.outcomes[0]
    if outcome.reason is not Reason.DONE:
        yield Check(
            name="separation",
            state=State.FAILED,
            found=f"{outcome.reason}: {outcome.message}",
            remedy=outcome.remedy or REINSTALL,
        )
        return
    peak = "" if outcome.peak_pss_bytes is None else f", {mebibytes(outcome.peak_pss_bytes)}"
    yield Check(
        name="separation",
        found=f"{_SONG_SECONDS:.0f} s of audio in {seconds:.1f} s{peak}, with start and shutdown",
    )


_CHECKS: dict[str, Callable[[Plans], Iterator[Check]]] = {
    "Python": _python,
    "packages": _packages,
    "engines": _engines,
    "models": _models,
    "memory": _memory,
    "disk": _disk,
    "child processes": _start_method,
    "keep awake": _awake,
    "separation": _separation,
}
