"""Runs in the supervisor. `stemsplit demo`: a self-test of the installation."""

from __future__ import annotations

import sys
from typing import Annotated

from stemsplit.cli.display.text_display import TextDisplay
from stemsplit.cli.options import flag, value
from stemsplit.core.errors import ExitCode
from stemsplit.core.text import printable
from stemsplit.storage.urls import local_path


def demo(
    *,
    output: Annotated[
        str, value("FOLDER", "Write the song and its stems to this folder.", "--output", "-o")
    ] = "stemsplit-demo",
    quiet: Annotated[bool, flag("Print only failures.", "--quiet", "-q")] = False,
    verbose: Annotated[bool, flag("Also print details and tracebacks.", "--verbose", "-v")] = False,
) -> int:
    """Generate a 20-second song, separate it, and score the stems.

    This tests the whole installation, from the Python packages to the model's weights. It fails if
    the stems are not much closer to the true stems than the mix is.
    """
    from stemsplit.api.demo.run import MIN_GAIN_DB, run_demo

    with TextDisplay(quiet=quiet, verbose=verbose) as display:
        result = run_demo(
            local_path(output, "demo"),
            on_event=display.show,
            download_progress=display.download_progress(),
        )
    if not result.scores:
        return result.exit_code
    if not quiet:
        print("\nSI-SDR in dB, higher is better:\n")
        print(f"  {'stem':15}{'mix':>12}{'separated':>12}{'gain':>10}")
        for score in result.scores:
            print(f"  {score.stem:15}{score.mix:12.1f}{score.separated:12.1f}{score.gain:10.1f}")
        print(f"\nListen: {printable(result.song)}\n        {printable(result.stems_folder)}")
    if result.passed:
        return ExitCode.DONE
    print(
        f"stemsplit: The demo failed: every stem should gain at least {MIN_GAIN_DB:.0f} dB. "
        "Run `stemsplit models verify 2stems`; if the model is intact, report this.",
        file=sys.stderr,
    )
    return ExitCode.ERROR
