"""What the tests of the control endpoints share: signed tokens, key sources, a log that may fail, a real socket."""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from sidecar import log
from sidecar.control.app import control_runner
from sidecar.control.server import Handler
from sidecar.core.identity import Digester
from sidecar.core.revocation import Logout, Revocation, meant_by
from sidecar.oidc.jwks import import_keys
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.source import Loaded
from sidecar.oidc.verifier import Verifier

DIGESTER = Digester(b"0123456789abcdef")
GONE = object()


def b64(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def signed(key: RSAKey, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """A compact JWS; claims that are GONE are left out."""
    kept = {name: value for name, value in claims.items() if value is not GONE}
    signing_input = b64({"alg": "RS256", "kid": key.kid, **header}) + b"." + b64(kept)
    signature = JWSRegistry.algorithms["RS256"].sign(signing_input, key)
    return (signing_input + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class Given:
    """A key source whose answers are at hand, after as long as the test likes."""

    metadata = None

    def __init__(self, *keys: RSAKey) -> None:
        self.keys = keys
        self.open = asyncio.Event()
        self.open.set()
        self.loads = 0

    async def load(self, now: float) -> Loaded:
        self.loads += 1
        await self.open.wait()
        return Loaded(import_keys({"keys": [key.as_dict(private=False) for key in self.keys]}), None)


async def verifier_of(issuer: str, source: Given) -> Verifier:
    """With the source's keys loaded."""
    keys = ProviderKeys(issuer=issuer, source=source)
    await keys.renew(1.0)
    return Verifier(keys=keys, algorithms=["RS256"])


class Log:
    """Publishing as the store's feed does it: applied at once, durable later or never."""

    def __init__(self) -> None:
        self.applied: list[Revocation] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.finished = 0

    async def publish(self, logouts: Sequence[Logout], expires: int) -> None:
        self.applied.extend(each for logout in logouts for each in meant_by(logout, DIGESTER, expires=expires))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.finished += 1


class Lines(logging.Handler):
    """Log lines, as the product writes them."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        super().__init__()
        self.lines = lines
        self.setFormatter(log.JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@contextlib.asynccontextmanager
async def serving(folder: Path, endpoints: Mapping[str, Handler], lines: list[dict[str, Any]]) -> AsyncIterator[str]:
    """The control application behind a real socket, whose path this is; what it logs goes into `lines`."""
    runner = control_runner(prefix="/_sidecar", endpoints=endpoints)
    await runner.setup()
    path = str(folder / "control.sock")
    await web.UnixSite(runner, path).start()
    handler, owner = Lines(lines), logging.getLogger("sidecar")
    owner.addHandler(handler)
    previous = owner.level
    owner.setLevel(logging.DEBUG)
    try:
        yield path
    finally:
        owner.removeHandler(handler)
        owner.setLevel(previous)
        await runner.cleanup()
