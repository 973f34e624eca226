"""The voucher: how a credential without a login is known as one that the app has given out through this deployment.

With `unbound: deny` an unknown credential is refused. The cookie that an app sets on the first visit, before any login,
would be refused as well, and nobody could log in. So beside such a cookie the browser gets a voucher: when its visit
began, and a keyed tag over that time and the credential. It is the browser that keeps it; a stranger who visits costs
no write. A voucher gives nobody a session. All it says is: this value came from here, not long ago, before any login.

This module is the format and the arithmetic. Who gets one is said in `gate/vouchers.py`, what it changes in
`core/verdict.py`.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.core.identity import DIGEST_BYTES, Digester

MOST_TAGS: Final = 8  # an app has one cookie before a login, rarely two; and the ones that they have just replaced
SKEW_S: Final = 60  # between the clocks of two replicas
_TIME_BYTES: Final = 4
_LONGEST: Final = (_TIME_BYTES + MOST_TAGS * DIGEST_BYTES + 2) // 3 * 4


@dataclass(frozen=True, slots=True)
class Voucher:
    """What one voucher says. Nothing is believed of it before a tag is compared."""

    began: int  # s since the epoch: when the first of these credentials was given out
    tags: tuple[bytes, ...] = field(repr=False)

    def covers(self, readings: Sequence[bytes], digester: Digester) -> bool:
        """Whether one of the tags is of this credential; `readings` are its digests, of each spelling and key."""
        # Each key has tags of its own; while the key is changed, another replica may have used the next one.
        wanted = [key.voucher(digest, self.began) for key in digester.all for digest in readings]
        found = [hmac.compare_digest(tag, mine) for tag in self.tags for mine in wanted]  # all of them, always
        return any(found)


def parse_voucher(value: bytes) -> Voucher | None:
    """Read a cookie value; None for what no sidecar has written."""
    if len(value) > _LONGEST:
        return None
    try:
        raw = base64.b64decode(value + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    time, tags = raw[:_TIME_BYTES], raw[_TIME_BYTES:]
    if not tags or len(tags) % DIGEST_BYTES:
        return None
    cut = range(0, len(tags), DIGEST_BYTES)
    return Voucher(int.from_bytes(time), tuple(tags[start : start + DIGEST_BYTES] for start in cut))


def build_voucher(credentials: Iterable[bytes], began: int, digester: Digester) -> bytes:
    """The cookie value that vouches for these credentials (digests); the first ones, if there are too many."""
    tags = [digester.voucher(credential, began) for credential in dict.fromkeys(credentials)][:MOST_TAGS]
    return base64.urlsafe_b64encode(began.to_bytes(_TIME_BYTES) + b"".join(tags)).rstrip(b"=")


def visiting_since(
    vouchers: Sequence[bytes], credentials: Iterable[Sequence[bytes]], digester: Digester, *, now: float, max_age: float
) -> int | None:
    """When the visit began to which all these credentials belong; None where one of them is vouched for by nobody.

    `vouchers` are the cookie values of the request. A browser has one; where there are several, somebody has planted
    one, and none counts. `now` and `max_age` in seconds.
    """
    voucher = parse_voucher(vouchers[0]) if len(vouchers) == 1 else None
    if voucher is None or not now - max_age < voucher.began <= now + SKEW_S:
        return None
    covered = [voucher.covers(readings, digester) for readings in credentials]
    return voucher.began if covered and all(covered) else None
