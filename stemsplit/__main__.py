"""Runs in the supervisor. `python -m stemsplit`, and what the `stemsplit` command calls.

Every child re-imports the program's main module, so nothing is imported outside `main`.
"""


def main() -> int:
    """Run the command line and return its exit code."""
    import os
    import signal

    interrupted = 130  # `ExitCode.INTERRUPTED`

    def exit_at_once(_number: int, _frame: object) -> None:
        os.write(2, b"stemsplit: Interrupted; nothing was begun.\n")
        os._exit(interrupted)

    # Imports take a third of a second, and an exception in their midst would be a traceback.
    before = signal.getsignal(signal.SIGINT)
    is_ours = before is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, exit_at_once)
    from stemsplit.cli.app import run

    if is_ours:
        signal.signal(signal.SIGINT, before)
    code = run()
    if is_ours:  # all is done
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    import sys

    if not getattr(sys.flags, "safe_path", False):
        # `python -m` has put the current folder there, which may be a folder of music.
        del sys.path[0]
    raise SystemExit(main())
