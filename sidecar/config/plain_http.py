"""URLs that must not be asked in clear."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from sidecar.config.address import is_loopback
from sidecar.config.problem import Fault, Path


def plain_http(url: str | None, path: Path, switch: Path) -> Iterator[Fault]:
    """A fault where a URL is http beyond loopback. `switch` is where the operator may allow it."""
    # Back-Channel Logout 1.0 section 2.2 and OpenID Connect Core 1.0 section 2 want TLS; on loopback nobody listens in.
    if url is not None and url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
        what = "http beyond loopback"
        yield Fault(path, what, "https, or allow_http: true at the provider", involves=(path, switch))
