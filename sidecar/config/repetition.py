"""Two checks that several sections need: the same entry twice, and plain http beyond loopback."""

from collections.abc import Hashable, Iterator, Sequence
from urllib.parse import urlsplit

from sidecar.config.address import is_loopback
from sidecar.config.problem import Fault, Path


def duplicates(values: Sequence[Hashable | None]) -> Iterator[tuple[int, int]]:
    """Each repetition with the first of its kind; linear, because the lists are as long as the file allows."""
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value is not None and first.setdefault(value, index) != index:
            yield first[value], index


def plain_http(url: str | None, path: Path, switch: Path) -> Iterator[Fault]:
    """A fault when the URL is http and leads away from this machine; `switch` would allow it."""
    # Back-Channel Logout 1.0 section 2.2 and OpenID Connect Core 1.0 section 2 want TLS; on loopback nobody listens in.
    if url is not None and url.startswith("http://") and not is_loopback(urlsplit(url).hostname or ""):
        what = "http beyond loopback"
        yield Fault(path, what, "https, or allow_http: true at the provider", involves=(path, switch))
