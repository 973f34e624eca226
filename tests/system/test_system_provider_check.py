"""A user is disabled at a provider that tells nobody: the session is over within the interval, and no other is."""

from collections.abc import Iterator

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_process import wait_for
from bench_stack import CLIENT_ID, CLIENT_SECRET, Cast


@pytest.fixture(
    scope="module", params=[("introspection", 1), ("userinfo", 2)], ids=["introspection", "userinfo, workers"]
)
def cast(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cast]:
    by, workers = request.param
    folder = tmp_path_factory.mktemp("check")
    secret = folder / "client-secret"
    secret.write_text(CLIENT_SECRET)
    cast = Cast(folder, provider_check={"every": "1s", "by": by}, workers=workers)
    provider = {"issuer": cast.provider.issuer, "client_id": CLIENT_ID, "client_secret": {"file": str(secret)}}
    cast.sidecar.config["providers"] = [provider]
    with cast.running():
        yield cast


def test_a_disabled_user_is_out_and_nobody_else_is(cast: Cast) -> None:
    with Browser() as browser, Browser() as other:
        for each, user in ((browser, "alice"), (other, "bob")):
            assert each.log_in(f"{cast.sidecar.url}/private", user).status_code == 200
        url = f"{cast.sidecar.url}/api/me"
        wait_for(lambda: cast.sidecar.metric('logout_sidecar_provider_checks_total{standing="alive"}') >= 4, "checks")
        assert browser.probe(url).json() == {"user": "alice"}
        uid = cast.provider.sessions("alice")[0]
        assert requests.post(f"{cast.provider.issuer}/admin/sessions/{uid}/disable", timeout=5).json() == {
            "found": True
        }
        wait_for(lambda: is_refused(browser.probe(url)), "the end of the session")
        assert other.probe(url).json() == {"user": "bob"}
    assert cast.sidecar.metric('logout_sidecar_logout_tokens_total{reason="ok",result="accepted"}') == 0
    for text in ("alice", "Traceback"):
        assert text not in cast.sidecar.output()
