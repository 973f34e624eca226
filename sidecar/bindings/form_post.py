"""Binder `form_post`: the ID token stands in the browser's request to the callback.

With `response_type=id_token` or `code id_token` the provider gives the token to the browser, which posts it to the app
(OAuth 2.0 Form Post Response Mode). The token is verified fully here; what came with it, a code or an access token,
must be what it vouches for. The nonce is for the app: it alone knows which one it sent.

That is why even a good token is only a claim. Whoever has a token of their own can post it into another browser, or
into their own again. The app refuses such a login by its nonce or its state, so its answer decides (`gate/learn.py`).
A token that does not verify is refused before the app has seen it.
"""

import logging
from collections.abc import Mapping

from sidecar import clock, log, metrics
from sidecar.bindings.token import unverified_issuers
from sidecar.core.callback import CallbackRefused, Parameters
from sidecar.core.identity import Session
from sidecar.core.logout_token import TokenError
from sidecar.oidc.id_token import LoginReader
from sidecar.oidc.verifier import UnknownKey, Verifier

_logger = logging.getLogger(__name__)


class FormPostReader:
    """Reads the ID token of a callback. `readers` and `verifiers` are by issuer."""

    def __init__(self, readers: Mapping[str, LoginReader], verifiers: Mapping[str, Verifier]) -> None:
        self._readers = readers
        self._verifiers = verifiers
        self._refused = log.Repeated(_logger, logging.WARNING, "login_unverified", clock=clock.boot)

    async def read(self, carried: Parameters) -> Session | None:
        """The session of the one ID token; None where there is none. Raises CallbackRefused."""
        if not carried.id_tokens:
            return None
        if len(carried.codes) > 1 or len(carried.access_tokens) > 1:  # it vouches for one of each
            raise CallbackRefused("too_many_codes")
        (token,) = carried.id_tokens
        issuer = self._issuer_of(token)
        try:
            return await self._readers[issuer].read_front(
                token, code=_only(carried.codes), access_token=_only(carried.access_tokens)
            )
        except KeyError:
            raise self._unverified("", "wrong_issuer") from None
        except UnknownKey as error:
            if self._verifiers[issuer].problem():
                raise CallbackRefused("keys_unavailable", "the provider's keys cannot be had", status=503) from None
            raise self._unverified(issuer, error.reason) from None
        except TokenError as error:
            raise self._unverified(issuer, error.reason) from None

    def _issuer_of(self, token: str) -> str:
        issuers = unverified_issuers(token.encode(errors="surrogatepass"))
        return next((name for name in issuers if name in self._readers), "")

    def _unverified(self, issuer: str, reason: str) -> CallbackRefused:
        metrics.logins.labels("bad_token").inc()
        self._refused.note(provider=issuer, reason=reason)  # strangers can bring it about
        return CallbackRefused("bad_token", f"the ID token of the callback is not good ({reason})")


def _only(values: tuple[str, ...]) -> str | None:
    return values[0] if values else None
