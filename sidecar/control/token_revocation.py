"""`POST {prefix}/global-token-revocation`: Global Token Revocation, which Okta calls Universal Logout.

The caller proves itself in the Authorization header, by a JWT or by a secret, and names the user in a JSON body. The
answers are the draft's (section 3.4): 204, 400, 401, and 422 when it could not be made durable. A user that nobody
knows is a success: the endpoint must not tell who has an account (section 7.2), and a later binding is meant as well.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from sidecar.control.body import read_body
from sidecar.control.intake import Entry, Refusal
from sidecar.control.seen import Seen, name_of
from sidecar.control.server import answer, error_answer
from sidecar.control.signatures import Signatures
from sidecar.core.claims import TokenError
from sidecar.core.token_revocation import Caller, CallerPolicy, read_request, targets, validate_caller
from sidecar.oidc.verifier import Verifier, unverified_issuer

_MAX_CREDENTIAL: Final = 16 * 1024
_ASKED: Final = struct.Struct(">32sd")  # digest of a body, and when it was asked for


class Unauthorized(TokenError):
    """The caller has not proved who it is."""


@dataclass(frozen=True, slots=True)
class Revoker:
    """One party that may revoke."""

    policy: CallerPolicy
    verifier: Verifier | None  # None: known by a secret alone
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    credential: str = field(repr=False)
    body: bytes = field(repr=False)


class TokenRevocations:
    """The dialect of Global Token Revocation."""

    endpoint = "global_token_revocation"
    method = "POST"

    def __init__(self, *, revokers: Sequence[Revoker], signatures: Signatures) -> None:
        self.use(revokers)
        self._signatures = signatures
        self._seen = Seen()

    def use(self, revokers: Sequence[Revoker]) -> None:
        """Judge what comes from now on by these rules; what was seen is not forgotten."""
        self._by_issuer = {revoker.policy.issuer: revoker for revoker in revokers if revoker.verifier is not None}
        self._by_secret = [revoker for revoker in revokers if revoker.secret is not None]

    async def read(self, request: web.BaseRequest) -> Asked:
        """The credential first: nobody's body is read without one."""
        credential = _bearer(request)
        return Asked(credential, await read_body(request, ("application/json",)))

    async def verify(self, message: Asked, entry: Entry) -> None:
        """Who asks, and for whom."""
        entry.unavailable_status = 422
        revoker, caller = self._with_secret(message.credential), None
        if revoker is None:
            revoker, caller = await self._with_signature(message.credential, entry)
            entry.jti = caller.jti
        entry.provider = revoker.policy.issuer
        found = targets(read_request(message.body), revoker.policy.reach)
        if caller is None:
            # No signed time: as late as it may be on the provider's clock.
            asked_at = entry.now + revoker.policy.leeway
        else:
            asked_at = self._first_asked_at(caller, revoker, message.body, entry)  # what names nobody is not noted
        entry.logouts = revoker.policy.reach.logouts(found, int(asked_at * 1000))

    def accepted(self, request: web.BaseRequest, entry: Entry) -> web.Response:  # noqa: ARG002 - as every dialect's
        """Section 3.4.1."""
        return answer(204)

    def refused(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:  # noqa: ARG002 - as every dialect's
        """Section 3.4.2; RFC 6750 section 3 for callers who are not known."""
        text = f"{refusal.cause.reason}: {refusal.cause}"
        if isinstance(refusal.cause, Unauthorized):
            response = error_answer(401, "invalid_token", text)
            response.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
            return response
        return error_answer(refusal.status, "server_error" if refusal.is_ours else "invalid_request", text)

    def _with_secret(self, credential: str) -> Revoker | None:
        given = _digest(credential.encode())
        found = [each for each in self._by_secret if hmac.compare_digest(given, _digest(each.secret or b""))]
        return found[0] if found else None

    async def _with_signature(self, credential: str, entry: Entry) -> tuple[Revoker, Caller]:
        try:
            revoker = self._by_issuer.get(unverified_issuer(credential) or "")
            if revoker is None or revoker.verifier is None:
                raise TokenError("wrong_issuer", "iss is not a configured caller")
            entry.provider = revoker.policy.issuer
            verified = await self._signatures.verified(revoker.verifier, credential)
            return revoker, validate_caller(verified.header, verified.claims, policy=revoker.policy, now=entry.now)
        except TokenError as error:
            raise Unauthorized(error.reason, str(error)) from error

    def _first_asked_at(self, caller: Caller, revoker: Revoker, body: bytes, entry: Entry) -> float:
        """When this was asked first. The JWT may have been made some time before the request that it is for.

        A JWT is good for the body that it first came with. The same again is a retry, which means what it meant then;
        another one is a thief's.
        """
        name, now = name_of(revoker.policy.issuer, caller.jti), entry.now
        what = _ASKED.pack(_digest(body), max(caller.issued_at, now))
        known = self._seen.get(name, now)
        if known is None:
            self._seen.add(name, what, caller.expires, now)
            known = what
        first_body, asked_at = _ASKED.unpack(known)
        if first_body != _digest(body):
            raise Unauthorized("replayed_jti", "jti was used before, with another body")
        return float(asked_at)


def _bearer(request: web.BaseRequest) -> str:
    """RFC 6750 section 2.1."""
    values = request.headers.getall("Authorization", [])
    scheme, _, credential = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise Unauthorized("credential_missing", "the request has no bearer token")
    if len(credential) > _MAX_CREDENTIAL or not credential.isascii():
        raise Unauthorized("malformed", "the bearer token is not one")
    return credential


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
