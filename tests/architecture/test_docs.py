"""The documents say what the program does."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import stemsplit
from stemsplit import __version__
from stemsplit.errors import ExitCode, StemsplitError
from stemsplit.job import Reason
from stemsplit.models.catalogue import MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_generated_pages_are_what_the_program_says() -> None:
    """If this fails, run `python docs/generate.py`."""
    sys.path.insert(0, str(DOCS))
    try:
        pages = importlib.import_module("generate").pages()
    finally:
        sys.path.remove(str(DOCS))
    for name, text in pages.items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, name


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
