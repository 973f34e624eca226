"""Candidate tokens from cookies and headers."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.bindings.carrier import MAX_CANDIDATES, AmbiguousToken, assemble, from_header

NAME = b"id_token"


def cookies(*pairs: str) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, _, value in (pair.partition("=") for pair in pairs)]


@pytest.mark.parametrize(
    ("pairs", "candidates"),
    [
        ([], []),
        (["other=x"], []),
        (["id_tokens=x", "my_id_token=x", "id_token.x=1", "id_token-0=1"], []),
        (["id_token="], []),
        (["id_token=a.b.c"], [b"a.b.c"]),
        (["id_token=a.b.c", "id_token=a.b.c"], [b"a.b.c"]),
        (["id_token=a.b.c", "id_token=d.e.f"], [b"a.b.c", b"d.e.f"]),
        (["id_token.0=a.b", "id_token.1=.c"], [b"a.b.c"]),
        (["id_token.1=.c", "id_token.0=a.b"], [b"a.b.c"]),
        (["id_token_0=a.b", "id_token_1=.c"], [b"a.b.c"]),
        (["id_token.1=a.b", "id_token.2=.c"], [b"a.b.c"]),
        (["id_token.00=a.b", "id_token.01x=.c"], [b"a.b.c"]),
        ([f"id_token.{n}={n}" for n in range(11)], [b"012345678910"]),
        (["id_token.0=a", "id_token_0=b"], [b"a", b"b"]),
        # The joining of duplicates: every choice is a candidate.
        (["id_token.0=a", "id_token.0=x", "id_token.1=b"], [b"ab", b"xb"]),
        # A gap: readers that stop there, and readers that sort and join.
        (["id_token.0=a", "id_token.2=c"], [b"ac", b"a"]),
        # The bare name as the first piece, unless it is a token by itself.
        (["id_token=a.b", "id_token.1=.c"], [b"a.b", b".c", b"a.b.c"]),
        (["id_token=a.b.c", "id_token.1=d"], [b"a.b.c", b"d"]),
    ],
)
def test_cookies_give(pairs: list[str], candidates: list[bytes]) -> None:
    assert assemble(cookies(*pairs), NAME) == candidates


@pytest.mark.parametrize(
    "name",
    [b"ID_Token", b" id_token\t", b"id%5Ftoken", b"%69d_token", b"\xc2\xa0id_token", b"id_token\xa0", b"id_token\x85"],
)
def test_a_cookie_name_that_an_app_may_read_as_ours_counts(name: bytes) -> None:
    assert assemble([(name, b"a.b.c")], NAME) == [b"a.b.c"]


@pytest.mark.parametrize(
    "value",
    [
        b'"a.b.c"',
        b" a.b.c\t",
        b"a%2Eb%2ec",
        b"a%252Eb.c",
        b"%22a.b.c%22",
        b"a.b.c\xc2\xa0",
        b"\xa0a.b.c",
        b"a%25252Eb.c",
    ],
)
def test_a_value_is_read_without_its_wrapping(value: bytes) -> None:
    assert assemble([(NAME, value)], NAME) == [b"a.b.c"]


def test_the_configured_name_is_matched_without_regard_to_case() -> None:
    assert assemble([(b"id_token", b"a")], b"ID_TOKEN") == [b"a"]


def test_as_many_tokens_as_are_judged_pass_and_one_more_is_refused() -> None:
    pairs = [(NAME, b"%d" % n) for n in range(MAX_CANDIDATES)]
    assert len(assemble(pairs, NAME)) == MAX_CANDIDATES
    with pytest.raises(AmbiguousToken):
        assemble([*pairs, (NAME, b"one more")], NAME)


def test_duplicate_chunks_do_not_multiply_without_bound() -> None:
    pairs = [(b"id_token.%d" % (n // 2), b"%d" % n) for n in range(80)]
    with pytest.raises(AmbiguousToken):
        assemble(pairs, NAME)


@given(st.binary(min_size=1, max_size=60).map(lambda raw: raw.hex().encode()), st.data())
def test_a_token_cut_anywhere_and_sent_in_any_order_is_found(token: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(token) - 1), max_size=6)))
    pieces = [token[start:end] for start, end in zip([0, *cuts], [*cuts, len(token)], strict=True)]
    separator = data.draw(st.sampled_from([b".", b"_"]))
    first = data.draw(st.sampled_from([0, 1]))
    pairs = [(NAME + separator + b"%d" % n, piece) for n, piece in enumerate(pieces, first)]
    assert assemble(data.draw(st.permutations(pairs)), NAME) == [token]


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=20))
def test_no_cookies_break_it(pairs: list[tuple[bytes, bytes]]) -> None:
    named = [(NAME + name, value) for name, value in pairs]
    with contextlib.suppress(AmbiguousToken):
        assert len(assemble(named, NAME)) <= MAX_CANDIDATES


@pytest.mark.parametrize(
    ("values", "candidates"),
    [
        ([], []),
        ([b""], []),
        ([b"a.b.c"], [b"a.b.c"]),
        ([b"Bearer a.b.c"], [b"a.b.c"]),
        ([b"bEARER \t a.b.c "], [b"a.b.c"]),
        ([b"Bearer a.b.c, Bearer d.e.f"], [b"a.b.c", b"d.e.f"]),
        ([b"a.b.c", b"Bearer a.b.c"], [b"a.b.c"]),
        ([b'"a.b.c"'], [b"a.b.c"]),
        ([b"Basic dTpw"], [b"Basic dTpw"]),
    ],
)
def test_a_header_gives(values: list[bytes], candidates: list[bytes]) -> None:
    assert from_header(values) == candidates


def test_more_tokens_in_a_header_than_are_judged_are_refused() -> None:
    with pytest.raises(AmbiguousToken):
        from_header([b",".join(b"%d" % n for n in range(MAX_CANDIDATES + 1))])
