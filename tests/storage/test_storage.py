"""Files that lie elsewhere: the installed command on real servers, whole and under faults."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import Nodes
from common import COMMAND, content
from storage_servers import SftpStorage, Storage, moto_server

from stemsplit.core.errors import UsageError
from stemsplit.models.store import models_folder
from stemsplit.storage import remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Ran

REQUIRE_REAL = bool(os.environ.get("STEMSPLIT_REQUIRE_REAL"))

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]


class Bucket:
    """A bucket, seen past the faults."""

    def __init__(self, storage: Storage, name: str) -> None:
        """Make it."""
        import s3fs

        self._system = s3fs.S3FileSystem(
            key="key",
            secret="secret",  # noqa: S106 - moto takes any
            client_kwargs={"endpoint_url": f"http://127.0.0.1:{storage.port}"},
            use_listings_cache=False,
        )
        self.name = name
        self._system.call_s3("create_bucket", Bucket=name)

    def put(self, folder: Path, prefix: str) -> None:
        """Upload the files of a folder."""
        for file in folder.iterdir():
            self._system.put_file(str(file), f"{self.name}/{prefix}/{file.name}")

    def content(self, prefix: str) -> dict[str, str]:
        """Give the SHA-256 of each object below a prefix."""
        top = f"{self.name}/{prefix}/"
        return {
            name.removeprefix(top): hashlib.sha256(self._system.cat_file(name)).hexdigest()
            for name in self._system.find(top)
        }

    def remove(self, key: str) -> None:
        """Remove an object."""
        self._system.rm_file(f"{self.name}/{key}")


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """A server that speaks S3."""
    try:
        moto_server()
    except subprocess.CalledProcessError as error:
        if REQUIRE_REAL:
            raise
        pytest.skip(f"no server of S3: {error}")
    with Storage() as started:
        yield started


@pytest.fixture(scope="module")
def bucket(storage: Storage, library: Path) -> Bucket:
    """A bucket with the library in it."""
    made = Bucket(storage, "songs")
    made.put(library, "in")
    return made


def test_from_a_bucket_to_a_bucket(
    storage: Storage,
    bucket: Bucket,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., Ran],
) -> None:
    """The same to the last bit as on a disk, resumed in the same way, and nothing else is left."""
    environment = {**storage.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = ("separate", "s3://songs/in", "-o", "s3://songs/out", "--json")
    ran = stemsplit(*command, **environment)
    assert ran.code == 0, ran.err
    assert bucket.content("out") == reference
    events = [json.loads(line) for line in ran.out.splitlines()]
    done = next(event for event in events if event["type"] == "track_done")
    assert done["source"].startswith("s3://songs/in/song ")
    assert done["stems"][0]["path"].startswith("s3://songs/out/song ")
    bucket.remove("out/song 1/vocals.wav")
    last = json.loads(stemsplit(*command, **environment).out.splitlines()[-1])
    assert (last["done"], last["skipped"]) == (1, 7)
    assert bucket.content("out") == reference
    shown = stemsplit("status", "s3://songs/out", **environment)
    assert shown.code == 0, shown.err
    assert "8" in shown.out
    assert not list(tmp_path.glob("s3:*"))


def test_faults_of_the_network_lose_nothing(
    storage: Storage,
    bucket: Bucket,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., Ran],
) -> None:
    """One request in ten fails, is cut off, or is done without an answer."""
    storage.faults, storage.made = 10.0, 0
    try:
        ran = stemsplit(
            *("separate", "s3://songs/in", "-o", "s3://songs/faulty"),
            **storage.environment,
            XDG_STATE_HOME=str(tmp_path / "state"),
        )
    finally:
        storage.faults = 0.0
    assert ran.code == 0, ran.out + ran.err
    assert storage.made > 10
    assert bucket.content("faulty") == reference


def test_a_killed_batch_leaves_whole_tracks_and_goes_on(
    storage: Storage, bucket: Bucket, reference: dict[str, str], tmp_path: Path
) -> None:
    """What it had begun to send is removed by the next run."""
    environment = {**os.environ, **storage.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    command: list[str | Path] = [COMMAND, "separate", "s3://songs/in", "-o", "s3://songs/killed"]
    command += ["--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as batch:
        assert batch.stdout is not None
        for line in batch.stdout:
            if '"track_done"' in line:
                break
        batch.send_signal(signal.SIGKILL)
    shown = {name for name in bucket.content("killed") if not name.startswith(".")}
    assert shown <= set(reference)
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert bucket.content("killed") == reference


def test_what_cannot_be_had_is_said_and_the_others_go_on(
    storage: Storage, bucket: Bucket, tmp_path: Path, stemsplit: Callable[..., Ran]
) -> None:
    """A bucket that is not there, an output that cannot be written, a password in an address."""
    del bucket
    environment = {**storage.environment, "XDG_STATE_HOME": str(tmp_path / "state")}
    ran = stemsplit(
        "separate", "s3://nowhere/in", "s3://songs/in/song 0.wav", "-o", "o", **environment
    )
    assert ran.code == 3
    assert "s3://nowhere/in" in ran.out + ran.err
    assert set(content(tmp_path / "o")) == {"song 0/vocals.wav", "song 0/accompaniment.wav"}
    ran = stemsplit("separate", "s3://songs/in", "-o", "s3://nowhere/out", **environment)
    assert ran.code == 1
    assert "s3://nowhere/out" in ran.err
    with pytest.raises(UsageError, match="has a password in it"):
        remote.path_of("sftp://me:secret@host/music")


def test_over_ssh(
    library: Path, reference: dict[str, str], tmp_path: Path, stemsplit: Callable[..., Ran]
) -> None:
    """From a server of SFTP and to it; one that nobody knows is not trusted."""
    root = tmp_path / "served"
    root.mkdir()
    (root / "in").symlink_to(library)
    (tmp_path / "keys").mkdir()
    with SftpStorage(tmp_path / "keys", root) as server:
        at = f"sftp://127.0.0.1:{server.port}"
        ran = stemsplit(
            *("separate", f"{at}/in", "-o", f"{at}/out"),
            HOME=str(server.home),
            STEMSPLIT_MODELS=str(models_folder()),
            XDG_STATE_HOME=str(tmp_path / "state"),
        )
        (server.home / ".ssh" / "known_hosts").unlink()
        strange = stemsplit("separate", f"{at}/in", "-o", "elsewhere", HOME=str(server.home))
    assert ran.code == 0, ran.out + ran.err
    assert content(root / "out") == reference
    assert strange.code == 3
    assert "HostKeyNotVerifiable" in strange.out + strange.err


def test_nodes_take_from_a_bucket_and_bring_to_it(
    storage: Storage,
    bucket: Bucket,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., Ran],
) -> None:
    """On a cluster without any shared folder, with faults; no audio goes by way of Ray."""
    storage.faults = 5.0
    try:
        with Nodes(environment=storage.environment) as cluster:
            cluster.add()
            cluster.add()
            ran = stemsplit(
                *("separate", "s3://songs/in", "-o", "s3://songs/cluster"),
                *("--cluster", cluster.address),
                **storage.environment,
                XDG_STATE_HOME=str(tmp_path / "state"),
            )
    finally:
        storage.faults = 0.0
    assert ran.code == 0, ran.out + ran.err
    assert bucket.content("cluster") == reference
