"""The logout endpoint over a real Unix socket: transport, results, the store, the log."""

import asyncio
import base64
import contextlib
import gzip
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from bench_control import DIGESTER, GONE, Given, Log, serving, signed, verifier_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from sidecar import clock, metrics
from sidecar.control import body as bodies_of
from sidecar.control import intake, seen, signatures
from sidecar.control.intake import Intake, SparseLines
from sidecar.control.logout import LogoutProvider, LogoutTokens
from sidecar.control.seen import Seen
from sidecar.control.signatures import Signatures
from sidecar.core.identity import Kind
from sidecar.core.logout_token import EVENT, LogoutPolicy
from sidecar.core.revocation import SLACK_S
from sidecar.stores.interface import StoreError

KEY, OTHER = RSAKey.generate_key(2048, {"kid": "k1"}), RSAKey.generate_key(2048, {"kid": "k2"})
ISSUER, OTHER_ISSUER = "https://idp.example", "https://other.example"
PATH = "/_sidecar/backchannel-logout"
FORM = "application/x-www-form-urlencoded"


def token(key: RSAKey = KEY, header: Mapping[str, Any] = {}, **changes: Any) -> str:
    now = int(clock.wall())
    claims = {
        "iss": ISSUER,
        "aud": "wiki",
        "iat": now,
        "exp": now + 120,
        "jti": str(uuid.uuid4()),
        "sub": "jane@example.org",
        "sid": "session-1",
        "events": {EVENT: {}},
        **changes,
    }
    return signed(key, header, claims)


@dataclass
class Bench:
    """The endpoint behind its socket, and all that it touches."""

    socket: str
    session: aiohttp.ClientSession
    log: Log
    source: Given
    other_source: Given
    providers: dict[str, LogoutProvider]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def switch(self, **switches: Any) -> None:
        """Other switches for the first provider."""
        old = self.providers[ISSUER]
        status = switches.pop("unavailable_status", 400)
        self.providers[ISSUER] = LogoutProvider(policy(ISSUER, **switches), old.verifier, status)

    async def post(self, *tokens: str, query: str = "", **fields: str) -> "Answer":
        body = urlencode([*(("logout_token", value) for value in tokens), *fields.items()])
        return await self.send(body.encode(), query=query)

    async def send(
        self, body: bytes = b"", *, method: str = "POST", path: str = PATH, query: str = "", **headers: str
    ) -> "Answer":
        named = {"Content-Type": FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.request(
            method, f"http://sidecar{path}{query}", data=body, headers=named, allow_redirects=False
        ) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def raw(self, data: bytes) -> bytes:
        """What comes back for exactly these bytes, until the other side closes."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            writer.write(data)
            return await asyncio.wait_for(_all_of(reader), 5)
        finally:
            writer.close()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    with contextlib.suppress(ConnectionError):  # the other side threw away the rest of what we sent
        while chunk := await reader.read(65536):
            answer += chunk
    return bytes(answer)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        return str(json.loads(self.body)["error_description"]).partition(":")[0]


def policy(issuer: str, **switches: Any) -> LogoutPolicy:
    return LogoutPolicy(issuer=issuer, client_ids=frozenset({"wiki"}), **switches)


async def provider(issuer: str, source: Given) -> LogoutProvider:
    return LogoutProvider(policy(issuer), await verifier_of(issuer, source))


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Bench]:
    source, other_source, durable = Given(KEY), Given(OTHER), Log()
    providers = {ISSUER: await provider(ISSUER, source), OTHER_ISSUER: await provider(OTHER_ISSUER, other_source)}
    taking = Intake(publish=durable.publish, digester=DIGESTER, session_max_age=3600)
    endpoint = taking.handler(LogoutTokens(providers=providers, signatures=Signatures()))
    lines: list[dict[str, Any]] = []
    async with (
        serving(folder, {"backchannel-logout": endpoint}, lines) as path,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), auto_decompress=False) as session,
    ):
        try:
            yield Bench(path, session, durable, source, other_source, providers, lines)
        finally:
            durable.open.set()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with started(tmp_path) as bench:
        yield bench


def sid(value: str, issuer: str = ISSUER) -> bytes:
    return DIGESTER.sid(issuer, "wiki", value)


def is_accepted(answer: Answer) -> bool:
    return answer.status == 200 and answer.body == b"" and answer.headers["Cache-Control"] == "no-store"


def is_refused(answer: Answer) -> bool:
    return (
        answer.status == 400
        and answer.headers["Content-Type"] == "application/json"
        and answer.headers["Cache-Control"] == "no-store"
        and json.loads(answer.body)["error"] == "invalid_request"
    )


async def test_a_valid_logout_is_answered_with_an_empty_200_and_published(bench: Bench) -> None:  # cases L1 and L2
    before = clock.wall()
    answer = await bench.post(token())

    assert is_accepted(answer), answer
    assert answer.headers["Content-Length"] == "0"
    assert [revocation.kind for revocation in bench.log.applied] == [Kind.SID, Kind.SUB_WITHOUT_SID]
    first = bench.log.applied[0]
    assert first.digest == sid("session-1")
    assert first.cutoff == pytest.approx(before * 1000, abs=2000)
    assert first.expires == pytest.approx(before + 3600 + SLACK_S, abs=2)
    assert bench.log.finished == 1


async def test_nothing_in_an_answer_tells_what_we_are_made_of(bench: Bench) -> None:
    for answer in (await bench.post(token()), await bench.post("x"), await bench.send(path="/_sidecar/none")):
        assert answer.headers["Server"] == "logout-sidecar"
        assert "Set-Cookie" not in answer.headers
    assert b"ython" not in await bench.raw(b"\x00\x01\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_every_method_but_post_is_405(bench: Bench, method: str) -> None:  # cases L4 and L5
    answer = await bench.send(method=method, query=f"?logout_token={token()}")
    assert (answer.status, answer.headers["Allow"], answer.headers["Cache-Control"]) == (405, "POST", "no-store")
    assert bench.log.applied == []


async def test_a_token_in_the_query_is_never_read(bench: Bench) -> None:  # cases L8 and L10
    answer = await bench.post(query=f"?logout_token={token(sid='in-query')}")
    assert is_refused(answer)
    assert answer.reason == "missing_token"
    assert is_accepted(await bench.post(token(sid="in-body"), query=f"?logout_token={token(sid='in-query')}"))
    assert sid("in-query") not in {revocation.digest for revocation in bench.log.applied}
    assert sid("in-body") in {revocation.digest for revocation in bench.log.applied}


CONTENT_TYPES = [
    (FORM, True),
    (FORM + "; charset=UTF-8", True),  # case L11
    (FORM + ';charset="utf-8"', True),
    (FORM + "; charset=ISO-8859-1", True),
    (FORM.upper(), True),
    (FORM + "; charset=klingon", False),  # case L17
    (FORM + "; charset=utf-16", False),
    (FORM + "; charset=", False),
    ("text/plain", False),  # case L16
    ("application/jwt", False),
    ("application/json", False),
    ("multipart/form-data; boundary=x", False),  # trap A1
    (FORM + "x", False),
    ("", False),  # case L13
    (";;;", False),
]


@pytest.mark.parametrize(("content_type", "accepted"), CONTENT_TYPES)
async def test_only_the_form_media_type_is_read(bench: Bench, content_type: str, accepted: bool) -> None:
    answer = await bench.send(f"logout_token={token()}".encode(), Content_Type=content_type)
    assert is_accepted(answer) if accepted else is_refused(answer), answer


async def test_a_body_without_a_content_type_is_refused(bench: Bench) -> None:  # case L13
    body = f"logout_token={token()}".encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    assert (await bench.raw(head.encode() + body)).startswith(b"HTTP/1.1 400 ")


async def test_two_content_types_are_ambiguous(bench: Bench) -> None:
    body = f"logout_token={token()}"
    types = f"Content-Type: {FORM}\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{types}Content-Length: {len(body)}\r\n\r\n"
    assert b" 400 Bad Request\r\n" in await bench.raw((head + body).encode())
    assert bench.log.applied == []


BODIES = [
    ("L19 empty", lambda token: b"", "missing_token"),
    ("L20 token empty", lambda token: b"logout_token=", "missing_token"),
    ("L20 name only", lambda token: b"logout_token", "missing_token"),
    ("L16 the bare token", lambda token: token.encode(), "missing_token"),
    ("L22 twice the same", lambda token: f"logout_token={token}&logout_token={token}".encode(), "duplicate_parameter"),
    ("L22 once empty", lambda token: f"logout_token=&logout_token={token}".encode(), "duplicate_parameter"),
    ("name in another case", lambda token: f"Logout_Token={token}".encode(), "missing_token"),
    ("L188 a command token", lambda token: f"command_token={token}".encode(), "missing_token"),
    ("WSO2 before 2018", lambda token: f"logoutToken={token}".encode(), "missing_token"),
    ("L26 plus", lambda token: f"logout_token={token}+".encode(), "malformed"),
    ("L26 space", lambda token: f"logout_token=%20{token}".encode(), "malformed"),
    ("L26 newline", lambda token: f"logout_token={token}%0A".encode(), "malformed"),
    ("L26 raw newline", lambda token: f"logout_token={token}\r\n".encode(), "malformed"),
    ("NUL", lambda token: f"logout_token={token}%00".encode(), "malformed"),
    ("not ASCII", lambda token: b"logout_token=\xff\xfe", "malformed"),
    ("broken escape", lambda token: f"logout_token=%{token}".encode(), "malformed"),
    ("semicolons do not separate", lambda token: f"a=b;logout_token={token}".encode(), "missing_token"),
    ("too many fields", lambda token: b"a=b&" * 1001 + f"logout_token={token}".encode(), "too_large"),
    ("L29 a byte too large", lambda token: f"logout_token={token}&a=".encode().ljust(64 * 1024 + 1, b"x"), "too_large"),
]


@pytest.mark.parametrize(("body", "reason"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
async def test_a_body_without_exactly_one_token_is_refused(
    bench: Bench, body: Callable[[str], bytes], reason: str
) -> None:
    answer = await bench.send(body(token()))
    assert is_refused(answer), answer
    assert answer.reason == reason
    assert bench.log.applied == []


GOOD_BODIES = [
    ("L23 fields that we do not know", lambda token: f"ignored_parameter=1&logout_token={token}&state=%FF&client_id=x"),
    ("L23 fields of raw bytes", lambda token: f"a=\u00ff&logout_token={token}"),
    ("L25 percent-encoded", lambda token: "logout_token=" + "".join(f"%{ord(char):02X}" for char in token)),
    ("L25 encoded full stops", lambda token: "logout_token=" + quote(token, safe="").replace(".", "%2e")),
    ("L29 exactly 64 KiB", lambda token: f"logout_token={token}&a=".ljust(64 * 1024, "x")),
]


@pytest.mark.parametrize("body", [row[1] for row in GOOD_BODIES], ids=[row[0] for row in GOOD_BODIES])
async def test_a_form_may_hold_more_and_be_encoded(bench: Bench, body: Callable[[str], str]) -> None:
    assert is_accepted(await bench.send(body(token()).encode("latin-1")))


async def test_a_chunked_body_is_read_and_its_size_bounded(bench: Bench) -> None:
    async def stream(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    url, headers = f"http://sidecar{PATH}", {"Content-Type": FORM}
    body = f"logout_token={token()}".encode()
    async with bench.session.post(url, data=stream(body), headers=headers) as response:
        assert response.status == 200
    async with bench.session.post(url, data=stream(body + b"&a=" + b"x" * 66_000), headers=headers) as response:
        assert response.status == 400


async def test_a_body_that_announces_too_much_is_refused_before_it_is_sent(bench: Bench) -> None:  # case L29
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 65537\r\n\r\n"
    answer = await bench.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"too_large" in answer


@pytest.mark.parametrize(("rest", "reason"), [(b"ZZ\r\n", "body_timeout"), (b"", "body_broken")], ids=["bad", "gone"])
async def test_a_body_that_breaks_off_is_400_without_a_traceback(
    bench: Bench, rest: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rest:  # aiohttp tells nobody of a bad chunk, so only the time limit ends the wait
        monkeypatch.setattr(bodies_of, "BODY_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_unix_connection(bench.socket)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(f"{head}5\r\nlogou\r\n".encode())
    assert is_accepted(await bench.post(token()))  # by now the first request is being read
    writer.write(rest)
    try:
        assert not rest or (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 400 ")
    finally:
        writer.close()
    async with asyncio.timeout(5):
        while not any(line.get("reason") == reason for line in bench.lines):
            await asyncio.sleep(0.01)
    assert not any("exception" in line for line in bench.lines)


@pytest.mark.parametrize("encoding", ["gzip", "br", "x"])
async def test_a_compressed_body_is_refused_unopened(bench: Bench, encoding: str) -> None:  # case L31
    body = gzip.compress(f"logout_token={token()}&a={'x' * 10_000_000}".encode())
    answer = await bench.send(body, Content_Encoding=encoding)
    assert is_refused(answer)
    assert answer.reason == "content_encoding"


async def test_a_body_that_stalls_ends_in_400_while_others_are_served(  # case L32
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies_of, "BODY_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_unix_connection(bench.socket)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 100\r\n\r\nlogout"
    writer.write(head.encode())
    assert is_accepted(await bench.post(token()))
    answer = await asyncio.wait_for(reader.read(), 5)  # to the end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"body_timeout" in answer
    assert b"Connection: close\r\n" in answer  # told, so that the data plane's pool drops it in time
    writer.close()


def test_the_body_has_ten_seconds() -> None:
    from sidecar.control import server

    assert bodies_of.BODY_TIMEOUT_S + server.LINGER_S == 10


async def test_cookies_and_authorization_are_ignored(bench: Bench) -> None:  # case L34
    answer = await bench.send(f"logout_token={token()}".encode(), Cookie="a=b; JSESSIONID='x", Authorization="Basic x")
    assert is_accepted(answer)
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        PATH + "/",
        "/" + PATH,
        "/_sidecar//backchannel-logout",
        "/_sidecar/%62ackchannel-logout",
        "/_sidecar/./backchannel-logout",
        "/_sidecar/backchannel-logout;a",
        "/_SIDECAR/backchannel-logout",
        "/_sidecar",
        "/",
    ],
)
async def test_a_look_alike_of_the_path_is_404_and_no_logout(bench: Bench, path: str) -> None:  # case L37
    body = f"logout_token={token()}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {FORM}\r\n"
    answer = await bench.raw(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"no-store" in answer
    assert bench.log.applied == []


@pytest.mark.parametrize(
    ("version", "header"),
    [("1.1", "Connection: close\r\nExpect: 100-continue"), ("1.0", "X: y"), ("1.1", "Connection: close")],
)
async def test_old_and_careful_clients_are_served(bench: Bench, version: str, header: str) -> None:  # case L38
    body = f"logout_token={token()}"
    head = f"POST {PATH} HTTP/{version}\r\nHost: x\r\n{header}\r\nContent-Type: {FORM}\r\n"
    answer = await bench.raw(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    assert b" 200 OK\r\n" in answer
    assert len(bench.log.applied) == 2


MALFORMED_HTTP = [
    b"GARBAGE\r\n\r\n",
    b"POST * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"BREW " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
    b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    b"POST "
    + PATH.encode()
    + b" HTTP/1.1\r\nHost: x\r\nContent-Type: "
    + FORM.encode()
    + b"\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
]


@pytest.mark.parametrize("data", MALFORMED_HTTP, ids=range(len(MALFORMED_HTTP)))
async def test_malformed_http_is_400_without_a_traceback(bench: Bench, data: bytes) -> None:
    answer = await bench.raw(data)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer
    assert not any("exception" in line for line in bench.lines)
    assert bench.log.applied == []


REJECTED = [
    ("L67 signed by another key", lambda: token(RSAKey.generate_key(2048, {"kid": "k1"})), "bad_signature"),
    ("L89 unknown key", lambda: token(OTHER), "unknown_kid"),
    ("L115 another issuer's key", lambda: token(KEY, iss=OTHER_ISSUER), "unknown_kid"),
    ("L118 unknown issuer", lambda: token(iss=ISSUER + "/"), "wrong_issuer"),
    ("L118 no issuer", lambda: token(iss=GONE), "wrong_issuer"),
    ("L118 issuer a list", lambda: token(iss=[ISSUER]), "wrong_issuer"),
    ("L73 none", lambda: token(header={"alg": "none"}), "alg_not_allowed"),
    ("L46 encrypted", lambda: "a.b.c.d.e", "encrypted"),
    ("L43 no token", lambda: "invalid", "malformed"),
    ("L142 expired", lambda: token(exp=1), "expired"),
    ("L137 no exp", lambda: token(exp=GONE), "exp_missing"),
    ("L164 nonce", lambda: token(nonce="n"), "nonce_present"),
    ("L155 no event", lambda: token(events=GONE), "events_missing"),
    ("L166 nobody", lambda: token(sid=GONE, sub=GONE), "no_sub_or_sid"),
    ("L122 other client", lambda: token(aud="shop"), "wrong_audience"),
    ("A6 half a surrogate pair", lambda: token(sid="\ud800"), "malformed"),
]


@pytest.mark.parametrize(("make", "reason"), [row[1:] for row in REJECTED], ids=[row[0] for row in REJECTED])
async def test_an_invalid_token_changes_nothing_and_says_why(
    bench: Bench, make: Callable[[], str], reason: str
) -> None:
    before = metrics.logout_tokens.labels("rejected", reason)._value.get()
    answer = await bench.post(make())
    assert is_refused(answer), answer
    assert answer.reason == reason
    assert b"jane" not in answer.body
    assert b"session-1" not in answer.body
    assert bench.log.applied == []
    assert metrics.logout_tokens.labels("rejected", reason)._value.get() == before + 1


async def test_each_issuer_logs_out_its_own_sessions_only(bench: Bench) -> None:  # case L205
    assert is_accepted(await bench.post(token(OTHER, iss=OTHER_ISSUER)))
    digests = {revocation.digest for revocation in bench.log.applied}
    assert sid("session-1", OTHER_ISSUER) in digests
    assert sid("session-1", ISSUER) not in digests


async def test_a_session_that_nobody_knows_and_a_repeated_token_are_successes(  # cases L151, L199 and L200
    bench: Bench,
) -> None:
    value = token()
    assert [is_accepted(await bench.post(value)) for _ in range(3)] == [True] * 3


async def test_a_rotated_key_is_fetched_on_the_way(bench: Bench) -> None:  # case L88
    bench.source.keys = (KEY, OTHER)
    assert is_accepted(await bench.post(token(OTHER)))
    assert bench.source.loads == 2


async def test_an_invalid_token_is_invalid_even_when_the_store_is_down(bench: Bench) -> None:  # case L226
    bench.log.error = StoreError("store_unavailable", "down")
    answer = await bench.post(token(nonce="n"))
    assert is_refused(answer)
    assert bench.log.applied == []


@pytest.mark.parametrize("status", [400, 503])
async def test_without_the_store_it_is_no_success_but_enforced_here(bench: Bench, status: int) -> None:
    bench.switch(unavailable_status=status)
    bench.log.error = StoreError("store_unavailable", "10.0.0.7:6379: connection refused")
    answer = await bench.post(token())
    assert (answer.status, answer.headers["Cache-Control"]) == (status, "no-store")
    assert json.loads(answer.body)["error"] == "server_error"
    assert answer.reason == "store_unavailable"
    assert b"10.0.0.7" not in answer.body  # where the store is does not concern the provider
    assert sid("session-1") in {revocation.digest for revocation in bench.log.applied}

    bench.log.error = None
    assert is_accepted(await bench.post(token()))  # a retry is safe (case L227)


async def test_a_store_that_hangs_is_answered_for_within_a_second_and_not_interrupted(bench: Bench) -> None:  # case L40
    bench.log.open.clear()
    before = clock.boot()
    answer = await bench.post(token())
    assert clock.boot() - before < 1.0
    assert (answer.status, answer.reason) == (400, "store_timeout")
    assert sid("session-1") in {revocation.digest for revocation in bench.log.applied}

    bench.log.open.set()
    async with asyncio.timeout(5):
        while not bench.log.finished:
            await asyncio.sleep(0.01)


async def test_a_defect_that_shows_after_the_answer_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.log.open.clear()
    bench.log.error = ZeroDivisionError()
    assert (await bench.post(token())).reason == "store_timeout"

    bench.log.open.set()
    async with asyncio.timeout(5):
        while "logout_fault" not in caplog.text:
            await asyncio.sleep(0.01)


async def test_keys_and_store_that_both_hang_are_answered_for_within_a_second(bench: Bench) -> None:
    bench.source.keys = (KEY, OTHER)
    bench.source.open.clear()
    bench.log.open.clear()
    before = clock.boot()
    slow = asyncio.create_task(bench.post(token(OTHER)))
    async with asyncio.timeout(5):
        while bench.source.loads < 2:
            await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.3, bench.source.open.set)
    assert (await slow).reason == "store_timeout"
    assert clock.boot() - before < 1.0


async def test_tokens_that_wait_for_a_key_do_not_hold_up_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signatures, "MAX_WAITING", 2)
    bench.source.open.clear()
    stuck = [asyncio.create_task(bench.post(token(OTHER))) for _ in range(2)]
    async with asyncio.timeout(5):
        while bench.source.loads < 2:
            await asyncio.sleep(0.01)
    assert is_accepted(await bench.post(token()))
    before = clock.boot()
    assert (await bench.post(token(OTHER))).reason == "unknown_kid"  # refused at once
    assert clock.boot() - before < 0.4
    assert [answer.reason for answer in await asyncio.gather(*stuck)] == ["unknown_kid"] * 2
    bench.source.open.set()


async def test_only_so_many_bodies_are_read_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_READING", 0)
    assert (await bench.post(token())).reason == "busy"


async def test_a_replay_is_refused_only_where_asked_and_only_after_success(bench: Bench) -> None:  # case L151
    bench.switch(jti_replay="reject")
    value = token(jti="j1")
    bench.log.error = StoreError("store_unavailable")
    assert (await bench.post(value)).reason == "store_unavailable"
    bench.log.error = None
    assert is_accepted(await bench.post(value))  # the provider's retry
    assert (await bench.post(value)).reason == "replayed_jti"
    assert is_accepted(await bench.post(token(jti="j1", sid="session-2")))  # case L152: another logout
    assert is_accepted(await bench.post(token(jti="j2")))


def test_the_memory_of_tokens_ends_with_them_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Seen()
    memory.add(b"a", b"what", 100.0, 50.0)
    assert memory.get(b"a", 99.0) == b"what"
    assert memory.get(b"a", 100.0) is None
    memory.add(b"b", b"", 200.0, 100.0)
    assert len(memory._known) == 1
    memory.add(b"far", b"", 10**12, 100.0)
    assert memory.get(b"far", 100.0 + seen.REMEMBER_S) is None

    monkeypatch.setattr(seen, "MAX_REMEMBERED", 2)
    for name in (b"c", b"d", b"e"):
        memory.add(name, b"", 1e6, 300.0)
    assert [memory.get(name, 300.0) for name in (b"c", b"d", b"e")] == [None, b"", b""]


async def test_one_line_is_logged_for_each_token_and_names_nobody(bench: Bench) -> None:
    await bench.post(token(jti="secret-jti"))
    await bench.post(token(jti="secret-jti", nonce="n"))
    bench.log.error = StoreError("store_unavailable", "down")
    await bench.post(token(jti="secret-jti", sub=GONE, sid="s'\n"))
    await bench.post("x")
    lines = [line for line in bench.lines if line["event"] == "logout_token"]

    assert [(line["result"], line["reason"], line.get("provider")) for line in lines] == [
        ("accepted", "ok", ISSUER),
        ("rejected", "nonce_present", ISSUER),
        ("failed", "store_unavailable", ISSUER),
        ("rejected", "malformed", None),
    ]
    assert [line.get("scope") for line in lines] == ["both", None, "sid", None]
    assert lines[0]["sid"] == sid("session-1").hex()[:12]
    assert lines[0]["sub"] == DIGESTER.sub(ISSUER, "wiki", "jane@example.org").hex()[:12]
    assert len(lines[0]["jti"]) == 12
    assert all(line["duration_ms"] >= 0 for line in lines)
    everything = json.dumps(bench.lines)
    for secret in ("jane", "session-1", "secret-jti", "eyJ"):
        assert secret not in everything


async def test_oddities_are_noted_in_the_log(bench: Bench) -> None:  # case L172
    assert is_accepted(await bench.post(token(sid=None)))
    line = bench.lines[-1]
    assert (line["result"], line["reason"], line["notes"]) == ("accepted", "sid_empty", "sid_empty")
    assert [revocation.kind for revocation in bench.log.applied] == [Kind.SUB]


async def test_a_fault_of_ours_is_400_for_the_provider_and_in_the_log(bench: Bench) -> None:
    bench.log.error = RuntimeError("a bug")
    answer = await bench.post(token())
    assert (answer.status, answer.reason) == (400, "internal_error")
    assert b"bug" not in answer.body
    assert any("a bug" in line.get("exception", "") for line in bench.lines)


async def test_a_client_that_goes_away_does_not_undo_its_logout(bench: Bench) -> None:
    bench.log.open.clear()
    body = f"logout_token={token()}"
    reader, writer = await asyncio.open_unix_connection(bench.socket)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode())
    async with asyncio.timeout(5):
        while not bench.log.applied:
            await asyncio.sleep(0.01)
    writer.close()
    bench.log.open.set()
    async with asyncio.timeout(5):
        while not bench.log.finished:
            await asyncio.sleep(0.01)
    assert reader is not None


SEGMENT = st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="))
TOKENISH = st.lists(SEGMENT, min_size=1, max_size=5).map(".".join)
BODY = st.binary(max_size=300) | TOKENISH.map(lambda value: f"logout_token={value}".encode())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(BODY, min_size=5, max_size=15))
def test_any_bytes_are_answered_with_200_or_400(bodies: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    async def conversation() -> None:
        async with started(tmp_path_factory.mktemp("fuzz")) as bench:
            for body in bodies:
                assert is_refused(await bench.send(body))
            assert bench.log.applied == []
            assert not any("exception" in line for line in bench.lines)

    asyncio.run(conversation())


# -- lines that strangers cause ------------------------------------------------------------------------------------


async def test_a_flood_of_bad_logouts_writes_one_line_and_counts_all(bench: Bench) -> None:
    before = metrics.logout_tokens.labels("rejected", "missing_token")._value.get()
    for _ in range(20):
        assert (await bench.post()).reason == "missing_token"
    assert (await bench.post("x")).status == 400
    assert (await bench.post(token())).status == 200
    assert metrics.logout_tokens.labels("rejected", "missing_token")._value.get() == before + 20
    reasons = [line["reason"] for line in bench.lines if line["event"] == "logout_token"]
    assert reasons.count("missing_token") < 20
    assert len(set(reasons)) == 3
    assert reasons[-1] == "ok"


def test_the_next_line_says_how_many_were_left_out() -> None:
    lines = SparseLines()
    assert [lines.left_out("a", now) for now in (5.0, 5.1, 5.9)] == [0, None, None]
    assert lines.left_out("b", 5.9) == 0
    assert [lines.left_out("a", now) for now in (6.0, 7.0)] == [2, 0]
