"""The lock file pins everything that the tests and CI install."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stemsplit.core.compat import tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "tests" / "requirements").glob("*.txt"))

NOT_PINNED = {"pip"}
"""It installs the others."""

MACHINES = {
    f"{system} {machine}, Python {python}": {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_machine": machine,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system],
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    for python in ("3.11", "3.12", "3.13", "3.14")
    for system, machine in (("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64"))
}


def _applies(requirement: Requirement, machine: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**machine})


def _required(extra: str) -> Iterator[Requirement]:
    """Yield what stemsplit requires, and what an extra adds to that."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from map(Requirement, project["dependencies"])
    extras = [extra]
    for name in extras:  # grows meanwhile
        for one in map(Requirement, project["optional-dependencies"][name]):
            if one.name == project["name"]:
                extras += sorted(one.extras)
            else:
                yield one


def _pins(lock: Path) -> list[Requirement]:
    pinned = re.findall(r"^(\w.*?) *\\$", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return [Requirement(one) for one in pinned]


@pytest.mark.parametrize("name", MACHINES)
def test_the_lock_has_a_version_of_everything_within_its_range(name: str) -> None:
    """If this fails, run `bash tests/requirements/renew`."""
    pins = [
        one for one in _pins(ROOT / "tests/requirements/lock.txt") if _applies(one, MACHINES[name])
    ]
    versions = {canonicalize_name(one.name): str(one.specifier)[2:] for one in pins}
    assert len(versions) == len(pins), "one version of each"
    wanted = [one for one in _required("dev") if _applies(one, MACHINES[name])]
    for one in wanted:
        if one.name not in NOT_PINNED:
            assert one.specifier.contains(versions[canonicalize_name(one.name)]), str(one)
    assert len(wanted) > 35


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_versions_and_hashes_alone(lock: Path) -> None:
    """No address of an index: each machine installs from the index that it is set up for."""
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    for one in _pins(lock):
        assert re.fullmatch(r"==[\w.!+]+", str(one.specifier)), str(one)
    entries = re.split(r"\n(?=\S)", text.split("\n", 2)[2].rstrip())
    assert len(entries) == len(_pins(lock))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"^-", text, re.MULTILINE), "options of pip"
