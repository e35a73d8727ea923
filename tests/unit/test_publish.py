"""From work folders to published stems: all of a track, or nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stemsplit.core.errors import UnwritableError
from stemsplit.storage.publish import (
    STAGING_PREFIX,
    check_writable,
    discard,
    left_behind,
    make_staging_folder,
    name_staging_folder,
    publish,
    require_one_disk,
    take_back,
)

if TYPE_CHECKING:
    from collections.abc import Callable

STEMS = ("vocals.wav", "accompaniment.wav")


def _finished(destination: Path, text: str = "new") -> Path:
    staging = name_staging_folder(destination, destination.parent.parent)
    make_staging_folder(staging)
    for name in STEMS:
        (staging / name).write_text(f"{text} {name}")
    return staging


def _in(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in STEMS}


def test_publishing_shows_all_files_at_once(tmp_path: Path) -> None:
    """Before, there is a hidden folder and nothing else; after, the track and nothing else."""
    destination = tmp_path / "deep" / "song"
    staging = _finished(destination)
    assert staging.name.startswith(STAGING_PREFIX)
    assert not destination.exists()
    publish(staging, _in(destination))
    assert (destination / "vocals.wav").read_text() == "new vocals.wav"
    assert list((tmp_path / "deep").iterdir()) == [destination]


def test_publishing_into_an_existing_folder_keeps_its_other_files(tmp_path: Path) -> None:
    """A stem replaces the older one of its name; a person's own notes stay."""
    destination = tmp_path / "song"
    destination.mkdir()
    (destination / "vocals.wav").write_text("old")
    (destination / "notes.txt").write_text("mine")
    publish(_finished(destination), _in(destination))
    assert (destination / "vocals.wav").read_text() == "new vocals.wav"
    assert (destination / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [destination]


def test_published_folders_have_ordinary_permissions(tmp_path: Path) -> None:
    """The track's folder is as readable as any that its owner makes."""
    (tmp_path / "plain").mkdir()
    destination = tmp_path / "song"
    publish(_finished(destination), _in(destination))
    assert destination.stat().st_mode == (tmp_path / "plain").stat().st_mode


def _flat(top: Path) -> dict[str, Path]:
    return {name: top / f"song {name}" for name in STEMS}


def _by_stem(top: Path) -> dict[str, Path]:
    return {name: top / Path(name).stem / "song.wav" for name in STEMS}


def _named_like_the_other(top: Path) -> dict[str, Path]:
    """A track named `accompaniment`, so that its vocals bear the other stem's name."""
    return {name: top / Path(name).stem / "accompaniment.wav" for name in STEMS}


def _renamed(top: Path) -> dict[str, Path]:
    return {name: top / "song" / f"song ({name}).wav" for name in STEMS}


@pytest.mark.parametrize("layout", [_in, _flat, _by_stem, _named_like_the_other, _renamed])
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("crash_after", range(8))
def test_a_crash_at_any_step_is_completed_by_doing_it_again(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: Callable[[Path], dict[str, Path]],
    existing: bool,
    crash_after: int,
) -> None:
    """Whichever rename was the last: doing it again puts all stems in place, none mixed up."""

    class Crash(BaseException):
        pass

    moves = layout(tmp_path / "out")
    if existing:
        (tmp_path / "out" / "song").mkdir(parents=True)
        (tmp_path / "out" / "song" / "notes.txt").write_text("mine")
    staging = _finished(tmp_path / "out" / "song")
    steps = 0

    def crashing(name: str) -> Callable[..., object]:
        real: Callable[..., object] = getattr(Path, name)

        def step(*arguments: object) -> object:
            nonlocal steps
            if steps == crash_after:
                raise Crash
            steps += 1
            return real(*arguments)

        return step

    with monkeypatch.context() as patched:
        for name in ("rename", "replace", "rmdir"):
            patched.setattr(Path, name, crashing(name))
        try:
            publish(staging, moves)
        except Crash:
            assert steps == crash_after
    publish(staging, moves)
    assert {name: path.read_text() for name, path in moves.items()} == {
        name: f"new {name}" for name in STEMS
    }
    assert not staging.exists()


def test_what_stops_one_rename_stops_all(tmp_path: Path) -> None:
    """A folder where the second stem should go: the first is not shown either."""
    moves = _by_stem(tmp_path)
    moves["accompaniment.wav"].mkdir(parents=True)
    staging = _finished(tmp_path / "song")
    with pytest.raises(UnwritableError, match="Is a directory"):
        publish(staging, moves)
    assert not moves["vocals.wav"].exists()


@pytest.mark.parametrize("existing", [False, True])
def test_what_was_shown_is_taken_back(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    """The second rename fails: the first one is undone, unless it has replaced something."""
    moves = _by_stem(tmp_path / "out")
    if existing:
        moves["vocals.wav"].parent.mkdir(parents=True)
        moves["vocals.wav"].write_text("old")
    replaced = {name for name, path in moves.items() if path.exists()}
    staging = _finished(tmp_path / "out" / "song")
    real = Path.replace

    def fail_at_the_second(self: Path, target: Path) -> Path:
        if self.name == "accompaniment.wav":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_the_second)
    with pytest.raises(UnwritableError, match="Permission denied"):
        publish(staging, moves)
    assert left_behind(staging, moves)
    assert take_back(staging, moves, replaced) is not existing
    assert (staging / "accompaniment.wav").exists()
    assert moves["vocals.wav"].exists() is existing
    assert (staging / "vocals.wav").exists() is not existing


def test_places_on_another_disk_are_refused(tmp_path: Path) -> None:
    """A rename does not lead there, so that a track could be there by half."""
    shm = Path("/dev/shm")  # noqa: S108 - a file system that every Linux has
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system alone")
    staging = tmp_path / "work"
    staging.mkdir()
    require_one_disk(staging, [tmp_path / "a" / "b.wav"])
    with pytest.raises(UnwritableError, match="another disk"):
        require_one_disk(staging, [tmp_path / "a" / "b.wav", shm / "absent" / "c.wav"])


def test_work_folders_never_leave_the_output(tmp_path: Path) -> None:
    """Also where the stems lie in the output folder itself."""
    assert name_staging_folder(tmp_path, tmp_path).parent == tmp_path
    assert name_staging_folder(tmp_path / "song", tmp_path).parent == tmp_path


def test_discarding_never_raises(tmp_path: Path) -> None:
    """A work folder that is gone already is no error."""
    discard(tmp_path / "gone")


def test_an_output_below_a_file_is_unwritable(tmp_path: Path) -> None:
    """The sentence names the folder and the system's reason."""
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match="cannot be written"):
        check_writable(tmp_path / "file" / "out")
