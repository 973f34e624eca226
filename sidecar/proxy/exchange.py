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
from sidecar.gate.judgement import Judgement
from sidecar.http1.chunked import encode_chunk, encode_end
from sidecar.http1.errors import ProtocolError
from sidecar.http1.trace import begin_trace
from sidecar.proxy.answering import Answering
from sidecar.proxy.collect import Collector
from sidecar.proxy.errors import UpstreamError
from sidecar.proxy.pinning import authenticates_connection
from sidecar.proxy.pool import Pool
from sidecar.proxy.upstream import Upstream
from sidecar.proxy.upstream_mode import Mode

_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # idempotent, RFC 9110 section 9.2.2

_draw = Random().getrandbits  # noqa: S311 - of trace ids, which are no secrets; the system's costs ten times as much


class Exchange(Answering):
    """Lives from the end of a request head to the end of the response. Class attributes are defaults."""

    _pool: Pool | None = None
    _head_out = b""
    _retried = False
    _is_collecting = False  # the body, for the control application or for the gate
    _collector: Collector | None = None
    _collected = b""  # all of it

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
