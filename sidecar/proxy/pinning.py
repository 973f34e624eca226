"""Authentication that belongs to a connection instead of a request: NTLM and Negotiate (reference case 83).

IIS and its kin let everything pass that comes on a connection once somebody has authenticated on it. Such a connection
to the app must serve nobody but that client. When the app asks for such an authentication (401), its connection is
pinned to the client's and ends with it. A client that authenticates unasked has its connection for that one request:
its word alone pins nothing, else a stranger could take a connection of the app for each one of their own.
"""

from collections.abc import Iterable
from typing import Final

from sidecar.http1.fields import parse_line
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead
from sidecar.proxy.pool import is_spent
from sidecar.proxy.upstream import Upstream

_SCHEMES: Final = (b"ntlm", b"negotiate")


class Pin:
    """Holds the connection to the app that belongs to one client."""

    __slots__ = ("_upstream",)

    def __init__(self) -> None:
        self._upstream: Upstream | None = None

    def hold(self, upstream: Upstream) -> None:
        """This one, and no other that was held before."""
        if self._upstream is not upstream:
            self.release()
            upstream.pin()
            self._upstream = upstream

    def get(self) -> Upstream | None:
        """The connection, unless the app has closed it."""
        if self._upstream is not None and is_spent(self._upstream):
            self.release()
        return self._upstream

    def release(self, *, but: Upstream | None = None) -> None:
        """The client asks no more: nobody may use the connection after it. `but` is in use for something else."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None and upstream is not but:
            upstream.close()


def authenticates_connection(request: RequestHead) -> bool:
    """Whether the client answers such a challenge."""
    return any(map(_is_scheme, request.special.get(b"authorization", ())))


def challenges_connection(response: ResponseHead) -> bool:
    """Whether the app asks for it; called for a 401."""
    return any(_is_scheme(part) for value in _challenges(response) for part in value.split(b","))


def _challenges(response: ResponseHead) -> Iterable[bytes]:
    return (value for name, value in map(parse_line, response.lines) if name == b"www-authenticate")


def _is_scheme(value: bytes) -> bool:
    return value.replace(b"\t", b" ").lstrip().partition(b" ")[0].lower() in _SCHEMES  # IIS takes a tab as well
