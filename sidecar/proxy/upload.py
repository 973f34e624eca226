"""The body of one request on its way in: where it ends, how large it may be, and how slowly it may come."""

from collections.abc import Sequence

from sidecar.field_names import fold
from sidecar.http1.chunked import ChunkedDecoder
from sidecar.http1.errors import ProtocolError
from sidecar.http1.request import RequestHead
from sidecar.proxy.limits import CHUNKS_A_TURN, Limits
from sidecar.proxy.pace import Pace
from sidecar.proxy.sized_body import SizedBody


class Upload:
    """Made for requests with a body only. It keeps nothing of the content."""

    __slots__ = ("_body", "_expects_continue", "_limits", "_pace")

    def __init__(self, request: RequestHead, limits: Limits, now: float, *, dropped_trailers: frozenset[bytes]) -> None:
        """`dropped_trailers`: folded names by which the app knows its sessions. A server that merges trailers into the
        head would show it one that was never judged (RFC 9110 section 6.5.1, reference case 11).
        """
        self._body: ChunkedDecoder | SizedBody = SizedBody(request.content_length or 0)
        if request.chunked:
            self._body = ChunkedDecoder(400, dropped_trailers | set(map(fold, request.nominated)), turn=CHUNKS_A_TURN)
        self._expects_continue = request.expects_continue
        self._limits = limits
        self._pace = Pace(now)

    @property
    def is_complete(self) -> bool:
        """Whether the end of the body was seen."""
        return self._body.done

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        """The trailers of a complete body."""
        return self._body.trailers

    @property
    def rest(self) -> bytes:
        """What came behind the body: the next request. Or what is left of the body when it has had its turn."""
        return self._body.rest

    def feed(self, data: bytes) -> list[bytes]:
        """The content in `data`. Raises ProtocolError(400), and 413 for a body that grows beyond the limit."""
        pieces = self._body.feed(data)
        self._pace.count += len(data) - len(self._body.rest)
        self._check_size(self._pace.count)
        return pieces

    def skip(self, data: bytes) -> bytes:
        """Throw away what is here of a refused body, which may turn out to be complete; what is behind it."""
        if self._expects_continue and not data:
            return b""  # the client waits for a 100 that will not come
        try:
            self._body.feed(data)
        except ProtocolError:
            self._body = SizedBody(1)  # never complete: what follows means nothing
        return self._body.rest

    def check_length(self, request: RequestHead) -> None:
        """Refuse at once what announces itself as too large (reference case 78). Raises ProtocolError."""
        self._check_size(request.content_length or 0)

    def _check_size(self, size: int) -> None:
        most = self._limits.body_bytes
        if most is not None and size > most:
            raise ProtocolError(413, "body_too_large")

    def restart(self, now: float) -> None:
        """The time until now was not the client's."""
        self._pace.restart(now)

    def is_too_slow(self, now: float) -> bool:
        """Whether the client has stopped, or only trickles."""
        limits = self._limits
        return self._pace.is_too_slow(now, stall=limits.body_stall_timeout, rate=limits.body_min_rate)
