"""What asking the provider may do while nothing is enforced, and what a reload makes of that."""

from pathlib import Path

import pytest

from sidecar.app.provider_check import denies_unavailable
from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.config.reload import compare

TEXT = """\
upstream: {{url: "http://127.0.0.1:8080"}}
providers: [{{issuer: "https://idp.example.com", client_id: app, client_secret: {{file: {secret}}}}}]
session:
  credentials: [{{cookie: SID}}]
  bind: [{{from: token_endpoint, callback: /callback}}]
store: {{url: "sqlite://", secret: {{file: {secret}}}}}
provider_check: {{every: 60s, unavailable: {unavailable}}}
enforcement: {{mode: {mode}}}
"""


def loaded(folder: Path, *, unavailable: str, mode: str) -> Config:
    path = folder / "config.yaml"
    secret = folder / "secret"
    secret.write_text("0123456789abcdef" * 4)
    path.write_text(TEXT.format(unavailable=unavailable, mode=mode, secret=secret))
    return load(str(path))


@pytest.mark.parametrize(
    ("unavailable", "mode", "denies"),
    [("deny", "enforce", True), ("deny", "observe", False), ("keep", "enforce", False), ("keep", "observe", False)],
)
def test_a_silent_provider_ends_nobody_while_nothing_is_enforced(
    tmp_path: Path, unavailable: str, mode: str, *, denies: bool
) -> None:
    assert denies_unavailable(loaded(tmp_path, unavailable=unavailable, mode=mode)) is denies


@pytest.mark.parametrize(("unavailable", "keys"), [("deny", [("enforcement", "mode")]), ("keep", [])])
def test_enforcing_from_now_on_needs_a_restart_only_where_that_changes_the_checks(
    tmp_path: Path, unavailable: str, keys: list[tuple[str, str]]
) -> None:
    old, new = (loaded(tmp_path, unavailable=unavailable, mode=mode) for mode in ("observe", "enforce"))
    assert compare(old, new).needs_restart == tuple(keys)
