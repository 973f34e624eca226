"""Who gets in, and how: certificates, passwords that rotate, rights; and what a server that misbehaves can hold up."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis_places import ADMIN, PASSWORD, USER, Authority, password, rights, taken

from sidecar import clock
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import StoreError, StoreUnusable
from sidecar.stores.open import open_store

SESSION = BoundSession(b"o" * 16, b"s" * 16, 1, 1)
BOUNDS = {"open": 1.2, "append": 1.2, "follow": 2.5, "get_binding": 0.5, "put_binding": 0.5}  # as documented
MARGIN = 0.3


async def reason_of(work: Any) -> str:
    with pytest.raises(StoreError) as caught:
        await work
    for secret in (PASSWORD, ADMIN, "geheim"):
        assert secret not in str(caught.value) + repr(caught.value)
    return caught.value.reason


@pytest.fixture
async def new_store() -> AsyncIterator[Callable[..., Any]]:
    stores = []

    def new(url: str, **options: Any) -> Any:
        stores.append(open_store(url, **options))
        return stores[-1]

    yield new
    for store in stores:
        await store.aclose()


# TLS


@pytest.fixture
def tls(places: Any) -> Any:
    """A server that speaks TLS and wants a certificate: (url, its authority)."""
    authority, port = places.authority(), places.free_port()
    places.guarded(**authority.server_settings(port))
    return f"rediss://127.0.0.1:{port}", authority


def shown_by(authority: Authority) -> dict[str, str]:
    return {"client_certificate": authority.client_certificate, "client_key": authority.client_key}


async def test_a_certificate_of_another_authority_ends_the_start_with_one_clear_line(tls, places, new_store):
    url, authority = tls
    store = new_store(url, ca_file=places.authority().ca_file, **shown_by(authority))

    with pytest.raises(StoreUnusable) as caught:
        await store.open()

    assert caught.value.reason == "store_tls_failed"
    assert "certificate does not verify" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_certificate_for_another_host_is_not_accepted(places, new_store):
    authority, port = places.authority(), places.free_port()
    elsewhere, its_key = authority.issue("elsewhere", host="127.0.0.9")
    places.guarded(**authority.server_settings(port) | {"tls-cert-file": elsewhere, "tls-key-file": its_key})
    store = new_store(f"rediss://127.0.0.1:{port}", ca_file=authority.ca_file, **shown_by(authority))

    assert await reason_of(store.open()) == "store_tls_failed"


async def test_without_its_own_certificate_a_client_does_not_get_in(tls, new_store):
    url, authority = tls

    assert await reason_of(new_store(url, ca_file=authority.ca_file).open()) == "store_unavailable"


@pytest.mark.parametrize("fault", ["missing", "no certificate", "a folder"])
def test_a_ca_file_that_cannot_be_used_is_named_before_anything_is_connected(tmp_path: Path, fault: str):
    file = tmp_path / "ca.pem"
    if fault == "no certificate":
        file.write_text("geheim")
    if fault == "a folder":
        file.mkdir()

    with pytest.raises(StoreUnusable) as caught:
        open_store("rediss://127.0.0.1:1", ca_file=str(file))

    assert caught.value.reason == "store_tls_invalid"
    assert str(file) in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_key_of_another_certificate_is_named(places):
    authority, other = places.authority(), places.authority()
    files = {"client_certificate": authority.client_certificate, "client_key": other.client_key}

    with pytest.raises(StoreUnusable) as caught:
        open_store("rediss://127.0.0.1:1", ca_file=authority.ca_file, **files)

    assert authority.client_certificate in str(caught.value)


async def test_certificates_that_are_replaced_are_used_by_the_next_connection(places, new_store):
    old, new = places.authority(), places.authority()
    port = places.free_port()
    server = places.guarded(**old.server_settings(port))
    options = {"username": USER, "password": password, "ca_file": old.ca_file, **shown_by(old)}
    store = new_store(f"rediss://127.0.0.1:{port}", **options)
    await taken(store.open)

    for setting, value in new.server_settings(port).items():
        if setting.endswith("-file"):
            server.settings[setting] = value
    for name in ("ca.pem", "client.pem", "client.key"):
        (old.folder / name).write_bytes((new.folder / name).read_bytes())
    server.settings |= {"requirepass": ADMIN, "user": f"{USER} on >{PASSWORD} {' '.join(rights('The smallest ACL'))}"}
    await asyncio.to_thread(_restart, server)

    await store.put_binding(b"c" * 16, SESSION, 60)
    assert await store.get_binding(b"c" * 16) == SESSION


def _restart(server: Any) -> None:
    user = server.settings.pop("user")
    server.restart()
    server.command("ACL", "SETUSER", *user.split())


# Passwords and rights


async def test_a_password_that_rotates_needs_no_restart(places, new_store, tmp_path):
    server = places.guarded()
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    store = new_store(server.url, username=USER, password=file.read_bytes)
    await taken(store.open)
    await store.put_binding(b"c" * 16, SESSION, 60)

    server.command("ACL", "SETUSER", USER, "resetpass", ">the-next")
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await reason_of(_until_refused(store)) == "store_auth"
    file.write_text("the-next")

    assert await store.get_binding(b"c" * 16) == SESSION


async def _until_refused(store: Any) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                await store.get_binding(b"c" * 16)
            except StoreError as error:
                if error.reason != "store_unavailable":  # the old connection, just closed
                    raise
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["redis-tls", "redis-unix", "redis-sentinel", "redis-cluster"])
async def test_a_wrong_password_is_named_as_such(place_of, new_store, kind):
    place = place_of(kind)
    url = place.url.replace(PASSWORD, "geheim")
    options = place.options | ({} if "geheim" in url else {"password": lambda: b"geheim"})

    assert await reason_of(new_store(url, **options).open()) == "store_auth"


async def test_a_wrong_password_for_the_sentinels_is_named_as_such(place_of, new_store):
    place = place_of("redis-sentinel")
    store = new_store(place.url, **place.options | {"sentinel_password": lambda: b"geheim"})

    assert await reason_of(store.open()) == "store_auth"


async def test_every_right_of_the_documented_acl_is_needed_and_used(places, new_store):
    server = places.guarded()
    store = new_store(server.url, username=USER, password=password)
    server.command("CONFIG", "RESETSTAT")
    await taken(store.open)
    await store.secret()
    await store.append([Revocation(Kind.SID, bytes([n]) * 16, 1, 1 if n else 2**31) for n in (1, 0)])
    server.command("HSET", "{lg:rv}:replicas", "long dead", "0 1 0 0-0 -")
    assert len([page async for page in store.snapshot()]) == 1
    await store.follow()
    await store.follow()
    await store.prune()
    await store.put_binding(b"c" * 16, SESSION, 60)
    await store.get_binding(b"c" * 16)
    await store.delete_sealed(b"n" * 16)

    assert server.command("HKEYS", "{lg:rv}:replicas") == [store._presence.name]
    used = {name.removeprefix("cmdstat_") for name in server.command("INFO", "commandstats")}
    assert used - {"auth", "config|resetstat", "hkeys"} == {
        word[1:] for word in rights("The smallest ACL") if word[0] == "+"
    }


@pytest.mark.parametrize("kind", ["redis", "redis-tls", "redis-unix", "redis-sentinel", "redis-cluster"])
async def test_no_secret_shows_in_a_repr_an_error_or_a_log(place_of, new_store, caplog, kind):
    place = place_of(kind)
    caplog.set_level("DEBUG")
    store = new_store(place.url, **place.options)
    await taken(store.open)
    secret = await store.secret()
    await store.put_binding(b"c" * 16, SESSION, 60)

    shown = [repr(store), repr(store._clients), *(repr(vars(each)) for each in (store, store._reader, store._bindings))]
    shown += [str(vars(record)) for record in caplog.records]
    text = "\n".join(shown)
    assert PASSWORD not in text
    assert repr(PASSWORD.encode()) not in text
    assert secret.hex() not in text


async def test_a_replica_is_asked_for_nothing(places, new_store):
    master, replica = places.guarded(), places.guarded(masterauth=ADMIN)
    replica.command("REPLICAOF", "127.0.0.1", master.port)
    store = new_store(replica.url, username=USER, password=password)

    assert await reason_of(store.get_binding(b"c" * 16)) == "store_not_master"
    assert await reason_of(store.open()) == "store_not_master"


# Persistence


@pytest.mark.parametrize(("settings", "warned"), [({}, True), ({"appendonly": "yes"}, False), ({"save": "1 1"}, False)])
async def test_a_server_that_keeps_nothing_on_disk_is_warned_of(places, new_store, caplog, settings, warned):
    server = places.guarded(**settings)
    if "save" in settings:
        server.command("SAVE")
        server.command("BGSAVE")
        await _until(lambda: server.command("INFO", "persistence")["rdb_last_bgsave_time_sec"] >= 0)
    store = new_store(server.url, username=USER, password=password)
    await taken(store.open)
    await taken(store.open)

    assert [record.getMessage() for record in caplog.records] == ["store_may_forget"] * warned


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


# Servers that misbehave


class Tunnel:
    """A TCP proxy that forwards nothing any more, or no answers, or resets what is open, or goes away itself."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._to_server: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> "Tunnel":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def blackhole(self) -> None:
        self._open.clear()

    def swallow_answers(self) -> None:
        self._deaf |= self._writers - self._to_server

    def reset(self) -> None:
        self.disconnect()
        self._server.close()

    def disconnect(self) -> None:
        for writer in self._writers:
            if not writer.is_closing():
                linger = struct.pack("ii", 1, 0)  # RST instead of FIN
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    async def close(self) -> None:
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, there_writer}
        self._to_server.add(there_writer)
        for source, target in ((reader, there_writer), (there_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, target)))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await source.read(65536):
                await self._open.wait()
                if target not in self._deaf:
                    target.write(content)
                    await target.drain()
        target.close()


@pytest.fixture
async def tunnel(places: Any) -> AsyncIterator[Any]:
    server = places.guarded()
    tunnel = await Tunnel(server.port).start()
    tunnel.server = server
    yield tunnel
    with contextlib.suppress(ProcessLookupError):
        server.resume()
    await tunnel.close()


@pytest.mark.parametrize("fault", ["hung", "blackhole", "reset"])
async def test_every_call_fails_within_its_bound_and_the_reader_notices_within_one_and_a_half_seconds(
    tunnel, new_store, fault
):
    store = new_store(tunnel.url, username=USER, password=password)
    await taken(store.open)
    async for _ in store.snapshot():
        pass
    await store.follow()
    await store.put_binding(b"c" * 16, SESSION, 60)
    {"hung": tunnel.server.suspend, "blackhole": tunnel.blackhole, "reset": tunnel.reset}[fault]()

    async def timed(name: str, work: Any) -> tuple[str, float]:
        began = clock.boot()
        assert await reason_of(work) in {"store_timeout", "store_unavailable", "store_reconnected"}
        return name, clock.boot() - began

    results = await asyncio.gather(
        timed("follow", store.follow()),
        timed("append", store.append([Revocation(Kind.SID, b"d" * 16, 1, 2**31)])),
        timed("open", store.open()),
        *(timed("get_binding", store.get_binding(b"c" * 16)) for _ in range(12)),
        timed("put_binding", store.put_binding(b"c" * 16, SESSION, 60)),
    )
    for name, seconds in results:
        assert seconds < BOUNDS[name] + MARGIN, name
    assert dict(results)["follow"] < 1.5


async def test_an_append_whose_answer_was_lost_is_not_sent_again_by_itself(tunnel, new_store):
    store = new_store(tunnel.url, username=USER, password=password)
    await taken(store.open)
    await store.append([Revocation(Kind.SID, b"1" * 16, 1, 2**31)])
    tunnel.swallow_answers()
    appending = asyncio.create_task(store.append([Revocation(Kind.SID, b"2" * 16, 1, 2**31)]))
    await _until(lambda: tunnel.server.command("XLEN", "{lg:rv}:log") == 2)
    tunnel.disconnect()

    assert await reason_of(appending) == "store_unavailable"
    assert tunnel.server.command("XLEN", "{lg:rv}:log") == 2
    await store.append([Revocation(Kind.SID, b"3" * 16, 1, 2**31)])  # the next one is on a new connection


@pytest.mark.parametrize("kind", ["redis-sentinel", "redis-cluster", "redis-tls"])
async def test_cancelled_calls_never_mix_up_answers_in_any_topology(place_of, new_store, kind):
    place = place_of(kind)
    store = new_store(place.url, **place.options)
    sessions = {bytes((n,)) * 16: BoundSession(bytes((n,)) * 16, None, n, n) for n in range(12)}
    for credential, session in sessions.items():
        await store.put_binding(credential, session, 60)
    for round_ in range(12):
        calls = {credential: asyncio.create_task(store.get_binding(credential)) for credential in sessions}
        for _ in range(round_):
            await asyncio.sleep(0)
        if round_ % 4 == 0:
            store._bindings.leave()
        for credential in list(calls)[::3]:
            calls[credential].cancel()
        await asyncio.wait(calls.values())
        for credential, call in calls.items():
            assert call.cancelled() or call.result() == sessions[credential]
