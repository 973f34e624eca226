"""Credentials and tokens in odd spellings, against the parsers that apps really use.

The parsers of this environment are asked directly; PHP and Node are asked where they are installed. A value that one of
them hands to its app has to be among what was judged, and none may be left after stripping.
"""

import base64
import json
import random
import shutil
import subprocess
from http.cookies import CookieError, SimpleCookie

import pytest
from aiohttp.test_utils import make_mocked_request
from bench_plane import CLIENT, ISSUER, revoked_cookie
from hypothesis import example, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey
from werkzeug.sansio.http import parse_cookie
from wire import ask, ok

from sidecar import clock
from sidecar.bindings.carrier import AmbiguousToken, assemble
from sidecar.bindings.token import TokenBinder
from sidecar.core.credentials import Carriers, pairs
from sidecar.core.spelling import canonical
from sidecar.core.stripping import strip_fields, strip_target
from sidecar.gate.presented import TokenCarrier
from sidecar.oidc.jwks import import_keys
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.source import Loaded
from sidecar.oidc.verifier import Verifier

TOKEN = "a1.b2.c3"
NAMES = ("id_token", "SID")
CARRIERS = Carriers(cookies=["SID"], query_parameters=["PHPSESSID", "s_id"])


def simple_cookie(line: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(line).items()}
    except CookieError:
        return {}


def aiohttp(line: str) -> dict[str, str]:
    return dict(make_mocked_request("GET", "/", {"Cookie": line}).cookies)


PARSERS = [simple_cookie, aiohttp, lambda line: dict(parse_cookie(line))]
NAMED = ["id_token=", "id_token =", "ID_TOKEN=", "SID=", "x=", "$Version=1", f"id_token={TOKEN}"]
SEPARATORS = ["=", ";", "; ", ",", ", ", " ", "\t", '"', "\\", "\xa0", "\x85", "{", "'", ":"]
VALUES = [TOKEN, TOKEN, f'"{TOKEN}"', "\\141", "a", "%61", "%3D"]
PIECES = st.sampled_from([*NAMED, *SEPARATORS, *VALUES])
LINES = st.lists(PIECES, max_size=9).map("".join)


def judged_tokens(line: bytes) -> list[bytes] | None:
    """None: too ambiguous to be judged, and denied."""
    try:
        return assemble(list(pairs([line])), b"id_token")
    except AmbiguousToken:
        return None


@settings(max_examples=1500, deadline=None)
@given(LINES)
@example(f"x=a, id_token={TOKEN}")
@example(f"id_token= \xa0id_token={TOKEN}")
@example(f"x=a id_token = {TOKEN}")
@example(f'x="a" id_token="{TOKEN}"')
def test_no_parser_sees_a_token_that_was_not_judged(line: str):
    judged = judged_tokens(line.encode("latin-1"))
    for parse in PARSERS:
        found = parse(line).get("id_token", "")
        assert judged is None or found.strip() != TOKEN or TOKEN.encode() in judged


@pytest.mark.parametrize(
    "name", ["id.token", "id[token", "id+token", "=id_token", "%69d_token", "ID_Token", "id token"]
)
def test_a_token_is_found_under_every_name_that_some_stack_folds(name: str):
    assert TOKEN.encode() in (judged_tokens(f"{name}={TOKEN}; x=1".encode()) or [])


@given(LINES)
def test_stripping_leaves_no_parser_a_token_or_a_session(line: str):
    fields = [(b"Cookie", line.encode("latin-1"))]
    left = strip_fields(fields, CARRIERS, lambda name: name.lower() == b"id_token")
    for parse in PARSERS:
        for _, value in left:
            assert not set(NAMES) & set(parse(value.decode("latin-1")))


def test_a_header_that_carries_a_token_is_stripped():
    fields = [(b"Authorization", b"Bearer a.b.c"), (b"X_Token", b"a.b.c"), (b"Accept", b"*/*")]
    left = strip_fields(fields, CARRIERS, lambda _: False, {b"authorization", b"x-token"})
    assert left == [(b"Accept", b"*/*")]


@pytest.mark.parametrize(
    "query",
    ["PHPSESSID%00x=R", "PHPSESSID=R+", "PHPSESSID=+R", "%50HPSESSID%00=R", "a=1&+PHPSESSID=R", "s.id=R", "s%5Bid=%52"],
)
def test_a_session_in_the_query_is_found_however_php_reads_it(query: str):
    target = b"/x?" + query.encode()
    assert b"R" in CARRIERS.in_target(target).values
    assert b"R" not in (strip_target(target, CARRIERS) or b"")


# -- programs that may not be here ---------------------------------------------------------------------------------

SCRIPTS = {
    "php": r"""
        while (($line = fgets(STDIN)) !== false) {
            parse_str(base64_decode($line), $found);
            $all = array_filter([$found['PHPSESSID'] ?? null, $found['s_id'] ?? null], 'is_string');
            echo json_encode(array_map('base64_encode', array_values($all))), "\n";
        }""",
    "node": r"""
        for (const line of require('fs').readFileSync(0, 'latin1').trim().split('\n')) {
            const query = new URLSearchParams(Buffer.from(line, 'base64').toString('latin1'));
            const all = [...query.getAll('PHPSESSID'), ...query.getAll('s_id')];
            console.log(JSON.stringify(all.map(value => Buffer.from(value).toString('base64'))));
        }""",
}
QUERY_PIECES = (
    *("PHPSESSID", "%50HPSESSID", "s_id", "s.id", "s%20id", "s[id", "=", "=", "=", "&", "&", "%26", "%3D", "%00"),
    *("+", "%20", "R", "R7", "%52", "a", "?", "[", "]", "%2B", "%"),
)


@pytest.mark.parametrize("program", SCRIPTS)
def test_no_program_reads_a_session_in_a_query_that_was_not_found(program: str):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    draw = random.Random(7)
    queries = ["".join(draw.choices(QUERY_PIECES, k=draw.randint(2, 8))) for _ in range(4000)]
    lines = b"\n".join(base64.b64encode(query.encode()) for query in queries)
    command = [program, "-r" if program == "php" else "-e", SCRIPTS[program]]
    said = subprocess.run(command, input=lines, capture_output=True, check=True)
    answers = said.stdout.splitlines()
    assert len(answers) == len(queries)
    found = 0
    for query, answer in zip(queries, answers, strict=True):
        reading = CARRIERS.in_target(b"/?" + query.encode())
        for value in (canonical(base64.b64decode(each)) for each in json.loads(answer)):
            found += 1
            is_session = value.isalnum()  # what a stack makes for an id; no session has blanks or separators in it
            assert not is_session or reading.is_ambiguous or value in reading.values, query
    assert found > 100


# -- the token and what travels with it ----------------------------------------------------------------------------

KEY = ECKey.generate_key("P-256", {"kid": "k1"})


class Keys:
    metadata = None

    async def load(self, _now: float) -> Loaded:
        return Loaded(import_keys({"keys": [KEY.as_dict(private=False)]}), None)


def token(sid: str, sub: str, ahead: int) -> str:
    claims = {"iss": ISSUER, "aud": CLIENT, "sub": sub, "sid": sid, "iat": int(clock.wall()) + ahead}
    return jwt.encode({"alg": "ES256", "kid": "k1"}, claims, KEY, algorithms=["ES256"])


def carrier(**where: bytes) -> TokenCarrier:
    keys = ProviderKeys(issuer=ISSUER, source=Keys(), retain_s=3600, now=clock.boot)
    verifier = Verifier(keys=keys, algorithms=["ES256"])
    return TokenCarrier(TokenBinder({ISSUER: verifier}, client_ids={ISSUER: [CLIENT]}, clock=clock.boot), **where)


async def test_a_strangers_token_does_not_revive_a_revoked_cookie_whose_binding_is_lost(open_stage):
    stage = await open_stage(tokens=[carrier(cookie=b"id_token")])
    await stage.bind("dead")
    await stage.logout()
    client = await stage.client(revoked_cookie())
    assert (await client.answer()).status == 401
    stage.lose("dead")
    stranger = token("s-2", "mallory", 5)
    for _ in range(2):  # the first might bind it
        client = await stage.client(ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=dead; id_token={stranger}"))
        assert (await client.answer()).status == 401
    assert stage.is_app_untouched()


@pytest.mark.parametrize("carried", ["cookie", "header"])
async def test_a_revoked_token_never_reaches_the_app_when_stripped(open_stage, carried: str):
    where = {"cookie": b"id_token"} if carried == "cookie" else {"header": b"authorization"}
    stage = await open_stage(action="strip", tokens=[carrier(**where)])
    revoked = token("s-1", "alice", -5)
    field = f"Cookie: x=a, id_token={revoked}" if carried == "cookie" else f"Authorization: Bearer {revoked}"
    await stage.logout()
    client = await stage.client(ask("GET / HTTP/1.1", field))
    app = await stage.app()
    head = await app.head()
    await app.send(ok())
    assert (await client.answer()).status == 200
    assert revoked.encode() not in head


@pytest.mark.parametrize("chunks", [(3, 2), (1, 3), (2, 1)])
async def test_a_session_whose_token_changes_its_number_of_chunks_is_still_that_session(open_stage, chunks):
    """The cookie beside it is new at the same time, and has to inherit from the new token."""
    before, after = chunks
    stage = await open_stage(tokens=[carrier(cookie=b"id_token")])
    request = ask("GET / HTTP/1.1", f"Cookie: {'; '.join(cut(token('s-1', 'alice', -60), before))}; JSESSIONID=old")
    client, app = await stage.asks(request)
    given = [f"Set-Cookie: {pair}" for pair in (*cut(token("s-1", "alice", -10), after), "JSESSIONID=new")]
    gone = [f"Set-Cookie: id_token.{number}=; Max-Age=0" for number in range(after, before)]
    await app.send(ok(b"", *given, *gone))
    assert (await client.answer()).status == 200
    await stage.logout("s-1")
    for value in ("old", "new"):
        client = await stage.client(ask("GET / HTTP/1.1", f"Cookie: JSESSIONID={value}"))
        assert (await client.answer()).values("x-logout-sidecar") == [b"revoked"]


def cut(whole: str, count: int) -> list[str]:
    """The token as the pairs of so many cookies."""
    size = -(-len(whole) // count)
    return [f"id_token.{number}={whole[number * size : (number + 1) * size]}" for number in range(count)]
