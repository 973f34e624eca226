"""What all endpoints that take logouts have in common: bounds, one order of steps, a deadline, one line in the log.

An endpoint is a `Dialect`: how a message is read, verified and answered. The steps are here, so that each dialect gets
them right: read within bounds; verify all of it, and only then publish; answer within a second of the last byte,
whatever the provider or the store are doing; count and log, however it ends. A success is a promise: what the message
ends is durable and already enforced here (promise 1). No input yields a traceback or a 500.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from sidecar import clock, log, metrics
from sidecar.control.body import BadRequest
from sidecar.control.server import Handler, error_answer
from sidecar.core.claims import TokenError
from sidecar.core.identity import Digester
from sidecar.core.revocation import Logout, expiry
from sidecar.errors import SidecarError
from sidecar.stores.interface import StoreError

logger = logging.getLogger(__name__)

Publish = Callable[[Sequence[Logout], int], Awaitable[None]]  # the second: s since the epoch, until when it is kept

ANSWER_S = 0.9  # after the last byte of the request; the rest of the second is for the way back (case L40)
MAX_READING = 512  # bodies on their way, 64 KiB each, of all endpoints together
QUIET_S = 1.0  # between two lines about the same fault of strangers
DIGITS = 12  # of a digest in the log
BACKCHANNEL = "backchannel"  # its log line and its metric have had names of their own from the start


@dataclass(slots=True)
class Entry:
    """What is known of a message so far; the log line is written from it, however the request ends."""

    started: float  # boot time
    now: float  # wall time; taken once, so that one decision never sees two clocks
    provider: str | None = None  # whoever claims to have sent it, of those that are configured
    jti: str | None = field(default=None, repr=False)
    logouts: Sequence[Logout] = field(default=(), repr=False)
    is_verified: bool = False
    notes: tuple[str, ...] = ()  # legal, but worth a line
    unavailable_status: int = 503  # when it could not be made durable
    remember: Callable[[], None] = lambda: None  # called when it has succeeded


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message was not taken. `is_ours`: it may be good, and the fault is on our side."""

    status: int
    cause: SidecarError
    is_ours: bool = False


class Dialect(Protocol):
    """One way to tell us about logouts. What `read` returns goes into `verify`."""

    endpoint: str  # its name in metrics and log lines
    method: str

    async def read(self, request: web.BaseRequest) -> Any:
        """The message, whatever costs no cryptography checked. Raises BadRequest."""

    async def verify(self, message: Any, entry: Entry) -> None:
        """Check all of it, and note in the entry what it ends. Raises TokenError or BadRequest; changes nothing."""

    def accepted(self, request: web.BaseRequest, entry: Entry) -> web.Response:
        """All of it is durable."""

    def refused(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:
        """Nothing has changed; or, where `is_ours`, it is enforced here and not durable."""


class Intake:
    """Makes handlers of dialects, which share its bounds.

    `publish` applies the revocations to the local replica before it first waits, and raises StoreError when it could
    not make them durable; it then goes on trying by itself. It is never cancelled.
    """

    def __init__(
        self,
        *,
        publish: Publish,
        digester: Digester,
        session_max_age: float,
        now: Callable[[], float] = clock.wall,
        late: Callable[[], float] = clock.late,
    ) -> None:
        self._publish = publish
        self._digester = digester
        self._session_max_age = session_max_age
        self._now = now
        self._late = late
        self._reading = 0
        self._publishing: set[asyncio.Future[None]] = set()  # the loop alone would let them be collected
        self._lines = SparseLines()

    def handler(self, dialect: Dialect) -> Handler:
        """The endpoint of a dialect."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            if request.method != dialect.method:  # cases L4 and L5
                return error_answer(405, "invalid_request", f"use {dialect.method}", allow=dialect.method)
            return await self._handle(request, dialect)

        return handle

    async def _handle(self, request: web.BaseRequest, dialect: Dialect) -> web.Response:
        entry = Entry(clock.boot(), self._now())
        metrics.logout_token_last_received.set(entry.now)
        try:
            await self._take(request, dialect, entry)
        except (BadRequest, TokenError) as error:
            refusal = Refusal(400, error)
        except StoreError as error:
            # Where the store is and how it fails is for the log; the sender is told what has become of its logout.
            told = SidecarError(error.reason, "enforced by this process, and written down when the store allows it")
            refusal = Refusal(entry.unavailable_status, told, is_ours=True)
        except Exception:
            # Whatever the bytes were, the sender gets an answer and the operator gets the fault.
            logger.exception("logout_fault")
            refusal = Refusal(400, SidecarError("internal_error", "see the log"), is_ours=True)
        else:
            self._report(dialect, "accepted", entry.notes[0] if entry.notes else "ok", entry)
            return dialect.accepted(request, entry)
        self._report(dialect, "failed" if refusal.is_ours else "rejected", refusal.cause.reason, entry)
        response = dialect.refused(request, refusal)
        if isinstance(refusal.cause, BadRequest):  # the rest of the body may still be on its way, or unreadable
            response.force_close()
        return response

    async def _take(self, request: web.BaseRequest, dialect: Dialect, entry: Entry) -> None:
        message = await self._read(request, dialect)
        deadline = clock.boot() + ANSWER_S
        entry.now = self._now()  # after the wait for the body
        await dialect.verify(message, entry)
        entry.is_verified = True
        if entry.logouts:
            await self._publish_until(deadline, entry.logouts)
        entry.remember()

    async def _read(self, request: web.BaseRequest, dialect: Dialect) -> Any:
        if self._reading >= MAX_READING:
            raise BadRequest("busy", "too many requests at once")
        self._reading += 1
        try:
            return await dialect.read(request)
        finally:
            self._reading -= 1

    async def _publish_until(self, deadline: float, logouts: Sequence[Logout]) -> None:
        """Publish, but wait only so long. No limit on the number: who gets this far has a proof, or is counted out."""
        expires = expiry(self._late(), self._session_max_age)
        task = asyncio.ensure_future(self._publish(logouts, expires))
        self._publishing.add(task)
        task.add_done_callback(self._published)
        await asyncio.wait({task}, timeout=max(0.0, deadline - clock.boot()))
        if not task.done():
            task.add_done_callback(_late)
            raise StoreError("store_timeout", "the store did not answer in time")
        task.result()

    def _published(self, task: asyncio.Future[None]) -> None:
        self._publishing.discard(task)
        if not task.cancelled():
            task.exception()  # told to the request, when one is still waiting, and to the log by the publisher

    def _report(self, dialect: Dialect, result: str, reason: str, entry: Entry) -> None:
        """One log line and the metrics of one message."""
        duration = clock.boot() - entry.started
        is_token = dialect.endpoint == BACKCHANNEL
        if is_token:
            metrics.logout_tokens.labels(result, reason).inc()
        else:
            metrics.logout_messages.labels(dialect.endpoint, result, reason).inc()
        metrics.logout_seconds.observe(duration)
        level = logging.INFO if result == "accepted" else logging.WARNING
        fields = self._told(dialect, reason, entry) if logger.isEnabledFor(level) else None
        if fields is None:
            return
        fields = {"result": result, "reason": reason, **fields, "duration_ms": round(duration * 1000, 3)}
        if is_token:
            log.event(logger, level, "logout_token", **fields)
        else:
            log.event(logger, level, "logout_message", endpoint=dialect.endpoint, **fields)

    def _told(self, dialect: Dialect, reason: str, entry: Entry) -> dict[str, str | int | float] | None:
        """What the log says about whom a message is from and for; None: nothing at all, so soon after the last line."""
        fields: dict[str, str | int | float] = {"provider": entry.provider} if entry.provider else {}
        if entry.is_verified:
            return fields | self._hashed(entry)
        # Anybody can send what is no message.
        left_out = self._lines.left_out(f"{dialect.endpoint} {reason} {entry.provider or ''}", entry.started)
        if left_out is None:
            return None
        return fields | ({"left_out": left_out} if left_out else {})

    def _hashed(self, entry: Entry) -> dict[str, str | int]:
        """What the log may say about a message: never a raw sid, sub or jti."""
        digester, fields = self._digester, dict[str, str | int]()
        first = entry.logouts[0] if entry.logouts else None
        if first is not None:
            fields["scope"] = first.scope
        if entry.jti is not None:
            fields["jti"] = _short(digester.credential(entry.jti.encode()))
        if first is not None:
            names = (first.issuer, first.client_ids[0])
            fields |= {} if first.sid is None else {"sid": _short(digester.sid(*names, first.sid))}
            fields |= {} if first.sub is None else {"sub": _short(digester.sub(*names, first.sub))}
        if len(entry.logouts) > 1:
            fields["logouts"] = len(entry.logouts)
        if entry.notes:
            fields["notes"] = ",".join(entry.notes)
        return fields


class SparseLines:
    """Which log lines a stranger may cause: for each topic one in a while. The metrics count all of them."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}  # topic: when the last line was, and how many were left out since

    def left_out(self, topic: str, now: float) -> int | None:
        """How many lines the next one stands for besides itself; None when it is to be left out. Topics are few."""
        last, left_out = self._last.get(topic, (-QUIET_S, 0))
        if now - last < QUIET_S:
            self._last[topic] = last, left_out + 1
            return None
        self._last[topic] = now, 0
        return left_out


def _late(task: asyncio.Future[None]) -> None:
    """The request has its answer: a defect would be heard by nobody."""
    if not task.cancelled() and not isinstance(error := task.exception(), SidecarError | None):
        logger.error("logout_fault", exc_info=error)


def _short(digest: bytes) -> str:
    return digest.hex()[:DIGITS]
