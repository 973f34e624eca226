"""The second look at an exchange, before it reaches the app late or anything of the response goes out.

A session that was revoked meanwhile gets nothing of the answer, and no new cookie. What the response teaches is in the
store before it is released. The gate asks only where there is something to look at.
"""

import logging

from sidecar import clock, log
from sidecar.core.denial import Answer
from sidecar.core.identity import BoundSession
from sidecar.core.verdict import Deny, Reason
from sidecar.gate.condemn import Condemner
from sidecar.gate.denials import Denials
from sidecar.gate.identify import Identifier
from sidecar.gate.judgement import Judgement, Review
from sidecar.gate.learn import Lesson, Teacher
from sidecar.gate.remember import Remember, cookies_of
from sidecar.gate.verdicts import Verdicts
from sidecar.gate.vouchers import Vouchers
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)


class SecondLook:
    """Judges again what was allowed."""

    def __init__(
        self,
        *,
        identifier: Identifier,
        verdicts: Verdicts,
        teacher: Teacher,
        denials: Denials,
        condemner: Condemner,
        vouchers: Vouchers | None = None,
        remember: Remember | None = None,
    ) -> None:
        """`remember` is handed the cookies of each browser that has a session; None: nobody wants them."""
        self._remember = remember
        self._vouchers = vouchers
        self._identifier = identifier
        self._verdicts = verdicts
        self._teacher = teacher
        self._denials = denials
        self._condemner = condemner

    def reconsider(self, request: RequestHead, judgement: Judgement) -> Answer | None:
        """The verdict again for a request that had to wait for a connection; the answer when it is a denial by now.

        What was allowed before a logout must not reach the app after its 200 (promise 1).
        """
        verdict = self._verdicts.decide(judgement.identity, judgement.rule, clock.boot())
        return self._denials.late(request, judgement, verdict).answer if isinstance(verdict, Deny) else None

    def sets_session(self, response: ResponseHead) -> bool:
        """Whether the response sets a session cookie."""
        return response.sets_cookies and self._teacher.sets_session(response.lines)

    def lesson(self, request: RequestHead, judgement: Judgement, response: ResponseHead) -> Lesson | None:
        """What has to be written down before the response goes out."""
        return self._teacher.read(request, judgement, response)

    async def at_unjudged(self, request: RequestHead, judgement: Judgement, response: ResponseHead) -> Review:
        """An allowed route renews the session's cookie: the new one is no less mortal than the old one."""
        judgement.identity = await self._identifier.later(request)
        judgement.session = judgement.identity.first_session()
        verdict = self._verdicts.decide(judgement.identity, judgement.rule, clock.boot())
        if not isinstance(verdict, Deny) or verdict.reason is Reason.UNBOUND:
            lesson = self._teacher.read(request, judgement, response)
            if lesson is None:
                return self.review(request, judgement, response)
            review = await self.learn(request, judgement, response, lesson)
            if review.answer is None:
                return review
        return Review(lines=self._teacher.without_cookies(response.lines))

    async def at_unjudged_callback(self, request: RequestHead, judgement: Judgement, response: ResponseHead) -> Review:
        """A callback on an allowed route. Nobody is denied there, but what it teaches goes by what was presented.

        Else the callback would be a way to a cookie that no logout reaches, and to a stranger's.
        """
        login = judgement.login
        if login is None or (login.session is None and not login.failed):
            is_untold = not self.sets_session(response)
            return Review() if is_untold else await self.at_unjudged(request, judgement, response)
        judgement.identity = await self._identifier.later(request)
        lesson = self._teacher.read(request, judgement, response)
        return Review() if lesson is None else await self.learn(request, judgement, response, lesson)

    async def learn(self, request: RequestHead, judgement: Judgement, response: ResponseHead, lesson: Lesson) -> Review:
        """Write the lesson down, then look."""
        if lesson.refusal is not None:
            return self._login_lost(request, judgement, response, lesson.refusal)
        try:
            session = await self._teacher.learn(lesson)
        except StoreError as error:
            # The cookie must not get out before its binding is stored.
            log.event(_logger, logging.WARNING, "binding_not_stored", reason=error.reason)
            return self._login_lost(request, judgement, response, Reason.LOGIN)
        if session is not None:
            judgement.session = session
            if self._remember is not None:
                await self._remember(session, *cookies_of(request, response, self._teacher.is_declared))
        review = self.review(request, judgement, response, session)
        is_withheld = lesson.withholds and review.answer is None
        if is_withheld and not self._denials.passes(judgement, Deny(Reason.LOGIN), is_late=True):
            lines = response.lines if review.lines is None else review.lines
            return Review(lines=self._teacher.without_cookies(lines))
        return review

    def _login_lost(self, request: RequestHead, judgement: Judgement, response: ResponseHead, reason: Reason) -> Review:
        if self._denials.passes(judgement, Deny(reason), is_late=True):
            return self.review(request, judgement, response)
        if judgement.login is not None:
            self._condemner.login_lost(self._identifier.presented(request).credentials)
        return self._denials.late(request, judgement, Deny(reason))

    def review(
        self, request: RequestHead, judgement: Judgement, response: ResponseHead, learned: BoundSession | None = None
    ) -> Review:
        """What of the response goes out. `learned`: the session of the cookies that were bound just now."""
        reason = self._why_not(judgement, learned)
        if reason is not None and not self._denials.passes(judgement, Deny(reason), is_late=True):
            if judgement.is_spared:
                return Review(lines=self._teacher.without_cookies(response.lines))
            return self._denials.late(request, judgement, Deny(reason))
        lines = response.lines
        if self._vouchers is not None:
            lines = self._with_voucher(self._vouchers, request, judgement, lines)
        if judgement.expired_cookies:
            lines = self._teacher.with_expired(lines, judgement.expired_cookies)
        return Review(lines=lines)

    def _why_not(self, judgement: Judgement, learned: BoundSession | None) -> Reason | None:
        verdicts, identity, session = self._verdicts, judgement.identity, judgement.session
        is_dead = verdicts.is_dead(identity) and not judgement.is_fresh_login(learned)
        if is_dead or verdicts.is_over(session):
            return Reason.REVOKED
        return Reason.STALE if verdicts.is_in_doubt(identity, session, judgement.rule, clock.boot()) else None

    def _with_voucher(
        self, vouchers: Vouchers, request: RequestHead, judgement: Judgement, lines: list[bytes]
    ) -> list[bytes]:
        """Who is logged in has no use for a voucher; who has got a credential before a login gets one."""
        if judgement.session is not None:
            own = vouchers.expired if request.aside else None
        else:
            cookies = self._teacher.gives_out(lines)
            given = self._identifier.credentials_set(cookies)
            is_partitioned = any(cookie.scope.partitioned for cookie in cookies)
            own = vouchers.grant(judgement.identity, given, is_partitioned=is_partitioned)
        return lines if own is None else [*lines, b"Set-Cookie: " + own]
