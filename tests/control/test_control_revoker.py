"""From a valid logout token to revocations: under every accepted key, and only once the key is known."""

from dataclasses import replace

import pytest

from sidecar import metrics
from sidecar.control import revoker as revoker_module
from sidecar.control.revoker import Revoker
from sidecar.core.identity import Digester
from sidecar.core.logout_token import LogoutToken
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import StoreError

OLD, NEW = b"before before before", b"after after after after"
EXPIRES = 2**31


def token() -> LogoutToken:
    return LogoutToken(
        issuer="https://idp.test",
        client_ids=("app",),
        sid="s-1",
        sub=None,
        cutoff=1000,
        issued_at=1000,
        expires=2e9,
        jti="j",
        whole_subject=False,
    )


async def published(digester: Digester) -> list[Revocation]:
    taken: list[Revocation] = []

    async def publish(revocations: object) -> None:
        taken.extend(revocations)  # type: ignore[arg-type]

    revoker = Revoker(digester=digester, publish=publish)
    await revoker.keyed()
    await revoker(token(), EXPIRES)
    return taken


async def test_while_the_key_changes_a_logout_is_written_under_both():
    both = {each.digest for each in await published(Digester(NEW, [OLD]))}
    assert both == {Digester(key).sid("https://idp.test", "app", "s-1") for key in (OLD, NEW)}


async def test_otherwise_it_is_written_once():
    assert len(await published(Digester(NEW))) == 1


async def test_what_is_too_much_to_keep_is_said_and_counted_and_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(revoker_module, "MAX_KEPT", 2)
    taken: list[Revocation] = []

    async def publish(revocations: object) -> None:
        taken.extend(revocations)  # type: ignore[arg-type]

    counted = metrics.store_errors.labels("logouts_dropped")._value
    before = counted.get()
    revoker = Revoker(digester=Digester(b"not the one that counts"), publish=publish)
    for number in range(5):
        with pytest.raises(StoreError):
            await revoker(replace(token(), sid=f"s-{number}"), EXPIRES)
    await revoker.keyed()

    assert len(taken) == 2
    assert counted.get() == before + 3
    said = [record.fields for record in caplog.records if record.getMessage() == "logouts_dropped"]  # type: ignore[attr-defined]
    assert said == [{"kept": 2}, {"dropped": 3}]


async def test_what_came_before_the_key_is_refused_kept_and_published_with_it():
    taken: list[Revocation] = []

    async def publish(revocations: object) -> None:
        taken.extend(revocations)  # type: ignore[arg-type]

    digester = Digester(b"not the one that counts")
    revoker = Revoker(digester=digester, publish=publish)
    with pytest.raises(StoreError):
        await revoker(token(), EXPIRES)
    assert not taken
    digester.use(NEW)
    await revoker.keyed()
    assert [each.digest for each in taken] == [Digester(NEW).sid("https://idp.test", "app", "s-1")]
