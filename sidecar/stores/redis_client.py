"""A client of redis-py with its traps closed: bounded waits, few retries, one shape of answers, errors of our own.

Not a store: it knows no keys and no schema. The library's defaults wait five seconds and try eleven times, so that a
hung server holds a caller for a minute (reference state.md section 7).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from redis import exceptions as errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sidecar.stores.interface import StoreError, StoreUnusable

CONNECT_S = 0.5
_URL_OPTIONS = {"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}  # others would change how this module works

# The first class that fits names the reason; subclasses come before their base.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (errors.OutOfMemoryError, "store_full"),
    (errors.ReadOnlyError, "store_not_master"),
    (errors.NoPermissionError, "store_forbidden"),
    (errors.AuthenticationError, "store_auth"),
    (errors.BusyLoadingError, "store_loading"),
    (errors.TimeoutError, "store_timeout"),
    (errors.ConnectionError, "store_unavailable"),
    (TimeoutError, "store_timeout"),  # our own deadline
    (OSError, "store_unavailable"),
    (errors.RedisError, "store_refused"),  # NOREPLICAS, and whatever else a server says instead of doing it
)


class Client:
    """One role's connections. Every method raises StoreError, with the place and never with user or password.

    `again` tries once more on a connection that turns out to be dead, as all are after a restart of the server; a
    time-out is never tried again.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int,
        timeout_s: float,
        again: bool = False,
        on_connect: Callable[[AbstractConnection], Awaitable[None]] | None = None,
    ) -> None:
        self._place = place(url)
        self._deadline_s = 2 * timeout_s  # over connecting, waiting for a connection, and the second try
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                timeout=timeout_s,  # for a free connection
                socket_timeout=timeout_s,
                socket_connect_timeout=min(timeout_s, CONNECT_S),
                retry=Retry(NoBackoff(), int(again), supported_errors=(errors.ConnectionError,)),
                redis_connect_func=on_connect,
                protocol=2,  # answers have one shape on every server
                driver_info=None,  # no CLIENT SETINFO, which a minimal ACL need not allow
            )
        except ValueError:
            raise StoreUnusable("store_url_invalid", "store.url is not an address") from None
        self._redis = Redis.from_pool(pool)

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""
        with self._errors():
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
            async with asyncio.timeout(self._deadline_s), self._redis.pipeline(transaction=transaction) as pipe:
                for words in commands:
                    pipe.execute_command(*words)
                with _cancellable():
                    answers = await pipe.execute(raise_on_error=False)
        return [self._translated(answer) if isinstance(answer, Exception) else answer for answer in answers]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (errors.RedisError, OSError) as error:
            # Without the cause: the library repeats the commands, and what they hold, in some texts.
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> StoreError:
        reason = next(reason for kind, reason in _REASONS if isinstance(error, kind))
        # The text of a network error helps the operator and holds nothing else.
        detail = str(error) if reason in {"store_unavailable", "store_timeout"} else type(error).__name__
        return StoreError(reason, f"{self._place}: {detail}")


@contextlib.contextmanager
def _cancellable() -> Iterator[None]:
    """Raise a cancellation that the library has lost.

    It sends inside `asyncio.wait_for`, which before Python 3.12 drops a cancellation that arrives together with its
    result. Without this a task could not be ended, and a deadline would pass unnoticed.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


def raise_first(answers: Sequence[Any]) -> None:
    """Raise the first refusal among the answers of `ask_all`."""
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer


def place(url: str) -> str:
    """Where that is, without user and password; StoreUnusable when it cannot be an address."""
    try:
        parts = urlsplit(url)
        where = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
    except ValueError:
        raise StoreUnusable("store_url_invalid", "store.url is not an address") from None
    if unknown := sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - _URL_OPTIONS):
        raise StoreUnusable("store_url_invalid", f"store.url has unknown options: {', '.join(unknown)}")
    return where
