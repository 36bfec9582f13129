"""Runs a real Redis server, of Debian's package `redis-server`, on a loopback port."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

IS_INSTALLED = shutil.which("redis-server") is not None
PASSWORD = "p/ss:word"
URL_PASSWORD = "p%2Fss%3Aword"


class RedisServer:
    """A Redis server that keeps its data when it is killed and started again.

    Attributes:
        url: The URL, with the password.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        """Start the server.

        Args:
            folder: Where the server keeps its data.
            options: Further options of `redis-server`.
        """
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://:{URL_PASSWORD}@127.0.0.1:{self.port}"
        fixed = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--requirepass", PASSWORD)
        self._command = [
            "redis-server",
            *fixed,
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
            *options,
        ]
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def flush(self) -> None:
        """Delete all data."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(f"AUTH {PASSWORD}\r\nFLUSHALL\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                answer += connection.recv(100)
        assert answer == b"+OK\r\n+OK\r\n"

    def kill(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
