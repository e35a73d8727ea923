"""The lock files pin everything that the tests and CI install."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import platforms
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stemsplit.core.compat import tomllib
from stemsplit.core.version import DISTRIBUTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "tests" / "requirements").glob("*.txt"))

NOT_PINNED = {"pip"}
"""Packages that the lock file omits: pip installs the others."""

ENVIRONMENTS = {
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
    for python in ("3.10", "3.11", "3.12", "3.13", "3.14")
    for system, machine in (("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64"))
}


def _applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment})


def _required(extra: str) -> Iterator[Requirement]:
    """Yield the requirements of stemsplit and of one of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from map(Requirement, project["dependencies"])
    extras = [extra]
    for name in extras:  # grows during the loop
        for requirement in map(Requirement, project["optional-dependencies"][name]):
            if requirement.name == project["name"]:
                extras += sorted(requirement.extras)
            else:
                yield requirement


def _pins(lock: Path) -> list[Requirement]:
    pinned = re.findall(r"^(\w.*?) *\\$", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return [Requirement(pin) for pin in pinned]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_lock_file_satisfies_every_requirement(name: str) -> None:
    """If this fails, run `bash tests/requirements/renew`."""
    pins = [
        requirement
        for requirement in _pins(ROOT / "tests/requirements/lock.txt")
        if _applies(requirement, ENVIRONMENTS[name])
    ]
    versions = {
        canonicalize_name(requirement.name): str(requirement.specifier)[2:] for requirement in pins
    }
    assert len(versions) == len(pins), "one version of each"
    required = [
        requirement for requirement in _required("dev") if _applies(requirement, ENVIRONMENTS[name])
    ]
    for requirement in required:
        if requirement.name not in NOT_PINNED:
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), (
                str(requirement)
            )
    assert len(required) > 35


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_file_contains_only_versions_and_hashes(lock: Path) -> None:
    """It has no address of an index: each machine uses the index in its configuration."""
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    for pin in _pins(lock):
        assert re.fullmatch(r"==[\w.!+]+", str(pin.specifier)), str(pin)
    entries = re.split(r"\n(?=\S)", text.split("\n", 2)[2].rstrip())
    assert len(entries) == len(_pins(lock))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"^-", text, re.MULTILINE), "options for pip"


def _environment(platform: str, python: str) -> dict[str, str]:
    """Return the markers of one of the README's platforms."""
    system, machine = {
        "Linux x86-64": ("linux", "x86_64"),
        "Linux arm64": ("linux", "aarch64"),
        "Mac with Apple silicon, macOS 14": ("darwin", "arm64"),
        "Intel Mac, macOS 14": ("darwin", "x86_64"),
        "Windows x86-64": ("win32", "AMD64"),
    }[platform]
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system,
        "platform_machine": machine,
        "extra": "",
    }


@pytest.mark.parametrize(("platform", "python"), platforms.promised())
def test_the_readme_names_the_engine_that_is_installed(platform: str, python: str) -> None:
    """Python 3.10 to 3.14 on five platforms; `platforms.py` checks that it can be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environment = _environment(platform, python)
    required = {
        requirement.name
        for requirement in map(Requirement, project["dependencies"])
        if _applies(requirement, environment)
    }
    engines = [name for package, name in platforms.ENGINES.items() if package in required]
    assert (engines or [platforms.NO_ENGINE]) == [platforms.promised()[platform, python]]


def test_the_table_of_platforms_is_complete() -> None:
    """Five platforms and five versions of Python."""
    versions = ("3.10", "3.11", "3.12", "3.13", "3.14")
    assert [*platforms.promised()] == [*product(platforms.PLATFORMS, versions)]


def test_nothing_suggests_to_install_another_project() -> None:
    """On PyPI, `stemsplit` belongs to somebody else, as the README says once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    assert list(project["scripts"]) == ["stemsplit"]
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("stemsplit/**/*.py")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"pip install (?:-\S+ )*['\"]?stemsplit(?![\w-])", text)
        assert "stemsplit[" not in text
