"""The installed command on real Ray nodes, with the real weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from cluster_nodes import Nodes
from common import COMMAND, stem_hashes
from node_kills import campaign

from stemsplit.core.version import DISTRIBUTION

if TYPE_CHECKING:
    from collections.abc import Callable

    from installed_command import CommandResult

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]


def _events(result: CommandResult) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.out.splitlines()]


def _finished(output: Path) -> list[tuple[str, int]]:
    """Return the nodes, each with its number of finished tracks."""
    with sqlite3.connect(output / ".stemsplit" / "journal.sqlite3") as journal:
        return journal.execute(
            "SELECT node, count(*) FROM attempts WHERE reason = 'done' GROUP BY node"
        ).fetchall()


def test_two_nodes_write_the_same_stems_as_one_machine(
    nodes: Nodes,
    library: Path,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., CommandResult],
) -> None:
    """The stems are bit-identical; events, journal, exit codes and resuming work the same."""
    arguments = ("separate", library, "-o", "out", "--cluster", nodes.address, "--json")
    result = stemsplit(*arguments, **nodes.environment)
    assert result.code == 0, result.err
    assert stem_hashes(tmp_path / "out") == reference
    events = _events(result)
    kinds = {event["type"] for event in events}
    assert {"batch_started", "pool_started", "track_started", "track_done", "batch_done"} <= kinds
    assert "2 nodes of a cluster" in " ".join(str(event.get("text")) for event in events)
    assert events[-1]["done"] == 8
    assert events[-1]["peak_memory_bytes"]
    assert sum(count for _, count in _finished(tmp_path / "out")) == 8
    assert not any((tmp_path / "out").glob(".stemsplit-*"))

    (tmp_path / "out" / "song 1" / "vocals.wav").unlink()
    again = _events(stemsplit(*arguments, **nodes.environment))
    assert (again[-1]["done"], again[-1]["skipped"]) == (1, 7)
    assert stem_hashes(tmp_path / "out") == reference


def test_a_missing_token_is_reported(
    nodes: Nodes, library: Path, stemsplit: Callable[..., CommandResult]
) -> None:
    """The cluster refuses the connection, and the message names the variable."""
    result = stemsplit("separate", library, "-o", "out", "--cluster", nodes.address)
    assert result.code == 1
    assert f"stemsplit: The Ray cluster at {nodes.address} refused this machine" in result.err
    assert "RAY_AUTH_TOKEN" in result.err


def test_a_killed_node_loses_only_tracks_in_flight(library: Path, tmp_path: Path) -> None:
    """Two nodes are killed, one after the other; `node_kills` kills more of them."""
    result = campaign(library, tmp_path, kills=2, seed=3, delay=(1.0, 4.0))
    assert not result.faults
    assert result.kills == 2
    assert result.unfinished <= result.in_flight


def test_a_batch_continues_after_its_driver_was_killed(
    nodes: Nodes, library: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    """Finished tracks are kept, the shards stop, and the same command separates the rest."""
    command: list[str | Path] = [COMMAND, "separate", library, "-o", tmp_path / "out"]
    command += ["--cluster", nodes.address, "--json"]
    environment = {**os.environ, **nodes.environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as batch:
        assert batch.stdout is not None
        done = 0
        for line in batch.stdout:
            done += '"track_done"' in line
            if done == 2:
                break
        batch.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _shard_processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _shard_processes(), "shards outlive the driver"
    completed = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    last = json.loads(completed.stdout.splitlines()[-1])
    assert last["skipped"] >= 2
    assert last["done"] + last["skipped"] == 8
    assert stem_hashes(tmp_path / "out") == reference


def _shard_processes() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "stemsplit.executors.ray_cluster.shard_worker" in (process.info["cmdline"] or ())
    ]


def test_ctrl_c_finishes_the_running_tracks(nodes: Nodes, library: Path, tmp_path: Path) -> None:
    """The first Ctrl-C starts no more tracks; the exit code is 130."""
    command: list[str | Path] = [COMMAND, "separate", library, "-o", tmp_path / "out"]
    command += ["--cluster", nodes.address, "--json"]
    environment = {**os.environ, **nodes.environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as batch:
        assert batch.stdout is not None
        lines = []
        for line in batch.stdout:
            lines.append(line)
            if '"track_progress"' in line and len(lines) > 3:
                batch.send_signal(signal.SIGINT)
                break
        lines += batch.stdout.readlines()
        assert batch.wait() == 130
    last = json.loads(lines[-1])
    assert last["done"] >= 1
    assert last["not_started"] >= 1
    assert last["done"] + last["not_started"] == 8
    assert len(stem_hashes(tmp_path / "out")) == 2 * last["done"]


def test_unusable_nodes_are_reported(
    nodes: Nodes, library: Path, tmp_path: Path, stemsplit: Callable[..., CommandResult]
) -> None:
    """One node has another version, one does not see the folder; neither is used."""
    site = tmp_path / "site"
    metadata = site / f"{DISTRIBUTION.replace('-', '_')}-0.0.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 0.0.1\n"
    )
    with Nodes() as cluster:
        cluster.add(environment={"PYTHONPATH": str(site)})
        result = stemsplit("separate", library, "-o", "out", "--cluster", cluster.address)
        assert result.code == 1
        assert "it has stemsplit 0.0.1, but this machine has" in result.err
    result = stemsplit(
        *("separate", library, "-o", "out", "--cluster", nodes.address),
        *("--path-map", f"{tmp_path}=/nowhere"),
        **nodes.environment,
    )
    assert result.code == 1
    assert "does not see the folder “/nowhere/out" in result.err
    assert "--path-map" in result.err


def test_paths_that_differ_on_the_nodes_are_mapped(
    nodes: Nodes,
    library: Path,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., CommandResult],
) -> None:
    """A link stands for another mount point of the same folder."""
    (tmp_path / "mounted").symlink_to(tmp_path)
    (tmp_path / "music").symlink_to(library)
    shutil.copytree(library, tmp_path / "copy")
    result = stemsplit(
        *("separate", tmp_path / "copy", "-o", "out", "--cluster", nodes.address),
        *("--path-map", f"{tmp_path}={tmp_path}/mounted"),
        **nodes.environment,
    )
    assert result.code == 0, result.err
    assert stem_hashes(tmp_path / "out") == reference


def test_a_local_cluster_is_private(library: Path, tmp_path: Path) -> None:
    """`--cluster local` listens only on the loopback interface, and stops Ray when it exits."""
    command: list[str | Path] = [
        COMMAND,
        "separate",
        library,
        "-o",
        tmp_path / "out",
        "--cluster",
        "local",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as batch:
        assert batch.stdout is not None
        for line in batch.stdout:
            if '"track_started"' in line:
                break
        family = psutil.Process(batch.pid).children(recursive=True)
        pids = {batch.pid, *(process.pid for process in family)}
        listening = {
            connection.laddr.ip
            for connection in psutil.net_connections("inet")
            if connection.pid in pids and connection.status == psutil.CONN_LISTEN
        }
        rest = batch.stdout.readlines()
        assert batch.wait() == 0
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert json.loads(rest[-1])["done"] == 8
    assert not [*Path(tempfile.gettempdir()).glob("stemsplit-ray-*")]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_invalid_cluster_options_are_reported(
    library: Path, stemsplit: Callable[..., CommandResult]
) -> None:
    """No cluster answers, a Ray client's address, and invalid path maps."""
    result = stemsplit("separate", library, "-o", "out", "--cluster", "127.0.0.1:1")
    assert result.code == 1
    assert result.err.startswith("stemsplit: No Ray cluster answers at 127.0.0.1:1")
    result = stemsplit("separate", library, "-o", "out", "--cluster", "ray://head:10001")
    assert result.code == 2
    assert "Run stemsplit on a node of the cluster" in result.err
    result = stemsplit(
        "separate", library, "-o", "out", "--cluster", "local", "--path-map", "music"
    )
    assert result.code == 2
    assert "not a pair of absolute paths" in result.err
    result = stemsplit("separate", library, "-o", "out", "--path-map", "/music=/mnt")
    assert result.code == 2
    assert "Add --cluster" in result.err
