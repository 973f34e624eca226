"""An exchange that counts bytes and writes an access log entry when it ends.

A class of its own, chosen once by the plane, so that nothing is counted while nobody reads it.
"""

from typing import TYPE_CHECKING

from sidecar.core.denial import Answer
from sidecar.http1.request import RequestHead
from sidecar.proxy.access_log import AccessLog, Entry
from sidecar.proxy.exchange import Exchange

if TYPE_CHECKING:
    from sidecar.proxy.downstream import Downstream
    from sidecar.proxy.plane import Plane


class LoggedExchange(Exchange):
    """Content only is counted: no heads, no framing."""

    _counts = True
    _received = 0
    _sent = 0

    def __init__(
        self, downstream: "Downstream", plane: "Plane", request: RequestHead, *, access_log: AccessLog
    ) -> None:
        super().__init__(downstream, plane, request)
        self._access_log = access_log

    def request_data(self, pieces: list[bytes]) -> None:
        """Content of the request."""
        self._received += sum(map(len, pieces))
        super().request_data(pieces)

    def response_data(self, pieces: list[bytes], *, done: bool) -> None:
        """Content of the response."""
        self._count(pieces)
        super().response_data(pieces, done=done)

    def tunnel_ended(self, *, received: int, sent: int) -> None:
        """Both sides of the tunnel are closed."""
        self._received, self._sent = received, sent
        super().tunnel_ended(received=received, sent=sent)

    def _count(self, pieces: list[bytes]) -> None:
        self._sent += sum(map(len, pieces))

    def _answer(self, answer: Answer | None) -> None:
        if answer is not None and self.request.method != b"HEAD":
            self._sent = len(answer.body)
        super()._answer(answer)

    def _close_books(self, now: float) -> None:
        if self.is_over:
            return
        super()._close_books(now)
        judgement = self._judgement
        self._access_log.write(
            Entry(
                request=self.request,
                peer=self._downstream.peer.address,
                status=self._status,
                decision=judgement.decision if judgement is not None else "none",
                session=None if judgement is None else judgement.session or judgement.identity.first_session(),
                received=self._received,
                sent=self._sent,
                upstream_s=self._upstream_s if self._upstream_s >= 0 else None,
                total_s=now - self._started,
            )
        )
