"""Runs in a Ray worker. Starts the process of a shard and relays frames between it and the mailbox.

The shard runs in a process of its own, because a Ray worker has threads, and a child could not
import its main program. When the worker ends for any reason, the input of the shard ends, and the
shard stops.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import ray

from stemsplit.core.compat import run_module
from stemsplit.executors.ray_cluster import messages
from stemsplit.models import published
from stemsplit.models.catalogue import find_model
from stemsplit.models.download import import_from

_STOP_SECONDS = 20.0
"""Time that a shard has to stop after its input has ended, before it is killed."""

NEEDS_MODEL = "model"
"""Result of `run_shard` if the node lacks the model and the task does not include it."""


def run_shard(
    mailbox: Any,  # noqa: ANN401 - the handle of an actor has no type
    number: int,
    model_name: str,
    model: bytes | None,
) -> str:
    """Run a shard on this node; the function of a Ray task.

    Args:
        mailbox: the mailbox of the batch (`stemsplit.executors.ray_cluster.mailbox.Mailbox`).
        number: number of the shard.
        model_name: model that it needs; empty if none.
        model: the weights (`pack_model`); None to use those of the node.

    Returns:
        `NEEDS_MODEL`, or an empty text when the shard has ended.

    Raises:
        RuntimeError: if the process of the shard fails.
    """
    node_id = ray.get_runtime_context().get_node_id()
    started = messages.ShardStarted(node_id=node_id)
    ray.get(mailbox.post.remote(number, messages.encode(started)))
    if model_name and not published.is_present(find_model(model_name).weights):
        if model is None:
            return NEEDS_MODEL
        _unpack_model(model_name, model)
    with subprocess.Popen(  # noqa: S603 - this program
        run_module("stemsplit.executors.ray_cluster.shard_worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
    ) as process:
        assert process.stdin is not None  # noqa: S101 - see `stdin` above
        assert process.stdout is not None  # noqa: S101 - see `stdout` above
        try:
            _relay_to_shard(mailbox, number, process.stdin)
            for frame in messages.read_frames(process.stdout):
                # One at a time: an actor with async methods does not keep the order of calls.
                ray.get(mailbox.post.remote(number, frame))
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    if process.returncode:
        raise RuntimeError(f"the shard's process exited with code {process.returncode}")
    return ""


def _relay_to_shard(mailbox: Any, number: int, sink: IO[bytes]) -> None:  # noqa: ANN401 - see above
    """Start a thread that relays frames from the mailbox to the shard."""

    def relay() -> None:
        # Ends with the task: then the mailbox has no more frames for it, or is gone.
        with contextlib.suppress(OSError, ValueError, ray.exceptions.RayError):
            while frames := ray.get(mailbox.fetch.remote(number)):
                for frame in frames:
                    messages.write_frame(sink, frame)
        with contextlib.suppress(OSError, ValueError):
            sink.close()  # the end of its input stops the shard

    threading.Thread(target=relay, name="relay", daemon=True).start()


def _environment() -> dict[str, str]:
    """Return the environment of the node without the variables that Ray sets for its workers."""
    set_by_ray = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in set_by_ray and not name.startswith("RAY_")
    }


def _unpack_model(model_name: str, model: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="stemsplit-model-") as folder:
        archive = Path(folder) / f"{model_name}.tar"
        archive.write_bytes(model)
        import_from(find_model(model_name).weights, archive)


def pack_model(folder: Path) -> bytes:
    """Return the files of a model as an uncompressed tar archive."""
    import tarfile

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                tar.add(file, arcname=file.name)
    return archive.getvalue()
