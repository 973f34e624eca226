"""Revokes the credentials of dead sessions by their own digests as well (decision 004).

Losing a binding must never turn a denial into access. So when a revocation meets a binding, or a denial
finds one, the credential itself is revoked: in this replica at once, in the log soon after. What cannot be published
now waits in the outbox; what a flood leaves out is said again by the next denial.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Final

from sidecar import clock, log
from sidecar.bindings.directory import Directory
from sidecar.core import verdict as rules
from sidecar.core.identity import Kind
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation, covers, expiry
from sidecar.core.verdict import Deny, Identity, Reason
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

_AT_ONCE: Final = 1024

Publish = Callable[[Collection[Revocation]], Awaitable[None]]


class Condemner:
    """Publishes revocations of kind `credential`, a bounded number at once."""

    def __init__(
        self, *, replica: Replica, directory: Directory, publish: Publish, max_age_s: float, observes: bool = False
    ) -> None:
        """`observes`: nothing is denied yet, so nothing but a logout may leave its mark on a credential."""
        self._observes = observes
        self._replica = replica
        self._directory = directory
        self._publish = publish
        self._max_age_s = max_age_s
        self._tasks: set[asyncio.Task[None]] = set()

    def revoked(self, revocation: Revocation) -> None:
        """A revocation changed the replica: it is meant for every credential of its sessions that is known here."""
        for credential, session in self._directory.bindings_of(revocation.digest):
            if len(self._tasks) >= _AT_ONCE:
                break  # of a cookie that changes with every answer, or of everybody: the next denial says it again
            if covers(revocation, session):
                self._condemn(credential, revocation.cutoff)

    def denied(self, identity: Identity, denial: Deny) -> None:
        """A request of a dead session was denied, or would have been."""
        if denial.reason is not Reason.REVOKED and (denial.reason is not Reason.EXPIRED or self._observes):
            return
        for credential, session in identity.bound:
            if denial.reason is Reason.EXPIRED or rules.is_session_revoked(session, self._replica.cutoff):
                self._condemn(credential, rules.cutoff_of(session, self._replica.cutoff))

    def login_lost(self, credentials: Iterable[bytes]) -> None:
        """A login that could not be learned may have gone into the cookie that the browser keeps: end that as well."""
        for credential in () if self._observes else credentials:
            self._condemn(credential, int(clock.late() * 1000))

    def _condemn(self, credential: bytes, cutoff: int) -> None:
        known = self._replica.cutoff(credential)
        if (known is not None and known >= cutoff) or len(self._tasks) >= _AT_ONCE:
            return  # said already; or a flood, and the next denial will say it
        revocation = Revocation(Kind.CREDENTIAL, credential, cutoff, expiry(clock.late(), self._max_age_s))
        task = asyncio.ensure_future(self._publish_quietly(revocation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish_quietly(self, revocation: Revocation) -> None:
        try:
            await self._publish((revocation,))
        except StoreError as error:  # enforced here already, and kept in the outbox
            log.event(_logger, logging.DEBUG, "credential_revocation_delayed", reason=error.reason)
        except Exception:  # a defect of ours, after the same: nobody waits for this task, so it has to say so itself
            _logger.exception("credential_revocation_fault")
