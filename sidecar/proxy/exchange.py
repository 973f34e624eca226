"""One request and its response, from the verdict to the last byte.

The order is the product: judge the head, forward it only with a permit, judge again when the response head arrives,
then relay. Bodies flow both ways with back-pressure and are never collected. When the app breaks off in the middle,
the client's connection is aborted: a broken answer is never presented as a complete one (DESIGN promise 5).
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar import clock, metrics
from sidecar.core.denial import Answer
from sidecar.core.verdict import Permit
from sidecar.http1.chunked import encode_chunk, encode_end
from sidecar.http1.errors import ProtocolError
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead, build_response, has_no_body
from sidecar.proxy import access_log
from sidecar.proxy.errors import UpstreamError
from sidecar.proxy.judgement import Judgement, Review
from sidecar.proxy.pool import Pool
from sidecar.proxy.refusal import refusal
from sidecar.proxy.upstream import Mode, Upstream

if TYPE_CHECKING:
    from sidecar.proxy.downstream import Downstream
    from sidecar.proxy.plane import Plane

_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # idempotent, RFC 9110 section 9.2.2


class Exchange:
    """Lives from the end of a request head to the end of the response. Class attributes are defaults."""

    _judgement: Judgement | None = None
    _task: asyncio.Task[None] | None = None
    _pool: Pool | None = None
    _upstream: Upstream | None = None
    _head_out = b""
    _chunks_out = False
    _retried = False
    _status = 0
    _digests: tuple[bytes, ...] = ()  # under which the exchange is registered as a live stream
    _is_abandoned = False  # the client is gone; the login goes on
    is_streaming = False  # the response head is out
    is_over = False
    wait_since = 0.0  # when the wait for the response began; 0 while nobody waits

    def __init__(self, downstream: "Downstream", plane: "Plane", request: RequestHead) -> None:
        self._downstream = downstream
        self._plane = plane
        self.request = request
        self.request_done = not request.has_body
        self._started = clock.boot()

    # -- verdict -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Judge the request and go on with it."""
        judged = self._plane.gate.judge(self.request, self._started)
        if not isinstance(judged, Judgement):
            self._later(self._judge(judged))
        elif judged.permit is None or judged.is_control:
            self._go_on(judged)
        else:
            self._judgement = judged
            self._forward(judged.permit, self._plane.app)

    async def _judge(self, judged: Awaitable[Judgement]) -> None:
        self._go_on(await judged)

    def _go_on(self, judgement: Judgement) -> None:
        self._judgement = judgement
        if self.is_over:  # the client went away while the store was asked
            if judgement.login is not None:
                judgement.login.end()
        elif judgement.permit is None:
            self._answer(judgement.answer)
        else:
            self._forward(judgement.permit, self._plane.control if judgement.is_control else self._plane.app)

    # -- request -------------------------------------------------------------------------------------------------

    def _forward(self, permit: Permit, pool: Pool) -> None:
        """Send the request on. Asks for the permit, which only the verdict can make."""
        if not isinstance(permit, Permit):
            raise TypeError("forwarding needs a permit")
        request = self.request
        self._pool = pool
        if not request.host:
            request.host = pool.address.authority
        try:
            self._head_out = self._downstream.peer.head(request)
        except ProtocolError as error:
            self._refuse(error.status, error.reason)
            return
        is_repeatable = self.request_done and request.method in _REPEATABLE
        upstream = pool.get_idle(self._started, must_be_open=not is_repeatable)
        if upstream is None:
            self._later(self._open(pool))
        else:
            self._send(upstream)

    async def _open(self, pool: Pool) -> None:
        try:
            upstream = await pool.open()
        except UpstreamError as error:
            self._upstream_failed(error.status, error.reason)
            return
        if self.is_over:
            upstream.finish(clock.boot(), reusable=True)
            return
        judgement = self._judgement
        answer = self._plane.gate.reconsider(self.request, judgement) if judgement is not None else None
        if answer is None:
            self._send(upstream)
        else:
            upstream.finish(clock.boot(), reusable=True)
            self._answer(answer)

    def _send(self, upstream: Upstream) -> None:
        self._upstream = upstream
        upstream.send(self, self._head_out)
        if self.request_done:
            self.wait_since = self._plane.now
        else:
            self._watch()
            self._downstream.release_body()

    def request_data(self, pieces: list[bytes]) -> None:
        """Content of the request; sent on as it comes."""
        upstream = self._upstream
        if upstream is None or upstream.transport.is_closing():
            return
        if self.request.chunked:
            pieces = [encode_chunk(piece) for piece in pieces]
        if pieces:
            upstream.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def request_end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The request is complete."""
        self.request_done = True
        if self._upstream is not None and self._upstream.mode is Mode.HEAD:  # else it has answered early
            self.wait_since = self._plane.now
        if self.request.chunked and self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.write(encode_end(trailers))

    @property
    def upstream(self) -> Upstream | None:
        """The connection that answers, while there is one."""
        return self._upstream

    @property
    def takes_body(self) -> bool:
        """Whether content of the request can be passed on now."""
        return self._upstream is not None

    def pause_request(self) -> None:
        """The app reads slowly."""
        self._downstream.pause_reading()

    def resume_request(self) -> None:
        """The app reads again."""
        self._downstream.resume_reading()

    # -- response ------------------------------------------------------------------------------------------------

    def informational(self, response: ResponseHead) -> None:
        """A 1xx: passed on to clients that know them (RFC 9110 section 15.2)."""
        if self.request.version == 1:
            try:
                self._downstream.write(build_response(response, response.lines, b"", keep_alive=True, minor=1))
            except ProtocolError as error:
                self._upstream_failed(error.status, error.reason)

    def response_head(self, response: ResponseHead) -> None:
        """The final response head: judged again before anything of it goes out."""
        self.wait_since = 0.0
        judgement = self._judgement
        if judgement is None:
            return
        review = self._plane.gate.review(self.request, judgement, response)
        if review is None and not self._is_abandoned:
            self._release(response, response.lines)
        elif review is None:
            self._end_abandoned()
        elif isinstance(review, Review):
            self._apply(response, review)
        else:
            if self._upstream is not None:
                self._upstream.pause_reading()  # an app that closes behind its answer has answered all the same
            self._later(self._review(response, review))

    async def _review(self, response: ResponseHead, review: Awaitable[Review]) -> None:
        outcome = await review
        if not self.is_over:
            self._apply(response, outcome)

    def _apply(self, response: ResponseHead, review: Review) -> None:
        if self._is_abandoned:
            self._end_abandoned()
        elif review.answer is not None:
            self._drop_upstream()  # nothing of the app's answer gets out
            self._answer(review.answer)
        else:
            self._release(response, response.lines if review.lines is None else review.lines)

    def _end_abandoned(self) -> None:
        """What there was to learn has been learned, and nobody is there to have the answer."""
        self._drop_upstream()
        self._close_books(clock.boot())

    def _release(self, response: ResponseHead, lines: list[bytes]) -> None:
        upstream, request = self._upstream, self.request
        if upstream is None:
            return
        if response.status == 101:
            self._switch(upstream, response, lines)
            return
        framing, keep_alive = response.length_line, request.keep_alive and self.request_done
        if not framing:
            framing, keep_alive = self._framing(response, keep_alive=keep_alive)
        keep_alive = keep_alive and self._downstream.may_keep_alive()
        try:
            head = build_response(response, lines, framing, keep_alive=keep_alive, minor=request.version)
            pieces, done = upstream.begin_body(response, request.method)
        except ProtocolError as error:
            self._upstream_failed(error.status, error.reason)
            return
        self._status = response.status
        self.is_streaming = True
        self._downstream.keep_alive = keep_alive
        if done:
            ends = self._encoded_end(upstream) if self._chunks_out else ()
            is_one = len(pieces) == 1 and not ends  # nearly every answer; a sum is cheaper than a join
            self._downstream.write(head + pieces[0] if is_one else b"".join((head, *self._encode(pieces), *ends)))
            self._finish()
        else:
            self._watch()
            self._downstream.write(b"".join((head, *self._encode(pieces))))
            self._downstream.resume_upstream(upstream)

    def _framing(self, response: ResponseHead, *, keep_alive: bool) -> tuple[bytes, bool]:
        """The framing line for an answer of unknown length, and whether the connection can go on after its body."""
        if has_no_body(response.status, self.request.method):
            return b"", keep_alive
        if self.request.version == 1:
            self._chunks_out = True
            return b"Transfer-Encoding: chunked", keep_alive
        return b"", False  # HTTP/1.0 has no other end than the end of the connection

    def response_data(self, pieces: list[bytes], *, done: bool) -> None:
        """Content of the response."""
        out = self._encode(pieces)
        if done and self._upstream is not None:
            out = [*out, *self._encoded_end(self._upstream)]
        if out:
            self._downstream.write(out[0] if len(out) == 1 else b"".join(out))
        if done:
            self._finish()

    def _encode(self, pieces: list[bytes]) -> list[bytes]:
        return [encode_chunk(piece) for piece in pieces] if self._chunks_out else pieces

    def _encoded_end(self, upstream: Upstream) -> tuple[bytes, ...]:
        return (encode_end(upstream.trailers),) if self._chunks_out else ()

    def _switch(self, upstream: Upstream, response: ResponseHead, lines: list[bytes]) -> None:
        """A validated 101 that was asked for becomes a tunnel; any other is the app's fault (reference case 103)."""
        asked = self.request.upgrade and self.request_done
        if not asked or response.upgrade != b"websocket" or response.version == 0:
            self._upstream_failed(502, "unexpected_101")
            return
        upgrade = [*lines, b"Connection: Upgrade", b"Upgrade: websocket"]
        try:
            head = build_response(response, upgrade, b"", keep_alive=True, minor=1)
        except ProtocolError as error:
            self._upstream_failed(error.status, error.reason)
            return
        self._status = 101
        self.is_streaming = True
        self._watch()
        self._upstream = None  # the downstream owns it now
        self._downstream.begin_tunnel(upstream, head)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        upstream, self._upstream = self._upstream, None
        now = clock.boot()
        if upstream is not None:
            upstream.finish(now, reusable=self.request_done)
        self._close_books(now)
        self._downstream.exchange_done()

    def upstream_lost(self) -> None:
        """The app closed the connection."""
        if self._may_retry():
            self._retried = True
            self._upstream = None
            if self._pool is not None:
                self._later(self._open(self._pool))
            return
        self.upstream_broken("upstream_closed")

    def upstream_broken(self, reason: str) -> None:
        """The app's answer cannot be used, or broke off."""
        self._upstream = None
        self._upstream_failed(502, reason)

    def _may_retry(self) -> bool:
        """Once, when the connection was old, no byte of an answer came and the request can be repeated."""
        upstream = self._upstream
        return (
            not self._retried
            and not self._is_abandoned
            and upstream is not None
            and upstream.requests > 1
            and not upstream.has_answer
            and not self.request.has_body
            and self.request.method in _REPEATABLE
        )

    def _upstream_failed(self, status: int, reason: str) -> None:
        self._plane.stats.upstream_errors[reason] += 1
        self._drop_upstream()
        if self.is_streaming:
            self._downstream.abort()
        else:
            self._refuse(status, reason)

    def client_broke(self, status: int, reason: str) -> None:
        """The request's body is malformed or does not come. The app must never take it for complete (case 10)."""
        self._drop_upstream()
        if self.is_streaming:
            self._downstream.abort()
        else:
            self._refuse(status, reason)

    def failed(self) -> None:
        """A fault of ours. Nothing more of this exchange reaches either side."""
        if self.is_over:
            return
        self._drop_upstream()
        if self.is_streaming:
            self._downstream.abort()
        else:
            self._refuse(500, "internal_error")

    def response_timed_out(self) -> None:
        """The app took longer than `response_timeout`."""
        self._upstream_failed(504, "upstream_timeout")

    def client_gone(self) -> None:
        """The client closed the connection: nobody waits for this answer any more (reference case 66)."""
        if self.is_over or self._is_abandoned:
            return
        self._status = self._status if self.is_streaming else 499
        if self._is_login_at_app():
            self._is_abandoned = True
            asyncio.get_running_loop().call_later(self._plane.response_timeout, self._cancel)
        else:
            self._cancel()

    def _is_login_at_app(self) -> bool:
        """Whether the app works on a callback. It goes on when we hang up, and logs in the cookie that the client has.

        So what the answer teaches is awaited: else a client could shed the logout by not waiting for the answer.
        """
        login = self._judgement.login if self._judgement is not None else None
        return login is not None and self._upstream is not None and self.request_done and not self.is_streaming

    def cut(self) -> None:
        """The session was revoked while bytes were flowing."""
        metrics.streams_cut.inc()
        self._cancel()
        self._downstream.abort()

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

    def _refuse(self, status: int, reason: str) -> None:
        self._answer(refusal(status, reason))

    def _answer(self, answer: Answer | None) -> None:
        """An answer of our own. The rest of the request is drained by the downstream, or the connection closes."""
        if answer is None:
            raise TypeError("a request without a permit needs an answer")
        self._status = answer.status
        self._drop_upstream()
        self._close_books(clock.boot())
        self._downstream.answer(self, answer)

    def _close_books(self, now: float) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._digests:
            self._unwatch()
        judgement = self._judgement
        if judgement is not None and judgement.login is not None:
            judgement.login.end()
        plane, seconds = self._plane, now - self._started
        plane.stats.count(self.request.method, self._status, seconds)
        if plane.logs_access:
            decision = judgement.decision if judgement is not None else "none"
            peer = self._downstream.peer.address
            access_log.write(self.request, peer=peer, status=self._status, decision=decision, seconds=seconds)

    # -- live streams --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
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
        if self._judgement is not None and self._plane.gate.is_revoked(self._judgement):
            self.cut()

    def _later(self, work: "Awaitable[None]") -> None:
        """Run the slow half of a step as this exchange's one task; it ends with the exchange."""
        self._task = self._plane.spawn(work, self)
