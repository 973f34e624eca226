"""Sockets and TLS contexts: made first, so that what is wrong with them is one clear line."""

import contextlib
import errno
import os
import resource
import socket
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sidecar.config.address import Address, TcpAddress, UnixAddress
from sidecar.errors import SidecarError

BACKLOG: Final = 65_535  # Linux makes of it what it allows, net.core.somaxconn (reference case 89)


class CannotStart(SidecarError):
    """Something in the environment keeps the process from serving; the text is one clear line."""


@contextlib.contextmanager
def listening(address: Address, key: str, *, mode: int | None = None) -> Iterator[socket.socket]:
    """A listening socket; `mode`: permissions of a Unix socket. Raises CannotStart with one line that names the key."""
    try:
        listener = _tcp_listener(address) if isinstance(address, TcpAddress) else _unix_listener(address.path, mode)
    except OSError as error:
        # `create_server` puts the address into the text once more. A negative number is the resolver's.
        said = os.strerror(error.errno) if error.errno and error.errno > 0 else "no such host"
        raise CannotStart("cannot_listen", f"{key}: cannot listen on {address}: {said}") from None
    listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        if isinstance(address, UnixAddress):
            stack.enter_context(_removed(Path(address.path)))
        yield listener


def _tcp_listener(address: TcpAddress) -> socket.socket:
    place = (address.host, address.port)
    if ":" not in address.host:
        return socket.create_server(place, backlog=BACKLOG)
    # Every address means IPv4 as well, where the kernel can (reference case 187).
    both = address.host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(place, family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=both)


def _unix_listener(path: str, mode: int | None) -> socket.socket:
    _clear_stale(Path(path))
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        if mode is not None:
            Path(path).chmod(mode)  # before `listen`: until then nobody can connect, whatever the umask left open
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _clear_stale(path: Path) -> None:
    """Remove the socket of a process that was killed: never a file, never a socket that somebody answers."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return  # bind says that the address is in use
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)  # a full backlog is an answer as well
            if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink()


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    """At the end the socket goes, unless a successor has put its own there."""
    ours = path.lstat().st_ino
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_ino == ours:
                path.unlink()


@contextlib.contextmanager
def private_socket() -> Iterator[str]:
    """A path for the control application's socket, in a directory that only this user can enter."""
    with tempfile.TemporaryDirectory(prefix="logout-sidecar-") as folder:
        yield os.path.join(folder, "control")  # noqa: PTH118 - a socket address is a string


def allow_descriptors(needed: int) -> int:
    """Raise the soft limit of open files as far as needed and possible; how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


def client_tls(ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CannotStart("bad_ca_file", f"{ca_file}: not readable CA certificates: {error.strerror}") from None
