"""`GET {prefix}/signed-out`: where the provider sends the browser back after a logout that began in the app.

The `state` of RP-Initiated Logout 1.0 section 3 is sealed: nobody but a sidecar of this deployment can have made it,
and it holds where the app wanted the browser to go, a path of the app and nothing else. So the endpoint redirects
nowhere that the app did not name, keeps nothing, and any pod can read what another one has sent. It proves where the
browser may go and no more: whoever shows it, nobody is logged in or out by it.
"""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Final

from aiohttp import web

from sidecar import clock
from sidecar.bindings.sealer import Sealer
from sidecar.control.server import answer
from sidecar.core.denial import PAGE_POLICY, PAGE_TYPE
from sidecar.core.page import page

RETURN_S: Final = 3600.0  # somebody may think about the provider's question for a while
_MAX_STATE_CHARS: Final = 4096
_PURPOSE: Final = b"signed-out"
_TITLE: Final = "You have been signed out"
_DETAIL: Final = "You have left the application and the identity provider. You can close this window, or sign in again."
_BAD_TITLE: Final = "This link does not hold"
_BAD_DETAIL: Final = "It was not made by this site. To be sure that you are signed out, open the application again."


class SignedOut:
    """Makes the states, and answers the browsers that bring them back."""

    def __init__(self, sealer: Sealer, *, origin: str, now: Callable[[], float] = clock.wall) -> None:
        """`origin` is the app's, as browsers see it."""
        self._sealer = sealer
        self._origin = origin
        self._now = now

    def state(self, target: str | None) -> str:
        """A state that leads to `target`, a path of the app; None: to no place in particular."""
        plain = json.dumps([int(self._now() + RETURN_S), target]).encode()
        return base64.urlsafe_b64encode(self._sealer.seal(plain, purpose=_PURPOSE)).decode().rstrip("=")

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Go on to where the app wanted, or say that it is done."""
        if request.method not in {"GET", "HEAD"}:
            return answer(405, allow="GET, HEAD")
        states = request.query.getall("state", [])
        if not states:  # a provider that sends none back has logged the browser out all the same
            return _page(200, _TITLE, _DETAIL)
        opened = self._opened(states[0]) if len(states) == 1 else None
        if opened is None:
            return _page(400, _BAD_TITLE, _BAD_DETAIL)
        until, target = opened
        if target is None or until < self._now():
            return _page(200, _TITLE, _DETAIL)
        response = answer(303)
        response.headers["Location"] = self._origin + target
        response.headers["Referrer-Policy"] = "no-referrer"  # the state in our own URL is nobody's business
        return response

    def _opened(self, state: str) -> tuple[int, str | None] | None:
        if len(state) > _MAX_STATE_CHARS or not state.isascii():
            return None
        try:
            sealed = base64.b64decode(state + "=" * (-len(state) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        plain = self._sealer.open(sealed, purpose=_PURPOSE)
        if plain is None:
            return None
        until, target = json.loads(plain)
        return until, target


def _page(status: int, title: str, detail: str) -> web.Response:
    response = answer(status, page(title, detail))
    response.headers["Content-Type"] = PAGE_TYPE.decode()
    name, value = PAGE_POLICY
    response.headers[name.decode()] = value.decode()
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
