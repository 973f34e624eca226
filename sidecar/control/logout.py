"""`POST {prefix}/backchannel-logout`: the endpoint of Back-Channel Logout 1.0, sections 2.5 to 2.8.

Success is exactly 200 and empty; anything invalid is 400 with the JSON of section 2.8, and changes nothing. The steps
are those of every endpoint (`intake.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from sidecar.control.form import read_logout_token
from sidecar.control.intake import BACKCHANNEL, Entry, Refusal
from sidecar.control.seen import Seen, name_of
from sidecar.control.server import answer, error_answer
from sidecar.control.signatures import Signatures
from sidecar.core.claims import TokenError
from sidecar.core.logout_token import LogoutPolicy, LogoutToken, validate
from sidecar.oidc.verifier import Verifier, unverified_issuer


@dataclass(frozen=True, slots=True)
class LogoutProvider:
    """One issuer whose logout tokens are accepted."""

    policy: LogoutPolicy
    verifier: Verifier
    unavailable_status: int = 400  # when the logout could not be made durable


class LogoutTokens:
    """The dialect of Back-Channel Logout 1.0."""

    endpoint = BACKCHANNEL
    method = "POST"  # section 2.5

    def __init__(self, *, providers: Mapping[str, LogoutProvider], signatures: Signatures) -> None:
        """`providers` by issuer."""
        self._providers = providers
        self._signatures = signatures
        self._seen = Seen()

    def use(self, providers: Mapping[str, LogoutProvider]) -> None:
        """Judge what comes from now on by these rules; what was seen is not forgotten."""
        self._providers = providers

    async def read(self, request: web.BaseRequest) -> str:
        """The token."""
        return await read_logout_token(request)

    async def verify(self, message: str, entry: Entry) -> None:
        """Signature and claims, in the order of section 2.6."""
        provider = self._provider_of(message)
        entry.provider, entry.unavailable_status = provider.policy.issuer, provider.unavailable_status
        verified = await self._signatures.verified(provider.verifier, message)
        token = validate(verified.header, verified.claims, policy=provider.policy, now=entry.now)
        if provider.policy.jti_replay == "reject":
            self._refuse_repetition(token, entry)
        entry.jti, entry.notes, entry.logouts = token.jti, token.notes, (token.logout,)

    def accepted(self, request: web.BaseRequest, entry: Entry) -> web.Response:  # noqa: ARG002 - as every dialect's
        """Exactly 200 and empty: some providers take nothing else (case L2)."""
        return answer(200)

    def refused(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:  # noqa: ARG002 - as every dialect's
        """Section 2.8."""
        error = "server_error" if refusal.is_ours else "invalid_request"
        return error_answer(refusal.status, error, f"{refusal.cause.reason}: {refusal.cause}")

    def _refuse_repetition(self, token: LogoutToken, entry: Entry) -> None:
        """Section 2.6 step 8.

        The same jti with another sid or sub is another token: better a provider's bug than a lost logout (case L152).
        """
        name = name_of(token.issuer, token.jti, token.sid, token.sub)
        if self._seen.get(name, entry.now) is not None:
            raise TokenError("replayed_jti", "jti was used before; `jti_replay: accept` tolerates providers that retry")
        # Only after success, or the provider's retry would be refused.
        entry.remember = lambda: self._seen.add(name, b"", token.expires, entry.now)

    def _provider_of(self, encoded: str) -> LogoutProvider:
        """Whose token it claims to be. Costs no cryptography; the signature and step 4 decide later."""
        provider = self._providers.get(unverified_issuer(encoded) or "")
        if provider is None:
            raise TokenError("wrong_issuer", "iss is not a configured issuer")
        return provider
