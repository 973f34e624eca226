"""What a proxy's header fields name: sessions, nobody, or nothing that could be believed."""

import pytest

from sidecar.bindings.trusted_header import BadHeader, HeaderBinder
from sidecar.core.identity import Session

ISSUER = "https://idp.example"
NOW = 1_767_000_000.0
FULL = HeaderBinder(
    issuer=ISSUER, client_id="legacy", sid="X-Oidc-Sid", sub="X_Oidc_Sub", login_time="X-Since", clock=lambda: NOW
)
BY_SUB = HeaderBinder(issuer=ISSUER, client_id="legacy", sid=None, sub="X-User", clock=lambda: NOW)


def read(binder: HeaderBinder, *fields: tuple[str, str]) -> Session | None:
    named = binder.read([(name.encode(), value.encode("latin-1")) for name, value in fields])
    return None if named is None else named.session


def test_names_are_folded_as_servers_fold_them() -> None:
    assert FULL.names == {b"x-oidc-sid", b"x-oidc-sub", b"x-since"}


def test_a_session_is_named_by_sid_sub_and_time() -> None:
    fields = ("x-oidc-sid", "s-1"), ("x-oidc-sub", " alice "), ("x-since", "1766999999.5")
    assert read(FULL, *fields) == Session(ISSUER, "legacy", "s-1", "alice", 1_766_999_999_500)


@pytest.mark.parametrize("fields", [(), (("x-oidc-sid", ""), ("x-oidc-sub", " ")), (("x-since", "1"),)])
def test_empty_fields_name_nobody(fields: tuple[tuple[str, str], ...]) -> None:
    assert read(FULL, *fields) is None


def test_without_a_time_the_session_has_a_credential_of_its_own() -> None:
    one, other = (BY_SUB.read([(b"x-user", name)]) for name in (b"alice", b"bob"))
    assert one is not None
    assert other is not None
    assert (one.is_timed, one.session.login_time) == (False, 0)
    assert one.digest_name != other.digest_name


@pytest.mark.parametrize(
    "fields",
    [
        (("x-oidc-sid", "a"), ("x-oidc-sid", "b")),
        (("x-oidc-sid", "a"), ("x-oidc-sid", "a")),
        (("x-oidc-sub", "\xff"),),
        (("x-oidc-sub", "a" * 100_000),),
        (("x-oidc-sid", "a"), ("x-since", "yesterday")),
        (("x-oidc-sid", "a"), ("x-since", "nan")),
        (("x-oidc-sid", "a"), ("x-since", "inf")),
        (("x-oidc-sid", "a"), ("x-since", "0")),
        (("x-oidc-sid", "a"), ("x-since", "-1")),
        (("x-oidc-sid", "a"), ("x-since", "1767000000000")),  # milliseconds: no logout would ever come after it
        (("x-oidc-sid", "a"), ("x-since", "1767000400")),
    ],
)
def test_what_names_no_session_with_certainty_is_bad(fields: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(BadHeader):
        read(FULL, *fields)
