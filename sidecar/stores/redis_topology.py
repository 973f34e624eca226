"""From an address to clients: one server, a Unix socket, the master that Sentinels name, or a cluster.

One client for each role, so that a slow answer in one never delays the others. The time-outs here are the documented
bounds: a call of the reader fails within 2.5 s, of the writer within 1.2 s, of the bindings within 0.5 s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from sidecar.stores.interface import WAIT_S
from sidecar.stores.redis_address import Host, RedisAddress
from sidecar.stores.redis_client import Client, Commands
from sidecar.stores.redis_cluster import ClusterClient, SlotMap
from sidecar.stores.redis_connection import Credentials, Tls, fixed
from sidecar.stores.redis_sentinel import TIMEOUT_S, Sentinels

READER = {"connections": 1, "timeout_s": WAIT_S + 1.0}  # a hung server is noticed 1.25 s after the question
WRITER = {"connections": 2, "timeout_s": 0.6}
BINDINGS = {"connections": 8, "timeout_s": 0.25}
FINDER = {"connections": 1, "timeout_s": TIMEOUT_S}


class Finder(Protocol):
    """Who knows where the servers are."""

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""


@dataclass(frozen=True, slots=True)
class Clients:
    """One client for each role."""

    reader: Commands
    writer: Commands
    bindings: Commands
    finder: Finder | None = None

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""
        for each in (self.reader, self.writer, self.bindings, self.finder):
            if each is not None:
                await each.aclose()


def connect(
    address: RedisAddress,
    *,
    home: str,
    tls: Tls | None = None,
    credentials: Credentials | None = None,
    sentinel_credentials: Credentials | None = None,
) -> Clients:
    """Clients that connect when they are used. `home` is a key of the log: in a cluster its slot has all of it."""
    make = partial(Client, credentials=credentials, database=address.database)
    if address.kind == "cluster":
        return _in_cluster(address, partial(_of_host, make, tls), home)
    place = str(address)
    if address.kind == "unix":
        return _roles(partial(make, place))
    if address.kind == "single":
        return _roles(partial(make, place, tls=tls, locate=fixed(address.hosts[0])))
    ask = partial(_of_host, partial(Client, credentials=sentinel_credentials, masters_only=False), tls)
    sentinels = Sentinels(
        [ask(host, **FINDER) for host in address.hosts],
        master=address.master,
        min_others=address.min_other_sentinels,
        place=place,
    )
    return _roles(partial(make, place, tls=tls, locate=sentinels.locate), sentinels)


def _roles(make: Callable[..., Client], finder: Finder | None = None) -> Clients:
    return Clients(make(**READER), make(**WRITER), make(**BINDINGS), finder)


def _of_host(make: Callable[..., Client], tls: Tls | None, host: Host, **options: Any) -> Client:
    return make(str(host), tls=tls, locate=fixed(host), **options)


def _in_cluster(address: RedisAddress, make: Callable[..., Client], home: str) -> Clients:
    place = str(address)
    slots = SlotMap(address.hosts, connect=partial(make, masters_only=False, **FINDER), place=place)

    def role(options: dict[str, Any], *, home: str | None) -> ClusterClient:
        timeout_s = options["timeout_s"]
        return ClusterClient(slots, connect=partial(make, **options), place=place, timeout_s=timeout_s, home=home)

    return Clients(role(READER, home=home), role(WRITER, home=home), role(BINDINGS, home=None), slots)
