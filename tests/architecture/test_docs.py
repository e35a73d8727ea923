"""The documents say what the program does."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from stemsplit import __version__
from stemsplit.errors import ExitCode
from stemsplit.job import Reason
from stemsplit.models.catalogue import MODELS

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
