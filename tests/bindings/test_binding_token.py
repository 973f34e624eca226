"""Session tokens, with real signatures and the real verifier; only the way to the provider's keys is made up."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from sidecar import clock
from sidecar.bindings import token as module
from sidecar.bindings.token import NEEDS_KEYS, NOT_OURS, UNDECIDED, BadToken, TokenBinder, unverified_issuers
from sidecar.core.identity import Session
from sidecar.core.logout_token import EVENT
from sidecar.oidc.fetch import KeysUnavailable
from sidecar.oidc.jwks import import_keys
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.source import Loaded
from sidecar.oidc.verifier import Verifier

ISSUER = "https://idp.example/realms/main"
OTHER = "https://other.example"
IAT = 1_767_000_000
CLAIMS = {"iss": ISSUER, "aud": "legacy", "sub": "alice", "sid": "s-1", "iat": IAT, "exp": IAT + 300}
SESSION = Session(ISSUER, "legacy", "s-1", "alice", IAT * 1000)


def new_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid})


KEY, NEW_KEY, FOREIGN_KEY = new_key("k1"), new_key("k2"), new_key("k1")


def signed(claims: dict[str, Any] | None = None, *, key: ECKey = KEY, **header: Any) -> bytes:
    head = {"alg": "ES256", "kid": key.kid} | header
    return jwt.encode(head, claims or CLAIMS, key, algorithms=["ES256"]).encode()


class Provider:
    """Publishes keys, or is down. `loads` counts the fetches."""

    metadata = None

    def __init__(self, *keys: ECKey) -> None:
        self.keys = list(keys)
        self.down = False
        self.loads = 0

    async def load(self, now: float) -> Loaded:
        self.loads += 1
        if self.down:
            raise KeysUnavailable("unreachable", "down")
        return Loaded(import_keys({"keys": [key.as_dict(private=False) for key in self.keys]}), None)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A binder, its provider and its clock."""

    def __init__(self, keys_clock: Callable[[], float] | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.provider = Provider(KEY)
        self.keys = ProviderKeys(issuer=ISSUER, source=self.provider, retain_s=3600, now=keys_clock or self.clock)
        self.verifier = Verifier(keys=self.keys, algorithms=["ES256"])
        self.binder = TokenBinder(
            {ISSUER: self.verifier}, client_ids={ISSUER: ["legacy"]}, clock=self.clock, **settings
        )


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    await bench.keys.renew(1.0)
    return bench


def count_checks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    checks: list[str] = []
    real = bench.verifier.verify_cached

    def counting(token: str, *, retired: bool = False) -> Any:
        checks.append(token)
        return real(token, retired=retired)

    monkeypatch.setattr(bench.verifier, "verify_cached", counting)
    return checks


async def test_a_signed_token_is_its_session(bench: Bench) -> None:
    assert bench.binder.read(signed()) == SESSION


async def test_an_expired_token_still_names_its_session(bench: Bench) -> None:
    assert bench.binder.read(signed(CLAIMS | {"exp": 1})) == SESSION


async def test_a_token_is_verified_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = count_checks(bench, monkeypatch)
    token = signed()
    for _ in range(5):
        assert bench.binder.read(token) == SESSION
    assert len(checks) == 1


async def test_a_bad_token_is_verified_once_in_half_a_minute(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = count_checks(bench, monkeypatch)
    token = signed(key=FOREIGN_KEY)
    for _ in range(5):
        assert bench.binder.read(token) == BadToken("bad_signature")
    assert len(checks) == 1
    bench.clock.now += 30
    assert bench.binder.read(token) == BadToken("bad_signature")
    assert len(checks) == 2


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def test_the_vector_with_symbols_has_them() -> None:
    assert b"-" in SYMBOLS.split(b".")[1]
    assert b"_" in SYMBOLS.split(b".")[1]


def replaced(token: bytes, segment: int, change: Callable[[bytes], bytes]) -> bytes:
    parts = token.split(b".")
    parts[segment] = change(parts[segment])
    return b".".join(parts)


def spare_bits(segment: bytes) -> bytes:
    """Another spelling of the same bytes: 64 bytes leave four bits unused in the last character."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1:]) + 1 :][:1]


TOKEN = signed()
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(b".")
SYMBOLS = signed(CLAIMS | {"x": "~~~???>>>"})  # its payload needs `-` and `_`
UNSIGNED = b64(b'{"alg":"none"}')

BAD = {
    "signed by somebody else": (signed(key=FOREIGN_KEY), "bad_signature"),
    "claims changed": (replaced(TOKEN, 1, lambda _: b64(json.dumps(CLAIMS | {"sid": "x"}).encode())), "bad_signature"),
    "padded signature": (TOKEN + b"==", "malformed"),
    "padded payload": (replaced(TOKEN, 1, lambda part: part + b"=="), "malformed"),
    "unused bits": (replaced(TOKEN, 2, spare_bits), "malformed"),
    "foreign character": (replaced(TOKEN, 2, lambda part: part[:5] + b"!" + part[5:]), "malformed"),
    "standard alphabet": (replaced(SYMBOLS, 1, lambda part: part.replace(b"-", b"+").replace(b"_", b"/")), "malformed"),
    "newline": (TOKEN + b"\n", "malformed"),
    "Latin-1": (TOKEN + b"\xe9", "malformed"),
    "no signature": (HEADER + b"." + PAYLOAD, "malformed"),
    "empty signature": (HEADER + b"." + PAYLOAD + b".", "bad_signature"),
    "four segments": (TOKEN + b".x", "malformed"),
    "five segments": (TOKEN + b".x.y", "encrypted"),
    "alg none": (UNSIGNED + b"." + PAYLOAD + b".", "alg_not_allowed"),
    "alg not allowed": (b64(b'{"alg":"HS256"}') + b"." + PAYLOAD + b"." + SIGNATURE, "alg_not_allowed"),
    "two issuers": (
        HEADER + b"." + b64(b'{"iss":"x","iss":"%s"}' % ISSUER.encode()) + b"." + SIGNATURE,
        "bad_signature",
    ),
    "JSON form": (
        json.dumps(
            {"protected": HEADER.decode(), "payload": PAYLOAD.decode(), "signature": SIGNATURE.decode()}
        ).encode(),
        "malformed",
    ),
    "wrong audience": (signed(CLAIMS | {"aud": "other"}), "wrong_audience"),
    "no names": (signed({name: CLAIMS[name] for name in ("iss", "aud", "iat")}), "no_sub_or_sid"),
    "no iat": (signed({name: CLAIMS[name] for name in ("iss", "aud", "sid")}), "iat_missing"),
    "logout token by event": (signed(CLAIMS | {"events": {EVENT: {}}}), "logout_token"),
    "logout token by type": (signed(typ="logout+jwt"), "logout_token"),
}


@pytest.mark.parametrize(("token", "reason"), BAD.values(), ids=BAD.keys())
async def test_a_token_that_names_our_issuer_and_is_not_right_is_bad(bench: Bench, token: bytes, reason: str) -> None:
    assert bench.binder.read(token) == BadToken(reason)
    assert await bench.binder.read_slow(token) == BadToken(reason)


FOREIGN = {
    "opaque": b"0123456789abcdef",
    "empty": b"",
    "dots": b"..",
    "words": b"a.b.c",
    "another issuer": signed(CLAIMS | {"iss": OTHER}),
    "no issuer": signed({"sub": "alice"}),
    "issuer is no string": signed({"iss": [ISSUER]}),
    "our issuer only inside": signed({"iss": OTHER, "act": {"iss": ISSUER}}),
    "our issuer in a list": b"h." + b64(json.dumps([["iss", ISSUER]]).encode()) + b".s",
    "encrypted": b".".join(
        (b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), b64(bytes(range(256))), b"aaaa", b"bbbb", b"cccc")
    ),
    "JSON without payload": b'{"a":1}',
    "JSON with an odd payload": b'{"payload":{"iss":"' + ISSUER.encode() + b'"}}',
    "broken JSON": b"{" * 5000,
    "deep": b"h." + b64(b"[" * 60_000) + b".s",
}


@pytest.mark.parametrize("token", FOREIGN.values(), ids=FOREIGN.keys())
async def test_what_names_no_issuer_of_ours_is_not_ours(bench: Bench, token: bytes) -> None:
    assert bench.binder.read(token) is NOT_OURS
    assert await bench.binder.read_slow(token) is NOT_OURS
    assert bench.provider.loads == 1


async def test_an_audience_that_the_operator_listed_is_accepted() -> None:
    bench = Bench(audiences=["api"])
    await bench.keys.renew(1.0)
    assert bench.binder.read(signed(CLAIMS | {"aud": ["api", "account"]})) == SESSION


async def test_a_token_is_checked_with_the_keys_of_its_own_issuer_only(bench: Bench) -> None:
    other = Provider(NEW_KEY)
    keys = ProviderKeys(issuer=OTHER, source=other, now=bench.clock)
    await keys.renew(1.0)
    binder = TokenBinder(
        {ISSUER: bench.verifier, OTHER: Verifier(keys=keys, algorithms=["ES256"])},
        client_ids={ISSUER: ["legacy"], OTHER: ["legacy"]},
        clock=bench.clock,
    )
    theirs = CLAIMS | {"iss": OTHER}
    assert binder.read(signed(theirs, key=NEW_KEY)) == Session(OTHER, "legacy", "s-1", "alice", IAT * 1000)
    assert await binder.read_slow(signed(theirs, key=KEY)) == BadToken("unknown_kid")
    assert await binder.read_slow(signed(key=NEW_KEY)) == BadToken("unknown_kid")


async def test_a_new_key_is_fetched_and_the_token_is_good(bench: Bench) -> None:
    bench.provider.keys.append(NEW_KEY)
    token = signed(key=NEW_KEY)
    assert bench.binder.read(token) is NEEDS_KEYS
    assert await bench.binder.read_slow(token) == SESSION
    assert bench.binder.read(token) == SESSION


async def test_an_unknown_key_is_bad_now_and_good_when_it_is_published(bench: Bench) -> None:
    token = signed(key=NEW_KEY)
    assert await bench.binder.read_slow(token) == BadToken("unknown_kid")
    bench.provider.keys.append(NEW_KEY)
    bench.clock.now += 30
    assert bench.binder.read(token) is NEEDS_KEYS
    assert await bench.binder.read_slow(token) == SESSION


async def test_made_up_key_names_cause_one_fetch_in_half_a_minute(bench: Bench) -> None:
    for number in range(10):
        token = signed(key=NEW_KEY, kid=str(number))
        assert await bench.binder.read_slow(token) == BadToken("unknown_kid")
    assert bench.provider.loads == 2


async def test_a_retired_key_still_verifies_so_that_rotation_logs_nobody_out(bench: Bench) -> None:
    token = signed()
    bench.provider.keys = [NEW_KEY]
    await bench.keys.renew(1.0)
    assert bench.binder.read(token) == SESSION
    assert bench.binder.read(signed(key=new_key("k3"))) is NEEDS_KEYS


async def test_without_the_provider_an_unknown_token_is_undecided_and_no_denial_sticks() -> None:
    bench = Bench(clock.boot)  # the verifier tries for half a second
    bench.provider.down = True
    token = signed()
    assert bench.binder.read(token) is NEEDS_KEYS
    assert await bench.binder.read_slow(token) is UNDECIDED
    bench.provider.down = False
    assert await bench.binder.read_slow(token) == SESSION


async def test_known_tokens_stay_known_without_the_provider(bench: Bench) -> None:
    token = signed()
    assert bench.binder.read(token) == SESSION
    bench.provider.down = True
    bench.clock.now += 10 * 24 * 3600
    assert bench.binder.read(token) == SESSION


async def test_a_flood_of_bad_tokens_pushes_out_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(capacity=4)
    await bench.keys.renew(1.0)
    checks = count_checks(bench, monkeypatch)
    token = signed()
    assert bench.binder.read(token) == SESSION
    for number in range(20):
        assert isinstance(bench.binder.read(TOKEN + b"=" * number), BadToken | Session)
        assert bench.binder.read(b"opaque %d" % number) is NOT_OURS
    checks.clear()
    assert bench.binder.read(token) == SESSION
    assert checks == []
    assert len(bench.binder._refusals) == 4


async def test_the_least_recently_used_session_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(capacity=2)
    await bench.keys.renew(1.0)
    checks = count_checks(bench, monkeypatch)
    first, second, third = (signed(CLAIMS | {"jti": str(number)}) for number in range(3))
    for token in (first, second, first, third, first):
        assert bench.binder.read(token) == SESSION
    assert checks == [first.decode(), second.decode(), third.decode()]


async def test_no_token_is_kept_in_clear(bench: Bench) -> None:
    bench.binder.read(TOKEN)
    bench.binder.read(TOKEN + b"=")
    kept = repr(vars(bench.binder))
    assert "alice" not in kept
    assert SIGNATURE.decode() not in kept


@pytest.mark.parametrize(
    ("payload", "issuers"),
    [
        (b'{"iss":"a"}', ["a"]),
        (b'{"iss":"a","iss":"b"}', ["a", "b"]),
        (b'{"\\u0069ss":"a"}', ["a"]),
        (b' \n{"iss":"a"} ', ["a"]),
        ('{"iss":"a"}'.encode("utf-8-sig"), ["a"]),
        ('{"iss":"a"}'.encode("utf-16"), ["a"]),
        (b'{"exp":NaN,"iss":"a"}', ["a"]),
        (b'{"iss":5}', []),
        (b'"iss"', []),
        (b"5", []),
        (b"null", []),
    ],
)
def test_the_issuer_is_looked_for_leniently(payload: bytes, issuers: list[str]) -> None:
    for spelled in (b64(payload), base64.b64encode(payload), b64(payload) + b"====", b"\r\n" + b64(payload) + b" "):
        assert list(unverified_issuers(b"h." + spelled + b".s")) == issuers


@pytest.fixture(scope="module")
def binder() -> TokenBinder:
    bench = Bench()
    asyncio.run(bench.keys.renew(1.0))
    return bench.binder


@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60).map(b64), max_size=5).map(b".".join))
def test_no_bytes_break_it(binder: TokenBinder, token: bytes) -> None:
    assert binder.read(token) is NOT_OURS


@given(st.integers(0, len(TOKEN) - 1), st.integers(0, 255))
def test_no_changed_byte_leaves_a_session(binder: TokenBinder, place: int, byte: int) -> None:
    changed = TOKEN[:place] + bytes((byte,)) + TOKEN[place + 1 :]
    assert (binder.read(changed) == SESSION) == (changed == TOKEN)


def test_refusals_last_as_long_as_the_cool_down_of_the_keys() -> None:
    from sidecar.oidc.provider import COOL_DOWN_S

    assert module.REFUSAL_S <= COOL_DOWN_S
