"""What a response teaches: which session the app's new cookies belong to.

Three things can happen in a response that is about to go out. The app finished a login (the relay has seen the ID
token): its cookie, new or kept, is bound to the new session. The app set a new cookie on a request whose session is
known: the cookie inherits the session with its first login time. The app set a token and a cookie together: the token
proves the session of the cookie. Bindings are in the store before the response goes out.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar import clock, metrics
from sidecar.bindings.directory import UNKNOWN, Directory
from sidecar.core.completion import Outcome
from sidecar.core.cookies import SetCookie, parse_set_cookie
from sidecar.core.identity import BoundSession, shared
from sidecar.core.verdict import Identity, Reason
from sidecar.gate.callbacks import Claim
from sidecar.gate.enforcement import Enforcement
from sidecar.gate.identify import Identifier
from sidecar.gate.judgement import Judgement
from sidecar.http1.fields import parse_line
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead
from sidecar.log import Repeated
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

_HINT: Final = "no new session cookie: the login failed, or the app keeps its cookie and needs success.cookie: kept"
_CONTEST_S: Final = 3.0  # for all that stand in line: a hung store must not hold logins in a row
_MOST_SHARED: Final = 4  # sessions of one credential; a browser that needs more signs in with new cookies


@dataclass(frozen=True, slots=True)
class Lesson:
    """What there is to learn from one response."""

    session: BoundSession | None  # of the login or the request; None: only a token among the cookies can tell
    credentials: tuple[bytes, ...]  # digests to bind
    tokens: tuple[tuple[bytes, bytes], ...] = field(repr=False)  # token cookies that the app sets
    binder: str
    refusal: Reason | None = None  # why nothing can be learned, so that the answer must not get out
    withholds: bool = False  # the session cookies that the app sets; nobody can say what they are
    is_contested: bool = False  # another login may have taken the credentials, or be taking them at this moment


class Teacher:
    """Reads lessons out of responses and writes bindings."""

    def __init__(self, *, identifier: Identifier, enforcement: Enforcement, directory: Directory) -> None:
        self._unconfirmed = Repeated(_logger, logging.WARNING, "login_unconfirmed", clock=clock.boot)
        self._contest = asyncio.Lock()
        self._identifier = identifier
        self._enforcement = enforcement
        self._directory = directory

    def read(self, request: RequestHead, judgement: Judgement, response: ResponseHead) -> Lesson | None:
        """What the response teaches; None when it is nothing that has to be written down."""
        cookies = self._declared(response.lines)
        login = judgement.login
        if login is None:
            return self._read_ordinary(judgement, cookies)
        if login.failed:  # the cookie, new or kept, would be a session that no logout reaches
            return Lesson(None, (), (), "token_endpoint", Reason.LOGIN)
        if login.session is not None:
            return self._read_login(request, judgement, response, self._identifier.bound(login.session), cookies)
        if login.claim is not None:
            return self._read_claim(request, judgement, response, login.claim, cookies)
        return self._read_ordinary(judgement, cookies)

    def _read_ordinary(self, judgement: Judgement, cookies: Sequence[SetCookie]) -> Lesson | None:
        """No login: new cookies inherit the session of the request, or the token that comes with them proves theirs."""
        session = judgement.session
        values, tokens = self._sorted_out(cookies)
        if session is None and not tokens:
            return _unknown(values, judgement.identity)
        if not values:
            return None
        news = tuple(each for each in values if session is None or self._is_news(each, session))
        if not news:
            return None
        binder = "token" if session is None else "rotation"
        if not tokens and judgement.identity.is_of_several:
            # Else a stolen cookie, sent beside the thief's own, would be bound to the thief's session.
            return Lesson(None, (), (), binder, Reason.AMBIGUOUS)
        return Lesson(session, news, tokens, binder)

    def _read_login(
        self,
        request: RequestHead,
        judgement: Judgement,
        response: ResponseHead,
        session: BoundSession,
        cookies: Sequence[SetCookie],
    ) -> Lesson | None:
        """The relay has seen it: the cookie, new or kept, is that session's from now on."""
        values, tokens = self._sorted_out(cookies)
        kept = self._left_alone(request, judgement) if values else self._identifier.presented(request).credentials
        # Besides, because the user may have chosen where to go.
        credentials = tuple(dict.fromkeys((*values, *kept, *self._in_location(response))))
        if not credentials:
            return None
        if not values and len(credentials) > 1 and _is_of_another(judgement.identity, session):
            return Lesson(None, (), (), "token_endpoint", Reason.AMBIGUOUS)  # as above
        later = [each for each in self._known(credentials) if each != session and each.login_time > session.login_time]
        if later:  # it was overtaken, perhaps by a claim: both count
            return self._contested(shared(session, later), credentials, "token_endpoint")
        news = tuple(each for each in credentials if self._is_news(each, session))
        return Lesson(session, news, tokens, "token_endpoint")

    def _sorted_out(self, cookies: Sequence[SetCookie]) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, bytes], ...]]:
        """Digests of the session cookies, and the token cookies."""
        is_token = self._identifier.is_token_cookie
        values = self._identifier.credentials_set([each for each in cookies if not is_token(each.name)])
        return tuple(dict.fromkeys(values)), tuple((each.name, each.value) for each in cookies if is_token(each.name))

    def _contested(self, session: BoundSession, credentials: tuple[bytes, ...], binder: str) -> Lesson:
        if len(session.all) > _MOST_SHARED:
            return Lesson(None, (), (), binder, Reason.AMBIGUOUS)
        return Lesson(session, credentials, (), binder, is_contested=True)

    def _read_claim(
        self,
        request: RequestHead,
        judgement: Judgement,
        response: ResponseHead,
        claim: Claim,
        cookies: Sequence[SetCookie],
    ) -> Lesson | None:
        identifier, binder = self._identifier, claim.binder
        presented = identifier.presented(request).credentials
        # A token names its session itself, wherever it is shown again. What it says must not replace what is known.
        set_here, _ = self._sorted_out(cookies)
        in_location = self._in_location(response)
        is_new = any(credential not in presented for credential in (*set_here, *in_location))
        outcome = claim.completion.outcome(response.status, location_of(response), is_cookie_new=is_new)
        if outcome is Outcome.FAILED:
            if in_location:  # it cannot be taken out of there
                return Lesson(None, (), (), binder, Reason.LOGIN)
            return Lesson(None, (), (), binder, withholds=True) if cookies else None
        known = judgement.identity.all_sessions()
        kept = self._left_alone(request, judgement) if set_here else presented
        credentials = tuple(dict.fromkeys((*set_here, *kept, *in_location)))
        if not credentials or (outcome is Outcome.UNCLEAR and not known):
            metrics.logins.labels("unconfirmed").inc()
            self._unconfirmed.note(binder=binder, hint=_HINT)
            return None
        if not is_new and len(presented) > 1 and judgement.identity.is_of_several:
            return Lesson(None, (), (), binder, Reason.AMBIGUOUS)  # nobody can say which of them the app has used
        session = shared(identifier.bound(claim.session), [*known, *self._known(credentials)])
        return self._contested(session, credentials, binder)

    def _left_alone(self, request: RequestHead, judgement: Judgement) -> tuple[bytes, ...]:
        """What nobody knows of the credentials that the browser has beside those that the app sets.

        An app with several may have logged one of these in: the user ticks `remember me`, and drops that cookie later.
        """
        if not self._identifier.has_several_carriers:
            return ()
        unknown = judgement.identity.unbound
        return tuple(each for each in self._identifier.presented(request).credentials if each in unknown)

    def _in_location(self, response: ResponseHead) -> tuple[bytes, ...]:
        """Credentials in the address that the app redirects to: where it keeps its sessions in URLs, a new one."""
        location = location_of(response)
        return self._identifier.in_target(location) if location is not None else ()

    def _known(self, credentials: Iterable[bytes]) -> Iterator[BoundSession]:
        """What is known in memory of credentials that the app sets: it may set one that was there before."""
        for known in map(self._directory.cached, credentials):
            if isinstance(known, BoundSession):
                yield known

    async def learn(self, lesson: Lesson) -> BoundSession | None:
        """Write the bindings; returns the session that they now have. Raises StoreError."""
        session = lesson.session
        if lesson.tokens:
            session = await self._identifier.session_of_tokens(lesson.tokens) or session
        if session is not None and lesson.is_contested:
            return await self._bind_contested(session, lesson)
        if session is not None:
            for credential in lesson.credentials:
                await self._directory.bind(credential, session, binder=lesson.binder)
        return session

    async def _bind_contested(self, session: BoundSession, lesson: Lesson) -> BoundSession:
        """Ask again, and one after the other: a login may have taken a credential while the app was answering."""
        try:
            async with asyncio.timeout(_CONTEST_S), self._contest:
                for credential in lesson.credentials:
                    found = await self._directory.find(credential, max_age_s=0.0)
                    session = shared(session, [found]) if found is not None else session
                for credential in lesson.credentials:
                    await self._directory.bind(credential, session, binder=lesson.binder)
        except TimeoutError:
            raise StoreError("store_busy", "the store is behind with its answers") from None
        return session

    def without_cookies(self, lines: Iterable[bytes]) -> list[bytes]:
        """The response's lines without session cookies: a dead session gets no new one (reference case 154).

        A deletion stays: the browser may as well let go of what is dead.
        """
        return [line for line in lines if not self._sets_declared(line)]

    def with_expired(self, lines: Sequence[bytes], expired: Iterable[bytes]) -> list[bytes]:
        """The response's lines and our expiries, but for names that the app sets itself: its word wins."""
        own = {cookie.name for cookie in cookies_set(lines)}
        return [*lines, *(b"Set-Cookie: " + line for line in expired if line.partition(b"=")[0] not in own)]

    def is_declared(self, name: bytes) -> bool:
        """Whether a cookie of this name carries a session."""
        return self._enforcement.is_declared(name)

    def gives_out(self, lines: Iterable[bytes]) -> list[SetCookie]:
        """The session cookies that the response sets, without tokens: those speak for themselves."""
        return [cookie for cookie in self._declared(lines) if not self._identifier.is_token_cookie(cookie.name)]

    def sets_session(self, lines: Iterable[bytes]) -> bool:
        """Whether the response sets a session cookie."""
        return bool(self._declared(lines))

    def _declared(self, lines: Iterable[bytes]) -> list[SetCookie]:
        """The session cookies that the response sets.

        Deletions are left out. The old value stays bound: an app that keeps no list of its sessions still accepts a
        copy of it (decision 022).
        """
        cookies = cookies_set(lines)
        declared = [cookie for cookie in cookies if self._enforcement.is_declared(cookie.name)]
        for cookie in declared:
            self._enforcement.saw(cookie)
        return [cookie for cookie in declared if not cookie.is_deletion]

    def _sets_declared(self, line: bytes) -> bool:
        cookies = cookies_set([line])
        return any(self._enforcement.is_declared(cookie.name) and not cookie.is_deletion for cookie in cookies)

    def _is_news(self, credential: bytes, session: BoundSession) -> bool:
        known = self._directory.cached(credential)
        if known is None or known is UNKNOWN:
            return True
        return known != session and known.login_time <= session.login_time


def _unknown(news: Sequence[bytes], identity: Identity) -> Lesson | None:
    """Nothing, as a rule. But what passes in an outage must not shed its session for ever: somebody may know whose."""
    if identity.is_store_silent and any(each not in identity.unbound for each in news):
        return Lesson(None, (), (), "rotation", withholds=True)
    return None


def _is_of_another(identity: Identity, session: BoundSession | None) -> bool:
    return session is None or identity.is_unclear or not all(session.is_same(bound) for _, bound in identity.bound)


def location_of(response: ResponseHead) -> bytes | None:
    """Where the app redirects to."""
    return next((value for name, value in map(parse_line, response.lines) if name == b"location"), None)


def cookies_set(lines: Iterable[bytes]) -> list[SetCookie]:
    """The cookies that these lines set, deletions included."""
    return [parse_set_cookie(value) for name, value in map(parse_line, lines) if name == b"set-cookie"]
