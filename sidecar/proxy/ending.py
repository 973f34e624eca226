"""How an exchange ends: completely, refused, broken off by either side, cut by a revocation or by time.

Whatever happens, the books are closed once, the app's connection is returned or ended, and a broken answer is never
presented as a complete one (promise 5). `exchange` adds the way there.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sidecar import clock, metrics
from sidecar.core.denial import Answer
from sidecar.core.denial import is_navigation as asks_for_page
from sidecar.core.verdict import TEMPORARY, Reason
from sidecar.gate.judgement import Judgement
from sidecar.gate.refusal import oauth_refusal, refusal
from sidecar.http1.request import RequestHead
from sidecar.proxy.frames import POLICY_VIOLATION, TRY_AGAIN_LATER
from sidecar.proxy.limits import MAX_ABANDONED
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.upstream import Upstream

if TYPE_CHECKING:
    from sidecar.proxy.downstream import Downstream
    from sidecar.proxy.plane import Plane

_T = TypeVar("_T")

_OF_CALLBACKS = {"too_large": 413, "body_timeout": 408}  # where the control application has one status for all


class Ending:
    """The state of one request and its response, and its ends. Class attributes are defaults."""

    _judgement: Judgement | None = None
    _task: asyncio.Task[None] | None = None
    _upstream: Upstream | None = None
    _tunnel: Tunnel | None = None
    _status = 0
    _upstream_s = -1.0  # from the request head sent to the response head; negative while there is none
    _digests: tuple[bytes, ...] = ()  # under which the exchange is registered as a live stream
    _ends_with_connection = False  # an event stream of which a plain end says nothing wrong: it has no other
    _sent_at = 0.0  # when the request head went to the app
    _is_reviewed = False  # what the answer teaches has been learned
    _is_abandoned = False  # the client is gone; the login goes on
    _at_end: tuple[Callable[[], object], ...] = ()  # what else ends with the exchange
    is_streaming = False  # the response head is out
    is_over = False
    wait_since = 0.0  # when the wait for the response began; 0 while nobody waits

    def __init__(self, downstream: "Downstream", plane: "Plane", request: RequestHead) -> None:
        self._downstream = downstream
        self._plane = plane
        self.request = request
        self.request_done = not request.has_body
        self._started = clock.boot()

    # -- by the client -------------------------------------------------------------------------------------------

    def client_broke(self, status: int, reason: str) -> None:
        """The request's body is malformed or does not come. The app must never take it for complete (case 10)."""
        self._plane.refused(reason, self._downstream.peer.address)
        self._downstream.keep_alive = False
        self._break_off(status, reason)

    def upload_stalled(self, *, is_client: bool) -> None:
        """The upload has moved too little for too long: whoever keeps it waiting is to blame."""
        if is_client:
            self.client_broke(408, "body_timeout")
        elif not self.is_streaming:  # an app that answers need not read
            self.response_timed_out()

    def body_refused(self, status: int, reason: str) -> None:
        """What is collected is too much or too slow; said as the control application would say it, or for a person."""
        self._plane.refused(reason, self._downstream.peer.address)
        self._downstream.keep_alive = False
        if self._judgement is not None and self._judgement.is_control:
            self._answer(oauth_refusal(status, reason))
        else:
            self._refuse(_OF_CALLBACKS.get(reason, status), reason)

    def client_gone(self) -> None:
        """The client closed the connection: nobody waits for this answer any more (reference case 66)."""
        if self.is_over or self._is_abandoned:
            return
        self._status = self._status if self.is_streaming else 499
        if self._is_login_at_app() and len(self._plane.abandoned) < MAX_ABANDONED:
            self._abandon()
        else:
            self._cancel()

    def _abandon(self) -> None:
        """Wait for the answer that nobody waits for."""
        self._is_abandoned = True
        self._plane.abandoned.add(self)
        timer = asyncio.get_running_loop().call_later(self._plane.response_timeout, self._cancel)
        self._at_end += (partial(self._forget_abandoned, timer),)

    def _forget_abandoned(self, timer: asyncio.TimerHandle) -> None:
        timer.cancel()  # it would hold request and connection until then, and there may be thousands
        self._plane.abandoned.discard(self)

    def _is_login_at_app(self) -> bool:
        """Whether the app works on a callback. It goes on when we hang up, and logs in the cookie that the client has.

        So what the answer teaches is awaited: else a client could shed the logout by not waiting for the answer.
        """
        login = self._judgement.login if self._judgement is not None else None
        return login is not None and self._upstream is not None and self.request_done and not self.is_streaming

    def _end_abandoned(self) -> None:
        """What there was to learn has been learned, and nobody is there to have the answer."""
        self._drop_upstream()
        self._close_books(clock.boot())

    # -- by the app ----------------------------------------------------------------------------------------------

    def upstream_broken(self, reason: str) -> None:
        """The app's answer cannot be used, or broke off."""
        self._upstream = None
        self._upstream_failed(502, reason)

    def response_timed_out(self) -> None:
        """The app took longer than `response_timeout`."""
        self._upstream_failed(504, "upstream_timeout")

    def _upstream_failed(self, status: int, reason: str) -> None:
        self._plane.stats.upstream_errors[reason] += 1
        self._break_off(status, reason)

    # -- by us ---------------------------------------------------------------------------------------------------

    def failed(self) -> None:
        """A fault of ours. Nothing more of this exchange reaches either side."""
        if not self.is_over:
            self._break_off(500, "internal_error")

    def cut(self, reason: Reason) -> None:
        """The session was revoked while bytes were flowing, or nobody can know any more whether it was."""
        metrics.streams_cut.labels(reason).inc()
        if self._tunnel is not None:
            self._tunnel.cut(TRY_AGAIN_LATER if reason in TEMPORARY else POLICY_VIOLATION)
            return
        self._cancel()
        self._downstream.abort()

    def cut_off(self) -> None:
        """The process ends. What is cut must not look complete (reference case 186)."""
        if not self.is_streaming:
            self._break_off(503, "draining")
            return
        self._cancel()
        if self._ends_with_connection:
            self._downstream.close()
        else:
            self._downstream.abort()

    def tunnel_ended(self, *, received: int, sent: int) -> None:  # noqa: ARG002 - for who counts bytes
        """Both sides of the tunnel are closed."""
        self._close_books(clock.boot())

    # -- in any case ---------------------------------------------------------------------------------------------

    def _finish(self, now: float) -> None:
        """The answer is complete; `now` is boot time."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.finish(now, reusable=self.request_done)
        self._close_books(now)
        self._downstream.exchange_done()

    def _break_off(self, status: int, reason: str) -> None:
        """Say so while that is possible; once the answer has begun, only an abort says it."""
        self._drop_upstream()
        if self.is_streaming:
            self._downstream.abort()
        else:
            self._refuse(status, reason)

    def _refuse(self, status: int, reason: str) -> None:
        request = self.request
        is_navigation = status >= 500 and not request.upgrade and asks_for_page(request.method, request.fields)
        self._answer(refusal(status, reason, navigation=is_navigation))

    def _answer(self, answer: Answer | None) -> None:
        """An answer of our own. The rest of the request is drained by the downstream, or the connection closes."""
        if answer is None:
            raise TypeError("a request without a permit needs an answer")
        self._status = answer.status
        self._drop_upstream()
        self._close_books(clock.boot())
        self._downstream.answer(self, answer)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._drop_upstream()
        self._close_books(clock.boot())

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _close_books(self, now: float) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._digests:
            self._unwatch()
        if self._at_end:
            for step in self._at_end:
                step()
        judgement = self._judgement
        if judgement is not None and judgement.login is not None:
            if self._sent_at and not self._is_reviewed:  # in one place, however it has come to that (decision 003)
                self._plane.gate.unanswered(self.request, judgement)
            judgement.login.end()
        self._plane.stats.count(self.request.method, self._status, now - self._started, self._upstream_s)

    # -- live streams --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Have a revocation, or the blindness of this process, cut what flows from here on."""
        if self._judgement is None or not self._judgement.is_reviewed:
            return
        self._unwatch()  # an upload is watched already; a login may have named another session since
        self._digests = self._plane.gate.digests_of(self._judgement)
        self._plane.live.add(self, self._digests, self._recheck)

    def _unwatch(self) -> None:
        if self._digests:
            self._plane.live.discard(self, self._digests)
            self._digests = ()

    def _recheck(self) -> None:
        """Called when something has changed that may concern this stream."""
        reason = self._plane.gate.must_end(self._judgement) if self._judgement is not None else None
        if reason is not None:
            self.cut(reason)

    def _later(self, work: Coroutine[Any, Any, _T], then: Callable[[_T], None]) -> None:
        """Run the slow half of a step as this exchange's one task, then go on; it ends with the exchange."""
        self._task = self._plane.spawn(work, then, self)
