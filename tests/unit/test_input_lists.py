"""Reading lists of paths and playlists."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from stemsplit.core.errors import UsageError
from stemsplit.library.input_lists import read_list


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (b"a b.wav\n\nc.wav", ["a b.wav", "c.wav"]),
        (b"a.wav\r\n#b.wav\r\n", ["a.wav", "#b.wav"]),
        (b"a\nb.wav\0-c.wav\0", ["a\nb.wav", "-c.wav"]),
        (b"caf\xe9.wav\n", [os.fsdecode(b"caf\xe9.wav")]),
        (b"\xef\xbb\xbfa.wav\r\n", ["a.wav"]),
        ("é/a.wav\r\nb.wav".encode("utf-16"), ["é/a.wav", "b.wav"]),
    ],
)
def test_lists_have_lines_or_nuls(text: bytes, paths: list[str]) -> None:
    """With a NUL in the list, newlines belong to names; Windows line ends never do."""
    assert [str(path) for path in read_list(io.BytesIO(text), "list").paths] == paths


@pytest.mark.parametrize(
    "text", ["/music/a.wav\n".encode("utf-16-le"), b"RIFF\x12\0\0\0WAVE", b"\xff\xfe\x00\xd8"]
)
def test_files_that_are_not_lists_are_refused(text: bytes) -> None:
    """Each letter might count as a path, and `/` is one."""
    with pytest.raises(UsageError, match="not a list of files"):
        read_list(io.BytesIO(text), "list")


@pytest.mark.parametrize(
    ("name", "text", "paths", "base"),
    [
        ("list.txt", b"#EXTINF:9,Artist - Song\na.wav\n#b.wav\n", ["a.wav", "#b.wav"], None),
        ("list.txt", b"#EXTRA.wav\n./#EXT.wav\n", ["#EXTRA.wav", "#EXT.wav"], None),
        ("x/list.m3u", b"# by hand\r\n#EXTALB:x\r\na.wav\r\n", ["a.wav"], "x"),
        ("x/list.M3U8", "\ufeff#EXTM3U\n#EXT-X-VERSION:3\né.wav".encode(), ["é.wav"], "x"),
        ("x/list", b"#EXTM3U\n# by hand\na.wav\n", ["a.wav"], "x"),
        (None, b"#EXTM3U\n# by hand\na.wav\n", ["a.wav"], None),
        ("list.txt", b"#EXTINF\0#b.wav\0", ["#EXTINF", "#b.wav"], None),
        ("list.txt", b"file:///m/a%20b%C3%A9.wav\n", ["/m/a bé.wav"], None),
        (
            "list.m3u",
            b"file://localhost/m/100%25.wav\nFILE:/m/b.wav\n",
            ["/m/100%.wav", "/m/b.wav"],
            ".",
        ),
    ],
)
def test_playlists(
    name: str | None,
    text: bytes,
    paths: list[str],
    base: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Directives and comments are skipped, and paths are relative to the playlist."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "#EXTRA.wav").touch()
    found = read_list(io.BytesIO(text), "list", None if name is None else Path(name))
    assert [str(path) for path in found.paths] == paths
    assert found.base == (None if base is None else Path(base))


def test_an_empty_list_is_an_error() -> None:
    """The command that writes the list may have failed."""
    with pytest.raises(UsageError, match="contains no paths"):
        read_list(io.BytesIO(b"\n"), "standard input")
