"""`GET {prefix}/frontchannel-logout`: OpenID Connect Front-Channel Logout 1.0, and Entra's form of it without `iss`.

The provider's page loads it in a frame of the browser that logs out. The session is known by its `sid`, so no cookie is
needed, which the browser would not send in a frame anyway. There is no signature: whoever knows the `sid` of a session
can end that session, and nothing else (threat model). Such a request also adds to the log whether the session exists or
not, so they are counted out (`rate.py`).

The answer is a page without content that only the provider may frame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from sidecar import clock
from sidecar.control.body import BadRequest
from sidecar.control.intake import Entry, Refusal
from sidecar.control.rate import Allowance, Network, Rate, client_of
from sidecar.control.server import answer
from sidecar.core.claims import identifier
from sidecar.core.cookies import Scope, expire
from sidecar.core.revocation import Logout

_MAX_QUERY: Final = 4096
_MAX_PARAMETERS: Final = 32
_OWN_SITE: Final = ("same-origin", "same-site")

# What such messages add to the log, for as long as revocations are kept: this many entries may live at one time.
MAX_LIVE: Final = 500_000
BURST: Final = 1_000
EACH: Final = Rate(burst=20, per_second=1)

_PAGE: Final = b'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>%b</title></html>\n'


@dataclass(frozen=True, slots=True)
class FramingProvider:
    """One issuer whose pages may log out in the front channel."""

    issuer: str
    client_ids: tuple[str, ...]
    origins: tuple[str, ...] = ()  # of pages that frame us, beside the issuer's own
    leeway: float = 60.0
    allow_missing_iss: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """What a request says: whose session, and every way to read its `sid`."""

    issuer: str | None
    sids: tuple[str, ...] = field(repr=False)
    client: str


class FrontChannel:
    """The dialect of Front-Channel Logout 1.0."""

    endpoint = "frontchannel"
    method = "GET"  # section 2: what a frame does

    def __init__(
        self,
        *,
        providers: Mapping[str, FramingProvider],
        cookies: Sequence[bytes],
        trusted: Sequence[Network],
        session_max_age: float,
        boot: Callable[[], float] = clock.boot,
    ) -> None:
        """`providers` by issuer. `cookies`: names of the app's session cookies."""
        self.use(providers, cookies)
        self._trusted = trusted
        self._boot = boot
        framing = providers.values()
        entries = max(len(each.client_ids) for each in framing)  # that one message adds to the log
        total = Rate(burst=BURST / entries, per_second=MAX_LIVE / entries / session_max_age)
        self._allowance = Allowance(each=EACH, total=total)
        origins = {origin for each in framing for origin in (_origin(each.issuer), *each.origins)}
        self._policy = f"default-src 'none'; frame-ancestors {' '.join(sorted(origins))}"

    def use(self, providers: Mapping[str, FramingProvider], cookies: Sequence[bytes]) -> None:
        """Go by these rules from now on; what was allowed before still counts, and so do the origins."""
        self._providers = providers
        self._cookies = cookies

    async def read(self, request: web.BaseRequest) -> Named:
        """The parameters of section 2."""
        query = request.raw_path.partition("?")[2]
        if len(query) > _MAX_QUERY:
            raise BadRequest("too_large", "the query is too long")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
        except ValueError as error:
            raise BadRequest("malformed", "the query cannot be read") from error
        issuer, sid = _only(pairs, "iss"), _only(pairs, "sid")
        if sid is None:  # section 2 lets a provider leave both out; then nobody is named
            raise BadRequest("no_sub_or_sid", "sid is missing; the provider must be told that sid is required")
        # Some providers do not encode a plus, of which base64 is full.
        sids = (sid, sid.replace(" ", "+")) if "+" in query and " " in sid else (sid,)
        return Named(issuer, sids, client_of(request.headers.getall("X-Forwarded-For", []), self._trusted))

    async def verify(self, message: Named, entry: Entry) -> None:
        """There is no proof; that the issuer is ours and the sender is not a flood is all that can be checked."""
        provider = self._provider_of(message)
        entry.provider = provider.issuer
        if not self._allowance.takes(message.client, self._boot()):
            raise BadRequest("too_many", "too many logouts without a proof")
        # Nothing tells the time on the provider's clock: as late as it may be there.
        cutoff = int((entry.now + provider.leeway) * 1000)
        entry.logouts = [Logout(provider.issuer, provider.client_ids, sid, None, cutoff) for sid in message.sids]

    def accepted(self, request: web.BaseRequest, entry: Entry) -> web.Response:  # noqa: ARG002 - as every dialect's
        """An empty page. Where the browser takes our cookies from a frame, the app's are taken out of it."""
        response = self._page(200, "Signed out")
        if request.headers.get("Sec-Fetch-Site") in _OWN_SITE:
            for name in self._cookies:
                response.headers.add("Set-Cookie", expire(name, Scope(path=b"/")).decode("latin-1"))
        return response

    def refused(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:  # noqa: ARG002 - as every dialect's
        """The same page, with another status; the reason is for whoever sets it up."""
        is_flood = refusal.cause.reason in ("too_many", "busy")
        response = self._page(429 if is_flood else refusal.status, "Not signed out")
        response.headers["X-Logout-Sidecar"] = refusal.cause.reason
        return response

    def _provider_of(self, message: Named) -> FramingProvider:
        if message.issuer is None:  # Entra leaves it out; the configuration makes sure that this means one provider
            for provider in self._providers.values():
                if provider.allow_missing_iss:
                    return provider
            raise BadRequest("iss_missing", "iss is missing; `allow_missing_iss: true` tolerates that of one provider")
        found = self._providers.get(message.issuer)
        if found is None:
            raise BadRequest("wrong_issuer", "iss is not an issuer with `frontchannel` on")
        return found

    def _page(self, status: int, title: str) -> web.Response:
        response = answer(status, _PAGE % title.encode(), media_type="text/html")
        response.charset = "utf-8"
        # The sid stands in the address. X-Frame-Options would shut out the provider, and frame-ancestors replaces it.
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _only(pairs: Sequence[tuple[str, str]], name: str) -> str | None:
    values = [value for key, value in pairs if key == name]
    if len(values) > 1:
        raise BadRequest("duplicate_parameter", f"{name} is given more than once")
    return identifier({name: values[0]}, name) if values else None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
