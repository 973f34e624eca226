"""`POST {prefix}/k_logout` and `{prefix}/k_push_not_before`: Keycloak's admin messages (`core/admin_action.py`).

Keycloak appends both names to a client's Admin URL, so that is `{public_url}{prefix}`. The message names no issuer. The
realm is the one whose key has signed it, among those that have `keycloak_admin` on.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from sidecar.control.body import ascii_text, read_body
from sidecar.control.intake import Entry, Refusal
from sidecar.control.server import answer, error_answer
from sidecar.control.signatures import Signatures
from sidecar.core.admin_action import Action, AdminPolicy, validate
from sidecar.core.claims import TokenError
from sidecar.oidc.signature import Verified
from sidecar.oidc.verifier import UnknownKey, Verifier


@dataclass(frozen=True, slots=True)
class Realm:
    """One Keycloak realm whose admin messages are accepted."""

    policy: AdminPolicy
    verifier: Verifier


class AdminActions:
    """The dialect of one of the two endpoints."""

    method = "POST"

    def __init__(self, *, endpoint: str, action: Action, realms: Sequence[Realm], signatures: Signatures) -> None:
        self.endpoint = endpoint
        self._action = action
        self._realms = realms
        self._signatures = signatures

    def use(self, realms: Sequence[Realm]) -> None:
        """Judge what comes from now on by these rules."""
        self._realms = realms

    async def read(self, request: web.BaseRequest) -> str:
        """The token, which is the whole body; Keycloak calls it plain text."""
        return ascii_text(await read_body(request, ("text/plain", "application/jwt", "")))

    async def verify(self, message: str, entry: Entry) -> None:
        """Whose key it is decides whose message it is."""
        realm, verified = self._signed_with_known_key(message) or await self._signed_with_new_key(message)
        entry.provider = realm.policy.issuer
        action = validate(verified.header, verified.claims, policy=realm.policy, action=self._action, now=entry.now)
        entry.jti, entry.logouts = action.jti, action.logouts
        if not action.logouts:
            entry.notes = ("not_before_cleared",)

    def accepted(self, request: web.BaseRequest, entry: Entry) -> web.Response:  # noqa: ARG002 - as every dialect's
        """Keycloak takes 200 and 204 for success."""
        return answer(200)

    def refused(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:  # noqa: ARG002 - as every dialect's
        """In the words of the logout endpoint; Keycloak looks at the status alone."""
        error = "server_error" if refusal.is_ours else "invalid_request"
        return error_answer(refusal.status, error, f"{refusal.cause.reason}: {refusal.cause}")

    def _signed_with_known_key(self, message: str) -> tuple[Realm, Verified] | None:
        """None where a key that has to be fetched may tell. Raises TokenError where none can."""
        problems: list[TokenError] = []
        for realm in self._realms:
            try:
                return realm, realm.verifier.verify_cached(message)
            except TokenError as error:
                problems.append(error)
        if not any(isinstance(problem, UnknownKey) for problem in problems):
            raise problems[0]
        return None

    async def _signed_with_new_key(self, message: str) -> tuple[Realm, Verified]:
        """All realms at once: each may take as long as the answer can wait."""
        asked = [self._signatures.verified(realm.verifier, message) for realm in self._realms]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for realm, found in zip(self._realms, answers, strict=True):
            if isinstance(found, Verified):
                return realm, found
        problems = [found for found in answers if isinstance(found, BaseException)]
        # A realm that has the key knows better than one that has not.
        raise next((problem for problem in problems if not isinstance(problem, UnknownKey)), problems[0])
