"""What the data plane is told of the operator's choices."""

from pathlib import Path

from sidecar.app.data_plane import credential_headers
from sidecar.config.load import load

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
