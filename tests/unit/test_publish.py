"""Publishing the stems of a staging folder: all of them or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from stemsplit.core.errors import UnwritableError
from stemsplit.storage.publish import (
    STAGING_PREFIX,
    check_writable,
    discard,
    has_unpublished,
    make_staging_folder,
    name_staging_folder,
    publish,
    require_same_disk,
    take_back,
)

if TYPE_CHECKING:
    from collections.abc import Callable

STEMS = ("vocals.wav", "accompaniment.wav")


def _staged(destination: Path, text: str = "new") -> Path:
    staging = name_staging_folder(destination, destination.parent.parent)
    make_staging_folder(staging)
    for name in STEMS:
        (staging / name).write_text(f"{text} {name}")
    return staging


def _in_a_folder(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in STEMS}


def test_all_files_are_published_at_once(tmp_path: Path) -> None:
    """Until then only the hidden staging folder exists, and afterwards only the track."""
    destination = tmp_path / "deep" / "song"
    staging = _staged(destination)
    assert staging.name.startswith(STAGING_PREFIX)
    assert not destination.exists()
    publish(staging, _in_a_folder(destination))
    assert (destination / "vocals.wav").read_text() == "new vocals.wav"
    assert list((tmp_path / "deep").iterdir()) == [destination]


def test_other_files_in_the_destination_are_kept(tmp_path: Path) -> None:
    """A stem replaces only the older file of the same name."""
    destination = tmp_path / "song"
    destination.mkdir()
    (destination / "vocals.wav").write_text("old")
    (destination / "notes.txt").write_text("mine")
    publish(_staged(destination), _in_a_folder(destination))
    assert (destination / "vocals.wav").read_text() == "new vocals.wav"
    assert (destination / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [destination]


def test_published_folders_have_ordinary_permissions(tmp_path: Path) -> None:
    """They have those of any new folder of the user."""
    (tmp_path / "plain").mkdir()
    destination = tmp_path / "song"
    publish(_staged(destination), _in_a_folder(destination))
    assert destination.stat().st_mode == (tmp_path / "plain").stat().st_mode


def _flat(top: Path) -> dict[str, Path]:
    return {name: top / f"song {name}" for name in STEMS}


def _by_stem(top: Path) -> dict[str, Path]:
    return {name: top / Path(name).stem / "song.wav" for name in STEMS}


def _named_like_the_other(top: Path) -> dict[str, Path]:
    """Return the paths of a track named `accompaniment`: its vocals have the other stem's name."""
    return {name: top / Path(name).stem / "accompaniment.wav" for name in STEMS}


def _renamed(top: Path) -> dict[str, Path]:
    return {name: top / "song" / f"song ({name}).wav" for name in STEMS}


@pytest.mark.parametrize("layout", [_in_a_folder, _flat, _by_stem, _named_like_the_other, _renamed])
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("crash_after", range(8))
def test_a_second_publication_completes_one_that_crashed(
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: Callable[[Path], dict[str, Path]],
    existing: bool,
    crash_after: int,
) -> None:
    """All stems are at their destinations, whichever rename was the last."""

    class Crash(BaseException):
        pass

    moves = layout(tmp_path / "out")
    if existing:
        (tmp_path / "out" / "song").mkdir(parents=True)
        (tmp_path / "out" / "song" / "notes.txt").write_text("mine")
    staging = _staged(tmp_path / "out" / "song")
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


def test_an_obstacle_for_one_stem_prevents_all_renames(tmp_path: Path) -> None:
    """If the second destination is a folder, the first stem is not published either."""
    moves = _by_stem(tmp_path)
    moves["accompaniment.wav"].mkdir(parents=True)
    staging = _staged(tmp_path / "song")
    with pytest.raises(UnwritableError, match="Is a directory"):
        publish(staging, moves)
    assert not moves["vocals.wav"].exists()


@pytest.mark.parametrize("existing", [False, True])
def test_published_stems_are_taken_back_after_a_failure(
    *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool
) -> None:
    """If the second rename fails, the first one is undone, unless it replaced a file."""
    moves = _by_stem(tmp_path / "out")
    if existing:
        moves["vocals.wav"].parent.mkdir(parents=True)
        moves["vocals.wav"].write_text("old")
    replaced = {name for name, path in moves.items() if path.exists()}
    staging = _staged(tmp_path / "out" / "song")
    real = Path.replace

    def failing_replace(self: Path, target: Path) -> Path:
        if self.name == "accompaniment.wav":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing_replace)
    with pytest.raises(UnwritableError, match="Permission denied"):
        publish(staging, moves)
    assert has_unpublished(staging, moves)
    assert take_back(staging, moves, replaced) is not existing
    assert (staging / "accompaniment.wav").exists()
    assert moves["vocals.wav"].exists() is existing
    assert (staging / "vocals.wav").exists() is not existing


def test_a_staging_folder_that_cannot_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether files are left in it is then unknown, as if the storage were unreachable."""
    staging = _staged(tmp_path / "out" / "song")

    def failing_stat(_self: Path, **_options: bool) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", failing_stat)
    assert has_unpublished(staging, _in_a_folder(tmp_path / "out" / "song")) is None


def test_destinations_on_another_disk_are_refused(tmp_path: Path) -> None:
    """Files cannot be renamed across disks, so a track might be published only in part."""
    shm = Path("/dev/shm")  # noqa: S108 - a file system that every Linux has
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    staging = tmp_path / "staging"
    staging.mkdir()
    require_same_disk(staging, [tmp_path / "a" / "b.wav"])
    with pytest.raises(UnwritableError, match="a different disk"):
        require_same_disk(staging, [tmp_path / "a" / "b.wav", shm / "absent" / "c.wav"])


def test_staging_folders_are_inside_the_output(tmp_path: Path) -> None:
    """Even if the stems are in the output folder itself."""
    assert name_staging_folder(tmp_path, tmp_path).parent == tmp_path
    assert name_staging_folder(tmp_path / "song", tmp_path).parent == tmp_path


def test_discarding_never_raises(tmp_path: Path) -> None:
    """The staging folder may be missing already."""
    discard(tmp_path / "missing")


def test_an_output_below_a_file_is_unwritable(tmp_path: Path) -> None:
    """The error contains the reason."""
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match="cannot be written"):
        check_writable(tmp_path / "file" / "out")
