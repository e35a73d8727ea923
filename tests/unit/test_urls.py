"""URLs of remote storage, and the paths that represent them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemsplit.core.errors import UsageError
from stemsplit.core.text import printable
from stemsplit.storage.urls import is_remote, local_path, path_of, url_of


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("s3://bucket/a b/c.mp3", "/s3:/bucket/a b/c.mp3"),
        ("S3://bucket/", "/s3:/bucket"),
        ("sftp://me@nas:2222/music", "/sftp:/me@nas:2222/music"),
        ("file:///home/me", "/home/me"),
        ("music/a.mp3", "music/a.mp3"),
        ("/music/s3:", "/music/s3:"),
        ("C:/music", "C:/music"),
    ],
)
def test_addresses_become_paths_of_no_local_file(text: str, path: str) -> None:
    """They are shown as URLs."""
    assert path_of(text) == Path(path)
    if path.startswith(("/s3", "/sftp")):
        assert is_remote(path_of(text))
        url = printable(Path(path) / "x")
        assert url == f"{text.rstrip('/').replace('S3', 's3')}/x"
        assert url_of(Path(path) / "x") == url
    else:
        assert not is_remote(path_of(text))


@pytest.mark.parametrize("text", ["s3://b//a.wav", "s3://b/../a.wav", "sftp://me:secret@nas/music"])
def test_ambiguous_or_secret_addresses_are_refused(text: str) -> None:
    """The error does not contain the password."""
    with pytest.raises(UsageError) as caught:
        path_of(text)
    assert "secret" not in str(caught.value)


def test_a_command_may_refuse_addresses() -> None:
    """Otherwise it would create a folder named `s3:`."""
    with pytest.raises(UsageError, match=r"inspect does not accept URLs such as “s3://b/a\.wav”"):
        local_path("s3://b/a.wav", "inspect")
