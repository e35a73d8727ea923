"""Settings from environment variables and from files."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = """\
[separate]
format = "mp3"
max-ram = "2GiB"
stems = ["vocals"]
jobs = 1
tags = false
residual = true

[convert]
format = "opus"
"""


def _settings(output: str) -> dict[str, tuple[Any, str]]:
    return {
        item["option"]: (item["value"], item["origin"]) for item in json.loads(output)["settings"]
    }


def test_config_shows_the_origin_of_each_value(
    tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """Variables take precedence over the current folder's file, that over the user's file."""
    current_file, user_file = tmp_path / "stemsplit.toml", tmp_path / "etc/stemsplit/stemsplit.toml"
    current_file.write_text(SETTINGS)
    user_file.parent.mkdir(parents=True)
    user_file.write_text('[separate]\nformat = "ogg"\nnice = 5\n')
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "etc"), "STEMSPLIT_MAX_RAM": "3GiB"}
    found = _settings(stemsplit("config", "--json", **environment).out)
    assert found["max-ram"] == ("3GiB", "STEMSPLIT_MAX_RAM")
    assert found["format"] == ("mp3", str(current_file))
    assert found["stems"] == ("vocals", str(current_file))
    assert found["tags"] == (False, str(current_file))
    assert found["nice"] == (5, str(user_file))
    assert found["retries"] == (2, "default")
    assert found["timeout"] == (None, "default")
    convert = _settings(stemsplit("config", "convert", "--json", **environment).out)
    assert convert["format"] == ("opus", str(current_file))
    text = stemsplit("config", **environment).out
    lines = [line.split() for line in text.splitlines()]
    assert ["max-ram", "3GiB", "STEMSPLIT_MAX_RAM"] in lines
    assert f"settings file: {user_file}" in text


def test_the_command_line_overrides_settings(
    song_file: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """The dry run of a real file shows the format, the stems and the budget."""
    (tmp_path / "stemsplit.toml").write_text('[separate]\noutput = "set"\n' + SETTINGS[11:])

    def plan(*options: str, **environment: str) -> tuple[list[str], int]:
        printed = stemsplit(
            "separate", song_file, "--dry-run", "--json", *options, **environment
        ).out
        lines = [json.loads(line) for line in printed.splitlines()]
        by_type = {line["type"]: line for line in lines}
        paths = [path.rsplit("/", 3) for path in by_type["track_planned"]["paths"]]
        return ["/".join(path[1:]) for path in paths], by_type["plan_made"]["max_ram_bytes"]

    assert plan() == (["set/song/vocals.mp3", "set/song/residual.mp3"], 2 * 2**30)
    assert plan("--format", "flac", "-o", "given", "--max-ram", "1GiB") == (
        ["given/song/vocals.flac", "given/song/residual.flac"],
        2**30,
    )
    assert plan(STEMSPLIT_MAX_RAM="3GiB", STEMSPLIT_RESIDUAL="false") == (
        ["set/song/vocals.mp3"],
        3 * 2**30,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[separate]\nmax_rma = 1", "sets “max_rma”, which is not an option of `stemsplit sep"),
        ("[separate]\nmax_rma = 1", "Did you mean max-ram? List the options with `stemsplit"),
        ("[sepaarte]\n", "“sepaarte”, which is not a table of settings. Did you mean separate?"),
        ("format = 'mp3'\n", "“format”, which is not a table of settings. Put options below [sep"),
        ("[separate]\nformat = {a = 1}", "sets “format” to a value that is not a string, a number"),
        ("[separate\n", "is not valid TOML"),
        ("[separate]\nformat = 'mp5'\n", "mp5"),
        ("[separate]\nmax-ram = 'much'\n", "Invalid max-ram: “much”. Use a size such as"),
        ("[separate]\nmax-ram = '1G'\nmax_ram = '2G'\n", "sets “max-ram” twice"),
        ("[separate]\nretries = 'many'\n", "many"),
    ],
)
def test_an_invalid_settings_file_is_an_error(
    text: str, message: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """One sentence names the file and a suggestion; the exit code is 2."""
    (tmp_path / "stemsplit.toml").write_text(text)
    result = stemsplit("separate", "song.wav", "-o", "out")
    assert result.code == 2
    assert message in result.err
    assert "stemsplit.toml" in result.err
    assert len(result.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_invalid_value_of_a_variable_is_an_error(
    stemsplit: Callable[..., Any],
) -> None:
    """The message names the variable and a valid value."""
    result = stemsplit("separate", "a.wav", "-o", "out", STEMSPLIT_FORMAT="flacc")
    assert result.code == 2
    assert "from STEMSPLIT_FORMAT" in result.err
    assert re.search(r"\bflac\b", result.err)


def test_an_unknown_variable_is_reported(stemsplit: Callable[..., Any]) -> None:
    """A misspelt variable would have no effect otherwise."""
    result = stemsplit("config", STEMSPLIT_MAX_RM="2GiB", STEMSPLIT_MODELS="/models")
    assert result.code == 0
    assert result.err == (
        "stemsplit: STEMSPLIT_MAX_RM is not a setting. Did you mean STEMSPLIT_MAX_RAM?\n"
    )


def test_empty_variables_count_as_unset_and_a_tilde_is_expanded(
    song_file: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """The file has a byte order mark, and its output is below the home folder."""
    text = '[separate]\noutput = "~/stems"\nresidual = true\n'
    (tmp_path / "stemsplit.toml").write_text(text, encoding="utf-8-sig")
    environment = {"STEMSPLIT_MAX_RAM": "", "HOME": str(tmp_path / "home")}
    result = stemsplit("separate", song_file, "-n", "--json", "--residual=false", **environment)
    assert result.code == 0
    planned = json.loads(result.out.splitlines()[1])
    assert planned["destination"] == str(tmp_path / "home/stems/song")
    assert not any(path.endswith("residual.wav") for path in planned["paths"])
