"""Callbacks of the app's login: recognised by their path, held until it is their turn, joined by their codes.

A callback with an authorization code waits while another one with the same code is in flight (`bindings/logins.py`
says why), so every code that some app could read in the request counts (`core/callback.py`). Beside that, or without a
relay, a callback may itself name the session that the app is about to begin: a *claim*. It is believed when the app's
answer shows a completed login (`learn.py`). Nothing here knows answers; the gate judges.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

from sidecar.bindings.logins import Login, Logins
from sidecar.core.callback import CallbackRefused, Parameters, check_head, in_body, in_target
from sidecar.core.completion import Completion
from sidecar.core.identity import Session
from sidecar.core.paths import may_match, path_of
from sidecar.http1.fields import values_of
from sidecar.http1.request import RequestHead


class Reader(Protocol):
    """A binder that finds a session in what the callback carries."""

    async def read(self, carried: Parameters) -> Session | None:
        """The session that is claimed; None: this binder has nothing to say. Raises CallbackRefused."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """One binder of claims: where its callbacks are, how it reads them, and when it is believed."""

    binder: str
    pattern: re.Pattern[bytes]
    reader: Reader
    completion: Completion = Completion()  # noqa: RUF009 - frozen
    reads_tokens: bool = False  # whether its reader verifies the tokens of a callback, with what comes beside them


@dataclass(frozen=True, slots=True)
class Claim:
    """A session that a callback names."""

    binder: str
    session: Session
    completion: Completion


class Callbacks:
    """The paths of the app's callbacks, and the way to begin one."""

    def __init__(
        self, *, patterns: Iterable[re.Pattern[bytes]], logins: Logins, claimants: Iterable[Claimant] = ()
    ) -> None:
        """`patterns`: the callbacks whose codes come to the relay. `claimants` are asked in order."""
        self._relayed = tuple(map(_any_case, patterns))
        self._claimants = tuple(replace(each, pattern=_any_case(each.pattern)) for each in claimants)
        self._patterns = (*self._relayed, *(each.pattern for each in self._claimants))
        self._logins = logins

    def may_be(self, path: bytes) -> bool:
        """Whether some app could take this path for a callback."""
        for pattern in self._patterns:
            if may_match(pattern, path):
                return True
        return False

    def check_head(self, request: RequestHead) -> None:
        """Whether the body of this callback is worth waiting for. Raises CallbackRefused."""
        check_head(
            request.target, values_of(request.lines, b"content-type"), values_of(request.lines, b"content-encoding")
        )

    async def begin(self, request: RequestHead, body: bytes = b"") -> "Callback":
        """Wait for the turn of every code in the request. Raises CallbackRefused or LoginRefused."""
        path, carried = path_of(request.target), in_target(request.target)
        if body:
            carried = _both(carried, in_body(body, values_of(request.lines, b"content-type")))
        is_relayed = any(may_match(pattern, path) for pattern in self._relayed)
        claim = await self._claim(path, carried, is_relayed=is_relayed)
        callback = Callback(self._logins if is_relayed else None, claim)
        try:
            for code in carried.codes if is_relayed else ():
                callback.add(await self._logins.begin(code))
        except BaseException:
            callback.end()
            raise
        return callback

    async def _claim(self, path: bytes, carried: Parameters, *, is_relayed: bool) -> Claim | None:
        """What the binders of this callback find, as one; the first of them counts, the others must agree.

        The app may go by any part of the request. What no binder can follow would log somebody in whom nobody knows.
        """
        claims, is_token_read = [], False
        for claimant in self._claimants:
            if may_match(claimant.pattern, path):
                session = await claimant.reader.read(carried)
                if session is not None:
                    claims.append(Claim(claimant.binder, session, claimant.completion))
                    is_token_read = is_token_read or claimant.reads_tokens
        if (carried.id_tokens or carried.access_tokens) and not is_token_read:
            raise CallbackRefused("callback_unknown_token", "no binder of this callback can follow its token")
        if carried.codes and not claims and not is_relayed:
            raise CallbackRefused("callback_unknown_code", "no binder of this callback can follow its code")
        return _agreed(claims)


class Callback:
    """The logins of one callback, one for each code that it carries; as one."""

    def __init__(self, relayed: Logins | None, claim: Claim | None = None) -> None:
        """`relayed`: where its codes come together with the relay, if they do."""
        self._all = relayed
        self._strays = relayed.strays if relayed is not None else 0.0
        self._logins: list[Login] = []
        self._claim = claim

    def add(self, login: Login) -> None:
        """One more code."""
        self._logins.append(login)

    @property
    def session(self) -> Session | None:
        """The session of the code that the app exchanged."""
        session = next((login.session for login in self._logins if login.session is not None), None)
        if session is None or self._claim is None:
            return session
        # One login: it began when the first of its tokens was made.
        return replace(session, login_time=min(session.login_time, self._claim.session.login_time))

    @property
    def claim(self) -> Claim | None:
        """The session that the callback names, as long as nothing better is known."""
        return self._claim if self.session is None else None

    @property
    def failed(self) -> bool:
        """Whether an answer could not be verified, more than one code was exchanged, or one that was not seen here.

        A code that no callback seems to carry came in one all the same: in a spelling of its own.
        """
        joined = [login.session for login in self._logins if login.session is not None]
        if not joined and self._all is not None and self._all.strays != self._strays:
            return True
        if self._claim is not None and any(_differ(self._claim.session, session) for session in joined):
            return True
        return any(login.failed for login in self._logins) or len(joined) > 1

    @property
    def is_at_stake(self) -> bool:
        """Whether the app may log somebody in with this request."""
        return bool(self._logins) or self._claim is not None or self.failed

    def end(self) -> None:
        """The callback is over."""
        for login in self._logins:
            login.end()


def _any_case(pattern: re.Pattern[bytes]) -> re.Pattern[bytes]:
    return re.compile(pattern.pattern, re.IGNORECASE)


def _both(one: Parameters, other: Parameters) -> Parameters:
    both = Parameters(
        tuple(dict.fromkeys((*one.codes, *other.codes))),
        tuple(dict.fromkeys((*one.id_tokens, *other.id_tokens))),
        tuple(dict.fromkeys((*one.access_tokens, *other.access_tokens))),
    )
    if len(both.id_tokens) > 1:
        raise CallbackRefused("too_many_codes", "an ID token in the URL, and another one in the body")
    return both


def _agreed(claims: Sequence[Claim]) -> Claim | None:
    if not claims:
        return None
    first, sessions = claims[0], [claim.session for claim in claims]
    if any(_differ(one, other) for one, other in combinations(sessions, 2)):
        raise CallbackRefused("bad_token", "the code and the token of the callback are of two logins")
    known = replace(
        first.session,
        sid=next((session.sid for session in sessions if session.sid is not None), None),
        sub=next((session.sub for session in sessions if session.sub is not None), None),
        login_time=min(session.login_time for session in sessions),
    )
    return replace(first, session=known)


def _differ(one: Session, other: Session) -> bool:
    """Whether these are two logins (Core 3.3.3.6: iss and sub of both tokens of a hybrid login are the same)."""
    if one.issuer != other.issuer:
        return True
    names = ((one.sid, other.sid), (one.sub, other.sub))
    return any(mine is not None and theirs is not None and mine != theirs for mine, theirs in names)
