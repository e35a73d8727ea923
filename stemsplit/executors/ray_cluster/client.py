"""Runs in the supervisor. The one way from there to Ray: nodes, tasks, the desk."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import ray
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stemsplit.core.errors import ClusterError, UsageError
from stemsplit.core.text import quoted
from stemsplit.executors.ray_cluster import handshake
from stemsplit.executors.ray_cluster.client_messages import Ended, Submission
from stemsplit.executors.ray_cluster.mailbox import Mailbox
from stemsplit.executors.ray_cluster.relay import NEEDS_MODEL, carry, packed
from stemsplit.executors.ray_cluster.sharding import Machine
from stemsplit.storage.temporary import TemporaryFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

_MOST_CALLS = 100_000
"""To the desk at the same time: each shard waits there for its orders."""

_LOOPBACK = "127.0.0.1"

_MOST_SESSION_BYTES = 35
"""Ray adds 68 (`session_DATE_TIME_MICROSECONDS_PID/sockets/plasma_store`), and macOS takes 103."""

_BAN_SECONDS = 300.0
"""So long a node is given nothing that could not do its part, at first."""

_CONNECT_SECONDS = 10.0

_NODES_SECONDS = 2.0
"""So often the cluster is asked for its nodes."""


class _JobConfig(JobConfig):
    """Keeps Ray from putting the current folder before all others on the `sys.path` of workers.

    It does so for every job without a working folder of its own (`connect` in
    ray/_private/worker.py), and has no option against it.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


class RayClient:
    """The nodes of a cluster. A context manager: at its end this machine has left the cluster.

    Args:
        address: `local` for one that is started on this machine and goes with the batch, `auto` for
            the one that this machine belongs to, or where that one is.
        cpus: of a local one.
        model_folder: the files that nodes are given which have none; None if none are needed.
        version: of stemsplit, that a node must have.
        sign: a file that a node must see, as it has its path; empty if there is none.
        note: is told which nodes are not used, and why.

    Raises:
        ClusterError: if there is no such cluster.
    """

    def __init__(
        self,
        address: str,
        *,
        cpus: int,
        model_folder: Path | None,
        version: str,
        sign: bytes,
        note: Callable[[str], None],
    ) -> None:
        """Connect to nothing yet."""
        self._address = address
        self._cpus = cpus
        self._model_folder = model_folder
        self._model: Any = None
        self._mailbox: Any = None
        self._taking: Any = None
        self._tasks: dict[Any, Submission] = {}
        self._version = version
        self._sign = sign
        self._note = note
        self._greetings: dict[str, Any] = {}
        self._greeted: set[str] = set()
        self._machines: list[Machine] = []
        self._unusable: dict[str, str] = {}
        self._until: dict[str, float] = {}
        self._bans: Counter[str] = Counter()
        self._given_up: set[int] = set()
        self._session: TemporaryFolder | None = None
        self._next_look = 0.0

    def __enter__(self) -> Self:
        """Connect, and set up the desk on this machine."""
        if ray.is_initialized():
            raise UsageError(
                "This program has joined a cluster of Ray's already.",
                "Call ray.shutdown() before, or run the batch in a program of its own.",
            )
        with _signals_kept():
            if self._address == "local":
                self._session = TemporaryFolder("stemsplit-ray-")
            try:
                _connect(self._address, self._cpus, self._session)
            except BaseException:
                self._remove_session()
                raise
        _print_nothing()
        try:
            here = NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            self._mailbox = (
                ray.remote(Mailbox)
                .options(num_cpus=0, max_concurrency=_MOST_CALLS, scheduling_strategy=here)
                .remote()
            )
            self._task = ray.remote(carry)
            ray.cloudpickle.register_pickle_by_value(handshake)  # type: ignore[no-untyped-call]
            self._greeting = ray.remote(handshake.greet)
        except BaseException:
            ray.shutdown()
            self._remove_session()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the cluster: Ray ends what this batch still has running there."""
        with _signals_kept():
            ray.shutdown()
        self._remove_session()

    def _remove_session(self) -> None:
        if self._session is not None:
            self._session.remove()
            self._session = None

    @property
    def unusable(self) -> dict[str, str]:
        """Nodes that are given nothing, and why; those that are ruled out for a while included."""
        now = time.monotonic()
        for node in [node for node, until in self._until.items() if until <= now]:
            del self._until[node], self._unusable[node]
        return self._unusable

    def machines(self, patience: float = 0.0) -> list[Machine]:
        """List the nodes that are alive, have processors and have answered as they should.

        Args:
            patience: so long the answers of new ones are waited for.
        """
        with self._lost_is_an_error():
            return self._look_for_machines(patience)

    def _look_for_machines(self, patience: float) -> list[Machine]:
        now = time.monotonic()
        if now >= self._next_look or patience:
            self._next_look = now + _NODES_SECONDS
            there = [
                _machine(node)
                for node in ray.nodes()  # type: ignore[no-untyped-call]
                if node["Alive"]
            ]
            there = [one for one in there if one.cpus]
            self._greet(there, patience)
            self._machines = [one for one in there if one.node in self._greeted]
        unusable = self.unusable
        return [one for one in self._machines if one.node not in unusable]

    def are_coming(self) -> bool:
        """Tell whether a node has not answered yet."""
        return bool(self._greetings)

    def rule_out(self, node: str, why: str, name: str) -> None:
        """Give a node nothing for a while; each time for longer."""
        if node in self.unusable:
            return
        self._bans[node] += 1
        seconds = _BAN_SECONDS * 2 ** (self._bans[node] - 1)
        self._unusable[node] = why
        self._until[node] = time.monotonic() + seconds
        self._note(f"the node {name} is not used for {seconds / 60:.0f} min: {why}")

    def _exclude(self, node: str, why: str, name: str) -> None:
        """Give a node nothing any more."""
        self._unusable[node] = why
        self._note(f"the node {name} is not used: {why}")

    def _greet(self, machines: list[Machine], patience: float) -> None:
        """Ask new nodes who they are, and take in what others have answered."""
        for one in machines:
            known = one.node in self._greetings or one.node in self._greeted
            if not known and one.node not in self._unusable:
                there = NodeAffinitySchedulingStrategy(one.node, soft=False)
                asking = self._greeting.options(
                    num_cpus=0, max_retries=0, scheduling_strategy=there
                )
                self._greetings[one.node] = asking.remote(self._sign)
        if not self._greetings:
            return
        asked = {asking: node for node, asking in self._greetings.items()}
        ready, _ = ray.wait([*asked], num_returns=len(asked), timeout=patience)
        names = {one.node: one.name for one in machines}
        for answer in ready:
            node = asked[answer]
            del self._greetings[node]
            try:
                why = self._objection(*ray.get(answer))
            except ray.exceptions.RayError:
                continue  # it is asked again, if it is still there
            if why:
                self._exclude(node, why, names.get(node, node))
            else:
                self._greeted.add(node)

    def _objection(self, version: str, sees: bool) -> str:  # noqa: FBT001 - as it was answered
        if not version:
            return "stemsplit is not installed there. Install the same version on every node."
        if version != self._version:
            return (
                f"it has stemsplit {version}, and this is {self._version}. Install the same "
                "version on every node."
            )
        if not sees:
            folder = os.path.dirname(self._sign)  # noqa: PTH120 - bytes
            return (
                f"it does not see the folder {quoted(folder)} as this machine does. Mount it "
                "there, or say where it is by --path-map."
            )
        return ""

    def submit(self, submission: Submission) -> None:
        """Hand a shard to Ray, which finds a node for it."""
        with self._lost_is_an_error():
            self._submit(submission, model=None)

    def _submit(self, submission: Submission, model: Any) -> None:  # noqa: ANN401 - Ray's
        selector = {"ray.io/node-id": f"!in({','.join(submission.not_on)})"}
        task = self._task.options(
            num_cpus=submission.cpus,
            memory=submission.memory_bytes,
            max_retries=0,
            name=f"stemsplit shard {submission.number}",
            scheduling_strategy="SPREAD",
            label_selector=selector if submission.not_on else None,
        ).remote(
            self._mailbox,
            submission.number,
            submission.model_name,
            model,
        )
        self._tasks[task] = submission

    def wait(self, seconds: float) -> Iterator[tuple[int, bytes | Ended]]:
        """Give what shards have said and which have ended, having waited so long at the most.

        All that a shard has said comes before its end.

        Raises:
            ClusterError: if the connection to the cluster is lost.
        """
        with self._lost_is_an_error():
            if self._taking is None:
                self._taking = self._mailbox.take.remote(seconds)
            ready, _ = ray.wait(
                [self._taking, *self._tasks], num_returns=1, timeout=seconds, fetch_local=False
            )
            ended = [one for one in ready if one is not self._taking]
            if ended:
                more, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
                ended = [*more]
            if self._taking not in ready and not ended:
                return
            # Asked for once more where a task has ended: its last word may have come since.
            taken = ray.get(self._taking)
            taken += ray.get(self._mailbox.take.remote(0)) if ended else []
            self._taking = None
        yield from taken
        for task in ended:
            submission = self._tasks.pop(task)
            end = self._end(task, submission)
            if end is not None:
                self._mailbox.close.remote(submission.number)
                yield submission.number, end

    def _end(self, task: Any, submission: Submission) -> Ended | None:  # noqa: ANN401 - Ray's
        try:
            result = ray.get(task)
        except ray.exceptions.RayError as error:
            return Ended(fault=_fault(error))
        if (
            result == NEEDS_MODEL
            and self._model_folder is not None
            and submission.number not in self._given_up
        ):
            # To this shard alone: others may come to nodes that have it.
            if self._model is None:
                self._model = ray.put(packed(self._model_folder))
            self._submit(submission, self._model)
            return None
        return Ended()

    def order(self, orders: list[tuple[int, bytes]]) -> None:
        """Leave orders for shards."""
        with self._lost_is_an_error():
            ray.get(
                self._mailbox.order.remote(orders)
            )  # an actor like it keeps no order of its own

    def end(self, number: int) -> None:
        """End a shard's task, by force."""
        self._given_up.add(number)
        for task, submission in self._tasks.items():
            if submission.number == number:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(task, force=True)

    @contextlib.contextmanager
    def _lost_is_an_error(self) -> Iterator[None]:
        try:
            yield
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"The connection to the cluster was lost ({_fault(error)}).",
                "Check the cluster, and run the same command again: it does what is left.",
            ) from error


def _print_nothing() -> None:
    """Keep what Ray says of nodes off standard output; there is no public way to."""
    ray._private.worker._worker_logs_enabled = False  # noqa: SLF001


def _require_answer(address: str) -> None:
    """Fail in seconds where nobody listens at an address; Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
            pass


def _machine(node: dict[str, Any]) -> Machine:
    return Machine(
        node=node["NodeID"],
        name=node["NodeManagerHostname"] or node["NodeManagerAddress"],
        cpus=node["Resources"].get("CPU", 0.0),
        memory_bytes=int(node["Resources"].get("memory", 0)),
    )


def _fault(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


def _connect(address: str, cpus: int, session: TemporaryFolder | None) -> None:
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "configure_logging": False,
        "namespace": "stemsplit",
        "job_config": _JobConfig(),
    }
    try:
        if session is not None:
            with _no_api_server():
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    _node_ip_address=_LOOPBACK,
                    _temp_dir=_short(session.path),
                    **common,
                )
        else:
            _require_answer(address)
            ray.init(address=address, **common)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refusal(address, str(error), _fault(error)) from error


def _short(folder: Path) -> str | None:
    """Give a folder for Ray's files if the paths of sockets in it are not too long for the system.

    Otherwise Ray takes its usual one, where its logs stay.
    """
    return str(folder) if len(os.fsencode(folder)) <= _MOST_SESSION_BYTES else None


@contextlib.contextmanager
def _no_api_server() -> Iterator[None]:
    """Start Ray without its API server, which it can do without.

    Without a dashboard that only gathers statistics on usage. Even where these are disabled, it
    asks the network in which cloud this machine is (`UsageStatsHead.run` in
    ray/dashboard/modules/usage_stats/usage_stats_head.py).
    """
    services = ray._private.services  # noqa: SLF001 - there is no public way to
    start = services.start_api_server
    services.start_api_server = lambda *_arguments, **_options: (None, None)
    try:
        yield
    finally:
        services.start_api_server = start


def _refusal(address: str, text: str, fault: str) -> ClusterError:
    """Say why a cluster cannot be joined."""
    # Ray says why on standard error alone; that somebody listens there was found out before.
    if "Failed to connect to Ray" in text or "AuthenticationError" in text:
        return ClusterError(
            f"The Ray cluster at {address} does not let this machine in ({fault}).",
            "Set RAY_AUTH_MODE and RAY_AUTH_TOKEN as they are on its nodes, and use their Ray.",
        )
    if address == "auto":
        return ClusterError(
            f"This machine belongs to no Ray cluster ({fault}).",
            "Start one with `ray start`, name its address, or use --cluster local.",
        )
    if "node info" in text:
        return ClusterError(
            f"This machine is no node of the Ray cluster at {address} ({fault}).",
            f"Run `ray start --address={address}` here first; with --num-cpus=0 it does no work.",
        )
    return ClusterError(
        f"No Ray cluster answers at {address} ({fault}).",
        "Start one with `ray start`, or use --cluster local.",
    )


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Undo what Ray does to signals."""
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
