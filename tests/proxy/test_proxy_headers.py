"""Credentials and tokens in header fields: found under every spelling, and gone after stripping."""

import pytest

from sidecar import clock
from sidecar.bindings.directory import Directory
from sidecar.bindings.token import TokenBinder
from sidecar.core.credentials import Carriers
from sidecar.core.identity import Digester
from sidecar.core.replica import Replica
from sidecar.gate.enforcement import Enforcement
from sidecar.gate.identify import Identifier
from sidecar.gate.presented import TokenCarrier
from sidecar.http1.request import RequestHead, parse_request
from sidecar.stores.open import open_store

SPELLINGS = ["X-Session-Id", "x-session-id", "X_Session_Id", "X-Session_Id", "X_SESSION-ID"]


def request(*fields: str) -> RequestHead:
    head = "\r\n".join(("GET / HTTP/1.1", "Host: app.example", *fields, "", ""))
    return parse_request(head.encode(), max_headers=99)


def identifier(carriers: Carriers, *tokens: str) -> Identifier:
    binder = TokenBinder({}, client_ids={}, clock=clock.boot)
    return Identifier(
        carriers=carriers,
        tokens=[TokenCarrier(binder, header=token.lower().encode()) for token in tokens],
        directory=Directory(open_store("sqlite://"), ttl_s=60, clock=clock.boot),
        digester=Digester(b"a secret of the tests"),
        cutoff=Replica().cutoff,
    )


@pytest.mark.parametrize("declared", ["X-Session-Id", "X_Session_Id"])
@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_credential_in_a_header_is_found_however_the_name_is_spelled(declared: str, spelled: str):
    found = identifier(Carriers(headers=[declared]))
    assert found.presented(request(f"{spelled}: dead")).credentials == (found._digester.credential(b"dead"),)


@pytest.mark.parametrize("declared", ["X-Session-Id", "X_Session_Id"])
@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_token_in_a_header_is_found_however_the_name_is_spelled(declared: str, spelled: str):
    ((_, token),) = identifier(Carriers(), declared).presented(request(f"{spelled}: a.b.c")).tokens
    assert token == b"a.b.c"


@pytest.mark.parametrize("declared", ["X-Session-Id", "X_Session_Id"])
@pytest.mark.parametrize("spelled", SPELLINGS)
def test_a_stripped_request_has_lost_the_header_of_the_token_binder(declared: str, spelled: str):
    carriers = Carriers(cookies=["JSESSIONID"])
    enforcement = Enforcement(carriers=carriers, identifier=identifier(carriers, declared), token_cookies=())
    dead = request(f"{spelled}: a.b.c", "Cookie: JSESSIONID=dead", "Accept: */*")
    assert enforcement.strip(dead)
    assert dead.lines == [b"Host: app.example", b"Accept: */*"]


def test_what_a_request_presents_is_not_in_its_repr():
    presented = identifier(Carriers(cookies=["JSESSIONID"]), "Authorization").presented(
        request("Authorization: Bearer a.secret.c")
    )
    assert presented.tokens
    assert "secret" not in repr(presented)
