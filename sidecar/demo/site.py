"""The demo's three parts brought up together on loopback: provider, legacy app, sidecar."""

import contextlib
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from yarl import URL

from sidecar.demo.child import configuration, running_sidecar
from sidecar.demo.legacy_app import CALLBACK, LegacyApp
from sidecar.demo.provider import Provider
from sidecar.demo.provider_model import Client

CLIENT_ID = "legacy-app"
SHUTDOWN_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Which port each part listens on, all on 127.0.0.1."""

    sidecar: int = 4180
    ops: int = 4181
    relay: int = 4183
    provider: int = 4190
    app: int = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running demo."""

    public: URL  # the app as browsers see it, through the sidecar
    direct: URL  # the app itself, which only the sidecar should reach
    ops: URL
    issuer: URL
    provider: Provider
    sidecar_ended: Callable[[], Awaitable[int]]  # waits for its exit code


@asynccontextmanager
async def running_site(*, show: Callable[[str], None]) -> AsyncIterator[Site]:
    """Bring everything up, in the order in which the parts need one another; take everything down in any case."""
    with _reserved(Ports()) as (ports, sockets), tempfile.TemporaryDirectory(prefix="logout-sidecar-demo-") as folder:
        public, issuer = f"http://localhost:{ports.sidecar}", f"http://localhost:{ports.provider}"
        secret = secrets.token_urlsafe(24)
        provider = Provider(issuer=issuer, clients=[_client(public, secret)])
        app = LegacyApp(
            public_url=public,
            issuer=issuer,
            client_id=CLIENT_ID,
            client_secret=secret,
            token_endpoint=f"http://127.0.0.1:{ports.relay}/token",
        )
        config = configuration(
            listen=ports.sidecar,
            ops=ports.ops,
            relay=ports.relay,
            app=ports.app,
            issuer=issuer,
            client_id=CLIENT_ID,
            folder=Path(folder),
        )
        direct, ops = f"http://127.0.0.1:{ports.app}", f"http://127.0.0.1:{ports.ops}"
        async with (
            serving(provider.app(), sockets["provider"]),
            serving(app.app(), sockets["app"]),
            running_sidecar(config, folder=Path(folder), ready_url=f"{ops}/readyz", show=show) as ended,
        ):
            yield Site(
                public=URL(public),
                direct=URL(direct),
                ops=URL(ops),
                issuer=URL(issuer),
                provider=provider,
                sidecar_ended=ended,
            )


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    """Serve one web application on a listening socket."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_LIMIT_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def listening(preferred: int) -> socket.socket:
    """A socket that listens on this port of 127.0.0.1, or on any free one when somebody else has it."""
    for port in (preferred, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            listener.listen()
            return listener
        listener.close()
    raise OSError("no free port on 127.0.0.1")


def _client(public: str, secret: str) -> Client:
    return Client(
        client_id=CLIENT_ID,
        client_secret=secret,
        redirect_uri=public + CALLBACK,
        post_logout_redirect_uri=f"{public}/",
        backchannel_logout_uri=f"{public}/_sidecar/backchannel-logout",
    )


@contextmanager
def _reserved(wanted: Ports) -> Iterator[tuple[Ports, dict[str, socket.socket]]]:
    """Free ports, the wanted ones where possible. All are taken at once, so that no two are the same."""
    names = Ports.__dataclass_fields__
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(listening(getattr(wanted, name))) for name in names}
        ports = Ports(**{name: listener.getsockname()[1] for name, listener in sockets.items()})
        for name in ("sidecar", "ops", "relay"):
            sockets[name].close()  # the child process binds these itself
        yield ports, sockets
