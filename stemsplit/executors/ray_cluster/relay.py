"""Runs in a worker of Ray's. Carries frames between a shard's process and the desk.

The shard runs in a process of its own, because a worker of Ray's has threads, and its main program
is none that a child could import. When the worker ends, however that happens, the shard's input
ends, and so does the shard.
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
from stemsplit.models import store
from stemsplit.models.catalogue import find
from stemsplit.models.fetch import import_from

_END_SECONDS = 20.0
"""So long a shard may take to end when its input has ended."""

NEEDS_MODEL = "model"
"""Is returned instead of doing the shard where the node has no model and was given none."""


def carry(
    mailbox: Any,  # noqa: ANN401 - the handle of an actor has no type
    number: int,
    model_name: str,
    model: bytes | None,
) -> str:
    """Do a shard on this node; the body of a task.

    Args:
        mailbox: takes what the shard says, and has what it is told.
        number: of the shard.
        model_name: of the model that it needs; empty if none.
        model: its files, if the node is given them (`packed`).

    Returns:
        `NEEDS_MODEL`, or an empty text when all was said.
    """
    node = ray.get_runtime_context().get_node_id()
    ray.get(mailbox.post.remote(number, messages.encode(messages.Arrived(node=node))))
    if model_name and not store.is_present(find(model_name).weights):
        if model is None:
            return NEEDS_MODEL
        _unpack(model_name, model)
    with subprocess.Popen(  # noqa: S603 - this very program
        run_module("stemsplit.executors.ray_cluster.shard_worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
    ) as process:
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101 - likewise
        try:
            _pass_orders_on(mailbox, number, process.stdin)
            for frame in messages.frames(process.stdout):
                # One after the other: an actor with async methods keeps no order of its own.
                ray.get(mailbox.post.remote(number, frame))
        finally:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    if process.returncode:
        raise RuntimeError(f"the shard's process ended with exit code {process.returncode}")
    return ""


def _pass_orders_on(mailbox: Any, number: int, sink: IO[bytes]) -> None:  # noqa: ANN401 - see above
    def carry_orders() -> None:
        # Ends with the task: the desk then has no orders for it any more, or is gone itself.
        with contextlib.suppress(OSError, ValueError, ray.exceptions.RayError):
            while True:
                orders = ray.get(mailbox.orders.remote(number))
                if not orders:
                    break
                for order in orders:
                    messages.write_frame(sink, order)
        with contextlib.suppress(OSError, ValueError):
            sink.close()  # nobody is there any more who could allow anything

    threading.Thread(target=carry_orders, name="orders", daemon=True).start()


def _environment() -> dict[str, str]:
    """Give the shard the environment of the node, without what Ray sets for its workers."""
    ours = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("RAY_")
    }


def _unpack(model_name: str, model: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="stemsplit-model-") as folder:
        archive = Path(folder) / f"{model_name}.tar"
        archive.write_bytes(model)
        import_from(find(model_name).weights, archive)


def packed(folder: Path) -> bytes:
    """Put the files of a model into one archive, to be given to nodes."""
    import tarfile

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in sorted(folder.iterdir()):
            if file.is_file():
                tar.add(file, arcname=file.name)
    return archive.getvalue()
