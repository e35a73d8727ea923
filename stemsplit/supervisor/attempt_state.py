"""Runs in the supervisor. Rules, events, actions and state of an attempt. Pure.

`stemsplit.supervisor.attempt_transitions` defines how events change the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.compat import StrEnum

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.messages import Failed, Finished, Message
    from stemsplit.core.units import TimeLimit
    from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis


class Phase(StrEnum):
    """Phase of a child between its start and its exit.

    CLOSING: it has sent its last message or closed its pipe, and should exit by itself. ENDING: it
    is being terminated.
    """

    STARTING = "starting"
    RUNNING = "running"
    CLOSING = "closing"
    ENDING = "ending"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Every interval and timeout of the pool, in seconds. Tests use shorter ones.

    Attributes:
        poll: longest interval between two memory samples of the process tree.
        poll_fastest: shortest interval, when memory is close to a cap.
        start: timeout from the start of a child until its engine is loaded.
        close: timeout from a child's last message, or the end of its pipe, to its exit.
        stacks: time for a hanging child to write the stacks of its threads.
        ask: time from the request to exit until SIGTERM.
        terminate: time from SIGTERM until SIGKILL.
        suspension: a longer pause of the supervisor counts as a suspension of the machine.
        settle: shortest interval between two evictions.
        recover: time after an eviction, or after an added worker, until a worker is added.
        memory_wait: longest wait for free memory while no child runs.
    """

    poll: float = 0.5
    poll_fastest: float = 0.05
    start: float = 180.0
    close: float = 10.0
    stacks: float = 0.2
    ask: float = 1.0
    terminate: float = 2.0
    suspension: float = 5.0
    settle: float = 5.0
    recover: float = 60.0
    memory_wait: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Limits of one attempt.

    Attributes:
        ram_cap_bytes: memory cap of the child and its descendants.
        stall_seconds: longest time without progress.
        timeout: limit of the whole attempt; None for no limit.
        expect: predicts the seconds of the attempt from the seconds of audio.
        timings: intervals and timeouts.
    """

    ram_cap_bytes: int
    stall_seconds: float
    timeout: TimeLimit | None
    expect: Callable[[float], float]
    timings: Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """The child has sent a message."""

    now: float
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeClosed:
    """The child has closed its pipe or sent invalid data; no more messages will follow."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """The child's process tree was sampled.

    Attributes:
        now: time of the event.
        memory_bytes: memory of the tree, or an upper bound of it.
        exact: whether `memory_bytes` is the memory itself.
        cpu_seconds: CPU time used so far.
        io_bytes: bytes read and written so far; 0 if the system does not report them.
        waits_for_disk: whether a process is in uninterruptible sleep, which counts as activity.
    """

    now: float
    memory_bytes: int
    exact: bool
    cpu_seconds: float
    io_bytes: int = 0
    waits_for_disk: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSuspended:
    """The supervisor itself did not run for `seconds`; all deadlines move by as much."""

    now: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminationRequested:
    """The child must be terminated for a reason outside of the attempt.

    Attributes:
        now: time of the event.
        diagnosis: why.
        at_once: whether to send SIGKILL without asking first.
    """

    now: float
    diagnosis: ExitDiagnosis
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The process has exited.

    Attributes:
        now: time of the event.
        exit_code: negative for a signal.
        oom_kills: number of the kernel's out-of-memory kills since the start; None if unknown.
        lost: whether the fork server that started it is gone, so its exit code is unknown.
    """

    now: float
    exit_code: int
    oom_kills: int | None = None
    lost: bool = False


Event = (
    MessageReceived
    | PipeClosed
    | Sampled
    | Ticked
    | SupervisorSuspended
    | TerminationRequested
    | Exited
)


class Action(StrEnum):
    """What the pool does to the child and its descendants to terminate them, in this order."""

    DUMP_STACKS = "dump stacks"
    ASK = "ask"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """State of an attempt.

    Attributes:
        phase: current phase.
        launched_at: when the child was started.
        startup_since: when the startup timeout began to run; a transfer restarts it.
        progress_at: time of the last message.
        active_at: time of the last message, or of the last use of CPU or disk.
        cpu_seconds, io_bytes: usage at the last sample that showed use of CPU or disk.
        has_started: whether the child's program runs.
        has_opened: whether the source is open.
        is_ready: whether the engine is loaded.
        is_transferring: whether the last message announced the transfer of a remote file.
        is_separated: whether only the files remain to be closed.
        is_pipe_open: whether more messages may follow.
        timeout_seconds: time limit of the attempt; None if there is none or it is not known yet.
        last_message: the child's result or failure.
        termination_cause: why the supervisor terminates it.
        failed_to_exit: whether it was killed because it did not exit after its last message.
        pending_actions: actions that remain to terminate it.
        deadline: when the next of them is due, or when a closing child is killed.
        peak_bytes: largest exact sample of memory.
        separated_seconds: duration of the audio separated so far.
        diagnosis: why it exited; None until then.
        story: log lines, each with the seconds since `launched_at`.
    """

    phase: Phase = Phase.STARTING
    launched_at: float
    startup_since: float
    progress_at: float
    active_at: float
    cpu_seconds: float = 0.0
    io_bytes: int = 0
    has_started: bool = False
    has_opened: bool = False
    is_ready: bool = False
    is_transferring: bool = False
    is_separated: bool = False
    is_pipe_open: bool = True
    timeout_seconds: float | None = None
    last_message: Finished | Failed | None = None
    termination_cause: ExitDiagnosis | None = None
    failed_to_exit: bool = False
    pending_actions: tuple[Action, ...] = ()
    deadline: float = 0.0
    peak_bytes: int | None = None
    separated_seconds: float = 0.0
    diagnosis: ExitDiagnosis | None = None
    story: tuple[str, ...] = ()

    @property
    def died_at_start(self) -> bool:
        """Whether it exited before its engine was loaded, and not while it opened its source."""
        return not self.is_ready and self.has_started == self.has_opened

    @property
    def peak_rss_bytes(self) -> int | None:
        """Peak RSS that the child reported; None if it did not."""
        return None if self.last_message is None else self.last_message.peak_rss_bytes
