"""Redis in all its shapes, for tests: TLS, a Unix socket, Sentinels, a cluster; each with the documented ACL.

Everything listens on loopback and is a child process of ours, ended by `close`. The administrator's password is
`ADMIN`; the sidecar's user has exactly the rights that docs/operations.md lists.
"""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.crc import key_slot

from sidecar.stores.backoff import until_done

ADMIN = "the-administrator"
USER, PASSWORD = "lg", "the-sidecar"
OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
LOG_SLOT = key_slot(b"{lg:rv}:log")


def rights(heading: str) -> list[str]:
    """The rules of the ACL that docs/operations.md gives under these words."""
    text = OPERATIONS.read_text().partition(heading)[2]
    line = re.search(r"^user lg on >PASSWORD (.+)$", text, re.MULTILINE)
    assert line, heading
    return line[1].split()


async def taken(operation: Callable[[], Awaitable[Any]]) -> Any:
    """Try until the store does it, as a process does: on a busy machine one of its short time-outs may strike."""
    async with asyncio.timeout(20):
        return await until_done(operation)


def wait_until(condition: Callable[[], Any], limit: float = 30) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


class Admin:
    """Commands as the administrator of one server."""

    def __init__(self, port: int, password: str | None = ADMIN) -> None:
        self._options: dict[str, Any] = {"port": port, "password": password, "socket_timeout": 5, "protocol": 2}

    def __call__(self, *words: str | bytes | int) -> Any:
        with redis.Redis(**self._options) as client:
            return client.execute_command(*words)


def guard(server: Any, acl: str = "The smallest ACL") -> Admin:
    """Give a server its two users, and take all rights from everybody else."""
    server.command("ACL", "SETUSER", USER, "on", f">{PASSWORD}", *rights(acl))
    server.command("CONFIG", "SET", "requirepass", ADMIN)
    server.command = Admin(server.port)
    return server.command


class Sentinels:
    """Sentinels that watch one master under the name `main`; they need a password as well."""

    def __init__(self, program: str, folder: Path, ports: list[int], master: int) -> None:
        self.ports = ports
        self._processes = [self._start(program, folder / str(port), port, master) for port in ports]
        for port in ports:
            wait_until(lambda port=port: self._answers(port))

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def suspend(self, index: int) -> None:
        """SIGSTOP: its connections stay open, it answers nothing. Until `close`."""
        self._processes[index].send_signal(signal.SIGSTOP)

    def ready_for_failover(self, replicas: int) -> None:
        """Wait until all know each other and the replicas."""
        for port in self.ports:
            wait_until(
                lambda port=port: (
                    (state := Admin(port, None)("SENTINEL MASTER", "main"))["num-other-sentinels"]
                    == len(self.ports) - 1
                    and state["num-slaves"] == replicas
                )
            )

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @staticmethod
    def _start(program: str, folder: Path, port: int, master: int) -> "subprocess.Popen[bytes]":
        folder.mkdir(parents=True)
        lines = [
            *(f"port {port}", "bind 127.0.0.1", f"dir {folder}"),
            f"sentinel monitor main 127.0.0.1 {master} 2",
            f"sentinel auth-pass main {ADMIN}",
            *("sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 3000"),
            f"user {USER} on >{PASSWORD} {' '.join(rights('For the Sentinels'))}",
        ]
        (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
        with (folder / "log").open("wb") as output:
            return subprocess.Popen([program, folder / "sentinel.conf", "--sentinel"], stdout=output, stderr=output)

    @staticmethod
    def _answers(port: int) -> bool:
        try:
            return bool(Admin(port, None)("PING"))
        except redis.ConnectionError:
            return False


class Cluster:
    """Three masters that share the slots, and a replica of the one that has the log."""

    def __init__(self, servers: list[Any]) -> None:
        self.servers = servers
        masters = servers[:3]
        for number, (server, span) in enumerate(zip(masters, ((0, 5460), (5461, 10922), (10923, 16383)), strict=True)):
            server.command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            server.command("CLUSTER ADDSLOTSRANGE", *span)
        for server in servers[1:]:
            servers[0].command("CLUSTER MEET", "127.0.0.1", server.port, server.settings["cluster-port"])
        wait_until(lambda: all(self._knows_all(server) for server in servers))
        servers[3].command("CLUSTER REPLICATE", self.id_of(self.owner()))
        wait_until(lambda: servers[3].command("INFO", "replication").get("master_link_status") == "up")
        wait_until(lambda: all(server.command("CLUSTER INFO")["cluster_state"] == "ok" for server in servers))

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])

    def owner(self) -> Any:
        """The master of the log's slot."""
        return self.owner_of(LOG_SLOT)

    def owner_of(self, slot: int) -> Any:
        """The master of a slot, as it sees itself."""
        return next(server for server in self.servers if self._has(server, slot))

    def replica(self) -> Any:
        return next(server for server in self.servers if server.command("ROLE")[0] == b"slave")

    def masters(self) -> list[Any]:
        return [server for server in self.servers if server.command("ROLE")[0] == b"master"]

    def id_of(self, server: Any) -> bytes:
        return server.command("CLUSTER MYID")

    def move_log(self) -> None:
        """Move the log's slot with all keys to another master, step by step as resharding does."""
        source = self.owner()
        target = next(server for server in self.masters() if server is not source)
        target.command("CLUSTER SETSLOT", LOG_SLOT, "IMPORTING", self.id_of(source))
        source.command("CLUSTER SETSLOT", LOG_SLOT, "MIGRATING", self.id_of(target))
        while keys := source.command("CLUSTER GETKEYSINSLOT", LOG_SLOT, 10):
            words = ("", 0, 5000, "AUTH", ADMIN, "KEYS", *keys)
            source.command("MIGRATE", "127.0.0.1", target.port, *words)
        for server in (target, source):
            server.command("CLUSTER SETSLOT", LOG_SLOT, "NODE", self.id_of(target))

    def _knows_all(self, server: Any) -> bool:
        nodes = server.command("CLUSTER NODES")
        return len(nodes) == len(self.servers) and all(node["connected"] for node in nodes.values())

    @staticmethod
    def _has(server: Any, slot: int) -> bool:
        """Each line: id, address, flags, master, ..., then what it has: `0-5460`, `7000`, `[93->-id]` while moving."""
        (mine,) = (node for node in server.command("CLUSTER NODES").values() if "myself" in node["flags"])
        return any(int(first) <= slot <= int(last[0] if last else first) for first, *last in mine["slots"])


class Authority:
    """A certificate authority of our own, with one certificate for 127.0.0.1 and one for a client."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test authority {folder.name}")])
        authority = self._certificate(self._name, self._key.public_key(), is_authority=True)
        self.ca_file = self._write("ca.pem", authority.public_bytes(serialization.Encoding.PEM))
        self.certificate, self.key = self.issue("server")
        self.client_certificate, self.client_key = self.issue("client")

    def issue(self, name: str, host: str = "127.0.0.1") -> tuple[str, str]:
        """Paths of a certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certificate(subject, key.public_key(), host=host)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._write(f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", pem),
        )

    def server_settings(self, port: int) -> dict[str, str]:
        return {
            "tls-port": str(port),
            "tls-cert-file": self.certificate,
            "tls-key-file": self.key,
            "tls-ca-cert-file": self.ca_file,
            "tls-auth-clients": "yes",
        }

    def _write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def _certificate(self, subject: Any, key: Any, *, host: str = "127.0.0.1", is_authority: bool = False) -> Any:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())


class Places:
    """Starts what is asked for, once, and ends all of it. `start(program, folder, **settings)` starts a server."""

    def __init__(self, start: Callable[..., Any], free_port: Callable[[], int], folder: Path, program: str) -> None:
        self._start = start
        self._free_port = free_port
        self._folder = folder
        self._program = program
        self._ended = contextlib.ExitStack()

    def close(self) -> None:
        self._ended.close()

    def server(self, **settings: str) -> Any:
        server = self._start(self._folder / f"server-{self._free_port()}", **settings)
        self._ended.callback(server.kill)
        return server

    def guarded(self, acl: str = "The smallest ACL", **settings: str) -> Any:
        server = self.server(**settings)
        guard(server, acl)
        return server

    def sentinels(self, master: Any, count: int = 3) -> Sentinels:
        ports = [self._free_port() for _ in range(count)]
        sentinels = Sentinels(self._program, self._folder / f"sentinels-{ports[0]}", ports, master.port)
        self._ended.callback(sentinels.close)
        return sentinels

    def cluster(self) -> Cluster:
        settings = {"cluster-enabled": "yes", "cluster-node-timeout": "3000", "masterauth": ADMIN}
        bus = [{"cluster-port": str(self._free_port())} for _ in range(4)]
        return Cluster([self.guarded("In a cluster", **settings, **each) for each in bus])

    def authority(self) -> Authority:
        return Authority(self._folder / f"authority-{self._free_port()}")

    def socket_path(self) -> str:
        """For a Unix socket; a test folder's own path may be too long. A killed server leaves it behind."""
        path = Path(tempfile.gettempdir()) / f"logout-sidecar-test-{self._free_port()}.sock"
        self._ended.callback(path.unlink, missing_ok=True)
        return str(path)

    def free_port(self) -> int:
        return self._free_port()


def password() -> bytes:
    return PASSWORD.encode()


def flush(servers: Iterator[Any] | list[Any]) -> None:
    for server in servers:
        server.command("FLUSHALL")
