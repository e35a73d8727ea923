"""Help pages, shell completion, and suggestions for misspelt names."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stemsplit.cli.app import app
from stemsplit.cli.overview import COMMANDS, answer

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = Path(sys.executable).with_name("stemsplit")
PAGES = [
    (), ("separate",), ("convert",), ("inspect",), ("status",), ("report",), ("doctor",),
    ("demo",), ("config",), ("completion",), ("models",), ("models", "fetch"),
]  # fmt: skip


@pytest.mark.parametrize("command", PAGES, ids=" ".join)
def test_help_fits_on_a_screen(command: tuple[str, ...], stemsplit: Callable[..., Any]) -> None:
    """It has at most 44 lines of 80 columns."""
    result = stemsplit(*command, "--help", COLUMNS="80")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith(" ".join(("Usage: stemsplit", *command)))
    assert len(lines) <= 44
    assert max(map(len, lines)) <= 80


def test_the_overview_lists_every_command() -> None:
    """It is written without the commands, and says of each what its own help begins with."""
    assert {*COMMANDS} == {name for name in app if not name.startswith("-")}
    for name, command in COMMANDS.items():
        summary = " ".join(inspect.cleandoc(app[name].help).partition("\n\n")[0].split())
        assert command.summary == summary
    text = answer(["--help"])
    assert text is not None
    assert all(f"  {name} " in text for name in COMMANDS)
    assert answer([]) == answer(["-h"]) == answer(["--help-all"]) == text
    assert answer(["separate", "--help"]) is None


@pytest.mark.parametrize("command", ["separate", "convert"])
def test_help_all_has_every_option(command: str, stemsplit: Callable[..., Any]) -> None:
    """The short help omits some, and names `--help-all`."""
    short = stemsplit(command, "--help", COLUMNS="80").out
    long = stemsplit(command, "--help-all", COLUMNS="80").out
    names = [argument.name for argument in app[command].assemble_argument_collection()]
    options = [name for name in names if name.startswith("--")]
    assert all(f"  {name}" in long for name in options)
    assert len([name for name in options if f"  {name}" in short]) < len(options)
    assert "Examples:" in short
    assert f"`stemsplit {command} --help-all`" in short


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("separat", "a.wav"), "separate"),
        (("separate", "a.wav", "-o", "out", "--modle", "4stems"), "--model"),
        (("separate", "a.wav", "-o", "out", "--model", "4stem"), "Did you mean 4stems?"),
        (("separate", "a.wav", "-o", "out", "--format", "flacc"), "flac"),
        (("separate", "a.wav", "-o", "out", "--stems", "vocal"), "vocals"),
        (("models", "fetch", "5stem"), "Did you mean 5stems?"),
        (
            ("separate", "a.wav"),
            "No output folder given. Add -o FOLDER.",
        ),
        (("doctor", "now"), "Unexpected argument “now”. Try `stemsplit doctor --help`."),
        (("models", "fech"), "fetch"),
        (("completion", "bsh"), "bash"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_usage_error_suggests_a_fix(
    arguments: tuple[str, ...], expected: str, stemsplit: Callable[..., Any]
) -> None:
    """The message is one line; the rest of the sentence may change with cyclopts."""
    result = stemsplit(*arguments)
    assert result.code == 2
    assert re.search(rf"(?<![\w-]){re.escape(expected)}(?![\w-])", result.err)
    assert len(result.err.splitlines()) == 1


def _bash(line: str) -> str:
    words = line.split(" ")
    return f"""
        PATH={COMMAND.parent}:$PATH
        source <(stemsplit completion bash)
        COMP_WORDS=({" ".join(word or "''" for word in words)}) COMP_CWORD={len(words) - 1}
        COMP_LINE='{line}' COMP_POINT={len(line)}
        _stemsplit
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """


def _fish(line: str) -> str:
    return (
        f"set PATH {COMMAND.parent} $PATH; stemsplit completion fish | source; complete -C '{line}'"
    )


@pytest.mark.parametrize(("shell", "script"), [("bash", _bash), ("fish", _fish)])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stemsplit sep", {"separate"}),
        ("stemsplit separate --max-", {"--max-ram", "--max-ram-per-file"}),
        ("stemsplit separate --model 4", {"4stems", "4stems-16kHz"}),
        ("stemsplit separate --format f", {"flac"}),
    ],
)
def test_a_shell_completes_arguments(
    shell: str, script: Callable[[str], str], line: str, expected: set[str]
) -> None:
    """Commands, options, models and values, in the shell itself."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    result = subprocess.run(
        [program, "-c", script(line)], capture_output=True, text=True, check=True, timeout=60
    )
    assert {line.split("\t")[0].strip() for line in result.stdout.splitlines()} == expected


def test_bash_still_completes_file_names() -> None:
    """The program itself does not complete inputs and output folders."""
    script = f"""
        PATH={COMMAND.parent}:$PATH
        source <(stemsplit completion bash)
        complete -p stemsplit
    """
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [
        "complete", "-o", "bashdefault", "-o", "default", "-F", "_stemsplit", "stemsplit"
    ]  # fmt: skip


def test_zsh_registers_the_completion(tmp_path: Path) -> None:
    """The documented line of `~/.zshrc` follows `compinit`."""
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    script = f"""
        PATH={COMMAND.parent}:$PATH
        autoload -Uz compinit && compinit -u -d {tmp_path}/dump
        eval "$(stemsplit completion zsh)"
        print $_comps[stemsplit]; whence -w $_comps[stemsplit]
    """
    result = subprocess.run([zsh, "-fc", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["_cyclopts_stemsplit", "_cyclopts_stemsplit:", "function"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_parse_its_completion_script(shell: str, stemsplit: Callable[..., Any]) -> None:
    """The script has no syntax errors."""
    script = stemsplit("completion", shell).out
    assert "stemsplit" in script
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([program, "-n"], input=script, text=True, check=True)
