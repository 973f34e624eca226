"""The receivers after a reload: the rules of the newest configuration, the keys that were there before."""

import json
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey

from sidecar.app.providers import open_providers, renewed
from sidecar.app.receivers import Receivers, open_receivers
from sidecar.app.state import State
from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.control.events import SecurityEvents, Transmitter
from sidecar.stores.sqlite import SqliteStore

ISSUER, SENDER = "https://idp.example.com", "https://signals.example.com"
TEXT = """\
upstream: {{url: "http://127.0.0.1:8080"}}
public_url: https://app.example.com
providers:
  - issuer: {issuer}
    client_id: {clients}
    jwks_file: {keys}
    keycloak_admin: true
    frontchannel: {{enabled: true}}
session:
  credentials: [{{cookie: {cookie}}}]
  bind: [{{from: token_endpoint, callback: /callback}}]
receivers:
  security_events: [{{issuer: {sender}, providers: [{issuer}], audiences: [app], jwks_file: {keys}}}]
  global_token_revocation: [{{issuer: {sender}, providers: [{issuer}], jwks_file: {keys}}}]
store: {{url: "sqlite://"}}
"""


def config(folder: Path, clients: str, cookie: str) -> Config:
    keys = folder / "jwks.json"
    key = RSAKey.generate_key(2048, {"kid": "k"}, private=True)
    keys.write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    file = folder / "sidecar.yaml"
    file.write_text(TEXT.format(issuer=ISSUER, sender=SENDER, clients=clients, cookie=cookie, keys=keys))
    return load(str(file))


def transmitter(receivers: Receivers) -> Transmitter:
    events = receivers._events
    assert isinstance(events, SecurityEvents)
    return events._transmitters[SENDER]


def clients_of(receivers: Receivers) -> dict[str, Any]:
    """Which clients each of them ends sessions of."""
    front, revocation = receivers._frontchannel, receivers._revocation
    assert front is not None
    assert revocation is not None
    return {
        "logout tokens": set(receivers._logout._providers[ISSUER].policy.client_ids),
        "front channel": set(front._providers[ISSUER].client_ids),
        "admin messages": {name for each in receivers._admin for name in each._realms[0].policy.client_ids},
        "events": set(transmitter(receivers).policy.reach.parties[ISSUER]),
        "revocations": set(revocation._by_issuer[SENDER].policy.reach.parties[ISSUER]),
    }


async def test_every_receiver_goes_by_the_newest_rules_and_by_the_keys_that_it_had(tmp_path: Path) -> None:
    old, new = config(tmp_path, "app", "OLD"), config(tmp_path, "[app, mobile]", "NEW")
    state = State(old, SqliteStore(None))
    async with open_providers(old) as providers, open_receivers(old, state, providers) as receivers:
        before = transmitter(receivers)
        assert set(map(frozenset, clients_of(receivers).values())) == {frozenset({"app"})}
        assert receivers._frontchannel is not None
        endpoints = set(receivers.endpoints)
        receivers.use(new, renewed(providers, new))
        assert set(map(frozenset, clients_of(receivers).values())) == {frozenset({"app", "mobile"})}
        assert receivers._frontchannel._cookies == [b"NEW"]
        assert transmitter(receivers).verifier is before.verifier
        assert set(receivers.endpoints) == endpoints
    await state.aclose()
