"""Checks that stemsplit installs with an engine wherever the README's table names one.

Usage: python tests/requirements/platforms.py [--newest]

For each cell of the table, uv resolves the requirements of stemsplit from ready-made packages
alone. By default it ignores packages newer than the lock files, so that the result depends on this
repository alone; `--newest` uses what users install today. Prints the table that it has found, and
exits with 1 if that is not the table of the README.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]

RENEWED = "2026-12-01"
"""Date of the lock files; `renew` writes it."""

PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "Mac with Apple silicon, macOS 14": "aarch64-apple-darwin",
    "Intel Mac, macOS 14": "x86_64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
"""uv's names of the README's platforms. Linux is one with glibc 2.28 or newer, from 2018."""

ENGINES = {"tensorflow": "TensorFlow", "onnxruntime": "ONNX Runtime"}
"""The README's names of the engines, by the package that each needs."""

NO_ENGINE = "no"

_ENVIRONMENT = {"MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_PYTHON_DOWNLOADS": "never"}


def promised() -> dict[tuple[str, str], str]:
    """Return the README's table: the engine, or `NO_ENGINE`, by platform and Python version."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("| Python |"))
    _, *versions = _cells(lines[header])
    table: dict[tuple[str, str], str] = {}
    for line in lines[header + 2 :]:
        if not line.startswith("|"):
            break
        platform, *engines = _cells(line)
        table |= {
            (platform, version): engine for version, engine in zip(versions, engines, strict=True)
        }
    return table


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def engine_on(platform: str, version: str, *, is_newest: bool) -> tuple[str, str]:
    """Resolve the requirements for a platform.

    Returns:
        the engine that is installed, or `NO_ENGINE`, and what uv says if it finds no solution.
    """
    limit = () if is_newest else ("--exclude-newer", RENEWED)
    resolved = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--quiet"),
            *("--no-header", "--no-annotate", "--only-binary", ":all:", *limit),
            *("--python", sys.executable),
            *("--python-platform", PLATFORMS[platform], "--python-version", version),
        ],
        cwd=ROOT,
        env=os.environ | _ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    packages = set(re.findall(r"^([\w.-]+)==", resolved.stdout, re.MULTILINE))
    engine = next((ENGINES[name] for name in ENGINES if name in packages), NO_ENGINE)
    return (engine, "") if resolved.returncode == 0 else (NO_ENGINE, resolved.stderr.strip())


def main(arguments: list[str]) -> int:
    """Check the table; return the exit code."""
    table = promised()
    is_newest = "--newest" in arguments
    with ThreadPoolExecutor(max_workers=8) as threads:
        found = threads.map(lambda cell: engine_on(*cell, is_newest=is_newest), table)
        different = 0
        for (platform, version), (engine, why) in zip(table, found, strict=True):
            is_as_promised = engine == table[platform, version]
            different += not is_as_promised
            remark = "" if is_as_promised else f"; the README says {table[platform, version]}"
            print(f"{platform}, Python {version}: {engine}{remark}")
            if why and not is_as_promised:
                print(why)
    return min(different, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
