"""Addresses as paths, and names that a library for addresses might take for something else."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest

from stemsplit.core.errors import DiskFullError, UnreachableError, UsageError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.settings import Settings
from stemsplit.core.text import printable
from stemsplit.journal.records import Entry, JobState, Wanted, coming_stems
from stemsplit.journal.recovery import recover
from stemsplit.journal.writer import Journal
from stemsplit.library.exclusion import Exclusions
from stemsplit.library.scan import scan
from stemsplit.storage import remote
from stemsplit.storage.publish import discard, left_behind, publish, take_back

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


@pytest.fixture
def place() -> Path:
    """A folder on storage that is in this process's memory."""
    return Path(f"/memory:/{uuid.uuid4().hex}")


def _put(path: Path, content: bytes = b"sound") -> None:
    system, name = remote._opened(path)
    system.pipe_file(name, content)


def _get(path: Path) -> bytes | None:
    system, name = remote._opened(path)
    return bytes(system.cat_file(name)) if remote.status(path) else None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("s3://bucket/a b/c.mp3", "/s3:/bucket/a b/c.mp3"),
        ("S3://bucket/", "/s3:/bucket"),
        ("sftp://me@nas:2222/music", "/sftp:/me@nas:2222/music"),
        ("file:///home/me", "/home/me"),
        ("music/a.mp3", "music/a.mp3"),
        ("/music/s3:", "/music/s3:"),
        ("C:/music", "C:/music"),
    ],
)
def test_an_address_is_a_path_that_no_file_has(text: str, path: str) -> None:
    """And is shown as it was."""
    assert remote.path_of(text) == Path(path)
    if path.startswith(("/s3", "/sftp")):
        assert remote.is_remote(remote.path_of(text))
        shown = printable(Path(path) / "x")
        assert shown == f"{text.rstrip('/').replace('S3', 's3')}/x"
        assert remote.address_of(Path(path) / "x") == shown
    else:
        assert not remote.is_remote(remote.path_of(text))


@pytest.mark.parametrize("text", ["s3://b//a.wav", "s3://b/../a.wav", "sftp://me:secret@nas/music"])
def test_what_cannot_be_kept_so_is_refused(text: str) -> None:
    """And a password is not repeated."""
    with pytest.raises(UsageError) as refusal:
        remote.path_of(text)
    assert "secret" not in str(refusal.value)


def test_what_takes_no_addresses_says_so() -> None:
    """Rather than make a folder named `s3:`."""
    with pytest.raises(UsageError, match=r"inspect takes no addresses, as “s3://b/a\.wav” is one"):
        remote.local_path("s3://b/a.wav", "inspect")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_taken_literally(place: Path, tmp_path: Path, name: str) -> None:
    """Brackets, question marks and the like are no patterns, versions or parts of an address."""
    _put(place / name)
    assert {track.path for track in scan([place]).tracks} == {place / name}
    assert {track.path for track in scan([place / name]).tracks} == {place / name}
    remote.fetch(place / name, tmp_path / "here", lambda: None)
    assert (tmp_path / "here").read_bytes() == b"sound"
    work = (place / name).parent / ".stemsplit-x"
    target = (place / name).with_name("stem of " + Path(name).name)
    remote.send(tmp_path / "here", work / "vocals.wav", lambda: None)
    publish(work, {"vocals.wav": target})
    assert _get(target) == b"sound"
    assert not [path for path in remote.listing(place) if ".stemsplit-x" in path.parts]


def test_publishing_again_completes_what_was_begun(place: Path) -> None:
    """As after a crash between two files; an older stem is replaced."""
    work = place / ".stemsplit-x"
    moves = {f"{stem}.wav": place / "song" / f"{stem}.wav" for stem in ("vocals", "drums")}
    _put(place / "song" / "vocals.wav", b"new")
    _put(place / "song" / "drums.wav", b"old")
    _put(work / "drums.wav", b"new")
    assert left_behind(work, moves)
    publish(work, moves)
    assert _get(place / "song" / "drums.wav") == b"new"
    assert left_behind(work, moves) is False
    publish(work, moves)
    assert take_back(work, moves, replaced=["drums.wav"]) is False
    assert _get(work / "vocals.wav") == b"new"
    discard(work)
    assert remote.listing(work) == {}


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_after_a_death_while_publishing(place: Path, tmp_path: Path, shown: int) -> None:
    """The next run completes it, also over older stems of the same size."""
    job = Job.of(tmp_path / "a.wav", {s: place / "a" / f"{s}.wav" for s in ("vocals", "drums")})
    work, local = place / ".stemsplit-x", tmp_path / "local"
    local.mkdir()
    moves = {f"{stem}.wav": path for stem, path in job.paths.items()}
    for path in moves.values():
        _put(path, b"old")
    for name in moves:
        (local / name).write_bytes(b"new")
        remote.send(local / name, work / name, lambda: None)
    wanted = Wanted(source_bytes=1, source_modified_ns=1, settings="{}")
    entry = Entry(job=job, wanted=wanted, predicted_seconds=1, state=JobState.WAITING)
    with Journal(tmp_path / "journal", place) as journal:
        journal.begin_run(Settings(), [entry], version="1")
        journal.attempt_begins(
            job, Settings(), Resources(), number=1, staging_folder=work, preloaded=True
        )
        journal.publishing(job, coming_stems(local, moves, place), overwrite=True)
        for name, path in list(moves.items())[:shown]:
            remote.move(work / name, path)
        if shown == 0:  # what is in the way was not agreed to be replaced
            for path in moves.values():
                remote.remove(path.parent)
        recovery = recover(journal, place)
    assert recovery.shown == 1
    assert [_get(path) for path in moves.values()] == [b"new", b"new"]
    assert remote.listing(work) == {}


def test_patterns_of_addresses(place: Path) -> None:
    """Where nothing bears the name itself."""
    for name in ("live/one.wav", "live/deep/two.flac", "studio/three.wav", "live/.hidden/x.wav"):
        _put(place / name)
    found = scan([place / "live" / "**" / "*.flac"])
    assert [(track.path, track.folder) for track in found.tracks] == [
        (place / "live" / "deep" / "two.flac", Path("deep"))
    ]
    assert len(scan([place / "*" / "*.wav"]).tracks) == 2
    assert "no audio files" in scan([place / "nothing"]).problems[0].message


class _Broken:
    """Fails so many times, then does it."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.left = error, times

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return "done"


def test_it_is_patient_with_the_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another attempt cannot help is said at once."""
    monkeypatch.setattr(remote, "_PAUSES_SECONDS", (0.0, 0.0))
    ticks: list[int] = []

    def attempt(error: Exception, times: int) -> str:
        path = Path("/s3:/b/a.wav")
        return remote._patiently(_Broken(error, times), "read", path, lambda: ticks.append(1))

    assert attempt(OSError("cut off"), 2) == "done"
    with pytest.raises(UnreachableError, match=r"“s3://b/a\.wav” cannot be read"):
        attempt(OSError("cut off"), 3)
    with pytest.raises(UnreachableError, match="PermissionError"):
        attempt(PermissionError("no"), 1)
    with pytest.raises(FileNotFoundError):
        attempt(FileNotFoundError("gone"), 1)
    with pytest.raises(DiskFullError, match="TMPDIR"):
        attempt(OSError(28, "No space left on device"), 1)


def test_a_file_that_does_not_arrive_whole_is_sent_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is asked for."""
    monkeypatch.setattr(remote, "_PAUSES_SECONDS", (0.0,))
    (tmp_path / "stem.wav").write_bytes(b"0123456789")
    system = fsspec.filesystem("memory")
    whole: Callable[..., Any] = type(system).put_file
    sent = []

    def put(_system: object, local: str, name: str, **more: object) -> None:
        whole(system, local, name, **more)
        sent.append(name)
        if len(sent) == 1:
            system.pipe_file(name, b"0123")

    monkeypatch.setattr(type(system), "put_file", put)
    remote.send(tmp_path / "stem.wav", place / "stem.wav", lambda: None)
    assert len(sent) == 2
    assert _get(place / "stem.wav") == b"0123456789"


def test_ssh_asks_who_the_host_is() -> None:
    """Sshfs would take anybody's word."""
    assert remote._OPTIONS["sftp"] == {"known_hosts": ()}


def test_what_a_listing_leaves_out_is_counted(place: Path) -> None:
    """Trash, hidden folders, patterns, and names that only content could tell apart."""
    for name in (
        "song.weba",
        "#recycle/a/old.wav",
        "#recycle/b/old.wav",
        ".38 Special/one.wav",
        "Podcasts/1.mp3",
        "Podcasts/cover.jpg",
        "src/index.ts",
    ):
        _put(place / name)
    found = scan([place], exclusions=Exclusions(["Podcasts"]))
    assert [track.path.name for track in found.tracks] == ["song.weba"]
    out = found.left_out
    assert out.system == {place / "#recycle"}
    assert out.hidden == {place / ".38 Special"}
    assert out.excluded_folders == {place / "Podcasts"}
    assert out.unknown == {place / "src/index.ts"}
    named = scan([place / "#recycle"])
    assert [track.path.name for track in named.tracks] == ["old.wav"] * 2
    for pattern in (printable(place / "song*"), "*.weba", "song.weba"):
        found = scan([place / "song.weba"], exclusions=Exclusions([pattern]))
        assert (found.tracks, found.problems) == ([], [])
