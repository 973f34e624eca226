"""Sessions in an encrypted cookie that is cut into `name.0`, `name.1`, ...: express-openid-connect."""

import pytest

from sidecar.core.profiles import carriers_of

CARRIERS = carriers_of(["express-openid-connect"], [])
# Header, no key, twelve bytes, bytes with four spare bits at the end, sixteen bytes.
VALUE = b"eyJhbGciOiJkaXIifQ..AAECAwQFBgcICQoL.AAECAwQFBgcICQoLDA.AAECAwQFBgcICQoLDA0ODw"
OTHER = VALUE.replace(b"ECAw", b"ECBw")


def read(*lines: bytes) -> tuple[bytes, ...]:
    reading = CARRIERS.in_cookies(lines)
    assert not reading.is_ambiguous
    return reading.values


def whole() -> bytes:
    (value,) = read(b"appSession=" + VALUE)
    return value


FIRST, SECOND, THIRD = VALUE[:9], VALUE[9:20], VALUE[20:]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"appSession.0=" + VALUE], id="one piece"),
        pytest.param([b"appSession.0=%b; appSession.1=%b" % (FIRST + SECOND, THIRD)], id="two pieces"),
        pytest.param([b"appSession.1=%b; appSession.0=%b" % (THIRD, FIRST + SECOND)], id="in disorder"),
        pytest.param([b"appSession.0=" + FIRST + SECOND, b"appSession.7=" + THIRD], id="two lines and a gap"),
        pytest.param([b"appSession.0=%b; appSession.10=%b; appSession.9=%b" % (FIRST, THIRD, SECOND)], id="by number"),
        pytest.param([b"APPSESSION.0=%b; a=b; appsession.1=%b" % (FIRST + SECOND, THIRD)], id="in any case"),
    ],
)
def test_pieces_are_the_credential_that_they_make_together(lines: list[bytes]) -> None:
    assert read(*lines) == (whole(),)


@pytest.mark.parametrize("name", [b"appSession.00", b"appSession.01", b"appSession.1000", b"appSession.4294967296"])
def test_a_number_that_no_app_writes_is_ambiguous(name: bytes) -> None:
    assert CARRIERS.in_cookies([b"appSession.0=%b; %b=%b" % (VALUE[:20], name, VALUE[20:])]).is_ambiguous


def test_pieces_of_one_number_are_tried_in_every_way() -> None:
    line = b"appSession.0=%b; appSession.0=x; appSession.1=%b; appSession.1=y" % (VALUE[:20], VALUE[20:])
    assert whole() in read(line)


def test_too_many_ways_are_ambiguous() -> None:
    line = b"; ".join(b"appSession.%d=%d" % (number, way) for number in range(6) for way in range(2))
    assert CARRIERS.in_cookies([line]).is_ambiguous


def test_another_value_is_another_credential() -> None:
    assert read(b"appSession=" + OTHER) != (whole(),)


def test_what_the_app_sets_in_pieces_is_the_same_credential() -> None:
    pieces = [(b"appSession.0", VALUE[:20]), (b"appSession.1", VALUE[20:])]
    assert CARRIERS.values_set(pieces) == [whole()]


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(VALUE[:-1] + b"x", id="spare bits at the end"),
        pytest.param(VALUE.replace(b"LDA.", b"LDB."), id="spare bits before a dot"),
        pytest.param(VALUE.replace(b"..AA", b".. AA"), id="a blank"),
        pytest.param(VALUE.replace(b"QoL.", b"QoL%0A."), id="an encoded line feed"),
        pytest.param(VALUE + b"==", id="padding"),
    ],
)
def test_every_spelling_that_decodes_to_the_same_is_the_same_credential(spelled: bytes) -> None:
    assert whole() in CARRIERS.in_cookies([b"appSession=" + spelled]).values


def test_a_request_without_the_cookie_has_nothing() -> None:
    assert read(b"auth_verification=x; appSessionX=1") == ()
