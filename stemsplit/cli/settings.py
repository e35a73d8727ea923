"""Runs in the supervisor. Reads settings from environment variables and from files.

In order of precedence: the command line; the environment, such as `STEMSPLIT_MAX_RAM` for
`--max-ram`; `stemsplit.toml` in the current folder; the user's own file. A file has a table for
each command: `max-ram = "2GiB"` below `[separate]`.
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
from stemsplit.storage.small_files import read_file
from stemsplit.storage.urls import is_remote, path_of
from stemsplit.storage.user_folders import user_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

FILE_NAME = "stemsplit.toml"
PREFIX = "STEMSPLIT_"

HasSettings = Literal["separate", "convert", "inspect"]
COMMANDS: tuple[HasSettings, ...] = get_args(HasSettings)

OTHER_VARIABLES = frozenset(
    f"{PREFIX}{name}" for name in ("MODELS", "RELEASE_URL", "SESSION", "REQUIRE_REAL")
)
"""Variables of stemsplit that set no option."""

_MAX_FILE_BYTES = 2**20
"""Largest accepted settings file."""

_PATHS = frozenset({"output", "from-file", "exclude"})

Value = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The value of one option and its origin.

    Attributes:
        option: `max-ram`.
        value: None if the program decides.
        origin: an environment variable, a file, or `default`.
    """

    option: str
    value: Value | None
    origin: str


def user_file() -> Path | None:
    """Return the user's own file, which may not exist; None without a home folder."""
    own = user_folder("config")
    return None if own is None else own / FILE_NAME


def files() -> tuple[Path, ...]:
    """Return the files that are read, in order of precedence; they may not exist."""
    own = user_file()
    return (Path.cwd() / FILE_NAME, *(() if own is None else (own,)))


class SettingsConfig:
    """Sets options that the command line leaves open (a `config` of cyclopts), and records them.

    Attributes:
        values: value and source of each option set here.
    """

    def __init__(self) -> None:
        """Set nothing yet."""
        self.values: dict[str, tuple[Value, str]] = {}

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Set the options of a command that files or variables define."""
        command = commands[0] if commands else ""
        if command not in COMMANDS:
            return
        given = {argument.name.removeprefix("--") for argument in arguments if argument.tokens}
        for source, values in _sources(command, arguments):
            # As text, which cyclopts parses as from a shell: 2.7 is then not accepted as a count.
            texts = {
                option: list(value) if isinstance(value, tuple) else format_value(value)
                for option, value in values.items()
            }
            Dict({command: texts}, source=source)(app, commands, arguments)
            for option, value in values.items():
                if option not in given:
                    self.values.setdefault(option, (value, source))

    def summary(self) -> str:
        """Return a sentence that names the options set here and their sources; empty if none."""
        sources = dict.fromkeys(source for _, source in self.values.values())
        if not sources:
            return ""
        options = ", ".join(self.values)
        return f"Options from settings: {options} ({', '.join(sources)}); see `stemsplit config`."


def format_value(value: Value) -> str:
    """Return a value as written on the command line."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def current_settings(app: App, command: str) -> Iterator[Setting]:
    """Yield each option of a command with the value and origin that a run would use now.

    Raises:
        UsageError: if a file cannot be read, or sets an unknown option.
    """
    arguments = app[command].assemble_argument_collection()
    sources = list(_sources(command, arguments))
    for option, default in _options(arguments).items():
        for source, values in sources:
            if option in values:
                yield Setting(option=option, value=values[option], origin=source)
                break
        else:
            yield Setting(option=option, value=default, origin="default")


def unknown_variables(app: App) -> Iterator[str]:
    """Yield a sentence for each environment variable with our prefix that sets no option."""
    known = {
        _variable(option)
        for command in COMMANDS
        for option in _options(app[command].assemble_argument_collection())
    }
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known | OTHER_VARIABLES:
            yield f"{printable(name)} is not a setting.{_did_you_mean(name, known)}"


def _options(arguments: ArgumentCollection) -> dict[str, Value | None]:
    """Return the options of a command with their defaults; None for a required one."""
    defaults = {}
    for argument in arguments:
        if argument.name.startswith("--"):
            default = argument.field_info.default
            plain = isinstance(default, (str, int, float))
            defaults[argument.name.removeprefix("--")] = default if plain else None
    return defaults


def _repeatable(arguments: ArgumentCollection) -> frozenset[str]:
    """Return the options that accept several values."""
    return frozenset(
        argument.name.removeprefix("--")
        for argument in arguments
        if list[str] in (argument.hint, *get_args(argument.hint))
    )


def _sources(command: str, arguments: ArgumentCollection) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield each source with the options that it sets, in order of precedence."""
    options, repeatable = list(_options(arguments)), _repeatable(arguments)
    for option in options:
        variable = _variable(option)
        text = os.environ.get(variable)
        if text:  # as in most programs, an empty variable counts as not set
            value: Value = text
            if option in repeatable:  # one value per line
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
    """Refuse settings that run code or send files: the current folder may come from others."""
    cluster, output = values.get("cluster", "local"), values.get("output")
    if cluster != "local":
        harm = f"sets the cluster {quoted(str(cluster))}, which could run code on this machine"
    elif isinstance(output, str) and is_remote(path_of(output)):
        harm = f"sets the output {quoted(output)}, which sends files elsewhere"
    else:
        return
    raise UsageError(
        f"{quoted(path)} {harm}.",
        "Set it on the command line, in the environment, or in your own settings file.",
    )


def _variable(option: str) -> str:
    return PREFIX + option.upper().replace("-", "_")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = tomllib.loads(read_file(path, _MAX_FILE_BYTES).decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(
            f"The settings file {quoted(path)} cannot be read ({error.strerror}).",
            "Fix the file or its permissions, or remove it.",
        ) from error
    except (ValueError, RecursionError) as error:  # invalid TOML or UTF-8
        raise UsageError(
            f"The settings file {quoted(path)} is not valid TOML: {error}.", "Fix the file."
        ) from error
    for name, table in found.items():
        if name not in COMMANDS or not isinstance(table, dict):
            raise UsageError(
                f"{quoted(path)} contains {quoted(name)}, which is not a table of settings."
                f"{_did_you_mean(name, COMMANDS)}",
                f"Put options below {', '.join(f'[{command}]' for command in COMMANDS)}.",
            )
    return found


def _checked(
    table: Mapping[str, Any],
    path: Path,
    command: str,
    known: list[str],
    repeatable: frozenset[str],
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, value in table.items():
        option = name.replace("_", "-")
        if option not in known:
            raise UsageError(
                f"{quoted(path)} sets {quoted(name)}, which is not an option of "
                f"`stemsplit {command}`.{_did_you_mean(option, known)}",
                f"List the options with `stemsplit config {command}`.",
            )
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        plain = value
        if option in repeatable and isinstance(value, str):
            plain = (value,) if value else ""
        elif is_list:
            plain = tuple(value) if option in repeatable else ",".join(value)
        if not isinstance(plain, (str, int, float, tuple)):
            raise UsageError(
                f"{quoted(path)} sets {quoted(name)} to a value that is not a string, a number, "
                "true or false.",
                'Write it as on the command line, in quotes: "4GiB".',
            )
        if option in values:
            raise UsageError(
                f"{quoted(path)} sets {quoted(option)} twice.", "Remove one of the lines."
            )
        if plain not in ("", ()):
            values[option] = _expanded(option, plain)
    return values


def _expanded(option: str, value: Value) -> Value:
    """Return the value with `~` expanded in paths, as a shell does."""
    if isinstance(value, tuple):
        return tuple(str(_expanded(option, item)) for item in value)
    if option in _PATHS and isinstance(value, str) and value != "-":
        return os.path.expanduser(value)  # noqa: PTH111 - the value stays text
    return value


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {matches[0]}?" if matches else ""
