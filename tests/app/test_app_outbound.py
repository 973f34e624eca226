"""What acts after a logout is built once: which changes of the configuration it cannot take over."""

from pathlib import Path

import pytest

from sidecar.app.outbound import unfit
from sidecar.config.load import load
from sidecar.config.model import Config

TEXT = """\
upstream: {{url: "http://127.0.0.1:8080"}}
public_url: https://app.example.com
providers: [{{issuer: "https://idp.example.com", client_id: {client}}}]
session:
  credentials: [{{cookie: SID}}]
  bind: [{{from: token_endpoint, callback: /callback}}]
enforcement: {{mode: {mode}}}
store: {{url: "sqlite://", secret: {{file: {secret}}}}}
"""
ENDS = "logout: {app_paths: [/logout], after_app_logout: {end_session: {enabled: true}}}\n"
NOTIFIES = "on_revoked: {notify_app: {path: /logout}}\n"


@pytest.mark.parametrize(
    ("more", "client", "mode", "needs_restart"),
    [
        ("", "app", "enforce", []),
        ("", "other", "observe", []),  # nothing acts, so nothing is built in
        (ENDS, "app", "observe", []),
        (ENDS, "other", "enforce", [("providers", 0, "client_id")]),
        (NOTIFIES, "other", "enforce", []),
        (NOTIFIES, "app", "observe", [("enforcement", "mode")]),
        (ENDS + NOTIFIES, "other", "observe", [("enforcement", "mode"), ("providers", 0, "client_id")]),
    ],
)
def test_what_is_built_into_it_needs_a_restart(
    tmp_path: Path, more: str, client: str, mode: str, needs_restart: list[object]
) -> None:
    def config(client: str, mode: str) -> Config:
        (tmp_path / "secret").write_text("a secret of the tests, and long enough")
        file = tmp_path / "sidecar.yaml"
        file.write_text(TEXT.format(client=client, mode=mode, secret=tmp_path / "secret") + more)
        return load(str(file))

    assert unfit(config("app", "enforce"), config(client, mode)) == needs_restart
