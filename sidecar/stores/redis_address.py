"""What a Redis address says: which servers, which way to find the master, database, user.

    redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]                 one server
    unix://[USER:PASSWORD@]/PATH[?db=DATABASE]                     one server on this machine
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],.../MASTER[/DATABASE][?min_other_sentinels=N]
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],...                some nodes of a cluster, which names the others

`rediss` instead of `redis` means TLS, to the Sentinels as well. User and password are those of the Redis servers, never
of the Sentinels. Pure: nothing is resolved or opened. No error repeats the address, since it may hold a password.
"""

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

from sidecar.stores.interface import StoreUnusable

Kind = Literal["single", "unix", "sentinel", "cluster"]

PORT = 6379
SENTINEL_PORT = 26379
HOSTS = 32  # nobody lists more, and each is asked

_KINDS: dict[str, Kind] = {
    "redis": "single",
    "rediss": "single",
    "unix": "unix",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
SCHEMES = tuple(_KINDS)
_FILES = {"ssl_ca_certs": "ca_file", "ssl_certfile": "certificate", "ssl_keyfile": "key"}  # redis-py's own names
_PATHS: dict[Kind, str] = {
    "single": r"(?:/(?P<database>[0-9]{0,5}))?",
    "unix": r"(?P<path>/.*[^/])",
    "sentinel": r"/(?P<master>[A-Za-z0-9._-]{1,128})(?:/(?P<database>[0-9]{0,5}))?",  # Sentinel's own charset of names
    "cluster": r"(?:/0?)?",  # a cluster has no other database
}
_FORMS: dict[Kind, str] = {
    "single": "HOST:PORT/DATABASE",
    "unix": "/PATH?db=DATABASE",
    "sentinel": "HOST:PORT,HOST:PORT/MASTER/DATABASE",
    "cluster": "HOST:PORT,HOST:PORT",
}


class Host(NamedTuple):
    """Where one server listens."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """An address taken apart. `hosts` is empty for a Unix socket, `master` but for Sentinel."""

    kind: Kind
    tls: bool
    hosts: tuple[Host, ...] = ()
    path: str = ""
    master: str = ""
    database: int = 0
    min_other_sentinels: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        """The place, without user and password."""
        where = self.path or ",".join(map(str, self.hosts))
        return f"{where}/{self.master}" if self.master else where


def parse(url: str) -> RedisAddress:
    """The parts of an address; StoreUnusable when it is none."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _KINDS:
        raise StoreUnusable("store_scheme_unsupported", f"use sqlite:// or one of {', '.join(SCHEMES)}")
    kind = _KINDS[scheme]
    head, _, query = rest.partition("?")
    authority, slash, path = head.partition("/")
    userinfo, _, hosts = authority.rpartition("@")
    found = re.fullmatch(_PATHS[kind], slash + path)
    if found is None or "#" in rest:
        raise _invalid(kind)
    part = found.groupdict()
    options = _options(kind, query, is_tls=scheme.startswith("rediss"))
    database = options.pop("db", "0")
    return RedisAddress(
        kind,
        scheme.startswith("rediss"),
        _hosts(kind, hosts),
        path=unquote(part.get("path") or ""),
        master=part.get("master") or "",
        database=_number(kind, part.get("database") or database),
        min_other_sentinels=_number(kind, options.pop("min_other_sentinels", "0")),
        **_user(userinfo),
        **{_FILES[name]: value for name, value in options.items()},
    )


def _hosts(kind: Kind, text: str) -> tuple[Host, ...]:
    if kind == "unix":
        if text:
            raise _invalid(kind)
        return ()
    hosts = tuple(_host(kind, each) for each in text.split(","))
    if len(hosts) > (1 if kind == "single" else HOSTS):
        raise _invalid(kind)
    return hosts


def _host(kind: Kind, text: str) -> Host:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?", text)
    port = int(found[2] or (SENTINEL_PORT if kind == "sentinel" else PORT)) if found else 0
    if found is None or not 0 < port < 65536:
        raise _invalid(kind)
    return Host(found[1].strip("[]"), port)


def _user(userinfo: str) -> dict[str, str]:
    username, _, password = userinfo.partition(":")
    given = {"username": unquote(username), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _options(kind: Kind, query: str, *, is_tls: bool) -> dict[str, str]:
    """The options after the question mark; others than these would change how the client works."""
    known = {"db"} if kind in {"single", "unix"} else {"min_other_sentinels"} if kind == "sentinel" else set()
    known |= _FILES.keys() if is_tls else set()
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if unknown := sorted(set(names) - known):
        # With an @ in it this is no query, but the end of a password that holds a question mark.
        names_them = "" if "@" in query else f": {', '.join(unknown)}"
        raise _invalid(kind, f"store.url has unknown options{names_them}")
    if len(set(names)) < len(names):
        raise _invalid(kind, "store.url has an option twice")
    return dict(pairs)


def _number(kind: Kind, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise _invalid(kind)
    return int(text)


def _invalid(kind: Kind, what: str = "") -> StoreUnusable:
    return StoreUnusable("store_url_invalid", what or f"store.url is not an address of the form {_FORMS[kind]}")
