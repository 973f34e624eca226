"""How an exchange passes the app's answer on: 1xx, head, body, trailers, or the 101 that makes it a tunnel.

Nothing of a final answer goes out before the gate has looked at it again. Content is encoded anew, never copied with
its framing. `exchange` adds the way to the app.
"""

from functools import partial

from sidecar import clock
from sidecar.gate.judgement import Review
from sidecar.http1.chunked import encode_chunk, encode_end
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import without
from sidecar.http1.response import ResponseHead, build_response, has_no_body
from sidecar.proxy.ending import Ending
from sidecar.proxy.pinning import challenges_connection
from sidecar.proxy.upstream import Upstream
from sidecar.proxy.upstream_mode import Mode

_COOKIES = frozenset((b"set-cookie",))


class Answering(Ending):
    """What comes back from the app. Class attributes are defaults."""

    _chunks_out = False
    _missing: int | None = None  # of the answer, at the last tick
    _moved_at = 0.0
    _counts = False  # whether somebody wants to know how much content there was

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
