"""Writes the pages and the completion scripts that follow from the program; a test compares them.

Run `python docs/generate.py` after a change of the command line or of the events.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_args

from stemsplit.batch import events
from stemsplit.cli.app import app
from stemsplit.cli.overview import SCRIPTS, Shell

_NOTE = """\
<!-- Written by docs/generate.py. -->

Every command has `--help`, which shows what is used every day, and `--help-all`, which shows all
that follows. Options of `separate`, `convert` and `inspect` can be [set once and for
all](settings.md). Exit codes and errors: [errors](errors.md). Examples:
[quickstart](quickstart.md), and the how-to pages in the [index](index.md)."""

HERE = Path(__file__).parent

_REGISTRATION = {
    # Without a match of ours, bash still completes file names.
    "bash": "complete -o bashdefault -o default -F _stemsplit stemsplit\n",
    # The script is written for a folder in `fpath`; with `eval` it must be registered.
    "zsh": "compdef _cyclopts_stemsplit stemsplit\n",
}

_FIRST = ("$schema", "title", "description", "type")
_ANNOTATIONS = {"title", "description", "default"}


def normal_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema in the one form that all schemas of the same meaning share.

    msgspec, which writes the schema of events, changes its form from one version to the next. Keys
    and sets are sorted here, descriptions lose their indentation, `const` becomes `enum`, and a
    list of types becomes `anyOf`.

    Args:
        schema: a schema or subschema, as parsed JSON. It is not changed.
    """
    form = {keyword: _normal_value(keyword, value) for keyword, value in schema.items()}
    if "const" in form:
        form["enum"] = [form.pop("const")]
    if isinstance(form.get("type"), list):
        form = _one_type_each(form)
    order = sorted(form, key=lambda key: (_FIRST.index(key) if key in _FIRST else 9, key))
    return {keyword: form[keyword] for keyword in order}


def _normal_value(keyword: str, value: Any) -> Any:  # noqa: ANN401 - any JSON
    match keyword:
        case "description":
            value = inspect.cleandoc(value)
        case "properties" | "$defs":
            value = {name: normal_form(value[name]) for name in sorted(value)}
        case "items" | "additionalProperties" if isinstance(value, dict):
            value = normal_form(value)
        case "prefixItems":
            value = [normal_form(one) for one in value]
        case "anyOf":
            value = sorted(map(normal_form, value), key=json.dumps)
        case "enum" | "required":
            value = sorted(value, key=json.dumps)
        case "discriminator":
            value = {**value, "mapping": dict(sorted(value["mapping"].items()))}
    return value


def _one_type_each(form: dict[str, Any]) -> dict[str, Any]:
    """Split `{"type": ["array", "null"], "items": ...}` into a schema for each type."""
    notes = {key: value for key, value in form.items() if key in _ANNOTATIONS}
    rules = {key: value for key, value in form.items() if key not in {*_ANNOTATIONS, "type"}}
    each = [{"type": one} if one == "null" else {"type": one, **rules} for one in form["type"]]
    return {**notes, "anyOf": sorted(map(normal_form, each), key=json.dumps)}


def schema_of_events() -> dict[str, Any]:
    """Return the schema that is published as `docs/events.schema.json`."""
    return normal_form(events.json_schema())


def pages() -> dict[str, str]:
    """Return each generated page by its name below `docs/`."""
    commands = app.generate_docs(output_format="markdown", recursive=True)
    return {
        "cli.md": f"{_NOTE}\n\n{commands.rstrip()}\n",
        "events.schema.json": json.dumps(schema_of_events(), indent=2, ensure_ascii=False) + "\n",
    }


def completion_scripts() -> dict[str, str]:
    """Return the script of each shell by its name below `stemsplit/cli/completion_scripts`."""
    return {
        f"stemsplit.{shell}": f"{app.generate_completion(shell=shell).rstrip()}\n"
        + _REGISTRATION.get(shell, "")
        for shell in get_args(Shell)
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
    SCRIPTS.mkdir(exist_ok=True)
    for name, text in completion_scripts().items():
        (SCRIPTS / name).write_text(text, encoding="utf-8")
