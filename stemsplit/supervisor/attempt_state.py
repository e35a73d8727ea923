"""Runs in the supervisor. The words of an attempt's life: its rules, events, actions and state.

What follows from what is `stemsplit.supervisor.attempt_transitions`.
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
    """Where a child is between its start and its end."""

    STARTING = "starting"
    RUNNING = "running"
    CLOSING = "closing"
    ENDING = "ending"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Every waiting time of the pool, in seconds, so that tests can shrink them.

    Attributes:
        poll: the longest between two looks at the memory of the process tree.
        poll_fastest: the shortest, when memory comes near a cap.
        start: from a child's start until its engine is loaded.
        close: from a child's last word, or the end of its pipe, to its end, before it is killed.
        stacks: for a child that hangs to write its threads' stacks, before it is asked to end.
        ask: from asking a child to end to SIGTERM.
        terminate: from SIGTERM to SIGKILL.
        away: a pause of the supervisor of more than this was a suspended machine, not a child's.
        settle: from one eviction to the next.
        recover: from an eviction, or one more worker, to one more worker.
        patience: how long a batch that runs nothing waits for other programs to free memory.
    """

    poll: float = 0.5
    poll_fastest: float = 0.05
    start: float = 180.0
    close: float = 10.0
    stacks: float = 0.2
    ask: float = 1.0
    terminate: float = 2.0
    away: float = 5.0
    settle: float = 5.0
    recover: float = 60.0
    patience: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What one attempt may use.

    Attributes:
        ram_cap_bytes: of the child and all that it starts.
        stall_seconds: without progress.
        timeout: of the whole attempt; None sets no limit.
        expect: gives the expected seconds of the attempt from its audio's seconds.
        timings: waiting times.
    """

    ram_cap_bytes: int
    stall_seconds: float
    timeout: TimeLimit | None
    expect: Callable[[float], float]
    timings: Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived:
    """The child said something."""

    now: float
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeClosed:
    """The child closed its pipe, or sent what is no message; nothing more will be heard."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A look at the child's process tree.

    Attributes:
        now: when.
        memory_bytes: its memory, or a bound that it is certainly below.
        exact: whether it is the memory itself.
        cpu_seconds: that the tree has used.
        io_bytes: that it has read and written; 0 where the system does not say.
        waits_for_disk: whether it is in an uninterruptible wait: a sign of life.
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
    """The supervisor itself did not run for so long: everyone's clocks are set forward."""

    now: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRequested:
    """The child is to end for a reason that lies outside of it.

    Attributes:
        now: when.
        diagnosis: why.
        at_once: whether it is to be killed without asking.
    """

    now: float
    diagnosis: ExitDiagnosis
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The process is gone.

    Attributes:
        now: when.
        exit_code: negative for a signal.
        oom_kills: since its start, None if unknown.
        lost: whether the fork server that bore it is gone, so that nobody knows its exit code.
    """

    now: float
    exit_code: int
    oom_kills: int | None = None
    lost: bool = False


Event = (
    MessageReceived | PipeClosed | Sampled | Ticked | SupervisorSuspended | EndRequested | Exited
)


class Action(StrEnum):
    """What the pool is to do, in this order, to the child and all that it has started."""

    DUMP_STACKS = "dump stacks"
    ASK = "ask"
    TERMINATE = "terminate"
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that is known of an attempt.

    Attributes:
        phase: where it is.
        launched_at: when the child was started.
        starts_at: since when its start counts; a file that is on its way holds it up.
        transferring: whether a remote file was on its way when it last said something.
        progress_at: when it last came forward.
        alive_at: when it was last seen to use the processor or the disk.
        cpu_seconds, io_bytes: what it had used by then.
        said_hello, opened, ready: how far its start has come: the program runs, the file is
            open, the engine is loaded.
        separated: whether it only has to close its files any more.
        timeout_seconds: of the attempt, once it is known.
        last_word: its result or its account of its failure.
        listening: whether its pipe still says something.
        ended_by_us: why the supervisor is ending it.
        overstayed: it had nothing more to say and did not exit.
        steps: what is still to be done to end it.
        step_at: when the next of them is due.
        peak_bytes: the largest memory sampled.
        separated_seconds: of audio.
        diagnosis: how it ended, once it is gone.
        story: each line with the seconds since `launched_at`.
    """

    phase: Phase = Phase.STARTING
    launched_at: float
    starts_at: float
    transferring: bool = False
    progress_at: float
    alive_at: float
    cpu_seconds: float = 0.0
    io_bytes: int = 0
    said_hello: bool = False
    opened: bool = False
    ready: bool = False
    separated: bool = False
    timeout_seconds: float | None = None
    last_word: Finished | Failed | None = None
    listening: bool = True
    ended_by_us: ExitDiagnosis | None = None
    overstayed: bool = False
    steps: tuple[Action, ...] = ()
    step_at: float = 0.0
    peak_bytes: int | None = None
    separated_seconds: float = 0.0
    diagnosis: ExitDiagnosis | None = None
    story: tuple[str, ...] = ()

    @property
    def died_at_start(self) -> bool:
        """Whether it ended before the engine was loaded, and not while it opened its file."""
        return not self.ready and self.said_hello == self.opened

    @property
    def peak_rss_bytes(self) -> int | None:
        """What the child itself reported; None if it could not."""
        return None if self.last_word is None else self.last_word.peak_rss_bytes
