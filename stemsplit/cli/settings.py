"""Runs in the supervisor. Settings from the environment and from files, below the command line.

What is said on the command line wins; then the environment, `STEMSPLIT_MAX_RAM` for `--max-ram`;
then `stemsplit.toml` in the folder that the command is run in; then the user's own file. A file has
a table for each command: `max-ram = "2GiB"` below `[separate]`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from cyclopts.config import Dict

from stemsplit.errors import UsageError
from stemsplit.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

FILE_NAME = "stemsplit.toml"
PREFIX = "STEMSPLIT_"

COMMANDS = ("separate", "convert", "inspect")
"""Those that have settings."""

NO_OPTIONS = frozenset(
    f"{PREFIX}{name}" for name in ("MODELS", "RELEASE_URL", "HOUSEHOLD", "REQUIRE_REAL")
)
"""Variables that set something else than an option."""

Value = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The value of one option, and where it is from.

    Attributes:
        option: `max-ram`.
        value: None where nothing is said and the program decides.
        origin: a variable, a file, or `default`.
    """

    option: str
    value: Value | None
    origin: str


def user_file() -> Path:
    """Give the user's own file, whether it is there or not."""
    return platformdirs.user_config_path("stemsplit") / FILE_NAME


def files() -> tuple[Path, ...]:
    """Give the files that are looked into, the stronger first."""
    return (Path.cwd() / FILE_NAME, user_file())


def configurations() -> tuple[Callable[[App, tuple[str, ...], ArgumentCollection], None], ...]:
    """Give what cyclopts asks for values that the command line does not give."""

    def apply(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        command = commands[0] if commands else ""
        if command not in COMMANDS:
            return
        for source, values in _layers(command, _options(arguments)):
            Dict({command: values}, source=source)(app, commands, arguments)

    return (apply,)


def settings(app: App, command: str) -> Iterator[Setting]:
    """Give each option of a command with its value and origin, as they would hold now.

    Raises:
        UsageError: if a file cannot be read or names what there is not.
    """
    arguments = app[command].assemble_argument_collection()
    options = _options(arguments)
    layers = list(_layers(command, options))
    for option, default in options.items():
        for source, values in layers:
            if option in values:
                yield Setting(option=option, value=values[option], origin=source)
                break
        else:
            yield Setting(option=option, value=default, origin="default")


def strangers(app: App) -> Iterator[str]:
    """Say which variables look like settings and are none."""
    known = {
        _variable(option)
        for command in COMMANDS
        for option in _options(app[command].assemble_argument_collection())
    }
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known | NO_OPTIONS:
            yield f"{printable(name)} sets nothing.{_did_you_mean(name, known)}"


def _options(arguments: ArgumentCollection) -> dict[str, Value | None]:
    """Give the options of a command with what holds if nothing is said; required ones have None."""
    found = {}
    for argument in arguments:
        if argument.name.startswith("--"):
            default = argument.field_info.default
            plain = isinstance(default, (str, int, float))
            found[argument.name.removeprefix("--")] = default if plain else None
    return found


def _layers(command: str, options: Iterable[str]) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give each source of settings with what it says, the stronger first."""
    for option in options:
        variable = _variable(option)
        if variable in os.environ:
            yield variable, {option: os.environ[variable]}
    for path in files():
        table = _read(path).get(command, {})
        if table:
            yield printable(path), _checked(table, path, command, options)


def _variable(option: str) -> str:
    return PREFIX + option.upper().replace("-", "_")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(
            f"The settings in {quoted(path)} cannot be read ({error.strerror}).",
            "Check the permissions.",
        ) from error
    except ValueError as error:  # TOML, or no UTF-8
        raise UsageError(
            f"The settings in {quoted(path)} are no TOML: {error}.", "Mend the file."
        ) from error
    for name, table in found.items():
        if name not in COMMANDS or not isinstance(table, dict):
            raise UsageError(
                f"{quoted(path)} says something of {quoted(name)}, which is no table of settings."
                f"{_did_you_mean(name, COMMANDS)}",
                f"The tables are {', '.join(f'[{command}]' for command in COMMANDS)}.",
            )
    return found


def _checked(
    table: Mapping[str, Any], path: Path, command: str, options: Iterable[str]
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    known = list(options)
    for name, value in table.items():
        option = name.replace("_", "-")
        if option not in known:
            raise UsageError(
                f"{quoted(path)} sets {quoted(name)}, which is no option of `stemsplit {command}`."
                f"{_did_you_mean(option, known)}",
                f"`stemsplit config {command}` lists all.",
            )
        is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
        plain = ",".join(value) if is_list else value
        if not isinstance(plain, (str, int, float)):
            raise UsageError(
                f"{quoted(path)} gives {quoted(name)} a value that is neither text nor a number "
                "nor true or false.",
                'Write it as on the command line, in quotation marks: "4GiB".',
            )
        values[option] = plain
    return values


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
