"""`POST {prefix}/backchannel-logout`: the endpoint of Back-Channel Logout 1.0, sections 2.5 to 2.8.

A 200 is a promise: the revocation is durable and already enforced here (DESIGN promise 1). Anything invalid is 400 and
changes nothing. Cheap checks come before cryptography, everything is checked before anything is published, and the
answer comes within a second of the request, whatever the provider or the store are doing.
"""

import asyncio
import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from sidecar import clock, log, metrics
from sidecar.control.form import BadForm, read_logout_token
from sidecar.control.server import answer, error_answer
from sidecar.core.identity import Digester
from sidecar.core.logout_token import LogoutPolicy, LogoutToken, TokenError, validate
from sidecar.core.revocation import expiry
from sidecar.errors import SidecarError
from sidecar.oidc.signature import Verified
from sidecar.oidc.verifier import UnknownKey, Verifier, unverified_issuer
from sidecar.stores.interface import StoreError

logger = logging.getLogger(__name__)

Publish = Callable[[LogoutToken, int], Awaitable[None]]  # the second: s since the epoch, until when it is kept

ANSWER_S = 0.9  # after the last byte of the request; the rest of the second is for the way back (case 40)
KEYS_S = 0.5  # of it, at most, for a key that we do not know
MAX_READING = 512  # bodies on their way, 64 KiB each
MAX_WAITING = 64  # tokens that wait for a key; nobody has to sign anything to make us wait
QUIET_S = 1.0  # between two lines about the same fault of strangers
MAX_REMEMBERED = 100_000
REMEMBER_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class LogoutProvider:
    """One issuer whose logout tokens are accepted."""

    policy: LogoutPolicy
    verifier: Verifier
    unavailable_status: int = 400  # when the logout could not be made durable


@dataclass(slots=True)
class _Entry:
    """What is known of a request so far; the log line is written from it, however the request ends."""

    started: float
    provider: LogoutProvider | None = None
    token: LogoutToken | None = None


class LogoutEndpoint:
    """An aiohttp handler.

    `publish` applies the revocations to the local replica before it first waits, and raises StoreError when it could
    not make them durable; it then goes on trying by itself. It is never cancelled.
    """

    def __init__(
        self,
        *,
        providers: Mapping[str, LogoutProvider],  # by issuer
        publish: Publish,
        digester: Digester,
        session_max_age: float,
        now: Callable[[], float] = clock.wall,
        late: Callable[[], float] = clock.late,
    ) -> None:
        self._providers = providers
        self._publish = publish
        self._digester = digester
        self._session_max_age = session_max_age
        self._now = now
        self._late = late
        self._reading = 0
        self._waiting = 0
        self._publishing: set[asyncio.Future[None]] = set()  # the loop alone would let them be collected
        self._seen = SeenTokens()
        self._lines = SparseLines()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "POST":  # section 2.5 (cases 4 and 5)
            return error_answer(405, "invalid_request", "use POST", allow="POST")
        entry = _Entry(clock.boot())
        metrics.logout_token_last_received.set(self._now())
        try:
            await self._log_out(request, entry)
        except (BadForm, TokenError) as error:
            return self._refused(400, "invalid_request", error, entry)
        except StoreError as error:
            # Where the store is and how it fails is for the log; the provider is told what has become of its logout.
            told = SidecarError(error.reason, "enforced by this process, and written down when the store allows it")
            return self._refused(_unavailable_status(entry), "server_error", told, entry)
        except Exception:
            # Trap J5: whatever the bytes were, a provider gets 400 and the operator gets the fault.
            logger.exception("logout_fault")
            return self._refused(400, "server_error", SidecarError("internal_error", "see the log"), entry)
        self._report("accepted", _oddity(entry) or "ok", entry)
        return answer(200)  # exactly 200 and empty: some providers take nothing else (case 2)

    async def _log_out(self, request: web.BaseRequest, entry: _Entry) -> None:
        encoded = await self._read(request)
        deadline = clock.boot() + ANSWER_S
        provider = entry.provider = self._provider_of(encoded)
        verified = await self._verified(provider.verifier, encoded)
        now = self._now()
        token = entry.token = validate(verified.header, verified.claims, policy=provider.policy, now=now)
        rejects_replay = provider.policy.jti_replay == "reject"
        if rejects_replay and self._seen.has(token, now):
            raise TokenError("replayed_jti", "jti was used before; `jti_replay: accept` tolerates providers that retry")
        expires = expiry(self._late(), self._session_max_age)
        await self._publish_until(deadline, token, expires)
        if rejects_replay:  # only after success, or the provider's retry would be refused
            self._seen.add(token, now)

    async def _read(self, request: web.BaseRequest) -> str:
        if self._reading >= MAX_READING:
            raise BadForm("busy", "too many requests at once")
        self._reading += 1
        try:
            return await read_logout_token(request)
        finally:
            self._reading -= 1

    def _provider_of(self, encoded: str) -> LogoutProvider:
        """Whose token it claims to be. Costs no cryptography; the signature and step 4 decide later."""
        provider = self._providers.get(unverified_issuer(encoded) or "")
        if provider is None:
            raise TokenError("wrong_issuer", "iss is not a configured issuer")
        return provider

    async def _verified(self, verifier: Verifier, encoded: str) -> Verified:
        try:
            return verifier.verify_cached(encoded)
        except UnknownKey:
            if self._waiting >= MAX_WAITING:
                raise
        self._waiting += 1
        try:
            return await verifier.verify(encoded, budget_s=KEYS_S)
        finally:
            self._waiting -= 1

    async def _publish_until(self, deadline: float, token: LogoutToken, expires: int) -> None:
        """Publish, but wait only so long. No limit on the number: only a provider can get a token this far."""
        task = asyncio.ensure_future(self._publish(token, expires))
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

    def _refused(self, status: int, error: str, cause: SidecarError, entry: _Entry) -> web.Response:
        self._report("rejected" if error == "invalid_request" else "failed", cause.reason, entry)
        response = error_answer(status, error, f"{cause.reason}: {cause}")
        if isinstance(cause, BadForm):  # the rest of the body may still be on its way, or unreadable
            response.force_close()
        return response

    def _report(self, result: str, reason: str, entry: _Entry) -> None:
        """One log line and the metrics of one logout token (reference operations.md section 6)."""
        duration = clock.boot() - entry.started
        metrics.logout_tokens.labels(result, reason).inc()
        metrics.logout_seconds.observe(duration)
        level = logging.INFO if result == "accepted" else logging.WARNING
        if not logger.isEnabledFor(level):
            return
        fields: dict[str, str | int] = {"provider": entry.provider.policy.issuer} if entry.provider else {}
        if entry.token is not None:
            fields |= self._hashed(entry.token)
        else:  # anybody can send what is no token
            left_out = self._lines.left_out(f"{reason} {fields.get('provider', '')}", entry.started)
            if left_out is None:
                return
            fields |= {"left_out": left_out} if left_out else {}
        log.event(
            logger, level, "logout_token", result=result, reason=reason, **fields, duration_ms=round(duration * 1000, 3)
        )

    def _hashed(self, token: LogoutToken) -> dict[str, str]:
        """What the log may say about a token: never a raw sid, sub or jti."""
        names, digester = (token.issuer, token.client_ids[0]), self._digester
        fields = {"scope": token.scope, "jti": _short(digester.credential(token.jti.encode()))}
        if token.sid is not None:
            fields["sid"] = _short(digester.sid(*names, token.sid))
        if token.sub is not None:
            fields["sub"] = _short(digester.sub(*names, token.sub))
        if token.notes:
            fields["notes"] = ",".join(token.notes)
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


class SeenTokens:
    """Tokens that were obeyed, for `jti_replay: reject` (section 2.6 step 8).

    The same jti with another sid or sub is another token: better a provider's bug than a lost logout (case 152).
    Bounded: beyond `MAX_REMEMBERED` the oldest is forgotten, and obeying a token twice does no harm.
    """

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def has(self, token: LogoutToken, now: float) -> bool:
        """Whether this token was obeyed before."""
        return self._until.get(_identity(token), 0.0) > now

    def add(self, token: LogoutToken, now: float) -> None:
        """Remember a token for as long as it could come again."""
        name = _identity(token)
        self._until[name] = min(token.expires, now + REMEMBER_S)
        self._until.move_to_end(name)
        while len(self._until) > MAX_REMEMBERED or self._oldest_until() <= now:
            self._until.popitem(last=False)

    def _oldest_until(self) -> float:
        return next(iter(self._until.values()), float("inf"))


def _identity(token: LogoutToken) -> bytes:
    # A digest: the memory is bounded in bytes, and names nobody.
    names = json.dumps([token.issuer, token.jti, token.sid, token.sub])
    return hashlib.blake2b(names.encode(), digest_size=16).digest()


def _short(digest: bytes) -> str:
    return digest.hex()[:12]


def _late(task: asyncio.Future[None]) -> None:
    """The request has its answer: a defect would be heard by nobody."""
    if not task.cancelled() and not isinstance(error := task.exception(), SidecarError | None):
        logger.error("logout_fault", exc_info=error)


def _oddity(entry: _Entry) -> str | None:
    """What was legal about the token and still worth counting (cases 145 and 172)."""
    return entry.token.notes[0] if entry.token and entry.token.notes else None


def _unavailable_status(entry: _Entry) -> int:
    return entry.provider.unavailable_status if entry.provider else 400
