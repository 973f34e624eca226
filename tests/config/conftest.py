from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.config.load import load_all
from sidecar.config.problem import ConfigErrors, Problem

BASE = """\
upstream: {url: "http://127.0.0.1:8080"}
providers:
  - issuer: https://idp.example.com
    client_id: app
session:
  bind: [{from: token, cookie: id_token}]
"""

Problems = Callable[..., list[Problem]]


@pytest.fixture
def base() -> str:
    return BASE


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write_text(text: str | bytes) -> str:
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write_text


@pytest.fixture
def problems(write: Callable[[str], str]) -> Problems:
    """All problems of a text; none if it is fine."""

    def find(text: str | bytes, environ: dict[str, str] | None = None) -> list[Problem]:
        try:
            load_all(write(text), environ or {})
        except ConfigErrors as errors:
            return list(errors.problems)
        return []

    return find
