"""Ending sessions by Strivacity's Admin API: every published answer, faults, and a user who never waits for long."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest
from strivacity_standin import Strivacity

from sidecar import metrics
from sidecar.bindings.sealer import Sealer
from sidecar.bindings.vault import Keeper, Kept, Vault
from sidecar.clock import boot
from sidecar.core.app_logout import Ended
from sidecar.core.identity import BoundSession, Session
from sidecar.core.strivacity import NO_WRITE, Answer, Outcome
from sidecar.oidc import strivacity as client
from sidecar.oidc.bearer import ClientCredentials, FileBearer
from sidecar.oidc.fetch import client_session
from sidecar.oidc.strivacity import AdminApi
from sidecar.outbound import provider_logout as module
from sidecar.outbound.after_app_logout import AfterAppLogout, ApiLogout
from sidecar.outbound.provider_logout import ProviderLogouts
from sidecar.stores.open import open_store

ISSUER = "https://acme.strivacity.example/"
ACCOUNT, SESSION = "alice@example.com", "mTNo/2FC+Pk="
RAW = "/admin/api/v1/identityStores/customers/accounts/alice%40example.com/sessions/mTNo%2F2FC%2BPk%3D"


@pytest.fixture
def tenant() -> Iterator[Strivacity]:
    with Strivacity() as tenant:
        tenant.sessions = {ACCOUNT: {SESSION}}
        yield tenant


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


@pytest.fixture
def api(http: aiohttp.ClientSession, tenant: Strivacity) -> Callable[..., AdminApi]:
    def make(token: bytes = b"good", store: str = "customers", base_url: str | None = None, **options) -> AdminApi:
        options = {"bearer": FileBearer(lambda: token)} | options
        return AdminApi(http, base_url=base_url or tenant.url, identity_store=store, **options)

    return make


@pytest.fixture
async def logouts(api) -> AsyncIterator[Callable[..., ProviderLogouts]]:
    made: list[ProviderLogouts] = []

    def make(call=None, *, wait_s: float = 2.0, attempts: int = 3) -> ProviderLogouts:
        made.append(ProviderLogouts(call or api().end_session, wait_s=wait_s, attempts=attempts, pause_s=0.01))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


def count(outcome: Outcome) -> float:
    return metrics.provider_logouts.labels(outcome)._value.get()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


# -- the call -------------------------------------------------------------------------------------------------------


async def test_a_session_is_ended_and_afterwards_it_is_gone(api, tenant: Strivacity) -> None:
    assert await api().end_session(ACCOUNT, SESSION) == Answer(Outcome.ENDED, "http_204")
    assert tenant.sessions == {ACCOUNT: set()}
    assert tenant.calls == [("DELETE", RAW)]
    again = await api().end_session(ACCOUNT, SESSION)
    assert (again.outcome, again.reason) == (Outcome.GONE, "http_404")


@pytest.mark.parametrize(
    ("token", "rights", "outcome", "reason"),
    [
        (b"wrong", {}, Outcome.UNAUTHORIZED, "http_401"),
        (b"reader", {"reader": {"read:account"}}, Outcome.FORBIDDEN, "http_403"),
        (b"two words", {}, Outcome.UNAUTHORIZED, "token_unusable"),
    ],
)
async def test_wrong_credentials_are_told_from_missing_rights(api, tenant, token, rights, outcome, reason) -> None:
    tenant.tokens |= rights
    answer = await api(token).end_session(ACCOUNT, SESSION)
    assert (answer.outcome, answer.reason) == (outcome, reason)
    assert tenant.sessions == {ACCOUNT: {SESSION}}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
async def test_what_may_pass_is_unavailable(api, tenant: Strivacity, status: int) -> None:
    tenant.faults = [status]
    answer = await api().end_session(ACCOUNT, SESSION)
    assert (answer.outcome, answer.reason) == (Outcome.UNAVAILABLE, f"http_{status}")
    assert answer.problem.error_key == "internalServerError"


@pytest.mark.parametrize("status", [200, 302, 400, 405])
async def test_what_the_api_never_says_is_no_success_and_no_redirect_is_followed(api, tenant, status: int) -> None:
    tenant.faults = [status]
    answer = await api().end_session(ACCOUNT, SESSION)
    assert (answer.outcome, answer.reason) == (Outcome.REFUSED, f"http_{status}")
    assert len(tenant.calls) == 1


async def test_a_silent_api_and_one_that_is_away_are_unavailable(api, tenant: Strivacity, monkeypatch) -> None:
    monkeypatch.setattr(client, "CALL", aiohttp.ClientTimeout(total=0.1))
    tenant.hold.clear()
    assert await api().end_session(ACCOUNT, SESSION) == Answer(Outcome.UNAVAILABLE, "timeout")
    away = api(base_url="http://127.0.0.1:1/")
    assert await away.end_session(ACCOUNT, SESSION) == Answer(Outcome.UNAVAILABLE, "unreachable")


@pytest.mark.parametrize(("account", "session"), [("..", SESSION), (ACCOUNT, "."), ("", SESSION), (ACCOUNT, "")])
async def test_an_identifier_that_would_lead_elsewhere_is_not_sent(api, tenant, account: str, session: str) -> None:
    assert await api().end_session(account, session) == Answer(Outcome.REFUSED, "bad_identifier")
    assert tenant.calls == []


async def test_a_token_that_was_revoked_while_it_was_kept_is_replaced_once(api, http, tenant: Strivacity) -> None:
    now = 1000.0
    bearer = ClientCredentials(
        http, url=tenant.token_url, client_id="sidecar", secret=lambda: b"client secret", now=lambda: now
    )
    tenant.sessions = {ACCOUNT: {"s-1", "s-2", "s-3"}}
    assert (await api(bearer=bearer).end_session(ACCOUNT, "s-1")).outcome is Outcome.ENDED
    tenant.tokens.clear()
    now += 60
    assert (await api(bearer=bearer).end_session(ACCOUNT, "s-2")).outcome is Outcome.ENDED
    assert tenant.issued == 2
    tenant.tokens.clear()  # of a token that was fetched just now the API does not think better when asked again
    assert (await api(bearer=bearer).end_session(ACCOUNT, "s-3")).outcome is Outcome.UNAUTHORIZED
    assert tenant.issued == 2
    await bearer.aclose()


# -- attempts -------------------------------------------------------------------------------------------------------


async def test_what_may_pass_is_tried_again_until_it_works(logouts, tenant: Strivacity) -> None:
    before = count(Outcome.ENDED)
    tenant.faults = [500, 503]
    await logouts(attempts=3).end(ACCOUNT, SESSION)
    assert tenant.sessions == {ACCOUNT: set()}
    assert len(tenant.calls) == 3
    assert count(Outcome.ENDED) == before + 1


async def test_and_not_more_often_than_that(logouts, tenant: Strivacity, caplog) -> None:
    tenant.faults = [500] * 10
    await logouts(attempts=3).end(ACCOUNT, SESSION)
    assert len(tenant.calls) == 3
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.message == "provider_logout_failed"
    assert record.fields["outcome"] == "unavailable"


@pytest.mark.parametrize(
    ("rights", "outcome", "advice"),
    [({}, "unauthorized", "the bearer token is missing, wrong or expired"), ({"good": set()}, "forbidden", NO_WRITE)],
)
async def test_what_an_operator_has_to_mend_is_an_alarm_and_not_tried_again(
    logouts, tenant: Strivacity, caplog, rights, outcome: str, advice: str
) -> None:
    tenant.tokens = rights
    await logouts().end(ACCOUNT, SESSION)
    assert len(tenant.calls) == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.fields["outcome"], record.fields["advice"]) == (outcome, advice)
    for text in ("alice", SESSION, "good"):
        assert text not in str(record.fields)


async def test_a_session_that_is_gone_already_is_done(logouts, tenant: Strivacity, caplog) -> None:
    tenant.sessions = {}
    await logouts().end(ACCOUNT, SESSION)
    assert len(tenant.calls) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_nobody_waits_longer_than_they_should_and_it_goes_on_behind_them(logouts, tenant: Strivacity) -> None:
    tenant.hold.clear()
    began = boot()
    await logouts(wait_s=0.05).end(ACCOUNT, SESSION)
    assert boot() - began < 1.0
    assert tenant.sessions == {ACCOUNT: {SESSION}}
    tenant.hold.set()
    await until(lambda: tenant.sessions == {ACCOUNT: set()})


async def test_only_so_many_calls_are_under_way_and_only_so_many_wait(logouts, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "WAITING", 20)
    running, most, go_on = 0, 0, asyncio.Event()

    async def call(_account: str, _session: str) -> Answer:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return Answer(Outcome.ENDED, "http_204")

    ours = logouts(call, wait_s=0.0)
    for number in range(25):
        await ours.end(ACCOUNT, f"s-{number}")
    await until(lambda: running == module.AT_ONCE)
    refused = [record for record in caplog.records if record.message == "provider_logout_failed"]
    assert [record.fields["reason"] for record in refused] == ["too_many"] * 5
    go_on.set()
    await until(lambda: not len(ours._errands))
    assert most == module.AT_ONCE


async def test_what_is_given_up_at_the_end_says_so(logouts, tenant: Strivacity, caplog) -> None:
    tenant.hold.clear()
    ours = logouts(wait_s=0.0)
    await ours.end(ACCOUNT, SESSION)
    await ours.aclose()
    (record,) = [record for record in caplog.records if record.message == "provider_logout_failed"]
    assert record.fields["reason"] == "stopped"


# -- after a logout of the app --------------------------------------------------------------------------------------

BOUND = BoundSession(b"o" * 16, None, 1, 1)
ENDED = Ended(BOUND, None, b"/logout", b"/", is_navigation=True)


@pytest.fixture
async def vault() -> AsyncIterator[Vault]:
    store = open_store("sqlite://")
    await store.open()
    yield Vault(store, Sealer(b"s" * 32), ttl_s=60)
    await store.aclose()


async def after(vault: Vault, kept: Kept | None) -> list[tuple[str, str]]:
    """What the API is asked for, for a login of which this was kept."""
    asked: list[tuple[str, str]] = []

    async def end(account: str, session: str) -> None:
        asked.append((account, session))

    if kept is not None:
        await vault.keep(BOUND.own, kept)
    keeper = Keeper(id_token=False, claims=["account"])
    follow = AfterAppLogout(vault=vault, keeper=keeper, api=ApiLogout(ISSUER, "account", end))
    assert await follow(ENDED) is None
    return asked


def login(sid: str | None = "s-1", issuer: str = ISSUER, **claims: str) -> Kept:
    return Kept(Session(issuer, "app", sid, "alice", 1), None, claims)


async def test_account_and_session_come_from_the_login(vault: Vault) -> None:
    assert await after(vault, login(account="a-1")) == [("a-1", "s-1")]


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (None, "login_not_kept"),
        (login(), "account_unknown"),
        (login(sid=None, account="a-1"), "session_unknown"),
        (login(issuer="https://other.example.com", account="a-1"), None),
    ],
)
async def test_who_cannot_be_named_there_is_not_asked_for(vault: Vault, caplog, kept, reason) -> None:
    assert await after(vault, kept) == []
    assert [record.fields["reason"] for record in caplog.records] == ([reason] if reason else [])
