"""A whole data plane in this process, with a scripted app behind it and scripted clients before it.

Everything between the two is the product: gate, pools, replica, feed, publisher, bindings, logins, and the embedded
store in memory. Only the two ends are the test's.
"""

import asyncio
import contextlib
import ipaddress
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wire import Listener, Wire, ask, until

from sidecar import clock
from sidecar.bindings.directory import Directory
from sidecar.bindings.logins import Logins
from sidecar.bindings.trusted_header import HeaderBinder
from sidecar.core.app_logout import AppPath, Ended
from sidecar.core.credentials import Carriers
from sidecar.core.denial import Action
from sidecar.core.freshness import Freshness, State
from sidecar.core.identity import BoundSession, Digester, Session
from sidecar.core.paths import compile_pattern
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation, expiry, of_logout
from sidecar.core.routes import Route, Routes, Rule
from sidecar.core.verdict import Policy
from sidecar.gate.app_logout import AppLogouts, nothing
from sidecar.gate.callbacks import Callbacks, Claimant
from sidecar.gate.condemn import Condemner
from sidecar.gate.counts import Counts
from sidecar.gate.denials import Denials
from sidecar.gate.enforcement import Enforcement
from sidecar.gate.gate import Gate
from sidecar.gate.identify import Identifier
from sidecar.gate.learn import Teacher
from sidecar.gate.live import LiveStreams
from sidecar.gate.named import NamedSessions
from sidecar.gate.presented import TokenCarrier
from sidecar.gate.second_look import SecondLook
from sidecar.gate.verdicts import Verdicts
from sidecar.gate.vouchers import Vouchers
from sidecar.http1.forwarded import peer_of
from sidecar.proxy.conduct import Conduct
from sidecar.proxy.downstream import listener
from sidecar.proxy.limits import Limits
from sidecar.proxy.plane import Plane
from sidecar.proxy.pool import Address, Pool, PoolTerms
from sidecar.proxy.stats import Stats
from sidecar.proxy.tunnel import Tunnel
from sidecar.stores.feed import Feed
from sidecar.stores.interface import Store
from sidecar.stores.open import open_store
from sidecar.stores.publish import Publisher

ISSUER, CLIENT = "https://idp.example", "legacy"
MAX_AGE_S = 3600
VOUCHER = "voucher"
CALLBACK, LOGOUT = "/oidc/callback", "/logout"


def session(sid: str = "s-1", *, sub: str = "alice", age: float = 60) -> Session:
    """A session that began `age` seconds ago."""
    return Session(ISSUER, CLIENT, sid, sub, int((time.time() - age) * 1000))


class Bindings:
    """The bindings of a real store, which can be made to fail, or to wait until the test lets it go on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fault: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.waiting = 0
        self.lost: set[bytes] = set()  # evicted, or flushed
        self.written: list[bytes] = []

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        await self._trouble()
        return None if credential in self.lost else await self._store.get_binding(credential)

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        await self._trouble()
        self.written.append(credential)
        await self._store.put_binding(credential, session, ttl)

    async def _trouble(self) -> None:
        self.waiting += 1
        await self.go_on.wait()
        self.waiting -= 1
        if self.fault is not None:
            raise self.fault


class Stage:
    """One data plane. `client` and `app` are the two ends; `login` and `logout` what happens beside it."""

    def __init__(
        self,
        *,
        limits: Limits,
        action: str,
        login_url: str | None,
        routes: Iterable[Route],
        path_parameters: Iterable[str],
        carriers: Carriers | None,
        tokens: Sequence[TokenCarrier],
        deny_unbound: bool,
        vouches: bool,
        is_https: bool,
        voucher_age: float,
        observes: bool,
        fail_open: bool,
        grace: float,
        trusted: Iterable[str],
        pool: dict[str, Any],
        plane: dict[str, Any],
        control_path: str,
        claimants: Iterable[Claimant],
        relayed: Iterable[str],
        headers: Sequence[HeaderBinder],
    ) -> None:
        self.store = open_store("sqlite://")
        self.digester = Digester(b"a secret of the tests")
        self.replica, self.freshness = Replica(), Freshness(min(0.6, grace), grace)
        self.live, self.stats, self.counts = LiveStreams(), Stats(), Counts()
        self.bindings = Bindings(self.store)
        self.directory = Directory(self.bindings, ttl_s=2 * MAX_AGE_S, clock=clock.boot)
        self.logins = Logins(clock=clock.boot, wait_s=1.0)
        self.later = 0.0  # s by which the clock of the vouchers is ahead
        vouchers = (
            Vouchers(
                name=VOUCHER,
                is_https=is_https,
                max_age_s=voucher_age,
                digester=self.digester,
                wall=self._wall,
            )
            if vouches
            else None
        )
        carriers = carriers or Carriers(cookies=["JSESSIONID"], path_parameters=path_parameters)
        token_cookies = [token.cookie for token in tokens if token.cookie]
        self.identifier = Identifier(
            carriers=carriers,
            tokens=tokens,
            directory=self.directory,
            digester=self.digester,
            cutoff=self.replica.cutoff,
            named_sessions=self._named_sessions(headers),
            vouchers=vouchers,
        )
        enforcement = Enforcement(
            carriers=carriers, identifier=self.identifier, token_cookies=token_cookies, vouchers=vouchers
        )
        teacher = Teacher(identifier=self.identifier, enforcement=enforcement, directory=self.directory)
        self.publisher = Publisher(  # with patience: how soon it gives up is for tests/stores, and machines may be busy
            store=self.store, replica=self.replica, on_revocation=self._revoked, budget_s=5.0
        )
        self.remembered: list[tuple[bytes, bytes]] = []  # the cookies that browsers have, and had before
        self.ended: list[Ended] = []
        self.after: Callable[[Ended], Awaitable[str | None]] = nothing  # what follows a logout of the app

        async def after(ended: Ended) -> str | None:
            self.ended.append(ended)
            return await self.after(ended)

        def build_gate(*, observes: bool) -> Gate:
            policy = Policy(
                deny_unbound=deny_unbound, fail_open=fail_open, max_age_ms=MAX_AGE_S * 1000, observes=observes
            )
            verdicts = Verdicts(replica=self.replica, freshness=self.freshness, policy=policy)
            self.condemner = Condemner(
                replica=self.replica,
                directory=self.directory,
                publish=self.publisher.publish,
                max_age_s=MAX_AGE_S,
                observes=observes,
            )
            denials = Denials(enforcement=enforcement, condemner=self.condemner, counts=self.counts, observes=observes)
            second_look = SecondLook(
                identifier=self.identifier,
                verdicts=verdicts,
                teacher=teacher,
                denials=denials,
                condemner=self.condemner,
                vouchers=vouchers,
                remember=self._remember,
            )
            return Gate(
                identifier=self.identifier,
                callbacks=Callbacks(patterns=map(compile_pattern, relayed), logins=self.logins, claimants=claimants),
                verdicts=verdicts,
                denials=denials,
                second_look=second_look,
                condemner=self.condemner,
                live=self.live,
                counts=self.counts,
                routes=Routes(list(routes), Rule(Action(action), login_url)),
                app_logouts=AppLogouts(
                    paths=[AppPath(compile_pattern(LOGOUT))],
                    identifier=self.identifier,
                    enforcement=enforcement,
                    teacher=teacher,
                    second_look=second_look,
                    verdicts=verdicts,
                    publish=self.publisher.publish,
                    max_age_s=MAX_AGE_S,
                    after=after,
                    observes=observes,
                ),
                control_prefix=b"/_sidecar",
                vouchers=vouchers,
            )

        self._build_gate = build_gate
        self.gate = build_gate(observes=observes)
        self.feed = Feed(store=self.store, replica=self.replica, freshness=self.freshness, on_revocation=self._revoked)
        self._app = Listener(socket.create_server(("127.0.0.1", 0)))
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(control_path)
        self._control = Listener(unix)
        host, port = self._app.sock.getsockname()
        terms = PoolTerms(head_bytes=limits.head_bytes, **{"keepalive": 30.0} | pool)
        self.pool = Pool(Address(host=host, port=port), terms)
        collectors = {name: plane.pop(name) for name in ("collector", "callbacks") if name in plane}
        self._conduct = Conduct(
            gate=self.gate,
            limits=limits,
            proxy_headers=frozenset(name for binder in headers for name in binder.names),
            **{"response_timeout": 30.0} | plane,
        )
        self.plane = Plane(
            conduct=self._conduct,
            app=self.pool,
            control=Pool(Address(path=control_path), PoolTerms(head_bytes=limits.head_bytes, keepalive=30.0)),
            live=self.live,
            stats=self.stats,
            **collectors,
        )
        self._networks = [ipaddress.ip_network(network) for network in trusted]
        self._clients: list[Wire] = []
        self._speaker: asyncio.Server | None = None
        self.faults: list[dict[str, Any]] = []  # what the event loop was told of

    async def open(self, sends: int) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self.faults.append(context))
        self.feed.start()
        self.publisher.start()
        await until(self.feed.loaded.is_set)
        factory = listener(self.plane, lambda address: peer_of(address, self._networks))
        sock = socket.create_server(("127.0.0.1", 0))
        if sends:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sends)  # accepted sockets inherit it
        self._server = await loop.create_server(factory, sock=sock)
        self.address = self._server.sockets[0].getsockname()
        self.plane.start()

    async def aclose(self) -> None:
        self.bindings.go_on.set()
        self._server.close()
        if self._speaker is not None:
            self._speaker.close()
        for client in self._clients:
            client.close()
        for connection in list(self.plane.connections):
            connection.abort()
        self.plane.app.close()
        self.plane.control.close()
        self._app.close()
        self._control.close()
        tasks = [*self.plane._tasks, *self.condemner._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.feed.aclose()
        await self.publisher.aclose()
        await self.directory.aclose()
        await self.store.aclose()
        for fault in self.faults:
            raise AssertionError(fault) from fault.get("exception")

    def reload(self, *, observes: bool = False) -> None:
        """Go over to a new gate on the same state, as a changed configuration does."""
        self.gate = self._build_gate(observes=observes)
        self.plane.use(replace(self._conduct, gate=self.gate))

    def _wall(self) -> float:
        return clock.wall() + self.later

    def _named_sessions(self, headers: Sequence[HeaderBinder]) -> NamedSessions | None:
        if not headers:
            return None
        return NamedSessions(
            headers,
            directory=self.directory,
            digester=self.digester,
            cutoff=self.replica.cutoff,
            is_fresh=lambda: self.freshness.state(clock.boot()) is State.FRESH,
        )

    def _revoked(self, revocation: Revocation) -> None:
        self.gate.revoked(revocation)

    async def _remember(self, _session: BoundSession, cookies: bytes, before: bytes) -> None:
        self.remembered.append((cookies, before))

    # The two ends

    async def client(self, *requests: bytes, receives: int = 0) -> Wire:
        """A new connection from a client, which sends these requests; `receives`: a small receive buffer."""
        sock = socket.socket()
        if receives:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        wire = Wire(sock)
        self._clients.append(wire)
        if requests:
            await wire.send(*requests)
        return wire

    async def app(self) -> Wire:
        """The next connection that the sidecar has opened to the app."""
        return await self._app.accept()

    async def control(self) -> Wire:
        """The next connection to the control application."""
        return await self._control.accept()

    def is_app_untouched(self) -> bool:
        """No connection to the app was opened but those that the test has accepted."""
        return self._app.is_untouched() and len(self.pool._all) <= len(self._app.wires)

    def is_control_untouched(self) -> bool:
        """No connection to the control application was opened but those that the test has accepted."""
        return self._control.is_untouched()

    async def asks(self, request: bytes) -> tuple[Wire, Wire]:
        """A client that asks, and the app's end of the connection on which the request has arrived."""
        client = await self.client(request)
        app = await self.app()
        await app.head()
        return client, app

    async def app_speaks_first(self, said: bytes) -> None:
        """From now on the app says this to whoever connects, and closes."""
        port = self._app.sock.getsockname()[1]
        self._app.sock.close()

        async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            writer.close()

        self._speaker = await asyncio.start_server(speak, "127.0.0.1", port)

    def stop_app(self) -> None:
        """The app listens no more."""
        self._app.sock.close()

    def kernel_takes(self, size: int) -> None:
        """How much the kernel takes at once for the connections to the app that are open now."""
        for connection in self.pool._all:
            sock = connection.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    # Beside it

    async def bind(self, value: str, to: Session | None = None) -> Session:
        """The cookie JSESSIONID=value belongs to a session."""
        to = to or session()
        digest = self.digester.credential(value.encode())
        await self.directory.bind(digest, self.digester.bound(to), binder="token_endpoint")
        return to

    def lose(self, value: str) -> None:
        """Nobody knows any more whose cookie JSESSIONID=value is: the store has evicted it, and so has this process."""
        self.evict(self.digester.credential(value.encode()))

    def evict(self, credential: bytes) -> None:
        """The same for a digest."""
        self.bindings.lost.add(credential)
        self.directory._forget(credential)

    async def logout(self, sid: str | None = "s-1", sub: str | None = None) -> None:
        """The provider ends a session now."""
        now = time.time()
        await self.publisher.publish(
            of_logout(
                self.digester,
                ISSUER,
                CLIENT,
                sid,
                sub,
                cutoff=int(now * 1000),
                expires=expiry(now, MAX_AGE_S),
            )
        )

    # Looking inside

    def is_behind(self) -> bool:
        """A client does not read as fast as the app sends."""
        return any(
            each._client.is_behind if isinstance(each, Tunnel) else each._is_write_paused
            for each in self.plane.connections
        )

    def is_waiting(self) -> bool:
        """A client has to wait with what it sends."""
        return any(
            each._app.is_behind if isinstance(each, Tunnel) else not each._is_reading for each in self.plane.connections
        )

    def buffered(self) -> int:
        """Bytes of the conversation that the sidecar holds."""
        return self.plane._buffered()

    def is_quiet(self) -> bool:
        """Nothing is left of any exchange."""
        return (
            not self.plane.connections
            and not self.stats.in_flight
            and not self.live
            and not self.pool.counts[0]
            and not self.pool._apart
        )


def revoked_cookie(first: str = "GET / HTTP/1.1", *fields: str, value: str = "dead", body: bytes = b"") -> bytes:
    """A request with a session cookie."""
    return ask(first, f"Cookie: JSESSIONID={value}", *fields, body=body)


@contextlib.asynccontextmanager
async def stage(
    *,
    limits: dict[str, Any] | None = None,
    action: str = "reject",
    login_url: str | None = None,
    routes: Iterable[Route] = (),
    path_parameters: Iterable[str] = (),
    carriers: Carriers | None = None,
    tokens: Sequence[TokenCarrier] = (),
    deny_unbound: bool = False,
    vouches: bool | None = None,
    is_https: bool = True,
    voucher_age: float = 3600.0,
    observes: bool = False,
    fail_open: bool = False,
    grace: float = 60.0,
    trusted: Iterable[str] = (),
    pool: dict[str, Any] | None = None,
    sends: int = 0,
    claimants: Iterable[Claimant] = (),
    relayed: Iterable[str] = (CALLBACK,),
    headers: Sequence[HeaderBinder] = (),
    **plane: Any,
) -> AsyncIterator[Stage]:
    """A data plane, open. `vouches`: whether unknown credentials are denied on some path; as `deny_unbound` by default.

    `limits`, `pool` and `plane` name what differs; `sends`: small send buffers to clients."""
    with tempfile.TemporaryDirectory() as folder:
        opened = Stage(
            limits=Limits(**limits or {}),
            action=action,
            login_url=login_url,
            routes=routes,
            path_parameters=path_parameters,
            carriers=carriers,
            tokens=tokens,
            deny_unbound=deny_unbound,
            vouches=deny_unbound if vouches is None else vouches,
            is_https=is_https,
            voucher_age=voucher_age,
            observes=observes,
            fail_open=fail_open,
            grace=grace,
            trusted=trusted,
            pool=pool or {},
            plane=plane,
            control_path=str(Path(folder) / "control"),
            claimants=claimants,
            relayed=relayed,
            headers=headers,
        )
        await opened.open(sends)
        try:
            yield opened
        finally:
            await opened.aclose()
