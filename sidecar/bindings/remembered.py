"""Which cookies a browser has for a session, so that the app can be told of its end; only where that is switched on.

Found by the digests that a revocation names: of the session, and of its subject. Encrypted like everything in clear
(decision 030), bounded in number, and gone with the session. Two logins of one person at the very same moment may each
overlook the other under the subject's digest; each is still found under its own.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.bindings.sealer import Sealer
from sidecar.bindings.vault import KeepingStore
from sidecar.core.identity import BoundSession
from sidecar.core.revocation import Revocation, covers

MOST: Final = 8  # browsers of one session, or of one subject: the latest
MAX_COOKIES_BYTES: Final = 4096  # of one browser

_PURPOSE: Final = b"cookies"


@dataclass(frozen=True, slots=True)
class Browser:
    """The session cookies of one browser, as they stand in its Cookie field."""

    cookies: bytes = field(repr=False)
    session: BoundSession

    @property
    def name(self) -> bytes:
        """Names this login of this browser, and shows nothing of it; for claims."""
        login = self.session.login_time.to_bytes(8, signed=True)
        return hashlib.blake2b(login + self.cookies, key=self.session.own, digest_size=16).digest()


class Remembered:
    """The browsers by session and by subject."""

    def __init__(self, store: KeepingStore, sealer: Sealer, *, ttl_s: int) -> None:
        """`ttl_s` is how long a session may live."""
        self._store = store
        self._sealer = sealer
        self._ttl_s = ttl_s

    async def add(self, browser: Browser, *, instead_of: bytes = b"") -> None:
        """Remember a browser; `instead_of`: the cookies that it had before. Raises StoreError."""
        if len(browser.cookies) > MAX_COOKIES_BYTES:
            return
        for session in browser.session.all:
            await self._add(Browser(browser.cookies, session), instead_of)

    async def _add(self, browser: Browser, instead_of: bytes) -> None:
        for digest in (browser.session.own, browser.session.sub):
            if digest is not None:
                others = [
                    each for each in await self._read(digest) if each.cookies not in {browser.cookies, instead_of}
                ]
                await self._write(digest, [*others, browser][-MOST:])

    async def meant_by(self, revocation: Revocation) -> list[Browser]:
        """The browsers whose session a revocation ends. Raises StoreError."""
        return [each for each in await self._read(revocation.digest) if covers(revocation, each.session)]

    async def forget(self, revocation: Revocation) -> None:
        """They have been told; those whose login is later stay. Raises StoreError."""
        found = await self._read(revocation.digest)
        left = [each for each in found if not covers(revocation, each.session)]
        if left:
            await self._write(revocation.digest, left)
        elif found:
            await self._store.delete_sealed(_tag(revocation.digest))

    async def _read(self, digest: bytes) -> list[Browser]:
        sealed = await self._store.get_sealed(_tag(digest))
        plain = self._sealer.open(sealed, purpose=_PURPOSE, name=digest) if sealed is not None else None
        return [_unpacked(*entry) for entry in json.loads(plain)] if plain is not None else []

    async def _write(self, digest: bytes, browsers: Sequence[Browser]) -> None:
        plain = json.dumps([_packed(each) for each in browsers]).encode()
        await self._store.put_sealed(_tag(digest), self._sealer.seal(plain, purpose=_PURPOSE, name=digest), self._ttl_s)


def _tag(digest: bytes) -> bytes:
    """Where it stands in the store: a login of the same session may be kept under the digest itself."""
    return hashlib.blake2b(digest, digest_size=16, person=b"lgsc-cookies").digest()


def _packed(browser: Browser) -> list[str | int | None]:
    session = browser.session
    sub = None if session.sub is None else session.sub.hex()
    return [browser.cookies.decode("latin-1"), session.own.hex(), sub, session.login_time, session.sid_time]


def _unpacked(cookies: str, own: str, sub: str | None, login_time: int, sid_time: int) -> Browser:
    digests = bytes.fromhex(own), None if sub is None else bytes.fromhex(sub)
    return Browser(cookies.encode("latin-1"), BoundSession(*digests, login_time, sid_time))
