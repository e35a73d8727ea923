"""Runs in the supervisor. Entry point of `stemsplit` and of `python -m stemsplit`.

Every child re-imports the main module of the program, so nothing is imported outside `main`.
"""


def main() -> int:
    """Run the command line and return its exit code."""
    import os
    import signal
    import sys

    interrupted = 130  # `ExitCode.INTERRUPTED`

    def exit_at_once(_number: int, _frame: object) -> None:
        os.write(2, b"stemsplit: Interrupted before the start.\n")
        os._exit(interrupted)

    def interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
        """Raise an interrupt again that arrived where exceptions are ignored."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        else:
            sys.__unraisablehook__(unraisable)

    has_default_handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if has_default_handler:
        # Imports take a third of a second; an interrupt during them would print a traceback.
        signal.signal(signal.SIGINT, exit_at_once)
        sys.unraisablehook = interrupt_again
    from stemsplit.cli.main import prepare

    run = prepare()

    try:
        if has_default_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run()
        if has_default_handler:  # too late to interrupt
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:  # before `run` can catch it, or after it returned
        return interrupted
    return code


if __name__ == "__main__":
    import sys

    if not getattr(sys.flags, "safe_path", False):
        # `python -m` inserts the current folder, which may be a folder of music.
        del sys.path[0]
    raise SystemExit(main())
