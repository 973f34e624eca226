"""One request and its response, from the verdict to the last byte.

The order is the product: judge the head, forward it only with a permit, judge again when the response head arrives,
then relay. Bodies flow both ways with back-pressure and are never collected, but for small ones: those that go to the
control application, and those of the login's callbacks, which the gate has to read (`collect`). When the app breaks off
in the middle, the client's connection is aborted: a broken answer is never presented as a complete one (promise
5).
"""

from collections.abc import Sequence
from functools import partial
from random import Random

from sidecar import clock
from sidecar.core.verdict import Permit
from sidecar.gate.judgement import Judgement, Review
from sidecar.http1.chunked import encode_chunk, encode_end
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import without
from sidecar.http1.response import ResponseHead, build_response, has_no_body
from sidecar.http1.trace import begin_trace
from sidecar.proxy.collect import Collector
from sidecar.proxy.ending import Ending
from sidecar.proxy.errors import UpstreamError
from sidecar.proxy.pinning import authenticates_connection, challenges_connection
from sidecar.proxy.pool import Pool
from sidecar.proxy.upstream import Mode, Upstream

_COOKIES = frozenset((b"set-cookie",))
_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # idempotent, RFC 9110 section 9.2.2

_draw = Random().getrandbits  # noqa: S311 - of trace ids, which are no secrets; the system's costs ten times as much


class Exchange(Ending):
    """Lives from the end of a request head to the end of the response. Class attributes are defaults."""

    _pool: Pool | None = None
    _head_out = b""
    _chunks_out = False
    _retried = False
    _is_collecting = False  # the body, for the control application or for the gate
    _collector: Collector | None = None
    _collected = b""  # all of it
    _missing: int | None = None  # of the answer, at the last tick
    _moved_at = 0.0
    _counts = False  # whether somebody wants to know how much content there was

    # -- verdict -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Judge the request and go on with it."""
        judged = self._plane.gate.judge(self.request, self._started)
        if not isinstance(judged, Judgement):
            self._later(judged, self._go_on)
        elif judged.permit is None or judged.is_control:
            self._go_on(judged)
        else:
            self._judgement = judged
            self._forward(judged.permit, self._plane.app)

    def _go_on(self, judgement: Judgement) -> None:
        self._judgement = judgement
        if self.is_over:  # the client went away while the store was asked
            if judgement.login is not None:
                judgement.login.end()
        elif judgement.awaits_body or (judgement.is_control and not self.request_done):
            self._collect(self._plane.collector if judgement.is_control else self._plane.callbacks)
        elif judgement.permit is None:
            self._answer(judgement.answer)
        else:
            self._forward(judgement.permit, self._plane.control if judgement.is_control else self._plane.app)

    # -- with the whole body -------------------------------------------------------------------------------------

    def _collect(self, collector: Collector) -> None:
        """The control application, or the gate, hears of a request with a body when all of it is here."""
        request = self.request
        self._collector = collector
        self._at_end += (partial(collector.discard, self),)
        collector.begin(self, self._plane.now, request.content_length or 0)
        if self.is_over:
            return
        self._is_collecting = True
        if request.expects_continue:
            request.expects_continue = False  # answered: the app is not to say it again (RFC 9110 section 10.1.1)
            self._downstream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._downstream.release_body()

    def _go_on_with_body(self, collector: Collector) -> None:
        self._is_collecting = False
        request, judgement = self.request, self._judgement
        self._collected = collector.complete(self)
        request.block = None  # that one was framed otherwise
        request.chunked, request.content_length = False, len(self._collected)
        if judgement is None:
            raise TypeError("nothing is collected before it is judged")
        if judgement.awaits_body:
            self._later(self._plane.gate.judge_with_body(request, judgement, self._collected), self._go_on)
        else:
            self._go_on(judgement)

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
            if self._plane.creates_trace:
                begin_trace(request, _draw)
            self._head_out = self._downstream.peer.head(request)
        except ProtocolError as error:
            self._refuse(error.status, error.reason)
            return
        if request.has_body:
            self._head_out += self._collected
        is_repeatable = self.request_done and request.method in _REPEATABLE
        if self._downstream.pinned is not None and pool is self._plane.app:
            upstream = self._downstream.pinned.get()
        else:
            upstream = pool.get_idle(self._started, must_be_open=not is_repeatable)
        if upstream is None:
            self._later(self._open(pool), self._opened)
        else:
            self._send(upstream, self._started)

    async def _open(self, pool: Pool) -> Upstream | None:
        try:
            return await pool.open()
        except UpstreamError as error:
            self._upstream_failed(error.status, error.reason)
            return None

    def _opened(self, upstream: Upstream | None) -> None:
        if upstream is None:
            return
        if self.is_over:
            upstream.finish(clock.boot(), reusable=True)
            return
        judgement = self._judgement
        answer = self._plane.gate.reconsider(self.request, judgement) if judgement is not None else None
        if answer is None:
            self._send(upstream, clock.boot())
        else:
            upstream.finish(clock.boot(), reusable=True)
            self._answer(answer)

    def _send(self, upstream: Upstream, now: float) -> None:
        self._upstream = upstream
        self._sent_at = now
        if b"authorization" in self.request.special and authenticates_connection(self.request):
            upstream.is_private = True  # pinned only if the app asks for it: see `pinning`
        upstream.send(self, self._head_out)
        if self.request_done:
            self.wait_since = self._plane.now
        else:
            self._watch()
            self._downstream.release_body()

    def request_data(self, pieces: list[bytes]) -> None:
        """Content of the request; sent on as it comes."""
        upstream = self._upstream
        if self._is_collecting and self._collector is not None:
            self._collector.add(self, b"".join(pieces))
        if upstream is None or upstream.transport.is_closing():
            return
        if self.request.chunked:
            pieces = [encode_chunk(piece) for piece in pieces]
        if pieces:
            upstream.transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def request_end(self, trailers: Sequence[tuple[bytes, bytes]]) -> None:
        """The request is complete."""
        self.request_done = True
        if self._is_collecting and self._collector is not None and not self.is_over:
            self._go_on_with_body(self._collector)
            return
        if self._upstream is not None and self._upstream.mode is Mode.HEAD:  # else it has answered early
            self.wait_since = self._plane.now
        if self.request.chunked and self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.write(encode_end(list(trailers)))

    @property
    def upstream(self) -> Upstream | None:
        """The connection that answers, while there is one."""
        return self._upstream

    @property
    def takes_body(self) -> bool:
        """Whether content of the request can be passed on now."""
        return self._upstream is not None or self._is_collecting

    @property
    def is_app_behind(self) -> bool:
        """Whether the app does not read as fast as the client sends."""
        return self._upstream is not None and self._upstream.is_behind

    def pause_request(self) -> None:
        """The app reads slowly."""
        self._downstream.pause_reading()

    def resume_request(self) -> None:
        """The app reads again."""
        self._downstream.resume_body()

    # -- response ------------------------------------------------------------------------------------------------

    def informational(self, response: ResponseHead) -> None:
        """A 1xx: passed on to clients that know them (RFC 9110 section 15.2), without new sessions."""
        judgement = self._judgement
        is_dead = judgement is not None and judgement.is_reviewed and self._plane.gate.must_end(judgement)
        if self.request.version == 1 and not is_dead:
            lines = without(response.lines, _COOKIES) if response.sets_cookies else response.lines
            try:
                self._downstream.write(build_response(response, lines, b"", keep_alive=True, minor=1))
            except ProtocolError as error:
                self._upstream_failed(error.status, error.reason)

    def response_head(self, response: ResponseHead) -> None:
        """The final response head: judged again before anything of it goes out."""
        now = clock.boot()
        self.wait_since = 0.0
        self._upstream_s = now - self._sent_at
        if response.status == 401 and self._upstream is not None and challenges_connection(response):
            self._downstream.pin(self._upstream)
        judgement = self._judgement
        if judgement is None:
            return
        review = self._plane.gate.review(self.request, judgement, response)
        if review is None and judgement.login is None:
            self._release(response, response.lines, now)
        elif review is None or isinstance(review, Review):
            self._reviewed(response, review)
        else:
            if self._upstream is not None:
                self._upstream.pause_reading()  # an app that closes behind its answer has answered all the same
            self._later(review, partial(self._reviewed, response))

    def _reviewed(self, response: ResponseHead, review: Review | None) -> None:
        """The second look is over, and what there is to learn is learned; None: the answer goes out as it is."""
        if self.is_over:
            return
        self._is_reviewed = True
        if self._is_abandoned:
            self._end_abandoned()
        elif review is None:
            self._release(response, response.lines, clock.boot())
        elif review.answer is not None:
            self._drop_upstream()  # nothing of the app's answer gets out
            self._answer(review.answer)
        else:
            self._release(response, response.lines if review.lines is None else review.lines, clock.boot())

    def _release(self, response: ResponseHead, lines: list[bytes], now: float) -> None:
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
        if self._counts:
            self._count(pieces)
        if done:
            ends = self._encoded_end(upstream) if self._chunks_out else ()
            is_one = len(pieces) == 1 and not ends  # nearly every answer; a sum is cheaper than a join
            self._downstream.write(head + pieces[0] if is_one else b"".join((head, *self._encode(pieces), *ends)))
            self._finish(now)
        else:
            self._watch()
            if response.content_length is None and _is_event_stream(response):
                upstream.set_apart()
                self._ends_with_connection = not self._chunks_out
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

    def resume_response(self, upstream: Upstream) -> None:
        """It has had its turn, and the others have had theirs."""
        self._downstream.resume_upstream(upstream)

    def response_data(self, pieces: list[bytes], *, done: bool) -> None:
        """Content of the response."""
        out = self._encode(pieces)
        if done and self._upstream is not None:
            out = [*out, *self._encoded_end(self._upstream)]
        if out:
            self._downstream.write(out[0] if len(out) == 1 else b"".join(out))
        if done:
            self._finish(clock.boot())

    def _count(self, pieces: list[bytes]) -> None:
        """Content of the response that goes out now; for who counts."""

    def _encode(self, pieces: list[bytes]) -> list[bytes]:
        return [encode_chunk(piece) for piece in pieces] if self._chunks_out else pieces

    def _encoded_end(self, upstream: Upstream) -> tuple[bytes, ...]:
        return (encode_end(upstream.trailers),) if self._chunks_out else ()

    def _switch(self, upstream: Upstream, response: ResponseHead, lines: list[bytes]) -> None:
        """A validated 101 that was asked for becomes a tunnel; any other is the app's fault (reference case 103)."""
        asked = self.request.upgrade and self.request_done and upstream.mode is Mode.HELD
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
        self._upstream = None  # the tunnel owns it now
        self._tunnel = self._downstream.begin_tunnel(self, upstream, head)

    # -- a connection that was closed -----------------------------------------------------------------------------

    def upstream_lost(self) -> None:
        """The app closed the connection."""
        if self._may_retry():
            self._retried = True
            self._plane.stats.upstream_retries += 1
            self._upstream = None
            if self._pool is not None:
                self._later(self._open(self._pool), self._opened)
            return
        self.upstream_broken("upstream_closed")

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

    def tick(self, now: float) -> None:
        """Called a few times a second while an answer is awaited or flows: an app may stall as well (decision 012)."""
        upstream = self._upstream
        if not self.is_streaming or upstream is None or self._plane.stall_timeout is None:
            return
        missing = upstream.missing
        if missing is None or missing != self._missing or upstream.is_paused:
            self._missing, self._moved_at = missing, now
        elif now - self._moved_at > self._plane.stall_timeout:
            self._upstream_failed(504, "upstream_stalled")


def _is_event_stream(response: ResponseHead) -> bool:
    return any(line[:31].lower() == b"content-type: text/event-stream" for line in response.lines)
