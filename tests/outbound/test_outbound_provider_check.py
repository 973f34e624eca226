"""Going round: each session once in an interval for all pods, over when the provider says so, and in no other case."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable

import pytest

from sidecar.bindings.sealer import Sealer
from sidecar.bindings.tokens import CheckToken, Tokens
from sidecar.core.identity import BoundSession, Digester, Kind, Session, shared
from sidecar.core.provider_check import Standing
from sidecar.core.revocation import Revocation
from sidecar.oidc.token_check import Checked
from sidecar.outbound import provider_check as module
from sidecar.outbound.provider_check import Pace, ProviderChecks
from sidecar.stores.interface import Store, StoreError
from sidecar.stores.open import open_store

ISSUER = "https://idp.example.com"
DIGESTER = Digester(b"d" * 32)
EVERY_S = 60.0


def login(sid: str | None = "s-1", *, at: int = 1000, issuer: str = ISSUER) -> Session:
    return Session(issuer, "app", sid, "alice", at)


class Pod:
    """One process: the sessions that it knows, its clock, and what it has revoked."""

    def __init__(self, store: Store, answers: "Provider", **options) -> None:
        self.now = 0.0
        self.known: list[tuple[bytes, BoundSession]] = []
        self.revoked: list[Revocation] = []
        self.tokens = Tokens(store, Sealer(b"s" * 32), ttl_s=3600)
        options = {"by": "introspection", "deny_unavailable": False, "claims": store} | options
        self.checks = ProviderChecks(
            sessions=self,
            tokens=self.tokens,
            providers={ISSUER: answers},
            pace=Pace(EVERY_S, 10_000),
            publish=self.publish,
            max_age_s=3600,
            boot=lambda: self.now,
            late=lambda: 10_000 + self.now,
            pause_s=0.001,
            **options,
        )

    def sessions(self) -> Iterable[BoundSession]:
        return [session for _, session in self.known]

    def bindings_of(self, digest: bytes) -> Iterable[tuple[bytes, BoundSession]]:
        return [(name, session) for name, session in self.known if digest in [each.own for each in session.all]]

    async def publish(self, revocations: Collection[Revocation]) -> None:
        self.revoked += revocations

    async def knows(
        self, session: Session, *, credential: bytes = b"c" * 16, expires: float | None = 99_999.0
    ) -> bytes:
        bound = DIGESTER.bound(session)
        self.known.append((credential, bound))
        await self.tokens.keep(bound.own, CheckToken(session, "token", expires))
        return bound.own

    async def later(self, seconds: float = EVERY_S) -> None:
        """Time passes, a round is made, and what it began comes to its end."""
        self.now += seconds
        await self.checks.round()
        async with asyncio.timeout(5):
            while len(self.checks._errands):
                await asyncio.sleep(0.001)


class Provider:
    """Says what the test wants, and remembers whom it was asked about."""

    def __init__(self) -> None:
        self.answers: list[Checked] = []
        self.asked: list[str] = []

    async def ask(self, token: str, *, client_id: str, sub: str | None) -> Checked:
        assert (client_id, sub) == ("app", "alice")
        self.asked.append(token)
        return self.answers.pop(0) if self.answers else Checked(Standing.ALIVE, "http_200")


OVER = Checked(Standing.OVER, "http_200")
SILENT = Checked(Standing.UNAVAILABLE, "timeout")
BROKEN = Checked(Standing.BROKEN, "http_401")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite://")
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def pod(store: Store, provider: Provider) -> Callable[..., Pod]:
    """A function that makes a pod, in a deployment whose provider has called a token good before."""
    await Tokens(store, Sealer(b"s" * 32), ttl_s=3600).note_alive(ISSUER)
    return lambda **options: Pod(store, provider, **options)


async def test_a_session_is_asked_about_within_the_first_interval_and_not_at_once(pod, provider: Provider) -> None:
    ours = pod()
    await ours.knows(login())
    await ours.later(0)
    await ours.later(EVERY_S * 0.49)
    assert provider.asked == []
    await ours.later(EVERY_S * 0.52)
    await ours.later(1)
    assert provider.asked == ["token"]
    assert ours.revoked == []


async def test_what_the_provider_has_ended_is_revoked_up_to_its_own_login(pod, provider: Provider) -> None:
    ours = pod()
    own = await ours.knows(login(at=5000))
    provider.answers = [OVER]
    await ours.later(0)
    await ours.later()
    (revocation,) = ours.revoked
    assert (revocation.kind, revocation.digest, revocation.cutoff) == (Kind.SID, own, 5000)
    assert await ours.tokens.find(own) is None


async def test_without_a_sid_only_the_cookies_of_that_login_are_revoked(pod, provider: Provider) -> None:
    ours = pod()
    await ours.knows(login(None, at=1000), credential=b"1" * 16)
    await ours.knows(login(None, at=2000), credential=b"2" * 16)
    provider.answers = [OVER]
    await ours.later(0)
    await ours.later()
    assert [(each.kind, each.digest, each.cutoff) for each in ours.revoked] == [(Kind.CREDENTIAL, b"2" * 16, 2000)]


async def test_without_a_sid_each_process_revokes_the_cookies_that_it_alone_knows_once(pod, provider: Provider) -> None:
    asking, other = pod(), pod()
    await asking.knows(login(None, at=1000), credential=b"1" * 16)
    other.known.append((b"2" * 16, DIGESTER.bound(login(None, at=1000))))  # rotated in that process
    other.known.append((b"3" * 16, DIGESTER.bound(login(None, at=2000))))  # another device
    provider.answers = [OVER]
    for each in (asking, other):
        await each.later(0)
    await asking.later()
    for _ in range(3):
        await other.later()
    assert [each.digest for each in asking.revoked] == [b"1" * 16]
    assert [(each.digest, each.cutoff) for each in other.revoked] == [(b"2" * 16, 1000)]
    assert provider.asked == ["token"]


async def test_without_a_sid_a_cookie_that_may_belong_to_that_login_ends_with_it(pod, provider: Provider) -> None:
    """Whichever of its logins is the latest (decision 018)."""
    ours = pod()
    await ours.knows(login(None, at=1000), credential=b"1" * 16)
    older, latest = DIGESTER.bound(login(None, at=1000)), DIGESTER.bound(Session(ISSUER, "app", "s-2", "bob", 2000))
    ours.known.append((b"2" * 16, shared(latest, [older])))
    provider.answers = [OVER]
    await ours.later(0)
    await ours.later()
    assert {(each.digest[:1], each.cutoff) for each in ours.revoked} == {(b"1", 1000), (b"2", 2000)}


@pytest.mark.parametrize("answer", [SILENT, BROKEN])
@pytest.mark.parametrize("deny", [False, True])
async def test_without_an_answer_the_policy_decides(
    pod, provider: Provider, caplog, answer: Checked, deny: bool
) -> None:
    ours = pod(deny_unavailable=deny)
    await ours.knows(login())
    provider.answers = [answer] * 3
    await ours.later(0)
    await ours.later()
    assert len(ours.revoked) == deny
    assert len(provider.asked) == (3 if answer is SILENT else 1)
    assert "provider_check_failed" in [record.message for record in caplog.records]


async def test_an_answer_that_comes_in_the_end_counts_under_any_policy(pod, provider: Provider) -> None:
    ours = pod(deny_unavailable=True)
    await ours.knows(login())
    provider.answers = [SILENT, SILENT]
    await ours.later(0)
    await ours.later()
    assert ours.revoked == []


@pytest.mark.parametrize("expires", [10_000.0, 10_080.0, None])
@pytest.mark.parametrize("deny", [False, True])
async def test_a_token_that_is_over_by_itself_is_not_asked_with_and_ends_nobody(
    pod, provider: Provider, expires, deny: bool
) -> None:
    ours = pod(deny_unavailable=deny)
    await ours.knows(login(), expires=expires)
    provider.answers = [OVER]
    await ours.later(0)
    await ours.later()
    assert (provider.asked, ours.revoked) == ([], [])


async def test_whom_nothing_is_known_of_is_left_alone(pod, provider: Provider) -> None:
    ours = pod()
    ours.known.append((b"c" * 16, DIGESTER.bound(login())))
    await ours.knows(login("s-2", issuer="https://other.example.com"))
    await ours.later(0)
    await ours.later()
    assert (provider.asked, ours.revoked) == ([], [])


async def test_of_several_pods_one_asks_in_each_interval(pod, provider: Provider) -> None:
    pods = [pod() for _ in range(3)]
    for each in pods:
        await each.knows(login())
        await each.later(0)
    for each in pods:
        await each.later()
    assert len(provider.asked) == 1


async def test_a_refresh_token_that_was_replaced_is_replaced_here_too(pod, provider: Provider) -> None:
    ours = pod(by="refresh")
    own = await ours.knows(login(), expires=None)
    provider.answers = [Checked(Standing.ALIVE, "http_200", {"refresh_token": "next", "access_token": "a"})]
    await ours.later(0)
    await ours.later()
    found = await ours.tokens.find(own)
    assert found is not None
    assert (found.token, found.session) == ("next", login())


async def test_sessions_that_are_gone_leave_nothing_behind(pod, provider: Provider) -> None:
    ours = pod()
    await ours.knows(login())
    await ours.later(0)
    assert len(ours.checks._due) == 1
    ours.known.clear()
    await ours.later(0)
    assert ours.checks._due == {}


async def test_it_goes_at_its_own_pace(pod, provider: Provider, store: Store) -> None:
    ours = pod()
    ours.checks._pace = Pace(EVERY_S, 50)
    for number in range(10):
        await ours.knows(login(f"s-{number}"))
    await ours.later(0)
    began = asyncio.get_running_loop().time()
    await ours.later()
    assert asyncio.get_running_loop().time() - began >= 0.19
    assert len(provider.asked) == 10


async def test_a_store_that_fails_ends_nobody_under_any_policy(pod, provider: Provider, store: Store) -> None:
    ours = pod(deny_unavailable=True)
    await ours.knows(login())
    await ours.later(0)
    await store.aclose()
    await ours.later()
    assert (provider.asked, ours.revoked) == ([], [])


async def test_a_revocation_that_the_store_does_not_take_is_nobodys_end(pod, provider: Provider, caplog) -> None:
    async def fails(_revocations: object) -> None:
        raise StoreError("store_unavailable")

    ours = pod()
    ours.checks._publish = fails
    await ours.knows(login())
    provider.answers = [OVER]
    await ours.later(0)
    await ours.later()
    assert "provider_check_delayed" in [record.message for record in caplog.records]


async def test_a_defect_does_not_end_the_rounds(pod, provider: Provider, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "FAULT_PAUSE_S", 0.0)
    monkeypatch.setattr(module, "LONGEST_REST_S", 0.001)
    ours, rounds = pod(), 0

    def broken() -> Iterable[BoundSession]:
        nonlocal rounds
        rounds += 1
        raise RuntimeError("a defect")

    ours.sessions = broken
    running = asyncio.create_task(ours.checks.run())
    async with asyncio.timeout(5):
        while rounds < 3:
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.wait({running})
    assert "provider_check_fault" in [record.message for record in caplog.records]


async def test_a_provider_that_never_called_a_token_good_is_not_believed(store: Store, provider: Provider) -> None:
    """It may answer so to everybody who is not allowed to ask; that would log everybody out."""
    ours = Pod(store, provider)
    await ours.knows(login())
    provider.answers = [OVER]
    await ours.later(0)
    await ours.later()
    assert (len(provider.asked), ours.revoked) == (1, [])
    ours.checks._claims = NoClaims()
    await ours.later()  # it does now
    other = Pod(store, provider, claims=NoClaims())  # and that is known everywhere
    await other.knows(login())
    provider.answers = [OVER]
    await other.later(0)
    await other.later()
    assert len(other.revoked) == 1


class NoClaims:
    """Everybody may."""

    async def claim(self, _name: bytes, _ttl: int) -> bool:
        return True


@pytest.mark.parametrize("answer", [OVER, Checked(Standing.ALIVE, "http_200", {"refresh_token": "next"})])
async def test_the_token_of_a_later_login_stays(pod, provider: Provider, answer: Checked) -> None:
    ours = pod(by="refresh")
    own = await ours.knows(login(at=1000))
    later = CheckToken(login(at=2000), "later", None)

    async def ask(_token: str, **_who: object) -> Checked:
        await ours.tokens.keep(own, later)  # somebody logs in again while the provider is being asked
        return answer

    provider.ask = ask
    await ours.later(0)
    await ours.later()
    assert await ours.tokens.find(own) == later
