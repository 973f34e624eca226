"""Sockets and TLS contexts: made first, so that what is wrong with them is one clear line."""

import contextlib
import os
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sidecar.config.address import Address, TcpAddress
from sidecar.errors import SidecarError


class CannotStart(SidecarError):
    """Something in the environment keeps the process from serving; the text is one clear line."""


@contextlib.contextmanager
def listening(address: Address, key: str) -> Iterator[socket.socket]:
    """A listening socket. Raises CannotStart with one line that names the key."""
    try:
        if isinstance(address, TcpAddress):
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listener = socket.create_server((address.host, address.port), family=family, backlog=1024)
        else:
            Path(address.path).unlink(missing_ok=True)  # left over from a process that was killed
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address.path)
            listener.listen(1024)
    except OSError as error:
        raise CannotStart("cannot_listen", f"{key}: cannot listen on {address}: {error.strerror}") from None
    listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    with listener:
        yield listener


@contextlib.contextmanager
def private_socket() -> Iterator[str]:
    """A path for the control application's socket, in a directory that only this user can enter."""
    with tempfile.TemporaryDirectory(prefix="logout-sidecar-") as folder:
        yield os.path.join(folder, "control")  # noqa: PTH118 - a socket address is a string


def client_tls(ca_file: str | None) -> ssl.SSLContext | None:
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CannotStart("bad_ca_file", f"{ca_file}: not readable CA certificates: {error.strerror}") from None
