"""The gate: the verdict on each request, and what the rest of the plane asks about it afterwards.

It brings together where a request leads (core/paths, core/routes, callbacks), who it is (identify), what the rules say
(verdicts), what a denial does (denials) and what is looked at again when the response arrives (second_look). The common
case runs without waiting: everything is in memory. What has to ask the store or the provider is returned as an
awaitable, and the exchange goes on when it is done.
"""

from collections.abc import Coroutine
from typing import Any, Final

from sidecar import clock
from sidecar.bindings.logins import LoginRefused
from sidecar.core import verdict as rules
from sidecar.core.callback import CallbackRefused
from sidecar.core.denial import Answer
from sidecar.core.form import Body
from sidecar.core.identity import BoundSession
from sidecar.core.paths import Place, is_too_odd, path_of, place
from sidecar.core.revocation import Revocation
from sidecar.core.routes import Routes, Rule
from sidecar.core.verdict import ANONYMOUS, Deny, Identity, Reason
from sidecar.errors import SidecarError
from sidecar.gate.app_logout import AppLogouts
from sidecar.gate.callbacks import Callbacks
from sidecar.gate.condemn import Condemner
from sidecar.gate.counts import Counts
from sidecar.gate.denials import Denials
from sidecar.gate.identify import Identifier
from sidecar.gate.judgement import Judgement, Login, Review
from sidecar.gate.live import LiveStreams
from sidecar.gate.second_look import SecondLook
from sidecar.gate.verdicts import Verdicts
from sidecar.gate.vouchers import Vouchers
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead

_PERMIT: Final = rules.ALLOW.permit
_ORDINARY_PATHS: Final = 8192
_ORDINARY_BYTES: Final = 256  # of one path: 4 MiB at the most


class Gate:
    """Judges requests and reviews responses."""

    def __init__(
        self,
        *,
        identifier: Identifier,
        callbacks: Callbacks,
        verdicts: Verdicts,
        denials: Denials,
        second_look: SecondLook,
        condemner: Condemner,
        live: LiveStreams,
        counts: Counts,
        routes: Routes,
        app_logouts: AppLogouts,
        control_prefix: bytes,
        vouchers: Vouchers | None = None,
    ) -> None:
        self._identifier = identifier
        self._reads_forms = identifier.reads_forms
        self._callbacks = callbacks
        self._verdicts = verdicts
        self._denials = denials
        self._second_look = second_look
        self._condemner = condemner
        self._live = live
        self._counts = counts
        self._routes = routes = routes.counted(counts.traffic)
        self._default = routes.default
        self._app_logouts = app_logouts
        self._control_prefix = control_prefix
        self._vouchers = vouchers
        self._only_session, self._is_well = identifier.only_session, verdicts.is_well  # a look-up less for each request
        self._ordinary: set[bytes] = set()  # paths to which nothing but the default rule applies, whatever the body
        self._epoch = 0  # how often something has changed that an earlier verdict did not know
        self.is_blind = False  # as of the last tick

    # -- requests ------------------------------------------------------------------------------------------------

    def judge(self, request: RequestHead, now: float) -> Judgement | Coroutine[Any, Any, Judgement]:
        """The verdict on a request, at once where memory suffices. `now` is boot time."""
        if self._vouchers is not None:
            self._vouchers.take_out(request)  # they are the sidecar's own, and never reach the app
        path = request.target.partition(b"?")[0]
        rule, is_logout = self._default, False
        if path not in self._ordinary:
            if is_too_odd(path) or place(path, self._control_prefix) is not Place.ELSEWHERE:
                return self._not_for_app(path, rule)
            # A method that the app will take another for fits no route that goes by the method (reference case 42).
            rule = self._routes.find(b"" if request.overrides_method else request.method, path)
            if self._callbacks.may_be(path):  # on an allowed route too: a login that is missed is out of reach for ever
                return self._begin_callback(request, rule)
            if rule.action is None:
                return _unjudged(rule)
            if self._reads_forms and (judged := self._judge_form(request, rule)) is not None:
                return judged
            is_logout = self._app_logouts.is_path(path)
            self._note_ordinary(path, is_logout=is_logout)
        judgement = self._judge_known(request, rule, now)
        if judgement is not None:
            if is_logout:
                _mark_logout(judgement)
            return judgement
        identity = self._identifier.now(request, now)
        if identity is None:
            return self._judge_slowly(request, rule)
        return self._conclude(request, identity, rule, now, is_recalled=True)

    def _judge_known(self, request: RequestHead, rule: Rule, now: float) -> Judgement | None:
        """The commonest verdict: one session, which is known and well."""
        known = self._only_session(request, now)
        if known is None or not self._is_well(*known, now):
            return None
        session = known[1]
        rule.traffic.bound[session.binder] += 1
        judgement = Judgement(_PERMIT, rule)
        judgement.epoch, judgement.session, judgement.known = self._epoch, session, known
        return judgement

    def _not_for_app(self, path: bytes, rule: Rule) -> Judgement:
        if is_too_odd(path):
            return self._denials.refused(400, "ambiguous_path", rule)
        if place(path, self._control_prefix) is Place.LOOK_ALIKE:
            return self._denials.refused(404, "not_found", rule)
        judgement = _unjudged(rule)
        judgement.is_control = True
        return judgement

    async def _judge_slowly(self, request: RequestHead, rule: Rule, *, recheck: bool = False) -> Judgement:
        identity = await self._identifier.later(request, recheck=recheck)
        judged = self._conclude(request, identity, rule, clock.boot())
        return judged if isinstance(judged, Judgement) else await judged

    def _begin_callback(self, request: RequestHead, rule: Rule) -> Judgement | Coroutine[Any, Any, Judgement]:
        """Codes and tokens may be in the body: no verdict before all of it is here, unless it cannot be right."""
        if not request.has_body:
            return self._judge_callback(request, rule)
        try:
            self._callbacks.check_head(request)
        except CallbackRefused as refused:
            return self._refused_callback(request, rule, refused.status, refused.reason)
        return _awaited(rule)

    def judge_with_body(
        self, request: RequestHead, judgement: Judgement, body: bytes
    ) -> Coroutine[Any, Any, Judgement]:
        """The verdict on a callback, or on a form that may hold a session, whose body was awaited."""
        if self._identifier.body_of(request) is Body.READABLE:
            request.form = body
        if self._callbacks.may_be(path_of(request.target)):
            return self._judge_callback(request, judgement.rule, body)
        return self._judge_slowly(request, judgement.rule)

    def _judge_form(self, request: RequestHead, rule: Rule) -> Judgement | Coroutine[Any, Any, Judgement] | None:
        """Where a session may be in the body: no verdict before it is here. None: there is none in this one."""
        body = self._identifier.body_of(request)
        if body is Body.NO_FORM:
            return None
        return _awaited(rule) if body is Body.READABLE else self._judge_unread(request, rule)

    async def _judge_unread(self, request: RequestHead, rule: Rule) -> Judgement:
        """A form that cannot be read passes beside a session that is known: apps look into the body last."""
        judgement = await self._judge_slowly(request, rule)
        denial = Deny(Reason.AMBIGUOUS)
        if judgement.permit is None or judgement.identity.all_sessions() or self._denials.passes(judgement, denial):
            return judgement
        return self._denied(request, judgement.identity, denial, rule)

    async def _judge_callback(self, request: RequestHead, rule: Rule, body: bytes = b"") -> Judgement:
        """A callback waits for its turn when another with the same code is in flight (`bindings/logins.py`)."""
        login = await self._begin_login(request, body)
        if isinstance(login, SidecarError):
            status = login.status if isinstance(login, CallbackRefused) else 503
            return await self._refused_callback(request, rule, status, login.reason)
        try:
            if rule.action is None and login.claim is None:
                judgement = Judgement(_PERMIT, rule)
            else:
                # What only claims to be a login must not take a session away: it matters which there was before.
                rule = rule if rule.action is not None else self._default
                # After the wait: a logout may have come meanwhile.
                judgement = await self._judge_slowly(request, rule, recheck=login.claim is not None)
        except BaseException:
            login.end()
            raise
        if judgement.permit is not None:
            judgement.login = login
        else:
            login.end()
        return judgement

    async def _begin_login(self, request: RequestHead, body: bytes) -> Login | CallbackRefused | LoginRefused:
        try:
            return await self._callbacks.begin(request, body)
        except (CallbackRefused, LoginRefused) as refused:
            return refused

    async def _refused_callback(self, request: RequestHead, rule: Rule, status: int, reason: str) -> Judgement:
        """A login that cannot be learned; where the operator only observes, it goes on unlearned."""
        if not self._denials.observes:
            return self._denials.refused(status, reason, rule)
        self._counts.observed(reason, rule)
        return _unjudged(rule) if rule.action is None else await self._judge_slowly(request, rule)

    def _conclude(
        self,
        request: RequestHead,
        identity: Identity,
        rule: Rule,
        now: float,
        *,
        is_recalled: bool = False,
        is_second_look: bool = False,
    ) -> Judgement | Coroutine[Any, Any, Judgement]:
        """`is_recalled`: the identity comes from memory. `is_second_look`: all of it has just been asked for."""
        verdict = rules.ALLOW if identity is ANONYMOUS else self._verdicts.decide(identity, rule, now)
        denial = verdict if isinstance(verdict, Deny) else Deny(verdict.would_deny) if verdict.would_deny else None
        # What is in memory may be older than a login elsewhere: never deny on it without asking again.
        is_memory = identity.bound or (is_recalled and identity.unbound)
        if denial is not None and is_memory and not denial.is_temporary and not is_second_look:
            return self._look_again(request, rule)
        if isinstance(verdict, Deny):
            return self._denied(request, identity, verdict, rule)
        self._counts.allowed(identity, verdict, rule)
        judgement = self._judgement(path_of(request.target), rule, identity.first_session())
        judgement.identity = identity
        if denial is not None:
            self._denials.passes(judgement, denial)
        return judgement

    def _denied(self, request: RequestHead, identity: Identity, denial: Deny, rule: Rule) -> Judgement:
        judgement = self._denials.denied(request, identity, denial, rule)
        if judgement.answer is None:  # stripped: nothing of what was denied is left in it
            judgement.permit, judgement.epoch = _PERMIT, self._epoch
        return judgement

    def _judgement(self, path: bytes, rule: Rule, session: BoundSession | None) -> Judgement:
        judgement = Judgement(_PERMIT, rule)
        judgement.epoch = self._epoch
        judgement.session = session
        if self._app_logouts.is_path(path):
            _mark_logout(judgement)
        return judgement

    def _note_ordinary(self, path: bytes, *, is_logout: bool) -> None:
        """No route, callback, logout or control path: the next request need not look. Long paths hardly repeat."""
        if not is_logout and not self._reads_forms and self._routes.is_empty and len(path) <= _ORDINARY_BYTES:
            if len(self._ordinary) >= _ORDINARY_PATHS:
                self._ordinary.clear()
            self._ordinary.add(path)

    async def _look_again(self, request: RequestHead, rule: Rule) -> Judgement:
        identity = await self._identifier.later(request, recheck=True)
        judged = self._conclude(request, identity, rule, clock.boot(), is_second_look=True)
        return judged if isinstance(judged, Judgement) else await judged

    # -- after the verdict ---------------------------------------------------------------------------------------

    def reconsider(self, request: RequestHead, judgement: Judgement) -> Answer | None:
        """For a request that had to wait for a connection: the answer when it is a denial by now."""
        return self._second_look.reconsider(request, judgement) if judgement.is_reviewed else None

    def review(
        self, request: RequestHead, judgement: Judgement, response: ResponseHead
    ) -> Review | Coroutine[Any, Any, Review] | None:
        """The second look, before anything of the response goes out; None: as it is."""
        look = self._second_look
        if not judgement.is_reviewed:
            is_untold = judgement.is_control or not look.sets_session(response)
            return None if is_untold else look.at_unjudged(request, judgement, response)
        if not response.sets_cookies and judgement.login is None and not judgement.expired_cookies:
            if judgement.epoch == self._epoch or judgement.identity is ANONYMOUS:
                return None
            if not judgement.is_logout_path:
                return look.review(request, judgement, response)
        if judgement.is_logout_path:
            return self._app_logouts.review(request, judgement, response)
        if judgement.login is not None and judgement.rule.action is None:
            return look.at_unjudged_callback(request, judgement, response)
        lesson = look.lesson(request, judgement, response)
        if lesson is None:
            return look.review(request, judgement, response)
        return look.learn(request, judgement, response, lesson)

    def unanswered(self, request: RequestHead, judgement: Judgement) -> None:
        """The app has seen this request, and nothing was learned of its answer. It may have logged somebody in."""
        if judgement.login is not None and judgement.login.is_at_stake:
            self._condemner.login_lost(self._identifier.presented(request).credentials)

    # -- revocations ---------------------------------------------------------------------------------------------

    def revoked(self, revocation: Revocation) -> None:
        """A revocation changed the replica: cut what flows, and revoke the credentials of the session as well."""
        self._epoch += 1
        self._verdicts.tick()  # first: streams that are told judge themselves again
        self._live.revoked(revocation)
        self._condemner.revoked(revocation)

    def take_over(self, before: "Gate") -> None:
        """Judge from now on in place of another one, and look again at all that it has let through (decision 026)."""
        self._epoch, self.is_blind = before.epoch + 1, before.is_blind

    @property
    def epoch(self) -> int:
        """A verdict of another epoch is looked at again when the response arrives."""
        return self._epoch

    def tick(self, now: float) -> None:
        """Called a few times a second."""
        self._verdicts.tick()
        was_blind, self.is_blind = self.is_blind, self._verdicts.is_blind(now)
        if self.is_blind and not was_blind:
            self._epoch += 1  # what was allowed before is looked at again when its answer comes

    def key_changed(self) -> None:
        """The key of the digests has become known; what was made before is worth nothing."""
        self._identifier.forget()

    def must_end(self, judgement: Judgement) -> Reason | None:
        """Why a stream must flow no further: its session is over, or nobody can know any more whether it is."""
        identity, session = judgement.identity, judgement.session
        if not judgement.is_spared and (self._verdicts.is_dead(identity) or self._verdicts.is_over(session)):
            reason = Reason.REVOKED
        elif self._verdicts.is_in_doubt(identity, session, judgement.rule, clock.boot()):
            reason = Reason.STALE
        else:
            return None
        return None if self._denials.passes(judgement, Deny(reason), is_late=True) else reason

    def digests_of(self, judgement: Judgement) -> tuple[bytes, ...]:
        """What a revocation may name to mean this request."""
        identity, session = judgement.identity, judgement.session
        sessions = identity.all_sessions() + ([session] if session is not None else [])
        names = (name for session in sessions for each in session.all for name in (each.own, each.sub, *each.parties))
        digests = [name for name in names if name is not None]
        credentials = [credential for credential, _ in identity.bound]
        return tuple(dict.fromkeys((*digests, *credentials, *identity.unbound)))


def _mark_logout(judgement: Judgement) -> None:
    """Its answer is looked at in any case: no epoch is this one."""
    judgement.is_logout_path = judgement.is_spared = True
    judgement.epoch = -1


def _awaited(rule: Rule) -> Judgement:
    judgement = Judgement(None, rule)
    judgement.awaits_body = True
    return judgement


def _unjudged(rule: Rule) -> Judgement:
    judgement = Judgement(_PERMIT, rule)
    judgement.is_reviewed = False
    return judgement
