"""The digest key changes: what was written with the old one goes on counting, in both directions."""

from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import CLIENT, ISSUER, Stage, revoked_cookie, session
from wire import ok

from sidecar.core.identity import Digester, Kind
from sidecar.core.revocation import Revocation, of_logout

OLD = Digester(b"the secret of before")
FAR = 4_000_000_000


@pytest.fixture
async def changed(open_stage: Callable[..., Any]) -> Stage:
    """A data plane after the change, where a credential that nobody knows is denied."""
    stage = await open_stage(deny_unbound=True)
    stage.digester.others = (OLD,)
    await stage.store.put_binding(OLD.credential(b"dead"), OLD.bound(session()), 3600)
    return stage


async def status(stage: Stage) -> int:
    client = await stage.client(revoked_cookie())
    return (await client.answer()).status


async def served(stage: Stage) -> int:
    client, app = await stage.asks(revoked_cookie())
    await app.send(ok(b"hello"))
    return (await client.answer()).status


async def test_a_cookie_that_was_bound_before_is_known_after_it(changed: Stage):
    assert await served(changed) == 200


async def test_a_logout_after_it_ends_a_session_that_was_bound_before(changed: Stage):
    assert await served(changed) == 200
    for key in changed.digester.all:
        cutoff = session().login_time + 60_000
        await changed.publisher.publish(of_logout(key, ISSUER, CLIENT, "s-1", None, cutoff=cutoff, expires=FAR))
    assert await status(changed) == 401


async def test_a_logout_before_it_ends_the_session_for_ever(changed: Stage):
    cutoff = session().login_time + 60_000
    await changed.publisher.publish(of_logout(OLD, ISSUER, CLIENT, "s-1", None, cutoff=cutoff, expires=FAR))
    assert await status(changed) == 401


async def test_a_credential_that_was_revoked_before_stays_so_when_its_binding_is_lost(open_stage: Callable[..., Any]):
    stage = await open_stage()
    stage.digester.others = (OLD,)
    dead = Revocation(Kind.CREDENTIAL, OLD.credential(b"dead"), session().login_time, FAR)
    await stage.publisher.publish([dead])
    assert await status(stage) == 401


async def test_without_the_old_key_its_bindings_mean_nothing(changed: Stage):
    changed.digester.others = ()
    assert await status(changed) == 401
