"""Runs in the supervisor. `python -m stemsplit`, and what the `stemsplit` command calls.

Every child re-imports the program's main module, so nothing is imported outside `main`.
"""


def main() -> int:
    """Run the command line and return its exit code."""
    from stemsplit.cli.app import run

    return run()


if __name__ == "__main__":
    import sys

    if not getattr(sys.flags, "safe_path", False):
        # `python -m` has put the current folder there, which may be a folder of music.
        del sys.path[0]
    raise SystemExit(main())
