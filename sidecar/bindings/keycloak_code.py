"""Binder `keycloak_code`: Keycloak writes the `sid` into its authorization codes, `<id>.<sid>.<client>`.

The session is known from the callback alone, without a relay. Keycloak looks the session up by that field when the code
is redeemed, so nobody can log in with another one than stands there. But anybody can write such a URL. It is a claim,
and the app's answer decides (`gate/learn.py`).

No `sub` is known: a logout that names only the subject does not reach these sessions. Nor is there an `iat`. The login
time is that of the callback's arrival on the provider's clock, never later than the truth (`oidc/provider_clock.py`).
"""

import re
from collections.abc import Callable

from sidecar.core.callback import CallbackRefused, Parameters
from sidecar.core.identity import Session

# As much as Keycloak compares: two dots cut the code, the third part is the rest (OAuth2CodeParser).
_CODE = re.compile(r"[!-\-/-~]{1,128}\.([!-\-/-~]{1,128})\.[!-~]{1,256}")


class KeycloakCodeReader:
    """Reads the code of a callback. `provider_now`: seconds since the epoch on the provider's clock, rather too few."""

    def __init__(self, *, issuer: str, client_id: str, provider_now: Callable[[], float]) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._provider_now = provider_now

    async def read(self, carried: Parameters) -> Session | None:
        """The session of the one code; None where there is none, or another provider's. Raises CallbackRefused."""
        if not carried.codes:
            return None
        if len(carried.codes) > 1:
            raise CallbackRefused("too_many_codes")
        code = _CODE.fullmatch(carried.codes[0])
        if code is None:
            return None
        # Whole seconds, as a logout's `iat` has them: a logout in the same second must reach this login.
        return Session(self._issuer, self._client_id, code[1], None, int(self._provider_now()) * 1000)
