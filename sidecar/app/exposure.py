"""Whether the app answers at the pod's own address as well: then whoever reaches the pod can go past the sidecar.

A look is one TCP connection, opened and closed again. It proves that the app listens there, not that a NetworkPolicy is
missing: traffic from the pod to itself passes none. So this warns and never refuses, and the operator can say that the
port is closed by other means (`upstream.exposed: accept`, decision 027).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from sidecar import log, metrics
from sidecar.config.address import Address, TcpAddress, is_loopback
from sidecar.config.model import Config

_logger = logging.getLogger(__name__)

EVERY_S: Final = 60.0  # an app may start after us, and listen elsewhere after its next restart
_CONNECT_S: Final = 1.0
_HINT: Final = "keep everybody away from this port with a NetworkPolicy, then set upstream.exposed: accept"


class Exposure:
    """Looks at one place; None: nobody could tell anything by it."""

    def __init__(self, place: TcpAddress | None, *, is_accepted: bool) -> None:
        self._place = place
        self._is_accepted = is_accepted
        self._is_exposed: bool | None = None

    @property
    def shown(self) -> dict[str, Callable[[], str | None]]:
        """The line of `/readyz?verbose`."""
        return {} if self._place is None else {"exposure": self.problem}

    def problem(self) -> str | None:
        """None when the app does not answer there, was not asked yet, or when that is accepted."""
        is_problem = self._is_exposed and not self._is_accepted
        return f"the app also answers at {self._place}, past the sidecar" if is_problem else None

    async def watch(self, every: float = EVERY_S) -> None:
        """Look now and then, until cancelled; say so when it has changed."""
        while self._place is not None:
            is_exposed = await _answers(self._place)
            if is_exposed != self._is_exposed:
                self._is_exposed = is_exposed
                self._tell()
            await asyncio.sleep(every)

    def _tell(self) -> None:
        accepted = str(self._is_accepted).lower()
        metrics.upstream_exposed.labels(accepted).set(bool(self._is_exposed))
        if self._is_exposed and not self._is_accepted:
            log.event(_logger, logging.WARNING, "upstream_exposed", address=str(self._place), hint=_HINT)
        elif self._is_exposed:
            log.event(_logger, logging.INFO, "upstream_exposed", address=str(self._place), accepted=True)
        else:
            log.event(_logger, logging.INFO, "upstream_not_exposed", address=str(self._place))


async def _answers(place: TcpAddress) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(place.host, place.port)
    except OSError:  # refused, unreachable, or too slow: a time-out is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def exposure(config: Config) -> Exposure:
    """What there is to look at, if anything."""
    return Exposure(_place(config), is_accepted=config.upstream.exposed == "accept")


def _place(config: Config) -> TcpAddress | None:
    upstream = config.upstream
    app, pod_ip = upstream.url.address, upstream.pod_ip
    if pod_ip is None or not isinstance(app, TcpAddress) or not is_loopback(app.host):
        return None  # nobody knows the address; or a Unix socket, or the app of another pod
    if any(_is_ours(each, app.port) for each in (config.listen, config.ops.listen)):
        return None  # it is we who would answer
    return TcpAddress(pod_ip, app.port)


def _is_ours(listen: Address, port: int) -> bool:
    return isinstance(listen, TcpAddress) and listen.port == port
