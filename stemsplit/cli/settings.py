"""Runs in the supervisor. Settings from the environment and from files, below the command line.

What is said on the command line wins; then the environment, `STEMSPLIT_MAX_RAM` for `--max-ram`;
then `stemsplit.toml` in the folder that the command is run in; then the user's own file. A file has
a table for each command: `max-ram = "2GiB"` below `[separate]`.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from cyclopts.config import Dict

from stemsplit.core.compat import tomllib
from stemsplit.core.errors import UsageError
from stemsplit.core.text import printable, quoted
from stemsplit.storage.remote import is_remote, path_of
from stemsplit.storage.untrusted import read_file
from stemsplit.storage.user_folders import own_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

FILE_NAME = "stemsplit.toml"
PREFIX = "STEMSPLIT_"

HasSettings = Literal["separate", "convert", "inspect"]
COMMANDS: tuple[HasSettings, ...] = get_args(HasSettings)

NO_OPTIONS = frozenset(
    f"{PREFIX}{name}" for name in ("MODELS", "RELEASE_URL", "HOUSEHOLD", "REQUIRE_REAL")
)
"""Variables that set something else than an option."""

_MOST_BYTES = 2**20
"""Of a file of settings."""

_PATHS = frozenset({"output", "from-file", "exclude"})

Value = str | int | float | bool | tuple[str, ...]


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


def user_file() -> Path | None:
    """Give the user's own file, whether it is there or not; None where there is no home folder."""
    own = own_folder("config")
    return None if own is None else own / FILE_NAME


def files() -> tuple[Path, ...]:
    """Give the files that are looked into, the stronger first."""
    own = user_file()
    return (Path.cwd() / FILE_NAME, *(() if own is None else (own,)))


class Applied:
    """Gives cyclopts the values that the command line does not give, and remembers which.

    Attributes:
        values: of the options that were set, with their sources.
    """

    def __init__(self) -> None:
        """Nothing is set yet."""
        self.values: dict[str, tuple[Value, str]] = {}

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Set what files and variables say of a command (a `config` of cyclopts)."""
        command = commands[0] if commands else ""
        if command not in COMMANDS:
            return
        given = {one.name.removeprefix("--") for one in arguments if one.tokens}
        options = _options(arguments)
        for source, values in _layers(command, options, _repeatable(arguments)):
            # As text, so that 2.7 is no number of files; cyclopts reads it as from a shell.
            texts = {
                option: list(value) if isinstance(value, tuple) else written(value)
                for option, value in values.items()
            }
            Dict({command: texts}, source=source)(app, commands, arguments)
            for option, value in values.items():
                if option not in given:
                    self.values.setdefault(option, (value, source))

    def account(self) -> str:
        """Say where the settings of a command that could not be are from; empty without any."""
        sources = dict.fromkeys(source for _, source in self.values.values())
        if not sources:
            return ""
        options = ", ".join(self.values)
        return f"Set elsewhere: {options} ({', '.join(sources)}); see `stemsplit config`."


def written(value: Value) -> str:
    """Give a value as on the command line."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def settings(app: App, command: str) -> Iterator[Setting]:
    """Give each option of a command with its value and origin, as they would hold now.

    Raises:
        UsageError: if a file cannot be read or names what there is not.
    """
    arguments = app[command].assemble_argument_collection()
    options = _options(arguments)
    layers = list(_layers(command, options, _repeatable(arguments)))
    for option, default in options.items():
        for source, values in layers:
            if option in values:
                yield Setting(option=option, value=values[option], origin=source)
                break
        else:
            yield Setting(option=option, value=default, origin="default")


def untracked(app: App) -> Iterator[str]:
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


def _repeatable(arguments: ArgumentCollection) -> frozenset[str]:
    """Give the options that take several values."""
    return frozenset(
        one.name.removeprefix("--")
        for one in arguments
        if list[str] in (one.hint, *get_args(one.hint))
    )


def _layers(
    command: str, options: Iterable[str], repeatable: frozenset[str]
) -> Iterator[tuple[str, dict[str, Value]]]:
    """Give each source of settings with what it says, the stronger first."""
    for option in options:
        variable = _variable(option)
        text = os.environ.get(variable)
        if text:  # an empty one is taken as not set, as most programs do
            value: Value = text
            if option in repeatable:  # one value a line
                value = tuple(line for line in text.splitlines() if line)
            yield variable, {option: _expanded(option, value)}
    for path in files():
        table = _read(path).get(command, {})
        if table:
            values = _checked(table, path, command, options, repeatable)
            if path != user_file():
                _require_harmless(values, path)
            yield printable(path), values


def _require_harmless(values: Mapping[str, Value], path: Path) -> None:
    """Refuse what would run code or send files: the current folder may be a stranger's."""
    cluster, output = values.get("cluster", "local"), values.get("output")
    if cluster != "local":
        harm = f"names the cluster {quoted(str(cluster))}, which could run code here"
    elif isinstance(output, str) and is_remote(path_of(output)):
        harm = f"sends files to {quoted(output)}"
    else:
        return
    raise UsageError(
        f"{quoted(path)} {harm}.",
        "Name it on the command line, in the environment, or in your own file of settings.",
    )


def _variable(option: str) -> str:
    return PREFIX + option.upper().replace("-", "_")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = tomllib.loads(read_file(path, _MOST_BYTES).decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(
            f"The settings in {quoted(path)} cannot be read ({error.strerror}).",
            "Mend the file or its permissions, or remove it.",
        ) from error
    except (ValueError, RecursionError) as error:  # TOML, or no UTF-8
        raise UsageError(
            f"The settings in {quoted(path)} are no TOML: {error}.", "Mend the file."
        ) from error
    for name, table in found.items():
        if name not in COMMANDS or not isinstance(table, dict):
            raise UsageError(
                f"{quoted(path)} says something of {quoted(name)}, which is no table of settings."
                f"{_did_you_mean(name, COMMANDS)}",
                f"Put options below {', '.join(f'[{command}]' for command in COMMANDS)}.",
            )
    return found


def _checked(
    table: Mapping[str, Any],
    path: Path,
    command: str,
    options: Iterable[str],
    repeatable: frozenset[str],
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
        plain = value
        if option in repeatable and isinstance(value, str):
            plain = (value,) if value else ""
        elif is_list:
            plain = tuple(value) if option in repeatable else ",".join(value)
        if not isinstance(plain, (str, int, float, tuple)):
            raise UsageError(
                f"{quoted(path)} gives {quoted(name)} a value that is neither text nor a number "
                "nor true or false.",
                'Write it as on the command line, in quotation marks: "4GiB".',
            )
        if option in values:
            raise UsageError(
                f"{quoted(path)} sets {quoted(option)} twice.", "Leave one of them out."
            )
        if plain not in ("", ()):
            values[option] = _expanded(option, plain)
    return values


def _expanded(option: str, value: Value) -> Value:
    """Give `~` its meaning, as a shell does on the command line."""
    if isinstance(value, tuple):
        return tuple(str(_expanded(option, one)) for one in value)
    if option in _PATHS and isinstance(value, str) and value != "-":
        return os.path.expanduser(value)  # noqa: PTH111 - it stays text
    return value


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
