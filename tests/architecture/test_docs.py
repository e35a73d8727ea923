"""The documentation matches the program."""

from __future__ import annotations

import ast
import copy
import importlib
import json
import pkgutil
import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import generate
import pytest
from packaging.version import Version

import stemsplit
from stemsplit import __version__
from stemsplit.batch import events
from stemsplit.cli.app import app
from stemsplit.cli.overview import COMMANDS, SCRIPTS
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
    """The section is in `docs/errors.md`."""
    text = (DOCS / "errors.md").read_text()
    for reason in Reason:
        assert f"### `{reason}`" in text


def test_every_exit_code_is_documented() -> None:
    """The table has no other codes."""
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted([*ExitCode, 129])


def test_every_model_is_documented() -> None:
    """`docs/models.md` names every model of the catalogue."""
    text = (DOCS / "models.md").read_text()
    assert all(f"`{name}`" in text for name in MODELS)


def test_the_changelog_has_this_version() -> None:
    """Every release has an entry."""
    assert f"## {__version__}" in (DOCS / "changelog.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_are_valid(page: Path) -> None:
    """Every relative link names an existing file."""
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_index_names_every_page() -> None:
    """docs/index.md links every page; decision records have an index of their own."""
    index = (DOCS / "index.md").read_text()
    decisions = (DOCS / "decisions" / "README.md").read_text()
    for page in {*DOCS.rglob("*.md")} - {DOCS / "index.md"}:
        is_record = page.parent.name == "decisions" and page.name != "README.md"
        if is_record:
            assert f"({page.name})" in decisions, page
        else:
            assert f"({page.relative_to(DOCS)})" in index, page


def test_every_event_is_documented() -> None:
    """docs/events.md has a row for each."""
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    names = events.json_schema()["discriminator"]["mapping"]
    assert "track_done" in names
    cells = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert sorted(documented) == sorted(names)


def test_the_published_schema_is_current() -> None:
    """If this fails, run `python docs/generate.py`."""
    written = json.loads((DOCS / "events.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(generate.schema_of_events()))


def test_the_completion_scripts_are_current() -> None:
    """They name all commands and options. If this fails, run `python docs/generate.py`."""
    scripts = generate.completion_scripts()
    written = {path.name: path.read_text(encoding="utf-8") for path in sorted(SCRIPTS.iterdir())}
    assert {*written} == {*scripts}
    options = [
        argument.name.removeprefix("--")
        for name in ("separate", "convert", "inspect", "report")
        for argument in app[name].assemble_argument_collection()
        if argument.name.startswith("--")
    ]
    for text in written.values():
        assert all(name in text for name in (*COMMANDS, *MODELS, *options))
    lock = (DOCS.parent / "tests/requirements/lock.txt").read_text(encoding="utf-8")
    newest = max(re.findall(r"^cyclopts==(\S+)", lock, re.MULTILINE), key=Version)
    if version("cyclopts") == newest:  # another version writes other scripts
        assert written == scripts


def _equivalent_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema as another version of msgspec might write it."""
    other = dict(reversed(copy.deepcopy(schema).items()))
    other["anyOf"].reverse()
    for definition in other["$defs"].values():
        if "required" in definition:
            definition["required"].reverse()
        if "description" in definition:
            definition["description"] = definition["description"].replace("\n", "\n    ")
        for item in definition.get("properties", {}).values():
            if "anyOf" in item:
                types = [choice.pop("type") for choice in item["anyOf"]]
                (rules,) = [choice for choice in item.pop("anyOf") if choice] or [{}]
                item.update(rules, type=types[::-1])
            elif len(item.get("enum", ())) == 1:
                (item["const"],) = item.pop("enum")
    return other


def test_equivalent_schemas_have_the_same_normal_form() -> None:
    """They differ in order, indentation, `const` and lists of types."""
    schema = events.json_schema()
    other = _equivalent_schema(schema)
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
def test_a_change_of_meaning_changes_the_normal_form(
    change: Callable[[dict[str, Any]], object],
) -> None:
    """Normalisation hides no change of an event."""
    schema = events.json_schema()
    change(schema["$defs"]["TrackDone"])
    assert generate.normal_form(schema) != generate.schema_of_events()


def _commands(parent: App, name: str) -> Iterator[tuple[str, App]]:
    yield name, parent
    for command in parent:
        if not command.startswith("-"):
            yield from _commands(parent[command], f"{name} {command}")


def test_the_reference_has_every_command_and_option() -> None:
    """It has no others, and the program's own help. If this fails, run `python docs/generate.py`.

    The layout of the page is up to the library that writes it, and may change.
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
        options = {argument.name for argument in arguments if argument.name.startswith("--")}
        flags = {"--help", "--help-all", "--version"}
        assert set(re.findall(r"`(--[\w-]+)", pages[name])) - flags >= options
        for argument in arguments:
            assert " ".join((argument.parameter.help or "").split()) in pages[name], (
                name,
                argument.name,
            )


def _errors() -> Iterator[type[StemsplitError]]:
    for module in pkgutil.walk_packages(stemsplit.__path__, "stemsplit."):
        if not module.name.startswith(("stemsplit.child", "stemsplit.__main__")):
            importlib.import_module(module.name)
    for error in StemsplitError.__subclasses__():
        if error.__module__.startswith("stemsplit.") and not error.__name__.startswith("_"):
            yield error


def test_every_error_has_a_section_with_its_exit_code() -> None:
    """`docs/errors.md` has no other sections."""
    text = (DOCS / "errors.md").read_text()
    errors = {error.__name__: error for error in _errors()}
    sections = dict(re.findall(r"### `([A-Z]\w+)`\n\n(.*?)(?:;|\.)", text))
    assert set(sections) == set(errors)
    for name, error in errors.items():
        if name != "StoppedError":  # no command exits with it
            assert sections[name] == f"Exit code {int(error.exit_code)}", name


def test_every_error_has_a_remedy() -> None:
    """It is raised with a remedy, unless the message itself says what to do."""
    names = {error.__name__ for error in _errors()} - {"StoppedError", "TrackError"}
    raised = 0
    for path in sorted((ROOT / "stemsplit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in names:
                continue
            raised += 1
            assert len(node.args) > 1 or "must be" in ast.unparse(node.args[0]), (path, node.lineno)
    assert raised > 100
