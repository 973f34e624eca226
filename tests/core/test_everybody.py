"""A logout of everybody of one client: whom it ends, and sessions that cannot say whose they are."""

import pytest

from sidecar.core.freshness import State
from sidecar.core.identity import BoundSession, Digester, Kind, Session, shared
from sidecar.core.replica import Replica
from sidecar.core.revocation import Logout, Revocation, covers, meant_by
from sidecar.core.verdict import Allow, Deny, Identity, Policy, Reason, cutoff_of, decide, is_session_revoked

OLD = Digester(b"before before before", names_parties=True)
DIGESTER = Digester(b"0123456789abcdef", [b"before before before"], names_parties=True)
IDP, ELSE = "https://idp.example", "https://else.example"
AT = 1_000_000


def bound(issuer: str = IDP, client: str = "wiki", login: int = AT, sid: str | None = "s") -> BoundSession:
    return DIGESTER.bound(Session(issuer, client, sid, "jane", login))


def everybody(issuer: str = IDP, *clients: str, digester: Digester = DIGESTER) -> list[Revocation]:
    logout = Logout(issuer, clients or ("wiki",), None, None, AT, everybody=True)
    return list(meant_by(logout, digester, expires=2**31))


ROWS = [
    ("at the cut-off", bound(), True),
    ("before it", bound(login=AT - 1), True),
    ("after it", bound(login=AT + 1), False),
    ("known by its subject alone", bound(sid=None), True),
    ("of another client", bound(client="shop"), False),
    ("of another issuer", bound(issuer=ELSE), False),
]


@pytest.mark.parametrize(("session", "dead"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_whom_it_ends(session: BoundSession, dead: bool) -> None:
    (revocation,) = everybody()
    replica = Replica()
    replica.apply(revocation)
    assert is_session_revoked(session, replica.cutoff) is dead
    assert covers(revocation, session) is dead
    verdict = decide(Identity(bound=((b"c" * 16, session),)), replica.cutoff, State.FRESH, Policy(), AT)
    assert (verdict == Deny(Reason.REVOKED)) is dead
    assert isinstance(verdict, Allow) is not dead
    if dead:
        assert cutoff_of(session, replica.cutoff) == AT


def test_a_credential_that_may_belong_to_several_sessions_dies_with_any_party() -> None:
    later = shared(bound(client="shop", login=AT + 5), [bound()])
    (revocation,) = everybody()
    replica = Replica()
    replica.apply(revocation)
    assert is_session_revoked(later, replica.cutoff)
    assert covers(revocation, later)
    again = shared(bound(login=AT + 9), [later])
    assert {each.parties[0] for each in again.all} == {DIGESTER.everybody(IDP, each) for each in ("wiki", "shop")}


def test_each_client_that_it_names_has_its_own() -> None:
    digests = {each.digest for each in everybody(IDP, "wiki", "shop")}
    assert digests == {DIGESTER.everybody(IDP, client) for client in ("wiki", "shop")}
    assert {each.kind for each in everybody()} == {Kind.EVERYBODY}


def test_a_session_that_was_proven_meets_one_that_was_written_under_the_old_key() -> None:
    replica = Replica()
    replica.apply(everybody(digester=OLD)[0])
    assert is_session_revoked(bound(), replica.cutoff)


def test_a_session_says_whose_it_is_only_where_somebody_may_ask() -> None:
    plain = Digester(b"0123456789abcdef").bound(Session(IDP, "wiki", "s", "jane", AT))
    assert plain.parties == ()
    assert plain == bound()  # it is the same session all the same


def test_nothing_becomes_a_logout_of_everybody_by_omission() -> None:
    with pytest.raises(ValueError, match="sid or a sub"):
        list(meant_by(Logout(IDP, ("wiki",), None, None, AT), DIGESTER, expires=1))
