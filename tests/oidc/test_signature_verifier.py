"""Signatures: what is a token, which algorithm and key may have signed it, and that no bytes break the verifier."""

import base64
import contextlib
import hmac
import json
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from sidecar.core.claims import TokenError
from sidecar.oidc.jwks import KeySet, import_keys
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.signature import ALGORITHMS, checked_algorithms
from sidecar.oidc.source import Loaded
from sidecar.oidc.verifier import UnknownKey, Verifier, unverified_issuer

RSA = RSAKey.generate_key(2048, {"kid": "k1"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "k1"})  # the attacker names the same kid
P256 = ECKey.generate_key("P-256", {"kid": "p256"})
P384 = ECKey.generate_key("P-384", {"kid": "p384"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
SECRET = b"a client secret of sufficient length"
ISSUER = "https://idp.example"
CLAIMS = {"iss": ISSUER, "sub": "user-1"}


class Given:
    """A source that has the keys at hand; how they come over the network is tested in test_keys_provider.py."""

    metadata = None

    def __init__(self, *documents: list[Any]) -> None:
        self.documents = list(documents)
        self.loads = 0

    async def load(self, now: float) -> Loaded:
        self.loads += 1
        document = self.documents.pop(0) if len(self.documents) > 1 else self.documents[0]
        return Loaded(import_keys({"keys": document}), None)


def public(*keys: Key, **changes: Any) -> list[Any]:
    return [{**key.as_dict(private=False), **changes} for key in keys]


async def verifier(*keys: Key, algorithms: Any = ("RS256",), secret: bytes | None = None, **changes: Any) -> Verifier:
    provider = ProviderKeys(issuer=ISSUER, source=Given(public(*keys, **changes)), may_be_empty=True)
    await provider.renew(1.0)
    return Verifier(keys=provider, algorithms=algorithms, client_secret=secret)


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(header: bytes, payload: bytes, key: Key, alg: str = "RS256") -> str:
    """A token with exactly these bytes, validly signed, whatever the header says."""
    signing_input = b64(header) + b"." + b64(payload)
    return (signing_input + b"." + b64(JWSRegistry.algorithms[alg].sign(signing_input, key))).decode()


def token(key: Key = RSA, alg: str = "RS256", signed_with: str = "", **header: Any) -> str:
    members = {"alg": alg, "kid": key.kid, **header}
    members = {name: value for name, value in members.items() if value is not None}
    return signed(json.dumps(members).encode(), json.dumps(CLAIMS).encode(), key, signed_with or alg)


OK = token()
HEAD, BODY, SIGNATURE = OK.split(".")


async def test_a_good_token_gives_its_header_and_claims() -> None:
    verified = (await verifier(RSA)).verify_cached(OK)
    assert verified.header == {"alg": "RS256", "kid": "k1"}
    assert verified.claims == CLAIMS


def with_bits(segment: str) -> str:
    """The same bytes with an unused bit set (a 256-byte signature leaves two characters, with four unused bits)."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) + 1]


def flipped(segment: str) -> str:
    return ("B" if segment[0] == "A" else "A") + segment[1:]


STRUCTURE = [
    ("L43 not a JWT", "not-a-jwt", "malformed"),
    ("L43 empty", "", "malformed"),
    ("L44 two segments", f"{HEAD}.{BODY}", "malformed"),
    ("L46 five segments", f"{HEAD}.{BODY}.{SIGNATURE}.{BODY}.{SIGNATURE}", "encrypted"),
    ("L55 JSON serialization", json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}), "malformed"),
    ("L61 detached", f"{HEAD}..{SIGNATURE}", "malformed"),
    ("no header", f".{BODY}.{SIGNATURE}", "malformed"),
    ("no signature", f"{HEAD}.{BODY}.", "bad_signature"),
    ("L67 another payload", f"{HEAD}.{b64(b'{}').decode()}.{SIGNATURE}", "bad_signature"),
    ("L68 another signature", f"{HEAD}.{BODY}.{flipped(SIGNATURE)}", "bad_signature"),
    ("L26 space in front", " " + OK, "malformed"),
    ("L26 newline at the end", OK + "\n", "malformed"),
    ("L26 newline inside", OK[:50] + "\n" + OK[50:], "malformed"),
    ("L26 plus", OK.replace(SIGNATURE, "+" + SIGNATURE[1:]), "malformed"),
    ("padded signature", OK + "==", "malformed"),
    ("padded header", f"{HEAD}=.{BODY}.{SIGNATURE}", "malformed"),
    ("unused bits in the signature", f"{HEAD}.{BODY}.{with_bits(SIGNATURE)}", "malformed"),
    ("a full stop more", OK + ".", "malformed"),
    ("not ASCII", OK + "\u00e9", "malformed"),
    ("half a surrogate pair", OK + "\ud800", "malformed"),
    ("too long", signed(b'{"alg":"RS256","kid":"k1"}', b'{"x":"' + b"x" * 49_000 + b'"}', RSA), "malformed"),
]


@pytest.mark.parametrize(("value", "reason"), [row[1:] for row in STRUCTURE], ids=[row[0] for row in STRUCTURE])
async def test_what_is_not_exactly_one_compact_jws_is_refused(value: str, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        await (await verifier(RSA)).verify(value)
    assert caught.value.reason == reason


HEADERS = [
    # case, raw header; the token is validly signed, so only the header rule can refuse it
    ("L58 a string", b'"alg"', "malformed"),
    ("L58 a list", b'["alg"]', "malformed"),
    ("L58 a number", b"5", "malformed"),
    ("L58 null", b"null", "malformed"),
    ("not JSON", b"{", "malformed"),
    ("L65 alg twice", b'{"alg":"RS256","alg":"RS256","kid":"k1"}', "malformed"),
    ("L62 not UTF-8", b'{"alg":"RS256","kid":"k1","x":"\xff"}', "malformed"),
    ("J4 deep", b'{"alg":"RS256","kid":"k1","x":' + b"[" * 3000 + b"]" * 3000 + b"}", "malformed"),
    ("J9 far too long", b'{"alg":"RS256","kid":"k1","x":"' + b"x" * 10_000 + b'"}', "malformed"),
    ("L73 none", b'{"alg":"none","kid":"k1"}', "alg_not_allowed"),
    ("L73 nOnE", b'{"alg":"nOnE","kid":"k1"}', "alg_not_allowed"),
    ("L73 empty", b'{"alg":"","kid":"k1"}', "alg_not_allowed"),
    ("L73 null", b'{"alg":null,"kid":"k1"}', "alg_not_allowed"),
    ("L73 missing", b'{"kid":"k1"}', "alg_not_allowed"),
    ("J5 alg a list", b'{"alg":["RS256"],"kid":"k1"}', "alg_not_allowed"),
    ("another alg than pinned", b'{"alg":"RS512","kid":"k1"}', "alg_not_allowed"),
    ("an alg that nobody knows", b'{"alg":"RS257","kid":"k1"}', "alg_not_allowed"),
    ("L94 kid a number", b'{"alg":"RS256","kid":1}', "malformed"),
    ("L94 kid of 2 KiB", b'{"alg":"RS256","kid":"' + b"k" * 2048 + b'"}', "malformed"),
    ("L94 kid a path", b'{"alg":"RS256","kid":"../../etc/x"}', "unknown_kid"),
    ("L94 kid SQL", b'{"alg":"RS256","kid":"\' OR 1=1 --"}', "unknown_kid"),
    ("L100 crit with its parameter", b'{"alg":"RS256","kid":"k1","crit":["urn:x"],"urn:x":1}', "malformed"),
    ("L101 crit empty", b'{"alg":"RS256","kid":"k1","crit":[]}', "malformed"),
    ("L101 crit null", b'{"alg":"RS256","kid":"k1","crit":null}', "malformed"),
    ("L101 crit a number", b'{"alg":"RS256","kid":"k1","crit":5}', "malformed"),
    ("J5 crit a list of lists", b'{"alg":"RS256","kid":"k1","crit":[[]]}', "malformed"),
    ("J6 crit a known name", b'{"alg":"RS256","kid":"k1","crit":["kid"]}', "malformed"),
    ("J6 b64 false", b'{"alg":"RS256","kid":"k1","b64":false,"crit":["b64"]}', "malformed"),
    ("L103 b64 true", b'{"alg":"RS256","kid":"k1","b64":true}', "malformed"),
]


@pytest.mark.parametrize(("header", "reason"), [row[1:] for row in HEADERS], ids=[row[0] for row in HEADERS])
async def test_a_header_that_breaks_a_rule_is_refused_although_the_signature_is_right(
    header: bytes, reason: str
) -> None:
    with pytest.raises(TokenError) as caught:
        await (await verifier(RSA)).verify(signed(header, b'{"iss":"x"}', RSA))
    assert caught.value.reason == reason


PAYLOADS = [
    ("J3 a list", b"[1]"),
    ("J3 a string", b'"x"'),
    ("L59 not JSON", b"hello"),
    ("L62 byte order mark", b"\xef\xbb\xbf{}"),
    ("L64 sid twice", b'{"sid":"a","sid":"b"}'),
    ("J4 deep", b'{"iss":' + b"[" * 40_000),
    ("J1 NaN", b'{"exp":NaN}'),
]


@pytest.mark.parametrize("payload", [row[1] for row in PAYLOADS], ids=[row[0] for row in PAYLOADS])
async def test_a_payload_that_is_no_strict_json_object_is_malformed(payload: bytes) -> None:
    with pytest.raises(TokenError) as caught:
        (await verifier(RSA)).verify_cached(signed(b'{"alg":"RS256","kid":"k1"}', payload, RSA))
    assert caught.value.reason == "malformed"


ACCEPTED = [
    ("L86 no kid, one key", {"kid": None}),
    ("L97 jku, x5u and jwk are ignored", {"jku": "https://evil.example", "x5u": "https://evil.example", "jwk": {}}),
    ("L97 jku of the wrong type", {"jku": 5, "x5t": [], "x5c": "x"}),
    ("J7 unknown parameters", {"iss": ISSUER, "foo": {"bar": 1}}),
    ("J9 a long certificate chain", {"x5c": ["x" * 6000]}),
]


@pytest.mark.parametrize("header", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
async def test_header_parameters_that_we_do_not_use_do_no_harm(header: dict[str, Any]) -> None:
    assert (await verifier(RSA)).verify_cached(token(**header)).claims == CLAIMS


async def test_a_token_of_60_kib_is_verified() -> None:  # case L71
    payload = json.dumps({**CLAIMS, "padding": "x" * 44_000}).encode()
    value = signed(b'{"alg":"RS256","kid":"k1"}', payload, RSA)
    assert len(value) > 58_000
    assert (await verifier(RSA)).verify_cached(value).claims["sub"] == "user-1"


SIGNERS = [
    ("RS256", RSA),
    ("RS384", RSA),
    ("RS512", RSA),
    ("PS256", RSA),
    ("ES256", P256),
    ("ES384", P384),
    ("EdDSA", ED),
    ("Ed25519", ED),
]


@pytest.mark.parametrize(("alg", "key"), SIGNERS, ids=[alg for alg, _ in SIGNERS])
async def test_a_configured_algorithm_is_accepted_and_every_other_refused(alg: str, key: Key) -> None:  # case L80
    value = token(key, alg)
    everything = public(*{id(key): key for _, key in SIGNERS}.values())
    provider = ProviderKeys(issuer=ISSUER, source=Given(everything))
    await provider.renew(1.0)

    assert Verifier(keys=provider, algorithms=[alg]).verify_cached(value).claims == CLAIMS
    with pytest.raises(TokenError) as caught:
        Verifier(keys=provider, algorithms={name for name, _ in SIGNERS} - {alg}).verify_cached(value)
    assert caught.value.reason == "alg_not_allowed"


MISMATCHES = [
    # case, pinned, what the header says, signed with, key, published keys, reason
    ("L82 PS256 under RS256", "RS256", "RS256", "PS256", RSA, RSA, "bad_signature"),
    ("L83 ES256 with a P-384 key", "ES256", "ES256", "ES384", P384, P384, "unknown_kid"),
    ("ES256 with an RSA key", "ES256", "ES256", "RS256", RSA, RSA, "unknown_kid"),
    ("L115 another issuer's key with our kid", "RS256", "RS256", "RS256", OTHER_RSA, RSA, "bad_signature"),
    ("L95 jwk of the attacker", "RS256", "RS256", "RS256", OTHER_RSA, RSA, "bad_signature"),
]


@pytest.mark.parametrize(
    ("pinned", "alg", "signed_with", "key", "published", "reason"),
    [row[1:] for row in MISMATCHES],
    ids=[row[0] for row in MISMATCHES],
)
async def test_algorithm_and_key_must_belong_together(
    pinned: str, alg: str, signed_with: str, key: Key, published: Key, reason: str
) -> None:
    value = token(key, alg, signed_with, jwk=key.as_dict(private=False))
    with pytest.raises(TokenError) as caught:
        await (await verifier(published, algorithms=[pinned])).verify(value)
    assert caught.value.reason == reason


@pytest.mark.parametrize("encoding", ["PEM", "DER"])
async def test_a_public_key_is_no_hmac_secret(encoding: Any) -> None:  # case L76
    material = RSA.as_bytes(encoding=encoding, private=False)
    signing_input = b64(b'{"alg":"HS256","kid":"k1"}') + b"." + b64(json.dumps(CLAIMS).encode())
    value = (signing_input + b"." + b64(hmac.digest(material, signing_input, "sha256"))).decode()
    for algorithms, secret in ((["RS256"], None), (["RS256", "HS256"], SECRET)):
        with pytest.raises(TokenError):
            (await verifier(RSA, algorithms=algorithms, secret=secret)).verify_cached(value)
    with pytest.raises(ValueError, match="oct"):
        await verifier(algorithms=["HS256"], secret=material)


async def test_a_client_secret_verifies_hs256_and_nothing_else() -> None:
    checker = await verifier(RSA, algorithms=["HS256", "RS256"], secret=SECRET)
    right, wrong = OctKey.import_key(SECRET), OctKey.import_key(b"x" * 32)
    assert checker.verify_cached(token(right, "HS256", kid=None)).claims == CLAIMS
    assert checker.verify_cached(token(right, "HS256", kid="whatever")).claims == CLAIMS
    assert checker.verify_cached(OK).claims == CLAIMS
    with pytest.raises(TokenError) as caught:
        checker.verify_cached(token(wrong, "HS256", kid=None))
    assert (caught.value.reason, type(caught.value)) == ("bad_signature", TokenError)


async def test_a_short_client_secret_works_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        short = OctKey.import_key(b"short")
    checker = await verifier(algorithms=["HS256"], secret=b"short")
    assert checker.verify_cached(token(short, "HS256")).claims == CLAIMS


async def test_a_symmetric_key_in_the_key_set_is_never_used() -> None:
    checker = await verifier(RSA, algorithms=["HS256", "RS256"], secret=SECRET)
    published = OctKey.import_key(b"p" * 32, {"kid": "k1"})
    with pytest.raises(TokenError):
        checker.verify_cached(token(published, "HS256"))
    assert import_keys({"keys": [published.as_dict(private=True)]}).keys == {}


async def test_a_token_without_kid_is_ambiguous_among_several_keys() -> None:
    second = RSAKey.generate_key(2048, {"kid": "k2"})
    with pytest.raises(UnknownKey) as caught:
        (await verifier(RSA, second)).verify_cached(token(kid=None))
    assert caught.value.reason == "unknown_kid"
    assert (await verifier(RSA, P256)).verify_cached(token(kid=None)).claims == CLAIMS  # one that fits the alg


async def test_keys_that_share_a_kid_are_all_tried() -> None:
    assert (await verifier(OTHER_RSA, RSA)).verify_cached(OK).claims == CLAIMS


async def test_before_the_first_load_a_refresh_may_help() -> None:
    provider = ProviderKeys(issuer=ISSUER, source=Given(public(RSA)))
    checker = Verifier(keys=provider, algorithms=["RS256"])
    with pytest.raises(UnknownKey) as caught:
        checker.verify_cached(OK)
    assert caught.value.reason == "keys_unavailable"
    assert (await checker.verify(OK)).claims == CLAIMS


async def test_a_key_that_changed_without_a_kid_is_fetched() -> None:
    source = Given(public(OTHER_RSA), public(RSA))
    provider = ProviderKeys(issuer=ISSUER, source=source)
    await provider.renew(1.0)
    assert (await Verifier(keys=provider, algorithms=["RS256"]).verify(token(kid=None))).claims == CLAIMS


@pytest.mark.parametrize("algorithms", [[], ["none"], ["RS256", "none"], ["RS257"], ["HS256"], ["HS512", "RS256"]])
def test_algorithms_that_cannot_be_pinned_stop_the_start(algorithms: list[str]) -> None:  # cases L74 and L85
    with pytest.raises(ValueError, match="algorithms"):
        checked_algorithms(algorithms, has_secret=False)


def test_none_is_no_algorithm() -> None:
    assert not any(name.lower() == "none" for name in ALGORITHMS)


PRIVATE = RSA.as_dict(private=True)
SKIPPED = [
    ("J11 unknown type", {"kty": "AKP", "kid": "a", "alg": "ML-DSA-65", "pub": "x"}, "unknown_type"),
    ("symmetric", {"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, "unknown_type"),
    ("no type", {"kid": "a"}, "unknown_type"),
    ("type a list", {"kty": ["RSA"]}, "unknown_type"),
    ("L92 for encryption", {**public(RSA)[0], "use": "enc"}, "not_for_signatures"),
    ("J11 unknown use", {**public(RSA)[0], "use": "tls"}, "not_for_signatures"),
    ("use a list", {**public(RSA)[0], "use": ["sig"]}, "not_for_signatures"),
    ("operations without verify", {**public(RSA)[0], "key_ops": ["encrypt"]}, "not_for_signatures"),
    ("private", PRIVATE, "private"),
    ("curve that nobody knows", {**public(P256)[0], "crv": "P-999"}, "malformed"),
    ("curve a list", {**public(P256)[0], "crv": ["P-256"]}, "malformed"),
    ("point not on the curve", {**public(P256)[0], "x": "AAAA"}, "malformed"),
    ("no modulus", {"kty": "RSA", "e": "AQAB", "kid": "a"}, "malformed"),
    ("modulus a number", {"kty": "RSA", "e": "AQAB", "n": 5}, "malformed"),
    ("modulus not base64", {"kty": "RSA", "e": "AQAB", "n": "***"}, "malformed"),
    ("modulus empty", {"kty": "RSA", "e": "AQAB", "n": ""}, "malformed"),
    ("kid a number", {**public(RSA)[0], "kid": 5}, "malformed"),
    ("agreement only", {"kty": "OKP", "crv": "X25519", "x": b64(bytes(32)).decode()}, "not_for_signatures"),
    ("not an object", "key", "malformed"),
    ("null", None, "malformed"),
]


@pytest.mark.parametrize(("jwk", "reason"), [row[1:] for row in SKIPPED], ids=[row[0] for row in SKIPPED])
def test_one_odd_jwk_is_left_out_and_the_others_stay(jwk: object, reason: str) -> None:
    good = public(P384)
    found = import_keys({"keys": [jwk, *good]})
    assert [key.kid for key in found.keys.values()] == ["p384"]
    assert found.skipped == {reason: 1}


def test_a_short_rsa_key_is_left_out() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        short = RSAKey.generate_key(1024, {"kid": "short"})
    assert import_keys({"keys": public(short)}).skipped == {"too_short": 1}


def test_a_key_whose_alg_differs_is_not_a_candidate() -> None:
    found = import_keys({"keys": public(RSA, alg="RS512")})
    assert found.candidates("k1", "RS256") == []
    assert len(found.candidates("k1", "RS512")) == 1


@pytest.mark.parametrize("document", [None, [], "x", {}, {"keys": None}, {"keys": {}}, {"keys": []}], ids=repr)
def test_a_document_without_keys_is_an_empty_set(document: object) -> None:
    assert import_keys(document).keys == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
MEMBERS = ["kty", "n", "e", "x", "y", "crv", "use", "key_ops", "alg", "kid", "x5c"]


@settings(max_examples=300)
@given(
    st.sampled_from([public(RSA)[0], public(P256)[0], public(ED)[0], {}]),
    st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=3),
)
def test_any_jwk_is_imported_or_left_out(base: dict[str, Any], changes: dict[str, Any]) -> None:
    found = import_keys({"keys": [{**base, **changes}]})
    assert isinstance(found, KeySet)
    assert len(found.keys) + sum(found.skipped.values()) == 1
    for alg in ALGORITHMS:
        found.candidates(None, alg)


def _sync_verifier() -> Verifier:
    provider = ProviderKeys(issuer=ISSUER, source=Given([]))
    provider._succeeded(Loaded(import_keys({"keys": public(RSA, P256, ED)}), None))
    return Verifier(keys=provider, algorithms=["RS256", "ES256", "EdDSA", "HS256"], client_secret=SECRET)


SYNC = _sync_verifier()
HEADER_JSON = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "x5c"]),
    JSON | st.sampled_from(["RS256", "ES256", "EdDSA", "HS256", "k1", "p256", "ed", "none"]),
)
SEGMENT = st.binary(max_size=80).map(b64) | HEADER_JSON.map(lambda header: b64(json.dumps(header).encode()))


@settings(max_examples=300)
@given(
    st.text(max_size=60)
    | st.lists(SEGMENT, min_size=1, max_size=6).map(lambda segments: b".".join(segments).decode())
    | st.tuples(st.integers(0, len(OK) - 1), st.characters()).map(lambda at: OK[: at[0]] + at[1] + OK[at[0] + 1 :])
)
def test_any_text_is_verified_or_a_token_error(value: str) -> None:
    with contextlib.suppress(TokenError):
        unverified_issuer(value)
    try:
        verified = SYNC.verify_cached(value)
    except TokenError:
        return
    assert value == OK or verified.header["alg"] == "HS256"


@settings(max_examples=200)
@given(st.integers(0, len(OK) - 1), st.integers(0, 7))
def test_no_bit_of_a_token_can_be_changed(position: int, bit: int) -> None:
    changed = bytearray(OK.encode())
    changed[position] ^= 1 << bit
    with pytest.raises(TokenError):
        SYNC.verify_cached(changed.decode("latin-1"))


def test_the_issuer_is_known_without_any_key() -> None:
    assert unverified_issuer(OK) == ISSUER
    assert unverified_issuer(f"{HEAD}.{b64(json.dumps({'iss': 5}).encode()).decode()}.{SIGNATURE}") is None


@pytest.mark.parametrize(
    "value",
    [
        "not-a-jwt",
        f"{HEAD}.{b64(b'[]').decode()}.{SIGNATURE}",
        f"{HEAD}.{b64(b'[' * 45_000).decode()}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE}.{BODY}.{SIGNATURE}",
    ],
    ids=["garbage", "list", "deep", "encrypted"],
)
def test_what_is_no_token_names_no_issuer(value: str) -> None:
    with pytest.raises(TokenError):
        unverified_issuer(value)


def test_no_repr_shows_a_secret() -> None:
    assert SECRET.decode() not in repr(SYNC)
    assert repr(SECRET) not in repr(SYNC)
