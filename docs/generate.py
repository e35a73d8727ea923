"""Writes the pages of the documentation that follow from the program; a test holds them to it.

Run `python docs/generate.py` after a change of the command line or of the events.
"""

from __future__ import annotations

import json
from pathlib import Path

from stemsplit import events
from stemsplit.cli.app import app

_NOTE = """\
<!-- Written by docs/generate.py. -->

Every command has `--help`, which shows what is used every day, and `--help-all`, which shows all
that follows. Options of `separate`, `convert` and `inspect` can be [set once and for
all](settings.md). Exit codes and errors: [errors](errors.md). Examples:
[quickstart](quickstart.md), and the how-to pages in the [index](index.md)."""

HERE = Path(__file__).parent


def pages() -> dict[str, str]:
    """Give each generated page by its name below `docs/`."""
    commands = app.generate_docs(output_format="markdown", recursive=True)
    return {
        "cli.md": f"{_NOTE}\n\n{commands.rstrip()}\n",
        "events.schema.json": json.dumps(events.json_schema(), indent=2, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
