"""`unbound: deny` attacked: vouchers forged, borrowed, planted, prolonged, and used to hide something else."""

import base64
import time

import pytest
from bench_plane import CALLBACK, Stage, session
from hypothesis import given
from hypothesis import strategies as st
from wire import Answer, Wire, ask, message, ok, until

from sidecar.core.identity import Digester
from sidecar.core.voucher import build_voucher
from sidecar.gate.vouchers import Vouchers
from sidecar.http1.request import parse_request

NAME = "__Host-voucher"


@pytest.fixture
async def stage(open_stage) -> Stage:
    return await open_stage(deny_unbound=True, path_parameters=["jsessionid"])


async def through(stage: Stage, app: Wire | None, *fields: str, given: str = "", first: str = "GET / HTTP/1.1"):
    """The client's answer to a request that the app sees and answers, and the app's connection."""
    client = await stage.client(ask(first, *fields))
    app = app or await stage.app()
    await app.head()
    await app.send(
        message("HTTP/1.1 200 OK", *((f"Set-Cookie: JSESSIONID={given}",) if given else ()), "Content-Length: 0")
    )
    answer = await client.answer()
    client.close()
    return answer, app


def voucher(answer: Answer) -> str:
    (line,) = [line.decode() for line in answer.values("set-cookie") if line.startswith(NAME.encode())]
    return line.partition(";")[0]


async def visit(stage: Stage, value: str = "V", app: Wire | None = None) -> tuple[str, Wire]:
    answer, app = await through(stage, app, given=value)
    return voucher(answer), app


async def reason(stage: Stage, *fields: str, first: str = "GET / HTTP/1.1") -> str:
    """Why this request is refused."""
    client = await stage.client(ask(first, *fields))
    (why,) = (await client.answer()).values("x-logout-sidecar")
    client.close()
    return why.decode()


def flipped(mine: str) -> list[str]:
    name, _, value = mine.partition("=")
    raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    changed = [bytes((*raw[:at], raw[at] ^ 1, *raw[at + 1 :])) for at in range(len(raw))]
    return [f"{name}={base64.urlsafe_b64encode(each).rstrip(b'=').decode()}" for each in changed]


async def test_one_bit_off_is_forged(stage: Stage):
    mine, _ = await visit(stage)
    for forged in flipped(mine):
        assert await reason(stage, f"Cookie: JSESSIONID=V; {forged}") == "unbound_credential"


async def test_whoever_reads_the_store_cannot_write_a_voucher(stage: Stage):
    """Digests are all that is there; the key of the vouchers is none of them."""
    credential = stage.digester.credential(b"V")
    for key in (credential, stage.digester.credential(b"")):
        forged = build_voucher([credential], int(time.time()), Digester(key)).decode()
        assert await reason(stage, f"Cookie: JSESSIONID=V; {NAME}={forged}") == "unbound_credential"


async def test_a_strangers_cookie_that_was_planted_is_refused_whatever_else_the_browser_has(stage: Stage):
    """Session fixation: the attacker's id is good and vouched for, but the voucher stays with the attacker."""
    theirs, app = await visit(stage, "attackers")
    mine, _ = await visit(stage, "victims", app)
    for cookies in (
        "JSESSIONID=attackers",
        f"JSESSIONID=attackers; {mine}",
        f"JSESSIONID=attackers; JSESSIONID=victims; {mine}",
        f"JSESSIONID=victims; JSESSIONID=attackers; {mine}",
        # One voucher each: some host of the domain has planted a second one, where the name has no prefix.
        f"JSESSIONID=attackers; {mine}; {theirs}",
        f"JSESSIONID=attackers; {theirs}; {mine}",
        f"JSESSIONID=attackers; {theirs}; {theirs}",
    ):
        assert await reason(stage, f"Cookie: {cookies}") == "unbound_credential", cookies


async def test_an_id_in_a_link_is_refused_unless_the_browser_was_given_it(stage: Stage):
    mine, app = await visit(stage)
    link = "GET /x;jsessionid=attackers HTTP/1.1"
    assert await reason(stage, first=link) == "unbound_credential"
    assert await reason(stage, f"Cookie: JSESSIONID=V; {mine}", first=link) == "unbound_credential"
    own = "GET /x;jsessionid=V HTTP/1.1"
    answer, _ = await through(stage, app, f"Cookie: {mine}", first=own)
    assert answer.status == 200


@pytest.mark.parametrize(
    "spelled",
    [
        "__host-voucher={}",
        "__HOST-VOUCHER={}",
        "%5F_Host-voucher={}",
        '"__Host-voucher={}"',
        "x=1,__Host-voucher={}",
        "$Version=1,__Host-voucher={}",
        '__Host-voucher="{}"',
        "voucher={}",
    ],
)
async def test_a_voucher_counts_in_one_spelling_only(stage: Stage, spelled: str):
    mine, _ = await visit(stage)
    value = mine.partition("=")[2]
    assert await reason(stage, f"Cookie: JSESSIONID=V; {spelled.format(value)}") == "unbound_credential"


@pytest.mark.parametrize("lines", [1, 2])
async def test_two_of_the_same_are_one_too_many(stage: Stage, lines: int):
    mine, _ = await visit(stage)
    twice = (
        (f"Cookie: JSESSIONID=V; {mine}; {mine}",)
        if lines == 1
        else (f"Cookie: JSESSIONID=V; {mine}", f"Cookie: {mine}")
    )
    assert await reason(stage, *twice) == "unbound_credential"


async def test_an_unnoticed_login_cannot_be_kept_alive_by_changing_its_cookie(stage: Stage):
    """The app renews its cookie with every answer, as encrypted ones that slide do."""
    mine, app = await visit(stage, "0")
    for step in range(1, 4):
        stage.later = step * 1000
        answer, _ = await through(stage, app, f"Cookie: JSESSIONID={step - 1}; {mine}", given=str(step))
        mine = voucher(answer)
    stage.later = 3601
    assert await reason(stage, f"Cookie: JSESSIONID=3; {mine}") == "unbound_credential"


async def test_a_voucher_does_not_help_a_dead_session(stage: Stage):
    mine, app = await visit(stage)
    client = await stage.client(ask(f"GET {CALLBACK}?code=C HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"))
    await app.head()
    assert stage.logins.complete("C", session())
    await app.send(ok())
    await client.answer()
    await stage.logout()
    assert await reason(stage, f"Cookie: JSESSIONID=V; {mine}") == "revoked"
    digest = stage.digester.credential(b"V")
    await until(lambda: stage.replica.cutoff(digest))
    stage.lose("V")
    assert await reason(stage, f"Cookie: JSESSIONID=V; {mine}") == "revoked"


async def test_a_voucher_does_not_help_a_login_whose_answer_was_lost(stage: Stage):
    mine, app = await visit(stage)
    client = await stage.client(ask(f"GET {CALLBACK}?code=C HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"))
    await app.head()
    assert stage.logins.complete("C", session())
    await app.send(b"no HTTP\r\n\r\n")
    assert (await client.answer()).status == 502
    assert await reason(stage, f"Cookie: JSESSIONID=V; {mine}") == "revoked"


async def test_an_answer_withheld_gives_no_voucher_away(stage: Stage):
    """The session ended while the app worked: its new cookie goes nowhere, and nothing vouches for it."""
    await stage.bind("live")
    client, app = await stage.asks(ask("GET / HTTP/1.1", "Cookie: JSESSIONID=live"))
    await stage.logout()
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=W"))
    answer = await client.answer()
    assert answer.status == 401
    assert NAME.encode() not in answer.head
    assert await reason(stage, "Cookie: JSESSIONID=W") == "revoked"


# -- what is judged is what the app gets -------------------------------------------------------------------------------

FRAGMENTS = [
    "JSESSIONID=",
    "de",
    "ad",
    '"',
    ";",
    "; ",
    ",",
    f"{NAME}=",
    f"{NAME}",
    "x",
    "=",
    " ",
    "\\",
    "%3B",
    "\t",
    "a=1",
]
TAKER = Vouchers(name="voucher", is_https=True, max_age_s=1, digester=Digester(b"a secret of the tests"))


@given(st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), min_size=1, max_size=3))
def test_taking_a_voucher_out_leaves_what_is_judged(lines: list[str]):
    """Nothing that was apart comes together, and the app gets no other bytes than those that are judged."""
    head = ask("GET / HTTP/1.1", *(f"Cookie: {line.strip()}" for line in lines), "X-Mine: 1")
    request = parse_request(head, max_headers=50)
    before = request.cookies
    TAKER.take_out(request)
    assert request.values(b"cookie") == list(request.cookies)
    kept = [pair.strip(" \t") for line in request.cookies for pair in line.decode().split(";")]
    sent = [pair.strip(" \t") for line in before for pair in line.decode().split(";")]
    ours = [pair for pair in sent if "=" in pair and pair.partition("=")[0].strip(" \t") == NAME]
    assert len(request.aside) == len(ours)
    if ours:
        assert [pair for pair in kept if pair] == [pair for pair in sent if pair and pair not in ours]
        assert request.values(b"x-mine") == [b"1"]
    else:
        assert request.cookies == before


async def test_a_dead_cookie_in_two_halves_is_not_put_together(stage: Stage):
    await stage.bind("dead")
    await stage.logout()
    for line in (f"JSESSIONID=de; {NAME}=x; ad", f'JSESSIONID="de; {NAME}=x; ad"', f"JSESSIONID=de;{NAME}=x;ad"):
        assert await reason(stage, f"Cookie: {line}") in ("unbound_credential", "ambiguous_credential")
    assert stage.is_app_untouched()


async def test_thousands_of_vouchers_cost_little(stage: Stage):
    line = "; ".join([f"{NAME}=AAAA"] * 2500)
    started = time.monotonic()
    assert await reason(stage, f"Cookie: JSESSIONID=V; {line}") == "unbound_credential"
    assert time.monotonic() - started < 1
