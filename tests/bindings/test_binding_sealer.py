"""What is sealed can be opened in its place with an accepted secret, and in no other way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.bindings.sealer import Sealer

SECRET, OTHER, STRANGE = b"s" * 32, b"o" * 16, b"x" * 32


@given(plain=st.binary(max_size=300), purpose=st.binary(max_size=20), name=st.binary(max_size=20))
def test_what_is_sealed_can_be_opened_and_does_not_show(plain, purpose, name):
    sealed = Sealer(SECRET).seal(plain, purpose=purpose, name=name)

    assert Sealer(SECRET).open(sealed, purpose=purpose, name=name) == plain
    assert len(plain) < 4 or plain not in sealed


def test_the_same_text_is_never_sealed_alike():
    sealer = Sealer(SECRET)

    assert len({sealer.seal(b"text", purpose=b"p") for _ in range(50)}) == 50


@pytest.mark.parametrize(("purpose", "name"), [(b"p", b"m"), (b"q", b"n"), (b"", b"pn"), (b"pn", b""), (b"p", b"")])
def test_in_another_place_it_cannot_be_opened(purpose, name):
    sealed = Sealer(SECRET).seal(b"text", purpose=b"p", name=b"n")

    assert Sealer(SECRET).open(sealed, purpose=purpose, name=name) is None


def test_while_the_secret_is_changed_both_can_be_opened():
    old = Sealer(OTHER).seal(b"text", purpose=b"p")

    assert Sealer(SECRET, [STRANGE, OTHER]).open(old, purpose=b"p") == b"text"
    assert Sealer(SECRET, [STRANGE]).open(old, purpose=b"p") is None


def test_no_bit_of_it_may_be_changed():
    sealed = Sealer(SECRET).seal(b"text", purpose=b"p")

    for index in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[index // 8] ^= 1 << index % 8
        assert Sealer(SECRET).open(bytes(changed), purpose=b"p") is None


@given(st.binary(max_size=80))
def test_garbage_is_not_opened(garbage):
    assert Sealer(SECRET).open(garbage, purpose=b"p") is None


def test_a_short_secret_is_refused_and_none_shows():
    with pytest.raises(ValueError, match="16 bytes"):
        Sealer(SECRET, [b"short"])
    assert "ssss" not in repr(Sealer(SECRET))
