"""The structure of the package: components, layers, dependencies and the size of modules.

A component is a module or a folder at the top of the package. It depends on the components that it
imports, also for types, and its layer is one above the highest of them.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import stemsplit
from stemsplit.core.compat import tomllib

ROOT = Path(stemsplit.__file__).parent
TESTS = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in ROOT.rglob("__init__.py"))[1:]
MAX_ENTRIES, MAX_LAYERS, MAX_DEPENDENCIES, MAX_LINES = 16, 10, 80, 350


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the modules of stemsplit that a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return frozenset(found & MODULES.keys() - {module})


def _component(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def _dependencies() -> dict[str, set[str]]:
    """Map each component to the components that it imports."""
    dependencies: dict[str, set[str]] = {_component(module): set() for module in MODULES}
    for module in MODULES:
        component = _component(module)
        dependencies[component] |= {_component(name) for name in _imports(module)} - {component}
    return dependencies


def test_the_top_of_the_package_is_small() -> None:
    """Every entry counts, including `py.typed`."""
    entries = [path for path in ROOT.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MAX_ENTRIES


def test_components_form_a_few_layers() -> None:
    """A cycle of dependencies raises `graphlib.CycleError`."""
    dependencies = _dependencies()
    layers: dict[str, int] = {}
    for component in TopologicalSorter(dependencies).static_order():
        layers[component] = 1 + max((layers[lower] for lower in dependencies[component]), default=0)
    assert max(layers.values()) <= MAX_LAYERS
    assert sum(map(len, dependencies.values())) <= MAX_DEPENDENCIES


def test_modules_do_not_import_each_other() -> None:
    """Imports for types and through other modules count."""
    TopologicalSorter({module: _imports(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_a_long_module_states_the_reason(module: str) -> None:
    """Its docstring says why it is one module."""
    text = MODULES[module].read_text(encoding="utf-8")
    if len(text.splitlines()) > MAX_LINES:
        docstring = ast.get_docstring(ast.parse(text)) or ""
        assert "One module because" in docstring


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_documents_its_contents_and_imports(folder: Path) -> None:
    """Its docstring has its contents, what is elsewhere, and the components that it imports."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert text is not None
    contents, rest = text.split("\n\n", 1)
    assert contents
    assert rest.startswith("Not here: ")
    imports = re.search(r"^Imports: (.*)\Z", rest, re.MULTILINE | re.DOTALL)
    assert imports is not None
    own = folder.relative_to(ROOT).parts[0]
    prefix = _name(folder / "__init__.py")
    inside = [name for name in MODULES if name == prefix or name.startswith(f"{prefix}.")]
    components = {_component(name) for module in inside for name in _imports(module)} - {own}
    assert re.findall(r"`(\w+)`", imports[1]) == sorted(components)


def test_every_folder_of_tests_is_run_by_default() -> None:
    """They are listed by hand in `pyproject.toml`, in the order in which they run."""
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["pytest"]["ini_options"]["testpaths"]
    folders = {f"tests/{path.parent.relative_to(TESTS)}" for path in TESTS.rglob("test_*.py")}
    assert sorted(listed) == sorted(folders)
