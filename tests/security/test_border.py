"""Whatever is in an output folder: nothing outside of it changes, and a person gets a sentence."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from hostile import Attacker, leave_unfinished, make_victim, snapshot

from stemsplit.cli.app import run
from stemsplit.core.errors import StemsplitError
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.lock import held
from stemsplit.journal.recovery import recover
from stemsplit.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.real,
    pytest.mark.usefixtures("real_models"),
    pytest.mark.skipif(os.name == "nt", reason="links and pipes are made, which Windows has not"),
]

CASES = 2_000
PARTS = 8


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command line, which is called here and not started, sets handlers."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def good(
    song_file: Path, real_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A folder of music and what was made of it: done, failed, killed twice."""
    del real_models
    folder = tmp_path_factory.mktemp("good")
    music, output = folder / "music", folder / "out"
    music.mkdir()
    for name in ("song", "running", "publishing"):
        shutil.copy(song_file, music / f"{name}.wav")
    (music / "broken.wav").write_bytes(b"RIFF" + bytes(60))
    sources = [str(music / "song.wav"), str(music / "broken.wav")]
    assert run(["separate", *sources, *_into(output)]) == 3
    leave_unfinished(output, music / "running.wav", publishing=False)
    leave_unfinished(output, music / "publishing.wav", publishing=True)
    return music, output


def _into(output: Path) -> list[str]:
    return ["-o", str(output), "--quiet"]


@pytest.fixture
def scene(good: tuple[Path, Path], tmp_path: Path) -> Callable[[], tuple[Path, Path, Path]]:
    """Copy the folders; give music, output and the victim beside them."""
    music, output = good
    here = tmp_path / "scene"

    def make() -> tuple[Path, Path, Path]:
        shutil.rmtree(here, ignore_errors=True)
        make_victim(here / "victim")
        shutil.copytree(output, here / "out")
        return music, here / "out", here / "victim"

    return make


def _recovered(output: Path) -> None:
    state = OutputLayout(output)
    with (
        contextlib.suppress(StemsplitError),
        held(state),
        Journal(state.journal, output) as journal,
    ):
        recover(journal, output)


@pytest.mark.parametrize("part", range(PARTS))
def test_no_folder_harms_what_is_outside(
    scene: Callable[[], tuple[Path, Path, Path]],
    part: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """2,000 folders with one thing changed, each looked at and brought in order."""
    for seed in range(part, CASES, PARTS):
        music, output, victim = scene()
        before = snapshot(victim)
        attacker = Attacker(seed, victim)
        done = attacker.attack(output)
        page = str(tmp_path / "page.html")
        commands = [
            ["status", str(output)],
            ["status", str(output), "--json"],
            ["report", str(output)],
            ["report", str(output), "--html", page],
            ["separate", str(music), *_into(output), "--dry-run"],
        ]
        for command in attacker.random.sample(commands, 2):
            code = run(command)
            told = capsys.readouterr()
            assert code in {0, 1, 2, 3, 11}, (seed, done, command)
            for unwanted in ("unforeseen", "Traceback", "\x1b[2J", "\x1b[31m"):
                assert unwanted not in told.out + told.err, (seed, done, command, told)
        _recovered(output)
        assert snapshot(victim) == before, (seed, done)


@pytest.mark.parametrize("part", range(2))
def test_no_archive_harms_anything(
    scene: Callable[[], tuple[Path, Path, Path]],
    part: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """200 archives that are no models, some of them damaged."""
    _, _, victim = scene()
    monkeypatch.setenv("STEMSPLIT_MODELS", str(tmp_path / "models"))
    before = snapshot(victim)
    for seed in range(part, 200, 2):
        archive = Attacker(seed, victim).archive(tmp_path)
        assert run(["models", "import", "2stems", str(archive)]) == 1, seed
        told = capsys.readouterr().err
        assert "unforeseen" not in told, (seed, told)
        assert "Traceback" not in told, (seed, told)
    assert snapshot(victim) == before
