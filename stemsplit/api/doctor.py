"""Runs in the supervisor. Whether this installation, on this machine, can do its work.

Each check looks at one thing and says in a line what it found and, where something is wrong, what
to do. None changes anything that stays, but that weights are converted for an engine that is to use
them. The separation at the end happens in a temporary folder.
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
from stemsplit.core.version import __version__
from stemsplit.executors.pool_planning import plan_pool, start_method_of
from stemsplit.models import store
from stemsplit.models.catalogue import MODELS, find
from stemsplit.models.engines import ENGINES, installed, missing_of, resolved
from stemsplit.storage.remote import is_remote
from stemsplit.supervisor import host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECONDS = 2.0
_LITTLE_ROOM_BYTES = 2 * 2**30
"""A song of four minutes gives 120 MiB of stems; this is a dozen of them."""


class State(StrEnum):
    """How a check came out; `warning` hinders nothing."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        name: of what was looked at.
        state: `ok`, `warning` or `failed`.
        found: one line.
        remedy: what to do; empty where nothing needs to be.
    """

    name: str
    state: State = State.OK
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """What is going to be done with this installation; the usual if nothing is said.

    Attributes:
        settings, limits, jobs: as `stemsplit.separate` takes them.
        output: the folder for stems; None is the present one.
    """

    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
    jobs: int | None = None
    output: Path | None = None


def examine(plans: Plans) -> Iterator[Check]:
    """Check one thing after the other; the separation, which takes some seconds, comes last."""
    for name, check in _CHECKS.items():
        try:
            yield from check(plans)
        except StemsplitError as error:
            yield Check(name=name, state=State.FAILED, found=error.message, remedy=error.remedy)
        except OSError as error:
            yield Check(name=name, state=State.FAILED, found=printable(f"{error}."))
        except Exception as error:  # noqa: BLE001 - a broken installation raises all kinds
            found = f"It cannot be looked at ({type(error).__name__}: {error})."
            yield Check(name=name, state=State.FAILED, found=printable(found), remedy=REINSTALL)


def _python(_plans: Plans) -> Iterator[Check]:
    version = platform.python_version()
    found = f"Python {version}, {platform.machine()}, {platform.system()}; stemsplit {__version__}"
    wanted = Requirement(f"python{metadata.metadata('stemsplit')['Requires-Python']}")
    if not wanted.specifier.contains(version, prereleases=True):
        yield Check(
            name="Python",
            state=State.FAILED,
            found=found,
            remedy=f"Use {wanted.specifier}. {REINSTALL}",
        )
    elif sys.prefix == sys.base_prefix:
        remedy = "A virtual environment keeps what stemsplit needs from other programs."
        yield Check(
            name="Python",
            state=State.WARNING,
            found=f"{found}; no virtual environment",
            remedy=remedy,
        )
    else:
        yield Check(name="Python", found=found)


def _packages(_plans: Plans) -> Iterator[Check]:
    found = []
    for text in metadata.requires("stemsplit") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            version = ""
        if version and wanted.specifier.contains(version, prereleases=True):
            found.append(f"{wanted.name} {version}")
            continue
        yield Check(
            name="packages",
            state=State.FAILED,
            found=f"{wanted.name} {version or 'is missing'}; needed is {wanted.specifier or 'any'}",
            remedy=f"Run `{_pip()} install --force-reinstall '{text}'`, or: {REINSTALL}",
        )
    # One may stand there twice, with a bound for some systems.
    yield Check(name="packages", found=", ".join(dict.fromkeys(found)))


def _pip() -> str:
    return f"{printable(sys.executable)} -m pip"


def _engines(plans: Plans) -> Iterator[Check]:
    there = installed()
    used = plans.settings.engine
    if used == AUTOMATIC:
        used = there[0] if there else ""
    # Where the settings name one that is not there, no engine is used by the next command.
    so = "--engine auto takes it" if plans.settings.engine == AUTOMATIC else "it is used"
    for engine, known in ENGINES.items():
        if missing := missing_of(engine):
            found = f"{engine}: not installed ({', '.join(missing)})"
        else:
            library = known.libraries[0]
            found = f"{engine}: {library} {_version_of(library)}"
        yield Check(name="engines", found=f"{found}; {so}" if engine == used else found)
    if not there:
        resolved(plans.settings)  # says what to do


def _version_of(library: str) -> str:
    """Give the version of the distribution, of whatever name, that a library is of."""
    names = metadata.packages_distributions().get(library, [library])
    return metadata.version(names[0])


def _models(plans: Plans) -> Iterator[Check]:
    folder = store.models_folder()
    by_weights = {model.weights.name: model.weights for model in MODELS.values()}
    needed = find(plans.settings.model).weights.name
    absent = []
    for weights in by_weights.values():
        if not store.is_present(weights):
            absent.append(weights.name)
            continue
        try:
            store.verify(weights)
        except StemsplitError as error:
            yield Check(name="models", state=State.FAILED, found=error.message, remedy=error.remedy)
            continue
        unknown = store.unchecked(weights, folder / weights.name)
        found = "as it was when it came" if unknown else "as it was published"
        yield Check(name="models", found=f"{weights.name}: every file is {found}")
    if needed in absent:
        yield Check(
            name="models",
            state=State.WARNING,
            found=f"{needed} is not in {printable(folder)}",
            remedy=f"It is fetched when it is first used; `stemsplit models fetch {needed}` does "
            "it now.",
        )
    if others := [name for name in absent if name != needed]:
        found = f"not on this machine, fetched when first used: {', '.join(others)}"
        yield Check(name="models", found=found)


def _memory(plans: Plans) -> Iterator[Check]:
    settings = resolved(plans.settings)
    memory = host.host_memory(host.limiting_groups())
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
        found=f"{mebibytes(memory.available_bytes)} of {mebibytes(memory.total_bytes)} are free; "
        f"all processes would take {mebibytes(budget.total_bytes)} at most, a child "
        f"{mebibytes(plan.cap_bytes(concurrency.resources))}, "
        f"and {mebibytes(budget.min_free_bytes)} would be left free",
    )
    lean = ", one instrument at a time" if concurrency.resources.lean else ""
    yield Check(
        name="processors",
        found=f"{host.processors()}; {concurrency.workers} at a time with "
        f"{counted(concurrency.resources.threads, 'thread')} each{lean}",
    )


def _disk(plans: Plans) -> Iterator[Check]:
    output = plans.output or Path.cwd()
    if is_remote(output):  # that disk is somebody else's; this machine's takes what is on its way
        output = Path(tempfile.gettempdir())
    while not output.exists():  # it is made by the first run
        output = output.parent
    folders = {"stems": output, "temporary files": Path(tempfile.gettempdir())}
    for what, folder in folders.items():
        free = shutil.disk_usage(folder).free
        found = f"{mebibytes(free)} free for {what}, in {printable(folder)}"
        if free < _LITTLE_ROOM_BYTES:
            yield Check(
                name="disk",
                state=State.WARNING,
                found=found,
                remedy="A song of four minutes gives 120 MiB of stems in 24 bits; --format flac "
                "and mp3 take less (docs/libraries.md).",
            )
        else:
            yield Check(name="disk", found=found)


def _start_method(plans: Plans) -> Iterator[Check]:
    found = {
        "forkserver": "fork server: children find the engine's libraries in memory",
        "spawn": "spawn: each child loads the engine's libraries itself",
    }
    yield Check(name="start of children", found=found[start_method_of(resolved(plans.settings))])


def _awake(_plans: Plans) -> Iterator[Check]:
    from wakepy import keep

    with keep.running(on_fail="pass") as mode:
        if mode.active:
            yield Check(name="keep awake", found=f"--keep-awake works ({mode.active_method})")
            return
    yield Check(
        name="keep awake",
        state=State.WARNING,
        found="--keep-awake does not work here: there is no desktop session that allows it",
        remedy="See to it in the system's settings that the machine does not sleep overnight.",
    )


def _separation(plans: Plans) -> Iterator[Check]:
    weights = find(plans.settings.model).weights
    if not store.is_present(weights):
        yield Check(
            name="separation",
            state=State.WARNING,
            found=f"It was not tried, because {weights.name} is not on this machine.",
            remedy=f"Run `stemsplit models fetch {weights.name}`, and this again.",
        )
        return
    import soundfile

    from stemsplit.api.demo.song import make_song
    from stemsplit.batch import api

    with tempfile.TemporaryDirectory(prefix="stemsplit-doctor-") as folder:
        song = Path(folder, "song.wav")
        soundfile.write(song, make_song(_SECONDS).mix, 44_100)
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
        found=f"{_SECONDS:.0f} s of a song in {seconds:.1f} s{peak}, start and end included",
    )


_CHECKS: dict[str, Callable[[Plans], Iterator[Check]]] = {
    "Python": _python,
    "packages": _packages,
    "engines": _engines,
    "models": _models,
    "memory": _memory,
    "disk": _disk,
    "start of children": _start_method,
    "keep awake": _awake,
    "separation": _separation,
}
