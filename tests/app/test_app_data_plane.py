"""What the data plane is told of the operator's choices."""

from pathlib import Path

import pytest

from sidecar.app.data_plane import DataPlane, credential_headers
from sidecar.app.state import State
from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.plane import Plane
from sidecar.stores.sqlite import SqliteStore

TEXT = """\
upstream: {url: "http://127.0.0.1:8080"}
providers: [{issuer: "https://idp.example.com", client_id: app}]
session:
  credentials: [{cookie: SID}, {header: X-Session_ID}]
  bind: [{from: token, header: X-Id-Token}, {from: token, cookie: id_token}]
store: {url: "sqlite://"}
"""


def test_every_header_by_which_the_app_knows_a_session_is_no_trailer(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    assert credential_headers(load(str(path))) == {b"x-session-id", b"x-id-token"}


# Every setting that is taken over, with a value of its own.
RELOADED = """
upstream:
  url: "http://127.0.0.1:8080"
  response_timeout: 11s
  connect_timeout: 12s
  keepalive: 13s
  max_connections: 14
  queue_timeout: 15s
  stall_timeout: 16s
  tunnel_idle_timeout: 17s
providers: [{issuer: "https://idp.example.com", client_id: app}]
session:
  credentials: [{cookie: SID}, {header: X-Other}]
  bind: [{from: token, cookie: id_token}]
limits:
  head_bytes: 21KiB
  header_count: 22
  head_timeout: 23s
  idle_timeout: 24s
  body_stall_timeout: 25s
  body_min_rate: 26
  body_bytes: 27
log: {access: true, access_sample: 0.5, traceparent: create}
store: {url: "sqlite://"}
"""
FIXED = {"app", "control", "live", "stats", "collector", "callbacks", "abandoned", "connections", "now", "_tasks"}
FIXED |= {"is_draining", "is_closing"}


@pytest.mark.interpreted  # lists the attributes
async def test_a_reload_leaves_nothing_behind_of_the_old_settings(tmp_path: Path) -> None:
    """The plane as it is after a reload is the plane of a process that was started with the new file."""
    old, new = (loaded(tmp_path, text) for text in (TEXT, RELOADED))
    data = DataPlane(old, State(old, SqliteStore(None)), {}, control_socket="/control")
    fresh = DataPlane(new, State(new, SqliteStore(None)), {}, control_socket="/control").plane
    before, gate = shown(data.plane), data.plane.gate
    data.use(new, data.conduct(new, {}))
    assert data.plane.gate is not gate
    assert data.plane.gate.epoch == gate.epoch + 1
    after, expected = shown(data.plane), shown(fresh)
    assert after == expected
    assert [name for name in before if before[name] == after[name]] == []  # each of them has changed


async def test_whose_word_counts_is_decided_by_the_new_binders(tmp_path: Path) -> None:
    with_header = TEXT.replace("bind: [", "bind: [{from: header, sub: X-User}, ")
    old, new = (loaded(tmp_path, text) for text in (TEXT, with_header))
    data = DataPlane(old, State(old, SqliteStore(None)), {}, control_socket="/control")
    assert data.plane.new_exchange is Exchange
    data.use(new, data.conduct(new, {}))
    assert data.plane.new_exchange is not Exchange
    assert b"x-user" in data.plane.dropped_trailers
    data.use(old, data.conduct(old, {}))
    assert data.plane.new_exchange is Exchange


def loaded(folder: Path, text: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return load(str(path))


def shown(plane: Plane) -> dict[str, object]:
    """What the plane goes by, and its pools with it."""
    found = {name: value for name, value in vars(plane).items() if name not in FIXED | {"gate", "new_exchange"}}
    access_log = getattr(plane.new_exchange, "keywords", {}).get("access_log")
    found["access log"] = None if access_log is None else access_log._sample
    for name in ("_head_bytes", "_connect_timeout", "_keepalive", "_max", "_queue_timeout"):
        found[name] = getattr(plane.app, name)
    found["control"] = plane.control._head_bytes
    return found
