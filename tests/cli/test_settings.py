"""Settings from the environment and from files, as the installed command has them."""

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


def _settings(told: str) -> dict[str, tuple[Any, str]]:
    return {one["option"]: (one["value"], one["origin"]) for one in json.loads(told)["settings"]}


def test_each_value_says_where_it_comes_from(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """The environment before this folder's file, that before the user's own, then the default."""
    here, users = tmp_path / "stemsplit.toml", tmp_path / "etc/stemsplit/stemsplit.toml"
    here.write_text(SETTINGS)
    users.parent.mkdir(parents=True)
    users.write_text('[separate]\nformat = "ogg"\nnice = 5\n')
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "etc"), "STEMSPLIT_MAX_RAM": "3GiB"}
    found = _settings(stemsplit("config", "--json", **environment).out)
    assert found["max-ram"] == ("3GiB", "STEMSPLIT_MAX_RAM")
    assert found["format"] == ("mp3", str(here))
    assert found["stems"] == ("vocals", str(here))
    assert found["tags"] == (False, str(here))
    assert found["nice"] == (5, str(users))
    assert found["retries"] == (2, "default")
    assert found["timeout"] == (None, "default")
    convert = _settings(stemsplit("config", "convert", "--json", **environment).out)
    assert convert["format"] == ("opus", str(here))
    text = stemsplit("config", **environment).out
    lines = [line.split() for line in text.splitlines()]
    assert ["max-ram", "3GiB", "STEMSPLIT_MAX_RAM"] in lines
    assert f"looked into {users}" in text


def test_settings_hold_and_the_command_line_wins(
    song_file: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """In the plan of a real file: formats, stems and the budget."""
    (tmp_path / "stemsplit.toml").write_text('[separate]\noutput = "there"\n' + SETTINGS[11:])

    def plan(*options: str, **environment: str) -> tuple[list[str], int]:
        told = stemsplit("separate", song_file, "--dry-run", "--json", *options, **environment).out
        lines = [json.loads(line) for line in told.splitlines()]
        by_type = {line["type"]: line for line in lines}
        paths = [path.rsplit("/", 3) for path in by_type["track_planned"]["paths"]]
        return ["/".join(path[1:]) for path in paths], by_type["plan_made"]["max_ram_bytes"]

    assert plan() == (["there/song/vocals.mp3", "there/song/residual.mp3"], 2 * 2**30)
    assert plan("--format", "flac", "-o", "here", "--max-ram", "1GiB") == (
        ["here/song/vocals.flac", "here/song/residual.flac"],
        2**30,
    )
    assert plan(STEMSPLIT_MAX_RAM="3GiB", STEMSPLIT_RESIDUAL="false") == (
        ["there/song/vocals.mp3"],
        3 * 2**30,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[separate]\nmax_rma = 1", "sets “max_rma”, which is no option of `stemsplit separate`."),
        ("[separate]\nmax_rma = 1", "Did you mean max-ram? `stemsplit config separate` lists all."),
        ("[sepaarte]\n", "“sepaarte”, which is no table of settings. Did you mean separate?"),
        ("format = 'mp3'\n", "“format”, which is no table of settings. Put options below [sep"),
        ("[separate]\nformat = {a = 1}", "gives “format” a value that is neither text nor"),
        ("[separate\n", "are no TOML"),
        ("[separate]\nformat = 'mp5'\n", "mp5"),
        ("[separate]\nmax-ram = 'much'\n", "max-ram cannot be “much”. Write a size such as"),
        ("[separate]\nmax-ram = '1G'\nmax_ram = '2G'\n", "sets “max-ram” twice"),
        ("[separate]\nretries = 'many'\n", "many"),
    ],
)
def test_a_file_that_cannot_be(
    text: str, says: str, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """One sentence that names the file and what is near; exit code 2; nothing is done."""
    (tmp_path / "stemsplit.toml").write_text(text)
    ran = stemsplit("separate", "song.wav", "-o", "out")
    assert ran.code == 2
    assert says in ran.err
    assert "stemsplit.toml" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_wrong_value_of_the_environment_names_the_variable(
    stemsplit: Callable[..., Any],
) -> None:
    """And what it could be."""
    ran = stemsplit("separate", "a.wav", "-o", "out", STEMSPLIT_FORMAT="flacc")
    assert ran.code == 2
    assert "from STEMSPLIT_FORMAT" in ran.err
    assert re.search(r"\bflac\b", ran.err)


def test_a_variable_that_sets_nothing_is_told(stemsplit: Callable[..., Any]) -> None:
    """A misspelt one changes nothing in silence otherwise."""
    ran = stemsplit("config", STEMSPLIT_MAX_RM="2GiB", STEMSPLIT_MODELS="/models")
    assert ran.code == 0
    assert ran.err == "stemsplit: STEMSPLIT_MAX_RM sets nothing. Did you mean STEMSPLIT_MAX_RAM?\n"


def test_what_is_empty_is_not_set_and_a_tilde_is_home(
    song_file: Path, tmp_path: Path, stemsplit: Callable[..., Any]
) -> None:
    """A variable without a value, a file with a byte order mark, a folder of the user's."""
    text = '[separate]\noutput = "~/stems"\nresidual = true\n'
    (tmp_path / "stemsplit.toml").write_text(text, encoding="utf-8-sig")
    environment = {"STEMSPLIT_MAX_RAM": "", "HOME": str(tmp_path / "home")}
    ran = stemsplit("separate", song_file, "-n", "--json", "--residual=false", **environment)
    assert ran.code == 0
    planned = json.loads(ran.out.splitlines()[1])
    assert planned["destination"] == str(tmp_path / "home/stems/song")
    assert not any(path.endswith("residual.wav") for path in planned["paths"])
