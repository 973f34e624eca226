"""The second look at the answer of the app's own logout: what the user has ended there is over here as well.

The credentials that the request presented are revoked by their own digests, up to their own login: this session of the
app, in every process, and nothing else. Another device of the user, or a later login, lives on (decision 031). A
session that a token in the request proves has no credential of its own; where the token names a `sid`, that is revoked.

Then follows what the operator chose (`after`), which may name a place to send the browser to. Nothing of it can make
the user's logout fail: the app's answer goes out in any case, at the latest when `after` gives up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from sidecar import clock, log, metrics
from sidecar.core.app_logout import AppPath, Ended, has_ended
from sidecar.core.denial import Answer, is_navigation
from sidecar.core.identity import BoundSession, Kind, Session
from sidecar.core.paths import matches
from sidecar.core.revocation import Revocation, expiry
from sidecar.core.verdict import Deny, Reason
from sidecar.gate.enforcement import Enforcement
from sidecar.gate.identify import Identifier
from sidecar.gate.judgement import Judgement, Review
from sidecar.gate.learn import Teacher, cookies_set, location_of
from sidecar.gate.second_look import SecondLook
from sidecar.gate.verdicts import Verdicts
from sidecar.http1.fields import parse_line
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

Publish = Callable[[Collection[Revocation]], Awaitable[None]]
After = Callable[[Ended], Awaitable[str | None]]  # bounded in time; a URL: send the browser there

_AFTER_S: Final = 30.0  # what `after` bounds by itself; beyond it a defect must not hold the user's answer
_KEPT: Final = frozenset((b"set-cookie", b"clear-site-data"))  # of the app's answer, when the browser goes elsewhere


async def nothing(_ended: Ended) -> str | None:
    """Nothing follows."""
    return None


class AppLogouts:
    """Reviews the answers of the app's logout paths."""

    def __init__(
        self,
        *,
        paths: Sequence[AppPath],
        identifier: Identifier,
        enforcement: Enforcement,
        teacher: Teacher,
        second_look: SecondLook,
        verdicts: Verdicts,
        publish: Publish,
        max_age_s: float,
        after: After = nothing,
        observes: bool = False,
    ) -> None:
        """`observes`: nothing is denied yet, and no answer of the app is touched."""
        self._observes = observes
        self._paths = tuple(paths)
        self._identifier = identifier
        self._enforcement = enforcement
        self._teacher = teacher
        self._second_look = second_look
        self._verdicts = verdicts
        self._publish = publish
        self._max_age_s = max_age_s
        self._after = after

    def is_path(self, path: bytes) -> bool:
        """Whether the app may log somebody out here, whatever the method."""
        return any(matches(each.pattern, path) for each in self._paths)

    async def review(self, request: RequestHead, judgement: Judgement, response: ResponseHead) -> Review:
        """What of the app's answer goes out, once everything that follows from it is under way."""
        look, verdicts = self._second_look, self._verdicts
        # An answer that ends nothing is one like any other: who was logged out meanwhile gets nothing of it.
        is_logout = judgement.is_spared = judgement.login is None and self._has_ended(request, response)
        was_alive = not verdicts.is_dead(judgement.identity) and not verdicts.is_over(judgement.session)
        # First what every answer needs: a cookie that is set here inherits the session, should the app not have ended
        # it after all. Else its logout path would be a way to a cookie that no logout reaches.
        lesson = look.lesson(request, judgement, response)
        if lesson is not None:
            review = await look.learn(request, judgement, response, lesson)
        else:
            review = look.review(request, judgement, response)
        judgement.is_spared = is_logout and review.answer is None
        if not judgement.is_spared or not was_alive or self._observes:
            return review
        if not judgement.identity.all_sessions():  # nobody that we know was logged in
            return review
        revocations = self._revocations(request, judgement)
        metrics.app_logouts.inc()
        # Enforced here from the first step of `_revoke` on, whatever the store and the provider do meanwhile. The
        # provider may well tell us of this logout before they are done: nothing is held that it would have to wait for.
        steps: list[Coroutine[Any, Any, str | None]] = [
            self._revoke(revocations),
            self._follow(request, judgement, response),
        ]
        place = (await asyncio.gather(*steps))[-1]
        if place is None:
            return self._without_what_is_over(request, response, review)
        judgement.decision = "end_session"
        return Review(answer=self._redirect(request, response, place))

    def _has_ended(self, request: RequestHead, response: ResponseHead) -> bool:
        cookies = cookies_set(response.lines)
        deletes = any(cookie.is_deletion and self._enforcement.is_declared(cookie.name) for cookie in cookies)
        return has_ended(
            self._paths,
            request.method,
            request.target,
            response.status,
            location=location_of(response) or b"",
            deletes_session=deletes,
        )

    def _without_what_is_over(self, request: RequestHead, response: ResponseHead, review: Review) -> Review:
        """The app's answer, and the cookies that it leaves in the browser expired: it forgets them on its side only.

        Else the page that the user is sent to after the logout would be a denial.
        """
        lines = response.lines if review.lines is None else review.lines
        expired = self._enforcement.expired_cookies(request, Deny(Reason.REVOKED))
        return Review(lines=self._teacher.with_expired(lines, expired))

    # -- what is over --------------------------------------------------------------------------------------------

    def _revocations(self, request: RequestHead, judgement: Judgement) -> tuple[Revocation, ...]:
        """Each up to the login that it concerns, on the provider's clock: a login after it is none of our business."""
        expires = expiry(clock.late(), self._max_age_s)
        shown = self._identifier.presented(request)
        own = {digest for each in shown.credentials for digest in (each, *shown.others.get(each, ()))}
        ended = [
            Revocation(Kind.CREDENTIAL, credential, session.login_time, expires)
            for credential, session in judgement.identity.bound
            if credential in own  # not what stands for a session that a proxy names: it will name it again
        ]
        for proven, _ in self._proofs(request):
            if proven.sid is not None:
                session = self._identifier.bound(proven)
                sids = (session.own, *(sid for sid, _ in session.others))
                ended += [Revocation(Kind.SID, sid, session.sid_time, expires) for sid in sids]
        return tuple(ended)

    async def _revoke(self, revocations: Collection[Revocation]) -> None:
        try:
            await self._publish(revocations)
        except StoreError as error:  # enforced here already, and kept in the outbox
            log.event(_logger, logging.WARNING, "app_logout_delayed", reason=error.reason)

    # -- what follows --------------------------------------------------------------------------------------------

    async def _follow(self, request: RequestHead, judgement: Judgement, response: ResponseHead) -> str | None:
        session = self._only_session(judgement)
        if session is None:
            return None
        proofs = self._proofs(request)
        ended = Ended(
            session,
            proofs[0] if proofs else None,
            request.target,
            location_of(response) or b"",
            is_navigation=is_navigation(request.method, request.fields) and request.method != b"HEAD",
        )
        try:
            async with asyncio.timeout(_AFTER_S):
                return await self._after(ended)
        except Exception:  # a defect of ours must not take the answer of a logout away from the user
            _logger.exception("app_logout_fault")
            return None

    def _only_session(self, judgement: Judgement) -> BoundSession | None:
        """Of several sessions at once nobody can say which one the app has ended, and whose hints are to be shown."""
        identity = judgement.identity
        session = identity.first_session()
        return None if session is None or identity.is_of_several or len(session.all) > 1 else session

    def _proofs(self, request: RequestHead) -> list[tuple[Session, str]]:
        """The sessions that tokens in the request prove, as far as the keys are at hand."""
        found = ((binder.read(token), token) for binder, token in self._identifier.presented(request).tokens)
        return [(read, token.decode("ascii")) for read, token in found if isinstance(read, Session)]

    def _redirect(self, request: RequestHead, response: ResponseHead, place: str) -> Answer:
        """The app's cookies stay in it, but for new sessions: what the browser brings back from there is nobody's.

        A session cookie that the app sets beside its logout inherits the session, and would be refused as soon as the
        provider tells us of its end.
        """
        kept = self._teacher.without_cookies(line for line in response.lines if parse_line(line)[0] in _KEPT)
        lines = self._teacher.with_expired(kept, self._enforcement.expired_cookies(request, Deny(Reason.REVOKED)))
        headers = (
            (b"Location", place.encode()),
            (b"Cache-Control", b"no-store"),
            (b"Referrer-Policy", b"no-referrer"),
            (b"X-Logout-Sidecar", b"end_session"),
        )
        # The app may write a field without a blank behind its colon.
        fields = ((name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines))
        return Answer(303, b"See Other", (*headers, *fields), b"")
