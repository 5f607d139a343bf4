"""Real servers for tests: each on a free port, in a folder of its own, ended by its own process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

READY_WITHIN_S = 20.0


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def program(name: str) -> str:
    """The path of an installed program; a clear failure where it is missing. Debian keeps daemons in /usr/sbin."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: run `make test`, which installs it")
    return found


class Server:
    """A process that listens on `port` and keeps its data in `folder`, so that it survives `restart`."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def log_path(self) -> Path:
        return self.folder / f"{type(self).__name__.lower()}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> Self:
        """Returns once the port answers; RuntimeError with the end of the log where it never does."""
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(self.command(), stdout=output, stderr=output, start_new_session=True)
        deadline_s = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.kill()
                tail = self.log_path.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.command()[0]} did not start on port {self.port}:\n{tail}")
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """SIGTERM and wait, so that it writes what it keeps; SIGKILL where it does not listen."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL and wait."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Stopped inside the block, back after it."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Mosquitto(Server):
    """Mosquitto, set up as a gateway's broker has to be. `users`: name → password; without them anyone may connect.

    `tls`: the folder of ca.pem, server.pem and server.key, as `make_certificates` writes them. `extra`: more lines of
    its configuration.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        users: Mapping[str, str] | None = None,
        tls: Path | None = None,
        extra: str = "",
    ) -> None:
        super().__init__(folder, port)
        self._users = dict(users or {})
        self._tls = tls
        self._extra = extra

    def command(self) -> list[str]:
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {self.folder}/",
            "max_queued_messages 0",
            "max_inflight_messages 1000",
            "set_tcp_nodelay true",
            f"allow_anonymous {'false' if self._users else 'true'}",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it changes to a user who may not write to the test's folder
        if self._users:
            lines.append(f"password_file {self._password_file()}")
        if self._tls:
            lines += [f"certfile {self._tls}/server.pem", f"keyfile {self._tls}/server.key"]
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join([*lines, self._extra, ""]))
        return [program("mosquitto"), "-c", str(path)]

    def _password_file(self) -> Path:
        path = self.folder / "passwords"
        path.write_text("".join(f"{name}:{password}\n" for name, password in self._users.items()))
        path.chmod(0o600)
        subprocess.run([program("mosquitto_passwd"), "-U", str(path)], check=True, capture_output=True)
        return path


def make_certificates(folder: Path, host: str = "localhost") -> Path:
    """A certificate authority (ca.pem) and a server certificate of `host` (server.pem, server.key), valid for a day."""
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*arguments: str) -> None:
        subprocess.run([program("openssl"), *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "1", "-subj", "/CN=test CA")
    openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={host}")
    (folder / "names").write_text(f"subjectAltName=DNS:{host}\n")
    issuer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "1")
    openssl("x509", "-req", "-in", "server.csr", *issuer, "-out", "server.pem")
    return folder
