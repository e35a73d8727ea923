"""Remote files on real servers, with and without faults of the network."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import Nodes
from common import COMMAND, stem_hashes
from node_kills import make_library, separate_here
from storage_servers import S3Server, SftpServer, moto_server

from stemsplit.core.errors import UsageError
from stemsplit.models.store import models_folder
from stemsplit.storage.urls import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from installed_command import CommandResult

REQUIRE_REAL = bool(os.environ.get("STEMSPLIT_REQUIRE_REAL"))

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]


class Bucket:
    """A bucket, accessed without faults."""

    def __init__(self, storage: S3Server, name: str) -> None:
        """Create the bucket."""
        import s3fs

        self._system = s3fs.S3FileSystem(
            key="key",
            secret="secret",  # noqa: S106 - moto accepts any
            client_kwargs={"endpoint_url": f"http://127.0.0.1:{storage.port}"},
            use_listings_cache=False,
        )
        self.name = name
        self._system.call_s3("create_bucket", Bucket=name)

    def put(self, folder: Path, prefix: str) -> None:
        """Upload the files of a folder."""
        for file in folder.iterdir():
            self._system.put_file(str(file), f"{self.name}/{prefix}/{file.name}")

    def stem_hashes(self, prefix: str) -> dict[str, str]:
        """Return the SHA-256 of each object below a prefix."""
        top = f"{self.name}/{prefix}/"
        return {
            name.removeprefix(top): hashlib.sha256(self._system.cat_file(name)).hexdigest()
            for name in self._system.find(top)
        }

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._system.rm_file(f"{self.name}/{key}")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs of 4 to 16 seconds: each request takes a while."""
    folder = tmp_path_factory.mktemp("stored") / "library"
    make_library(folder, tracks=4, seconds=16.0)
    return folder


@pytest.fixture(scope="module")
def reference(library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the stems of a local batch."""
    return separate_here(library, tmp_path_factory.mktemp("reference") / "out")


@pytest.fixture(scope="module")
def storage() -> Iterator[S3Server]:
    """An S3 server."""
    try:
        moto_server()
    except subprocess.CalledProcessError as error:
        if REQUIRE_REAL:
            raise
        pytest.skip(f"no S3 server: {error}")
    with S3Server() as started:
        yield started


@pytest.fixture(scope="module")
def bucket(storage: S3Server, library: Path) -> Bucket:
    """A bucket that contains the library."""
    created = Bucket(storage, "songs")
    created.put(library, "in")
    return created


def test_from_a_bucket_to_a_bucket(
    storage: S3Server,
    bucket: Bucket,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., CommandResult],
) -> None:
    """The stems are those of a local batch, a rerun resumes it, and no other objects are left."""
    environment = {**storage.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = ("separate", "s3://songs/in", "-o", "s3://songs/out", "--json")
    result = stemsplit(*command, **environment)
    assert result.code == 0, result.err
    assert bucket.stem_hashes("out") == reference
    events = [json.loads(line) for line in result.out.splitlines()]
    done = next(event for event in events if event["type"] == "track_done")
    assert done["source"].startswith("s3://songs/in/song ")
    assert done["stems"][0]["path"].startswith("s3://songs/out/song ")
    bucket.remove("out/song 1/vocals.wav")
    last = json.loads(stemsplit(*command, **environment).out.splitlines()[-1])
    assert (last["done"], last["skipped"]) == (1, 3)
    assert bucket.stem_hashes("out") == reference
    status = stemsplit("status", "s3://songs/out", **environment)
    assert status.code == 0, status.err
    assert "4 done" in status.out
    assert not list(tmp_path.glob("s3:*"))


def test_network_faults_lose_nothing(
    storage: S3Server,
    bucket: Bucket,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., CommandResult],
) -> None:
    """One request in ten fails, is cut off, or is executed without a response."""
    storage.fault_percent, storage.fault_count = 10.0, 0
    try:
        result = stemsplit(
            *("separate", "s3://songs/in", "-o", "s3://songs/faulty"),
            **storage.environment,
            XDG_STATE_HOME=str(tmp_path / "state"),
        )
    finally:
        storage.fault_percent = 0.0
    assert result.code == 0, result.out + result.err
    assert storage.fault_count > 10
    assert bucket.stem_hashes("faulty") == reference


def test_a_killed_batch_leaves_only_complete_tracks(
    storage: S3Server, bucket: Bucket, reference: dict[str, str], tmp_path: Path
) -> None:
    """The next run removes partial uploads and finishes the batch."""
    environment = {**os.environ, **storage.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    command: list[str | Path] = [COMMAND, "separate", "s3://songs/in", "-o", "s3://songs/killed"]
    command += ["--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as batch:
        assert batch.stdout is not None
        for line in batch.stdout:
            if '"track_done"' in line:
                break
        batch.send_signal(signal.SIGKILL)
    visible = {name for name in bucket.stem_hashes("killed") if not name.startswith(".")}
    assert visible <= set(reference)
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert bucket.stem_hashes("killed") == reference


def test_an_unreachable_address_is_reported(
    storage: S3Server, bucket: Bucket, tmp_path: Path, stemsplit: Callable[..., CommandResult]
) -> None:
    """A missing bucket does not stop other tracks; a missing output or a password is an error."""
    del bucket
    environment = {**storage.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    result = stemsplit(
        "separate", "s3://nowhere/in", "s3://songs/in/song 0.wav", "-o", "o", **environment
    )
    assert result.code == 3
    assert "s3://nowhere/in" in result.out + result.err
    assert set(stem_hashes(tmp_path / "o")) == {"song 0/vocals.wav", "song 0/accompaniment.wav"}
    result = stemsplit("separate", "s3://songs/in", "-o", "s3://nowhere/out", **environment)
    assert result.code == 1
    assert "s3://nowhere/out" in result.err
    with pytest.raises(UsageError, match="contains a password"):
        path_of("sftp://me:secret@host/music")


def test_from_sftp_to_sftp(
    library: Path,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., CommandResult],
) -> None:
    """A server whose host key is unknown is not trusted."""
    root = tmp_path / "served"
    root.mkdir()
    (root / "in").symlink_to(library)
    (tmp_path / "keys").mkdir()
    with SftpServer(tmp_path / "keys", root) as server:
        address = f"sftp://127.0.0.1:{server.port}"
        result = stemsplit(
            *("separate", f"{address}/in", "-o", f"{address}/out"),
            HOME=str(server.home),
            STEMSPLIT_MODELS=str(models_folder()),
            XDG_STATE_HOME=str(tmp_path / "state"),
        )
        (server.home / ".ssh" / "known_hosts").unlink()
        untrusted = stemsplit("separate", f"{address}/in", "-o", "elsewhere", HOME=str(server.home))
    assert result.code == 0, result.out + result.err
    assert stem_hashes(root / "out") == reference
    assert untrusted.code == 3
    assert "HostKeyNotVerifiable" in untrusted.out + untrusted.err


def test_cluster_nodes_access_the_bucket_directly(
    storage: S3Server,
    bucket: Bucket,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., CommandResult],
) -> None:
    """The node shares no folder, and requests fail; no audio passes through Ray.

    It has no model either: Ray sends it there, and the node verifies it.
    """
    empty = tmp_path / "models of the node"
    storage.fault_percent = 5.0
    try:
        with Nodes(environment=storage.environment) as cluster:
            cluster.add(
                environment={"STEMSPLIT_MODELS": str(empty), "STEMSPLIT_RELEASE_URL": "x:/"}
            )
            result = stemsplit(
                *("separate", "s3://songs/in", "-o", "s3://songs/cluster"),
                *("--cluster", cluster.address),
                **storage.environment,
                XDG_STATE_HOME=str(tmp_path / "state"),
            )
    finally:
        storage.fault_percent = 0.0
    assert result.code == 0, result.out + result.err
    assert bucket.stem_hashes("cluster") == reference
    assert (empty / "2stems" / "stemsplit.json").exists()
