"""ID tokens in the browser's hands, with real signatures: what is good, and that nothing else is."""

import base64
import hashlib
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from sidecar import clock
from sidecar.bindings.form_post import FormPostReader
from sidecar.core.callback import CallbackRefused, Parameters
from sidecar.core.identity import Session
from sidecar.core.logout_token import EVENT
from sidecar.oidc.fetch import KeysUnavailable
from sidecar.oidc.id_token import Client, LoginReader
from sidecar.oidc.jwks import import_keys
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.source import Loaded
from sidecar.oidc.verifier import Verifier

ISSUER = "https://idp.example/realms/main"
EC, RSA = ECKey.generate_key("P-256", {"kid": "ec"}), RSAKey.generate_key(2048, {"kid": "rsa"})
STRANGER, NEWER = ECKey.generate_key("P-256", {"kid": "ec"}), ECKey.generate_key("P-256", {"kid": "newer"})
SECRET = b"the secret of the client, long enough for a key of HS512: 64 bytes!"
ALGORITHMS = ["ES256", "RS256", "RS384", "PS512", "HS512"]
CODE, ACCESS = "SplxlOBeZQQYbYS6WxSbIA", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"


class Source:
    """Publishes the keys, or is down."""

    metadata = None
    is_down = False

    async def load(self, now: float) -> Loaded:
        if self.is_down:
            raise KeysUnavailable("unreachable", "down")
        return Loaded(import_keys({"keys": [key.as_dict(private=False) for key in (EC, RSA)]}), None)


class Bench:
    def __init__(self) -> None:
        self.source = Source()
        keys = ProviderKeys(issuer=ISSUER, source=self.source)
        verifier = Verifier(keys=keys, algorithms=ALGORITHMS, client_secret=SECRET)
        reader = LoginReader(verifier, Client(ISSUER, ("legacy", "other-client")), clock.wall, budget_s=0.3)
        self.reader = FormPostReader({ISSUER: reader}, {ISSUER: verifier})

    async def read(self, *tokens: str, **beside: Any) -> Session | None:
        return await self.reader.read(Parameters(id_tokens=tokens, **beside))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def half_hash(value: str, name: str = "sha256") -> str:
    digest = hashlib.new(name, value.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def signed(key: Any = EC, alg: str = "ES256", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "legacy", "sub": "alice", "sid": "s-1", "iat": now - 2, "exp": now + 60}
    claims = {name: value for name, value in (claims | {"nonce": "n"} | changes).items() if value is not None}
    typ = {"typ": claims.pop("typ")} if "typ" in claims else {}
    return jwt.encode({"alg": alg, "kid": key.kid} | typ, claims, key, algorithms=[alg])


async def refused(bench: Bench, *tokens: str, **beside: Any) -> str:
    with pytest.raises(CallbackRefused) as caught:
        await bench.read(*tokens, **beside)
    return f"{caught.value.status} {caught.value.reason} {caught.value}"


async def test_the_session_is_that_of_the_token_and_the_login_began_at_its_iat(bench: Bench) -> None:
    iat = int(time.time()) - 7
    assert await bench.read(signed(iat=iat)) == Session(ISSUER, "legacy", "s-1", "alice", iat * 1000)


async def test_a_callback_without_token_is_none_of_ours(bench: Bench) -> None:
    assert await bench.read() is None
    assert await bench.read(codes=(CODE,)) is None


@pytest.mark.parametrize(
    ("key", "alg", "name"),
    [
        (EC, "ES256", "sha256"),
        (RSA, "RS256", "sha256"),
        (RSA, "RS384", "sha384"),
        (RSA, "PS512", "sha512"),
        (OctKey.import_key(SECRET, {"kid": "secret"}), "HS512", "sha512"),
    ],
)
async def test_a_token_vouches_for_its_code_and_its_access_token(bench: Bench, key: Any, alg: str, name: str) -> None:
    hashes = {"c_hash": half_hash(CODE, name), "at_hash": half_hash(ACCESS, name)}
    token = signed(key, alg, **hashes)
    assert await bench.read(token, codes=(CODE,), access_tokens=(ACCESS,)) is not None
    assert "wrong_c_hash" in await refused(bench, token, codes=("another",))
    assert "wrong_at_hash" in await refused(bench, token, codes=(CODE,), access_tokens=("another",))


def test_the_hash_is_that_of_the_specification() -> None:
    # Core 1.0 appendix A.4 and A.6: c_hash of the code, at_hash of the access token.
    assert half_hash("Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk") == "LDktKdoQak3Pk0cnXxCltA"
    assert half_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"


BAD = {
    "a code that it does not vouch for": (signed, {"codes": (CODE,)}, "wrong_c_hash"),
    "an access token that it does not vouch for": (signed, {"access_tokens": (ACCESS,)}, "wrong_at_hash"),
    "a hash of another type": (lambda: signed(c_hash=5), {"codes": (CODE,)}, "wrong_c_hash"),
    "a stranger's signature": (lambda: signed(STRANGER), {}, "bad_signature"),
    "another issuer": (lambda: signed(iss="https://other.example"), {}, "wrong_issuer"),
    "an issuer that only looks alike": (lambda: signed(iss=ISSUER + "/"), {}, "wrong_issuer"),
    "no issuer": (lambda: signed(iss=None), {}, "wrong_issuer"),
    "another audience": (lambda: signed(aud="elsewhere", azp="legacy"), {}, "wrong_audience"),
    "a second audience without azp": (lambda: signed(aud=["legacy", "x"]), {}, "untrusted_audience"),
    "another azp": (lambda: signed(azp="x"), {}, "wrong_azp"),
    "of two clients, and no azp": (lambda: signed(aud=["legacy", "other-client"]), {}, "audience_ambiguous"),
    "expired": (lambda: signed(exp=int(time.time()) - 3600), {}, "expired"),
    "without exp": (lambda: signed(exp=None), {}, "exp_missing"),
    "without iat": (lambda: signed(iat=None), {}, "iat_missing"),
    "from the future": (lambda: signed(iat=int(time.time()) + 3600), {}, "iat_in_future"),
    "without sub": (lambda: signed(sub=None), {}, "sub_missing"),
    "a logout token by its events": (lambda: signed(events={EVENT: {}}), {}, "logout_token"),
    "a logout token by its type": (lambda: signed(typ="logout+jwt"), {}, "logout_token"),
    "unsigned": (lambda: signed()[: signed().rindex(".") + 1], {}, "bad_signature"),
    "no token": (lambda: "abc", {}, "wrong_issuer"),
    "empty after blanks": (lambda: " ", {}, "wrong_issuer"),
    "with a blank before it": (lambda: " " + signed(), {}, "malformed"),
    "half a surrogate": (lambda: "\udc80.\udc80.x", {}, "wrong_issuer"),
}


@pytest.mark.parametrize(("make", "beside", "reason"), BAD.values(), ids=BAD)
async def test_what_is_not_good_is_refused_and_never_merely_unknown(
    bench: Bench, make: Any, beside: dict[str, Any], reason: str
) -> None:
    said = await refused(bench, make(), **beside)
    assert said.startswith("400 bad_token")
    assert reason in said


async def test_one_token_vouches_for_one_code(bench: Bench) -> None:
    assert "too_many_codes" in await refused(bench, signed(c_hash=half_hash(CODE)), codes=(CODE, "another"))


async def test_without_the_providers_keys_it_is_not_now(bench: Bench) -> None:
    bench.source.is_down = True
    assert (await refused(bench, signed())).startswith("503 keys_unavailable")
    bench.source.is_down = False
    assert await bench.read(signed()) is not None


async def test_a_key_that_nobody_publishes_is_a_bad_token_when_the_provider_answers(bench: Bench) -> None:
    assert await bench.read(signed()) is not None
    assert (await refused(bench, signed(NEWER))).startswith("400 bad_token")


async def test_what_is_refused_is_logged_without_what_it_says(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await refused(bench, signed(STRANGER, sub="secret-sub", sid="secret-sid"))
    (record,) = caplog.records
    assert record.message == "login_unverified"
    assert "secret" not in str(vars(record))
