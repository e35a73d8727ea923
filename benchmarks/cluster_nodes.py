"""Local Ray nodes, started with `ray start`, that can be killed one by one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

RAY = Path(sys.executable).with_name("ray")

_START_SECONDS = 60.0


@dataclass
class Node:
    """A node: the process of `ray start --block`, and all of its descendants."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> int:
        """Kill all processes of the node at once; return their number."""
        processes = [psutil.Process(self.process.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:  # suspend first, so that none reacts to the death of another
            with contextlib.suppress(psutil.Error):
                process.suspend()
        with contextlib.suppress(psutil.Error):
            processes = list({*processes, *processes[0].children(recursive=True)})
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()
        return len(processes)


@dataclass
class Nodes:
    """A cluster of local nodes; a context manager.

    Attributes:
        environment: variables of each node, added to the inherited ones.
        address: address of the head.
        head: the head node, which has no processors.
        nodes: all other nodes.
        folder: temporary folder for logs and Ray's sockets.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    head: Node | None = None
    nodes: list[Node] = field(default_factory=list)
    folder: Path = Path()

    def __enter__(self) -> Self:
        """Start the head."""
        # Paths of Ray's sockets must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.head = self._start("--head", "--port=0", "--num-cpus=0", "--include-dashboard=false")
        found = self._wait_for(self.head, rb"--address='([^']+)'")
        self.address = found.group(1).decode()
        return self

    def __exit__(self, *exception: object) -> None:
        """Kill all nodes."""
        for node in [*self.nodes, *([self.head] if self.head else [])]:
            if node.process.poll() is None:
                node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(
        self,
        *,
        cpus: int = 1,
        memory: int = 2 * 2**30,
        environment: Mapping[str, str] | None = None,
    ) -> Node:
        """Start a node and wait until it has joined the cluster.

        On a slow machine, Ray gives up nodes that are started at the same time.
        """
        node = self._start(
            f"--address={self.address}",
            f"--num-cpus={cpus}",
            f"--memory={memory}",
            environment=environment or {},
        )
        self._wait_for(node, rb"Ray runtime started")
        self.nodes.append(node)
        return node

    def _start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Node:
        log = self.folder / f"log-{time.monotonic_ns()}"
        command: list[str | Path] = [RAY, "start", *arguments, "--block"]
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        command += ["--log-color=false"]
        if "--head" in arguments:
            command += [f"--temp-dir={self.folder / 's'}"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment, **(environment or {})},
                start_new_session=True,
            )
        return Node(process=process, log=log)

    @staticmethod
    def _wait_for(node: Node, pattern: bytes) -> re.Match[bytes]:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            text = node.log.read_bytes()
            found = re.search(pattern, text)
            if found is not None:
                return found
            if node.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(node.log.read_text())
