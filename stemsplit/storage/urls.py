"""Runs in both. URLs such as `s3://bucket/song.mp3` and the paths that stand for them.

A URL is kept as a path that no local file has: `s3://bucket/song.mp3` as
`/s3:/bucket/song.mp3`. Code that only needs names therefore treats both alike; only code that opens
files has to tell them apart.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from stemsplit.core.errors import UsageError
from stemsplit.core.text import quoted

_ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<rest>[^/].*)", re.IGNORECASE | re.DOTALL
)
_PATH = re.compile(rb"/(?P<scheme>[a-z][a-z0-9+.-]+):/(?P<host>[^/]+)(?P<rest>.*)", re.DOTALL)

_FILE = "file://"

SSH_SCHEMES = frozenset({"sftp", "ssh"})
S3_SCHEMES = frozenset({"s3", "s3a"})
_EXTRAS = {
    **dict.fromkeys(S3_SCHEMES, "s3"),
    **dict.fromkeys(SSH_SCHEMES, "sftp"),
    **dict.fromkeys(("http", "https"), "http"),
}
"""The extra of stemsplit that installs what a scheme needs."""


def path_of(name: str | os.PathLike[str]) -> Path:
    """Return the path for a user's input: a path unchanged, a URL as the path it is kept as.

    Raises:
        UsageError: if the URL contains a password, which would be shown and recorded, or cannot
            be kept as a path.
    """
    text = os.fspath(name)
    if text.lower().startswith(_FILE + "/"):
        return Path(text[len(_FILE) :])
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return Path(text)
    scheme, rest = found["scheme"].lower(), found["rest"].rstrip("/")
    host = rest.partition("/")[0]
    if ":" in host.rpartition("@")[0]:
        raise UsageError(
            f"The URL at {quoted(host.rpartition('@')[2])} contains a password.",
            "Leave it out; use an SSH key, or variables such as AWS_SECRET_ACCESS_KEY.",
        )
    if "//" in rest or {".", ".."} & set(rest.split("/")):
        raise UsageError(
            f"The URL {quoted(text)} contains an empty part, “.” or “..”.",
            "Write the URL without them.",
        )
    return Path(f"/{scheme}:/{rest}")


def local_path(name: str | os.PathLike[str], command: str) -> Path:
    """Return a local path for a user's input.

    Raises:
        UsageError: if it is a URL, which `command` does not accept.
    """
    path = path_of(name)
    if is_remote(path):
        raise UsageError(
            f"{command} does not accept URLs such as {quoted(path)}.",
            "Copy the files to a folder first; `stemsplit separate` and `convert` do that.",
        )
    return path


def is_remote(path: str | bytes | os.PathLike[str]) -> bool:
    """Return whether a path stands for a URL."""
    return _match(path) is not None


def _match(path: str | bytes | os.PathLike[str]) -> re.Match[bytes] | None:
    raw = os.fsencode(path)
    return _PATH.fullmatch(raw.replace(b"\\", b"/") if os.name == "nt" else raw)


def url_of(path: str | bytes | os.PathLike[str]) -> str:
    """Return the URL that a path stands for."""
    scheme, host, rest = split_url(path)
    return f"{scheme}://{host}{rest}"


def split_url(path: str | bytes | os.PathLike[str]) -> tuple[str, str, str]:
    """Return the scheme of a URL, its host or bucket, and the rest, with a leading slash.

    Raises:
        ValueError: if the path stands for no URL.
    """
    found = _match(path)
    if found is None:
        raise ValueError(f"{path!r} stands for no URL")
    return found["scheme"].decode(), os.fsdecode(found["host"]), os.fsdecode(found["rest"])


def module_of(path: str | bytes | os.PathLike[str]) -> str:
    """Return the module that a URL needs, for a fork server to import.

    Raises:
        UsageError: if the module is not installed or the scheme is unknown.
    """
    scheme, _, _ = split_url(path)
    return str(file_system_class(scheme).__module__)


def file_system_class(scheme: str) -> Any:  # noqa: ANN401 - fsspec has no types
    """Return fsspec's class for a scheme.

    Raises:
        UsageError: if what it needs is not installed or the scheme is unknown.
    """
    try:
        import fsspec

        return fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise unusable_scheme(scheme, error) from error


def unusable_scheme(scheme: str, error: Exception) -> UsageError:
    """Return the error for URLs of a scheme that cannot be used."""
    extra = _EXTRAS.get(scheme)
    return UsageError(
        f"URLs that begin with {scheme}:// cannot be used ({error}).",
        f"Run `pip install '.[{extra}]'` in a clone of stemsplit."
        if extra
        else "Install what fsspec needs for them, or copy the files to a folder first.",
    )
