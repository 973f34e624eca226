"""`POST {prefix}/events`: security event tokens, pushed by a transmitter (RFC 8935).

Who sends is proved by the signature, with the keys of the transmitter that the token names. Success is 202 and empty.
What is wrong is 400 with the error of section 2.3; what is not durable is 503, so that the transmitter sends it again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from sidecar.control.body import ascii_text, read_body
from sidecar.control.intake import Entry, Refusal
from sidecar.control.server import answer
from sidecar.control.signatures import Signatures
from sidecar.core.claims import TokenError
from sidecar.core.security_event import EventPolicy, validate
from sidecar.oidc.verifier import Verifier, unverified_issuer

MEDIA_TYPE: Final = "application/secevent+jwt"  # RFC 8935 section 2.1

# RFC 8935 section 2.4; everything else is `invalid_request`.
_ERRORS: Final = {
    "wrong_issuer": "invalid_issuer",
    "wrong_audience": "invalid_audience",
    "alg_not_allowed": "invalid_key",
    "unknown_kid": "invalid_key",
    "keys_unavailable": "invalid_key",
    "encrypted": "invalid_key",
    "bad_signature": "authentication_failed",
}


@dataclass(frozen=True, slots=True)
class Transmitter:
    """One issuer whose security events are accepted."""

    policy: EventPolicy
    verifier: Verifier


class SecurityEvents:
    """The dialect of RFC 8935."""

    endpoint = "events"
    method = "POST"

    def __init__(self, *, transmitters: Mapping[str, Transmitter], signatures: Signatures) -> None:
        """`transmitters` by issuer."""
        self._transmitters = transmitters
        self._signatures = signatures

    def use(self, transmitters: Mapping[str, Transmitter]) -> None:
        """Judge what comes from now on by these rules."""
        self._transmitters = transmitters

    async def read(self, request: web.BaseRequest) -> str:
        """The token, which is the whole body."""
        return ascii_text(await read_body(request, (MEDIA_TYPE,)))

    async def verify(self, message: str, entry: Entry) -> None:
        """Section 2: parse, authenticate, and only then believe."""
        transmitter = self._transmitters.get(unverified_issuer(message) or "")
        if transmitter is None:
            raise TokenError("wrong_issuer", "iss is not a configured transmitter")
        entry.provider = transmitter.policy.issuer
        verified = await self._signatures.verified(transmitter.verifier, message)
        event = validate(verified.header, verified.claims, policy=transmitter.policy, now=entry.now)
        entry.jti, entry.logouts = event.jti, event.logouts
        entry.notes = () if event.logouts else event.notes  # what else was in it matters only where nothing ended

    def accepted(self, request: web.BaseRequest, entry: Entry) -> web.Response:  # noqa: ARG002 - as every dialect's
        """Section 2.2."""
        return answer(202)

    def refused(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:  # noqa: ARG002 - as every dialect's
        """Section 2.3."""
        reason = refusal.cause.reason
        error = {"err": _ERRORS.get(reason, "invalid_request"), "description": f"{reason}: {refusal.cause}"}
        response = answer(refusal.status, json.dumps(error).encode(), media_type="application/json")
        response.headers["Content-Language"] = "en"
        return response
