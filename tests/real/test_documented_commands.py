"""Runs every command in the README, the quickstart, the how-to pages and the recipes.

Each page has its own home folder with the files that it mentions. Its commands run in order, so
later commands can use the files of earlier ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from audio_files import write_libav

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = [pytest.mark.real]

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/quickstart.md",
    "docs/report.md",
    "docs/events.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs/how-to").glob("*.md")),
]
PREREQUISITES = {"docs/report.md": ["stemsplit separate ~/Music -o stems"]}
"""Commands that a page assumes were run before."""

INSTALL_COMMANDS = ("python3.11 -m venv ", "python3 -m venv ")
"""Such lines create an environment; `.ci/run` runs those of the README."""

ACTIVATE = "source .venv/bin/activate"
"""Such lines activate it; the tests run in an active one."""


def _blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    found = re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```$", text)
    return [textwrap.dedent(block) for block in found]


@pytest.fixture(scope="module")
def music(song: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with every file that the pages mention."""
    home = tmp_path_factory.mktemp("home")
    (home / "Music" / "album").mkdir(parents=True)
    soundfile.write(home / "Music" / "album" / "one.flac", song, 44_100)
    for name in ("song.mp3", "one.mp3", "two.mp3"):
        soundfile.write(home / name, song, 44_100)
    for name in ("first.wav", "master.wav"):
        soundfile.write(home / name, song, 44_100)
    write_libav(home / "voice.m4a", song, "aac")
    concert = np.zeros((8_000 * 60 * 13, 1), np.float32)
    write_libav(home / "concert.mkv", concert, "flac", rate=8_000, layout="mono")
    return home


def _run(command: list[str], home: Path, models: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a home folder."""
    program = Path(sys.executable).parent
    return subprocess.run(
        command,
        cwd=home,
        env=os.environ
        | {
            "HOME": str(home),
            "PATH": f"{program}:{os.environ['PATH']}",
            "STEMSPLIT_MODELS": str(models),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _adapted(command: str) -> str:
    """Return a command for the environment of the tests, which has only one model's weights."""
    return command.replace(".venv/bin/", "").replace("-m 4stems", "-m 2stems-16kHz")


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_succeed(
    page: str, music: Path, real_models: Path, tmp_path: Path
) -> None:
    """They run one after the other."""
    home = tmp_path / "home"
    shutil.copytree(music, home)
    commands = [
        line
        for block in _blocks(page, "sh")
        for line in block.splitlines()
        if line.strip() and not line.startswith((*INSTALL_COMMANDS, ACTIVATE, "#"))
    ]
    assert commands
    commands[:0] = PREREQUISITES.get(page, [])
    if any(" jq " in f" {line}" for line in commands) and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    for command in commands:
        result = _run(["bash", "-c", f"set -o pipefail; {_adapted(command)}"], home, real_models)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


def test_the_program_in_the_readme_runs(music: Path, real_models: Path, tmp_path: Path) -> None:
    """It runs unchanged."""
    home = tmp_path / "home"
    shutil.copytree(music, home)
    (program,) = _blocks("README.md", "python")
    (home / "program.py").write_text(program)
    result = _run([sys.executable, "program.py"], home, real_models)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("frames=") >= 4


def test_all_pages_install_as_the_readme_does() -> None:
    """The README has the commands that `.ci/run` extracts and runs."""
    lines = {
        line
        for page in PAGES
        for block in _blocks(page, "sh")
        for line in block.splitlines()
        if line.startswith(INSTALL_COMMANDS)
    }
    readme = (ROOT / "README.md").read_text().splitlines()
    assert lines <= set(readme)
    # One demo with TensorFlow and one without.
    assert sum(line.endswith("stemsplit demo") for line in lines) == 2
    assert sum(line.endswith("pytest") for line in lines) == 1
