"""A client of redis-py with its traps closed: bounded waits, no retries, one shape of answers, errors of our own.

Not a store: it knows no keys and no schema. The library's defaults wait five seconds and try eleven times, so that a
hung server holds a caller for a minute, and an XADD whose answer was lost is sent again without a word. Here nothing
is sent twice, and each call fails within twice its time-out.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from redis import exceptions as errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sidecar.stores.interface import StoreError, StoreUnusable
from sidecar.stores.redis_address import Host
from sidecar.stores.redis_connection import Credentials, Locate, TcpConnection, Tls, UnixConnection

CONNECT_S = 0.5

# The first class that fits names the reason; subclasses come before their base.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (errors.OutOfMemoryError, "store_full"),
    (errors.ReadOnlyError, "store_not_master"),
    (errors.NoPermissionError, "store_forbidden"),
    (errors.AuthenticationError, "store_auth"),
    (errors.BusyLoadingError, "store_loading"),
    (errors.ClusterDownError, "store_cluster_down"),
    (errors.TimeoutError, "store_timeout"),
    (errors.ConnectionError, "store_unavailable"),
    (TimeoutError, "store_timeout"),  # our own deadline
    (OSError, "store_unavailable"),
    (errors.RedisError, "store_refused"),  # NOREPLICAS, and whatever else a server says instead of doing it
)


class Redirected(StoreError):
    """A node of a cluster says that another one has the key. `is_asking`: only this key, and only this once."""

    def __init__(self, place: str, host: Host, *, is_asking: bool) -> None:
        super().__init__("store_moved", f"{place}: another node has the key")
        self.host = host
        self.is_asking = is_asking


class Commands(Protocol):
    """What a store needs of a client. Every method raises StoreError."""

    @property
    def connects(self) -> int:
        """How many connections were ever made. The library replaces a lost one without a word; this shows it."""

    async def ask(self, *words: Any) -> Any:
        """Run one command."""

    async def ask_all(self, *commands: Sequence[Any], transaction: bool) -> list[Any]:
        """Run several commands in one round trip. A refused one has its StoreError as its answer."""

    def leave(self) -> None:
        """Look for the master anew: no connection of before is used for another command."""

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""


class Client:
    """One role's connections to one server, or to whichever server `locate` names. See `Commands`.

    Errors name the place, never user or password.
    """

    def __init__(
        self,
        place: str,
        *,
        connections: int,
        timeout_s: float,
        locate: Locate | None = None,  # else `place` is the path of a Unix socket
        tls: Tls | None = None,
        credentials: Credentials | None = None,
        database: int = 0,
        masters_only: bool = True,
    ) -> None:
        self._place = place
        self._deadline_s = 2 * timeout_s  # over waiting for a connection, connecting, and the command
        self._masters_only = masters_only
        self._host: Host | None = None
        self.connects = 0
        # What TcpConnection takes beyond the library's own classes is refused by those.
        where = {"path": place} if locate is None else {"locate": locate, "tls": tls}
        self._pool = _Pool(
            connection_class=UnixConnection if locate is None else TcpConnection,
            max_connections=connections,
            timeout=timeout_s,  # for a free connection
            socket_timeout=timeout_s,
            socket_connect_timeout=min(timeout_s, CONNECT_S),
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._greet,
            credential_provider=credentials,
            db=database,
            protocol=2,  # answers have one shape on every server
            driver_info=None,  # no CLIENT SETINFO, which a minimal ACL need not allow
            **where,
        )
        self._redis = Redis.from_pool(self._pool)

    def leave(self) -> None:
        """Look for the master anew: no connection of before is used for another command."""
        self._pool.fresh.clear()

    async def aclose(self) -> None:
        """Close all connections. May be called twice. A peer that does not let go is not waited for."""
        with contextlib.suppress(StoreError), self._errors(), _cancellable():
            await self._redis.aclose()

    async def ask(self, *words: Any) -> Any:
        """Run one command."""
        with self._errors():
            async with asyncio.timeout(self._deadline_s):
                with _cancellable():
                    return await self._redis.execute_command(*words)  # type: ignore[no-untyped-call]

    async def ask_all(self, *commands: Sequence[Any], transaction: bool) -> list[Any]:
        """Run several commands in one round trip. A refused one has its StoreError as its answer."""
        with self._errors():
            async with asyncio.timeout(self._deadline_s):
                with _cancellable():
                    async with self._redis.pipeline(transaction=transaction) as pipe:
                        for words in commands:
                            pipe.execute_command(*words)
                        answers = await pipe.execute(raise_on_error=False)
        found = [self._translated(answer) if isinstance(answer, Exception) else answer for answer in answers]
        for answer in found:
            if isinstance(answer, Redirected):  # the keys of one call live in one slot: it holds for all of them
                raise answer
        return found

    async def _greet(self, connection: AbstractConnection) -> None:
        """Log in, and make sure that this is a master: a replica would take reads and keep old answers alive."""
        await connection.on_connect()
        if self._masters_only:
            await connection.send_command("ROLE")
            role = await connection.read_response()
            if role[0] != b"master":
                raise errors.ReadOnlyError("not a master")
        if isinstance(connection, TcpConnection):
            before, self._host = self._host, Host(connection.host, connection.port)
            if before != self._host:
                self.leave()  # the other connections still hold the old master
        self._pool.fresh.add(connection)
        self.connects += 1

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (errors.RedisError, OSError) as error:
            # Without the cause: the library repeats the commands, and what they hold, in some texts.
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> StoreError:
        if type(error) is errors.ConnectionError and isinstance(error.__cause__, errors.RedisError):
            error = error.__cause__  # what the handshake over a Unix socket raises comes wrapped
        if isinstance(error, errors.ReadOnlyError):
            self.leave()
        if isinstance(error, errors.AskError):
            host = Host(error.host or (self._host.name if self._host else ""), error.port)
            return Redirected(self._place, host, is_asking=not isinstance(error, errors.MovedError))
        if isinstance(error.__context__, ssl.SSLCertVerificationError):
            why = error.__context__.verify_message
            return StoreUnusable("store_tls_failed", f"{self._place}: its certificate does not verify: {why}")
        reason = next(reason for kind, reason in _REASONS if isinstance(error, kind))
        # The text of a network error helps the operator and holds nothing else.
        detail = str(error) if reason in {"store_unavailable", "store_timeout"} else type(error).__name__
        return StoreError(reason, f"{self._place}: {detail}")


class _Pool(BlockingConnectionPool):
    """Connections that are not `fresh` are made again before they are used.

    The library's own way, closing the idle ones at once, may close a connection that somebody takes in that moment.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fresh: set[AbstractConnection] = set()

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        if connection not in self.fresh:
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


@contextlib.contextmanager
def _cancellable() -> Iterator[None]:
    """Raise a cancellation that the library has lost.

    It sends inside `asyncio.wait_for`, which before Python 3.12 drops a cancellation that arrives together with its
    result, be that an answer or an error. Without this a task could not be ended, and a deadline would pass unnoticed.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError  # in place of whatever was on its way: nobody waits for it any more


def raise_first(answers: Sequence[Any]) -> None:
    """Raise the first refusal among the answers of `ask_all`."""
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer
