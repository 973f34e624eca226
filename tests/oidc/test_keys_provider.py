"""Keys over time, against a real HTTP server on loopback: one load in flight, cool-down, rotation, outages."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import RSAKey

from sidecar.core.claims import TokenError
from sidecar.oidc import provider as provider_module
from sidecar.oidc.discovery import read_metadata, ssf_configuration
from sidecar.oidc.fetch import KeysUnavailable, client_session, fetch_json
from sidecar.oidc.provider import COOL_DOWN_S, MAX_RETIRED, STALE_S, ProviderKeys
from sidecar.oidc.source import METADATA_MAX_AGE_S, DiscoverySource, FileSource, Source, UrlSource
from sidecar.oidc.verifier import UnknownKey, Verifier

OLD, NEW = RSAKey.generate_key(2048, {"kid": "old"}), RSAKey.generate_key(2048, {"kid": "new"})


def token(key: RSAKey, issuer: str = "https://idp.example") -> str:
    return jws.serialize_compact({"alg": "RS256", "kid": key.kid}, f'{{"iss":"{issuer}"}}', key)


def jwks(*keys: RSAKey) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


class FakeProvider:
    """A provider whose answers a test may replace; it counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self.metadata: dict[str, Any] = {}
        self.keys: Any = jwks(OLD)
        self.headers: dict[str, str] = {}
        self.answer: Callable[[], Awaitable[web.Response]] | None = None  # instead of the keys

    def count(self, path: str) -> int:
        return self.asked.count(path)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.path)
        if request.path.endswith(("/.well-known/openid-configuration", "/.well-known/ssf-configuration")):
            return web.json_response(self.metadata)
        if request.path != "/jwks":
            return web.Response(status=404)
        return await self.answer() if self.answer else web.json_response(self.keys, headers=self.headers)


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def serving(fake: FakeProvider, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(fake.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    fake = FakeProvider()
    async with serving(fake) as port:
        fake.url = f"http://127.0.0.1:{port}"
        fake.metadata = {"issuer": fake.url, "jwks_uri": f"{fake.url}/jwks", "token_endpoint": f"{fake.url}/token"}
        yield fake


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


def with_url(fake: FakeProvider, session: aiohttp.ClientSession, **settings: Any) -> tuple[ProviderKeys, Verifier]:
    return over(UrlSource(session=session, jwks_uri=f"{fake.url}/jwks"), **settings)


def over(source: Source, **settings: Any) -> tuple[ProviderKeys, Verifier]:
    keys = ProviderKeys(issuer="https://idp.example", source=source, **settings)
    return keys, Verifier(keys=keys, algorithms=["RS256"])


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(keys: ProviderKeys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await keys.aclose()


async def reload(keys: ProviderKeys) -> None:
    """What the background does when the cache is due."""
    await keys._joined_load()


async def test_discovery_finds_the_keys_and_the_endpoints(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    keys, verifier = over(DiscoverySource(session=session, issuer=fake.url))
    assert (await verifier.verify(token(OLD))).header["kid"] == "old"
    assert (await keys.metadata()).endpoint("token_endpoint") == f"{fake.url}/token"
    assert fake.asked == ["/.well-known/openid-configuration", "/jwks"]


async def test_the_metadata_can_be_had_before_anybody_verifies(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    keys, _ = over(DiscoverySource(session=session, issuer=fake.url))
    first, second = await asyncio.gather(keys.metadata(), keys.metadata())
    assert first is second
    assert fake.count("/.well-known/openid-configuration") == 1


@pytest.mark.parametrize(
    ("issuer", "place"),
    [
        ("https://tr.example", "https://tr.example/.well-known/ssf-configuration"),
        ("https://tr.example/", "https://tr.example/.well-known/ssf-configuration"),
        ("https://tr.example:8443/a/b", "https://tr.example:8443/.well-known/ssf-configuration/a/b"),
    ],
)
def test_a_transmitter_has_its_metadata_before_its_path(issuer: str, place: str) -> None:
    """Shared Signals Framework 1.0, Obtaining Transmitter Configuration Information."""
    assert ssf_configuration(issuer) == place


async def test_the_keys_of_a_transmitter_are_where_its_metadata_says(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    _, verifier = over(DiscoverySource(session=session, issuer=fake.url, place=ssf_configuration))
    assert (await verifier.verify(token(OLD))).header["kid"] == "old"
    assert fake.asked == ["/.well-known/ssf-configuration", "/jwks"]


async def test_a_slash_at_the_end_of_the_issuer_is_not_doubled(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    fake.metadata["issuer"] = fake.url + "/"
    keys, _ = over(DiscoverySource(session=session, issuer=fake.url + "/"))
    assert (await keys.metadata()).document["issuer"] == fake.url + "/"
    assert fake.asked == ["/.well-known/openid-configuration", "/jwks"]


async def test_metadata_is_kept_for_a_day_unless_the_keys_cannot_be_fetched(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    clock = Clock()
    keys, _ = over(DiscoverySource(session=session, issuer=fake.url), now=clock)
    discovery = "/.well-known/openid-configuration"
    for _ in range(3):
        await reload(keys)
    assert (fake.count(discovery), fake.count("/jwks")) == (1, 3)

    clock.now += METADATA_MAX_AGE_S
    await reload(keys)
    assert fake.count(discovery) == 2

    fake.metadata["jwks_uri"] = f"{fake.url}/moved"  # and nobody told us
    fake.answer = error_500
    await reload(keys)
    await reload(keys)
    assert fake.asked[-2:] == [discovery, "/moved"]


async def test_a_provider_that_has_just_come_up_is_asked_again_before_a_login_fails(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    issuer, fake.metadata["issuer"] = fake.metadata["issuer"], "not yet"
    keys, _ = over(DiscoverySource(session=session, issuer=fake.url))
    with pytest.raises(KeysUnavailable):
        await keys.metadata()
    fake.metadata["issuer"] = issuer
    assert (await keys.metadata()).endpoint("token_endpoint") == f"{fake.url}/token"


async def test_another_issuer_in_discovery_is_refused_and_both_are_named(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    fake.metadata["issuer"] = "https://other.example"
    keys, verifier = over(DiscoverySource(session=session, issuer=fake.url))
    with pytest.raises(KeysUnavailable, match="issuer in discovery is ") as caught:
        await keys.metadata()
    assert str(caught.value) == f"issuer in discovery is 'https://other.example', you configured {fake.url!r}"
    assert "issuer_mismatch" in (verifier.problem() or "")
    assert fake.count("/jwks") == 0


async def test_the_internal_url_replaces_the_issuer_on_the_way(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    public = "https://sso.example.org/realms/main"
    fake.metadata = {
        "issuer": public,
        "jwks_uri": "https://sso.example.org/jwks",
        "token_endpoint": "https://sso.example.org:443/token?x=1",
        "authorization_endpoint": "https://elsewhere.example/auth",
    }
    keys, verifier = over(DiscoverySource(session=session, issuer=public, internal_url=f"{fake.url}/realms/main"))

    await verifier.verify(token(OLD))

    assert fake.asked == ["/realms/main/.well-known/openid-configuration", "/jwks"]
    metadata = await keys.metadata()
    assert metadata.endpoint("token_endpoint") == f"{fake.url}/token?x=1"
    assert metadata.endpoint("authorization_endpoint") == "https://elsewhere.example/auth"
    assert metadata.document["token_endpoint"] == "https://sso.example.org:443/token?x=1"  # as browsers see it


METADATA = [
    ({"jwks_uri": "http://evil.example/jwks"}, "jwks_uri"),  # plain http off the machine
    ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
    ({"jwks_uri": "https://[broken/jwks"}, "jwks_uri"),
    ({"jwks_uri": "https://idp.example:99999/jwks"}, "jwks_uri"),
    ({"jwks_uri": ["https://idp.example/jwks"]}, "jwks_uri"),
    ({}, "jwks_uri"),
    ({"jwks_uri": "/jwks"}, "jwks_uri"),
]


@pytest.mark.parametrize(("document", "name"), METADATA, ids=repr)
def test_an_endpoint_that_must_not_be_asked_is_none(document: dict[str, Any], name: str) -> None:
    metadata = read_metadata({"issuer": "https://idp.example", **document}, "https://idp.example", None)
    with pytest.raises(KeysUnavailable) as caught:
        metadata.endpoint(name)
    assert caught.value.reason == "endpoint_missing"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/jwks", "http://localhost/jwks", "http://[::1]/jwks"])
def test_plain_http_is_fine_on_loopback(url: str) -> None:
    metadata = read_metadata({"issuer": "https://idp.example", "jwks_uri": url}, "https://idp.example", None)
    assert metadata.endpoint("jwks_uri") == url


@pytest.mark.parametrize("document", [None, [], {}, {"issuer": 5}, "x"], ids=repr)
def test_a_document_that_is_no_metadata_is_refused(document: object) -> None:
    with pytest.raises(KeysUnavailable) as caught:
        read_metadata(document, "https://idp.example", None)
    assert caught.value.reason == "not_metadata"


async def test_with_a_jwks_uri_there_is_no_discovery(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    keys, verifier = with_url(fake, session)
    await verifier.verify(token(OLD))
    assert fake.asked == ["/jwks"]
    with pytest.raises(KeysUnavailable) as caught:
        await keys.metadata()
    assert caught.value.reason == "no_metadata"


async def test_with_a_jwks_file_there_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    _, verifier = over(FileSource(path))
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token(OLD))
    assert caught.value.reason == "keys_unavailable"
    assert "unreadable" in (verifier.problem() or "")

    path.write_bytes(aiohttp.JsonPayload(jwks(OLD))._value)
    assert (await verifier.verify(token(OLD))).header["kid"] == "old"


async def test_a_hundred_tokens_share_one_load(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    _, verifier = with_url(fake, session)
    await asyncio.gather(*(verifier.verify(token(OLD)) for _ in range(100)))
    assert fake.count("/jwks") == 1


async def test_a_rotated_key_is_found_by_one_refetch(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    _, verifier = with_url(fake, session)
    await verifier.verify(token(OLD))
    fake.keys = jwks(OLD, NEW)
    results = await asyncio.gather(*(verifier.verify(token(NEW)) for _ in range(20)))
    assert {result.header["kid"] for result in results} == {"new"}
    assert fake.count("/jwks") == 2


async def test_an_unknown_kid_forces_one_refetch_in_thirty_seconds(  # cases L88 and L89
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    clock = Clock()
    _, verifier = with_url(fake, session, now=clock)
    await verifier.verify(token(OLD))
    for _ in range(5):
        with pytest.raises(UnknownKey):
            await verifier.verify(token(NEW))
    assert fake.count("/jwks") == 2  # the first load does not count

    clock.now += COOL_DOWN_S - 1
    with pytest.raises(UnknownKey):
        await verifier.verify(token(NEW))
    assert fake.count("/jwks") == 2

    clock.now += 1
    fake.keys = jwks(NEW)
    await verifier.verify(token(NEW))
    assert fake.count("/jwks") == 3


async def test_a_bad_signature_under_a_known_kid_fetches_nothing(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    _, verifier = with_url(fake, session)
    await verifier.verify(token(OLD))
    forged = RSAKey.generate_key(2048, {"kid": "old"})
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token(forged))
    assert caught.value.reason == "bad_signature"
    assert fake.count("/jwks") == 1


async def test_a_key_that_left_the_set_verifies_session_tokens_only(  # case L113
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    clock = Clock()
    keys, verifier = with_url(fake, session, now=clock, retain_s=600)
    await verifier.verify(token(OLD))
    fake.keys = jwks(NEW)
    await reload(keys)

    with pytest.raises(UnknownKey):
        verifier.verify_cached(token(OLD))
    clock.now += 600
    assert verifier.verify_cached(token(OLD), retired=True).header["kid"] == "old"
    clock.now += 1
    with pytest.raises(UnknownKey):
        verifier.verify_cached(token(OLD), retired=True)
    assert verifier.verify_cached(token(NEW)).header["kid"] == "new"


async def test_a_key_that_comes_back_is_current_again(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    keys, verifier = with_url(fake, session, retain_s=600)
    for document in (jwks(OLD), jwks(NEW), jwks(OLD)):
        fake.keys = document
        await reload(keys)
    assert verifier.verify_cached(token(OLD)).header["kid"] == "old"
    assert [name[0] for name in keys._retired] == ["new"]


async def test_the_number_of_retired_keys_is_bounded(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    keys, _ = with_url(fake, session, retain_s=600)
    for number in range(MAX_RETIRED + 3):
        fake.keys = {"keys": [{**jwks(OLD)["keys"][0], "kid": f"k{number}"}]}
        await reload(keys)
    assert len(keys._retired) == MAX_RETIRED
    assert next(iter(keys._retired))[0] == "k2"


async def error_500() -> web.Response:
    return web.Response(status=500)


async def html() -> web.Response:
    return web.Response(text="<html>maintenance</html>")


async def no_keys() -> web.Response:
    return web.json_response({"keys": []})


async def only_odd_keys() -> web.Response:
    return web.json_response({"keys": [{"kty": "AKP"}]})


async def twice() -> web.Response:
    return web.Response(text='{"keys":[],"keys":[]}')


async def too_large() -> web.Response:
    return web.Response(body=b'{"keys":["' + b"x" * 600_000 + b'"]}')


async def redirect() -> web.Response:
    return web.Response(status=302, headers={"Location": "/elsewhere"})


BROKEN = [
    (error_500, "http_status"),
    (html, "not_json"),
    (twice, "not_json"),
    (no_keys, "no_usable_keys"),
    (only_odd_keys, "no_usable_keys"),
    (too_large, "too_large"),
    (redirect, "http_status"),
]


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
async def test_a_broken_answer_keeps_the_last_good_set(  # cases L116, L229 and L232
    fake: FakeProvider, session: aiohttp.ClientSession, broken: Any, reason: str
) -> None:
    keys, verifier = with_url(fake, session)
    await verifier.verify(token(OLD))
    fake.answer = broken
    await reload(keys)
    assert verifier.verify_cached(token(OLD)).header["kid"] == "old"
    assert reason in (verifier.problem() or "")
    assert fake.count("/elsewhere") == 0


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
async def test_a_broken_answer_without_a_good_set_verifies_nothing(
    fake: FakeProvider, session: aiohttp.ClientSession, broken: Any, reason: str
) -> None:
    _, verifier = with_url(fake, session)
    fake.answer = broken
    with pytest.raises(TokenError) as caught:
        await verifier.verify(token(OLD), budget_s=0.1)
    assert caught.value.reason == "keys_unavailable"
    assert reason in (verifier.problem() or "")


async def test_stale_keys_work_for_a_day(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    clock = Clock()
    keys, verifier = with_url(fake, session, now=clock, retain_s=STALE_S + 100)
    await verifier.verify(token(OLD))
    fake.answer = error_500
    clock.now += STALE_S
    await reload(keys)
    assert verifier.verify_cached(token(OLD)).header["kid"] == "old"
    clock.now += 1
    with pytest.raises(UnknownKey):
        verifier.verify_cached(token(OLD))
    assert verifier.verify_cached(token(OLD), retired=True).header["kid"] == "old"  # sessions live on
    clock.now += 100
    with pytest.raises(UnknownKey):
        verifier.verify_cached(token(OLD), retired=True)


async def test_an_unknown_kid_is_tried_again_while_the_budget_lasts(  # case L230
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    _, verifier = with_url(fake, session)
    await verifier.verify(token(OLD))
    fake.keys = jwks(NEW)

    async def fails_once() -> web.Response:
        fake.answer = None
        return web.Response(status=503)

    fake.answer = fails_once
    assert (await verifier.verify(token(NEW), budget_s=5)).header["kid"] == "new"
    assert fake.count("/jwks") == 3


async def test_a_provider_that_hangs_costs_no_more_than_the_budget(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    keys, verifier = with_url(fake, session)
    release = asyncio.Event()

    async def hangs() -> web.Response:
        await release.wait()
        return web.json_response(jwks(OLD))

    fake.answer = hangs
    async with asyncio.timeout(2):
        with pytest.raises(TokenError) as caught:
            await verifier.verify(token(OLD), budget_s=0.05)
    assert caught.value.reason == "keys_unavailable"

    release.set()  # the load was not given up: the provider's retry finds the keys
    await until(lambda: keys.is_loaded)
    assert verifier.verify_cached(token(OLD)).header["kid"] == "old"
    assert fake.count("/jwks") == 1


async def test_a_caller_that_goes_away_does_not_cancel_the_load_of_others(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    _, verifier = with_url(fake, session)
    first = asyncio.create_task(verifier.verify(token(OLD), budget_s=5))
    second = asyncio.create_task(verifier.verify(token(OLD), budget_s=5))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).header["kid"] == "old"
    assert fake.count("/jwks") == 1


async def test_a_provider_that_is_down_at_the_start_heals_by_itself(session: aiohttp.ClientSession) -> None:
    fake = FakeProvider()
    async with serving(fake) as port:
        pass  # the port is free again, and nobody listens
    keys, verifier = over(UrlSource(session=session, jwks_uri=f"http://127.0.0.1:{port}/jwks"))
    async with running(keys):
        await until(lambda: "unreachable" in (verifier.problem() or ""))
        with pytest.raises(UnknownKey):
            verifier.verify_cached(token(OLD))
        async with serving(fake, port):
            await until(lambda: verifier.problem() is None)
            assert verifier.verify_cached(token(OLD)).header["kid"] == "old"


async def test_the_background_obeys_max_age(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    keys, verifier = with_url(fake, session)
    fake.headers = {"Cache-Control": "public, max-age=1"}
    async with running(keys):
        await until(lambda: keys.is_loaded)
        fake.keys = jwks(NEW)
        await until(lambda: not keys.candidates("old", "RS256"))
    assert verifier.verify_cached(token(NEW)).header["kid"] == "new"


@pytest.mark.parametrize(
    ("max_age", "lifetime"),
    [(None, 300), (0, 300), (1, 1), (60, 60), (3600, 3600), (3601, 3600), (10**9, 3600)],
)
def test_the_cache_lives_as_long_as_the_provider_says_but_at_most_an_hour(max_age: int | None, lifetime: float) -> None:
    assert provider_module._cache_lifetime(max_age) == lifetime


@pytest.mark.parametrize(
    ("value", "max_age"),
    [
        ("max-age=60", 60),
        ("public, Max-Age=60, must-revalidate", 60),
        ('max-age="60"', 60),
        ("no-cache", 0),
        ("no-store, max-age=60", 0),
        ("max-age=x", None),
        ("max-age=-1", None),
        ("max-age=\u00b2", None),
        ("s-maxage=60", None),
        ("", None),
        ("max-age=" + "9" * 5000, 9_999_999_999),
    ],
)
async def test_the_cache_directive_is_read(value: str, max_age: int | None) -> None:
    from sidecar.oidc.fetch import _max_age

    assert _max_age(value) == max_age


async def test_no_address_in_a_header_is_ever_asked(fake: FakeProvider, session: aiohttp.ClientSession) -> None:
    _, verifier = with_url(fake, session)  # case L95
    for name in ("jku", "x5u"):
        header = {"alg": "RS256", "kid": "attacker", name: f"{fake.url}/attacker"}
        with pytest.raises(UnknownKey):
            await verifier.verify(jws.serialize_compact(header, "{}", NEW))
    assert set(fake.asked) == {"/jwks"}


async def test_keys_that_fit_no_configured_algorithm_are_a_problem(  # case L85
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    keys, verifier = with_url(fake, session)
    await reload(keys)
    assert verifier.problem() is None
    assert "algorithms" in (Verifier(keys=keys, algorithms=["ES256"]).problem() or "")


async def test_tokens_that_come_while_the_provider_is_down_do_not_flood_it(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    fake.answer = error_500
    keys, verifier = with_url(fake, session)
    async with running(keys):
        for _ in range(20):
            results = await asyncio.gather(
                *(verifier.verify(token(OLD), budget_s=0.02) for _ in range(10)), return_exceptions=True
            )
            assert {type(result) for result in results} == {UnknownKey}
    assert fake.count("/jwks") <= 6  # 200 tokens in less than a second


async def test_two_issuers_never_share_a_key(fake: FakeProvider, session: aiohttp.ClientSession) -> None:  # case L115
    other = FakeProvider()
    other.keys = jwks(NEW)
    async with serving(other) as port:
        other.url = f"http://127.0.0.1:{port}"
        _, first = with_url(fake, session)
        _, second = with_url(other, session)
        await first.verify(token(OLD))
        await second.verify(token(NEW))
        with pytest.raises(UnknownKey):
            await first.verify(token(NEW))
        with pytest.raises(UnknownKey):
            await second.verify(token(OLD), retired=True)


async def test_a_provider_that_signs_with_the_secret_may_publish_no_keys(
    fake: FakeProvider, session: aiohttp.ClientSession
) -> None:
    fake.keys = {"keys": []}
    keys, _ = with_url(fake, session, may_be_empty=True)
    await reload(keys)
    assert keys.is_loaded
    assert keys.problem() is None


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file: a CA that nobody knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    today = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, today, today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + cert.public_bytes(Encoding.PEM))
    return path


async def test_only_the_configured_authority_makes_a_certificate_good(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    fake, path = FakeProvider(), certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    async with serving(fake, tls=tls) as port:
        url = f"https://127.0.0.1:{port}/jwks"
        with pytest.raises(KeysUnavailable) as caught:
            await fetch_json(session, url, None)
        assert caught.value.reason == "unreachable"
        assert fake.asked == []
        _, verifier = over(UrlSource(session=session, jwks_uri=url, tls=ssl.create_default_context(cafile=path)))
        assert (await verifier.verify(token(OLD))).header["kid"] == "old"


async def test_proxies_and_cookies_of_the_environment_are_ignored(
    fake: FakeProvider, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    fake.headers = {"Set-Cookie": "a=b"}
    await fetch_json(session, f"{fake.url}/jwks".replace("127.0.0.1", "localhost"), None)  # jars spare addresses
    assert not session.trust_env
    assert len(session.cookie_jar) == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:0/", "http:///x", "nonsense", "http://[::1", "http://\u2488/"])
async def test_a_url_that_leads_nowhere_is_an_error_of_ours(session: aiohttp.ClientSession, url: str) -> None:
    with pytest.raises(KeysUnavailable):
        await fetch_json(session, url, None)


async def test_the_providers_clock_is_heard_with_its_keys(tmp_path: Path) -> None:
    fake = FakeProvider()
    fake.headers = {"Date": "Mon, 29 Dec 2025 09:20:00 GMT"}
    async with serving(fake) as port, client_session() as http:
        url = f"http://127.0.0.1:{port}/jwks"
        keys = ProviderKeys(issuer="x", source=UrlSource(session=http, jwks_uri=url))
        await keys.renew(1.0)
        assert 0 <= keys.provider_now() - 1_767_000_000 < 5


async def test_a_defect_while_loading_ends_no_load_to_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(provider_module, "RETRY_MIN_S", 0.01)

    class Defective(Source):
        metadata = None
        strikes = 2

        async def load(self, now: float) -> Any:
            self.strikes -= 1
            if self.strikes >= 0:
                raise ZeroDivisionError
            raise KeysUnavailable("unreachable", "as every other fault")

    source = Defective()
    keys, _ = over(source)
    running = asyncio.create_task(keys.run())
    async with asyncio.timeout(5):
        while source.strikes >= 0:
            await asyncio.sleep(0.005)
        while "unreachable" not in (keys.problem() or ""):
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.wait({running})

    assert [record.message for record in caplog.records].count("keys_fault") == 2
