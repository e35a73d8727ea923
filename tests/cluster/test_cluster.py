"""The installed command on real nodes of Ray's, with the real weights."""

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
from common import COMMAND, content
from node_kills import campaign

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ran

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]


def _events(ran: Ran) -> list[dict[str, object]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def _finished(output: Path) -> list[tuple[str, int]]:
    """Give each node with how many tracks it has finished."""
    with sqlite3.connect(output / ".stemsplit" / "journal.sqlite3") as journal:
        return journal.execute(
            "SELECT node, count(*) FROM attempts WHERE reason = 'done' GROUP BY node"
        ).fetchall()


def test_two_nodes_make_what_one_machine_makes(
    nodes: Nodes,
    library: Path,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., Ran],
) -> None:
    """To the last bit; with the same events, journal and exit codes, and resumed alike."""
    arguments = ("separate", library, "-o", "out", "--cluster", nodes.address, "--json")
    ran = stemsplit(*arguments, **nodes.environment)
    assert ran.code == 0, ran.err
    assert content(tmp_path / "out") == reference
    events = _events(ran)
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
    assert content(tmp_path / "out") == reference


def test_without_the_token_nobody_comes_in(
    nodes: Nodes, library: Path, stemsplit: Callable[..., Ran]
) -> None:
    """Nothing is done, and one sentence says why."""
    ran = stemsplit("separate", library, "-o", "out", "--cluster", nodes.address)
    assert ran.code == 1
    assert f"stemsplit: The Ray cluster at {nodes.address} does not let this machine in" in ran.err
    assert "RAY_AUTH_TOKEN" in ran.err


def test_a_killed_node_costs_what_was_in_flight(library: Path, tmp_path: Path) -> None:
    """Two nodes of a cluster, one after the other; see node_kills.py for more of them."""
    tracker = campaign(library, tmp_path, kills=2, seed=3, delay=(1.0, 4.0))
    assert not tracker.faults
    assert tracker.kills == 2
    assert tracker.again <= tracker.in_flight


def test_a_driver_that_dies_can_be_started_again(
    nodes: Nodes, library: Path, reference: dict[str, str], tmp_path: Path
) -> None:
    """What it had done stays, its nodes stop, and the same command does what is left."""
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
    while _shards() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _shards(), "the nodes go on for nobody"
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    last = json.loads(ran.stdout.splitlines()[-1])
    assert last["skipped"] >= 2
    assert last["done"] + last["skipped"] == 8
    assert content(tmp_path / "out") == reference


def _shards() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "stemsplit.executors.ray_cluster.shard_worker" in (process.info["cmdline"] or ())
    ]


def test_ctrl_c_lets_what_is_separated_finish(nodes: Nodes, library: Path, tmp_path: Path) -> None:
    """Once: the tracks at hand are done, the others are left; exit code 130."""
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
    assert len(content(tmp_path / "out")) == 2 * last["done"]


def test_a_node_without_the_model_is_given_it(
    library: Path, reference: dict[str, str], tmp_path: Path, stemsplit: Callable[..., Ran]
) -> None:
    """From the machine that the batch was started on, by way of Ray, and checked there."""
    empty = tmp_path / "models of the node"
    with Nodes() as cluster:
        cluster.add(environment={"STEMSPLIT_MODELS": str(empty), "STEMSPLIT_RELEASE_URL": "x:/"})
        ran = stemsplit("separate", library, "-o", "out", "--cluster", cluster.address)
    assert ran.code == 0, ran.err
    assert content(tmp_path / "out") == reference
    assert (empty / "2stems" / "stemsplit.json").exists()


def test_nodes_that_cannot_do_it_are_told_apart(
    library: Path, tmp_path: Path, stemsplit: Callable[..., Ran]
) -> None:
    """One with another version, one that does not see the folder; both are named, none is used."""
    other = tmp_path / "site"
    metadata = other / "stemsplit-0.0.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stemsplit\nVersion: 0.0.1\n")
    with Nodes() as cluster:
        cluster.add(environment={"PYTHONPATH": str(other)})
        ran = stemsplit("separate", library, "-o", "out", "--cluster", cluster.address)
        assert ran.code == 1
        assert "it has stemsplit 0.0.1, and this is" in ran.err
        cluster.add()
        moved = f"{tmp_path}=/nowhere"
        ran = stemsplit(
            *("separate", library, "-o", "out", "--cluster", cluster.address),
            *("--path-map", moved),
        )
    assert ran.code == 1
    assert "does not see the folder “/nowhere/out" in ran.err
    assert "--path-map" in ran.err


def test_paths_that_differ_on_the_nodes_are_mapped(
    nodes: Nodes,
    library: Path,
    reference: dict[str, str],
    tmp_path: Path,
    stemsplit: Callable[..., Ran],
) -> None:
    """Here by a link, which stands for another place where the same folder is mounted."""
    (tmp_path / "mounted").symlink_to(tmp_path)
    (tmp_path / "music").symlink_to(library)
    shutil.copytree(library, tmp_path / "copy")
    ran = stemsplit(
        *("separate", tmp_path / "copy", "-o", "out", "--cluster", nodes.address),
        *("--path-map", f"{tmp_path}={tmp_path}/mounted"),
        **nodes.environment,
    )
    assert ran.code == 0, ran.err
    assert content(tmp_path / "out") == reference


def test_a_cluster_of_one_s_own_is_nobody_else_s(library: Path, tmp_path: Path) -> None:
    """`--cluster local` listens on the loopback interface alone, and its end is the end of Ray."""
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
        pids = {batch.pid, *(one.pid for one in family)}
        listening = {
            one.laddr.ip
            for one in psutil.net_connections("inet")
            if one.pid in pids and one.status == psutil.CONN_LISTEN
        }
        rest = batch.stdout.readlines()
        assert batch.wait() == 0
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert json.loads(rest[-1])["done"] == 8
    assert not [*Path(tempfile.gettempdir()).glob("stemsplit-ray-*")]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_what_cannot_be_reached_is_said_in_a_sentence(
    library: Path, stemsplit: Callable[..., Ran]
) -> None:
    """No cluster here, a client's address, and a path map that is none."""
    ran = stemsplit("separate", library, "-o", "out", "--cluster", "127.0.0.1:1")
    assert ran.code == 1
    assert ran.err.startswith("stemsplit: No Ray cluster answers at 127.0.0.1:1")
    ran = stemsplit("separate", library, "-o", "out", "--cluster", "ray://head:10001")
    assert ran.code == 2
    assert "Run stemsplit on a node of the cluster" in ran.err
    ran = stemsplit("separate", library, "-o", "out", "--cluster", "local", "--path-map", "music")
    assert ran.code == 2
    assert "no pair of absolute paths" in ran.err
    ran = stemsplit("separate", library, "-o", "out", "--path-map", "/music=/mnt")
    assert ran.code == 2
    assert "Give --cluster as well" in ran.err
