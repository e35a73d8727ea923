"""Runs in the supervisor. `python -m stemsplit`, and what the `stemsplit` command calls.

Every child re-imports the program's main module, so nothing is imported outside `main`.
"""


def main() -> int:
    """Run the command line and return its exit code."""
    import os
    import signal
    import sys

    interrupted = 130  # `ExitCode.INTERRUPTED`

    def exit_at_once(_number: int, _frame: object) -> None:
        os.write(2, b"stemsplit: Interrupted; nothing was begun.\n")
        os._exit(interrupted)

    def interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
        """Raise an interrupt a moment later that came where nothing can be raised."""
        if issubclass(lost.exc_type, KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        else:
            sys.__unraisablehook__(lost)

    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        # Imports take a third of a second, and an exception in their midst would be a traceback.
        signal.signal(signal.SIGINT, exit_at_once)
        sys.unraisablehook = interrupt_again
    from stemsplit.cli.app import run

    try:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run()
        if is_ours:  # all is done
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # before `run` catches it, or after it has ended
        return interrupted
    return code


if __name__ == "__main__":
    import sys

    if not getattr(sys.flags, "safe_path", False):
        # `python -m` has put the current folder there, which may be a folder of music.
        del sys.path[0]
    raise SystemExit(main())
