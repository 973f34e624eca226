"""Where a browser is sent after the app's own logout, and when it stays with the app's answer."""

import asyncio
from urllib.parse import parse_qsl, urlsplit

import pytest

from sidecar.bindings.sealer import Sealer
from sidecar.bindings.vault import Keeper, Kept, Vault
from sidecar.core.app_logout import MAX_URL, Ended
from sidecar.core.identity import BoundSession, Session
from sidecar.errors import SidecarError
from sidecar.oidc.discovery import Metadata, read_metadata
from sidecar.oidc.fetch import KeysUnavailable
from sidecar.outbound import end_session as module
from sidecar.outbound.after_app_logout import AfterAppLogout
from sidecar.outbound.end_session import EndingProvider, EndSession, Hint
from sidecar.stores.open import open_store

ISSUER, OTHER = "https://idp.example.com", "https://other.example.com"
END = "https://idp.example.com/end"
APP, BACK = "https://app.example.com", "https://app.example.com/_sidecar/signed-out"
SESSION = Session(ISSUER, "app", "s-1", "alice", 1_790_000_000_000)
BOUND = BoundSession(b"o" * 16, b"s" * 16, 1, 1)
KEPT = Kept(SESSION, "a.b.c", {"email": "alice@example.com"})


class Source:
    """A provider's metadata."""

    def __init__(self, issuer: str = ISSUER, internal: str | None = None, **more: object) -> None:
        document = {"issuer": issuer, "end_session_endpoint": f"{issuer}/end"} | more
        self.answer: Metadata | SidecarError = read_metadata(document, issuer, internal)
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def metadata(self) -> Metadata:
        await self.go_on.wait()
        if isinstance(self.answer, SidecarError):
            raise self.answer
        return self.answer


def ended(location: bytes = b"/home", *, navigates: bool = True) -> Ended:
    return Ended(BOUND, None, b"/logout", location, is_navigation=navigates)


def end_session(*sources: Source, hint: Hint = "id_token", claim: str = "email", clients: tuple[str, ...] = ("app",)):
    providers = {
        issuer: EndingProvider(clients, source)
        for issuer, source in zip((ISSUER, OTHER), sources or (Source(),), strict=False)
    }
    return EndSession(
        providers, hint=hint, logout_hint_claim=claim, origin=APP, back=BACK, state=lambda target: f"state-{target}"
    )


async def parameters(way: EndSession, kept: Kept | None = KEPT, **of_ended: object) -> dict[str, str]:
    url = await way.place(ended(**of_ended), kept)  # type: ignore[arg-type]
    assert url is not None
    assert url.startswith(END + "?")
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


ALWAYS = {"client_id": "app", "post_logout_redirect_uri": BACK, "state": "state-/home"}


@pytest.mark.parametrize(
    ("hint", "expected"),
    [("id_token", {"id_token_hint": "a.b.c"}), ("logout_hint", {"logout_hint": "alice@example.com"}), ("none", {})],
)
async def test_the_provider_gets_the_hint_that_was_chosen(hint: Hint, expected: dict[str, str]) -> None:
    assert await parameters(end_session(hint=hint)) == ALWAYS | expected


async def test_a_token_that_is_too_long_gives_way_to_a_claim() -> None:
    assert await parameters(end_session(), Kept(SESSION, "x" * MAX_URL, KEPT.claims)) == ALWAYS | {
        "logout_hint": "alice@example.com"
    }


@pytest.mark.parametrize(("claim", "expected"), [("sub", "alice"), ("sid", "s-1"), ("email", "alice@example.com")])
async def test_the_claim_may_be_any(claim: str, expected: str) -> None:
    assert (await parameters(end_session(hint="logout_hint", claim=claim)))["logout_hint"] == expected


async def test_a_login_of_which_nothing_is_kept_has_no_hint() -> None:
    assert await parameters(end_session(), None) == ALWAYS


@pytest.mark.parametrize(
    ("location", "state"),
    [
        (b"/x", "state-/x"),
        (b"", "state-None"),
        (b"https://evil.example/", "state-None"),
        (b"//evil.example", "state-None"),
    ],
)
async def test_only_a_place_of_the_app_is_remembered_for_the_way_back(location: bytes, state: str) -> None:
    assert (await parameters(end_session(), location=location))["state"] == state


async def test_the_browser_gets_the_public_address_and_not_the_pods() -> None:
    way = end_session(Source(internal="http://idp.internal:8080"))
    assert await parameters(way) == ALWAYS | {"id_token_hint": "a.b.c"}


async def test_of_several_providers_it_is_the_one_of_the_session() -> None:
    way = end_session(Source(), Source(OTHER))
    url = await way.place(ended(), Kept(Session(OTHER, "app", None, "bob", 1), "d.e.f"))
    assert url is not None
    assert url.startswith(OTHER + "/end?id_token_hint=d.e.f&")


STAYS = {
    "a script": (end_session(), KEPT, {"navigates": False}),
    "an app that goes there by itself": (end_session(), KEPT, {"location": END.encode() + b"?x=1"}),
    "several providers and nothing kept": (end_session(Source(), Source(OTHER)), None, {}),
    "several clients and nothing kept": (end_session(clients=("app", "mobile")), None, {}),
    "a provider that is gone": (end_session(), Kept(Session(OTHER, "app", None, "bob", 1)), {}),
    "a provider that ends no sessions": (end_session(Source(end_session_endpoint=None)), KEPT, {}),
    "an endpoint that is no URL": (end_session(Source(end_session_endpoint="javascript:alert(1)")), KEPT, {}),
    "an endpoint in clear": (end_session(Source(end_session_endpoint="http://idp.example.com/end")), KEPT, {}),
}


@pytest.mark.parametrize(("way", "kept", "of_ended"), STAYS.values(), ids=STAYS)
async def test_in_doubt_the_browser_stays_with_the_apps_answer(way, kept, of_ended) -> None:
    assert await way.place(ended(**of_ended), kept) is None


async def test_a_provider_that_cannot_be_asked_keeps_nobody_waiting(monkeypatch, caplog) -> None:
    source = Source()
    source.answer = KeysUnavailable("unreachable")
    assert await end_session(source).place(ended(), KEPT) is None
    monkeypatch.setattr(module, "METADATA_S", 0.05)
    source.go_on.clear()
    assert await end_session(source).place(ended(), KEPT) is None
    assert [record.fields["reason"] for record in caplog.records] == ["unreachable", "timeout"]


async def test_the_session_in_clear_comes_from_the_vault_or_from_the_browsers_own_token() -> None:
    store = open_store("sqlite://")
    await store.open()
    vault = Vault(store, Sealer(b"s" * 32), ttl_s=60)
    follow = AfterAppLogout(vault=vault, keeper=Keeper(id_token=True), end_session=end_session())
    assert "hint" not in str(await follow(ended()))
    await vault.keep(BOUND.own, KEPT)
    assert "id_token_hint=a.b.c&" in str(await follow(ended()))
    await store.aclose()
    assert "hint" not in str(await follow(ended()))  # a store that fails costs the hint and no more
