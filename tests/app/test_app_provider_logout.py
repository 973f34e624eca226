"""`logout-sidecar provider-logout`: one line that a person understands, and an exit code that a script does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from strivacity_standin import Strivacity

from sidecar.cli import main

Run = Callable[..., tuple[int, str, str]]

CONFIG = """
upstream: {{url: "http://127.0.0.1:8080"}}
providers: [{{issuer: https://idp.example.com, client_id: app}}]
session: {{bind: [{{from: token, cookie: id_token}}]}}
store: {{secret: {{file: "{folder}/token"}}}}
logout:
  app_paths: [/logout]
  after_app_logout:
    strivacity: {{base_url: "{url}", identity_store: customers, attempts: 2, {token}}}
"""
FETCHED = 'client_credentials: {{token_url: "{url}/oauth2/token", client_id: sidecar, client_secret: {{file: {file}}}}}'


@pytest.fixture
def tenant() -> Iterator[Strivacity]:
    with Strivacity() as tenant:
        tenant.sessions = {"a-1": {"s-1"}}
        tenant.tokens = {"a long enough token".replace(" ", "-"): {"write:account"}}
        yield tenant


@pytest.fixture
def run(tenant: Strivacity, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "token").write_text("a-long-enough-token\n")

    def command(account: str = "a-1", session: str = "s-1", token: str = "", url: str = "") -> tuple[int, str, str]:
        token = token or f'token: {{file: "{tmp_path}/token"}}'
        file = tmp_path / "sidecar.yaml"
        file.write_text(CONFIG.format(folder=tmp_path, url=url or tenant.url, token=token))
        code = main(["provider-logout", "-c", str(file), "--account", account, "--session", session])
        return code, *capsys.readouterr()

    return command


def test_a_session_that_was_ended(run: Run, tenant: Strivacity) -> None:
    assert run() == (0, "ended: the provider has ended the session (http_204)\n", "")
    assert tenant.sessions == {"a-1": set()}


def test_a_session_that_was_over_already(run: Run) -> None:
    code, out, err = run(session="s-9")
    assert (code, err) == (0, "")
    assert out.startswith("gone: the provider knows no such session")
    assert '"error_key": "notFound"' in out


def test_a_policy_that_lacks_the_right(run: Run, tenant: Strivacity) -> None:
    tenant.tokens = {token: {"read:account"} for token in tenant.tokens}
    code, out, err = run()
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == (
        'forbidden: the credentials are good, but the API policy lacks "write" on "account" (http_403)'
    )


def test_wrong_credentials(run: Run, tenant: Strivacity) -> None:
    tenant.tokens = {}
    code, _, err = run()
    assert code == 1
    assert err.startswith("unauthorized: ")
    assert "the bearer token is missing, wrong or expired" in err
    assert "a-long-enough-token" not in err
    assert len(tenant.calls) == 1


def test_an_api_that_fails_is_tried_again_as_configured(run: Run, tenant: Strivacity) -> None:
    tenant.faults = [503, 503]
    code, _, err = run()
    assert (code, len(tenant.calls)) == (1, 2)
    assert err.startswith("unavailable: ")
    assert "Traceback" not in err


def test_an_api_that_is_away(run: Run) -> None:
    code, _, err = run(url="http://127.0.0.1:1")
    assert code == 1
    assert "(unreachable)" in err


def test_a_token_that_is_fetched(run: Run, tenant: Strivacity, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("client secret")
    assert run(token=FETCHED.format(url=tenant.url, file=secret))[0] == 0
    assert tenant.issued == 1


def test_without_an_api_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(CONFIG.partition("store:")[0].format())
    assert main(["provider-logout", "-c", str(file), "--account", "a", "--session", "s"]) == 1
    assert "logout.after_app_logout.strivacity.base_url is not set" in capsys.readouterr().err


def test_a_wrong_configuration_is_told_like_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("upstream: 7\n")
    assert main(["provider-logout", "-c", str(file), "--account", "a", "--session", "s"]) == 78
    assert "error" in capsys.readouterr().err
