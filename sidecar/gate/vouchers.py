"""The cookie in which a browser keeps its voucher (`core/voucher.py` says what that is): taken in, given out, ended.

It is ours alone: taken out of each request before anybody reads the others, so that what is judged is what the app
gets. Its `__Host-` prefix keeps other hosts of the domain from planting one, where the public address is https.

A voucher ages from the first credential of a visit on, whatever the app does with its cookie meanwhile: a session that
logged in unnoticed must not live on it for ever.
"""

from collections.abc import Callable, Iterable, Sequence

from sidecar import clock
from sidecar.core.cookies import Scope, expire
from sidecar.core.identity import Digester
from sidecar.core.verdict import ANONYMOUS, Identity
from sidecar.core.voucher import build_voucher, visiting_since
from sidecar.http1.fields import parse_line
from sidecar.http1.request import RequestHead


class Vouchers:
    """Reads and writes vouchers. Made only where unknown credentials are denied on some path."""

    def __init__(
        self,
        *,
        name: str,
        is_https: bool,
        max_age_s: float,
        digester: Digester,
        wall: Callable[[], float] = clock.wall,
    ) -> None:
        """`name`: of the cookie, without prefix. `is_https`: what browsers see; without it no prefix is possible."""
        self.cookie = (f"__Host-{name}" if is_https else name).encode()
        self._mark = self.cookie + b"="
        # Wherever the app's own cookie goes, this one must come along, also with the POST of another site that ends a
        # login (`form_post`). By itself it opens nothing, so SameSite would guard nothing.
        self._attributes = b"; Secure; SameSite=None" if is_https else b""
        self._max_age_s = max_age_s
        self._digester = digester
        self._wall = wall
        self.expired = expire(self.cookie, Scope(secure=is_https))  # a Set-Cookie value

    def take_out(self, request: RequestHead) -> None:
        """Move the vouchers of a request out of its cookies, to `request.aside`."""
        mark = self._mark
        for line in request.cookies:
            if mark in line:
                self._take_out(request)
                return

    def since(self, request: RequestHead, credentials: Iterable[Sequence[bytes]]) -> int | None:
        """Since when (s) all these credentials are vouched for. Each is given with its digests under other keys."""
        if not request.aside:
            return None
        return visiting_since(request.aside, credentials, self._digester, now=self._wall(), max_age=self._max_age_s)

    def grant(self, identity: Identity, given: Iterable[bytes], *, is_partitioned: bool) -> bytes | None:
        """The Set-Cookie value that vouches for what the app gives out; None when it gets no voucher, or has one.

        `identity`: what the app has seen of the request. `given`: digests of new credentials. With nothing before them
        a visit begins. After a credential that is vouched for, it goes on. After one that is not, who knows whose
        session the app has put into the new one.
        """
        began = int(self._wall()) if identity is ANONYMOUS else identity.visiting_since
        new = [credential for credential in given if credential not in identity.unbound]
        if began is None or not new:
            return None
        value = build_voucher([*new, *identity.unbound], began, self._digester)
        left = max(1, int(began + self._max_age_s - self._wall()))
        partitioned = b"; Partitioned" if is_partitioned else b""  # as the cookie that it belongs to
        head = b"%b=%b; Path=/; Max-Age=%d; HttpOnly" % (self.cookie, value, left)
        return head + self._attributes + partitioned

    def _take_out(self, request: RequestHead) -> None:
        found: list[bytes] = []
        lines, cookies = [], []
        for line in request.lines:
            name, value = parse_line(line)
            if name != b"cookie":
                lines.append(line)
            elif rest := self._rest(value, found):
                lines.append(line[: len(b"cookie")] + b": " + rest)
                cookies.append(rest)
        if found:
            request.lines, request.cookies, request.aside = lines, tuple(cookies), tuple(found)
            request.block = None  # it is not that block any more

    def _rest(self, line: bytes, found: list[bytes]) -> bytes:
        """A Cookie line without vouchers, the others as they were; what stood apart still does."""
        kept = []
        for pair in line.split(b";"):
            name, equals, value = pair.partition(b"=")
            if equals and name.strip(b" \t") == self.cookie:
                found.append(value.strip(b" \t"))
            else:
                kept.append(pair)
        return b";".join(kept).strip(b" \t")
