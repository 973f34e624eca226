"""The other endpoints that take logouts, over a real Unix socket: transport, answers, bounds, the store, the log."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from bench_control import DIGESTER, GONE, Given, Log, serving, signed, verifier_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from sidecar import clock, metrics
from sidecar.control import frontchannel
from sidecar.control.admin_action import AdminActions, Realm
from sidecar.control.events import SecurityEvents, Transmitter
from sidecar.control.frontchannel import FramingProvider, FrontChannel
from sidecar.control.intake import Intake
from sidecar.control.rate import Allowance, Rate, client_of
from sidecar.control.signatures import Signatures
from sidecar.control.token_revocation import Revoker, TokenRevocations
from sidecar.core.admin_action import AdminPolicy
from sidecar.core.identity import Kind
from sidecar.core.logout_token import EVENT as LOGOUT_EVENT
from sidecar.core.security_event import EVENTS, EventPolicy
from sidecar.core.subject import Reach
from sidecar.core.token_revocation import CallerPolicy
from sidecar.stores.interface import StoreError

KEY, OTHER, SIGNALS = (RSAKey.generate_key(2048, {"kid": kid}) for kid in ("k1", "k2", "k3"))
IDP, ELSE, SENDER = "https://idp.example", "https://else.example", "https://signals.example"
AUDIENCE, ENDPOINT = "https://app.example/events", "https://app.example/_sidecar/global-token-revocation"
SECRET = "a bearer secret of some length"
USER = {"format": "iss_sub", "iss": IDP, "sub": "jane@example.org"}
SET_TYPE = {"Content-Type": "application/secevent+jwt"}
JSON_TYPE = {"Content-Type": "application/json"}


def event(key: RSAKey = SIGNALS, header: Mapping[str, Any] = {}, **changes: Any) -> str:
    now = int(clock.wall())
    claims = {"iss": SENDER, "aud": AUDIENCE, "iat": now, "jti": str(uuid.uuid4()), "sub_id": USER}
    claims |= {"events": {EVENTS["session-revoked"]: {"event_timestamp": now - 5}}, **changes}
    return signed(key, {"typ": "secevent+jwt", **header}, claims)


def admin(key: RSAKey = KEY, action: str = "LOGOUT", **changes: Any) -> str:
    now = int(clock.wall())
    claims = {"id": str(uuid.uuid4()), "expiration": now + 30, "resource": "wiki", "action": action, "notBefore": now}
    return signed(key, {"typ": "JWT"}, {**claims, **changes})


def caller(key: RSAKey = SIGNALS, **changes: Any) -> str:
    now = int(clock.wall())
    claims = {"iss": SENDER, "sub": "0oa1", "aud": ENDPOINT, "jti": str(uuid.uuid4()), "iat": now, "exp": now + 300}
    return signed(key, {"typ": "global-token-revocation+jwt"}, {**claims, **changes})


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """Why it was refused, in whichever form the endpoint says so."""
        if "X-Logout-Sidecar" in self.headers:
            return str(self.headers["X-Logout-Sidecar"])
        said = self.json.get("description") or self.json["error_description"]
        return str(said).partition(":")[0]


@dataclass
class Bench:
    session: aiohttp.ClientSession
    log: Log
    sources: dict[str, Given]
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, path: str, body: bytes | str = b"", *, method: str = "POST", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://sidecar/_sidecar/{path}"
        async with self.session.request(method, url, data=body, headers=named, allow_redirects=False) as response:
            return Answer(response.status, response.headers, await response.read())

    async def frame(self, headers: Mapping[str, str] = {}, **query: str) -> Answer:
        return await self.send(f"frontchannel-logout?{urlencode(query)}", method="GET", **headers)

    async def push(self, token: str) -> Answer:
        return await self.send("events", token, **SET_TYPE)

    async def revoke(self, credential: str, subject: Any = USER, **members: Any) -> Answer:
        body = json.dumps({"sub_id": subject, **members})
        return await self.send(REVOCATION, body, Authorization=f"Bearer {credential}", **JSON_TYPE)

    def kinds(self) -> list[Kind]:
        return [revocation.kind for revocation in self.log.applied]

    def digests(self) -> set[bytes]:
        return {revocation.digest for revocation in self.log.applied}


REVOCATION = "global-token-revocation"


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Bench]:
    sources = {IDP: Given(KEY), ELSE: Given(OTHER), SENDER: Given(SIGNALS)}
    verifiers = {issuer: await verifier_of(issuer, source) for issuer, source in sources.items()}
    signatures, durable, lines = Signatures(), Log(), list[dict[str, Any]]()
    intake = Intake(publish=durable.publish, digester=DIGESTER, session_max_age=3600)
    reach = Reach(SENDER, {IDP: ("wiki", "shop")})
    clients = frozenset({"wiki", "shop"})
    realms = [Realm(AdminPolicy(issuer, clients), verifiers[issuer]) for issuer in (ELSE, IDP)]
    transmitter = EventPolicy(SENDER, frozenset({AUDIENCE}), reach, tuple(EVENTS))
    by_secret = CallerPolicy("https://desk.example", frozenset(), Reach("https://desk.example", reach.parties))
    dialects = {
        "frontchannel-logout": FrontChannel(
            providers={
                IDP: FramingProvider(IDP, ("wiki", "shop"), ("https://login.idp.example",), allow_missing_iss=True),
                ELSE: FramingProvider(ELSE, ("wiki",)),
            },
            cookies=[b"JSESSIONID", b"__Host-id"],
            trusted=[],
            session_max_age=3600,
        ),
        "events": SecurityEvents(
            transmitters={SENDER: Transmitter(transmitter, verifiers[SENDER])}, signatures=signatures
        ),
        "k_logout": AdminActions(endpoint="k_logout", action="LOGOUT", realms=realms, signatures=signatures),
        "k_push_not_before": AdminActions(
            endpoint="k_push_not_before", action="PUSH_NOT_BEFORE", realms=realms, signatures=signatures
        ),
        REVOCATION: TokenRevocations(
            revokers=[
                Revoker(CallerPolicy(SENDER, frozenset({ENDPOINT}), reach), verifiers[SENDER]),
                Revoker(by_secret, None, SECRET.encode()),
            ],
            signatures=signatures,
        ),
    }
    endpoints = {name: intake.handler(dialect) for name, dialect in dialects.items()}
    async with (
        serving(folder, endpoints, lines) as path,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
    ):
        try:
            yield Bench(session, durable, sources, lines)
        finally:
            durable.open.set()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with started(tmp_path) as bench:
        yield bench


# What a valid message of each endpoint is, and what it answers. Each row: endpoint, how to send it, status.
VALID: list[tuple[str, Callable[[Bench], Any], int]] = [
    ("frontchannel", lambda bench: bench.frame(iss=IDP, sid="s-1"), 200),
    ("events", lambda bench: bench.push(event()), 202),
    ("k_logout", lambda bench: bench.send("k_logout", admin(), Content_Type="text/plain"), 200),
    ("k_push_not_before", lambda bench: bench.send("k_push_not_before", admin(action="PUSH_NOT_BEFORE")), 200),
    ("global_token_revocation", lambda bench: bench.revoke(caller()), 204),
    ("global_token_revocation", lambda bench: bench.revoke(SECRET), 204),
]
each_endpoint = pytest.mark.parametrize(("endpoint", "send", "status"), VALID, ids=range(len(VALID)))


@each_endpoint
async def test_a_valid_message_is_durable_before_it_is_answered(
    bench: Bench, endpoint: str, send: Callable[[Bench], Any], status: int
) -> None:
    before = metrics.logout_messages.labels(endpoint, "accepted", "ok")._value.get()
    answer = await send(bench)
    assert answer.status == status, answer
    assert answer.headers["Cache-Control"] == "no-store"
    assert bench.log.finished == 1
    assert bench.log.applied
    assert metrics.logout_messages.labels(endpoint, "accepted", "ok")._value.get() == before + 1
    (line,) = [line for line in bench.lines if line["event"] == "logout_message"]
    assert (line["endpoint"], line["result"], line["reason"]) == (endpoint, "accepted", "ok")
    everything = json.dumps(bench.lines)
    for secret in ("jane", "s-1", "eyJ", SECRET):
        assert secret not in everything


@each_endpoint
async def test_without_the_store_it_is_no_success_but_enforced_here(
    bench: Bench, endpoint: str, send: Callable[[Bench], Any], status: int
) -> None:
    bench.log.error = StoreError("store_unavailable", "10.0.0.7:6379: connection refused")
    answer = await send(bench)
    assert answer.status in (422, 503), answer
    assert answer.reason == "store_unavailable"
    assert b"10.0.0.7" not in answer.body
    assert bench.log.applied
    bench.log.error = None
    assert (await send(bench)).status == status


@each_endpoint
async def test_a_store_that_hangs_is_answered_for_within_a_second(
    bench: Bench, endpoint: str, send: Callable[[Bench], Any], status: int
) -> None:
    bench.log.open.clear()
    before = clock.boot()
    answer = await send(bench)
    assert clock.boot() - before < 1.0
    assert (answer.status in (422, 503), answer.reason) == (True, "store_timeout")


@each_endpoint
async def test_a_fault_of_ours_is_no_500(
    bench: Bench, endpoint: str, send: Callable[[Bench], Any], status: int
) -> None:
    bench.log.error = RuntimeError("a bug")
    answer = await send(bench)
    assert (answer.status, answer.reason) == (400, "internal_error")
    assert b"bug" not in answer.body
    assert any("a bug" in line.get("exception", "") for line in bench.lines)


POSTED = ["events", "k_logout", "k_push_not_before", REVOCATION]


@pytest.mark.parametrize("path", ["frontchannel-logout", *POSTED])
async def test_every_other_method_is_405(bench: Bench, path: str) -> None:
    allowed = "POST" if path in POSTED else "GET"
    for method in {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "POST"} - {allowed}:
        answer = await bench.send(f"{path}?iss={IDP}&sid=s-1", method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert bench.log.applied == []


@pytest.mark.parametrize("path", [*POSTED, "backchannel-logout"])
async def test_what_is_not_configured_does_not_exist(bench: Bench, path: str) -> None:
    assert (await bench.send(path + "/")).status == 404
    if path == "backchannel-logout":
        assert (await bench.send(path)).status == 404


TOO_LARGE = b"x" * (64 * 1024 + 1)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("events", SET_TYPE),
        ("k_logout", {"Content-Type": "text/plain"}),
        ("k_push_not_before", {"Content-Type": "application/jwt"}),
        (REVOCATION, {**JSON_TYPE, "Authorization": f"Bearer {SECRET}"}),
    ],
)
async def test_bodies_are_bounded_and_of_one_kind(bench: Bench, path: str, headers: dict[str, str]) -> None:
    assert (await bench.send(path, TOO_LARGE, **headers)).reason == "too_large"
    assert (await bench.send(path, b"x", **{**headers, "Content-Encoding": "gzip"})).reason == "content_encoding"
    other = {**headers, "Content-Type": "multipart/form-data; boundary=x"}
    assert (await bench.send(path, b"x", **other)).reason == "wrong_media_type"
    assert (await bench.send(path, b"\xff\x00", **headers)).reason == "malformed"
    assert (await bench.send(path, b"", **headers)).reason == "malformed"
    assert bench.log.applied == []


# -- the front channel


async def test_the_answer_is_a_page_that_only_the_provider_may_frame(bench: Bench) -> None:
    answer = await bench.frame(iss=IDP, sid="s-1")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = "default-src 'none'; frame-ancestors https://else.example https://idp.example https://login.idp.example"
    assert answer.headers["Content-Security-Policy"] == policy
    assert "X-Frame-Options" not in answer.headers
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in answer.headers
    assert bench.digests() == {DIGESTER.sid(IDP, client, "s-1") for client in ("wiki", "shop")}
    assert set(bench.kinds()) == {Kind.SID}
    assert (await bench.frame(iss=IDP)).headers["Content-Security-Policy"] == policy


async def test_logins_are_over_up_to_the_latest_time_that_it_may_be_at_the_provider(bench: Bench) -> None:
    before = clock.wall()
    await bench.frame(iss=IDP, sid="s-1")
    assert bench.log.applied[0].cutoff == pytest.approx((before + 60) * 1000, abs=2000)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "no_sub_or_sid"),
        ("iss=https://idp.example", "no_sub_or_sid"),
        ("iss=https://idp.example&sid=", "no_sub_or_sid"),
        ("iss=https://idp.example/&sid=s-1", "wrong_issuer"),
        ("iss=https://nobody.example&sid=s-1", "wrong_issuer"),
        ("iss=https://idp.example&sid=s-1&sid=s-2", "duplicate_parameter"),
        ("iss=https://idp.example&iss=https://else.example&sid=s-1", "duplicate_parameter"),
        ("iss=https://idp.example&sid=%ff", "malformed"),
        ("iss=https://idp.example&sid=" + "x" * 1025, "bad_claim"),
        ("iss=https://idp.example&sid=" + "x" * 5000, "too_large"),
        ("&".join(["a=b"] * 40), "malformed"),
    ],
)
async def test_a_frame_without_a_name_logs_nobody_out(bench: Bench, query: str, reason: str) -> None:
    answer = await bench.send(f"frontchannel-logout?{query}", method="GET")
    assert (answer.status, answer.reason) == (400, reason)
    assert bench.log.applied == []


async def test_without_iss_the_one_provider_is_meant_that_allows_it(bench: Bench) -> None:
    assert (await bench.frame(sid="s-1")).status == 200
    assert bench.digests() == {DIGESTER.sid(IDP, client, "s-1") for client in ("wiki", "shop")}
    # An empty iss is the same as none, RFC 6749 section 3.1.
    assert (await bench.frame(iss="", sid="s-2")).status == 200


async def test_a_plus_that_was_not_encoded_is_read_both_ways(bench: Bench) -> None:
    assert (await bench.send(f"frontchannel-logout?iss={IDP}&sid=a+b%2Bc=", method="GET")).status == 200
    wanted = {DIGESTER.sid(IDP, "wiki", sid) for sid in ("a b+c=", "a+b+c=")}
    assert wanted <= bench.digests()


@pytest.mark.parametrize(("site", "count"), [("same-site", 2), ("same-origin", 2), ("cross-site", 0), ("none", 0)])
async def test_cookies_are_taken_out_only_where_the_frame_is_of_our_own_site(
    bench: Bench, site: str, count: int
) -> None:
    answer = await bench.frame({"Sec-Fetch-Site": site}, iss=IDP, sid="s-1")
    cookies = answer.headers.getall("Set-Cookie", [])
    assert len(cookies) == count
    assert all("Max-Age=0" in cookie for cookie in cookies)


async def test_a_flood_of_made_up_sessions_is_refused_and_others_are_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [await bench.frame({"X-Forwarded-For": "192.0.2.1"}, iss=IDP, sid=f"s-{n}") for n in range(40)]
    statuses = [answer.status for answer in answers]
    assert statuses[:20] == [200] * 20
    assert 429 in statuses
    assert answers[-1].reason == "too_many"
    assert (await bench.frame({"X-Forwarded-For": "192.0.2.2"}, iss=IDP, sid="s-x")).status == 200


def test_allowances_are_for_each_and_for_all() -> None:
    allowance = Allowance(each=Rate(2, 1), total=Rate(3, 0.5))
    assert [allowance.takes("a", 0.0) for _ in range(3)] == [True, True, False]
    assert [allowance.takes("b", 0.0) for _ in range(2)] == [True, False]  # all together have had three
    assert allowance.takes("a", 2.0)  # two seconds later there is one again for all
    assert not allowance.takes("b", 2.0)
    assert allowance.takes("b", 4.0)


def test_the_memory_of_peers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.control.rate.MAX_PEERS", 10)
    allowance = Allowance(each=Rate(1, 0), total=Rate(1e6, 0))
    assert all(allowance.takes(str(number), 0.0) for number in range(100))
    assert len(allowance._peers) == 10


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], ""),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (["203.0.113.9, 192.0.2.1, 10.0.0.1, 10.0.0.2"], "192.0.2.1"),  # the first is what the client wrote
        (["203.0.113.9", "192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (["10.0.0.3, 10.0.0.1"], "10.0.0.3"),
        (["2001:db8:1:2:3::4, 10.0.0.1"], "2001:db8:1:2::/64"),
        (["unknown, 10.0.0.1"], ""),
        (["192.0.2.1:5678"], ""),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(lines: list[str], client: str) -> None:
    import ipaddress

    assert client_of(lines, [ipaddress.ip_network("10.0.0.0/8")]) == client


@pytest.mark.parametrize("clients", [("wiki",), ("wiki", "shop", "blog")])
def test_what_strangers_can_add_to_the_log_is_bounded(clients: tuple[str, ...]) -> None:
    kept = 12 * 3600
    channel = FrontChannel(providers={IDP: FramingProvider(IDP, clients)}, cookies=[], trusted=[], session_max_age=kept)
    total = channel._allowance._total
    entries = (total.burst + total.per_second * kept) * len(clients)
    assert entries == pytest.approx(frontchannel.BURST + frontchannel.MAX_LIVE)


# -- security events


EVENT_ERRORS: list[tuple[str, Callable[[], str], str, str]] = [
    ("stranger", lambda: event(iss="https://nobody.example"), "invalid_issuer", "wrong_issuer"),
    ("audience", lambda: event(aud="https://else.example"), "invalid_audience", "wrong_audience"),
    ("unknown key", lambda: event(OTHER), "invalid_key", "unknown_kid"),
    ("alg", lambda: event(header={"alg": "none"}), "invalid_key", "alg_not_allowed"),
    ("forged", lambda: event(RSAKey.generate_key(2048, {"kid": "k3"})), "authentication_failed", "bad_signature"),
    ("typ", lambda: event(header={"typ": "JWT"}), "invalid_request", "wrong_type"),
    ("no iat", lambda: event(iat=GONE), "invalid_request", "iat_missing"),
    ("subject", lambda: event(sub_id={"format": "did", "url": "x"}), "invalid_request", "subject_unusable"),
    (
        "a logout token",
        lambda: event(header={"typ": "logout+jwt"}, events={LOGOUT_EVENT: {}}),
        "invalid_request",
        "wrong_type",
    ),
    ("no token", lambda: "x", "invalid_request", "malformed"),
    ("encrypted", lambda: "a.b.c.d.e", "invalid_key", "encrypted"),
]


@pytest.mark.parametrize(
    ("make", "error", "reason"), [row[1:] for row in EVENT_ERRORS], ids=[row[0] for row in EVENT_ERRORS]
)
async def test_a_bad_event_gets_the_error_of_rfc_8935(
    bench: Bench, make: Callable[[], str], error: str, reason: str
) -> None:
    answer = await bench.push(make())
    assert (answer.status, answer.json["err"], answer.reason) == (400, error, reason)
    assert (answer.headers["Content-Type"], answer.headers["Content-Language"]) == ("application/json", "en")
    assert set(answer.json) == {"err", "description"}
    assert bench.log.applied == []
    assert b"jane" not in answer.body


async def test_an_event_ends_the_sessions_at_every_client_that_we_receive_for(bench: Bench) -> None:
    answer = await bench.push(event())
    assert (answer.status, answer.body) == (202, b"")
    assert bench.digests() == {DIGESTER.sub(IDP, client, "jane@example.org") for client in ("wiki", "shop")}


async def test_a_verification_is_acknowledged_and_changes_nothing(bench: Bench) -> None:
    verification = {"https://schemas.openid.net/secevent/ssf/event-type/verification": {"state": "abc"}}
    assert (await bench.push(event(sub_id={"format": "opaque", "id": "stream"}, events=verification))).status == 202
    assert bench.log.applied == []
    assert bench.lines[-1]["reason"] == "verification"


async def test_a_rotated_key_is_fetched_on_the_way(bench: Bench) -> None:
    bench.sources[SENDER].keys = (SIGNALS, OTHER)
    assert (await bench.push(event(OTHER))).status == 202


# -- Keycloak


async def test_the_key_tells_the_realm(bench: Bench) -> None:
    for key, issuer in ((KEY, IDP), (OTHER, ELSE)):
        bench.log.applied.clear()
        assert (await bench.send("k_logout", admin(key))).status == 200
        assert bench.digests() == {DIGESTER.everybody(issuer, "wiki")}


async def test_a_new_key_of_any_realm_is_fetched(bench: Bench) -> None:
    bench.sources[IDP].keys = (KEY, SIGNALS)
    assert (await bench.send("k_logout", admin(SIGNALS))).status == 200
    assert bench.digests() == {DIGESTER.everybody(IDP, "wiki")}


async def test_realms_whose_keys_hang_are_answered_for_within_a_second(bench: Bench) -> None:
    for source in bench.sources.values():
        source.open.clear()
    before = clock.boot()
    answer = await bench.send("k_logout", admin(SIGNALS))
    assert clock.boot() - before < 1.0
    assert (answer.status, answer.reason) == (400, "unknown_kid")
    for source in bench.sources.values():
        source.open.set()


async def test_sessions_of_a_user_end_alone(bench: Bench) -> None:
    token = admin(notBefore=0, keycloakSessionIds=["s-1", "s-2"], adapterSessionIds=["x"], resource="shop")
    assert (await bench.send("k_logout", token)).status == 200
    assert bench.digests() == {DIGESTER.sid(IDP, "shop", sid) for sid in ("s-1", "s-2")}
    assert bench.lines[-1]["logouts"] == 2


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: admin(RSAKey.generate_key(2048, {"kid": "k1"})), "bad_signature"),
        (lambda: admin(SIGNALS), "unknown_kid"),
        (lambda: admin(resource="blog"), "wrong_audience"),
        (lambda: admin(action="PUSH_NOT_BEFORE"), "wrong_action"),
        (lambda: admin(iss=IDP), "wrong_type"),
        (lambda: event(KEY, header={"typ": "JWT"}, iss=IDP), "wrong_type"),
        (lambda: admin(expiration=1), "expired"),
    ],
    ids=range(7),
)
async def test_a_bad_admin_message_changes_nothing(bench: Bench, make: Callable[[], str], reason: str) -> None:
    answer = await bench.send("k_logout", make())
    assert (answer.status, answer.reason) == (400, reason)
    assert bench.log.applied == []


# -- Global Token Revocation


async def test_all_sessions_of_the_user_end(bench: Bench) -> None:
    answer = await bench.revoke(caller())
    assert (answer.status, answer.body) == (204, b"")
    assert bench.digests() == {DIGESTER.sub(IDP, client, "jane@example.org") for client in ("wiki", "shop")}


async def test_logins_are_over_up_to_the_request_and_not_to_the_making_of_its_jwt(bench: Bench) -> None:
    before = clock.wall()
    assert (await bench.revoke(caller(iat=int(before) - 200))).status == 204
    assert before * 1000 <= bench.log.applied[0].cutoff <= (before + 5) * 1000
    bench.log.applied.clear()
    assert (await bench.revoke(SECRET)).status == 204  # no time at all: as late as it may be there
    assert bench.log.applied[0].cutoff == pytest.approx((before + 60) * 1000, abs=5000)


UNKNOWN_CALLERS: list[tuple[str, Callable[[], str], str]] = [
    ("another secret", lambda: SECRET + "x", "malformed"),
    ("forged", lambda: caller(RSAKey.generate_key(2048, {"kid": "k3"})), "bad_signature"),
    ("of the provider, for which nobody spoke", lambda: caller(KEY, iss=IDP), "wrong_issuer"),
    ("for another endpoint", lambda: caller(aud="https://else.example"), "wrong_audience"),
    ("expired", lambda: caller(exp=1), "expired"),
    ("an event", event, "wrong_type"),
    ("not ASCII", lambda: "\xe9", "malformed"),
]


@pytest.mark.parametrize(
    ("make", "reason"), [row[1:] for row in UNKNOWN_CALLERS], ids=[row[0] for row in UNKNOWN_CALLERS]
)
async def test_a_caller_that_is_not_known_is_401(bench: Bench, make: Callable[[], str], reason: str) -> None:
    answer = await bench.revoke(make())
    assert (answer.status, answer.reason) == (401, reason)
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert bench.log.applied == []


async def test_a_caller_without_a_credential_is_401_before_its_body_is_read(bench: Bench) -> None:
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer  "}):
        answer = await bench.send(REVOCATION, TOO_LARGE, **JSON_TYPE, **headers)
        assert (answer.status, answer.reason) == (401, "credential_missing")


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ({"format": "email", "email": "jane@example.org"}, "subject_unusable"),
        ({**USER, "iss": "https://nobody.example"}, "subject_foreign"),
        ({}, "subject_unusable"),
        ("jane", "subject_missing"),
    ],
)
async def test_a_user_that_cannot_be_found_by_this_name_is_400(bench: Bench, subject: Any, reason: str) -> None:
    answer = await bench.revoke(SECRET, subject)
    assert (answer.status, answer.reason) == (400, reason)


async def test_a_body_that_names_nobody_uses_no_jwt_up(bench: Bench) -> None:
    credential = caller()
    assert (await bench.revoke(credential, {})).status == 400
    assert (await bench.revoke(credential)).status == 204


async def test_a_jwt_is_good_for_the_body_that_it_came_with(bench: Bench) -> None:
    credential = caller()
    assert (await bench.revoke(credential)).status == 204
    first = bench.log.applied[0].cutoff
    while clock.wall() * 1000 < first + 1:  # another millisecond
        await asyncio.sleep(0)
    assert (await bench.revoke(credential)).status == 204  # the caller's retry, which means what it meant before
    assert {revocation.cutoff for revocation in bench.log.applied} == {first}
    bench.log.applied.clear()
    answer = await bench.revoke(credential, {**USER, "sub": "somebody else"})
    assert (answer.status, answer.reason) == (401, "replayed_jti")
    assert bench.log.applied == []


# -- anything at all


JUNK = st.binary(max_size=200) | st.text(max_size=80).map(str.encode)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(JUNK, min_size=2, max_size=5), query=st.text(max_size=60))
def test_any_bytes_are_answered_with_a_clear_4xx(
    bodies: list[bytes], query: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def conversation() -> None:
        async with started(tmp_path_factory.mktemp("fuzz")) as bench:
            for body in bodies:
                answers = [await bench.send("events", body, **SET_TYPE)]
                answers += [await bench.send(path, body) for path in ("k_logout", "k_push_not_before")]
                headers = {**JSON_TYPE, "Authorization": f"Bearer {SECRET}"}
                answers.append(await bench.send(REVOCATION, body, **headers))
                assert [answer.status for answer in answers] == [400] * 4
            framed = await bench.send("frontchannel-logout?" + urlencode({"sid": query, "iss": query}), method="GET")
            assert framed.status in (200, 400)  # 200 only without iss, which one provider allows
            assert not any("exception" in line for line in bench.lines)

    asyncio.run(conversation())
