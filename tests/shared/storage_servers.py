"""Servers of remote storage on this machine: one that speaks S3, with faults, and one for SFTP."""

from __future__ import annotations

import http.client
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

_START_SECONDS = 30.0

_MOTO_LOCK = Path(__file__).parents[1] / "requirements" / "moto.txt"


def moto_server() -> Path:
    """Return the command of moto's server, installed in an environment of its own.

    Its web framework and Spleeter's command line need different versions of click. The environment
    is made again when its lock file has changed.
    """
    folder = platformdirs.user_cache_path("stemsplit-tests") / "moto"
    installed = folder / _MOTO_LOCK.name
    if not installed.exists() or installed.read_bytes() != _MOTO_LOCK.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "-r", _MOTO_LOCK], check=True)
        shutil.copyfile(_MOTO_LOCK, installed)
    return folder / "bin" / "moto_server"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


@dataclass
class Storage:
    """moto's server, and before it a proxy that makes faults; a context manager.

    Attributes:
        faults: how many of a hundred requests go wrong; three kinds of faults in turn.
        made: how many did.
    """

    faults: float = 0.0
    made: int = 0
    port: int = 0
    _server: subprocess.Popen[bytes] | None = None
    _proxy: ThreadingHTTPServer | None = None
    _dice: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311

    @property
    def environment(self) -> Mapping[str, str]:
        """What botocore finds the server and its keys by."""
        assert self._proxy is not None
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._proxy.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
        }

    def __enter__(self) -> Self:
        """Start both."""
        self.port = _free_port()
        self._server = subprocess.Popen(
            [moto_server(), "--host", "127.0.0.1", "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_for(self.port)
        storage = self

        class Handler(_Handler):
            owner = storage

        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop both."""
        assert self._proxy is not None
        assert self._server is not None
        self._proxy.shutdown()
        self._proxy.server_close()
        self._server.kill()
        self._server.wait()

    def fault(self) -> int:
        """Draw a fault: 0 is none."""
        if self._dice.uniform(0, 100) >= self.faults:
            return 0
        self.made += 1
        return self.made % 3 + 1


class _Handler(BaseHTTPRequestHandler):
    """Passes requests on, or not."""

    owner: Storage
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _pass_on(self) -> None:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body, fault = self._body(), self.owner.fault()
        if fault == 1:
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        upstream = http.client.HTTPConnection("127.0.0.1", self.owner.port)
        upstream.request(
            self.command, self.path, body, headers | {"Content-Length": str(len(body))}
        )
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        if fault == 2:  # it was done, and nobody hears of it
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault == 3:  # cut off in the midst
            data = data[: len(data) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815


_SFTP_SERVER = """
import asyncio, sys
import asyncssh

async def main(port, key, keys, root):
    class Server(asyncssh.SSHServer):
        pass
    def factory(channel):
        return asyncssh.SFTPServer(channel, chroot=root)
    await asyncssh.create_server(Server, "127.0.0.1", int(port), server_host_keys=[key],
        authorized_client_keys=keys, sftp_factory=factory)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class SftpStorage:
    """A server of SFTP for one folder; a context manager.

    Attributes:
        folder: takes its keys, and the home folder of whoever may come in.
        root: what it serves.
    """

    folder: Path
    root: Path
    port: int = 0
    _server: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """The home folder of whoever may come in."""
        return self.folder / "home"

    def __enter__(self) -> Self:
        """Start it."""
        import asyncssh

        self.port = _free_port()
        ssh = self.home / ".ssh"
        ssh.mkdir(parents=True)
        host, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        host.write_private_key(str(self.folder / "host"))
        client.write_private_key(str(ssh / "id_ed25519"))
        client.write_public_key(str(self.folder / "authorized"))
        public = host.export_public_key().decode().strip()
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")
        arguments = (self.port, self.folder / "host", self.folder / "authorized", self.root)
        self._server = subprocess.Popen([sys.executable, "-c", _SFTP_SERVER, *map(str, arguments)])
        _wait_for(self.port)
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop it."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
