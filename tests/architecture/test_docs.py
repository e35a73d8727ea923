"""The documents say what the program does."""

from __future__ import annotations

import ast
import copy
import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import generate
import pytest

import stemsplit
from stemsplit import __version__
from stemsplit.batch import events
from stemsplit.cli.app import app
from stemsplit.core.errors import ExitCode, StemsplitError
from stemsplit.core.outcome import Reason
from stemsplit.models.catalogue import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cyclopts import App

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def test_every_reason_has_a_section() -> None:
    """Whoever meets a reason finds it in docs/errors.md."""
    text = (DOCS / "errors.md").read_text()
    for reason in Reason:
        assert f"### `{reason}`" in text


def test_every_exit_code_is_documented() -> None:
    """And no other."""
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted([*ExitCode, 129])


def test_every_model_is_documented() -> None:
    """The catalogue and its page name the same models."""
    text = (DOCS / "models.md").read_text()
    assert all(f"`{name}`" in text for name in MODELS)


def test_the_changelog_knows_this_version() -> None:
    """A release without a word about it is none."""
    assert f"## {__version__}" in (DOCS / "changelog.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there."""
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_index_names_every_page() -> None:
    """No page of the docs is out of reach of docs/index.md."""
    text = (DOCS / "index.md").read_text()
    for page in DOCS.rglob("*.md"):
        assert page.name == "index.md" or f"({page.relative_to(DOCS)})" in text


def test_the_schema_of_events_is_what_the_program_says() -> None:
    """If this fails, run `python docs/generate.py`."""
    written = json.loads((DOCS / "events.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(generate.schema_of_events()))


def _in_another_form(schema: dict[str, Any]) -> dict[str, Any]:
    """Write the same schema as another version of msgspec might."""
    other = dict(reversed(copy.deepcopy(schema).items()))
    other["anyOf"].reverse()
    for definition in other["$defs"].values():
        if "required" in definition:
            definition["required"].reverse()
        if "description" in definition:
            definition["description"] = definition["description"].replace("\n", "\n    ")
        for one in definition.get("properties", {}).values():
            if "anyOf" in one:
                types = [choice.pop("type") for choice in one["anyOf"]]
                (rules,) = [choice for choice in one.pop("anyOf") if choice] or [{}]
                one.update(rules, type=types[::-1])
            elif len(one.get("enum", ())) == 1:
                (one["const"],) = one.pop("enum")
    return other


def test_the_published_schema_does_not_depend_on_how_msgspec_writes_it() -> None:
    """Order, indentation, `const` and lists of types say the same in another form."""
    schema = events.json_schema()
    other = _in_another_form(schema)
    assert '"const"' in json.dumps(other)
    assert '"type": ["' in json.dumps(other)
    assert json.dumps(generate.normal_form(other)) == json.dumps(generate.schema_of_events())


@pytest.mark.parametrize(
    "change",
    [
        lambda track: track["properties"].pop("warnings"),
        lambda track: track["properties"]["attempts"].update(type="number"),
        lambda track: track["properties"]["peak_rss_bytes"].update(anyOf=[{"type": "integer"}]),
        lambda track: track["properties"]["type"].update(enum=["track_ready"]),
        lambda track: track["properties"]["stems"].update(items={"type": "string"}),
        lambda track: track["required"].remove("seconds"),
        lambda track: track.update(description=track["description"].replace("stems", "files")),
    ],
    ids=["field", "type", "null", "tag", "items", "required", "description"],
)
def test_a_schema_of_another_meaning_has_another_form(
    change: Callable[[dict[str, Any]], object],
) -> None:
    """A change of an event is seen, whatever the form hides."""
    schema = events.json_schema()
    change(schema["$defs"]["TrackDone"])
    assert generate.normal_form(schema) != generate.schema_of_events()


def _commands(of: App, name: str) -> Iterator[tuple[str, App]]:
    yield name, of
    for sub in of:
        if not sub.startswith("-"):
            yield from _commands(of[sub], f"{name} {sub}")


def test_the_reference_has_every_command_and_option() -> None:
    """And no other; in the program's own words. If this fails, run `python docs/generate.py`.

    How the page is laid out is left to the library that writes it, which may change its mind.
    """
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    sections = re.split(r"^#{1,6} (stemsplit.*)$", text, flags=re.MULTILINE)[1:]
    pages = {name: " ".join(page.split()) for name, page in zip(*[iter(sections)] * 2, strict=True)}
    commands = dict(_commands(app, "stemsplit"))
    assert set(pages) == set(commands)
    for name, command in commands.items():
        arguments = (
            []
            if command.default_command is None
            else (command.assemble_argument_collection(parse_docstring=True))
        )
        options = {one.name for one in arguments if one.name.startswith("--")}
        flags = {"--help", "--help-all", "--version"}
        assert set(re.findall(r"`(--[\w-]+)", pages[name])) - flags >= options
        for one in arguments:
            assert " ".join((one.parameter.help or "").split()) in pages[name], (name, one.name)


def _errors() -> Iterator[type[StemsplitError]]:
    for module in pkgutil.walk_packages(stemsplit.__path__, "stemsplit."):
        if not module.name.startswith(("stemsplit.child", "stemsplit.__main__")):
            importlib.import_module(module.name)
    for error in StemsplitError.__subclasses__():
        if error.__module__.startswith("stemsplit.") and not error.__name__.startswith("_"):
            yield error


def test_every_error_has_a_section_with_its_exit_code() -> None:
    """Whoever meets one finds it in docs/errors.md, and no section is about none."""
    text = (DOCS / "errors.md").read_text()
    errors = {error.__name__: error for error in _errors()}
    sections = dict(re.findall(r"### `([A-Z]\w+)`\n\n(.*?)(?:;|\.)", text))
    assert set(sections) == set(errors)
    for name, error in errors.items():
        if name != "StoppedError":  # which no command ends with
            assert sections[name] == f"Exit code {int(error.exit_code)}", name


def test_every_error_says_what_to_do() -> None:
    """Where it is raised, a remedy stands beside the message, unless the message says it."""
    names = {error.__name__ for error in _errors()} - {"StoppedError", "TrackError"}
    raised = 0
    for path in sorted((ROOT / "stemsplit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in names:
                continue
            raised += 1
            assert len(node.args) > 1 or "must be" in ast.unparse(node.args[0]), (path, node.lineno)
    assert raised > 100
