"""How many unproven messages are believed: some of each address, and some of all together.

For the one endpoint whose messages carry no proof. Each of them adds to the log, so what strangers may send is what the
log may grow by. Bounded in memory; time is passed in.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_PEERS = 10_000
_SITE_BITS = 64  # of an IPv6 address: what one customer has, and may change as he likes


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second on average."""

    burst: float
    per_second: float


class Allowance:
    """Token buckets, for each peer and for all of them."""

    def __init__(self, *, each: Rate, total: Rate) -> None:
        self._each = each
        self._total = total
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, and when that was
        self._all = (total.burst, 0.0)

    def takes(self, peer: str, now: float) -> bool:
        """Whether one more of this peer is believed. `now` is boot time."""
        own = _refilled(self._peers.get(peer, (self._each.burst, now)), self._each, now)
        everybody = _refilled(self._all, self._total, now)
        if own < 1 or everybody < 1:
            return False
        self._peers[peer] = own - 1, now
        self._peers.move_to_end(peer)
        if len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        self._all = everybody - 1, now
        return True


def client_of(forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Whom the data plane saw at the far end: the last address of X-Forwarded-For that is no trusted proxy's.

    An IPv6 address stands for its network. Empty where there is none: those all share one allowance.
    """
    chain = [part.strip() for line in forwarded_for for part in line.split(",") if part.strip()]
    for text in reversed(chain):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return ""  # an ingress that writes ports or names: whoever is behind it
        if not any(address.version == network.version and address in network for network in trusted):
            if isinstance(address, ipaddress.IPv6Address):
                return str(ipaddress.ip_network((address, _SITE_BITS), strict=False))
            return str(address)
    return chain[0] if chain else ""


def _refilled(bucket: tuple[float, float], rate: Rate, now: float) -> float:
    level, since = bucket
    return min(rate.burst, level + max(0.0, now - since) * rate.per_second)
