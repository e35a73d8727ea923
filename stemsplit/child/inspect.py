"""Runs in the child. Measures one file and prints what it found as JSON.

    python -m stemsplit.child.inspect FILE

A file that crashes its decoder crashes this process, and no other one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from stemsplit.audio.measurement import measure
from stemsplit.core.errors import BadInputError
from stemsplit.core.inspection_result import Measurement, NotMeasured


def main() -> None:
    """Measure the file that is named on the command line."""
    answer: Measurement | NotMeasured
    try:
        answer = measure(Path(sys.argv[1]))
    except BadInputError as error:
        answer = NotMeasured(message=error.message, remedy=error.remedy)
    except MemoryError:
        answer = NotMeasured(
            message="It takes more memory than there is.", remedy="Close other programs."
        )
    os.write(sys.stdout.fileno(), msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
