"""A real mosquitto for the tests: TLS, users, persistence and an access list where asked, and its faults."""

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

START_SECONDS = 60.0


_PORTS = range(10_000, 32_000)
"""Below those that the system gives to connections: one of them would be taken while a test has it closed."""


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens at."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


@dataclass(frozen=True)
class Certificates:
    """An authority, certificates of a server named `localhost` and of a client, and a stranger authority."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    other_ca: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Make them with openssl."""

        def openssl(*arguments: object) -> None:
            subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        for name in ("ca", "other_ca"):
            files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
            openssl("req", "-x509", *key, *files, "-days", 30, "-subj", f"/CN=test {name}")
        for name, subject in (("server", "localhost"), ("client", "client")):
            request = folder / f"{name}.csr"
            openssl(
                "req", *key, "-keyout", folder / f"{name}.key", "-out", request, "-subj", f"/CN={subject}"
            )
            extensions = folder / f"{name}.ext"
            extensions.write_text(f"subjectAltName=DNS:{subject}\n")
            signer = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial")
            openssl(
                *("x509", "-req", "-in", request, *signer, "-out", folder / f"{name}.pem", "-days", 30),
                *("-extfile", extensions),
            )
        names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key", "other_ca.pem")
        return cls(*(folder / name for name in names))


class Mosquitto:
    """A broker in a folder of its own; a context manager that has it running."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        users: dict[str, str] | None = None,
        certificates: Certificates | None = None,
        client_certificates: bool = False,
        persistent: bool = False,
        access: str | None = None,
        more: Sequence[str] = (),
    ) -> None:
        """Settle its rules.

        `users` maps names to passwords, none let everybody in; `access` is the text of an access list, `more`
        are lines of its configuration.
        """
        self.folder = folder
        self.port = port or free_port()
        self._users = users
        self._certificates = certificates
        self._client_certificates = client_certificates
        self._persistent = persistent
        self._access = access
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What the broker wrote so far."""
        return (self.folder / "mosquitto.log").read_text()

    def start(self) -> None:
        """Start, and return when it listens."""
        self._configure()
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = ["mosquitto", "-v", "-c", self.folder / "mosquitto.conf"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0),
            ):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mosquitto doesn't start:\n{self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it in order, if it runs."""
        if self._process:
            self.thaw()
            self._process.terminate()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End it as a crash would; what it hadn't written to disk is forgotten."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Have it hang: connections stay, nothing is answered."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on where it was frozen."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def set_users(self, users: dict[str, str]) -> None:
        """Change who may connect, as from the next connection."""
        self._users = users
        self._configure()
        self.reload()

    def reload(self) -> None:
        """Have it read its files again."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    def _configure(self) -> None:
        lines = [f"listener {self.port} 127.0.0.1", "user root", "max_queued_messages 100000"]
        if self._users is None:
            lines.append("allow_anonymous true")
        else:
            passwords = self.folder / "passwords"
            passwords.write_text("".join(f"{name}:{word}\n" for name, word in self._users.items()))
            subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
            lines.append(f"password_file {passwords}")
        if self._access is not None:
            (self.folder / "access").write_text(self._access)
            lines.append(f"acl_file {self.folder / 'access'}")
        if self._certificates:
            lines.append(f"cafile {self._certificates.ca}")
            lines.append(f"certfile {self._certificates.server}")
            lines.append(f"keyfile {self._certificates.server_key}")
        if self._client_certificates:
            lines.append("require_certificate true")
        if self._persistent:
            lines += ["persistence true", f"persistence_location {self.folder}/", "autosave_interval 1"]
        lines += self._more
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def mosquitto(folder: Path, **options: object) -> Iterator[Mosquitto]:
    """Run a broker in a new folder below `folder`."""
    home = folder / f"mosquitto-{time.monotonic_ns()}"
    home.mkdir(parents=True)
    with Mosquitto(home, **options) as broker:
        yield broker
