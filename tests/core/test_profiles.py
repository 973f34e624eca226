"""What profiles declare, and what an operator's own entries change in it."""

from typing import get_args

import pytest

from sidecar.config.session_settings import BARE_PROFILES, CarrierName, ProfileName
from sidecar.core.profiles import PROFILES, Declared, Place, carriers, carriers_of
from sidecar.core.reading import NOTHING, Reading
from sidecar.core.stripping import strip_fields, strip_target

ID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


def cookie(name: str) -> Declared:
    return Declared(Place.COOKIE, name)


def test_the_configuration_offers_every_profile_and_every_carrier() -> None:
    assert set(get_args(ProfileName)) == PROFILES.keys()
    assert set(get_args(CarrierName)) < set(Place)


def test_a_bare_profile_names_no_cookie() -> None:
    named = {name for name, profile in PROFILES.items() if any(each.place is Place.COOKIE for each in profile.declared)}
    assert named == PROFILES.keys() - BARE_PROFILES


@pytest.mark.parametrize(
    ("profile", "line", "target"),
    [
        ("tomcat", f"JSESSIONID={ID}", b"/"),
        ("tomcat", f"JSESSIONIDSSO={ID}", b"/"),
        ("tomcat", "", f"/a;jsessionid={ID}".encode()),
        ("jetty", "", f"/a;jsessionid={ID}.node0".encode()),
        ("spring", f"SESSION={ID}", b"/"),
        ("spring", f"remember-me={ID}", b"/"),
        ("php", f"PHPSESSID={ID}", b"/"),
        ("php", "", f"/?PHPSESSID={ID}".encode()),
        ("php", "", f"/PHPSESSID={ID}/page".encode()),
        ("php", "", f"/?x=1&yPHPSESSID={ID}/".encode()),
        ("laravel", f"remember_web_59ba36addc2b2f9401580f014c7f58ea4e30989d={ID}", b"/"),
        ("aspnet", f"ASP.NET_SessionId={ID}", b"/"),
        ("aspnet", f"asp.net_sessionid={ID}", b"/"),
        ("aspnet", "", f"/(S({ID}))/page.aspx".encode()),
        ("aspnet", "", f"/app/(A(x)S({ID})F(y))/page.aspx".encode()),
        ("aspnet", "", f"/(s({ID}))".encode()),
        ("aspnet", "", f"/%28S%28{ID}%29%29/".encode()),
        ("aspnet", f".ASPXAUTH={ID}", b"/"),
        ("aspnetcore", f".AspNetCore.Identity.Application={ID}", b"/"),
        ("flask", f"session={ID}", b"/"),
        ("django", f"sessionid={ID}", b"/"),
        ("rails", f"remember_user_token={ID}", b"/"),
        ("express", f"connect.sid=s%3A{ID}.x", b"/"),
    ],
)
def test_a_profile_finds_its_session_and_takes_it_out(profile: str, line: str, target: bytes) -> None:
    declared = carriers_of([profile], [])
    lines = [line.encode()] if line else []
    assert declared.in_cookies(lines).values or declared.in_target(target).values
    left = strip_fields([(b"Cookie", each) for each in lines], declared, lambda _: False)
    assert left == []
    stripped = strip_target(target, declared)
    assert stripped is None or declared.in_target(stripped) is NOTHING


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (f"/(S({ID}))/page.aspx?x=1", b"/page.aspx?x=1"),
        (f"/app/(A(x)S({ID})F(y))/page.aspx", b"/app/page.aspx"),
        (f"/(S({ID}))", b"/"),
        ("/odata/Products(1)/Name", b"/odata/Products(1)/Name"),
        ("/(X(1))/page", b"/(X(1))/page"),
    ],
)
def test_a_session_in_a_segment_is_taken_out_with_the_segment(target: str, left: bytes) -> None:
    """Reference case 150."""
    assert strip_target(target.encode(), carriers_of(["aspnet"], [])) == left


def test_the_same_id_in_segment_cookie_and_header_is_one_credential() -> None:
    declared = carriers_of(["aspnet"], [])
    expected = (ID.encode(),)
    assert declared.in_cookies([f"ASP.NET_SessionId={ID}".encode()]).values == expected
    assert declared.in_target(f"/(S({ID}))/".encode()).values == expected
    assert declared.in_header(f"S({ID})".encode(), b"aspfiltersessionid").values == expected
    assert declared.headers == (b"aspfiltersessionid",)


@pytest.mark.parametrize("line", [f"remember_me_not={ID}", f"xremember_web_a={ID}", f"JSESSIONIDX={ID}"])
def test_a_name_that_only_resembles_is_no_credential(line: str) -> None:
    assert carriers_of(["rails", "tomcat"], []).in_cookies([line.encode()]) is NOTHING


@pytest.mark.parametrize("prefix", ["__Host-", "__Secure-"])
def test_a_cookie_is_known_with_a_prefix_that_the_app_may_give_it(prefix: str) -> None:
    declared = carriers_of(["django"], [])
    assert declared.in_cookies([f"{prefix}sessionid={ID}".encode()]).values == (ID.encode(),)


@pytest.mark.parametrize(
    "line",
    [
        "remember_web_x={}",
        'y="1; remember_web_x={}"',
        "REMEMBER_web_%78={}",
        "remember.web_x={}",
        " remember_web_x ={}",
    ],
)
def test_a_star_in_a_name_stands_for_any_characters_in_every_spelling(line: str) -> None:
    declared = carriers_of(["laravel"], [])
    assert ID.encode() in declared.in_cookies([line.format(ID).encode()]).values


def test_an_entry_of_the_operator_is_read_as_the_profile_reads_its_own() -> None:
    declared = carriers_of(["tomcat"], [(cookie("MYSESSION"), None)])
    for name in ("MYSESSION", "JSESSIONID"):
        assert declared.in_cookies([f"{name}={ID}.node1".encode()]).values == (ID.encode(),)


def test_an_entry_that_the_profile_has_keeps_its_form() -> None:
    declared = carriers_of(["aspnet"], [(cookie(".aspxauth"), None)])
    assert declared.in_cookies([f".ASPXAUTH={ID}".encode()]).values == (ID.upper().encode(),)


def test_an_entry_with_a_profile_of_its_own_is_read_by_that_one_alone() -> None:
    declared = carriers_of(["spring"], [(Declared(Place.COOKIE, "JSESSIONID"), "tomcat")])
    assert declared.in_cookies([f"JSESSIONID={ID.upper()}.n1".encode()]).values == (ID.upper().encode(),)
    assert declared.in_target(f"/;jsessionid={ID.upper()}".encode()).values == (ID.upper().encode(),)
    assert declared.in_cookies([f"SESSION={ID.upper()}.n1".encode()]).values == (ID.encode(),)


def test_several_profiles_that_share_a_name_are_both_undone() -> None:
    declared = carriers_of(["tomcat", "spring"], [])
    assert declared.in_cookies([f"JSESSIONID={ID.upper()}.n1".encode()]).values == (ID.encode(),)


def test_the_form_before_the_profile_counts_as_well() -> None:
    """Bindings and revocations that were written before it was switched on (decision 020)."""
    declared = carriers_of(["jetty"], [])
    old = f"{ID}.node0".encode()
    assert declared.in_cookies([b"JSESSIONID=" + old]) == Reading((ID.encode(),), others=((ID.encode(), (old,)),))
    assert declared.in_cookies([f"JSESSIONID={ID}".encode()]) == Reading((ID.encode(),))


@pytest.mark.parametrize(
    "spelled", ["c2lnbmF%0dXJl", "c2lnbmF0dXJl%", '"c2lnbmF0dXJl"', "c2lnbmF\\0dXJl", "c2lnbmF%%%0dXJl"]
)
def test_what_is_half_decoded_counts_where_the_stack_skips_what_it_does_not_know(spelled: str) -> None:
    """`%0d` is a line break to some, and `0d` to Python's base64."""
    reading = carriers_of(["flask"], []).in_cookies([f"session=eyJhIjoxfQ.aSoAAA.{spelled}".encode()])
    assert b"eyJhIjoxfQ.aSoAAA.c2lnbmF0dXJl" in reading.values


def test_an_honest_value_in_its_encoding_is_one_credential() -> None:
    """Else the second, which nobody knows, would have it denied."""
    for profile, line in (
        ("laravel", "laravel_session=eyJpdiI6ImEiLCJ2YWx1ZSI6ImIifQ%3D%3D"),
        ("spring", 'SESSION="A1"'),
    ):
        assert len(carriers_of([profile], []).in_cookies([line.encode()]).values) == 1


def test_the_form_of_a_letter_in_a_path_is_not_that_of_a_cookie() -> None:
    declared = carriers([Declared(Place.PATH_SEGMENT, "S", ("case",)), Declared(Place.COOKIE, "S")])
    assert declared.in_cookies([b"S=AbC"]).values == (b"AbC",)
    assert declared.in_target(b"/(S(AbC))/").values == (b"abc",)


@pytest.mark.parametrize("names", [("A", "JSESSIONID"), ("JSESSIONID", "A")])
def test_one_value_under_two_names_is_read_in_both_forms(names: tuple[str, str]) -> None:
    declared = carriers_of(["generic"], [(cookie("A"), None), (cookie("JSESSIONID"), "tomcat")])
    line = "; ".join(f"{name}={ID}.n1" for name in names)
    for spelled in (line, f'{line}; x="1"'):
        assert set(declared.in_cookies([spelled.encode()]).values) == {ID.encode(), f"{ID}.n1".encode()}


def test_the_form_of_a_name_that_could_be_two_is_always_the_same() -> None:
    """Else two processes would bind one cookie under two values."""
    declared = carriers([Declared(Place.COOKIE, "my_id", ("case",)), Declared(Place.COOKIE, "my.id")])
    assert declared.in_cookies([b"my.id=AbC"]).values == (b"AbC",)
    assert declared.in_cookies([b"my_id=AbC"]).values == (b"abc",)
    assert declared.in_cookies([b'my%2eid=AbC; x="1"']).values == (b"AbC",)


def test_a_header_that_begins_like_a_path_segment_hides_no_session() -> None:
    declared = carriers_of(["aspnet", "spring"], [])
    assert f"s(y){ID}".encode() in declared.in_header(f"S(y){ID}".encode(), b"x-auth-token").values


def test_the_form_of_a_header_is_that_of_what_follows_its_scheme() -> None:
    """The whole field has a blank in it, as no id has."""
    declared = carriers_of(["django"], [(Declared(Place.HEADER, "Authorization"), None)])
    reading = declared.in_header(f"Bearer {ID.upper()}".encode(), b"authorization")
    assert not reading.is_ambiguous
    assert ID.encode() in reading.values
