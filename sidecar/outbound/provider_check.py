"""Asks the provider now and then whether the sessions that are in use still stand: a net under silent providers.

Each process goes through the sessions that it knows, at its own pace, and claims each in the store for one interval:
whoever has the claim asks. A session that the provider does not know any more is revoked up to its own login, as a
logout would do it. Nothing here is on the way of a request.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from sidecar import log, metrics
from sidecar.bindings.tokens import CheckToken, Tokens, token_of
from sidecar.bindings.vault import KeepingStore
from sidecar.core.identity import BoundSession, Kind, Session
from sidecar.core.provider_check import By, Standing, has_expired
from sidecar.core.revocation import Revocation, expiry
from sidecar.oidc.token_check import Checked
from sidecar.outbound.errands import PAUSE_S, Errands
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 8  # questions under way
WAITING: Final = 1000
ATTEMPTS: Final = 3  # of one question
FAULT_PAUSE_S: Final = 5.0
LONGEST_REST_S: Final = 30.0  # between two rounds: each looks at every session that is known here

Publish = Callable[[Collection[Revocation]], Awaitable[None]]


class Asks(Protocol):
    """How one provider is asked (`oidc/token_check.py`)."""

    async def ask(self, token: str, *, client_id: str, sub: str | None) -> Checked: ...


class Sessions(Protocol):
    """The sessions that this process knows (`bindings/directory.py`)."""

    def sessions(self) -> Iterable[BoundSession]: ...

    def bindings_of(self, digest: bytes) -> Iterable[tuple[bytes, BoundSession]]: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How often each session, and how many in a second, by this process."""

    every_s: float
    rate: float


class ProviderChecks:
    """Goes round until it is cancelled."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        tokens: Tokens,
        claims: KeepingStore,
        providers: Mapping[str, Asks],  # by issuer
        by: By,
        pace: Pace,
        deny_unavailable: bool,
        publish: Publish,
        max_age_s: float,
        boot: Callable[[], float],
        late: Callable[[], float],
        pause_s: float = PAUSE_S,
    ) -> None:
        """`late` is wall time that steps do not take back (`clock.py`): by it tokens end too early, if anything."""
        self._sessions = sessions
        self._tokens = tokens
        self._claims = claims
        self._providers = providers
        self._by = by
        self._pace = pace
        self._deny_unavailable = deny_unavailable
        self._publish = publish
        self._max_age_s = max_age_s
        self._boot = boot
        self._late = late
        self._answering: set[str] = set()  # issuers that have called one of our tokens good
        self._due: dict[bytes, float] = {}  # boot time, by session digest; of the sessions that are known
        self._ended: dict[bytes, set[bytes]] = {}  # what this process has revoked one by one, by the same
        self._errands = Errands[Checked](
            may_pass=lambda checked: checked.standing is Standing.UNAVAILABLE,
            on_delay=lambda _checked, _left: None,
            on_end=_count,
            stopped=None,
            fault="provider_check_fault",
            attempts=ATTEMPTS,
            at_once=AT_ONCE,
            waiting=WAITING,
            pause_s=pause_s,
        )

    async def run(self) -> None:
        """Go round for ever. A defect is logged, and the next round begins after a pause."""
        try:
            while True:
                try:
                    await self.round()
                except Exception:  # a defect of ours: sessions would silently be checked no more
                    _logger.exception("provider_check_fault")
                    await asyncio.sleep(FAULT_PAUSE_S)
                await asyncio.sleep(min(self._pace.every_s / 10, LONGEST_REST_S))
        finally:
            await self._errands.aclose()

    async def round(self) -> None:
        """Look at each session once, and begin to ask about those that are due."""
        known = dict.fromkeys(each.own for session in self._sessions.sessions() for each in session.all)
        now = self._boot()
        # Somewhere in the second half of the first interval, so that logins of one moment do not come back together.
        self._due = {own: self._due.get(own, now + self._pace.every_s * random.uniform(0.5, 1)) for own in known}  # noqa: S311 - no secret
        self._ended = {own: ended for own, ended in self._ended.items() if own in known}
        for own in known:
            if self._due[own] <= self._boot():
                self._due[own] = self._boot() + self._pace.every_s
                await self._begin(own)
                await asyncio.sleep(1 / self._pace.rate)

    async def _begin(self, own: bytes) -> None:
        try:
            token = await self._tokens.find(own)
            if token is not None and not token.token:
                await self._end_cookies(own, token)
                return
            # Shorter than the interval, so that whoever asked last is not late for the next time.
            if not await self._claims.claim(_tag(own), max(1, int(self._pace.every_s * 0.8))):
                return
        except StoreError as error:
            _count(Checked(Standing.UNAVAILABLE, error.reason))
            return
        provider = self._providers.get(token.session.issuer) if token is not None else None
        if token is None or provider is None or (self._by != "refresh" and has_expired(token.expires, self._late())):
            _count(Checked(Standing.EXPIRED, "token_missing" if token is None else "token_expired"))
            return
        session = token.session
        question = partial(self._ask, provider, session, token.token)
        if self._errands.begin(question, partial(self._conclude, own, token)) is None:
            _count(Checked(Standing.UNAVAILABLE, "too_many"))

    async def _ask(self, provider: Asks, session: Session, token: str) -> Checked:
        """One question. A provider that has never called a token of ours good may simply not answer such as us.

        RFC 7662 section 2.2 has it say `active: false` to whoever may not know; a bound token is refused to everybody
        but its owner. Believing that would log everybody out.
        """
        checked = await provider.ask(token, client_id=session.client_id, sub=session.sub)
        try:
            if checked.standing is Standing.ALIVE and session.issuer not in self._answering:
                await self._tokens.note_alive(session.issuer)
                self._answering.add(session.issuer)
            elif checked.standing is Standing.OVER and session.issuer not in self._answering:
                if not await self._tokens.was_alive(session.issuer):
                    return Checked(Standing.BROKEN, "never_alive")
                self._answering.add(session.issuer)
        except StoreError as error:
            return Checked(Standing.UNAVAILABLE, error.reason)
        return checked

    async def _conclude(self, own: bytes, token: CheckToken, checked: Checked) -> None:
        if checked.standing is Standing.OVER:
            await self._end(own, token)
        elif checked.standing is Standing.ALIVE and self._by == "refresh":
            await self._keep_new(own, token, checked)
        elif checked.standing in {Standing.UNAVAILABLE, Standing.BROKEN} and self._deny_unavailable:
            await self._end(own, token)

    async def _keep_new(self, own: bytes, token: CheckToken, checked: Checked) -> None:
        """Providers that rotate refresh tokens take the old one for stolen when it comes again (RFC 9700 4.14.2)."""
        new = token_of(self._by, checked.answer, self._late(), token.session)
        if new is None or new.token == token.token:
            return
        try:
            if await self._tokens.find(own) == token:  # else a later login has put its own there meanwhile
                await self._tokens.keep(own, new)
        except StoreError as error:
            log.event(_logger, logging.WARNING, "login_not_kept", reason=error.reason)

    async def _end(self, own: bytes, token: CheckToken) -> None:
        """As a logout by `sid`, up to the login that the token came from: a later one has a token of its own.

        Without a sid the digest stands for all devices, and the token for one of them: that one's cookies are revoked.
        Other processes may know other cookies of it, so a mark takes the token's place, which each of them reads.
        """
        cutoff, expires = token.session.login_time, expiry(self._late(), self._max_age_s)
        has_sid = token.session.sid is not None
        try:
            if has_sid:
                await self._publish([Revocation(Kind.SID, own, cutoff, expires)])
            else:
                await self._end_cookies(own, token)
            if await self._tokens.find(own) == token:  # as above
                await (self._tokens.forget(own) if has_sid else self._tokens.keep(own, replace(token, token="")))
        except StoreError as error:  # enforced here already, and kept in the outbox
            log.event(_logger, logging.WARNING, "provider_check_delayed", reason=error.reason)

    async def _end_cookies(self, own: bytes, token: CheckToken) -> None:
        """Revoke the cookies of this login that are known here, each once. Raises StoreError."""
        cutoff, expires = token.session.login_time, expiry(self._late(), self._max_age_s)
        ended = self._ended.setdefault(own, set())
        over = [
            # One that may belong to several logins dies with any of them (decision 018).
            Revocation(Kind.CREDENTIAL, credential, session.login_time, expires)
            for credential, session in self._sessions.bindings_of(own)
            if credential not in ended and any((each.own, each.login_time) == (own, cutoff) for each in session.all)
        ]
        if over:
            ended.update(each.digest for each in over)  # enforced here by now, and in the outbox if the store fails
            await self._publish(over)


def _count(checked: Checked) -> None:
    metrics.provider_checks.labels(checked.standing).inc()
    if checked.standing is Standing.OVER:
        log.event(_logger, logging.INFO, "session_over_at_provider", reason=checked.reason)
    elif checked.standing in {Standing.UNAVAILABLE, Standing.BROKEN}:
        level = logging.ERROR if checked.standing is Standing.BROKEN else logging.WARNING
        log.event(_logger, level, "provider_check_failed", standing=checked.standing, reason=checked.reason)


def _tag(own: bytes) -> bytes:
    return hashlib.blake2b(own, digest_size=16, person=b"lgsc-check").digest()
