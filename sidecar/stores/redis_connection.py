"""One connection to a Redis server: where to, over TLS or not, and as whom. All of it asked anew at each connect.

So a master that moved, a password or a certificate that was rotated need no restart: the next connection has it. Not a
client: commands, pools and errors are `redis_client.py`.
"""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from redis.asyncio.connection import Connection, UnixDomainSocketConnection
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as Lost

from sidecar.stores.interface import StoreUnusable
from sidecar.stores.redis_address import Host

Locate = Callable[[], Awaitable[Host]]


class Credentials(CredentialProvider):
    """User and password. `password` is called for every connection, in a thread: it may read a file."""

    def __init__(self, username: str | None, password: Callable[[], bytes]) -> None:
        self._username = username
        self._password = password

    def __repr__(self) -> str:
        return "<Credentials ***>"

    async def get_credentials_async(self) -> tuple[Any, ...]:
        """The arguments of AUTH."""
        password = await asyncio.to_thread(self._password)
        return (self._username, password) if self._username else (password,)


class Tls:
    """TLS with verified names, 1.2 or newer. Files that change are read again before the next connection.

    Raises StoreUnusable when they cannot be used at the start; later the last good ones stay in use.
    """

    def __init__(self, *, ca_file: str | None = None, certificate: str | None = None, key: str | None = None) -> None:
        self._ca_file = ca_file
        self._certificate = certificate
        self._key = key
        try:
            self._seen = self._versions()
            self._context = self._load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: a NUL in a path
            raise StoreUnusable("store_tls_invalid", f"{self._suspect()} cannot be used: {_why(error)}") from None

    def context(self) -> ssl.SSLContext:
        """For one more connection."""
        try:
            versions = self._versions()
            if versions != self._seen:
                self._context = self._load()
                self._seen = versions  # only now: half-written files are tried again
        except OSError:
            pass  # in the middle of being replaced; what was good goes on being good
        return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._ca_file)  # verifies chain and name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._certificate is not None:
            context.load_cert_chain(self._certificate, self._key)
        return context

    def _versions(self) -> list[tuple[int, int, int]]:
        files = [name for name in (self._ca_file, self._certificate, self._key) if name is not None]
        return [(found.st_ino, found.st_mtime_ns, found.st_size) for found in map(os.stat, files)]

    def _suspect(self) -> str:
        """Which setting is to blame: the CA when it alone does not load."""
        try:
            ssl.create_default_context(cafile=self._ca_file)
        except (OSError, ValueError):
            return f"the CA file {self._ca_file}"
        return f"the client certificate {self._certificate} with its key"


class TcpConnection(Connection):
    """A connection to wherever `locate` says at that moment."""

    def __init__(self, *, locate: Locate, tls: Tls | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._locate = locate
        self._tls = tls

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:  # noqa: FBT001, FBT002 - the library's signature
        """Every way to connect passes here."""
        if not self.is_connected:
            self.host, self.port = await self._locate()
        await super().connect_check_health(check_health, retry_socket_connect)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": self._tls.context() if self._tls else None}

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        _check_open(self._writer)
        await super()._send_packed_command(command)


class UnixConnection(UnixDomainSocketConnection):
    """A connection to a Unix socket."""

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        _check_open(self._writer)
        await super()._send_packed_command(command)


def _check_open(writer: asyncio.StreamWriter | None) -> None:
    """For a write to a transport that is closed already uvloop raises RuntimeError, where asyncio drops the bytes."""
    if writer is None or writer.transport.is_closing():
        raise Lost("the connection was lost")


def fixed(host: Host) -> Locate:
    """The address of a server that never moves."""

    async def locate() -> Host:
        return host

    return locate


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or type(error).__name__
