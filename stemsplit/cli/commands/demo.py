"""Runs in the supervisor. `stemsplit demo`: a true self-test of an installation."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from stemsplit.cli.display.event_output import choose_display
from stemsplit.core.errors import ExitCode
from stemsplit.core.text import printable
from stemsplit.storage.remote import local_path


def demo(
    *,
    output: Annotated[str, Parameter(name=["--output", "-o"])] = "stemsplit-demo",
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"])] = False,
) -> int:
    """Make a song of 20 s, separate it, and score the stems against the truth.

    Fails if the stems are not much nearer the truth than the mix is: a test of the whole
    installation, from Python's packages to the model's weights.

    Parameters
    ----------
    output:
        Folder for the song and its stems.
    quiet:
        Print failures alone.
    verbose:
        Print details and tracebacks as well.
    """
    from stemsplit.api.demo.run import MARGIN_DB, run_demo

    with choose_display(json=False, quiet=quiet, verbose=verbose) as display:
        result = run_demo(
            local_path(output, "demo"),
            on_event=display.show,
            download_progress=display.download_progress(),
        )
    if not result.scores:
        return result.exit_code
    if not quiet:
        print("\nSI-SDR in dB, the more the better:\n")
        print(f"  {'stem':15}{'in the mix':>12}{'separated':>12}{'gained':>10}")
        for score in result.scores:
            print(f"  {score.stem:15}{score.mix:12.1f}{score.separated:12.1f}{score.gained:10.1f}")
        print(f"\nListen: {printable(result.song)}\n        {printable(result.stems_folder)}")
    if result.passed:
        return ExitCode.DONE
    print(
        f"stemsplit: the demo failed: every stem should gain at least {MARGIN_DB:.0f} dB. "
        "Run `stemsplit models verify 2stems`, and report this if it is right.",
        file=sys.stderr,
    )
    return ExitCode.ERROR
