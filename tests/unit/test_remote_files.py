"""Files on remote storage: scanning, transfers, publication and recovery."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from stemsplit.core.errors import DiskFullError, UnreachableError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.settings import Settings
from stemsplit.core.text import printable
from stemsplit.journal.job_records import JobEntry, JobState, Provenance
from stemsplit.journal.recovery import recover
from stemsplit.journal.stem_records import pending_stems
from stemsplit.journal.writer import Journal
from stemsplit.library.exclude_patterns import Exclusions
from stemsplit.library.scan import scan
from stemsplit.storage import remote_files
from stemsplit.storage.publish import discard, has_unpublished, publish, take_back

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = [
    "song.wav",
    "Album [Deluxe]/song.wav",
    "What?.wav",
    "a#1.wav",
    "12::34.wav",
    "100%25.wav",
    "a * b/c.wav",
    "blåbær/ß.wav",
]
"""Names with characters that have a meaning in patterns or URLs."""


@pytest.fixture
def folder() -> Path:
    """A folder of a file system in the memory of this process."""
    return Path(f"/memory:/{uuid.uuid4().hex}")


def _put(path: Path, content: bytes = b"sound") -> None:
    system, name = remote_files._open(path)
    system.pipe_file(name, content)


def _get(path: Path) -> bytes | None:
    system, name = remote_files._open(path)
    return bytes(system.cat_file(name)) if remote_files.status(path) else None


@pytest.mark.parametrize("name", NAMES)
def test_names_are_literal(folder: Path, tmp_path: Path, name: str) -> None:
    """Their characters are not parsed as patterns, versions or parts of a URL."""
    _put(folder / name)
    assert {track.path for track in scan([folder]).tracks} == {folder / name}
    assert {track.path for track in scan([folder / name]).tracks} == {folder / name}
    remote_files.fetch(folder / name, tmp_path / "local.wav", lambda: None)
    assert (tmp_path / "local.wav").read_bytes() == b"sound"
    staging = (folder / name).parent / ".stemsplit-x"
    target = (folder / name).with_name("stem of " + Path(name).name)
    remote_files.send(tmp_path / "local.wav", staging / "vocals.wav", lambda: None)
    publish(staging, {"vocals.wav": target})
    assert _get(target) == b"sound"
    assert not [path for path in remote_files.listing(folder) if ".stemsplit-x" in path.parts]


def test_a_second_publication_completes_one_that_crashed(folder: Path) -> None:
    """The crash was between two files; an older stem is replaced."""
    staging = folder / ".stemsplit-x"
    moves = {f"{stem}.wav": folder / "song" / f"{stem}.wav" for stem in ("vocals", "drums")}
    _put(folder / "song" / "vocals.wav", b"new")
    _put(folder / "song" / "drums.wav", b"old")
    _put(staging / "drums.wav", b"new")
    assert has_unpublished(staging, moves)
    publish(staging, moves)
    assert _get(folder / "song" / "drums.wav") == b"new"
    assert has_unpublished(staging, moves) is False
    publish(staging, moves)
    assert take_back(staging, moves, replaced=["drums.wav"]) is False
    assert _get(staging / "vocals.wav") == b"new"
    discard(staging)
    assert remote_files.listing(staging) == {}


@pytest.mark.parametrize("published", [0, 1, 2])
def test_recovery_after_a_crash_during_publication(
    folder: Path, tmp_path: Path, published: int
) -> None:
    """The next run publishes the remaining stems, even over older stems of the same size."""
    job = Job.of(
        tmp_path / "a.wav", {stem: folder / "a" / f"{stem}.wav" for stem in ("vocals", "drums")}
    )
    staging, local = folder / ".stemsplit-x", tmp_path / "local"
    local.mkdir()
    moves = {f"{stem}.wav": path for stem, path in job.paths.items()}
    for path in moves.values():
        _put(path, b"old")
    for name in moves:
        (local / name).write_bytes(b"new")
        remote_files.send(local / name, staging / name, lambda: None)
    wanted = Provenance(source_bytes=1, source_modified_ns=1, settings="{}")
    entry = JobEntry(job=job, wanted=wanted, predicted_seconds=1, state=JobState.WAITING)
    with Journal(tmp_path / "journal", folder) as journal:
        journal.begin_run(Settings(), [entry], version="1")
        journal.begin_attempt(
            job, Settings(), Resources(), number=1, staging_folder=staging, preloaded=True
        )
        journal.begin_publishing(job, pending_stems(local, moves, folder), overwrite=True)
        for name, path in list(moves.items())[:published]:
            remote_files.move(staging / name, path)
        if published == 0:  # older stems would be obstacles: no user agreed to replace them
            for path in moves.values():
                remote_files.remove_folder(path.parent)
        recovery = recover(journal, folder)
    assert recovery.published == 1
    assert [_get(path) for path in moves.values()] == [b"new", b"new"]
    assert remote_files.listing(staging) == {}


def test_patterns_in_addresses(folder: Path) -> None:
    """They are expanded if no file has the literal name."""
    for name in ("live/one.wav", "live/deep/two.flac", "studio/three.wav", "live/.hidden/x.wav"):
        _put(folder / name)
    found = scan([folder / "live" / "**" / "*.flac"])
    assert [(track.path, track.folder) for track in found.tracks] == [
        (folder / "live" / "deep" / "two.flac", Path("deep"))
    ]
    assert len(scan([folder / "*" / "*.wav"]).tracks) == 2
    assert "no audio files" in scan([folder / "absent"]).problems[0].message


class _Failing:
    """Raises an error a number of times, and then succeeds."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.failures = error, times

    def __call__(self) -> str:
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        return "done"


def test_only_network_errors_are_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other errors are raised at once."""
    monkeypatch.setattr(remote_files, "_PAUSES_SECONDS", (0.0, 0.0))
    ticks: list[int] = []

    def attempt(error: Exception, times: int) -> str:
        path = Path("/s3:/b/a.wav")
        return remote_files._retry(_Failing(error, times), "read", path, lambda: ticks.append(1))

    assert attempt(OSError("cut off"), 2) == "done"
    with pytest.raises(UnreachableError, match=r"“s3://b/a\.wav” cannot be read"):
        attempt(OSError("cut off"), 3)
    with pytest.raises(UnreachableError, match="PermissionError"):
        attempt(PermissionError("no"), 1)
    with pytest.raises(FileNotFoundError):
        attempt(FileNotFoundError("gone"), 1)
    with pytest.raises(DiskFullError, match="TMPDIR"):
        attempt(OSError(28, "No space left on device"), 1)


def test_a_truncated_upload_is_repeated(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of the remote file is checked."""
    monkeypatch.setattr(remote_files, "_PAUSES_SECONDS", (0.0,))
    (tmp_path / "stem.wav").write_bytes(b"0123456789")
    system = fsspec.filesystem("memory")
    put_file: Callable[..., Any] = type(system).put_file
    sent = []

    def truncating_put(_system: object, local: str, name: str, **more: object) -> None:
        put_file(system, local, name, **more)
        sent.append(name)
        if len(sent) == 1:
            system.pipe_file(name, b"0123")

    monkeypatch.setattr(type(system), "put_file", truncating_put)
    remote_files.send(tmp_path / "stem.wav", folder / "stem.wav", lambda: None)
    assert len(sent) == 2
    assert _get(folder / "stem.wav") == b"0123456789"


def test_ssh_checks_host_keys() -> None:
    """By default, sshfs would accept any host."""
    assert remote_files._OPTIONS["sftp"] == {"known_hosts": ()}


def test_ignored_paths_of_a_listing_are_counted(folder: Path) -> None:
    """System and hidden folders, excluded paths, and files of unknown type are counted."""
    for name in (
        "song.weba",
        "#recycle/a/old.wav",
        "#recycle/b/old.wav",
        ".38 Special/one.wav",
        "Podcasts/1.mp3",
        "Podcasts/cover.jpg",
        "src/index.ts",
    ):
        _put(folder / name)
    found = scan([folder], exclusions=Exclusions(["Podcasts"]))
    assert [track.path.name for track in found.tracks] == ["song.weba"]
    ignored = found.ignored
    assert ignored.system == {folder / "#recycle"}
    assert ignored.hidden == {folder / ".38 Special"}
    assert ignored.excluded_folders == {folder / "Podcasts"}
    assert ignored.unknown == {folder / "src/index.ts"}
    found = scan([folder / "#recycle"])
    assert [track.path.name for track in found.tracks] == ["old.wav"] * 2
    for pattern in (printable(folder / "song*"), "*.weba", "song.weba"):
        found = scan([folder / "song.weba"], exclusions=Exclusions([pattern]))
        assert (found.tracks, found.problems) == ([], [])
