"""Runs in the supervisor. Connects this process to a Ray cluster, or starts a local one.

Ray changes signal handlers, `sys.path` of workers and standard output, contacts the network, and
waits for minutes for an address that does not answer. All of that is undone or prevented here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import ray
from ray.job_config import JobConfig

from stemsplit.core.errors import ClusterError, UsageError
from stemsplit.storage.temporary_folders import TemporaryFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOPBACK = "127.0.0.1"

_MAX_FOLDER_BYTES = 35
"""Maximum length of the path of Ray's folder. Ray appends 68 bytes
(`session_DATE_TIME_MICROSECONDS_PID/sockets/plasma_store`), and macOS allows 103 for a socket."""

_CONNECT_SECONDS = 10.0
"""Timeout of a connection to the address of a cluster."""


class _JobConfig(JobConfig):
    """Keeps Ray from putting the current folder first on the `sys.path` of workers.

    Ray does that for every job without a working folder (`connect` in ray/_private/worker.py), and
    has no option against it.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


@contextlib.contextmanager
def connected(address: str, *, cpus: int) -> Iterator[None]:
    """Connect to a cluster. At the end, Ray stops what this process still has running there.

    Args:
        address: `local` for a cluster on this machine that ends with this context, `auto` for the
            cluster that this machine belongs to, or the address of a cluster.
        cpus: number of processors of a local cluster.

    Raises:
        ClusterError: if the cluster cannot be joined.
        UsageError: if this process is already connected to a cluster.
    """
    if ray.is_initialized():
        raise UsageError(
            "This program is already connected to a Ray cluster.",
            "Call ray.shutdown() first, or run the batch in another program.",
        )
    with contextlib.ExitStack() as stack:
        with _signal_handlers_kept():
            folder = None
            if address == "local":
                temporary = TemporaryFolder("stemsplit-ray-")
                stack.callback(temporary.remove)
                folder = temporary.path
            _connect(address, cpus, folder)
        stack.callback(_disconnect)
        # Keep Ray's messages about nodes off standard output; there is no public option.
        ray._private.worker._worker_logs_enabled = False  # noqa: SLF001
        yield


def _disconnect() -> None:
    with _signal_handlers_kept():
        ray.shutdown()


def describe_error(error: Exception) -> str:
    """Return the class of an error and the last line of its text, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def _connect(address: str, cpus: int, folder: Path | None) -> None:
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "configure_logging": False,
        "namespace": "stemsplit",
        "job_config": _JobConfig(),
    }
    try:
        if folder is not None:
            with _no_api_server():
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    _node_ip_address=_LOOPBACK,
                    _temp_dir=_short_path(folder),
                    **common,
                )
        else:
            _check_reachable(address)
            ray.init(address=address, **common)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _connection_error(address, error) from error


def _check_reachable(address: str) -> None:
    """Fail within seconds if the address does not answer; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
            pass


def _short_path(folder: Path) -> str | None:
    """Return a folder for Ray's files, or None if paths of sockets in it would be too long.

    Ray then uses its default folder, where its logs remain.
    """
    return str(folder) if len(os.fsencode(folder)) <= _MAX_FOLDER_BYTES else None


@contextlib.contextmanager
def _no_api_server() -> Iterator[None]:
    """Start Ray without its API server, which is optional.

    Without a dashboard, it only collects usage statistics. Even when these are disabled, it asks
    the network in which cloud this machine is (`UsageStatsHead.run` in
    ray/dashboard/modules/usage_stats/usage_stats_head.py).
    """
    services = ray._private.services  # noqa: SLF001 - there is no public option
    start = services.start_api_server
    services.start_api_server = lambda *_arguments, **_options: (None, None)
    try:
        yield
    finally:
        services.start_api_server = start


def _connection_error(address: str, error: Exception) -> ClusterError:
    text, fault = str(error), describe_error(error)
    # Ray prints the cause only to standard error. The address answers, as was checked before.
    if "Failed to connect to Ray" in text or "AuthenticationError" in text:
        return ClusterError(
            f"The Ray cluster at {address} refused this machine ({fault}).",
            "Set RAY_AUTH_MODE and RAY_AUTH_TOKEN as on its nodes, and use their version of Ray.",
        )
    if address == "auto":
        return ClusterError(
            f"This machine is not a node of a Ray cluster ({fault}).",
            "Start a cluster with `ray start`, give its address, or use --cluster local.",
        )
    if "node info" in text:
        return ClusterError(
            f"This machine is not a node of the Ray cluster at {address} ({fault}).",
            f"Run `ray start --address={address}` here first; --num-cpus=0 keeps tracks off it.",
        )
    return ClusterError(
        f"No Ray cluster answers at {address} ({fault}).",
        "Start a cluster with `ray start`, or use --cluster local.",
    )


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {number: signal.getsignal(number) for number in names if number is not None}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
