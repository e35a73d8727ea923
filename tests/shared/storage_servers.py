"""Storage servers on this machine: S3 with injected faults, and SFTP."""

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
    """Return the command of moto's server, installed in its own environment.

    Its web framework and Spleeter's command line need different versions of click. The environment
    is recreated if its lock file has changed.
    """
    folder = platformdirs.user_cache_path("stemsplit-tests") / "moto"
    installed = folder / _MOTO_LOCK.name
    if not installed.exists() or installed.read_bytes() != _MOTO_LOCK.read_bytes():
        uv: list[str | Path] = [sys.executable, "-m", "uv"]
        venv = [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder]
        subprocess.run(venv, check=True)
        install = [*uv, "pip", "install", "--quiet", "--python", folder, "-r", _MOTO_LOCK]
        subprocess.run(install, check=True)
        shutil.copyfile(_MOTO_LOCK, installed)
    return folder / "bin" / "moto_server"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
class S3Server:
    """moto's server behind a proxy that injects faults; a context manager.

    Attributes:
        fault_percent: percentage of requests that fail, in three ways in turn.
        fault_count: number of faults so far.
    """

    fault_percent: float = 0.0
    fault_count: int = 0
    port: int = 0
    _server: subprocess.Popen[bytes] | None = None
    _proxy: ThreadingHTTPServer | None = None
    _random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables with the address and the keys, for botocore."""
        assert self._proxy is not None
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._proxy.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
        }

    def __enter__(self) -> Self:
        """Start the server and the proxy."""
        self.port = _free_port()
        self._server = subprocess.Popen(
            [moto_server(), "--host", "127.0.0.1", "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_for(self.port)
        server = self

        class Handler(_Handler):
            owner = server

        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the proxy and the server."""
        assert self._proxy is not None
        assert self._server is not None
        self._proxy.shutdown()
        self._proxy.server_close()
        self._server.kill()
        self._server.wait()

    def fault(self) -> int:
        """Return the number of a request's fault, 0 for none."""
        if self._random.uniform(0, 100) >= self.fault_percent:
            return 0
        self.fault_count += 1
        return self.fault_count % 3 + 1


class _Handler(BaseHTTPRequestHandler):
    """Forwards requests, or injects a fault."""

    owner: S3Server
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

    def _forward(self) -> None:
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
        response = upstream.getresponse()
        data = response.read()
        upstream.close()
        if fault == 2:  # executed, without a response
            self.close_connection = True
            return
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        if response.getheader("Content-Length") is None:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault == 3:  # cut off halfway
            data = data[: len(data) // 2]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815


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
class SftpServer:
    """An SFTP server for one folder; a context manager.

    Attributes:
        folder: folder for its keys and for the home folder of the client.
        root: folder that it serves.
    """

    folder: Path
    root: Path
    port: int = 0
    _server: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        """The home folder of the client, which has a valid key."""
        return self.folder / "home"

    def __enter__(self) -> Self:
        """Start the server."""
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
        """Stop the server."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()
