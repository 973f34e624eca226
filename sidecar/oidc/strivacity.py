"""One call of Strivacity's Admin API: end one session of one account. What answers mean is in `core/strivacity.py`.

Bounded in time and size, no redirects, no proxies, no cookies. Nothing is tried again here, but for a token that was
kept and may have been revoked meanwhile: with a new one, once.
"""

import ssl
from typing import Final

import aiohttp
from yarl import URL

from sidecar.core.strivacity import Answer, Outcome, outcome_of, read_problem, session_path
from sidecar.oidc.bearer import Bearer, NoBearer

CALL: Final = aiohttp.ClientTimeout(total=5, sock_connect=2)
MAX_BODY_BYTES: Final = 64 * 1024


class AdminApi:
    """The API of one tenant and identity store."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        identity_store: str,
        bearer: Bearer,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._identity_store = identity_store
        self._bearer = bearer
        self._tls = tls

    def __repr__(self) -> str:
        return f"<AdminApi {self._base_url}>"

    async def end_session(self, account: str, session: str) -> Answer:
        """End a session. Never raises for what the API, the network or the token endpoint do."""
        path = session_path(self._identity_store, account, session)
        if path is None:
            return Answer(Outcome.REFUSED, "bad_identifier")
        try:
            token = await self._bearer.token()
            answer = await self._delete(path, token)
            if answer.outcome is Outcome.UNAUTHORIZED and self._bearer.refused(token):
                answer = await self._delete(path, await self._bearer.token())
        except NoBearer as error:
            return Answer(Outcome.UNAVAILABLE if error.may_pass else Outcome.UNAUTHORIZED, error.reason)
        return answer

    async def _delete(self, path: str, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Accept-Encoding": "identity"}
        try:
            async with self._session.delete(
                URL(self._base_url + path, encoded=True),  # as it is: decoding could move a slash into the path
                headers=headers,
                timeout=CALL,
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls,
            ) as response:
                outcome = outcome_of(response.status)
                body = b"" if outcome is Outcome.ENDED else await response.content.read(MAX_BODY_BYTES)
                return Answer(outcome, f"http_{response.status}", read_problem(body))
        except TimeoutError:
            return Answer(Outcome.UNAVAILABLE, "timeout")
        except (aiohttp.ClientError, OSError, ValueError):
            return Answer(Outcome.UNAVAILABLE, "unreachable")
