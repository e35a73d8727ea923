"""Runs in a process of its own. Measures one audio file and prints the result as JSON.

    python -m stemsplit.child.inspect FILE

A file that crashes its decoder crashes only this process.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from stemsplit.audio.measurement import measure
from stemsplit.core.audio_info import Measurement, NotMeasured
from stemsplit.core.errors import BadInputError


def main() -> None:
    """Measure the file that the command line names."""
    result: Measurement | NotMeasured
    try:
        result = measure(Path(sys.argv[1]))
    except BadInputError as error:
        result = NotMeasured(message=error.message, remedy=error.remedy)
    except MemoryError:
        result = NotMeasured(
            message="There is not enough memory to read it.", remedy="Close other programs."
        )
    os.write(sys.stdout.fileno(), msgspec.json.encode(result))


if __name__ == "__main__":
    main()
