"""Manipulated output folders and archives: nothing else changes, and errors are sentences."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from hostile import Attacker, make_victim, snapshot, write_unfinished_run

from stemsplit.cli.main import run
from stemsplit.core.errors import StemsplitError
from stemsplit.journal.lock import hold_lock
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.recovery import recover
from stemsplit.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.real,
    pytest.mark.usefixtures("real_models"),
    pytest.mark.skipif(os.name == "nt", reason="needs links and pipes, which Windows lacks"),
]

PARTS = 2


@pytest.fixture(autouse=True)
def _restore_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers, which `run` sets in this process."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def valid_folders(
    song_file: Path, real_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A music folder, and its output folder with done, failed and killed tracks."""
    del real_models
    folder = tmp_path_factory.mktemp("valid")
    music, output = folder / "music", folder / "out"
    music.mkdir()
    for name in ("song", "running", "publishing"):
        shutil.copy(song_file, music / f"{name}.wav")
    (music / "broken.wav").write_bytes(b"RIFF" + bytes(60))
    sources = [str(music / "song.wav"), str(music / "broken.wav")]
    assert run(["separate", *sources, *_output_options(output)]) == 3
    write_unfinished_run(output, music / "running.wav", publishing=False)
    write_unfinished_run(output, music / "publishing.wav", publishing=True)
    return music, output


def _output_options(output: Path) -> list[str]:
    return ["-o", str(output), "--quiet"]


@pytest.fixture
def copy_folders(
    valid_folders: tuple[Path, Path], tmp_path: Path
) -> Callable[[], tuple[Path, Path, Path]]:
    """Return a function that returns the music, a new copy of the output, and a victim."""
    music, output = valid_folders
    folder = tmp_path / "copy"

    def make() -> tuple[Path, Path, Path]:
        shutil.rmtree(folder, ignore_errors=True)
        make_victim(folder / "victim")
        shutil.copytree(output, folder / "out")
        return music, folder / "out", folder / "victim"

    return make


def _recover(output: Path) -> None:
    state = OutputLayout(output)
    with (
        contextlib.suppress(StemsplitError),
        hold_lock(state),
        Journal(state.journal, output) as journal,
    ):
        recover(journal, output)


@pytest.mark.parametrize("part", range(PARTS))
def test_manipulated_folders_change_nothing_outside(
    copy_folders: Callable[[], tuple[Path, Path, Path]],
    part: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    pytestconfig: pytest.Config,
) -> None:
    """Commands read folders, each with one change, and recovery repairs them."""
    for seed in range(part, pytestconfig.getoption("folders"), PARTS):
        music, output, victim = copy_folders()
        before = snapshot(victim)
        attacker = Attacker(seed, victim)
        change = attacker.attack(output)
        page = str(tmp_path / "page.html")
        commands = [
            ["status", str(output)],
            ["status", str(output), "--json"],
            ["report", str(output)],
            ["report", str(output), "--html", page],
            ["separate", str(music), *_output_options(output), "--dry-run"],
        ]
        for command in attacker.random.sample(commands, 2):
            code = run(command)
            printed = capsys.readouterr()
            assert code in {0, 1, 2, 3, 11}, (seed, change, command)
            for unwanted in ("Unexpected error", "Traceback", "\x1b[2J", "\x1b[31m"):
                assert unwanted not in printed.out + printed.err, (seed, change, command, printed)
        _recover(output)
        assert snapshot(victim) == before, (seed, change)


@pytest.mark.parametrize("part", range(2))
def test_manipulated_archives_change_nothing(
    copy_folders: Callable[[], tuple[Path, Path, Path]],
    part: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """200 archives that are not models are refused, some of them damaged."""
    _, _, victim = copy_folders()
    monkeypatch.setenv("STEMSPLIT_MODELS", str(tmp_path / "models"))
    before = snapshot(victim)
    for seed in range(part, 200, 2):
        archive = Attacker(seed, victim).archive(tmp_path)
        assert run(["models", "import", "2stems", str(archive)]) == 1, seed
        printed = capsys.readouterr().err
        assert "Unexpected error" not in printed, (seed, printed)
        assert "Traceback" not in printed, (seed, printed)
    assert snapshot(victim) == before
