"""The sidecar as it is measured: a file store with bindings and live revocations, metrics on, one provider."""

import asyncio
import datetime as dt
import json
import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import RSAKey

from benchmarks.processes import Program, free_port
from sidecar.core.identity import Digester, Session
from sidecar.core.revocation import of_logout
from sidecar.stores.sqlite import SqliteStore

ISSUER = "https://idp.example.com"
CLIENT = "legacy-app"
SECRET = b"a benchmark's digest secret"
REVOCATIONS, SESSIONS = 100_000, 1000
COOKIE = "JSESSIONID=session-0000-0123456789abcdef"  # one of the bound sessions that `browser.lua` uses as well


def prepare(folder: Path) -> None:
    """Keys and a filled store, for every sidecar that is started in this folder."""
    key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": "RS256"}, private=True)
    (folder / "key.json").write_text(json.dumps(key.as_dict(private=True)))
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    (folder / "secret").write_bytes(SECRET)
    asyncio.run(_fill(folder / "state.db"))


async def _fill(path: Path) -> None:
    """Live revocations of other sessions, and bindings for the sessions that the load uses."""
    digester, now = Digester(SECRET), int(time.time())
    store = SqliteStore(str(path))
    await store.open()
    store.use_key(digester.key_id)
    for start in range(0, REVOCATIONS, 500):
        batch = [
            revocation
            for number in range(start, start + 500)
            for revocation in of_logout(
                digester, ISSUER, CLIENT, f"over-{number}", None, cutoff=now * 1000, expires=now + 43_200
            )
        ]
        await store.append(batch)
    for number in range(SESSIONS):
        session = Session(ISSUER, CLIENT, f"sid-{number}", f"user-{number}", now * 1000)
        cookie = f"session-{number:04d}-0123456789abcdef".encode()
        await store.put_binding(digester.credential(cookie), digester.bound(session), 43_200)
    await store.aclose()


def sidecar(folder: Path, app: int, *, tls: tuple[Path, Path] | None = None, connections: int = 512) -> Program:
    """A sidecar in front of the app, with what a real one has."""
    port, ops = free_port(), free_port()
    settings: dict[str, object] = {
        "listen": f"127.0.0.1:{port}",
        "upstream": {"url": f"http://127.0.0.1:{app}", "max_connections": connections},
        "ops": {"listen": f"127.0.0.1:{ops}"},
        "control": {"relay_listen": f"unix:{folder}/relay-{port}"},
        "providers": [{"issuer": ISSUER, "client_id": CLIENT, "jwks_file": str(folder / "jwks.json")}],
        "session": {
            "credentials": [{"cookie": "JSESSIONID"}],
            "bind": [{"from": "token_endpoint", "callback": "/callback"}],
        },
        "store": {"url": f"sqlite:///{folder}/state.db", "secret": {"file": str(folder / "secret")}},
        "drain": {"delay": "0s", "timeout": "1s"},
        "log": {"level": "warning"},
    }
    if tls:
        settings["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    path = folder / f"sidecar-{port}.json"
    path.write_text(json.dumps(settings))
    command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", str(path)]
    return Program(name="logout-sidecar", command=command, port=port, ready_url=f"http://127.0.0.1:{ops}/readyz")


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
