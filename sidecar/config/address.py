"""Where things are: addresses to listen on, URLs, networks, the store.

Parsed once, here, so that nobody else takes a URL apart. A URL that identifies something (an issuer) keeps its exact
text. A URL with a user or a password is refused, but for the store, whose text is then kept out of every `repr`.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

from sidecar.config.values import wrong
from sidecar.stores.interface import StoreUnusable
from sidecar.stores.redis_address import SCHEMES, RedisAddress
from sidecar.stores.redis_address import parse as parse_redis

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")
_PORT = re.compile(r"[0-9]{1,5}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNIX_PATH_LIMIT = 107  # sun_path of Linux, less its closing NUL

LISTEN_FORM = "HOST:PORT such as 0.0.0.0:4180, [::1]:4180, or unix:/path"
UPSTREAM_FORM = "http://HOST:PORT, https://HOST:PORT or unix:/path"
STORE_FORM = "sqlite:////path, redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host and a port; the host of an IPv6 address has no brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress


@dataclass(frozen=True, slots=True)
class UpstreamUrl:
    """Where the app listens."""

    scheme: Literal["http", "https"]
    address: Address

    def __str__(self) -> str:
        return f"{self.scheme}://{self.address}" if isinstance(self.address, TcpAddress) else str(self.address)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Which store. `path` is the SQLite file, None in memory; `url` and `redis` may hold a password."""

    kind: Literal["sqlite", "redis"]
    url: str = field(repr=False)
    path: str | None = None
    redis: RedisAddress | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.url if self.kind == "sqlite" else f"{self.url.partition('://')[0]}://***"


# --- hosts and ports ---


def is_loopback(host: str) -> bool:
    """True only for what cannot leave the machine; a name is trusted only where a standard reserves it (RFC 6761)."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tcp(host: str, port: str, form: str) -> TcpAddress:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ip(host, 6):
            raise wrong("not an IPv6 address in the brackets", form)
    elif not _HOST_NAME.fullmatch(host) or (re.fullmatch(r"[0-9.]+", host) and not _is_ip(host, 4)):
        raise wrong("not a host name or address", form)
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise wrong("not a port", "a port from 0 to 65535")
    return TcpAddress(host, int(port))


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _unix(text: str, form: str) -> UnixAddress:
    path = text.removeprefix("unix:")
    path = "/" + path.lstrip("/") if path.startswith("//") else path
    if not path.startswith("/") or path.endswith("/") or "\x00" in path:
        raise wrong("the path of a Unix socket is absolute", form)
    if len(path.encode(errors="replace")) > _UNIX_PATH_LIMIT:
        raise wrong("the path of the Unix socket is too long", f"at most {_UNIX_PATH_LIMIT} bytes")
    return UnixAddress(path)


def parse_listen(value: object) -> Address:
    """`host:port`, `[::1]:port`, `unix:/path`. Port 0 lets the system choose."""
    if isinstance(value, TcpAddress | UnixAddress):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        raise wrong("not an address to listen on", LISTEN_FORM, f"0.0.0.0:{value}")
    if not isinstance(value, str):
        raise wrong("not an address to listen on", f"{LISTEN_FORM}; quote it if it has brackets")
    if value.startswith("unix:"):
        return _unix(value, LISTEN_FORM)
    host, colon, port = value.rpartition(":")
    if not colon or "/" in value:
        raise wrong("not an address to listen on", LISTEN_FORM)
    if not host:
        raise wrong("the host is missing", LISTEN_FORM, "0.0.0.0 before the port, for every interface")
    if ":" in host and not host.startswith("["):
        raise wrong("an IPv6 address stands in brackets", LISTEN_FORM)
    return _tcp(host, port, LISTEN_FORM)


# --- URLs ---


def _split(url: str, form: str) -> tuple[SplitResult, TcpAddress]:
    """An absolute http(s) URL taken apart, refused when two readers could take it apart differently."""
    if not re.fullmatch(r"[!-~]{1,2048}", url) or "\\" in url:
        raise wrong("not a URL", form)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise wrong("not a URL", form) from None
    if parts.scheme not in _DEFAULT_PORTS or not url.lower().startswith(f"{parts.scheme}://"):
        raise wrong("not an http or https URL", form)
    if "@" in parts.netloc:
        raise wrong("a URL must not carry a user or a password", form)
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([^:]*))?", parts.netloc)
    if match is None:
        raise wrong("not a URL: the host cannot be read", form)
    port = str(_DEFAULT_PORTS[parts.scheme]) if match[2] is None else match[2]
    address = _tcp(match[1], port, form)
    if address.port == 0:
        raise wrong("not a port", "a port from 1 to 65535")
    return parts, address


def _issuer(url: str) -> str:
    form = "the issuer exactly as it stands in the provider's tokens, https://HOST/PATH"
    parts, _ = _split(url, form)
    if parts.query or parts.fragment or "?" in url or "#" in url:  # OpenID Connect Core 1.0 section 2, `iss`
        raise wrong("an issuer has no query and no fragment", form)
    return url


def _endpoint(url: str) -> str:
    form = "an http(s) URL without fragment"
    _split(url, form)
    if "#" in url:
        raise wrong("a URL of an endpoint has no fragment", form)
    return url


def _origin(url: str) -> str:
    form = "an origin such as https://app.example.com"
    parts, _ = _split(url, form)
    if parts.path not in {"", "/"} or "?" in url or "#" in url:
        raise wrong("only scheme, host and port belong here", form)
    return f"{parts.scheme}://{parts.netloc}"


def parse_upstream(value: object) -> UpstreamUrl:
    """`http(s)://host:port` or `unix:/path`."""
    if isinstance(value, UpstreamUrl):
        return value
    if not isinstance(value, str):
        raise wrong("not the URL of an app", UPSTREAM_FORM)
    if value.startswith("unix:"):
        return UpstreamUrl("http", _unix(value, UPSTREAM_FORM))
    if re.fullmatch(r"[A-Za-z0-9.\[\]:_-]+:[0-9]+/?", value) and "//" not in value:
        raise wrong("the scheme is missing", UPSTREAM_FORM, "http:// before it")
    parts, address = _split(value, UPSTREAM_FORM)
    if parts.path not in {"", "/"} or "?" in value or "#" in value:
        raise wrong("only scheme, host and port belong here; paths pass unchanged", UPSTREAM_FORM)
    return UpstreamUrl("https" if parts.scheme == "https" else "http", address)


def parse_store(value: object) -> StoreUrl:
    """SQLite in SQLAlchemy's convention, or a Redis."""
    if isinstance(value, StoreUrl):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,2048}", value):
        raise wrong("not the URL of a store", STORE_FORM)
    scheme, separator, rest = value.partition("://")
    if separator and scheme == "sqlite":
        return StoreUrl("sqlite", value, _sqlite_path(rest))
    if not separator or scheme not in SCHEMES:
        raise wrong("not the URL of a store", STORE_FORM)
    return StoreUrl("redis", value, redis=_redis(value))


def _sqlite_path(rest: str) -> str | None:
    if rest in {"", "/", "/:memory:"}:
        return None
    if not rest.startswith("/"):
        raise wrong("a slash is missing", "sqlite:////absolute/path, sqlite:///relative/path, sqlite:// in memory")
    if rest.endswith("/") or "?" in rest or "#" in rest:
        raise wrong("not the path of a database file", "sqlite:////absolute/path/state.db")
    return rest[1:]


def _redis(url: str) -> RedisAddress:
    try:
        address = parse_redis(url)
    except StoreUnusable as error:
        raise wrong(str(error).removeprefix("store.url "), STORE_FORM) from None  # the path is named anyway
    for host in address.hosts:
        _tcp(f"[{host.name}]" if ":" in host.name else host.name, str(host.port), "HOST:PORT")
    return address


# --- networks ---

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(value: object) -> Network:
    """An address block; host bits are an error, since they are nearly always a slip in the prefix length."""
    form = "a network such as 10.0.0.0/8"
    if isinstance(value, Network):
        return value
    if not isinstance(value, str) or "%" in value:
        raise wrong("not a network", form)
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise wrong("not a network", form) from None
    raise wrong("the address has bits behind the prefix length", form, str(network))


def parse_trusted(value: object) -> Network | Literal["unix"]:
    """A network, or `unix` for whoever may open the Unix socket that is listened on."""
    return "unix" if value == "unix" else parse_network(value)


def parse_ip(text: str) -> str:
    """One address, without brackets, zone or port."""
    if not (_is_ip(text, 4) or (_is_ip(text, 6) and "%" not in text)):
        raise wrong("not an IP address", "an address such as 10.1.2.3")
    return text


# --- as types of settings ---


def _described(form: str, pattern: str, *examples: str) -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string", "pattern": pattern, "examples": list(examples)}
    return WithJsonSchema({**schema, "description": form})


_as_text = PlainSerializer(str, return_type=str, when_used="unless-none")

Listen = Annotated[
    Address,
    BeforeValidator(parse_listen),
    _as_text,
    _described(
        LISTEN_FORM, r"^(unix:/.+|(\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+):[0-9]{1,5})$", "0.0.0.0:4180", "unix:/run/a.sock"
    ),
]
Upstream = Annotated[
    UpstreamUrl,
    BeforeValidator(parse_upstream),
    _as_text,
    _described(UPSTREAM_FORM, r"^(unix:/.+|https?://[^/?#@]+/?)$", "http://127.0.0.1:8080"),
]
Store = Annotated[
    StoreUrl,
    BeforeValidator(parse_store),
    _as_text,
    _described(
        STORE_FORM, r"^(sqlite://|unix://.|rediss?(\+(sentinel|cluster))?://.)", "sqlite:////var/lib/app/state.db"
    ),
]
TrustedPeer = Annotated[
    Network | Literal["unix"],
    BeforeValidator(parse_trusted),
    _as_text,
    _described("A network, or unix", r"^([0-9A-Fa-f:.]+(/[0-9]{1,3})?|unix)$", "10.0.0.0/8", "unix"),
]
IpAddress = Annotated[str, AfterValidator(parse_ip), _described("An IP address", r"^[0-9A-Fa-f:.]+$", "10.1.2.3")]
_web = WithJsonSchema({"type": "string", "pattern": r"^https?://[^/?#@\s]+[^#\s]*$"})
Issuer = Annotated[str, AfterValidator(_issuer), WithJsonSchema({"type": "string", "pattern": r"^https?://[^?#@\s]+$"})]
Endpoint = Annotated[str, AfterValidator(_endpoint), _web]
Origin = Annotated[
    str, AfterValidator(_origin), WithJsonSchema({"type": "string", "pattern": r"^https?://[^/?#@\s]+/?$"})
]
