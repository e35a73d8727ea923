"""Runs in the supervisor. The `stemsplit` command: its commands, its errors, its exit codes."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from cyclopts import App, CycloptsError, Parameter

from stemsplit import __version__
from stemsplit.cli import models
from stemsplit.cli.demo import demo
from stemsplit.cli.separate import separate
from stemsplit.errors import ExitCode, StemsplitError
from stemsplit.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

app = App(
    name="stemsplit",
    help="Split songs into stems with Spleeter: one short-lived process a song, flat memory, "
    "nothing half-written.",
    help_epilogue="Exit codes: 0 all done, 1 error, 2 usage, 3 some files failed, 130 Ctrl-C, "
    "143 SIGTERM.",
    version=__version__,
    version_flags=["--version"],
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)
app.command(separate)
app.command(models.app)
app.command(demo)


class _StoppedBySignalError(BaseException):
    """SIGTERM or SIGHUP came; not an `Exception`, so that nothing on the way handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; those of this process if None.

    Returns:
        the exit code.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _say(str(error), "Try `stemsplit --help`.")
        return ExitCode.USAGE
    except StemsplitError as error:
        if "--verbose" in tokens:
            traceback.print_exc()
        _say(error.message, error.remedy)
        return error.exit_code
    except KeyboardInterrupt:
        _say("Interrupted; finished tracks are kept and nothing is half-written.")
        return ExitCode.INTERRUPTED
    except _StoppedBySignalError as stop:
        _say("Stopped; finished tracks are kept and nothing is half-written.")
        return stop.exit_code
    except BrokenPipeError:  # `stemsplit ... | head`
        sys.stderr.close()
        return ExitCode.ERROR
    return int(code or 0)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise _StoppedBySignalError(number)


def _say(message: str, remedy: str = "") -> None:
    line = " ".join(f"stemsplit: {message} {remedy}".split())
    print(printable(line), file=sys.stderr)
