"""The store as a worker has it: the pod's control process, at the other end of the line.

A `Store` like the others (`stores/interface.py`), so that a worker is an ordinary replica: feed, publisher, directory.
What is written is durable when the call returns, as in the store behind it. What differs is the proof of freshness.
The question to the control process proves nothing about the store, so that a worker takes over the proof that the
control process has (`core/freshness.py`): it is never fresher than that.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from sidecar.core.identity import BoundSession
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import Batch, Mark, StoreError
from sidecar.stores.packing import unpack_binding
from sidecar.workers.line import CALL_S, Call, LineLost, Refused
from sidecar.workers.messages import News, pack_named, pack_put, pack_revocations, unpack_news
from sidecar.workers.uplink import Uplink

OPEN_S = 10.0  # a control process that has died is back within a second; who waits here is back at once as well


class RemoteStore:
    """`Store` over the line. `is_serving` is told to the control process with each question."""

    def __init__(self, uplink: Uplink, *, borrowed: Callable[[float], None], is_serving: Callable[[], bool]) -> None:
        self._uplink = uplink
        self._borrowed = borrowed
        self._is_serving = is_serving
        self._key_id = 0
        self._proof: float | None = None  # of the page that is being applied

    def __repr__(self) -> str:
        return "<RemoteStore>"

    async def open(self) -> None:
        try:
            await self._uplink.wait(OPEN_S)
        except LineLost as error:
            raise _away(error) from None

    async def aclose(self) -> None:
        """Nothing to release: the line belongs to the process."""

    async def secret(self) -> bytes:
        return await self._ask(Call.SECRET)

    async def kept_secret(self) -> bytes | None:
        return await self._ask(Call.KEPT_SECRET) or None

    async def superseded(self, now: int) -> int | None:  # noqa: ARG002 - the protocol's
        return None  # the control process says it

    def use_key(self, key_id: int, *_others: int) -> None:
        self._key_id = key_id  # both processes have read the same configuration: one key stands for all of them

    async def append(self, revocations: Sequence[Revocation]) -> None:
        await self._ask(Call.APPEND, pack_revocations(revocations))

    async def durable(self) -> bool:
        return True  # it is in the log, and in the control process's outbox until it is durable

    async def restore(self, revocations: Sequence[Revocation]) -> None:
        await self.append(revocations)

    async def snapshot(self) -> AsyncIterator[Sequence[Revocation]]:
        self._proof = None
        news = unpack_news(await self._ask(Call.LOAD, bytes((self._key_id,))))
        while not news.complete:
            yield news.revocations
            news = await self._next()
        yield news.revocations
        self._proof = news.proved

    async def follow(self) -> Batch:
        # The feed has applied the last page: only now is it as fresh as the control process was when it made the page.
        if self._proof is not None:
            self._borrowed(self._proof)
        news = await self._next()
        self._proof = news.proved if news.complete else None
        return Batch(news.revocations, news.complete)

    def reread(self) -> None:
        """The control process looks after its log itself."""

    @property
    def is_awaited(self) -> bool:
        return False  # each question says how far this worker is, and the control process speaks for the pod

    def applied(self) -> None:
        """Said by the next question."""

    async def confirmed(self, mark: Mark, within_s: float) -> None:
        """No append of a worker gives a mark."""

    async def prune(self) -> None:
        """The control process prunes its store itself."""

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        value = await self._ask(Call.GET_BINDING, credential)
        return unpack_binding(value) if value else None

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        await self._ask(Call.PUT_BINDING, pack_put(credential, session, ttl))

    async def put_sealed(self, name: bytes, value: bytes, ttl: int) -> None:
        await self._ask(Call.PUT_SEALED, pack_named(name, ttl, value))

    async def get_sealed(self, name: bytes) -> bytes | None:
        return await self._ask(Call.GET_SEALED, name) or None

    async def delete_sealed(self, name: bytes) -> None:
        await self._ask(Call.DELETE_SEALED, name)

    async def claim(self, name: bytes, ttl: int) -> bool:
        return bool(await self._ask(Call.CLAIM, pack_named(name, ttl)))

    async def _next(self) -> News:
        return unpack_news(await self._ask(Call.FOLLOW, bytes((self._is_serving(),))))

    async def _ask(self, call: Call, payload: bytes = b"") -> bytes:
        try:
            return await self._uplink.call(call, payload, timeout_s=CALL_S)
        except LineLost as error:
            raise _away(error) from None
        except Refused as error:  # what the store behind it said
            raise StoreError(error.reason, str(error)) from None


def _away(error: LineLost) -> StoreError:
    return StoreError("control_unavailable", f"the pod's control process does not answer ({error.reason})")
