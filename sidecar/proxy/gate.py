"""The gate: the verdict on each request, and the second look when the response head arrives.

It brings together who the request is (identify), what the rules say (core/verdict), what a denial does (enforcement)
and what a response teaches (learn). The common case runs without waiting: everything is in memory. What has to ask the
store or the provider is returned as an awaitable, and the exchange goes on when it is done.
"""

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Final
from urllib.parse import parse_qsl

from sidecar import clock, log
from sidecar.bindings.directory import Directory
from sidecar.bindings.logins import LoginRefused, Logins
from sidecar.core import verdict as rules
from sidecar.core.credentials import MAX_PAIRS
from sidecar.core.denial import Answer
from sidecar.core.freshness import Freshness, State
from sidecar.core.identity import BoundSession, Kind, Session
from sidecar.core.paths import Place, matches, may_match, path_of, place
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation, covers, expiry
from sidecar.core.routes import Routes, Rule
from sidecar.core.verdict import ANONYMOUS, Allow, Deny, Identity, Policy, Reason
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead
from sidecar.proxy.enforcement import Enforcement
from sidecar.proxy.identify import Identifier
from sidecar.proxy.judgement import Judgement, Login, Review
from sidecar.proxy.learn import Lesson, Teacher
from sidecar.proxy.live import LiveStreams
from sidecar.proxy.refusal import refusal
from sidecar.proxy.stats import Stats
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

_PERMIT: Final = rules.ALLOW.permit
_CODE: Final = re.compile(r"\s*code(?:\[.*|\s*|\0.*)", re.IGNORECASE | re.DOTALL)  # PHP and Express take `code[]` too
_SEPARATOR: Final = re.compile(rb"[&;?]")
_CODES_A_REQUEST: Final = 4
_ORDINARY_PATHS: Final = 8192
_ORDINARY_BYTES: Final = 256  # of one path: 4 MiB at the most
_CONDEMNING_AT_ONCE: Final = 1024

Publish = Callable[[Collection[Revocation]], Awaitable[None]]


class Gate:
    """Judges requests and reviews responses."""

    def __init__(
        self,
        *,
        identifier: Identifier,
        enforcement: Enforcement,
        teacher: Teacher,
        directory: Directory,
        logins: Logins,
        replica: Replica,
        freshness: Freshness,
        publish: Publish,
        live: LiveStreams,
        stats: Stats,
        policy: Policy,
        routes: Routes,
        callbacks: Sequence[re.Pattern[bytes]],
        logout_paths: Sequence[re.Pattern[bytes]],
        control_prefix: bytes,
    ) -> None:
        self._identifier = identifier
        self._enforcement = enforcement
        self._teacher = teacher
        self._directory = directory
        self._logins = logins
        self._replica = replica
        self._freshness = freshness
        self._publish = publish
        self._live = live
        self._stats = stats
        self._policy = policy
        self._routes = routes
        self._callbacks = tuple(re.compile(pattern.pattern, re.IGNORECASE) for pattern in callbacks)
        self._logout_paths = tuple(logout_paths)
        self._control_prefix = control_prefix
        self._ordinary: set[bytes] = set()  # paths to which nothing but the default rule applies
        self._oldest = math.inf  # ms: logins after it are not too old; see `tick`
        self._epoch = 0  # how many revocations have changed the replica
        self._tasks: set[asyncio.Task[None]] = set()

    # -- requests ------------------------------------------------------------------------------------------------

    def judge(self, request: RequestHead, now: float) -> Judgement | Awaitable[Judgement]:
        """The verdict on a request, at once where memory suffices. `now` is boot time."""
        path = request.target.partition(b"?")[0]
        rule = self._routes.default
        if path not in self._ordinary:
            where = place(path, self._control_prefix)
            if where is not Place.ELSEWHERE:
                return self._control(where, rule)
            rule = self._routes.find(request.method, path)
            for pattern in self._callbacks:  # on an allowed route too: a login that is missed is out of reach for ever
                if may_match(pattern, path):
                    return self._judge_callback(request, rule)
            if rule.action is None:
                return _unjudged(rule)
            self._note_ordinary(path)
        known = self._identifier.only_session(request, now)
        if known is not None and self._is_well(known[0], known[1], now):
            self._stats.allowed_bound += 1
            judgement = Judgement(_PERMIT, rule)
            judgement.epoch, judgement.session, judgement.known = self._epoch, known[1], known
            if self._logout_paths:
                judgement.is_logout_path = self._is_logout(path)
            return judgement
        identity = self._identifier.now(request, now)
        if identity is None:
            return self._judge_slowly(request, rule)
        return self._conclude(request, identity, rule, now)

    def _control(self, where: Place, rule: Rule) -> Judgement:
        if where is Place.LOOK_ALIKE:
            return self._refused(404, "not_found", rule)
        judgement = _unjudged(rule)
        judgement.is_control = True
        return judgement

    async def _judge_slowly(self, request: RequestHead, rule: Rule) -> Judgement:
        identity = await self._identifier.later(request)
        judged = self._conclude(request, identity, rule, clock.boot())
        return judged if isinstance(judged, Judgement) else await judged

    async def _judge_callback(self, request: RequestHead, rule: Rule) -> Judgement:
        """A callback waits for its turn when another with the same code is in flight (`bindings/logins.py`)."""
        is_long = len(_SEPARATOR.findall(request.target)) > MAX_PAIRS  # no login needs so many; reading them would cost
        codes = [] if is_long else _codes(request.target)
        if is_long or len(codes) > _CODES_A_REQUEST:
            return self._refused(400, "too_many_codes", rule)
        login = _Logins(self._logins)
        try:
            for code in codes:
                login.add(await self._logins.begin(code))
            if rule.action is None:
                judgement = Judgement(_PERMIT, rule)
            else:
                judgement = await self._judge_slowly(request, rule)  # after the wait: a logout may have come meanwhile
        except LoginRefused as refused:
            login.end()
            return self._refused(503, refused.reason, rule)
        except BaseException:
            login.end()
            raise
        if judgement.permit is not None:
            judgement.login = login
        else:
            login.end()
        return judgement

    def reconsider(self, request: RequestHead, judgement: Judgement) -> Answer | None:
        """The verdict again for a request that had to wait for a connection; the answer when it is a denial by now.

        What was allowed before a logout must not reach the app after its 200 (DESIGN promise 1).
        """
        if not judgement.is_reviewed:
            return None
        verdict = self._decide(judgement.identity, clock.boot())
        return self._denied_late(request, judgement, verdict).answer if isinstance(verdict, Deny) else None

    def _conclude(
        self, request: RequestHead, identity: Identity, rule: Rule, now: float, *, is_second_look: bool = False
    ) -> Judgement | Awaitable[Judgement]:
        verdict = self._decide(identity, now)
        if isinstance(verdict, Deny):
            # A binding in memory may be older than a later login elsewhere: never deny on it without asking again.
            if identity.bound and not verdict.is_temporary and not is_second_look:
                return self._look_again(request, rule)
            return self._denied(request, identity, verdict, rule)
        self._count(identity, verdict)
        judgement = self._judgement(path_of(request.target), rule, identity.first_session())
        judgement.identity = identity
        return judgement

    def _judgement(self, path: bytes, rule: Rule, session: BoundSession | None) -> Judgement:
        judgement = Judgement(_PERMIT, rule)
        judgement.epoch = self._epoch
        judgement.session = session
        judgement.is_logout_path = self._is_logout(path)
        return judgement

    def _is_logout(self, path: bytes) -> bool:
        return any(matches(pattern, path) for pattern in self._logout_paths)

    def _note_ordinary(self, path: bytes) -> None:
        """No route, callback or control path: the next request for it need not look. Long paths hardly repeat."""
        if self._routes.is_empty and len(path) <= _ORDINARY_BYTES:
            if len(self._ordinary) >= _ORDINARY_PATHS:
                self._ordinary.clear()
            self._ordinary.add(path)

    def _is_well(self, credential: bytes, session: BoundSession, now: float) -> bool:
        """The row of the verdict that nearly every request is: one bound session, untouched, young, replica fresh.

        True only where `decide` allows; anything else is for `decide` to say.
        """
        return (
            session.login_time > self._oldest
            and self._freshness.state(now) is State.FRESH
            and not self._replica.knows(session.own, credential, session.sub)
        )

    def tick(self) -> None:
        """Called a few times a second: notes how old a login may be, so that not every request asks the clock."""
        self._oldest = clock.wall() * 1000 - self._policy.max_age_ms

    async def _look_again(self, request: RequestHead, rule: Rule) -> Judgement:
        identity = await self._identifier.later(request, recheck=True)
        judged = self._conclude(request, identity, rule, clock.boot(), is_second_look=True)
        return judged if isinstance(judged, Judgement) else await judged

    def _denied(self, request: RequestHead, identity: Identity, denial: Deny, rule: Rule) -> Judgement:
        self._stats.decisions[denial.reason] += 1
        self._stats.denied_coverage["bound" if identity.all_sessions() else "unbound"] += 1
        self._condemn(identity, denial)
        if self._enforcement.strips(denial, rule, request):
            expired = self._enforcement.expired_cookies(request)
            if self._enforcement.strip(request):
                judgement = Judgement(_PERMIT, rule)
                judgement.epoch, judgement.expired_cookies = self._epoch, expired
                judgement.decision = denial.reason
                return judgement
        judgement = Judgement(None, rule)
        judgement.decision = denial.reason
        judgement.answer = self._enforcement.answer(denial, rule, request)
        return judgement

    def _refused(self, status: int, reason: str, rule: Rule) -> Judgement:
        self._stats.decisions[reason] += 1
        judgement = Judgement(None, rule)
        judgement.decision = reason
        judgement.answer = refusal(status, reason)
        return judgement

    def _decide(self, identity: Identity, now: float) -> Allow | Deny:
        if identity is ANONYMOUS:
            return rules.ALLOW
        state = self._freshness.state(now)
        return rules.decide(identity, self._replica.cutoff, state, self._policy, clock.wall() * 1000)

    def _count(self, identity: Identity, verdict: Allow) -> None:
        stats = self._stats
        if verdict.is_failing_open:
            stats.decisions["failed_open"] += 1
            stats.denied_coverage["bound" if identity.all_sessions() else "unbound"] += 1
        elif identity is ANONYMOUS:
            stats.allowed_anonymous += 1
        elif identity.bound or identity.sessions:
            stats.allowed_bound += 1
        else:
            stats.allowed_unbound += 1

    # -- responses -----------------------------------------------------------------------------------------------

    def review(
        self, request: RequestHead, judgement: Judgement, response: ResponseHead
    ) -> Review | Awaitable[Review] | None:
        """The second look, before anything of the response goes out; None: as it is."""
        if not judgement.is_reviewed:
            if judgement.is_control or not response.sets_cookies or not self._teacher.sets_session(response.lines):
                return None
            return self._review_unjudged(request, judgement, response)
        if not response.sets_cookies and judgement.login is None and not judgement.expired_cookies:
            if judgement.epoch == self._epoch or judgement.identity is ANONYMOUS:
                return None
            return self._reviewed(request, judgement, response, None)
        lesson = self._teacher.read(request, judgement, response)
        if lesson is not None:
            return self._learn(request, judgement, response, lesson)
        return self._reviewed(request, judgement, response, None)

    async def _review_unjudged(self, request: RequestHead, judgement: Judgement, response: ResponseHead) -> Review:
        """An allowed route renews the session's cookie: the new one is no less mortal than the old one."""
        judgement.identity = await self._identifier.later(request)
        judgement.session = judgement.identity.first_session()
        verdict = self._decide(judgement.identity, clock.boot())
        if not isinstance(verdict, Deny) or verdict.reason is Reason.UNBOUND:
            lesson = self._teacher.read(request, judgement, response)
            review = await self._learn(request, judgement, response, lesson) if lesson is not None else Review()
            if review.answer is None:
                return review
        return Review(lines=self._teacher.without_cookies(response.lines))

    async def _learn(
        self, request: RequestHead, judgement: Judgement, response: ResponseHead, lesson: Lesson
    ) -> Review:
        if lesson.refusal is not None:
            self._condemn_login(request, judgement)
            return self._denied_late(request, judgement, Deny(lesson.refusal))
        try:
            session = await self._teacher.learn(lesson)
        except StoreError as error:
            self._condemn_login(request, judgement)
            # The cookie must not get out before its binding is stored (DESIGN section 5).
            log.event(_logger, logging.WARNING, "binding_not_stored", reason=error.reason)
            return self._denied_late(request, judgement, Deny(Reason.LOGIN))
        if session is not None:
            judgement.session = session
        return self._reviewed(request, judgement, response, session)

    def _reviewed(
        self, request: RequestHead, judgement: Judgement, response: ResponseHead, learned: BoundSession | None
    ) -> Review:
        cutoff = self._replica.cutoff
        is_dead = rules.is_revoked(judgement.identity, cutoff) and not judgement.is_fresh_login(learned)
        if is_dead or (judgement.session is not None and rules.is_session_revoked(judgement.session, cutoff)):
            if judgement.is_logout_path:
                return Review(lines=self._teacher.without_cookies(response.lines))
            return self._denied_late(request, judgement, Deny(Reason.REVOKED))
        if judgement.expired_cookies:
            return Review(lines=self._teacher.with_expired(response.lines, judgement.expired_cookies))
        return Review()

    def _denied_late(self, request: RequestHead, judgement: Judgement, denial: Deny) -> Review:
        self._stats.decisions[f"late_{denial.reason}"] += 1
        judgement.decision = f"late_{denial.reason}"
        self._condemn(judgement.identity, denial)
        return Review(answer=self._enforcement.answer(denial, judgement.rule, request))

    # -- revocations ---------------------------------------------------------------------------------------------

    def revoked(self, revocation: Revocation) -> None:
        """A revocation changed the replica: cut what flows, and revoke the credentials of the session as well."""
        self._epoch += 1
        self._live.revoked(revocation)
        for credential, session in self._directory.bindings_of(revocation.digest):
            if covers(revocation, session):
                self._revoke_credential(credential, revocation.cutoff)

    def key_changed(self) -> None:
        """The key of the digests has become known; what was made before is worth nothing."""
        self._identifier.forget()

    def is_revoked(self, judgement: Judgement) -> bool:
        """Whether the session of a stream that flows is over."""
        cutoff = self._replica.cutoff
        session = judgement.session
        return rules.is_revoked(judgement.identity, cutoff) or (
            session is not None and rules.is_session_revoked(session, cutoff)
        )

    def digests_of(self, judgement: Judgement) -> tuple[bytes, ...]:
        """What a revocation may name to mean this request."""
        identity, session = judgement.identity, judgement.session
        sessions = identity.all_sessions() + ([session] if session is not None else [])
        digests = [digest for each in sessions for digest in (each.own, each.sub) if digest is not None]
        credentials = [credential for credential, _ in identity.bound]
        return tuple(dict.fromkeys((*digests, *credentials, *identity.unbound)))

    def _condemn(self, identity: Identity, denial: Deny) -> None:
        """Losing a binding must never turn this denial into access: revoke the credential itself (state.md B5)."""
        if denial.reason not in (Reason.REVOKED, Reason.EXPIRED):
            return
        for credential, session in identity.bound:
            if denial.reason is Reason.EXPIRED or rules.is_session_revoked(session, self._replica.cutoff):
                self._revoke_credential(credential, rules.cutoff_of(session, self._replica.cutoff))

    def _condemn_login(self, request: RequestHead, judgement: Judgement) -> None:
        """A login that could not be learned may have gone into the cookie that the browser keeps: end that as well."""
        if judgement.login is not None:
            for credential in self._identifier.presented(request).credentials:
                self._revoke_credential(credential, int(clock.wall() * 1000))

    def _revoke_credential(self, credential: bytes, cutoff: int) -> None:
        known = self._replica.cutoff(credential)
        if (known is not None and known >= cutoff) or len(self._tasks) >= _CONDEMNING_AT_ONCE:
            return  # said already; or a flood, and the next denial will say it
        expires = expiry(clock.wall(), self._policy.max_age_ms / 1000)
        self._spawn(self._publish_quietly(Revocation(Kind.CREDENTIAL, credential, cutoff, expires)))

    async def _publish_quietly(self, revocation: Revocation) -> None:
        try:
            await self._publish((revocation,))
        except StoreError as error:  # enforced here already, and kept in the outbox
            log.event(_logger, logging.DEBUG, "credential_revocation_delayed", reason=error.reason)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Logins:
    """The logins of one callback, one for each code that it carries; as one."""

    def __init__(self, logins: Logins) -> None:
        self._all = logins
        self._strays = logins.strays
        self._logins: list[Login] = []

    def add(self, login: Login) -> None:
        """One more code."""
        self._logins.append(login)

    @property
    def session(self) -> Session | None:
        """The session of the code that the app exchanged."""
        return next((login.session for login in self._logins if login.session is not None), None)

    @property
    def failed(self) -> bool:
        """Whether an answer could not be verified, more than one code was exchanged, or one that was not seen here.

        A code that no callback seems to carry came in one all the same: in its body, or in a spelling of its own.
        """
        joined = [login for login in self._logins if login.session is not None]
        if not joined and self._all.strays != self._strays:
            return True
        return any(login.failed for login in self._logins) or len(joined) > 1

    def end(self) -> None:
        """The callback is over."""
        for login in self._logins:
            login.end()


def _unjudged(rule: Rule) -> Judgement:
    judgement = Judgement(_PERMIT, rule)
    judgement.is_reviewed = False
    return judgement


def _codes(target: bytes) -> list[str]:
    """Every authorization code in the query, form-decoded as apps do: with other separators, cases and arrays too."""
    query = target.partition(b"?")[2].decode("latin-1")
    pairs = [pair for text in (query, re.sub("[?;]", "&", query)) for pair in parse_qsl(text)]
    return list(dict.fromkeys(value for name, value in pairs if _CODE.fullmatch(name)))
